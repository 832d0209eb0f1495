package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParseHistory(t *testing.T) {
	for value, want := range map[string]HistorySpec{
		"1":          {1, 7 * 24 * time.Hour},
		"500":        {500, 7 * 24 * time.Hour},
		"50/2h":      {50, 2 * time.Hour},
		"50/1s":      {50, time.Second},
		"50/168h":    {50, 168 * time.Hour},
		"5/1h30m10s": {5, 90*time.Minute + 10*time.Second},
	} {
		if x, err := ParseExtensions(map[string]string{"parlor:history": value}); err != nil || x.History != want {
			t.Errorf("%s: got %v, %v, want %v", value, x, err, want)
		}
	}
	for _, value := range []string{"", "0", "501", "-1", "+5", "05", "all", "50/", "50/999ms", "50/169h", "50/7d", "50 / 2h", "/2h", "50/2h/3h", "true"} {
		_, err := ParseExtensions(map[string]string{"parlor:history": value})
		if want := "the tag parlor:history must be a number of messages from 1 to 500, such as 50"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v", value, err)
		}
	}
}

func TestHistoryEntry(t *testing.T) {
	hostile := `","RequestId":"x","Sender":{"UserId":"mallory"}`
	for _, user := range []string{"ann", hostile, `back\slash "quoted"`, "ключ\u2028\x01", ""} {
		for _, requestID := range []string{"", "r", hostile, `\`, `"`} {
			frame := func(requestID string) string {
				sender := appendSender(nil, user, map[string]string{"UserId": hostile, "RequestId": "no"})
				return string(appendMessage(nil, "M2YcHkgffEvU", requestID, map[string]string{"RequestId": "kept", "Sender": hostile}, hostile, time.Unix(1, 0), string(sender)))
			}
			e, ok := NewHistoryEntry(&Publication{Kind: PublishMessage, ID: "M2YcHkgffEvU", Frame: []byte(frame(requestID))})
			if want := frame(""); !ok || e.UserID != user || string(e.Frame) != want {
				t.Errorf("%q, %q: got %q %s\nwant %s", user, requestID, e.UserID, e.Frame, want)
			}
		}
	}
	event := func(kind PublicationKind, name string, attributes map[string]string) *Publication {
		return &Publication{Kind: kind, ID: "own", Frame: appendEvent(nil, "own", "r", name, attributes, time.Unix(1, 0))}
	}
	if e, ok := NewHistoryEntry(event(PublishDelete, eventDeleteMessage, deleteAttributes(`the "one"`, "why"))); !ok || e.ID != `the "one"` || e.Frame != nil {
		t.Errorf("a deletion: got %+v", e)
	}
	if e, ok := NewHistoryEntry(event(PublishEvent, "x", map[string]string{"A": "1", "EventName": "parlor:no"})); !ok || e.ID != "own" || !strings.Contains(string(e.Frame), `"RequestId":"","EventName":"x"`) {
		t.Errorf("an event: got %+v %s", e, e.Frame)
	}
	for what, pub := range map[string]*Publication{
		"our own":      event(PublishEvent, "parlor:PRESENCE", nil),
		"a disconnect": event(PublishDisconnect, eventDisconnectUser, disconnectAttributes("u", "")),
		"a change":     {Kind: PublishRoomChanged},
		"a repetition": {Kind: PublishNothing},
	} {
		if e, ok := NewHistoryEntry(pub); ok {
			t.Errorf("%s: got %+v, want nothing", what, e)
		}
	}
}

// memoryHistory is a HistoryStore that appends to one list, or fails.
type memoryHistory struct {
	HistoryStore

	mu      sync.Mutex
	entries []HistoryEntry
	batches []int
	fails   error
	prunes  int
	recent  []*Publication
	at      Position
	failed  int
	rooms   []ARN
	pruned  []string
}

func (m *memoryHistory) AppendHistory(_ context.Context, entries []HistoryEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails == nil {
		m.entries = append(m.entries, entries...)
		m.batches = append(m.batches, len(entries))
	}
	return m.fails
}

func (m *memoryHistory) HistoryRooms(_ context.Context, after ARN, limit int) ([]ARN, error) {
	rooms := m.rooms[slices.Index(m.rooms, after)+1:]
	return rooms[:min(limit, len(rooms))], m.fails
}

func (m *memoryHistory) PruneHistory(_ context.Context, arn ARN, keep int, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prunes++
	m.pruned = append(m.pruned, fmt.Sprint(slices.Index(m.rooms, arn), " ", keep, " ", time.Since(before)))
	return m.fails
}

func (m *memoryHistory) RoomHistory(context.Context, ARN, int) ([]HistoryEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries), m.fails
}

func (m *memoryHistory) PurgeHistory(_ context.Context, _ ARN, user string) (ids []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.entries {
		if e := &m.entries[i]; e.UserID == user && e.Frame != nil {
			ids = append(ids, e.ID)
			e.Frame = nil
		}
	}
	return ids, m.fails
}

func (m *memoryHistory) config() *HistoryConfig {
	return &HistoryConfig{Store: m, Failed: func(error) { m.mu.Lock(); m.failed++; m.mu.Unlock() }, Recent: func(_ context.Context, _ ARN, last int) ([]*Publication, Position, error) {
		return m.recent[max(0, len(m.recent)-last):], m.at, nil
	}}
}

// What is said is stored within 200 ms, in batches; while the store is away it waits, and
// what is too much is counted.
func TestHistorian(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		ctx, stop := context.WithCancel(t.Context())
		var keeping sync.WaitGroup
		keeping.Go(func() { w.service.KeepHistory(ctx) })
		defer keeping.Wait()
		defer stop()
		room := w.tagged(t, map[string]string{"parlor:history": "20"})
		say := func(n, size int) {
			t.Helper()
			for range n {
				if _, err := w.service.SendEvent(t.Context(), room, "x", map[string]string{"x": strings.Repeat("x", size)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		stored := func(what string, want int, batches ...int) {
			t.Helper()
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.entries) != want || !slices.Equal(m.batches, batches) {
				t.Errorf("%s: got %d in %v, want %d in %v", what, len(m.entries), m.batches, want, batches)
			}
		}
		say(100, 1)
		stored("at once", 0)
		time.Sleep(190 * time.Millisecond)
		stored("soon", 100, 64, 36)
		m.mu.Lock()
		if m.prunes < 2 {
			t.Errorf("pruned %d times, want it now and then", m.prunes)
		}
		m.fails = errors.New("away")
		m.mu.Unlock()
		say(3, 1)
		time.Sleep(10 * time.Second)
		m.mu.Lock()
		failed := m.failed
		m.mu.Unlock()
		if failed < 3 || w.service.HistoryLost() != 0 {
			t.Errorf("away: told %d times, lost %d", failed, w.service.HistoryLost())
		}
		say(20, 1<<20)
		if lost := w.service.HistoryLost(); lost < 7 || lost > 10 {
			t.Errorf("lost %d, want what is more than 16 MB", lost)
		}
		m.mu.Lock()
		m.fails = nil
		m.mu.Unlock()
		time.Sleep(2 * time.Second)
		stored("back again", 123-int(w.service.HistoryLost()), 64, 36, 23-int(w.service.HistoryLost()))
		say(2, 1)
		stop()
		keeping.Wait()
		stored("at the end", 125-int(w.service.HistoryLost()), 64, 36, 23-int(w.service.HistoryLost()), 2)
	})
}

// What other nodes have not stored is read from the broker, as far back as need be; of a
// dead node it is stored.
func TestHistoryOfTheBroker(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		room := w.tagged(t, map[string]string{"parlor:history": "300"})
		at := func(epoch, number uint64) Position { return Position{Epoch: epoch, Number: number} }
		event := func(p Position, name string) *Publication {
			id := fmt.Sprint(p.Epoch, ".", p.Number)
			return &Publication{Room: room, Kind: PublishEvent, ID: id, Position: p, Accepted: time.Now(), Frame: appendEvent(nil, id, "", name, nil, time.Now())}
		}
		store := func(pub *Publication) {
			e, _ := NewHistoryEntry(pub)
			m.entries = append(m.entries, e)
		}
		want := func(what string, upTo Position, first, last string, count int) {
			t.Helper()
			entries, err := w.service.RoomHistory(t.Context(), room, HistorySpec{Count: 300, Age: time.Hour}, upTo)
			if err != nil || len(entries) != count || count > 0 && (entries[0].ID != first || entries[count-1].ID != last) {
				t.Fatalf("%s: got %d (%+v), %v, want %d from %s to %s", what, len(entries), entries, err, count, first, last)
			}
		}
		want("nothing", Position{}, "", "", 0)
		for i := range 10 {
			store(event(at(1, uint64(i+1)), "x"))
		}
		want("of an epoch that the broker forgot", Position{}, "1.1", "1.10", 10)
		m.at = at(2, 1)
		store(event(at(2, 1), "x"))
		want("when one has begun since", Position{}, "1.1", "1.10", 10)
		for i := range 200 {
			m.recent = append(m.recent, event(at(2, uint64(i+1)), "x"))
		}
		want("more than is asked for first", at(2, 200), "1.1", "2.200", 210)
		want("not what comes yet", at(2, 150), "1.1", "2.150", 160)
		again := event(at(3, 1), "x")
		again.ID = "2.200"
		m.recent = append(m.recent, again)
		want("what was offered again", at(3, 1), "1.1", "2.200", 210)

		if n := len(w.service.history.queue); n != 0 {
			t.Errorf("%d are to be stored, which another node may be about to", n)
		}
		time.Sleep(10 * time.Second)
		want("later", at(3, 1), "1.1", "2.200", 210)
		if n := len(w.service.history.queue); n != 200 { // and not 2.1; 3.1 is one of them
			t.Errorf("%d are to be stored, want 200", n)
		}
		if err := w.service.history.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.entries = append(m.entries, HistoryEntry{Room: room, Kind: PublishRoomChanged, Position: at(2, 190)})
		slices.SortFunc(m.entries, func(a, b HistoryEntry) int { return a.Position.Compare(b.Position) })
		want("after a beginning", at(3, 1), "2.191", "2.200", 10)
	})
}

// A user's messages are listed once and emptied, also those that no node has stored.
func TestPurgeHistory(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		room := w.tagged(t, map[string]string{"parlor:history": "50"})
		ann, bob := w.session(t, TokenSpec{Room: room, UserID: "ann", Capabilities: everything}), w.session(t, TokenSpec{Room: room, UserID: "bob", Capabilities: everything})
		said(t, w, ann, "1")
		said(t, w, bob, "2")
		if err := w.service.history.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		said(t, w, ann, "3") // not stored here yet
		elsewhere := &Publication{Room: room, Kind: PublishMessage, ID: "elsewhere", Position: Position{Epoch: 9, Number: 9}, Accepted: time.Now(),
			Frame: appendMessage(nil, "elsewhere", "", nil, "4", time.Now(), string(appendSender(nil, "ann", nil)))}
		m.recent = append(m.recent, elsewhere)
		ids, err := w.service.PurgeHistory(t.Context(), room, "ann")
		if err != nil || len(ids) != 3 || ids[2] != "elsewhere" || ids[0] == ids[1] {
			t.Errorf("got %q, %v, want three", ids, err)
		}
		plain := w.tagged(t, nil)
		if ids, err := w.service.PurgeHistory(t.Context(), plain, "ann"); err != nil || len(ids) > 0 {
			t.Errorf("a room without a history: got %q, %v", ids, err)
		}
	})
}

// Now and then all that is stored is looked at: what is too old goes, and what is of rooms
// without a history.
func TestPruneHistories(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		keeps := w.tagged(t, map[string]string{"parlor:history": "20/1h"})
		gone := ARN{Scope: testScope, Kind: KindRoom, ID: "gone"}
		m.rooms = []ARN{keeps, w.tagged(t, nil), gone, w.tagged(t, map[string]string{"parlor:read-only": "true"})}
		for range historyWalk {
			m.rooms = append(m.rooms, keeps)
		}
		if err := w.service.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(m.pruned[:5], ", "); got != "0 20 1h0m0s, 1 0 0s, 2 0 0s, 3 0 0s, 0 20 1h0m0s" || len(m.pruned) != historyWalk {
			t.Errorf("got %d: %s", len(m.pruned), got)
		}
		m.fails = errors.New("away")
		if err := w.service.Prune(t.Context()); err == nil {
			t.Error("the store is away, and nobody is told")
		}
	})
}

// What was delivered by now, and is about to be stored, is in a history that is read now.
func TestHistoryOfWhatIsUnderWay(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		room, spec := ARN{Kind: KindRoom, ID: "room"}, HistorySpec{Count: 5, Age: time.Hour}
		at := Position{Epoch: 1, Number: 1}
		pub := &Publication{Room: room, Kind: PublishEvent, ID: "x", Frame: appendEvent(nil, "x", "", "x", nil, time.Now()), Accepted: time.Now()}
		var publishing sync.WaitGroup
		publishing.Go(func() {
			w.service.history.publish(pub, spec, func() error {
				pub.Position = at
				time.Sleep(time.Second) // delivered
				return nil
			})
		})
		time.Sleep(time.Millisecond)
		entries, err := w.service.RoomHistory(t.Context(), room, spec, at)
		if err != nil || len(entries) != 1 || entries[0].ID != "x" {
			t.Errorf("got %+v, %v", entries, err)
		}
		publishing.Wait()
	})
}

// A publication whose outcome is not known may have been shown, and is not stored here;
// one that failed never.
func TestHistoryOfFailures(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		m := &memoryHistory{}
		w.service.history = newHistorian(m.config())
		room := ARN{Kind: KindRoom, ID: "room"}
		spec := HistorySpec{Count: 5, Age: time.Hour}
		pub := &Publication{Room: room, Kind: PublishEvent, ID: "x", Frame: appendEvent(nil, "x", "", "x", nil, time.Now()), Accepted: time.Now()}
		for _, want := range []error{ErrUnknownOutcome, RateLimitExceeded(room, 1)} {
			if err := w.service.history.publish(pub, spec, func() error { return want }); err != want {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if err := w.service.history.publish(pub, spec, func() error { return nil }); err != nil || w.service.HistoryLost() != 1 {
			t.Errorf("without a position: got %v, %d lost, want 1", err, w.service.HistoryLost())
		}
		if len(w.service.history.queue)+len(w.service.history.underWay) != 0 {
			t.Error("something is to be stored, or under way")
		}
	})
}
