package broker

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

// Rooms that are left and entered again at once do not cost the link.
func TestComingAndGoing(t *testing.T) {
	server := redistest.Start(t)
	var changes atomic.Int64
	b, err := NewRedis(RedisConfig{
		URL: server.URL(), Node: "a", Deliver: func(*chat.Publication) {}, Hears: func(bool) { changes.Add(1) },
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { b.Run(ctx) })
	defer run.Wait()
	defer stop()
	for !b.Up() {
		time.Sleep(time.Millisecond)
	}
	before := changes.Load()
	var all sync.WaitGroup
	end := time.Now().Add(time.Second)
	for range 16 {
		room := testRoom()
		all.Go(func() {
			for time.Now().Before(end) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, leave, err := b.Subscribe(ctx, room)
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				leave()
			}
		})
	}
	all.Wait()
	if got := changes.Load() - before; got > 0 {
		t.Errorf("the link was lost or found %d times", got)
	}
}

// idle returns a broker that does not run, and what it told of hearing.
func idle(t *testing.T, url string) (b *Redis, told *[]bool) {
	t.Helper()
	told = new([]bool)
	b, err := NewRedis(RedisConfig{
		URL: url, Node: "a", Deliver: func(*chat.Publication) {}, Hears: func(does bool) { *told = append(*told, does) },
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, told
}

// A node whose broker was never there does not hear of publications, and says so.
func TestNeverThere(t *testing.T) {
	b, told := idle(t, "redis://127.0.0.1:1")
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	b.Run(ctx)
	time.Sleep(time.Second) // for so long the client keeps a goroutine when it was refused
	if len(*told) != 1 || (*told)[0] {
		t.Errorf("hears: got %v, want false", *told)
	}
}

// What was published since the last sign of life may be forgotten, not only since that was
// missed.
func TestLostSinceTheLastSignOfLife(t *testing.T) {
	b, _ := idle(t, "redis://127.0.0.1:1")
	one := &link{owner: b.links}
	b.links.all[""] = one
	b.links.set(one, true)
	heard := time.Now().Add(-3 * time.Second)
	one.well = heard
	b.links.set(one, false)
	if got := b.links.lostAt; !got.Equal(heard) {
		t.Errorf("got %v, want %v", got, heard)
	}
}

// A room that was given up delivers nothing: the next one began at another position.
func TestRoomGivenUp(t *testing.T) {
	r := &room{ready: make(chan struct{})}
	r.goLive(chat.Position{Epoch: 1, Number: 5})
	r.end()
	next := entry{at: chat.Position{Epoch: 1, Number: 6}, pub: &chat.Publication{}}
	if pubs, behind := r.take([]entry{next}); len(pubs) > 0 || behind {
		t.Errorf("from the link: got %v", pubs)
	}
	if pubs, behind := r.catchUp(chat.Position{Epoch: 1, Number: 9}, []entry{next}); len(pubs) > 0 || behind {
		t.Errorf("from an answer: got %v", pubs)
	}
}
