package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// memoryHistory is a HistoryStore in memory.
type memoryHistory struct {
	mu      sync.Mutex
	entries []chat.HistoryEntry
	reads   int
	onRead  func() // called after reading
	recent  []*chat.Publication
}

func (m *memoryHistory) config(t *testing.T) *chat.HistoryConfig {
	if m == nil {
		return nil
	}
	return &chat.HistoryConfig{Store: m, Failed: func(err error) { t.Error(err) }, Recent: func(context.Context, chat.ARN, int) ([]*chat.Publication, chat.Position, error) {
		return m.recent, chat.Position{}, nil
	}}
}

func (m *memoryHistory) AppendHistory(_ context.Context, entries []chat.HistoryEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, entries...)
	slices.SortFunc(m.entries, func(a, b chat.HistoryEntry) int { return a.Position.Compare(b.Position) })
	return nil
}

func (m *memoryHistory) RoomHistory(_ context.Context, room chat.ARN, count int) (found []chat.HistoryEntry, _ error) {
	m.mu.Lock()
	m.reads++
	for _, e := range m.entries {
		if e.Room == room {
			found = append(found, e)
		}
	}
	m.mu.Unlock()
	if m.onRead != nil {
		m.onRead()
	}
	return found, nil
}

func (m *memoryHistory) PruneHistory(_ context.Context, room chat.ARN, keep int, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range m.entries {
		if e.Room == room {
			n++
		}
	}
	m.entries = slices.DeleteFunc(m.entries, func(e chat.HistoryEntry) bool {
		if e.Room == room {
			n--
		}
		return e.Room == room && n >= keep
	})
	return nil
}

func (m *memoryHistory) PurgeHistory(context.Context, chat.ARN, string) ([]string, error) {
	return nil, nil
}

func (m *memoryHistory) HistoryRooms(context.Context, chat.ARN, int) ([]chat.ARN, error) {
	return nil, nil
}

func (m *memoryHistory) count() (entries, reads int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries), m.reads
}

// past starts a node over pipes, with a room of the given history.
func past(t *testing.T, value string, options ...func(*nodeOptions)) (*node, chat.ARN) {
	t.Helper()
	o := nodeOptions{pipes: true, history: &memoryHistory{}}
	for _, option := range options {
		option(&o)
	}
	n := startNode(t, o)
	tags := map[string]string{}
	if value != "" {
		tags["parlor:history"] = value
	}
	return n, n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 100, Tags: tags}).ARN
}

func (n *node) event(room chat.ARN, name string) {
	n.t.Helper()
	if _, err := n.service.SendEvent(n.t.Context(), room, name, map[string]string{"Id": name}); err != nil {
		n.t.Fatal(err)
	}
}

// contents are the frames that come until there is nothing for a while: of messages the
// content, of events the name.
func (c *client) contents() (all []string) {
	c.t.Helper()
	for {
		f, err := c.read(time.Second)
		if err != nil {
			return all
		}
		if f.RequestID != "" {
			c.t.Errorf("a RequestId in %s", f.raw)
		}
		all = append(all, f.Content+f.EventName)
	}
}

func (n *node) wantHistory(room chat.ARN, what, want string) {
	n.t.Helper()
	if got := strings.Join(n.connect(room, "late").contents(), " "); got != want {
		n.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestHistory(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed %t", compressed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, room := past(t, "4", func(o *nodeOptions) { o.compression = compressed })
				n.event(room, "before_anybody_came")
				ann := n.connect(room, "ann")
				if f := ann.next(); f.EventName != "before_anybody_came" {
					t.Fatalf("got %s", f.raw)
				}
				var shown []frame
				for _, content := range []string{"one", "two \\\" ,\\\"RequestId\\\":\\\"no\\\"", "three " + strings.Repeat("long ", 60)} {
					ann.send(`{"Action":"SEND_MESSAGE","RequestId":"r\"\\","Content":"` + content + `","Attributes":{"RequestId":"kept","Sender":"{"}}`)
					shown = append(shown, ann.next())
				}
				n.event(room, "parlor:PRESENCE") // about the present
				ann.next()
				if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "nobody", ""); err != nil {
					t.Fatal(err)
				}
				ann.next()
				n.event(room, "last")
				shown = append(shown, ann.next())

				late := n.connect(room, "late")
				for i, want := range shown {
					got := late.next()
					if want.RequestID != "" != (i < 3) || got.raw != strings.Replace(want.raw, `"RequestId":"r\"\\"`, `"RequestId":""`, 1) {
						t.Errorf("frame %d: got %s, want it as %s", i, got.raw, want.raw)
					}
				}
				if _, err := n.service.DeleteMessage(t.Context(), room, shown[1].ID, ""); err != nil {
					t.Fatal(err)
				}
				if got := late.next(); got.EventName != "aws:DELETE_MESSAGE" {
					t.Errorf("after the history: got %s", got.raw)
				}
				want := "one " + shown[2].Content + " last"
				n.wantHistory(room, "after a deletion", want)
				if _, reads := n.options.history.count(); reads != 1 {
					t.Errorf("the store was read %d times, want once", reads)
				}
				time.Sleep(200 * time.Millisecond)
				ann.conn.CloseNow()
				late.conn.CloseNow()
				time.Sleep(5 * time.Second)
				n.wantHistory(room, "read from the store", want)
				if _, reads := n.options.history.count(); reads != 2 {
					t.Errorf("the store was read %d times, want once more", reads)
				}
			})
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, room := past(t, "3/10s")
		there := n.connect(room, "there")
		for i := range 5 {
			n.event(room, fmt.Sprint(i))
			time.Sleep(2 * time.Second)
		}
		n.wantHistory(room, "by number", "2 3 4") // 6, 4 and 2 s ago
		time.Sleep(3 * time.Second)               // one of them was for reading
		n.wantHistory(room, "by age", "3 4")
		time.Sleep(time.Minute)
		n.wantHistory(room, "all too old", "")
		there.conn.CloseNow()
	})
	synctest.Test(t, func(t *testing.T) {
		n, room := past(t, "500")
		there := n.connect(room, "there")
		content := strings.Repeat("x", 2000)
		for i := range 300 {
			if _, err := n.service.SendEvent(t.Context(), room, fmt.Sprint(i), map[string]string{"x": content}); err != nil {
				t.Fatal(err)
			}
			there.next()
		}
		got := n.connect(room, "late").contents()
		if len(got) < 100 || len(got) > 130 || got[len(got)-1] != "299" || got[0] != fmt.Sprint(300-len(got)) {
			t.Errorf("by bytes: got %d from %s on, want what 256 KB hold", len(got), got[0])
		}
	})
}

func TestHistoryTagged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, room := past(t, "")
		tag := func(value string) {
			t.Helper()
			var err error
			if value == "" {
				err = n.service.UntagResource(t.Context(), room, []string{"parlor:history"})
			} else {
				err = n.service.TagResource(t.Context(), room, map[string]string{"parlor:history": value})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		there := n.connect(room, "there")
		n.event(room, "0")
		n.wantHistory(room, "off", "")
		tag("50")
		for i := range 7 {
			n.event(room, fmt.Sprint(i+1))
		}
		n.wantHistory(room, "on", "1 2 3 4 5 6 7")
		tag("5")
		n.event(room, "8")
		n.wantHistory(room, "less", "4 5 6 7 8")
		tag("50")
		n.event(room, "9")
		n.wantHistory(room, "more", "4 5 6 7 8 9")
		if err := n.service.TagResource(t.Context(), room, map[string]string{"parlor:read-only": "true", "team": "live"}); err != nil {
			t.Fatal(err)
		}
		n.wantHistory(room, "another change", "4 5 6 7 8 9")
		tag("")
		tag("50") // without anybody who looks meanwhile
		n.event(room, "10")
		n.wantHistory(room, "off and on", "10")
		tag("")
		n.wantHistory(room, "off again", "")
		n.event(room, "11")
		time.Sleep(time.Second)
		if entries, _ := n.options.history.count(); entries != 0 {
			t.Errorf("%d entries are stored of a room without a history", entries)
		}
		tag("50")
		n.event(room, "12")
		time.Sleep(time.Second)
		if entries, _ := n.options.history.count(); entries != 2 { // with the beginning
			t.Errorf("got %d entries, want 2", entries)
		}
		if err := n.service.DeleteRoom(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if entries, _ := n.options.history.count(); entries != 0 {
			t.Errorf("%d entries are stored of a deleted room", entries)
		}
		there.conn.CloseNow()
	})
}

// While a history is read the room goes on: what is said and deleted meanwhile is there
// once, in its place.
func TestHistoryWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, room := past(t, "6")
		for _, name := range []string{"a", "b", "c"} {
			n.event(room, name)
		}
		once := sync.OnceFunc(func() {
			n.event(room, "d")
			n.options.history.mu.Lock()
			id := n.options.history.entries[1].ID
			n.options.history.mu.Unlock()
			if _, err := n.service.DeleteMessage(t.Context(), room, id, ""); err != nil {
				t.Error(err)
			}
			n.event(room, "e")
			time.Sleep(time.Second) // they are stored, too
		})
		n.options.history.onRead = once
		n.wantHistory(room, "cold", "a c d e")
		n.wantHistory(room, "then", "a c d e")
	})
}

// What the broker lost, others may have kept: a history is read anew after a gap.
func TestHistoryAfterAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, room := past(t, "10")
		there := n.connect(room, "there")
		n.event(room, "a")
		n.wantHistory(room, "before", "a")
		// Another node's, which does not come here.
		n.broker.mu.Lock()
		at := n.broker.rooms[room].number
		n.broker.rooms[room].number += 2
		n.broker.mu.Unlock()
		missed := chat.HistoryEntry{Room: room, Position: chat.Position{Epoch: 1, Number: at + 1}, Kind: chat.PublishEvent, ID: "missed", Accepted: time.Now(),
			Frame: []byte(`{"Type":"EVENT","Id":"missed","RequestId":"","EventName":"missed"}`)}
		if err := n.options.history.AppendHistory(t.Context(), []chat.HistoryEntry{missed}); err != nil {
			t.Fatal(err)
		}
		n.gateway.Deliver(&chat.Publication{Room: room, Kind: chat.PublishGap, After: chat.Position{Epoch: 1, Number: at}, Position: chat.Position{Epoch: 1, Number: at + 2}})
		n.event(room, "b")
		n.wantHistory(room, "after", "a missed b")
		there.conn.CloseNow()
	})
}

// TestHistoryForManyJoiners: whoever joins while the room is talking gets the end of one
// order, from at most so many before on, without a gap and nothing twice.
func TestHistoryForManyJoiners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const joiners, said, kept = 250, 150, 50
		n, room := past(t, fmt.Sprint(kept))
		keeper := n.connect(room, "keeper")
		var joined sync.WaitGroup
		joined.Go(func() {
			for i := range said {
				n.event(room, fmt.Sprint(i))
				time.Sleep(20 * time.Millisecond)
			}
		})
		for i := range joiners {
			joined.Go(func() {
				time.Sleep(time.Duration(i) * 11 * time.Millisecond)
				c := n.connect(room, "late")
				defer c.conn.CloseNow()
				before := int(time.Duration(i) * 11 / 20)
				var first, next int
				for next = -1; next < said; next++ {
					f, err := c.read(5 * time.Second)
					if err != nil {
						t.Errorf("joiner %d: %v after %d", i, err, next-1)
						return
					}
					if next < 0 {
						fmt.Sscan(f.EventName, &first)
						next = first
					}
					if f.EventName != fmt.Sprint(next) {
						t.Errorf("joiner %d: got %s, want %d", i, f.EventName, next)
						return
					}
				}
				if first > max(0, before-kept+1) || first < before-kept {
					t.Errorf("joiner %d: began with %d, when %d had been said", i, first, before)
				}
			})
		}
		joined.Wait()
		keeper.conn.CloseNow()
	})
}

// talkative is a room that remembers so many messages of about 400 bytes.
func talkative(tb testing.TB, count int) *room {
	g := New(Config{Service: chat.NewService(chat.ServiceConfig{}), Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), PingInterval: time.Hour})
	r := newRoom(g, chat.ARN{})
	r.goLive(chat.Position{Epoch: 1})
	r.past = &history{spec: chat.HistorySpec{Count: count, Age: time.Hour}, loaded: make(chan struct{})}
	close(r.past.loaded)
	for i := range 2 * count {
		r.say(i + 1)
	}
	return r
}

func (r *room) say(number int) {
	r.deliver(&chat.Publication{Kind: chat.PublishMessage, ID: fmt.Sprint(number), Accepted: time.Now(), Position: chat.Position{Epoch: 1, Number: uint64(number)},
		Frame: fmt.Appendf(nil, `{"Type":"MESSAGE","Id":"%012d","RequestId":"0d8a8c29-8ed4-4b2e-bf2f-5b2f4d8f2d6f","Attributes":{"tone":"loud"},"Content":"%s","SendTime":"2026-01-02T03:04:05.678Z","Sender":{"UserId":"ann","Attributes":{}}}`,
			number, strings.Repeat("x", 200))})
}

// What a room's history costs: of 50 messages, the memory of the room, and joining it
// right after something was said, written to a socket.
func BenchmarkJoinHistory(b *testing.B) {
	for _, count := range []int{0, 50, 500} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			r := talkative(b, max(count, 1))
			if count == 0 {
				r.past = nil
			} else {
				b.ReportMetric(float64(r.past.bytes), "B-remembered")
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer listener.Close()
			var peers sync.WaitGroup
			defer peers.Wait()
			peer, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			peers.Go(func() {
				for buffer := make([]byte, 64<<10); ; {
					if _, err := peer.Read(buffer); err != nil {
						return
					}
				}
			})
			conn, err := listener.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer peer.Close()
			defer conn.Close()
			number := 2 * max(count, 1)
			b.ReportAllocs()
			for b.Loop() {
				number++
				r.say(number)
				s := newSession(r.gateway, r, &chat.Session{}, conn)
				r.join(s, false)
				for part, _ := s.pending(); len(part) > 0; part, _ = s.pending() {
					if _, err := conn.Write(part); err != nil {
						b.Fatal(err)
					}
					s.cursor.advance(len(part), func(*logFrame) {})
				}
				r.leave(s)
			}
		})
	}
}

// What a room remembers, beside what every room has.
func BenchmarkRememberHistory(b *testing.B) {
	for _, count := range []int{50, 500} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				const rooms = 50
				remembered := make([]*history, rooms)
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				for i := range remembered {
					r := talkative(b, count)
					remembered[i] = r.past
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/rooms, "B/room")
				runtime.KeepAlive(remembered)
			}
		})
	}
}

// TestHistoryBudget: who joins a room of 50 messages gets them all, and where nothing was
// said since the last one joined that costs the session alone. What time it takes,
// BenchmarkJoinHistory says.
func TestHistoryBudget(t *testing.T) {
	r := talkative(t, 50)
	for i := range 200 {
		r.say(101 + i)
		s := &session{gateway: r.gateway, room: r, core: &chat.Session{}}
		r.join(s, false)
		if got := len(s.cursor.chunk.frames); got != 50 {
			t.Fatalf("got %d frames, want 50", got)
		}
		r.leave(s)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		s := &session{gateway: r.gateway, room: r, core: &chat.Session{}}
		r.join(s, false)
		r.leave(s)
	}); allocs > 2 {
		t.Errorf("joining where nothing was said since allocates %v times, want the session alone", allocs)
	}
}
