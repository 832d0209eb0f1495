package parlortest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/gobwas/ws"

	"parlor/internal/parlortest"
)

// client is the official SDK's for a server that is a process.
func (p *process) client(t testing.TB) (*ivschat.Client, *parlortest.Server) {
	t.Helper()
	s := &parlortest.Server{URL: "http://" + p.address, WebSocketURL: "ws://" + p.address}
	return s.Client(t), s
}

// reviewedRoom makes a room. Without a handler's ARN it has none.
func reviewedRoom(t testing.TB, client *ivschat.Client, uri string) string {
	t.Helper()
	in := &ivschat.CreateRoomInput{MaximumMessageRatePerSecond: aws.Int32(100)}
	if uri != "" {
		in.MessageReviewHandler = &types.MessageReviewHandler{Uri: &uri, FallbackResult: types.FallbackResultAllow}
	}
	return *must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(t.Context(), in)).Arn
}

// talker is somebody in a room who says things and takes note of every answer.
type talker struct {
	*peer
	name   string
	sent   []time.Time
	closed chan struct{} // listen is over

	mu    sync.Mutex
	heard map[string][]hearing // every frame, by RequestId
	order []string             // the RequestIds
}

// hearing is a frame that came.
type hearing struct {
	frame
	at time.Time
}

// talk has somebody enter a room.
func talk(t testing.TB, s *parlortest.Server, client *ivschat.Client, room, name string) *talker {
	t.Helper()
	p := &talker{peer: enter(t, s, client, room, name), name: name, closed: make(chan struct{}), heard: map[string][]hearing{}}
	go p.listen()
	t.Cleanup(func() { p.conn.CloseNow(); <-p.closed })
	return p
}

func (p *talker) listen() {
	defer close(p.closed)
	for {
		_, text, err := p.conn.Read(context.Background())
		if err != nil {
			return
		}
		h := hearing{at: time.Now()}
		if err := json.Unmarshal(text, &h.frame); err != nil {
			p.t.Errorf("frame %s: %v", text, err)
		}
		p.mu.Lock()
		p.heard[h.RequestID] = append(p.heard[h.RequestID], h)
		p.order = append(p.order, h.RequestID)
		p.mu.Unlock()
	}
}

// request is the RequestId of the nth message.
func (p *talker) request(n int) string { return fmt.Sprintf("%s/%06d", p.name, n) }

// say says the next thing.
func (p *talker) say() {
	p.t.Helper()
	id := p.request(len(p.sent))
	p.sent = append(p.sent, time.Now())
	p.send(map[string]any{"Action": "SEND_MESSAGE", "RequestId": id, "Content": id})
}

// answers are the frames that answer what was said, in its order: one for each, whatever
// it says, and in time.
func (p *talker) answers() (answers []hearing) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		n := 0
		for i := range p.sent {
			n += min(1, len(p.heard[p.request(i)]))
		}
		p.mu.Unlock()
		if n == len(p.sent) {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: of %d messages %d were answered", p.name, len(p.sent), n)
		}
	}
	time.Sleep(100 * time.Millisecond) // for what comes twice
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.sent {
		all := p.heard[p.request(i)]
		if len(all) != 1 {
			p.t.Errorf("%s: message %d was answered %d times: %+v", p.name, i, len(all), all)
		}
		answers = append(answers, all[0])
	}
	own := slices.DeleteFunc(slices.Clone(p.order), func(id string) bool { return !strings.HasPrefix(id, p.name+"/") })
	if !slices.IsSorted(own) {
		p.t.Errorf("%s: answers came in the order %v", p.name, own)
	}
	return answers
}

// latencies are how long answers took.
func (p *talker) latencies() (all []time.Duration) {
	p.t.Helper()
	for i, a := range p.answers() {
		if a.Type != "MESSAGE" {
			p.t.Errorf("%s: message %d: got %+v", p.name, i, a.frame)
		}
		all = append(all, a.at.Sub(p.sent[i]))
	}
	return all
}

// talkTogether has each say something every so often, not all at once.
func talkTogether(talkers []*talker, every, during time.Duration) {
	var talking sync.WaitGroup
	for i, p := range talkers {
		talking.Go(func() {
			time.Sleep(every * time.Duration(i) / time.Duration(len(talkers)))
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for range during / every {
				p.say()
				<-ticker.C
			}
		})
	}
	talking.Wait()
}

// TestReviewDetachUnderTraffic attaches and detaches a handler, over and over, while ten
// messages a second are said. From the moment UpdateRoom has answered, what is said is
// treated as it says; nothing is lost, answered twice, or shown in another order.
func TestReviewDetachUnderTraffic(t *testing.T) {
	t.Parallel()
	h := newHandlers(t, map[string]review{"marks": func(q question) (string, error) {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		return fmt.Sprintf(`{"ReviewResult": "ALLOW", "Content": %q}`, "reviewed "+q.Content), nil
	}})
	server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known())
	client, s := server.client(t)
	room := reviewedRoom(t, client, "")
	talkers := []*talker{talk(t, s, client, room, "ann"), talk(t, s, client, room, "bob")}
	watcher := talk(t, s, client, room, "watcher")

	type change struct {
		begun, ended time.Time
		reviewed     bool
	}
	changes := []change{{ended: time.Now()}}
	const during = 8 * time.Second
	done := make(chan struct{})
	go func() {
		defer close(done)
		for deadline := time.Now().Add(during); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
			c := change{begun: time.Now(), reviewed: !changes[len(changes)-1].reviewed}
			uri := ""
			if c.reviewed {
				uri = []string{functionARN("marks"), webhookARN("marks")}[len(changes)/2%2]
			}
			if _, err := client.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: &room, MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri}}); err != nil {
				t.Errorf("UpdateRoom: %v", err)
				return
			}
			c.ended = time.Now()
			changes = append(changes, c)
		}
	}()
	talkTogether(talkers, time.Second/5, during)
	<-done

	judged, reviewed, late := 0, 0, 0
	for _, p := range talkers {
		for i, a := range p.answers() {
			was := strings.HasPrefix(a.Content, "reviewed ")
			if a.Type != "MESSAGE" || strings.TrimPrefix(a.Content, "reviewed ") != p.request(i) {
				t.Errorf("%s: message %d: got %+v", p.name, i, a.frame)
			}
			watcher.mu.Lock()
			if all := watcher.heard[p.request(i)]; len(all) != 1 || all[0].ID != a.ID || all[0].Content != a.Content {
				t.Errorf("%s: message %d: the watcher got %+v, want one as %+v", p.name, i, all, a.frame)
			}
			watcher.mu.Unlock()
			if was {
				reviewed++
			}
			// Which rule held when it was said? While one changes, either may.
			k := len(changes) - 1
			for k > 0 && changes[k].begun.After(p.sent[i]) {
				k--
			}
			if p.sent[i].Before(changes[k].ended) || k+1 < len(changes) && changes[k+1].begun.Before(a.at) {
				continue
			}
			judged++
			// A handler that is late on a loaded machine leaves the message as it is.
			if was != changes[k].reviewed {
				if !was && a.at.Sub(p.sent[i]) > 190*time.Millisecond {
					late++
					continue
				}
				t.Errorf("%s: message %d, after change %d: reviewed %v, want %v", p.name, i, k, was, changes[k].reviewed)
			}
		}
	}
	t.Logf("%d changes; %d of the messages judged, %d reviewed, %d handlers late", len(changes)-1, judged, reviewed, late)
	if total := len(talkers[0].sent) + len(talkers[1].sent); judged < total/2 || reviewed == 0 || late > total/10 {
		t.Errorf("of %d messages %d could be judged, %d were reviewed and %d handlers late: too few to say anything", total, judged, reviewed, late)
	}
}

// TestLoadSlowHandler: a handler that takes its time delays its own room alone.
func TestLoadSlowHandler(t *testing.T) {
	if underRace() {
		t.Skip("the race detector would be what is measured; make test runs this without it")
	}
	h := newHandlers(t, map[string]review{"slow": func(question) (string, error) {
		time.Sleep(150 * time.Millisecond)
		return "", errEcho
	}})
	server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known())
	client, s := server.client(t)
	crowd := func(uri, name string) (talkers []*talker) {
		room := reviewedRoom(t, client, uri)
		for i := range 4 {
			talkers = append(talkers, talk(t, s, client, room, fmt.Sprint(name, i)))
		}
		return talkers
	}
	const during = 5 * time.Second
	twentyASecond := func(talkers []*talker) latency {
		talkTogether(talkers, time.Second/5, during)
		var all []time.Duration
		for _, p := range talkers {
			all = append(all, p.latencies()...)
		}
		return latenciesOf(all)
	}
	alone := twentyASecond(crowd("", "alone"))
	slow, slowLatency := crowd(functionARN("slow"), "slow"), make(chan latency)
	go func() { slowLatency <- twentyASecond(slow) }()
	beside := twentyASecond(crowd("", "beside"))
	t.Logf("a room without a handler, at 20 messages a second: %v", alone)
	t.Logf("the same, while another's handler takes 150 ms:    %v", beside)
	l := <-slowLatency
	t.Logf("the other:                                         %v", l)
	if beside.p50 > 75*time.Millisecond || l.p50 < 150*time.Millisecond {
		t.Errorf("p50: got %v beside a slow one's %v, want next to nothing beside 150 ms", beside.p50, l.p50)
	}
}

// TestLoadDeadHandler: a hundred messages a second in twenty rooms, whose one handler is
// dead. Nothing is lost or answered twice, and every message is shown.
func TestLoadDeadHandler(t *testing.T) {
	if underRace() {
		t.Skip("the race detector would be what is measured; make test runs this without it")
	}
	const rooms, perSecond, during = 20, 5, 8 * time.Second
	for _, tc := range []struct {
		name, uri string
		lambda    bool // nobody listens where AWS Lambda should be
	}{
		{"function that never answers", functionARN("silent"), true},
		{"webhook that never answers", webhookARN("silent"), true},
		{"AWS Lambda refuses connections", functionARN("silent"), false},
		{"webhook refuses connections", webhookARN("nobody"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHandlers(t, map[string]review{"silent": as("", errSilent)})
			server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known("nobody"), func(c *exec.Cmd) {
				if !tc.lambda {
					c.Env = append(c.Env, "AWS_ENDPOINT_URL_LAMBDA=http://"+h.refusing)
				}
			})
			client, s := server.client(t)
			var talkers []*talker
			for i := range rooms {
				talkers = append(talkers, talk(t, s, client, reviewedRoom(t, client, tc.uri), fmt.Sprint("user-", i)))
			}
			before := server.cpu(t)
			talkTogether(talkers, time.Second/perSecond, during)
			used := server.cpu(t) - before
			var all []time.Duration
			for _, p := range talkers {
				all = append(all, p.latencies()...)
			}
			failed, why := 0.0, []string{}
			for name, n := range metrics(t, server.address) {
				if reason, ok := strings.CutPrefix(name, "parlor_review_invocation_errors_total{reason="); ok && n > 0 {
					failed += n
					why = append(why, fmt.Sprintf("%s %v", reason[:strings.IndexByte(reason, ',')], n))
				}
			}
			slices.Sort(why)
			t.Logf("%d messages, %v; %s; %.0f µs of processor time for each", len(all), latenciesOf(all), strings.Join(why, ", "),
				float64(used.Microseconds())/float64(len(all)))
			if failed != float64(len(all)) {
				t.Errorf("counted: got %v messages without an answer, want %d", failed, len(all))
			}
		})
	}
}

// BenchmarkReview says what review costs beyond the handler's own time: the latency of
// the sender's answer, and the processor time of the server, without a handler and with
// one that answers at once, in turn. An iteration is a batch of each. One message is
// under way at a time, in rooms of one. The handler's own time is what the webhook takes
// to answer the same question to a bare connection.
func BenchmarkReview(b *testing.B) {
	const rooms, batch = 200, 500 // within the rates of connections
	h := newHandlers(b, map[string]review{"at-once": as(`{"ReviewResult": "ALLOW", "Content": "hello"}`, nil)})
	server, _ := run(b, filepath.Join(b.TempDir(), "data"), h.known())
	client, _ := server.client(b)
	lean := newAPI(b, server.address)
	type kind struct {
		name    string
		members []*member
		cpu     time.Duration
		latency []time.Duration
	}
	kinds := []*kind{{name: "none"}, {name: "webhook"}, {name: "function"}}
	uris := map[string]string{"webhook": webhookARN("at-once"), "function": functionARN("at-once")}
	for _, k := range kinds {
		for i := range rooms {
			m, err := join(lean, server.address, reviewedRoom(b, client, uris[k.name]), i)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { m.conn.Close() })
			k.members = append(k.members, m)
		}
	}
	bare := newAsker(b, h)
	for _, k := range kinds { // connections to the handlers
		for _, m := range k.members[:20] {
			m.say(b)
		}
	}
	n := 0
	for b.Loop() {
		for _, k := range kinds {
			time.Sleep(100 * time.Millisecond) // what the others left to do, and the rates
			before := server.cpu(b)
			for i := range batch {
				k.latency = append(k.latency, k.members[(n*batch+i)%rooms].say(b))
			}
			k.cpu += server.cpu(b) - before
		}
		bare.ask(b, batch)
		n++
	}
	if failed := metrics(b, server.address)["parlor_review_seconds_count"]; failed < float64(2*n*batch) {
		b.Errorf("%v messages were reviewed, want %d", failed, 2*n*batch)
	}
	without := latenciesOf(kinds[0].latency)
	cpu := func(k *kind) float64 { return float64(k.cpu.Microseconds()) / float64(n*batch) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(without.p50.Microseconds()), "none-p50-µs")
	b.ReportMetric(cpu(kinds[0]), "none-CPU-µs")
	b.ReportMetric(float64(latenciesOf(bare.latency).p50.Microseconds()), "handler-p50-µs")
	for _, k := range kinds[1:] {
		l := latenciesOf(k.latency)
		b.ReportMetric(float64((l.p50 - without.p50).Microseconds()), k.name+"-more-p50-µs")
		b.ReportMetric(float64((l.p99 - without.p99).Microseconds()), k.name+"-more-p99-µs")
		b.ReportMetric(cpu(k)-cpu(kinds[0]), k.name+"-more-CPU-µs")
	}
}

// say says something and waits for it to be shown, by a connection that nothing else
// comes to. It returns how long that took.
func (m *member) say(t testing.TB) time.Duration {
	t.Helper()
	begun := time.Now()
	text := []byte(`{"Action":"SEND_MESSAGE","RequestId":"8fe65e61-0000-4000-8000-000000000000","Content":"hello"}`)
	err := ws.WriteFrame(m.conn, ws.MaskFrameInPlace(ws.NewTextFrame(text)))
	for answered := false; err == nil && !answered; {
		var head ws.Header
		if head, err = ws.ReadHeader(m.in); err != nil {
			break
		}
		payload := make([]byte, min(head.Length, 4096))
		if _, err = io.ReadFull(m.in, payload); err == nil && head.OpCode == ws.OpText {
			answered = true
			if !bytes.HasPrefix(payload, []byte(`{"Type":"MESSAGE"`)) {
				err = fmt.Errorf("got %s", payload)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}

// asker asks a webhook by a connection that does no more than it must.
type asker struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	latency []time.Duration
}

func newAsker(t testing.TB, h *handlers) *asker {
	t.Helper()
	conn, err := net.Dial("tcp", h.webhook.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	payload := `{"Content":"hello","MessageId":"M2YcHkgffEvU","RoomArn":"arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6","Attributes":{},` +
		`"Sender":{"UserId":"user-1","Attributes":{"displayName":"User number 1"},"Ip":"127.0.0.1"}}`
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	request := fmt.Appendf(nil, "POST /at-once HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nParlor-Timestamp: %s\r\nParlor-Signature: %s\r\n\r\n%s",
		h.webhook.Listener.Addr(), len(payload), timestamp, h.sign(timestamp, []byte(payload)), payload)
	return &asker{conn: conn, in: bufio.NewReader(conn), request: request}
}

func (a *asker) ask(t testing.TB, times int) {
	t.Helper()
	for range times {
		begun := time.Now()
		_, err := a.conn.Write(a.request)
		if err == nil {
			var response *http.Response
			if response, err = http.ReadResponse(a.in, nil); err == nil {
				_, err = io.Copy(io.Discard, response.Body)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		a.latency = append(a.latency, time.Since(begun))
	}
}
