package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

// viewer is a node's view of rooms, in the order of the log.
type viewer struct {
	mu   sync.Mutex
	pubs []*chat.Publication
	late func(from, to time.Time) // is told of a publication that took long
}

func (v *viewer) deliver(pub *chat.Publication) {
	if now := time.Now(); v.late != nil && pub.Frame != nil && now.Sub(pub.Accepted) > hindered {
		v.late(pub.Accepted, now)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pubs = append(v.pubs, pub)
}

// shown are the Ids of what was delivered, in order.
func (v *viewer) shown() []string {
	v.mu.Lock()
	pubs := slices.Clone(v.pubs)
	v.mu.Unlock()
	slices.SortStableFunc(pubs, func(a, b *chat.Publication) int {
		switch {
		case a.Room != b.Room:
			return strings.Compare(a.Room.ID, b.Room.ID)
		case a.Position.Epoch != b.Position.Epoch:
			return int(int64(a.Position.Epoch) - int64(b.Position.Epoch))
		default:
			return int(int64(a.Position.Number) - int64(b.Position.Number))
		}
	})
	var ids []string
	for _, pub := range pubs {
		if pub.Kind != chat.PublishGap && pub.Kind != chat.PublishNothing {
			ids = append(ids, pub.ID)
		}
	}
	return ids
}

// outcome is what became of a run under a fault.
type outcome struct {
	accepted, refused, unknown int
	missing, twice             int // of those that were accepted, over all viewers
	ghosts                     int // shown, though their sender was told that they were not
	orders                     int // pairs of viewers that saw another order
	moved                      int // shown to some viewers at another place: they were offered again
	longest                    time.Duration
	whole                      time.Duration // from when the first was hindered until nobody was any more
}

// hindered is what a publication takes at least that had to wait for the broker.
const hindered = 250 * time.Millisecond

func newRoom() chat.ARN {
	return chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: chat.NewID()}
}

// underFault is underFaultIn with two rooms, each at the highest rate that a room may
// have.
func underFault(t *testing.T, url string, d time.Duration, fault func(nodes []*Redis)) outcome {
	t.Helper()
	return underFaultIn(t, url, []chat.ARN{newRoom(), newRoom()}, d, fault)
}

// underFaultIn publishes to rooms from three nodes for a while, 200 times a second
// altogether, and has something done to the broker meanwhile. A fourth node only watches.
func underFaultIn(t *testing.T, url string, rooms []chat.ARN, d time.Duration, fault func(nodes []*Redis)) outcome {
	t.Helper()
	const nodes = 3
	var mu sync.Mutex
	var o outcome
	var first, last time.Time
	hinder := func(from, to time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() || from.Before(first) {
			first = from
		}
		if to.After(last) {
			last = to
		}
	}
	viewers := make([]*viewer, nodes+1)
	brokers := make([]*Redis, nodes+1)
	for i := range brokers {
		viewers[i] = &viewer{late: hinder}
		brokers[i] = open(t, url, fmt.Sprint("node-", i), viewers[i].deliver)
		for _, room := range rooms {
			_, cancel, err := brokers[i].Subscribe(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cancel)
		}
	}
	accepted, refused := map[string]bool{}, map[string]bool{}
	var all sync.WaitGroup
	end := time.Now().Add(d)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	all.Go(func() { fault(brokers) })
	for n := 0; time.Now().Before(end); n++ {
		<-ticker.C
		if now := time.Now(); slices.ContainsFunc(brokers, func(b *Redis) bool { return !b.Up() }) {
			hinder(now, now)
		}
		all.Go(func() {
			begun := time.Now()
			pub := &chat.Publication{Room: rooms[n%len(rooms)], ID: chat.NewID(), Frame: fmt.Append(nil, n), Accepted: begun}
			err := brokers[n/len(rooms)%nodes].Publish(context.Background(), pub, 0)
			now := time.Now()
			if err != nil || now.Sub(begun) > hindered {
				hinder(begun, now)
			}
			mu.Lock()
			defer mu.Unlock()
			o.longest = max(o.longest, now.Sub(begun))
			switch {
			case err == nil:
				accepted[pub.ID] = true
			case errors.Is(err, chat.ErrUnknownOutcome):
				o.unknown++
			default:
				refused[pub.ID] = true
			}
		})
	}
	all.Wait()
	mu.Lock()
	o.accepted, o.refused, o.whole = len(accepted), len(refused), last.Sub(first)
	mu.Unlock()
	settled := func() bool {
		o.missing = 0
		for _, v := range viewers {
			seen := map[string]bool{}
			for _, id := range v.shown() {
				seen[id] = true
			}
			for id := range accepted {
				if !seen[id] {
					o.missing++
				}
			}
		}
		return o.missing == 0
	}
	for deadline := time.Now().Add(5 * time.Second); !settled() && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
	var orders [][]string
	for _, v := range viewers {
		ids := v.shown()
		seen := map[string]int{}
		for _, id := range ids {
			if seen[id]++; seen[id] == 2 {
				o.twice++
			}
			if refused[id] {
				o.ghosts++
			}
		}
		orders = append(orders, ids)
	}
	o.moved = moved(viewers)
	for i := range orders {
		for j := range i {
			if !sameOrder(orders[i], orders[j]) {
				o.orders++
			}
		}
	}
	t.Logf("%+v", o)
	return o
}

// moved counts the publications that viewers have at different places.
func moved(viewers []*viewer) int {
	places := map[string]chat.Position{}
	elsewhere := map[string]bool{}
	for _, v := range viewers {
		v.mu.Lock()
		for _, pub := range v.pubs {
			if at, found := places[pub.ID]; pub.Frame != nil && found && at != pub.Position {
				elsewhere[pub.ID] = true
			}
			places[pub.ID] = pub.Position
		}
		v.mu.Unlock()
	}
	return len(elsewhere)
}

// sameOrder reports whether what two viewers both saw came in the same order.
func sameOrder(a, b []string) bool {
	place := map[string]int{}
	for i, id := range a {
		place[id] = i
	}
	last := -1
	for _, id := range b {
		if at, both := place[id]; both {
			if at < last {
				return false
			}
			last = at
		}
	}
	return true
}

// clean holds a run to nothing lost, nothing twice, one order, and nothing shown that was
// refused.
func (o outcome) clean(t *testing.T) {
	t.Helper()
	if o.missing+o.twice+o.orders+o.ghosts > 0 || o.accepted == 0 {
		t.Errorf("got %+v", o)
	}
}

// cleanButMoved is clean, but for the order of what was taken by a server that had been
// replaced without knowing: nodes that had not heard of that either showed it at once,
// the others when it was offered again.
func (o outcome) cleanButMoved(t *testing.T) {
	t.Helper()
	if o.moved > 0 {
		o.orders = 0
	}
	o.clean(t)
}

func TestNothingHappens(t *testing.T) {
	o := underFault(t, redistest.Start(t).URL(), time.Second, func([]*Redis) {})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v", o)
	}
}

func TestFrozen(t *testing.T) {
	server := redistest.Start(t)
	o := underFault(t, server.URL(), 4*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		server.Freeze()
		time.Sleep(2 * time.Second)
		server.Thaw()
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}

// What is frozen for longer than a publication waits shows nothing of it when it thaws.
func TestFrozenForLong(t *testing.T) {
	server := redistest.Start(t)
	o := underFault(t, server.URL(), 9*time.Second, func([]*Redis) {
		time.Sleep(500 * time.Millisecond)
		server.Freeze()
		time.Sleep(publishTime + answerGrace + time.Second)
		server.Thaw()
	})
	o.clean(t)
	if o.refused+o.unknown == 0 {
		t.Errorf("refused: got %+v, want some", o)
	}
}

func TestConnectionsKilled(t *testing.T) {
	server := redistest.Start(t)
	o := underFault(t, server.URL(), 3*time.Second, func([]*Redis) {
		for range 5 {
			time.Sleep(400 * time.Millisecond)
			server.KillConnections()
		}
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v", o)
	}
}

// The links alone are lost, one node's at a time: it catches up.
func TestLinksKilled(t *testing.T) {
	server := redistest.Start(t)
	underFault(t, server.URL(), 2*time.Second, func([]*Redis) {
		for range 10 {
			time.Sleep(150 * time.Millisecond)
			server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		}
	}).clean(t)
}

// A broker that comes back empty is offered what it may have forgotten.
func TestRestartedEmpty(t *testing.T) {
	server := redistest.Start(t)
	var offered atomic.Int64
	o := underFault(t, server.URL(), 4*time.Second, func(nodes []*Redis) {
		time.Sleep(1500 * time.Millisecond)
		server.Restart()
		time.Sleep(2 * time.Second)
		for _, b := range nodes {
			offered.Add(int64(len(b.offers.since(time.Time{}))))
		}
	})
	if o.twice+o.orders+o.ghosts > 0 {
		t.Errorf("got %+v", o)
	}
	if o.missing > 0 {
		t.Errorf("missing: got %+v, want that nodes offer again what they have published", o)
	}
	if offered.Load() == 0 {
		t.Error("nothing was offered again")
	}
}

func TestAway(t *testing.T) {
	server := redistest.Start(t)
	o := underFault(t, server.URL(), 3*time.Second, func([]*Redis) {
		time.Sleep(500 * time.Millisecond)
		server.Stop()
		time.Sleep(time.Second)
		server.Up()
	})
	if o.missing+o.twice+o.orders+o.ghosts+o.refused > 0 {
		t.Errorf("got %+v", o)
	}
}

// The broker comes back without its last publications, as a replica may that takes over,
// and somebody who knows of none of them publishes first: what comes then has other
// numbers than what was forgotten, or it would be taken for that.
func TestForgottenTail(t *testing.T) {
	server := redistest.Start(t)
	room := newRoom()
	v := &viewer{}
	b := open(t, server.URL(), "watches", v.deliver)
	stranger := open(t, server.URL(), "stranger", func(*chat.Publication) {})
	_, cancel, err := b.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	var want []string
	publish := func(b *Redis, n int) {
		t.Helper()
		for range n {
			pub := &chat.Publication{Room: room, ID: chat.NewID(), Frame: []byte("x"), Accepted: time.Now()}
			if err := b.Publish(t.Context(), pub, 0); err != nil {
				t.Fatal(err)
			}
			want = append(want, pub.ID)
		}
	}
	publish(b, 3)
	server.Do("SAVE")
	publish(b, 3) // will be forgotten
	server.Restart()
	publish(stranger, 5)
	complete := func() bool {
		shown := v.shown()
		return !slices.ContainsFunc(want, func(id string) bool { return !slices.Contains(shown, id) })
	}
	for deadline := time.Now().Add(5 * time.Second); !complete(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("shown: got %d, want %d", len(v.shown()), len(want))
		}
	}
	if got := len(v.shown()); got != len(want) {
		t.Errorf("shown: got %d, want %d", got, len(want))
	}
}
