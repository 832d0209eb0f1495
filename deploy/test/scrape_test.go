package deploytest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"
	"github.com/prometheus/prometheus/promql/parser"

	"parlor/internal/pgtest"
	"parlor/internal/redistest"
)

const handlerARN = "arn:aws:lambda:us-west-2:123456789012:function:review"

// observed is a node that has everything that has metrics, and clients of all kinds.
type observed struct {
	t      testing.TB
	url    string
	client *http.Client
	api    *ivschat.Client
	room   string // logs, and is reviewed
	plain  string // neither
}

// startObserved starts the node, its database, its Redis and its webhooks.
func startObserved(t testing.TB) *observed {
	t.Helper()
	dir := shared(t)
	put(t, filepath.Join(dir, "credentials"), []byte(exampleKey))
	put(t, filepath.Join(dir, "secret"), []byte("0123456789abcdef0123456789abcdef"))
	cert, key := certificate(t, "127.0.0.1")
	put(t, filepath.Join(dir, "tls.crt"), cert)
	put(t, filepath.Join(dir, "tls.key"), key)
	data := filepath.Join(dir, "data")
	for _, d := range []string{data, filepath.Join(data, "logs")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(d, user, user); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, filepath.Join(data, "logs", "firehose"), []byte("no directory")) // so that this destination fails

	reviewer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Content string }
		json.NewDecoder(r.Body).Decode(&asked)
		switch asked.Content {
		case "slow":
			time.Sleep(400 * time.Millisecond)
		case "nonsense":
			io.WriteString(w, `"nonsense"`)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"ReviewResult": "ALLOW", "Content": asked.Content})
	}))
	t.Cleanup(reviewer.Close)
	var events atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if events.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(hook.Close)

	env := []string{
		"PARLOR_DATABASE_URL=" + pgtest.Start(t).CreateDatabase(t),
		"PARLOR_REDIS_URL=" + redistest.Start(t).URL(),
		"PARLOR_REVIEW_WEBHOOK=" + handlerARN + "=" + reviewer.URL,
		"PARLOR_WEBHOOK_SECRET=" + filepath.Join(dir, "secret"),
		"PARLOR_WEBHOOK=" + hook.URL,
		"PARLOR_AUDIT_LOG=" + filepath.Join(data, "audit.log"),
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + hook.URL, "OTEL_TRACES_SAMPLER=always_on", // it takes anything
		"PARLOR_CLOUDWATCH_METRICS=IVSChat", "AWS_ENDPOINT_URL_CLOUDWATCH=" + hook.URL, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
		"PARLOR_DESTINATIONS=local", "PARLOR_CHATLOG_INTERVAL=100ms",
		"PARLOR_TLS_CERT=" + filepath.Join(dir, "tls.crt"), "PARLOR_TLS_KEY=" + filepath.Join(dir, "tls.key"),
	}
	ready := regexp.MustCompile(`API +(https://\S+)`)
	p := begin(t, "parlor", command(context.Background(), t, env, "serve", "--listen=127.0.0.1:0", "--data="+data,
		"--credentials="+filepath.Join(dir, "credentials"), "--drain-window=0s"))
	until(t, "the server is ready", func() bool { return ready.MatchString(p.output()) })
	o := &observed{t: t, url: ready.FindStringSubmatch(p.output())[1]}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // it is the one that was just made
	t.Cleanup(transport.CloseIdleConnections)
	o.client = &http.Client{Transport: transport, Timeout: patience}
	o.api = ivschat.New(ivschat.Options{
		Region: "us-west-2", BaseEndpoint: &o.url, HTTPClient: o.client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", ""),
	})
	until(t, "it has its broker", func() bool { return regexp.MustCompile(`(?m)^parlor_ready 1$`).MatchString(o.scrape()) })
	o.makeRooms()
	return o
}

func (o *observed) makeRooms() {
	t := o.t
	t.Helper()
	var configurations []string
	for _, destination := range []types.DestinationConfiguration{
		&types.DestinationConfigurationMemberCloudWatchLogs{Value: types.CloudWatchLogsDestinationConfiguration{LogGroupName: aws.String("logs")}},
		&types.DestinationConfigurationMemberFirehose{Value: types.FirehoseDestinationConfiguration{DeliveryStreamName: aws.String("broken")}},
	} {
		lc, err := o.api.CreateLoggingConfiguration(t.Context(), &ivschat.CreateLoggingConfigurationInput{DestinationConfiguration: destination})
		if err != nil {
			t.Fatal(err)
		}
		configurations = append(configurations, *lc.Arn)
	}
	for room, input := range map[*string]*ivschat.CreateRoomInput{
		&o.plain: {},
		&o.room:  {LoggingConfigurationIdentifiers: configurations, MessageReviewHandler: &types.MessageReviewHandler{Uri: aws.String(handlerARN), FallbackResult: types.FallbackResultAllow}},
	} {
		out, err := o.api.CreateRoom(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		*room = *out.Arn
	}
}

func (o *observed) scrape() string {
	o.t.Helper()
	r, err := o.client.Get(o.url + "/metrics")
	if err != nil {
		o.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		o.t.Fatalf("/metrics: %d, %v", r.StatusCode, err)
	}
	return string(text)
}

// connect has a user who may do everything enter a room.
func (o *observed) connect(room, name string, capabilities ...types.ChatTokenCapability) *websocket.Conn {
	o.t.Helper()
	token, err := o.api.CreateChatToken(o.t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &name, Capabilities: capabilities})
	if err != nil {
		o.t.Fatal(err)
	}
	conn, _, err := websocket.Dial(o.t.Context(), o.url, &websocket.DialOptions{HTTPClient: o.client, Subprotocols: []string{*token.Token}})
	if err != nil {
		o.t.Fatal(err)
	}
	return conn
}

// ask sends a request and reads until the answer to it: the frame that has its text.
func (o *observed) ask(conn *websocket.Conn, answer, request string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
		o.t.Fatal(err)
	}
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			o.t.Fatalf("no answer with %s to %s: %v", answer, request, err)
		}
		if strings.Contains(string(frame), answer) {
			return
		}
	}
}

// use has something of each kind happen.
func (o *observed) use() {
	t := o.t
	t.Helper()
	ann := o.connect(o.room, "ann", types.ChatTokenCapabilitySendMessage, types.ChatTokenCapabilityDeleteMessage, types.ChatTokenCapabilityDisconnectUser)
	defer ann.CloseNow()
	for _, content := range []string{"hello", "nonsense", "slow", "hello"} { // after the slow one the handler rests
		o.ask(ann, `"Content":"`+content+`"`, `{"Action":"SEND_MESSAGE","Content":"`+content+`"}`)
	}
	bob := o.connect(o.plain, "bob", types.ChatTokenCapabilitySendMessage)
	defer bob.CloseNow()
	o.ask(bob, `"Content":"hello"`, `{"Action":"SEND_MESSAGE","Content":"hello"}`)
	o.ask(bob, `"ErrorCode":403`, `{"Action":"DELETE_MESSAGE","Id":"AbCdEfGhIjKl"}`)
	o.ask(bob, `"ErrorCode":400`, `{"Action":"SING"}`)
	o.ask(ann, `aws:DELETE_MESSAGE`, `{"Action":"DELETE_MESSAGE","Id":"AbCdEfGhIjKl"}`)
	o.ask(ann, `aws:DISCONNECT_USER`, `{"Action":"DISCONNECT_USER","UserId":"nobody"}`)
	if _, err := o.api.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &o.plain, EventName: aws.String("goal")}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.api.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: aws.String(o.plain[:len(o.plain)-3] + "xxx")}); err == nil {
		t.Error("there is a room that was never made")
	}
	if conn, _, err := websocket.Dial(t.Context(), o.url, &websocket.DialOptions{HTTPClient: o.client, Subprotocols: []string{"none"}}); err == nil {
		conn.CloseNow()
		t.Error("a token that is none opened a connection")
	}
	stranger, err := net.DialTimeout("tcp", strings.TrimPrefix(o.url, "https://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Close()
	bob.Close(websocket.StatusNormalClosure, "")
}

// sum is the sum of the samples that a pattern finds in what a node says.
func sum(text, pattern string) (total float64) {
	for _, m := range regexp.MustCompile(`(?m)^`+pattern+`(?:\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(text, -1) {
		var v float64
		fmt.Sscan(m[1], &v)
		total += v
	}
	return total
}

// TestScraped holds docs/metrics.md, the dashboard and the rules to what a node says that
// really runs: what it says is on the page, and each panel has something to show, for one node
// and for two.
func TestScraped(t *testing.T) {
	o := startObserved(t)
	o.use()
	var first string
	until(t, "what is behind has happened", func() bool {
		first = o.scrape()
		for _, name := range []string{"parlor_log_records_total", "parlor_log_destination_errors_total", "parlor_webhook_events_total",
			"parlor_http_connections_unserved_total", "parlor_sessions_ended_total", "parlor_log_backlog_age_seconds"} {
			if sum(first, name) == 0 {
				return false
			}
		}
		return strings.Contains(first, "\nparlor_clock_offset_seconds ")
	})
	var second string
	until(t, "the handler has answered again", func() bool { // it may rest at first
		o.use()
		second = o.scrape()
		return sum(second, "parlor_review_seconds_count") > sum(first, "parlor_review_seconds_count")
	})
	page := metricsPage(t)
	t.Run("the page", func(t *testing.T) { checkScraped(t, page, second) })

	var one, two memory
	for i, text := range []string{first, second} {
		at := time.Duration(i) * time.Minute
		one.scrape(t, text, at, "parlor", "a")
		two.scrape(t, text, at, "parlor", "a")
		two.scrape(t, text, at, "parlor", "b")
	}
	said := map[string]bool{}
	for _, s := range one.series {
		said[family(page, s.labels.Get("__name__"))] = true
	}
	for _, e := range expressions(t) {
		parsed, err := language.ParseExpr(e.text)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			if selector, ok := node.(*parser.VectorSelector); ok {
				if name := family(page, selector.Name); !said[name] {
					t.Errorf("%s: the node says nothing of %s", e.where, name)
				}
			}
			return nil
		})
		if strings.HasPrefix(e.where, "alert ") {
			two.numbers(t, e.text, time.Minute) // it can be evaluated; TestAlerts says when it fires
			continue
		}
		if one.numbers(t, e.text, time.Minute) == 0 {
			t.Errorf("%s shows nothing: %s", e.where, e.text)
		}
		got, want := two.numbers(t, e.text, time.Minute), one.numbers(t, e.text, time.Minute)
		if got != want && got != 2*want {
			t.Errorf("%s shows %d for two nodes and %d for one: %s", e.where, got, want, e.text)
		}
	}
}

// checkScraped holds the page to what a node says: types, labels, and the values of labels
// that have a fixed set.
func checkScraped(t *testing.T, page map[string]known, text string) {
	kinds := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (parlor_\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		kinds[m[1]] = m[2]
		if page[m[1]].kind != m[2] {
			t.Errorf("%s is a %s, the page says %q", m[1], m[2], page[m[1]].kind)
		}
	}
	var said memory
	said.scrape(t, text, 0, "parlor", "a")
	for _, s := range said.series {
		name := family(page, s.labels.Get("__name__"))
		if !strings.HasPrefix(name, "parlor_") {
			continue
		}
		var labels []string
		for label, value := range s.labels.Map() {
			if slices.Contains([]string{"__name__", "job", "instance", "le"}, label) {
				continue
			}
			labels = append(labels, label)
			// Those of operations, statuses of others, ARNs and versions are open.
			closed := slices.Contains([]string{"action", "cause", "reason", "outcome"}, label) || label == "code" && name != "parlor_api_requests_total" && name != "parlor_webhook_requests_total"
			text := page[name].text + page["parlor_requests_total"].text // to which parlor_request_seconds refers
			if closed && !regexp.MustCompile(`\b`+regexp.QuoteMeta(value)+`\b`).MatchString(text) {
				t.Errorf("the page says nothing of %s with %s %q", name, label, value)
			}
		}
		slices.Sort(labels)
		want := page[name].labels
		if !slices.Contains(labels, "revision") { // of a build outside of git
			want = slices.DeleteFunc(slices.Clone(want), func(l string) bool { return l == "revision" })
		}
		if !slices.Equal(labels, want) {
			t.Errorf("%s has the labels %q, the page says %q", name, labels, page[name].labels)
		}
	}
	for name := range page {
		if kinds[name] == "" {
			t.Errorf("the page has %s, of which the node says nothing", name)
		}
	}
}
