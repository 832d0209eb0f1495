package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

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
