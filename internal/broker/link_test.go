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
