package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parlor/internal/chat"
)

// TestFloodEndsTheSession sends what costs a request nothing, or was refused, without
// a pause.
func TestFloodEndsTheSession(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		times int
	}{
		{"pings", masked(ping, ""), 2 * floodBurst},
		{"pings with a payload", masked(ping, strings.Repeat("p", 60)), 2 * floodBurst},
		{"pongs", masked(pong, ""), 2 * floodBurst},
		{"empty fragments", masked(continues, ""), 2 * floodBurst},
		{"short fragments", masked(continues, "x"), 2 * floodBurst},
		{"refused requests", masked(text, `{"Action":"SEND_MESSAGE","Content":"x"}`), 2 * floodBurst},
		{"requests that are none", masked(text, "x"), 2 * floodBurst},
		{"large refused requests", masked(text, strings.Repeat("[", maxMessage)), 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			c := n.connectRaw(n.room(chat.RoomSpec{}).ARN, "user")
			if strings.HasSuffix(test.name, "fragments") {
				c.write(masked(textBegins, ""))
			}
			go c.conn.Write(bytes.Repeat(test.frame, test.times))
			for h, payload, ok := c.next(); ; h, payload, ok = c.next() {
				if !ok {
					t.Fatal("ended without a close frame")
				}
				if h.OpCode == ws.OpClose {
					if code, reason := ws.ParseCloseFrameData(payload); code != ws.StatusPolicyViolation || reason == "" {
						t.Errorf("closed with %d %q, want 1008", code, reason)
					}
					break
				}
			}
			c.conn.Close()
			n.left()
			if got := n.endedFor(causeFlood); got != 1 {
				t.Errorf("sessions ended by a flood: got %v, want 1", got)
			}
		})
	}
}

// left waits until all sessions have ended.
func (n *node) left() {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); testutil.ToFloat64(n.gateway.metrics.connections) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatal("there are sessions still")
		}
	}
}

// TestHonestClientsAreNoFlood does the most that a client may do that means no harm.
func TestHonestClientsAreNoFlood(t *testing.T) {
	hundred := func(frame []byte) []byte { return bytes.Repeat(frame, 100) }
	request := masked(text, `{"Action":"SEND_MESSAGE","Content":"x"}`)
	pieces := join(masked(textBegins, "{"), bytes.Repeat(masked(continues, strings.Repeat(" ", 126)), 100), masked(ends, "}"))
	for _, test := range []struct {
		name    string
		every   time.Duration
		times   int
		burst   []byte
		answers string
	}{
		{"a hundred messages at once", time.Minute, 3, hundred(request), "10 MESSAGE, 90 ERROR"},
		{"four hundred messages at once", time.Minute, 3, bytes.Repeat(request, 400), "10 MESSAGE, 390 ERROR"},
		{"a message every 50 ms for minutes", time.Second, 120, bytes.Repeat(request, 20), ""},
		{"five hundred pings that piled up", 10 * time.Second, 3, bytes.Repeat(masked(ping, ""), 500), "500 pong"},
		{"a hundred pings a second", time.Second, 60, hundred(masked(ping, "x")), "100 pong"},
		{"ten large messages in many fragments a second", time.Second, 60, bytes.Repeat(pieces, 10), "10 ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := startNode(t, nodeOptions{pipes: true})
				c := n.connectRaw(n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 100}).ARN, "user")
				go func() {
					for range test.times {
						// All at one moment; but a pipe holds nothing, so that answers must be read
						// before more comes.
						for piece := range slices.Chunk(test.burst, 2<<10) {
							c.conn.Write(piece)
							synctest.Wait()
						}
						time.Sleep(test.every)
					}
					c.conn.Write(masked(closing, closeBody(1000, "")))
				}()
				c.conn.SetReadDeadline(time.Time{})
				answers := map[string]int{}
				for {
					h, err := ws.ReadHeader(c.in)
					if err != nil {
						t.Fatal(err)
					}
					payload := make([]byte, h.Length)
					if _, err := io.ReadFull(c.in, payload); err != nil {
						t.Fatal(err)
					}
					switch {
					case h.OpCode == ws.OpClose:
						if code, reason := ws.ParseCloseFrameData(payload); code != 1000 {
							t.Errorf("closed with %d %q, want the client's own 1000", code, reason)
						}
						per := map[string]int{}
						for what, n := range answers {
							per[what] = n / test.times
						}
						got := strings.Join(spell(per), ", ")
						if test.answers != "" && got != test.answers {
							t.Errorf("each time: got %s, want %s", got, test.answers)
						}
						n.stop()
						return
					case h.OpCode == ws.OpPong:
						answers["pong"]++
					case bytes.HasPrefix(payload, []byte(`{"Type":"ERROR"`)):
						answers["ERROR"]++
					case bytes.HasPrefix(payload, []byte(`{"Type":"MESSAGE"`)):
						answers["MESSAGE"]++
					}
				}
			})
		})
	}
}

func spell(counts map[string]int) (out []string) {
	for _, what := range []string{"MESSAGE", "ERROR", "pong"} {
		if counts[what] > 0 {
			out = append(out, fmt.Sprintf("%d %s", counts[what], what))
		}
	}
	return out
}

// TestAnswersToAClientThatReads has a client that is behind, but reads all the time, ask
// for more than maxSide of answers at once.
func TestAnswersToAClientThatReads(t *testing.T) {
	const asked = 100
	for name, request := range map[string][]byte{
		"pongs":  masked(ping, strings.Repeat("p", ws.MaxControlFramePayloadSize)),
		"errors": masked(text, `{"Action":"SEND_MESSAGE","RequestId":"0123456789","Content":""}`),
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			room := n.room(chat.RoomSpec{}).ARN
			c := n.connectRaw(room, "user")
			c.setReadBuffer(64 << 10)
			const events = 150
			for i := range events {
				n.publishTo(room, fmt.Sprint(i), 4000)
			}
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() { c.conn.Write(bytes.Repeat(request, asked)) })
			for shown, answers := 0, 0; shown < events || answers < asked; {
				h, payload, ok := c.next()
				switch {
				case !ok:
					t.Fatalf("ended after %d events and %d answers; as unread: %v", shown, answers, n.endedFor(causeUnread))
				case h.OpCode == ws.OpPong, strings.HasPrefix(string(payload), `{"Type":"ERROR"`):
					answers++
				default:
					shown++
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
}

// TestPingsAfterTheEnd pings a server that has said its last words, until it has
// had its answer to them: that breaks nothing.
func TestPingsAfterTheEnd(t *testing.T) {
	n := startNode(t, nodeOptions{sendBuffer: 4 << 10})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connectRaw(room, "user")
	c.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "user", "bye"); err != nil {
		t.Fatal(err)
	}
	for range 4 * maxSide / 125 {
		c.write(masked(ping, strings.Repeat("p", 125)))
	}
	time.Sleep(100 * time.Millisecond) // so that all of it has been met
	c.next()                           // the event
	if h, payload, ok := c.next(); !ok || h.OpCode != ws.OpClose || string(payload) != closeBody(1001, "bye") {
		t.Fatalf("got %v %q (%v), want a close frame", h.OpCode, payload, ok)
	}
	c.write(masked(closing, closeBody(1001, "bye")))
	if h, _, ok := c.next(); ok {
		t.Errorf("got %v after the close", h.OpCode)
	}
	n.left()
	if got := n.endedFor(causeDisconnected); got != 1 {
		t.Errorf("sessions that ended as disconnected: got %v, want 1", got)
	}
}

// TestWhatFollowsTheEndIsNotWorthMuch goes on sending after the server has said its
// last words: it takes little of that, and yet leaves its last words readable.
func TestWhatFollowsTheEndIsNotWorthMuch(t *testing.T) {
	for name, frame := range map[string][]byte{
		"after a breach": masked(0x83, ""),
		"after a flood":  bytes.Repeat(masked(ping, ""), 2*floodBurst),
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			c := n.connectRaw(n.room(chat.RoomSpec{}).ARN, "user")
			c.write(frame)
			c.conn.SetWriteDeadline(time.Now().Add(time.Second))
			block := bytes.Repeat(masked(ping, ""), 10_000)
			sent := 0
			for {
				n, err := c.conn.Write(block)
				sent += n
				if err != nil {
					break
				}
			}
			// What the sockets hold between them, and what is taken.
			if sent > 32<<20 {
				t.Errorf("%d MB were taken in a second", sent>>20)
			}
			for h, _, ok := c.next(); h.OpCode != ws.OpClose; h, _, ok = c.next() {
				if !ok {
					t.Fatal("no close frame")
				}
			}
		})
	}
}

// TestBudgetOfAClockThatIsSet: a clock that is set back makes no flood of what was borne.
func TestBudgetOfAClockThatIsSet(t *testing.T) {
	var b budget
	now := time.Now().UnixNano()
	if !b.spend(now, lightPerSecond, 1) {
		t.Fatal("one was too many")
	}
	now -= int64(time.Hour)
	for n := range floodBurst {
		if !b.spend(now, lightPerSecond, 1) {
			t.Fatalf("an hour earlier, %d were too many", n+1)
		}
	}
	for range 2 {
		if b.spend(now, lightPerSecond, 1) {
			t.Error("more were borne")
		}
	}
}
