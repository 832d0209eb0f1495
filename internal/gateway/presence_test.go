package gateway

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/broker"
	"parlor/internal/chat"
)

// attender is a client that reads all the time, and keeps what it was shown of presence.
type attender struct {
	*client
	done chan struct{}

	mu     sync.Mutex
	shown  []frame
	at     []time.Time
	code   websocket.StatusCode // how it was closed
	reason string
}

func (n *node) listen(room chat.ARN, user string) *attender {
	n.t.Helper()
	l := &attender{client: n.connect(room, user), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			f, err := l.read(time.Hour)
			l.mu.Lock()
			var closing websocket.CloseError
			switch {
			case errors.As(err, &closing):
				l.code, l.reason = closing.Code, closing.Reason
			case err == nil && f.EventName == "parlor:PRESENCE":
				l.shown, l.at = append(l.shown, f), append(l.at, time.Now())
			}
			l.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return l
}

// leave closes the connection, and waits for its end.
func (l *attender) leave() {
	l.conn.CloseNow()
	<-l.done
}

func (l *attender) all() []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.shown)
}

// last is what was shown last, as text.
func (l *attender) last() string {
	all := l.all()
	if len(all) == 0 {
		return "nothing"
	}
	return fmt.Sprint(all[len(all)-1].Attributes)
}

func (l *attender) ended() (websocket.StatusCode, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code, l.reason
}

// attending runs a test in virtual time, with a broker that knows who is in a room.
func attending(t *testing.T, tags map[string]string, f func(t *testing.T, n *node, room chat.ARN)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nodeOptions{pipes: true})
		local := broker.NewLocal(func(*chat.Publication) {})
		n.broker.attends = func(room chat.ARN, share chat.Share) (chat.Standing, error) {
			return local.Attend(context.Background(), room, share)
		}
		f(t, n, n.room(chat.RoomSpec{Tags: tags}).ARN)
		n.stop()
	})
}

func (n *node) tag(room chat.ARN, name, value string) {
	n.t.Helper()
	var err error
	if value == "" {
		err = n.service.UntagResource(n.t.Context(), room, []string{name})
	} else {
		err = n.service.TagResource(n.t.Context(), room, map[string]string{name: value})
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (b *memoryBroker) attendCalls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

const settled = 3 * time.Second // after that, what is to be shown was

func TestPresenceCounts(t *testing.T) {
	attending(t, map[string]string{"parlor:presence": "count"}, func(t *testing.T, n *node, room chat.ARN) {
		begun := time.Now()
		a := n.listen(room, "ann")
		time.Sleep(attendTick + 50*time.Millisecond)
		if got, want := a.last(), "map[Connections:1 Users:1]"; got != want {
			t.Errorf("the first, after %s: got %s, want %s", time.Since(begun), got, want)
		}
		var others []*attender
		for i := range 30 { // three seconds of coming
			others = append(others, n.listen(room, fmt.Sprint("user", i%10)))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(settled)
		if got, want := a.last(), "map[Connections:31 Users:11]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := others[29].last(), a.last(); got != want {
			t.Errorf("a newcomer: got %s, want %s", got, want)
		}
		f := a.all()[0]
		if f.Type != "EVENT" || f.RequestID != "" || !chat.ValidID(f.ID) {
			t.Errorf("got %s", f.raw)
		}
		if got := len(a.all()); got < 4 || got > 6 {
			t.Errorf("events: got %d, want one a second", got)
		}
		for i := 1; i < len(a.at); i++ {
			if pause := a.at[i].Sub(a.at[i-1]); pause < chat.PresencePause {
				t.Errorf("event %d came %s after the one before", i, pause)
			}
		}
		// Nothing is shown while nothing happens.
		before := len(a.all())
		time.Sleep(time.Minute)
		if got := len(a.all()); got != before {
			t.Errorf("in a quiet minute: %d events", got-before)
		}
		for _, l := range others {
			l.leave()
		}
		time.Sleep(settled)
		if got, want := a.last(), "map[Connections:1 Users:1]"; got != want {
			t.Errorf("alone again: got %s, want %s", got, want)
		}
		a.leave()
		time.Sleep(settled)
		before = n.broker.attendCalls()
		time.Sleep(time.Minute)
		if got := n.broker.attendCalls(); got != before {
			t.Errorf("a room without sessions: %d calls", got-before)
		}
	})
}

func TestPresenceNames(t *testing.T) {
	attending(t, map[string]string{"parlor:presence": "list"}, func(t *testing.T, n *node, room chat.ARN) {
		a := n.listen(room, "ann")
		b := n.listen(room, `"böb" <x>`)
		time.Sleep(settled)
		b.leave()
		n.listen(room, "cid")
		time.Sleep(settled)
		joined, left := map[string]bool{}, map[string]bool{}
		for _, f := range a.all() {
			for _, name := range splitNames(t, f.Attributes["Joined"]) {
				joined[name] = true
			}
			for _, name := range splitNames(t, f.Attributes["Left"]) {
				left[name] = true
			}
		}
		if got, want := fmt.Sprint(joined, left), `map["böb" <x>:true ann:true cid:true] map["böb" <x>:true]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for i := range 70 {
			n.listen(room, fmt.Sprint("user", i))
		}
		time.Sleep(settled)
		all, named, more := a.all(), 0, 0
		for _, f := range all[len(all)-2:] {
			var k int
			if fmt.Sscan(f.Attributes["More"], &k); k > 0 {
				more += k
			}
			named += len(slices.DeleteFunc(splitNames(t, f.Attributes["Joined"]), func(s string) bool { return !strings.HasPrefix(s, "user") }))
		}
		if named+more != 70 || named < chat.PresenceNames {
			t.Errorf("of 70 that came: %d named, %d more: %s", named, more, a.last())
		}
	})
}

func TestPresenceComesAndGoesWithTheTag(t *testing.T) {
	attending(t, nil, func(t *testing.T, n *node, room chat.ARN) {
		a, b := n.listen(room, "ann"), n.listen(room, "bob")
		time.Sleep(time.Minute)
		if got := n.broker.attendCalls(); got != 0 || a.last() != "nothing" {
			t.Errorf("without a tag: %d calls of the broker, %s", got, a.last())
		}
		n.tag(room, "parlor:presence", "count")
		time.Sleep(settled)
		if got, want := b.last(), "map[Connections:2 Users:2]"; got != want {
			t.Errorf("who was there: got %s, want %s", got, want)
		}
		n.tag(room, "parlor:presence", "")
		time.Sleep(2 * attendRenewal)
		shown, calls := len(a.all()), n.broker.attendCalls()
		n.listen(room, "cid")
		b.leave()
		time.Sleep(time.Minute)
		if got := n.broker.attendCalls(); got != calls || len(a.all()) != shown {
			t.Errorf("without the tag again: %d calls, %d events", got-calls, len(a.all())-shown)
		}
		n.tag(room, "parlor:presence", "list")
		time.Sleep(settled)
		if got, want := a.last(), `map[Connections:2 Joined:["ann","cid"] Left:[] Users:2]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := n.service.DeleteRoom(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		calls = n.broker.attendCalls()
		time.Sleep(time.Minute)
		if got := n.broker.attendCalls(); got != calls {
			t.Errorf("a deleted room: %d calls", got-calls)
		}
	})
}

// TestPresenceWithoutTheBroker: a broker that fails, forgets or is away is told of everybody
// when it is back.
func TestPresenceWithoutTheBroker(t *testing.T) {
	attending(t, map[string]string{"parlor:presence": "count"}, func(t *testing.T, n *node, room chat.ARN) {
		a := n.listen(room, "ann")
		time.Sleep(settled)
		works := n.broker.attends
		set := func(f func(chat.ARN, chat.Share) (chat.Standing, error)) {
			n.broker.mu.Lock()
			n.broker.attends = f
			n.broker.mu.Unlock()
		}
		set(func(chat.ARN, chat.Share) (chat.Standing, error) { return chat.Standing{}, errors.New("away") })
		n.listen(room, "bob")
		time.Sleep(time.Minute)
		another := broker.NewLocal(func(*chat.Publication) {})
		set(func(room chat.ARN, share chat.Share) (chat.Standing, error) {
			return another.Attend(context.Background(), room, share)
		})
		time.Sleep(settled)
		if got, want := a.last(), "map[Connections:2 Users:2]"; got != want {
			t.Errorf("another broker: got %s, want %s", got, want)
		}
		// Deaf, it does not ask.
		n.gateway.Hears(false)
		calls := n.broker.attendCalls()
		time.Sleep(time.Minute)
		if got := n.broker.attendCalls(); got != calls {
			t.Errorf("deaf: %d calls", got-calls)
		}
		set(works)
		n.gateway.Hears(true)
		n.listen(room, "cid")
		time.Sleep(attendRenewal + settled)
		if got, want := a.last(), "map[Connections:3 Users:3]"; got != want {
			t.Errorf("heard again: got %s, want %s", got, want)
		}
	})
}

func TestOldestConnectionsEnd(t *testing.T) {
	attending(t, map[string]string{"parlor:max-connections-per-user": "3"}, func(t *testing.T, n *node, room chat.ARN) {
		var anns []*attender
		for range 5 {
			anns = append(anns, n.listen(room, "ann"))
			time.Sleep(2 * time.Second)
		}
		bob := n.listen(room, "bob")
		time.Sleep(settled)
		check := func(stay ...*attender) {
			t.Helper()
			for i, l := range append(anns, bob) {
				code, reason := l.ended()
				if stays := slices.Contains(stay, l); stays != (code == 0) || !stays && (code != websocket.StatusGoingAway || reason != tooManyReason) {
					t.Errorf("connection %d: closed with %d %q, want it to stay: %v", i, code, reason, stays)
				}
			}
			if got := bob.last(); got != "nothing" {
				t.Errorf("shown: %s", got)
			}
		}
		check(anns[2], anns[3], anns[4], bob)
		n.tag(room, "parlor:max-connections-per-user", "1")
		time.Sleep(settled)
		check(anns[4], bob)
		n.tag(room, "parlor:max-connections-per-user", "")
		time.Sleep(settled)
		for range 5 {
			anns = append(anns, n.listen(room, "ann"))
		}
		time.Sleep(time.Minute)
		check(append(slices.Clone(anns[4:]), bob)...)
		n.tag(room, "parlor:max-connections-per-user", "2")
		time.Sleep(settled)
		left := 0
		for _, l := range anns {
			if code, _ := l.ended(); code == 0 {
				left++
			}
		}
		if code, _ := anns[4].ended(); left != 2 || code == 0 {
			t.Errorf("the tag on a live room: %d connections stay, want 2 of the newest", left)
		}
	})
}

// TestReconnectEndsNobody: who has as many connections as there may be, and loses one, is
// back with another, and keeps the rest.
func TestReconnectEndsNobody(t *testing.T) {
	attending(t, map[string]string{"parlor:max-connections-per-user": "2"}, func(t *testing.T, n *node, room chat.ARN) {
		a, b := n.listen(room, "ann"), n.listen(room, "ann")
		time.Sleep(time.Minute)
		c := n.listen(room, "ann")
		time.Sleep(500 * time.Millisecond) // its node finds out late
		b.leave()
		time.Sleep(time.Minute)
		for i, l := range []*attender{a, c} {
			if code, reason := l.ended(); code != 0 {
				t.Errorf("connection %d: closed with %d %s", i, code, reason)
			}
		}
	})
}

func splitNames(t *testing.T, text string) (names []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		t.Errorf("%q: %v", text, err)
	}
	return names
}

// BenchmarkAttend is a pass over a room of 10,000 in which a hundred came since the last.
func BenchmarkAttend(b *testing.B) {
	local := broker.NewLocal(func(*chat.Publication) {})
	g := New(Config{Service: chat.NewService(chat.ServiceConfig{Broker: local}), Broker: local, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), PingInterval: time.Hour})
	r := newRoom(g, chat.ARN{})
	r.goLive(chat.Position{Epoch: 1})
	r.users = 1
	at := uint64(0)
	come := func(n int) (came []*session) {
		for range n {
			at++
			core := &chat.Session{UserID: fmt.Sprint("user-", at), Expires: time.Now().Add(time.Hour).Unix()}
			binary.BigEndian.PutUint64(core.Token[:], at)
			end, other := net.Pipe()
			other.Close()
			s := newSession(g, r, core, end)
			r.join(s, false)
			came = append(came, s)
		}
		return came
	}
	there := come(10_000)
	f := &attended{arn: r.arn, wanted: chat.Attendance{Presence: chat.PresenceCount}, places: map[*room]bool{r: true}, anew: true}
	if _, err := g.attendance.tell(b.Context(), f); err != nil {
		b.Fatal(err)
	}
	f.anew = false
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for _, s := range there[:100] {
			r.leave(s)
		}
		there = append(there[100:], come(100)...)
		b.StartTimer()
		if s, err := g.attendance.tell(b.Context(), f); err != nil || s.Own != 10_000 {
			b.Fatal(s, err)
		}
	}
}
