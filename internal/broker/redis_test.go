package broker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
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
	return openHearing(t, url, node, deliver, func(bool) {})
}

// start is open that does not wait until the broker is ready.
func start(t testing.TB, url, node string, deliver func(*chat.Publication), hears func(bool)) *Redis {
	t.Helper()
	b, err := NewRedis(RedisConfig{
		URL: url, Node: node, Deliver: deliver, Hears: hears,
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
	return b
}

func openHearing(t testing.TB, url, node string, deliver func(*chat.Publication), hears func(bool)) *Redis {
	t.Helper()
	b := start(t, url, node, deliver, hears)
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

// TestComeAndGo: a room that is left and entered again at once costs the link nothing. Its
// last Sunsubscribe is then confirmed while somebody is there.
func TestComeAndGo(t *testing.T) {
	var losses atomic.Int32
	b := openHearing(t, redistest.Start(t).URL(), "a", func(*chat.Publication) {}, func(does bool) {
		if !does && t.Context().Err() == nil {
			losses.Add(1)
		}
	})
	losses.Store(0) // it did not hear before it did
	var all sync.WaitGroup
	for i := range 8 {
		arn := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: fmt.Sprintf("room%08d", i)}
		all.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_, leave, err := b.Subscribe(ctx, arn)
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
	if n := losses.Load(); n > 0 {
		t.Errorf("the link was lost %d times", n)
	}
}

// TestSpoiltKey: what is wrong with one room's keys is that room's trouble.
func TestSpoiltKey(t *testing.T) {
	server := redistest.Start(t)
	v := &viewer{}
	b := open(t, server.URL(), "a", v.deliver)
	spoilt := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: "spoilt"}
	well := spoilt
	well.ID = "well"
	server.Do("SET", keysOf(spoilt).state, "x")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := b.Subscribe(ctx, spoilt); err == nil {
		t.Error("subscribed to a room that cannot be read")
	}
	_, leave, err := b.Subscribe(t.Context(), well)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if !b.Up() {
		t.Error("the link is down")
	}
	if err := b.Publish(t.Context(), &chat.Publication{Room: spoilt}, 0); err == nil {
		t.Error("published to a room that cannot be written")
	}
	if err := b.Publish(t.Context(), &chat.Publication{Room: well, ID: "x"}, 0); err != nil || len(v.shown()) != 1 {
		t.Errorf("got %v and %v", err, v.shown())
	}
}

// TestRelayed: what a node hears from another is delivered by who delivers for all rooms.
// (What it publishes itself may come that way, too, when that is the sooner.)
func TestRelayed(t *testing.T) {
	server := redistest.Start(t)
	room := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: "AbCdEfGhIjKl"}
	publisher := open(t, server.URL(), "a", func(*chat.Publication) {})
	relayed := make(chan bool, 1)
	other := open(t, server.URL(), "b", func(pub *chat.Publication) { relayed <- pub.Relayed })
	_, leave, err := other.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if err := publisher.Publish(t.Context(), &chat.Publication{Room: room, Kind: chat.PublishEvent, ID: "AbCdEfGhIjKl", Frame: []byte("{}"), Accepted: time.Now()}, 0); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-relayed:
		if !got {
			t.Error("what came by the link is not marked")
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was delivered")
	}
}

// TestCaughtUpIsRelayed: a publisher delivers what it published, and no more.
func TestCaughtUpIsRelayed(t *testing.T) {
	var relayed []bool
	b := &Redis{config: RedisConfig{Deliver: func(pub *chat.Publication) { relayed = append(relayed, pub.Relayed) }}}
	for _, test := range []struct {
		relayed bool
		pubs    int
		want    []bool
	}{{false, 1, []bool{false}}, {false, 2, []bool{true, true}}, {true, 1, []bool{true}}} {
		relayed = nil
		b.show(new(room), test.relayed, func() (pubs []*chat.Publication, behind bool) {
			for range test.pubs {
				pubs = append(pubs, new(chat.Publication))
			}
			return pubs, false
		})
		if !slices.Equal(relayed, test.want) {
			t.Errorf("%+v: got %v", test, relayed)
		}
	}
}
