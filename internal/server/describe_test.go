package server_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"
	gocmp "github.com/google/go-cmp/cmp"

	"parlor/internal/config"
	"parlor/internal/credentials"
	"parlor/internal/parlortest"
)

// signed sends a request as the SDK would sign it.
func signed(t *testing.T, s *parlortest.Server, k credentials.Key, method, path, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	sum := sha256.Sum256([]byte(body))
	key := aws.Credentials{AccessKeyID: k.AccessKey, SecretAccessKey: k.Secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), "ivschat", parlortest.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// described calls an operation of Parlor's own that has to succeed.
func described[T any](t *testing.T, s *parlortest.Server, k credentials.Key, operation string, input any) (out T) {
	t.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := signed(t, s, k, "POST", "/parlor/"+operation, string(body))
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != http.StatusOK {
		t.Fatalf("%s: got %d %s", operation, status, answer)
	}
	return out
}

type nodeQuestion struct {
	Rooms []string `json:"rooms,omitempty"`
	Users bool     `json:"users,omitempty"`
}

type nodeRoom struct {
	ARN                   string
	Connections, Messages int
	Users                 []nodeUser
}

type nodeUser struct {
	UserID      string
	Connections int
}

type node struct {
	ID, Version, Mode string
	StartTime, Time   time.Time
	Nodes             []struct{ ID string }
	Rooms             []nodeRoom
	Backlogs          []struct {
		LoggingConfiguration, Kind, Name string
		Records, Bytes                   int
		OldestTime                       time.Time
	}
	Metrics []struct {
		Name, Type string
		Samples    []struct {
			Labels     map[string]string
			Value, Sum *float64
			Count      *int
			Buckets    [][2]float64
		}
	}
}

// twoAccounts starts a server that lets in two keys of different accounts.
func twoAccounts(t *testing.T, options ...func(*config.Config)) (s *parlortest.Server, ann, other credentials.Key) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	ann, other = newKey("ann", 0), newKey("other", 0)
	other.Account = "999999999999"
	addKeys(t, path, ann, other)
	s = parlortest.StartLogging(t, io.Discard, append(options, withCredentials(path), func(c *config.Config) { c.Account = "111122223333" })...)
	return s, ann, other
}

func createRoom(t *testing.T, control *ivschat.Client, configurations ...string) string {
	t.Helper()
	room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{LoggingConfigurationIdentifiers: configurations})
	if err != nil {
		t.Fatal(err)
	}
	return *room.Arn
}

// say sends a message and waits until it is back.
func say(t *testing.T, conn *websocket.Conn, content string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","Content":%q}`, content)); err != nil {
		t.Fatal(err)
	}
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(frame, []byte(`"Content":"`+content+`"`)) {
			return
		}
	}
}

// dialAs connects a user who may send.
func dialAs(t *testing.T, s *parlortest.Server, control *ivschat.Client, room, user string) *websocket.Conn {
	t.Helper()
	out, err := control.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{
		RoomIdentifier: &room, UserId: &user, Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage}})
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{*out.Token}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

// TestDescribeNodeRooms: a room's connections, users and messages, to those of its account.
func TestDescribeNodeRooms(t *testing.T) {
	s, ann, other := twoAccounts(t)
	control := s.Client(t, as(ann))
	room, empty := createRoom(t, control), createRoom(t, control)
	theirs := createRoom(t, s.Client(t, as(other)))
	alice := dialAs(t, s, control, room, "alice")
	bob := dialAs(t, s, control, room, "bob")
	again := dialAs(t, s, control, room, "alice")
	dialAs(t, s, s.Client(t, as(other)), theirs, "mallory")

	want := []nodeRoom{{ARN: room, Connections: 3, Users: []nodeUser{{"alice", 2}, {"bob", 1}}}}
	check := func(what string, question nodeQuestion, want ...nodeRoom) {
		t.Helper()
		var got []nodeRoom
		defer func() {
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if got = described[node](t, s, ann, "DescribeNode", question).Rooms; gocmp.Equal(got, want) {
				return
			}
		}
	}
	check("the largest", nodeQuestion{Users: true}, want...)
	check("named", nodeQuestion{Rooms: []string{empty, theirs, room}, Users: true}, nodeRoom{ARN: empty, Users: []nodeUser{}}, want[0])
	check("without users", nodeQuestion{Rooms: []string{room}}, nodeRoom{ARN: room, Connections: 3})

	say(t, alice, "one")
	say(t, bob, "two")
	if _, err := control.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("no message")}); err != nil {
		t.Fatal(err)
	}
	say(t, again, "three")
	bob.CloseNow()
	check("later", nodeQuestion{Users: true}, nodeRoom{ARN: room, Connections: 2, Messages: 3, Users: []nodeUser{{"alice", 2}}})

	got := described[node](t, s, other, "DescribeNode", nodeQuestion{Rooms: []string{room, theirs}, Users: true}).Rooms
	if diff := gocmp.Diff([]nodeRoom{{ARN: theirs, Connections: 1, Users: []nodeUser{{"mallory", 1}}}}, got); diff != "" {
		t.Errorf("another account (-want +got):\n%s", diff)
	}
	if got := described[node](t, s, other, "DescribeNode", nodeQuestion{Rooms: []string{room}}).Rooms; len(got) != 0 {
		t.Errorf("another account's room alone: got %v, want none", got)
	}
}

// TestDescribeNodeItself: what a node says of itself, and that its metrics have numbers.
func TestDescribeNodeItself(t *testing.T) {
	s, ann, _ := twoAccounts(t)
	room := createRoom(t, s.Client(t, as(ann)))
	say(t, dialAs(t, s, s.Client(t, as(ann)), room, "alice"), "hello")
	n := described[node](t, s, ann, "DescribeNode", nodeQuestion{})
	if n.ID == "" || n.Version == "" || n.Mode != "dev" || n.Nodes == nil || len(n.Nodes) > 0 || n.Backlogs == nil {
		t.Errorf("got %+v", n)
	}
	if age := n.Time.Sub(n.StartTime); age < 0 || age > time.Hour || time.Since(n.Time).Abs() > time.Minute {
		t.Errorf("got start %v and now %v", n.StartTime, n.Time)
	}
	types := map[string]string{}
	for _, m := range n.Metrics {
		types[m.Name] = m.Type
		if m.Name == "parlor_connections" && (len(m.Samples) != 1 || m.Samples[0].Value == nil || *m.Samples[0].Value != 1) {
			t.Errorf("%s: got %+v, want 1", m.Name, m.Samples)
		}
		for _, sample := range m.Samples {
			if (m.Type == "histogram") == (sample.Value != nil) || (m.Type == "histogram") != (sample.Count != nil && sample.Sum != nil) {
				t.Errorf("%s, a %s: got %+v", m.Name, m.Type, sample)
			}
			if !slices.IsSortedFunc(sample.Buckets, func(a, b [2]float64) int { return min(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
				t.Errorf("%s: buckets %v do not rise", m.Name, sample.Buckets)
			}
		}
	}
	for name, want := range map[string]string{
		"parlor_connections": "gauge", "parlor_deliveries_total": "counter", "parlor_delivery_seconds": "histogram",
		"parlor_api_requests_total": "counter", "go_goroutines": "gauge", "process_resident_memory_bytes": "gauge",
	} {
		if types[name] != want {
			t.Errorf("%s: got type %q, want %q", name, types[name], want)
		}
	}
	for name := range types {
		if strings.HasPrefix(name, "go_sched") || strings.HasPrefix(name, "promhttp") {
			t.Errorf("got %s, which is more than is told", name)
		}
	}
}

// TestDescribeNodeBacklog: what waits for a destination that takes nothing is shown to its
// account alone.
func TestDescribeNodeBacklog(t *testing.T) {
	data := t.TempDir()
	put(t, filepath.Join(data, "logs"), "no directory")
	s, ann, other := twoAccounts(t, func(c *config.Config) {
		c.Data, c.ChatlogInterval = data, 100*time.Millisecond
	})
	control := s.Client(t, as(ann))
	configuration, err := control.CreateLoggingConfiguration(t.Context(), &ivschat.CreateLoggingConfigurationInput{
		DestinationConfiguration: &types.DestinationConfigurationMemberCloudWatchLogs{Value: types.CloudWatchLogsDestinationConfiguration{LogGroupName: aws.String("dead")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	room := createRoom(t, control, *configuration.Arn)
	conn := dialAs(t, s, control, room, "alice")
	for i := range 3 {
		say(t, conn, fmt.Sprint("message ", i))
	}
	said := func(n node) (samples int, failed float64) {
		for _, m := range n.Metrics {
			for _, sample := range m.Samples {
				if arn, has := sample.Labels["logging_configuration"]; has {
					samples++
					if arn != *configuration.Arn {
						t.Errorf("%s is of %s", m.Name, arn)
					}
					if m.Name == "parlor_log_destination_errors_total" {
						failed += *sample.Value
					}
				}
			}
		}
		return samples, failed
	}
	var n node
	eventually(t, "three records wait, and a try to ship them is counted", func() bool {
		n = described[node](t, s, ann, "DescribeNode", nodeQuestion{})
		_, failed := said(n)
		return len(n.Backlogs) == 1 && n.Backlogs[0].Records == 3 && failed > 0
	})
	b := n.Backlogs[0]
	if b.LoggingConfiguration != *configuration.Arn || b.Kind != "cloudWatchLogs" || b.Name != "dead" || b.Bytes == 0 || time.Since(b.OldestTime) > time.Hour {
		t.Errorf("got %+v", b)
	}
	theirs := described[node](t, s, other, "DescribeNode", nodeQuestion{})
	if samples, _ := said(theirs); len(theirs.Backlogs) > 0 || samples > 0 {
		t.Errorf("another account sees %+v and %d samples", theirs.Backlogs, samples)
	}
}

// TestDescribeToken: a token before and after it opened its connection, and when it is over.
func TestDescribeToken(t *testing.T) {
	var log logged
	path := filepath.Join(t.TempDir(), "credentials")
	ann, other := newKey("ann", 0), newKey("other", 0)
	other.Account = "999999999999"
	addKeys(t, path, ann, other)
	s := parlortest.StartLogging(t, &log, withCredentials(path), func(c *config.Config) {
		c.LogLevel, c.TokenLifetime = "debug", 4*time.Second
	})
	control := s.Client(t, as(ann))
	room := createRoom(t, control)
	out, err := control.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{
		RoomIdentifier: &room, UserId: aws.String("alice"), Attributes: map[string]string{"colour": "red"},
		Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage}, SessionDurationInMinutes: aws.Int32(5),
	})
	if err != nil {
		t.Fatal(err)
	}
	type tokenClaims struct {
		ID, RoomARN, UserID                        string
		Capabilities                               []string
		Attributes                                 map[string]string
		TokenExpirationTime, SessionExpirationTime time.Time
		Spent                                      bool
	}
	input := map[string]string{"token": *out.Token}
	describe := func() tokenClaims {
		t.Helper()
		return described[tokenClaims](t, s, ann, "DescribeToken", input)
	}
	first := describe()
	want := tokenClaims{
		ID: first.ID, RoomARN: room, UserID: "alice", Capabilities: []string{"SEND_MESSAGE"}, Attributes: map[string]string{"colour": "red"},
		TokenExpirationTime: *out.TokenExpirationTime, SessionExpirationTime: *out.SessionExpirationTime,
	}
	if diff := gocmp.Diff(want, first); diff != "" || len(first.ID) != 24 {
		t.Errorf("a fresh token (-want +got):\n%s", diff)
	}
	conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{*out.Token}})
	if err != nil {
		t.Fatalf("a token that was described does not open its connection: %v", err)
	}
	defer conn.CloseNow()
	want.Spent = true
	if diff := gocmp.Diff(want, describe()); diff != "" {
		t.Errorf("a used token (-want +got):\n%s", diff)
	}
	body := `{"token":"` + *out.Token + `"}`
	if status, answer := signed(t, s, other, "POST", "/parlor/DescribeToken", body); status != http.StatusForbidden || !strings.Contains(answer, "AccessDeniedException") || strings.Contains(answer, "alice") {
		t.Errorf("another account: got %d %s", status, answer)
	}
	bad := ann
	bad.Secret = other.Secret
	if status, answer := signed(t, s, bad, "POST", "/parlor/DescribeToken", body); status != http.StatusForbidden || !strings.Contains(answer, "InvalidSignatureException") {
		t.Errorf("the wrong secret: got %d %s", status, answer)
	}
	if status, answer := signed(t, s, ann, "POST", "/parlor/DescribeToken", `{"token":"`+strings.Repeat("A", 300)+`"}`); status != http.StatusBadRequest || !strings.Contains(answer, `"fieldList":[{"name":"token"`) {
		t.Errorf("no token: got %d %s", status, answer)
	}
	time.Sleep(time.Until(*out.TokenExpirationTime) + 50*time.Millisecond)
	if diff := gocmp.Diff(want, describe()); diff != "" {
		t.Errorf("a token that is over (-want +got):\n%s", diff)
	}
	if text := log.String(); !strings.Contains(text, "operation=DescribeToken") || strings.Contains(text, *out.Token) || strings.Contains(text, "alice") {
		t.Error("the log has no record of a request, or has the token or what it grants")
	}
}

// TestConsole: the pages are there where they are wanted, to read.
func TestConsole(t *testing.T) {
	if config.Default(config.Serve).Console || !config.Default(config.Dev).Console {
		t.Error("the console is on in parlor serve, or off in parlor dev, by default")
	}
	path := filepath.Join(t.TempDir(), "credentials")
	ann := newKey("ann", 0)
	addKeys(t, path, ann)
	t.Run("on", func(t *testing.T) {
		s := parlortest.Start(t, withCredentials(path), func(c *config.Config) { c.Regions = []string{"us-west-2", "eu-west-1"} })
		for _, tc := range []struct {
			method, path, host string
			status             int
			body               string
		}{
			{"GET", "/console", "", 200, "<!doctype html>"}, // led to /console/
			{"GET", "/console/", "", 200, "<!doctype html>"},
			{"HEAD", "/console/", "", 200, ""},
			{"GET", "/console/demo", "", 200, "<!doctype html>"},
			{"GET", "/console/config.json", "", 200, `"account":"000000000000","regions":["us-west-2","eu-west-1"],"anyKey":false}`},
			{"GET", "/console/config.json", "", 200, `{"mode":"dev","version":"`},
			{"GET", "/console/none", "", 404, "no such page"},
			{"POST", "/console/", "", 403, "MissingAuthenticationTokenException"},
			{"GET", "/consoles", "", 403, "MissingAuthenticationTokenException"},
			{"GET", "/%63onsole/", "", 403, "MissingAuthenticationTokenException"},
		} {
			response, body := do(t, tc.method, s.URL+tc.path, tc.host)
			if response.StatusCode != tc.status || !strings.Contains(strings.ToLower(body), strings.ToLower(tc.body)) {
				t.Errorf("%s %s: got %d %.200s, want %d with %s", tc.method, tc.path, response.StatusCode, body, tc.status, tc.body)
			}
			if got := response.Header.Get("Content-Security-Policy"); (got != "") != (tc.status == 200 || tc.status == 404) {
				t.Errorf("%s %s: Content-Security-Policy %q", tc.method, tc.path, got)
			}
		}
	})
	t.Run("only this machine's", func(t *testing.T) {
		s := parlortest.Start(t)
		if response, _ := do(t, "GET", s.URL+"/console/", "evil.example"); response.StatusCode != http.StatusForbidden {
			t.Errorf("got %d, want 403", response.StatusCode)
		}
	})
	t.Run("off", func(t *testing.T) {
		s := parlortest.Start(t, withCredentials(path), func(c *config.Config) { c.Console = false })
		for _, path := range []string{"/console", "/console/", "/console/config.json", "/another"} {
			if status, answer := signed(t, s, ann, "GET", path, ""); status != http.StatusNotFound || !strings.Contains(answer, "UnknownOperationException") {
				t.Errorf("%s: got %d %s, want 404", path, status, answer)
			}
			if response, body := do(t, "GET", s.URL+path, ""); response.StatusCode != http.StatusForbidden || !strings.Contains(body, "MissingAuthenticationTokenException") {
				t.Errorf("%s, unsigned: got %d %s, want 403 as everywhere", path, response.StatusCode, body)
			}
		}
	})
}
