package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"parlor/internal/chat"
)

// question is what a handler is asked.
type question struct {
	Content, MessageID string
	Sender             struct {
		UserID string `json:"UserId"`
		IP     string `json:"Ip"`
	}
	answer chan chat.Verdict
}

// slowReviewer is a Reviewer whose questions wait until the test answers them.
type slowReviewer struct{ questions chan question }

func newSlowReviewer() *slowReviewer { return &slowReviewer{questions: make(chan question, 100)} }

func (r *slowReviewer) Review(_ context.Context, _ string, payload []byte, usable func(*chat.Verdict) error) (chat.Verdict, error) {
	q := question{answer: make(chan chat.Verdict)}
	if err := json.Unmarshal(payload, &q); err != nil {
		panic(err)
	}
	r.questions <- q
	v := <-q.answer
	if v.Content == "panic" {
		panic("broken")
	}
	return v, usable(&v)
}

func (r *slowReviewer) Verify(context.Context, string) error { return nil }

// reviewedRoom makes a room that has a handler.
func (n *node) reviewedRoom() chat.ARN {
	n.t.Helper()
	uri := "arn:aws:lambda:us-west-2:123456789012:function:review"
	return n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 1000, Handler: &chat.HandlerChange{URI: &uri}}).ARN
}

func (c *client) sendMessage(requestID, content string) {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"Action":"SEND_MESSAGE","RequestId":%q,"Content":%q}`, requestID, content))
}

// While a message is reviewed its sender's pings are answered and his other requests
// carried out, and so are everybody's.
func TestReviewDelaysNobody(t *testing.T) {
	r := newSlowReviewer()
	n := startNode(t, nodeOptions{reviewer: r})
	room := n.reviewedRoom()
	a, b := n.connect(room, "a"), n.connect(room, "b")
	a.sendMessage("slow", "slow")
	slow := <-r.questions
	if slow.Content != "slow" || slow.Sender.UserID != "a" || slow.Sender.IP != "127.0.0.1" {
		t.Errorf("got %+v", slow)
	}

	event := make(chan frame)
	go func() { event <- a.next() }() // pongs are read here
	if err := a.conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.send(`{"Action":"DELETE_MESSAGE","RequestId":"delete","Id":"M2YcHkgffEvU"}`)
	if f := <-event; f.RequestID != "delete" || b.next().RequestID != "delete" {
		t.Errorf("got %s, want the answer to the delete", f.raw)
	}
	a.send(`{"Action":"SEND_MESSAGE","RequestId":"bad","Content":""}`)
	a.wantError("bad", 400)
	b.sendMessage("quick", "quick")
	quick := <-r.questions
	quick.answer <- chat.Verdict{Allow: true, Content: "quick"}
	if f, g := a.next(), b.next(); f.RequestID != "quick" || g.raw != f.raw {
		t.Errorf("got %s and %s, want the message that was reviewed first", f.raw, g.raw)
	}
	slow.answer <- chat.Verdict{Allow: true, Content: "slowly"}
	for _, c := range []*client{a, b} {
		if f := c.next(); f.RequestID != "slow" || f.Content != "slowly" || f.ID != slow.MessageID {
			t.Errorf("got %s", f.raw)
		}
	}
}

// A message that is denied is answered once, to its sender alone, by an ERROR whose Id
// is what the handler was given as MessageId.
func TestReviewDenies(t *testing.T) {
	r := newSlowReviewer()
	n := startNode(t, nodeOptions{reviewer: r})
	room := n.reviewedRoom()
	a, b := n.connect(room, "a"), n.connect(room, "b")
	for reason, text := range map[string]string{"": "Message rejected by review", "be \"kind\" ✓": "be \"kind\" ✓"} {
		a.sendMessage("r", "rude")
		q := <-r.questions
		q.answer <- chat.Verdict{Attributes: map[string]string{"Reason": reason}}
		if f := a.wantError("r", 406); f.ID != q.MessageID || f.ErrorMessage != text {
			t.Errorf("got %s, want the Id %s and %q", f.raw, q.MessageID, text)
		}
	}
	a.sendMessage("r2", "kind")
	q := <-r.questions
	q.answer <- chat.Verdict{Allow: true, Content: "kind"}
	for _, c := range []*client{a, b} { // and nothing came between
		if f := c.next(); f.RequestID != "r2" || f.ID != q.MessageID {
			t.Errorf("got %s", f.raw)
		}
	}
}

// A review that panics is a fault of ours, told to its sender; nothing else is touched.
func TestReviewPanics(t *testing.T) {
	var log strings.Builder
	r := newSlowReviewer()
	n := startNode(t, nodeOptions{reviewer: r, log: &log})
	c := n.connect(n.reviewedRoom(), "a")
	c.sendMessage("first", "a")
	c.sendMessage("second", "b")
	first, second := <-r.questions, <-r.questions
	if first.Content != "a" {
		first, second = second, first
	}
	first.answer <- chat.Verdict{Content: "panic"}
	c.wantError("first", 500)
	second.answer <- chat.Verdict{Allow: true, Content: "b"}
	if f := c.next(); f.RequestID != "second" {
		t.Errorf("got %s", f.raw)
	}
	n.stop()
	if !strings.Contains(log.String(), "broken") {
		t.Errorf("got log %s, want the panic", log.String())
	}
}

// A message whose review panics keeps its place: what comes after it still comes after
// what came before.
func TestReviewPanicKeepsOrder(t *testing.T) {
	r := newSlowReviewer()
	n := startNode(t, nodeOptions{reviewer: r, log: io.Discard})
	c := n.connect(n.reviewedRoom(), "a")
	questions := map[string]question{}
	for _, content := range []string{"first", "panic", "last"} {
		c.sendMessage(content, content)
		q := <-r.questions
		questions[q.Content] = q
	}
	for _, content := range []string{"panic", "last"} {
		questions[content].answer <- chat.Verdict{Allow: true, Content: content}
	}
	time.Sleep(20 * time.Millisecond)
	questions["first"].answer <- chat.Verdict{Allow: true, Content: "first"}
	var shown []string
	for len(shown) < 2 {
		if f := c.next(); f.Type == "MESSAGE" {
			shown = append(shown, f.Content)
		}
	}
	if !slices.Equal(shown, []string{"first", "last"}) {
		t.Errorf("shown: %q", shown)
	}
}

// A session that ends while its messages are reviewed shows nothing more, however it
// ends, and leaves nothing behind: the gateway stops.
func TestSessionEndsDuringReview(t *testing.T) {
	type scene struct {
		n    *node
		room chat.ARN
		c    *client
	}
	for _, test := range []struct {
		name string
		end  func(t *testing.T, s scene)
		code websocket.StatusCode
	}{
		{"kicked", func(t *testing.T, s scene) {
			if err := s.n.service.DisconnectUser(t.Context(), chat.Actor{}, s.room, "a", "bye"); err != nil {
				t.Error(err)
			}
		}, websocket.StatusGoingAway},
		{"expired", func(*testing.T, scene) { time.Sleep(40 * time.Second) }, websocket.StatusGoingAway},
		{"room deleted", func(t *testing.T, s scene) {
			if err := s.n.service.DeleteRoom(t.Context(), s.room); err != nil {
				t.Error(err)
			}
		}, websocket.StatusGoingAway},
		{"drained", func(t *testing.T, s scene) { s.n.gateway.Drain(t.Context(), 0) }, -1},
		{"stopped", func(*testing.T, scene) {}, 0}, // as all are in the end
		{"gone", func(t *testing.T, s scene) { s.c.conn.CloseNow() }, 0},
	} {
		for _, denied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s denied=%v", test.name, denied), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSlowReviewer()
					n := startNode(t, nodeOptions{reviewer: r, pipes: true})
					room := n.reviewedRoom()
					c := n.open(n.token(chat.TokenSpec{Room: room, UserID: "a", Capabilities: everything, SessionDuration: 30 * time.Second}), nil)
					others := make(chan []frame, 1)
					go func() {
						_, _, frames := n.connect(room, "b").closed()
						others <- frames
					}()
					const messages = 3
					for i := range messages {
						c.sendMessage(fmt.Sprint(i), "a")
					}
					synctest.Wait()
					type end struct {
						code   websocket.StatusCode
						frames []frame
					}
					ended := make(chan end, 1)
					if test.code != 0 {
						go func() {
							code, _, frames := c.closed()
							ended <- end{code, frames}
						}()
					}
					test.end(t, scene{n, room, c})
					if test.code != 0 {
						e := <-ended
						if e.code != test.code {
							t.Errorf("closed with %d, want %d", e.code, test.code)
						}
						for _, f := range e.frames {
							if f.Type == "MESSAGE" {
								t.Errorf("shown: %s", f.raw)
							}
						}
					}
					synctest.Wait()
					stopped := make(chan struct{})
					go func() { n.stop(); close(stopped) }()
					synctest.Wait()
					select {
					case <-stopped:
						t.Error("the gateway stopped before the reviews did")
					default:
					}
					for range messages {
						(<-r.questions).answer <- chat.Verdict{Allow: !denied, Content: "late"}
					}
					<-stopped
					for _, f := range <-others {
						if f.Type == "MESSAGE" {
							t.Errorf("shown to others: %s", f.raw)
						}
					}
					if n.broker.messages != 0 {
						t.Errorf("published %d messages", n.broker.messages)
					}
				})
			})
		}
	}
}

// Many send at once, and their reviews end as they like: each request has one answer,
// and each sender's messages are in order, for everybody.
func TestReviewsAtOnce(t *testing.T) {
	r := newSlowReviewer()
	n := startNode(t, nodeOptions{reviewer: r})
	room := n.reviewedRoom()
	const senders, each = 12, 9
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case q := <-r.questions:
				running.Go(func() {
					time.Sleep(rand.N(20 * time.Millisecond))
					q.answer <- chat.Verdict{Allow: !strings.HasSuffix(q.Content, "3"), Content: q.Content}
				})
			case <-stop:
				return
			}
		}
	})
	defer running.Wait()
	defer close(stop)
	var clients []*client
	for i := range senders {
		clients = append(clients, n.connect(room, fmt.Sprint("user-", i)))
	}
	var reading sync.WaitGroup
	shown := make([][]frame, senders)
	for i, c := range clients {
		reading.Go(func() { // all messages, and an ERROR of its own
			for range senders*(each-1) + 1 {
				f, err := c.read(10 * time.Second)
				if err != nil {
					t.Errorf("client %d, after %d frames: %v", i, len(shown[i]), err)
					return
				}
				shown[i] = append(shown[i], f)
			}
		})
	}
	for j := range each {
		for i, c := range clients {
			c.sendMessage(fmt.Sprintf("%d-%d", i, j), fmt.Sprint(j))
		}
	}
	reading.Wait()
	var order []string
	for i, frames := range shown {
		var mine []string // the answers to own requests
		var ids []string
		bySender := map[string][]string{}
		for _, f := range frames {
			if strings.HasPrefix(f.RequestID, fmt.Sprint(i, "-")) {
				mine = append(mine, f.RequestID)
			}
			if f.Type == "ERROR" {
				if f.ErrorCode != 406 || f.RequestID != fmt.Sprint(i, "-3") {
					t.Errorf("client %d: got %s", i, f.raw)
				}
				continue
			}
			ids = append(ids, f.ID)
			bySender[f.Sender.UserID] = append(bySender[f.Sender.UserID], f.Content)
		}
		for user, contents := range bySender {
			if !slices.IsSorted(contents) || len(contents) != each-1 {
				t.Errorf("client %d saw of %s: %q", i, user, contents)
			}
		}
		slices.SortFunc(mine, cmp.Compare)
		if len(mine) != each || len(slices.Compact(mine)) != each {
			t.Errorf("client %d has answers %q, want one to each of %d", i, mine, each)
		}
		if order == nil {
			order = ids
		} else if !slices.Equal(ids, order) {
			t.Errorf("client %d saw another order", i)
		}
		if len(bySender) != senders {
			t.Errorf("client %d saw messages of %v", i, slices.Sorted(maps.Keys(bySender)))
		}
	}
}
