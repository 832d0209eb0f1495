package gateway

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parlor/internal/chat"
)

// endedFor is how many sessions ended for a cause.
func (n *node) endedFor(why cause) float64 {
	return testutil.ToFloat64(n.gateway.metrics.ended.WithLabelValues(string(why)))
}

// fill publishes until the only session's socket takes no more, and returns how much that was.
func (n *node) fill(room chat.ARN) (published int) {
	s := n.gateway.sessions()[0]
	for ; s.stalled.Load() == 0; published++ {
		if published == 1000 {
			n.t.Fatal("the socket takes everything")
		}
		n.publishTo(room, fmt.Sprint(published), 4000)
		time.Sleep(5 * time.Millisecond)
	}
	return published
}

// TestEndingIsNotSlow ends a session whose socket is full. It is owed the log up to its
// end, and a close frame, however far the room goes on meanwhile; and time to answer it.
func TestEndingIsNotSlow(t *testing.T) {
	n := startNode(t, nodeOptions{sendBuffer: 16 << 10})
	room := n.room(chat.RoomSpec{}).ARN
	goOn := func() {
		for range 2 * maxLag / 4000 {
			n.publishTo(room, "later", 4000)
		}
	}
	c := n.connectRaw(room, "user")
	c.setReadBuffer(4 << 10)
	published := n.fill(room)
	if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "user", "bye"); err != nil {
		t.Fatal(err)
	}
	goOn()
	for seen := 0; ; seen++ {
		h, payload, ok := c.next()
		if !ok {
			t.Fatalf("no close frame after %d of %d events", seen, published)
		}
		if h.OpCode == ws.OpClose {
			if want := published + 1; seen != want { // and that of the end itself
				t.Errorf("saw %d events, want %d", seen, want)
			}
			break
		}
		if strings.Contains(string(payload), "later") {
			t.Fatalf("saw %.80s, which was after the end", payload)
		}
	}
	goOn()
	c.write(masked(closing, closeBody(1001, "")))
	n.left()
	if got := n.endedFor(causeDisconnected); got != 1 {
		t.Errorf("ended as disconnected: got %v, want 1; as slow: %v", got, n.endedFor(causeSlow))
	}
}

// TestDrainedClientThatSpeaks gets everything that was published, though it sends
// something when the server has no more for it.
func TestDrainedClientThatSpeaks(t *testing.T) {
	for name, o := range map[string]nodeOptions{"plain": {}, "TLS": {tls: true}} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, o)
			room := n.room(chat.RoomSpec{}).ARN
			c := n.connectRaw(room, "user")
			c.setReadBuffer(16 << 10)
			const events = 40
			for i := range events {
				n.publishTo(room, fmt.Sprint(i), 4000)
			}
			s := n.gateway.sessions()[0]
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				n.gateway.Drain(context.Background(), 0)
			}()
			for deadline := time.Now().Add(10 * time.Second); !s.said.Load() && s.closed.Load() == nil && time.Now().Before(deadline); {
				if o.tls { // of which the socket takes less at once
					c.next()
				}
				time.Sleep(time.Millisecond)
			}
			c.conn.Write(masked(ping, "x"))
			time.Sleep(50 * time.Millisecond)
			last := ""
			for h, payload, ok := c.next(); ok; h, payload, ok = c.next() {
				if h.OpCode == ws.OpText {
					last = string(payload)
				}
			}
			if want := fmt.Sprintf(`"EventName":"%d"`, events-1); !strings.Contains(last, want) {
				t.Errorf("the last event was %.150s, want %s in it", last, want)
			}
			c.conn.Close()
			<-drained
			if got := n.endedFor(causeDrain); got != 1 {
				t.Errorf("ended by the drain: got %v, want 1", got)
			}
		})
	}
}

// TestDrainedClientThatStays reads nothing, and keeps its half of the connection open: it
// is closed when it has had its time.
func TestDrainedClientThatStays(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	n.connectRaw(room, "user").setReadBuffer(4 << 10)
	for range 20 {
		n.publishTo(room, "x", 4000)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*closeTimeout)
	defer cancel()
	n.gateway.Drain(ctx, 0)
	if got := n.endedFor(causeDrain); got != 1 {
		t.Errorf("ended by the drain: got %v, want 1", got)
	}
}

// TestDrainedClientThatHasAll is not waited for, though it keeps its half open.
func TestDrainedClientThatHasAll(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody says what has arrived")
	}
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	n.connectRaw(room, "user")
	n.publishTo(room, "x", 4000)
	time.Sleep(50 * time.Millisecond)
	begun := time.Now()
	n.gateway.Drain(t.Context(), 0)
	if took := time.Since(begun); took > closeTimeout/2 {
		t.Errorf("the drain took %s", took)
	}
}
