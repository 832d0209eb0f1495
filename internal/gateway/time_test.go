package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parlor/internal/chat"
)

// virtually runs a test in virtual time, over pipes.
func virtually(t *testing.T, f func(t *testing.T, n *node, room chat.ARN)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nodeOptions{pipes: true})
		f(t, n, n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 5}).ARN)
		n.stop()
	})
}

func TestSessionExpires(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		start := time.Now()
		c := n.open(n.token(chat.TokenSpec{Room: room, UserID: "user", SessionDuration: 3 * time.Minute}), nil)
		f, err := c.read(time.Hour)
		if err != nil || f.Type != "ERROR" || f.ErrorCode != 401 || f.RequestID != "" {
			t.Errorf("got %s %v, want an ERROR 401", f.raw, err)
		}
		// CreateChatToken counts in whole seconds.
		if got := time.Since(start); got < 3*time.Minute-time.Second || got > 3*time.Minute+2*wheelTick {
			t.Errorf("after %v, want 3m", got)
		}
		code, reason, _ := c.closed()
		if code != websocket.StatusGoingAway || !strings.Contains(reason, `"ErrorCode":401,"ErrorMessage":"`) || !strings.Contains(reason, `"Type":"ERROR"`) {
			t.Errorf("closed with %d %s", code, reason)
		}
	})
}

func TestSessionOutlivesItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nodeOptions{pipes: true, tokenLifetime: time.Minute})
		room := n.room(chat.RoomSpec{}).ARN
		c := n.open(n.token(chat.TokenSpec{Room: room, UserID: "user", Capabilities: everything}), nil)
		unused := n.token(chat.TokenSpec{Room: room, UserID: "user"})
		keep := c.conn.CloseRead(t.Context()) // answers pings
		time.Sleep(10 * time.Minute)
		if keep.Err() != nil {
			t.Error("the session ended with its token")
		}
		if _, response, err := n.tryOpen(unused, nil); err == nil || response.StatusCode != 401 {
			t.Errorf("an expired token: got %v %v", response, err)
		}
		n.stop()
	})
}

func TestSilentClientIsDropped(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		start := time.Now()
		n.connect(room, "user") // never reads, so never answers a ping
		for n.endedFor(causeSilent) == 0 {
			time.Sleep(time.Second)
			if time.Since(start) > 10*time.Minute {
				t.Fatal("still there")
			}
		}
		if got, want := time.Since(start), 3*n.gateway.pingInterval; got < want || got > want+2*time.Second {
			t.Errorf("dropped after %v, want %v", got, want)
		}
	})
}

func TestSilenceIsNoReasonToClose(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		c := n.connect(room, "user")
		ctx := c.conn.CloseRead(t.Context()) // reads, so answers pings
		time.Sleep(59 * time.Minute)
		if ctx.Err() != nil {
			t.Error("closed, though it answered every ping")
		}
	})
}

func TestRoomRate(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		a, b := n.connect(room, "a"), n.connect(room, "b")
		// Each reads all the time: over pipes, a write waits for its reader.
		type result struct {
			accepted, refused int
		}
		results := make(chan result, 2)
		for _, c := range []*client{a, b} {
			go func() {
				var r result
				for {
					f, err := c.read(10 * time.Second)
					if err != nil {
						results <- r
						return
					}
					if f.Type == "MESSAGE" {
						r.accepted++
					} else if f.ErrorCode == 429 {
						r.refused++
					}
				}
			}()
		}
		// 3 s at 5/s with a burst of 5 admit 5 + 15 of 6 × 6 = 36, whoever sends them.
		for range 6 {
			for i, c := range []*client{a, b} {
				for range 3 {
					c.send(fmt.Sprintf(`{"Action":"SEND_MESSAGE","Content":"%d"}`, i))
				}
			}
			time.Sleep(600 * time.Millisecond)
		}
		ra, rb := <-results, <-results
		if ra.accepted != 20 || rb.accepted != 20 || ra.refused+rb.refused != 16 {
			t.Errorf("got %+v and %+v, want 20 messages each and 16 refusals", ra, rb)
		}
	})
}

func TestDrainSpreadsTheEnds(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		const sessions, window = 10, 20 * time.Second
		start := time.Now()
		ends := make(chan time.Duration, sessions)
		for i := range sessions {
			c := n.connect(room, fmt.Sprint(i))
			go func() {
				code, _, _ := c.closed()
				if code != -1 {
					t.Errorf("closed with %d, want a broken connection", code)
				}
				ends <- time.Since(start)
			}()
		}
		synctest.Wait()
		n.gateway.Drain(t.Context(), window)
		if got := time.Since(start); got < window*(sessions-1)/sessions || got > window+time.Second {
			t.Errorf("drained in %v, want about %v", got, window)
		}
		for i := range sessions {
			want := window * time.Duration(i) / sessions
			if got := <-ends; got < want || got > want+time.Second {
				t.Errorf("session %d ended after %v, want %v", i, got, want)
			}
		}
		if _, response, err := n.tryOpen(n.token(chat.TokenSpec{Room: room, UserID: "late"}), nil); err == nil || response.StatusCode != 503 {
			t.Errorf("connecting meanwhile: got %v %v, want 503", response, err)
		}
	})
}

// TestDrainHoldsThoseWhoComeBack connects while the node drains: the answer comes when
// the drain is over, or after 15 s, so that an SDK does not spend its tries meanwhile.
func TestDrainHoldsThoseWhoComeBack(t *testing.T) {
	for _, test := range []struct{ window, want time.Duration }{
		{10 * time.Second, 5 * time.Second}, // the second of two sessions ends half way
		{60 * time.Second, handshakeTimeout},
	} {
		virtually(t, func(t *testing.T, n *node, room chat.ARN) {
			for _, user := range []string{"a", "b"} {
				c := n.connect(room, user)
				go c.discard()
			}
			token := n.token(chat.TokenSpec{Room: room, UserID: "late"})
			synctest.Wait()
			var drained sync.WaitGroup
			drained.Go(func() { n.gateway.Drain(t.Context(), test.window) })
			time.Sleep(time.Millisecond)
			start := time.Now()
			_, response, err := n.tryOpen(token, nil)
			if err == nil || response.StatusCode != 503 {
				t.Fatalf("got %v %v, want 503", response, err)
			}
			if got := time.Since(start); got < test.want-100*time.Millisecond || got > test.want+100*time.Millisecond {
				t.Errorf("drain over %v: held for %v, want %v", test.window, got, test.want)
			}
			drained.Wait()
		})
	}
}

// What is being carried out when its session's turn comes is answered first; what comes
// after that is not begun.
func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		n.broker.slow = time.Second
		c := n.connect(room, "user")
		c.sendMessage("first", "a")
		go c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"Action":"SEND_MESSAGE","RequestId":"second","Content":"b"}`))
		ended := make(chan []frame, 1)
		go func() {
			_, _, frames := c.closed()
			ended <- frames
		}()
		time.Sleep(500 * time.Millisecond)
		n.gateway.Drain(t.Context(), 0)
		frames := <-ended
		if len(frames) != 1 || frames[0].RequestID != "first" {
			t.Errorf("got %d frames before the end, want the answer to the request in flight", len(frames))
		}
		if n.broker.messages != 1 {
			t.Errorf("%d messages were published, want 1", n.broker.messages)
		}
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		n.connect(room, "user")
		n.connect(room, "other")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		n.gateway.Drain(ctx, time.Hour)
		if got := time.Since(start); got != time.Second {
			t.Errorf("returned after %v, want 1s", got)
		}
	})
}

func TestStuckClientIsDropped(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		n.connect(room, "stuck") // reads nothing, not even its close frame
		if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "stuck", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(closeTimeout + time.Second)
		if got := testutil.ToFloat64(n.gateway.metrics.connections); got != 0 {
			t.Errorf("connections: got %v, want 0", got)
		}
		if got := n.endedFor(causeStuck); got != 1 {
			t.Errorf("stuck: got %v, want 1", got)
		}
	})
}

func TestTokenKeyRotation(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		first := n.token(chat.TokenSpec{Room: room, UserID: "user", SessionDuration: chat.MaxSessionDuration})
		time.Sleep(24*time.Hour - 30*time.Minute)
		last := n.token(chat.TokenSpec{Room: room, UserID: "user", SessionDuration: chat.MaxSessionDuration})
		if got := len(n.store.keys); got != 1 {
			t.Errorf("keys before rotation: got %d, want 1", got)
		}
		time.Sleep(31 * time.Minute)
		n.token(chat.TokenSpec{Room: room, UserID: "user"})
		if got := len(n.store.keys); got != 2 {
			t.Errorf("keys after rotation: got %d, want 2", got)
		}
		n.open(last, nil).conn.CloseNow() // sealed under the key before
		if _, _, err := n.tryOpen(first, nil); err == nil {
			t.Error("a token of yesterday opened a connection")
		}
	})
}
