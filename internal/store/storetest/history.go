package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// past is a store with histories, and a room in it.
type past struct {
	*testing.T
	chat.HistoryStore
	room chat.ARN
}

func newPast(t *testing.T, store chat.Store) *past {
	t.Helper()
	histories, ok := store.(chat.HistoryStore)
	if !ok {
		t.Fatal("the store keeps no histories")
	}
	return &past{t, histories, newARN(home, chat.KindRoom)}
}

// entry is a message at a position, by a user.
func (p *past) entry(epoch, number uint64, user string) chat.HistoryEntry {
	id := fmt.Sprintf("id-%d-%d", epoch, number)
	return chat.HistoryEntry{Room: p.room, Position: chat.Position{Epoch: epoch, Number: number}, Kind: chat.PublishMessage, ID: id, UserID: user,
		Accepted: noon.Add(time.Duration(number) * time.Second), Frame: []byte(`{"Id":"` + id + `","Content":"é"}`)}
}

func (p *past) event(epoch, number uint64) chat.HistoryEntry {
	e := p.entry(epoch, number, "")
	e.Kind = chat.PublishEvent
	return e
}

// mark is a deletion of an Id, or with none a beginning.
func (p *past) mark(epoch, number uint64, id string, accepted time.Time) chat.HistoryEntry {
	e := chat.HistoryEntry{Room: p.room, Position: chat.Position{Epoch: epoch, Number: number}, Kind: chat.PublishDelete, ID: id, Accepted: accepted}
	if id == "" {
		e.Kind = chat.PublishRoomChanged
	}
	return e
}

func (p *past) append(entries ...chat.HistoryEntry) {
	p.Helper()
	if err := p.AppendHistory(p.Context(), entries); err != nil {
		p.Fatal(err)
	}
}

func (p *past) prune(keep int, before time.Time) {
	p.Helper()
	if err := p.PruneHistory(p.Context(), p.room, keep, before); err != nil {
		p.Fatal(err)
	}
}

func (p *past) read(count int) []chat.HistoryEntry {
	p.Helper()
	entries, err := p.RoomHistory(p.Context(), p.room, count)
	if err != nil {
		p.Fatal(err)
	}
	return entries
}

// want compares a history with a text: of each entry EPOCH.NUMBER, with a minus before it
// where it is a message or event that was deleted, d for a deletion, b for a beginning.
func (p *past) want(what string, count int, want string) {
	p.Helper()
	var got []string
	for _, e := range p.read(count) {
		text := fmt.Sprintf("%d.%d", e.Position.Epoch, e.Position.Number)
		switch {
		case e.Kind == chat.PublishDelete:
			text = "d" + text
		case e.Kind == chat.PublishRoomChanged:
			text = "b" + text
		case len(e.Frame) == 0:
			text = "-" + text
		}
		got = append(got, text)
	}
	if got := strings.Join(got, " "); got != want {
		p.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func testHistory(t *testing.T, store chat.Store) {
	p := newPast(t, store)
	p.want("nothing", 10, "")
	p.append()
	p.append(p.entry(2, 1, "ann"), p.entry(1, 7, "bob"), p.event(1, 9))
	p.append(p.entry(1, 7, "bob"), p.event(2, 10), p.entry(2, 9, "ann")) // one is there already
	p.want("all", 10, "1.7 1.9 2.1 2.9 2.10")
	p.want("the last", 2, "2.9 2.10")
	want := []chat.HistoryEntry{p.entry(2, 9, "ann"), p.event(2, 10)}
	if diff := cmp.Diff(p.read(2), want); diff != "" {
		t.Errorf("got -, want +\n%s", diff)
	}

	p.append(p.mark(2, 11, "id-2-9", noon), p.mark(2, 12, "no such", noon))
	p.want("a deletion", 2, "-2.9 2.10 d2.11 d2.12") // the place is kept
	p.append(p.mark(2, 14, "id-2-13", noon))
	p.append(p.entry(2, 13, "ann"))
	p.want("a message later than its deletion", 1, "d2.11 d2.12 -2.13 d2.14")
	p.prune(10, time.Time{})
	p.want("when deletions are forgotten", 10, "1.7 1.9 2.1 -2.9 2.10 -2.13")

	p.append(p.mark(2, 15, "", noon), p.mark(2, 16, "x", time.Now()))
	p.prune(4, time.Time{})
	p.want("pruned by number", 10, "2.1 -2.9 2.10 -2.13 b2.15 d2.16")
	p.prune(4, noon.Add(9500*time.Millisecond))
	p.want("pruned by age", 10, "2.10 -2.13 b2.15 d2.16")
	p.append(p.entry(2, 17, "ann"), p.entry(2, 18, "ann"))
	p.prune(2, time.Time{})
	p.want("a beginning that matters no more", 10, "2.17 2.18")
	p.prune(0, time.Time{})
	p.want("forgotten", 10, "")
}

// Rooms, also of other scopes, have nothing to do with each other.
func testHistoryRooms(t *testing.T, store chat.Store) {
	p := newPast(t, store)
	var rooms []chat.ARN
	for i := range 5 {
		q := *p
		q.room.ID = fmt.Sprintf("Room%08d", i)
		if i > 2 {
			q.room.Region = "eu-north-1"
		}
		rooms = append(rooms, q.room)
		q.append(q.entry(1, uint64(i+1), "ann"), q.entry(1, uint64(i+10), "ann"))
	}
	var found []chat.ARN
	after := chat.ARN{}
	for {
		page, err := p.HistoryRooms(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if found = append(found, page...); len(page) < 2 {
			break
		}
		after = page[1]
	}
	byID := func(a, b chat.ARN) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(found, byID)
	found = slices.DeleteFunc(found, func(a chat.ARN) bool { return !slices.Contains(rooms, a) })
	if diff := cmp.Diff(found, rooms); diff != "" {
		t.Errorf("got -, want +\n%s", diff)
	}
	if err := p.PruneHistory(t.Context(), rooms[1], 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for i, room := range rooms {
		entries, err := p.RoomHistory(t.Context(), room, 10)
		want := 2
		if i == 1 {
			want = 0
		}
		if err != nil || len(entries) != want {
			t.Errorf("room %d: got %d, %v, want %d", i, len(entries), err, want)
		}
	}
}

func testHistoryPurge(t *testing.T, store chat.Store) {
	p := newPast(t, store)
	other := *p
	other.room.ID = "AnotherRoom1"
	other.append(other.entry(1, 1, "ann"))
	var entries []chat.HistoryEntry
	for i := range 100 { // more than a statement inserts
		entries = append(entries, p.entry(1, uint64(i+1), []string{"ann", "bob", ""}[i%3]))
	}
	p.append(entries...)
	p.append(p.mark(1, 200, "id-1-4", noon))
	purge := func(user string, want ...string) {
		t.Helper()
		got, err := p.PurgeHistory(t.Context(), p.room, user)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", user, got, err, want)
		}
	}
	var anns []string
	for i := 0; i < 100; i += 3 {
		if i != 3 { // deleted before
			anns = append(anns, fmt.Sprintf("id-1-%d", i+1))
		}
	}
	purge("ann", anns...)
	purge("ann")
	purge("nobody")
	purge("") // nobody's messages are not one user's
	p.want("after that", 4, "-1.97 1.98 1.99 -1.100 d1.200")
	if got, err := p.PurgeHistory(t.Context(), other.room, "ann"); err != nil || len(got) != 1 {
		t.Errorf("another room: got %q, %v", got, err)
	}
}

// Nodes append to one room, read and prune it at the same time.
func testHistoryRace(t *testing.T, store chat.Store) {
	p := newPast(t, store)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var nodes sync.WaitGroup
	for node := range 3 {
		nodes.Go(func() {
			for i := range 20 {
				var batch []chat.HistoryEntry
				for j := range 5 {
					batch = append(batch, p.entry(1, uint64(1+node+3*(5*i+j)), "ann"))
				}
				if err := p.AppendHistory(ctx, batch); err != nil {
					t.Error(err)
				}
				if err := p.PruneHistory(ctx, p.room, 50, time.Time{}); err != nil {
					t.Error(err)
				}
				if _, err := p.RoomHistory(ctx, p.room, 50); err != nil {
					t.Error(err)
				}
			}
		})
	}
	nodes.Wait()
	p.prune(50, time.Time{})
	var want []string
	for i := 251; i <= 300; i++ {
		want = append(want, fmt.Sprintf("1.%d", i))
	}
	p.want("the end", 1000, strings.Join(want, " "))
}
