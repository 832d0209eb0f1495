package gateway

import (
	"context"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// crowd is a room with sessions over TCP, whose peers read all the time.
type crowd struct {
	room     *room
	sessions []*session
	pub      chat.Publication
}

func newCrowd(t testing.TB, size int, alone bool) *crowd {
	t.Helper()
	g := New(Config{Service: chat.NewService(chat.ServiceConfig{}), Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), PingInterval: time.Hour})
	if alone {
		g.sendOneByOne()
	}
	c := &crowd{room: newRoom(g, chat.ARN{}), pub: chat.Publication{
		Kind:     chat.PublishMessage,
		Frame:    []byte(`{"Type":"MESSAGE","Id":"M2YcHkgffEvU","Content":"` + strings.Repeat("x", 200) + `"}`),
		Accepted: time.Now(),
		Position: chat.Position{Epoch: 1},
	}}
	c.room.goLive(c.pub.Position)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		for _, s := range c.sessions {
			s.drop(causeShutdown)
		}
		running.Wait()
		g.running.Wait()
		g.eachWriter((*writer).close)
	})
	for _, w := range g.workers {
		running.Go(func() { w.run(ctx) })
	}
	for range size {
		peer, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(g, c.room, &chat.Session{Expires: time.Now().Add(time.Hour).Unix()}, conn)
		c.room.join(s, false)
		c.sessions = append(c.sessions, s)
		running.Go(func() {
			defer peer.Close()
			buffer := make([]byte, 16<<10)
			for {
				if _, err := peer.Read(buffer); err != nil {
					return
				}
			}
		})
	}
	return c
}

// deliver shows a message and waits until it has been written to everybody.
func (c *crowd) deliver() {
	c.pub.Position.Number++
	c.room.deliver(&c.pub)
	end := c.room.plain.end.Load()
	for _, s := range c.sessions {
		for s.sent.Load() < end {
			runtime.Gosched()
		}
	}
}

// TestLoadDeliveryAllocates has rooms of two sizes show messages: what is allocated is
// the room's, nothing is a session's. It is among the load tests since these run
// without the race detector, under which a sync.Pool forgets.
func TestLoadDeliveryAllocates(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector allocates too")
	}
	const messages = 50
	for _, of := range []struct {
		size     int
		oneByOne bool
	}{{10, false}, {inlineSessions, false}, {1000, false}, {1000, true}} {
		c, size := newCrowd(t, of.size, of.oneByOne), of.size
		for range messages {
			c.deliver() // chunks have their full size, pools are filled
		}
		// A chunk is two allocations for some 250 messages of this size.
		const perMessage = 1.0
		got := testing.AllocsPerRun(messages, c.deliver)
		if got > perMessage {
			t.Errorf("%d sessions: got %v allocations a message, want at most %v, and none a delivery", size, got, perMessage)
		}
	}
}

// TestSessionsAreSmall holds what is kept for a session to the size classes of the
// allocator that it was made to fit.
func TestSessionsAreSmall(t *testing.T) {
	if got := unsafe.Sizeof(session{}); got > 288 {
		t.Errorf("session: got %d bytes, want at most 288", got)
	}
	if got := unsafe.Sizeof(chat.Session{}); got > 128 {
		t.Errorf("chat.Session: got %d bytes, want at most 128", got)
	}
}

// BenchmarkDeliver shows messages: the time is for a message to all.
func BenchmarkDeliver(b *testing.B) {
	for _, of := range []struct {
		name     string
		size     int
		oneByOne bool
	}{{"2", 2, false}, {"2/one by one", 2, true}, {"10", 10, false}, {"10/one by one", 10, true}, {"1000", 1000, false}, {"1000/one by one", 1000, true}} {
		b.Run(of.name, func(b *testing.B) {
			c, size := newCrowd(b, of.size, of.oneByOne), of.size
			b.ReportAllocs()
			for b.Loop() {
				c.deliver()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/delivery")
		})
	}
}
