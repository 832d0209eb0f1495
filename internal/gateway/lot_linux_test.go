package gateway

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// TestWatchersHaveNoGoroutine has clients that only watch answer pings, and then has
// all of them end, by either side.
func TestWatchersHaveNoGoroutine(t *testing.T) {
	const sessions, pings = 300, 3
	n := startNode(t, nodeOptions{log: io.Discard})
	room := n.room(chat.RoomSpec{})
	before := runtime.NumGoroutine()
	var clients []*rawClient
	for range sessions {
		clients = append(clients, n.connectRaw(room.ARN, "u"))
	}
	eventually := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: there are %d goroutines more than at first, with %d sessions", what, runtime.NumGoroutine()-before, sessions)
			}
		}
	}
	few := func() bool { return runtime.NumGoroutine()-before < sessions/10 }
	eventually("after the handshakes", few)
	var seated []*session
	n.gateway.rooms[room.ARN].each(func(s *session) { seated = append(seated, s) })
	for range pings {
		since := time.Now().UnixNano()
		for _, c := range clients {
			c.write(ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(nil))))
		}
		for _, s := range seated {
			eventually("pongs are heard", func() bool { return s.heard.Load() >= since })
		}
	}
	eventually("after the pongs", few)
	for i, s := range seated {
		if i%2 == 0 {
			s.drop(causeSlow)
		}
	}
	for _, c := range clients {
		c.conn.Close()
	}
	eventually("after the end", func() bool {
		n.gateway.mu.Lock()
		defer n.gateway.mu.Unlock()
		return len(n.gateway.rooms) == 0
	})
	if n := len(n.gateway.lot.parked); n > 0 {
		t.Errorf("got %d sessions still parked, want none", n)
	}
}

// A client that sends pongs without end has a goroutine for them: they do not keep the
// lot from the others.
func TestManyPongsLeaveTheLot(t *testing.T) {
	n := startNode(t, nodeOptions{log: io.Discard})
	room := n.room(chat.RoomSpec{})
	lot := &n.gateway.lot
	parked := func() int {
		lot.mu.Lock()
		defer lot.mu.Unlock()
		return len(lot.parked)
	}
	eventually := func(want int) bool {
		for deadline := time.Now().Add(5 * time.Second); parked() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return false
			}
		}
		return true
	}
	n.connectRaw(room.ARN, "a") // opens the lot
	var c *rawClient
	for c = n.connectRaw(room.ARN, "b"); parked() == 0; c = n.connectRaw(room.ARN, "b") {
		time.Sleep(time.Millisecond)
	}
	pong := ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(nil)))
	c.write(bytes.Repeat(pong, 2)) // the most that a client owes us
	time.Sleep(20 * time.Millisecond)
	was := parked()
	c.write(bytes.Repeat(pong, 300))
	if !eventually(was - 1) {
		t.Errorf("%d sessions are parked, want %d: one sent 300 pongs at once", parked(), was-1)
	}
	c.write(ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(nil))))
	if h, _, ok := c.next(); !ok || h.OpCode != ws.OpPong {
		t.Errorf("got %v, want a pong: it is borne", h)
	}
}
