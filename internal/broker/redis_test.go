package broker

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestMain(m *testing.M) {
	// A cluster's client that was closed may sleep on for up to a second before it sees that.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// open returns a broker over a server, running until the test ends.
func open(t testing.TB, url, node string, deliver func(*chat.Publication)) *Redis {
	t.Helper()
	b, err := NewRedis(RedisConfig{
		URL: url, Node: node, Deliver: deliver, Hears: func(bool) {},
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { b.Run(ctx) })
	t.Cleanup(func() {
		stop()
		run.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); b.Ready(t.Context()) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(b.Ready(t.Context()))
		}
	}
	return b
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, server.URL(), t.Name(), deliver)
	})
}
