package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parlor/internal/chat"
)

// publishTo shows an event of a chosen size.
func (n *node) publishTo(room chat.ARN, name string, size int) {
	n.t.Helper()
	if _, err := n.service.SendEvent(n.t.Context(), room, name, map[string]string{"x": strings.Repeat("x", size)}); err != nil {
		n.t.Error(err)
	}
}

// crowded is a room of some size.
const crowded = 65

func TestPublicationsAreAppliedInTheirOrder(t *testing.T) {
	for _, sessions := range []int{1, crowded} {
		onEveryPath(t, nodeOptions{}, func(t *testing.T, n *node) {
			room := n.room(chat.RoomSpec{}).ARN
			var clients []*client
			for i := range sessions {
				clients = append(clients, n.connect(room, fmt.Sprint(i)))
			}
			// Every publication twice, in any order, from many goroutines.
			const count = 200
			var wg sync.WaitGroup
			for _, i := range rand.Perm(2 * count) {
				wg.Go(func() {
					number := i/2 + 1
					n.gateway.Deliver(&chat.Publication{
						Room:     room,
						Kind:     chat.PublishEvent,
						Frame:    fmt.Appendf(nil, `{"Type":"EVENT","Id":"%d"}`, number),
						Accepted: time.Now(),
						Position: chat.Position{Epoch: 1, Number: uint64(number)},
					})
				})
			}
			wg.Wait()
			for i, c := range clients {
				for number := 1; number <= count; number++ {
					if got, want := c.next().ID, fmt.Sprint(number); got != want {
						t.Fatalf("session %d: got %s, want %s", i, got, want)
					}
				}
			}
		})
	}
}

// TestNobodyIsAheadOfTheLog appends and writes at once: a cursor that is past what is
// taken for the log's end would count as far behind it.
func TestNobodyIsAheadOfTheLog(t *testing.T) {
	l := newRoomLog()
	c := l.cursorAtEnd()
	const frames = 200_000
	var writer sync.WaitGroup
	writer.Go(func() {
		for seen := 0; seen < frames; {
			c.advance(len(c.pending(^uint64(0))), func(*logFrame) { seen++ })
			if behind := l.since(c.position()); behind > frames*10 {
				t.Errorf("behind by %d", int64(behind))
				return
			}
		}
	})
	for range frames {
		l.append(&chat.Publication{}, nil, []byte("0123456789"))
	}
	writer.Wait()
}

// TestNewEpochStartsAnew: a gap ends an epoch once all is there that came before it, in
// whatever order it comes.
func TestNewEpochStartsAnew(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connect(room, "user")
	event := func(epoch, number uint64) *chat.Publication {
		return &chat.Publication{Room: room, Kind: chat.PublishEvent, Position: chat.Position{Epoch: epoch, Number: number}, Accepted: time.Now(),
			Frame: fmt.Appendf(nil, `{"Type":"EVENT","Id":"%d.%d"}`, epoch, number)}
	}
	gap := &chat.Publication{Room: room, Kind: chat.PublishGap, After: chat.Position{Epoch: 1, Number: 3}, Position: chat.Position{Epoch: 3, Number: 0}}
	for _, pub := range []*chat.Publication{event(1, 1), event(3, 1), event(1, 3), gap, event(1, 2), event(1, 4), event(3, 2)} {
		n.gateway.Deliver(pub)
	}
	for _, want := range []string{"1.1", "1.2", "1.3", "3.1", "3.2"} {
		if got := c.next().ID; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestGap: the broker says what is lost, and the log goes on after it at once; what came
// early is not lost, and what has a number and is nothing is not shown.
func TestGap(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connect(room, "user")
	event := func(epoch, number uint64) {
		n.gateway.Deliver(&chat.Publication{Room: room, Kind: chat.PublishEvent, Position: chat.Position{Epoch: epoch, Number: number}, Accepted: time.Now(),
			Frame: fmt.Appendf(nil, `{"Type":"EVENT","Id":"%d.%d"}`, epoch, number)})
	}
	quiet := func(kind chat.PublicationKind, epoch, number uint64) {
		n.gateway.Deliver(&chat.Publication{Room: room, Kind: kind, Position: chat.Position{Epoch: epoch, Number: number}})
	}
	event(1, 1)
	event(1, 5)
	quiet(chat.PublishGap, 1, 3)
	event(1, 4)
	quiet(chat.PublishNothing, 1, 6)
	event(1, 7)
	quiet(chat.PublishGap, 2, 8)
	event(2, 9)
	quiet(chat.PublishGap, 2, 4) // late
	event(2, 10)
	for _, want := range []string{"1.1", "1.4", "1.5", "1.7", "2.9", "2.10"} {
		if got := c.next().ID; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestGapThatIsNeverFilled loses a publication: what a room keeps for it is bounded.
func TestGapThatIsNeverFilled(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connect(room, "user")
	for number := 2; number <= maxEarly+3; number++ {
		n.gateway.Deliver(&chat.Publication{Room: room, Kind: chat.PublishEvent, Accepted: time.Now(),
			Frame:    fmt.Appendf(nil, `{"Type":"EVENT","Id":"%d"}`, number),
			Position: chat.Position{Epoch: 1, Number: uint64(number)}})
	}
	for number := 2; number <= maxEarly+3; number++ {
		if got, want := c.next().ID, fmt.Sprint(number); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if got := testutil.ToFloat64(n.gateway.metrics.missed); got != 1 {
		t.Errorf("missed: got %v, want 1", got)
	}
}

func TestPublicationsBeforeTheSubscriptionIsLive(t *testing.T) {
	g := &Gateway{workers: []*worker{newWorker(nil)}}
	r := newRoom(g, chat.ARN{})
	frame := func(number uint64) *chat.Publication {
		return &chat.Publication{Kind: chat.PublishEvent, Frame: fmt.Append(nil, number), Position: chat.Position{Epoch: 1, Number: number}}
	}
	for _, number := range []uint64{7, 5, 6, 8} {
		r.deliver(frame(number))
	}
	start := r.plain.cursorAtEnd()
	r.goLive(chat.Position{Epoch: 1, Number: 5})
	r.deliver(frame(9))
	var want []byte
	for _, number := range []string{"6", "7", "8", "9"} {
		want = appendFrame(want, ws.OpText, []byte(number))
	}
	if got := start.pending(^uint64(0)); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// onEveryPath runs a test over each way that a frame can take to a client: written by
// the publisher or by a worker, to many at once or one by one, through TLS, and
// compressed.
func onEveryPath(t *testing.T, o nodeOptions, f func(t *testing.T, n *node)) {
	for _, path := range []string{"publisher", "worker", "publisher one by one", "worker one by one", "TLS", "TLS worker", "deflate", "deflate worker"} {
		t.Run(path, func(t *testing.T) {
			o.tls = strings.HasPrefix(path, "TLS")
			o.compression = strings.HasPrefix(path, "deflate")
			o.oneByOne = strings.HasSuffix(path, "one by one")
			n := startNode(t, o)
			if strings.Contains(path, "worker") {
				n.gateway.inline = 0
			}
			f(t, n)
		})
	}
}

// setReadBuffer says how much a client's socket holds of what it does not read.
func (c *rawClient) setReadBuffer(bytes int) {
	conn := c.conn
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	conn.(*net.TCPConn).SetReadBuffer(bytes)
}

// TestSlowReaderIsDropped has one client stop reading while others go on.
func TestSlowReaderIsDropped(t *testing.T) {
	for _, others := range []int{3, crowded + 3} {
		onEveryPath(t, nodeOptions{sendBuffer: 16 << 10}, func(t *testing.T, n *node) {
			room := n.room(chat.RoomSpec{}).ARN
			slow := n.connectRaw(room, "slow")
			slow.setReadBuffer(4 << 10)
			var wg sync.WaitGroup
			const events, size = 100, 16_000 // more than the sockets hold, and the log
			for i := range others {
				c := n.connectRaw(room, fmt.Sprint(i))
				wg.Go(func() {
					for number := range events {
						_, payload, ok := c.next()
						if !ok || !strings.Contains(string(payload[:min(200, len(payload))]), fmt.Sprintf(`"EventName":"%d"`, number)) {
							t.Errorf("session %d, event %d: got %.100q (%v)", i, number, payload, ok)
							return
						}
					}
				})
			}
			for number := range events {
				n.publishTo(room, fmt.Sprint(number), size)
				// Let the others read: they are not the slow ones.
				for n.lag(room, "slow") > maxLag/2 {
					time.Sleep(time.Millisecond)
				}
			}
			wg.Wait()
			if got := n.endedFor(causeSlow); got != 1 {
				t.Errorf("slow sessions: got %v, want 1", got)
			}
			if got := testutil.ToFloat64(n.gateway.metrics.connections); got != float64(others) {
				t.Errorf("connections: got %v, want %d", got, others)
			}
			// No close frame was sent: to an SDK the connection broke.
			for {
				h, _, ok := slow.next()
				if !ok {
					break
				}
				if h.OpCode == ws.OpClose {
					t.Error("the slow client was told goodbye")
				}
			}
		})
	}
}

// lag is how far the session furthest behind is, but for those of one user.
func (n *node) lag(arn chat.ARN, but string) (lag uint64) {
	n.gateway.mu.Lock()
	room := n.gateway.rooms[arn]
	n.gateway.mu.Unlock()
	if room == nil { // nobody is there
		return 0
	}
	room.each(func(s *session) {
		if s.core.UserID != but {
			lag = max(lag, s.log.since(s.sent.Load()))
		}
	})
	return lag
}

// TestReaderOfSmallSips reads so little at a time that every write is a part of a
// frame, while pings come in between.
func TestReaderOfSmallSips(t *testing.T) {
	onEveryPath(t, nodeOptions{sendBuffer: 4 << 10}, readInSmallSips)
}

func readInSmallSips(t *testing.T, n *node) {
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connectRaw(room, "user")
	c.setReadBuffer(2 << 10)
	const events, size = 60, 1000
	for number := range events {
		n.publishTo(room, fmt.Sprint(number), size)
		if number%10 == 0 {
			c.write(masked(ping, fmt.Sprint("p", number)))
		}
	}
	pongs, next := 0, 0
	for next < events || pongs < events/10 {
		h, payload, ok := c.next()
		switch {
		case !ok:
			t.Fatalf("the connection ended after %d events", next)
		case h.OpCode == ws.OpPong:
			pongs++
		case h.OpCode != ws.OpText || !strings.Contains(string(payload), fmt.Sprintf(`"EventName":"%d"`, next)):
			t.Fatalf("event %d: got %q", next, payload)
		default:
			next++
		}
	}
}

// TestUnreadErrorsEndTheSession has a client make errors and read none of them.
func TestUnreadErrorsEndTheSession(t *testing.T) {
	n := startNode(t, nodeOptions{sendBuffer: 4 << 10})
	room := n.room(chat.RoomSpec{}).ARN
	// Before it connects: a window that shrinks later may keep the acknowledgements from a client.
	n.dial = (&net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}).DialContext
	c := n.connectRaw(room, "user")
	// Together their answers are too many for the session and both sockets before either is a flood.
	bad := bytes.Repeat(join(masked(text, `{"RequestId":"`+strings.Repeat("x", chat.MaxRequestIDLength)+`"}`), masked(ping, strings.Repeat("p", ws.MaxControlFramePayloadSize))), 100)
	c.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	for range 2000 {
		if _, err := c.conn.Write(bad); err != nil {
			break // dropped
		}
	}
	for deadline := time.Now().Add(5 * time.Second); n.endedFor(causeUnread) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session was not dropped")
		}
	}
}

// TestAnswersToAClientThatWaits has a client ask for more than maxSide of answers while
// somebody is in the middle of writing to it: that it reads nothing meanwhile is not its
// doing, and it gets them all.
func TestAnswersToAClientThatWaits(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.connectRaw(n.room(chat.RoomSpec{}).ARN, "user")
	s := n.gateway.sessions()[0]
	for deadline := time.Now().Add(10 * time.Second); !s.seize(); time.Sleep(time.Millisecond) { // the handshake may not have put it back yet
		if time.Now().After(deadline) {
			t.Fatal("the session is being written to")
		}
	}
	const pings = 4 * maxSide / ws.MaxControlFramePayloadSize
	for range pings {
		c.write(masked(ping, strings.Repeat("p", ws.MaxControlFramePayloadSize)))
	}
	said := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.side) / (2 + ws.MaxControlFramePayloadSize)
	}
	for deadline := time.Now().Add(10 * time.Second); said() < pings && s.closed.Load() == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	s.write(&n.gateway.metrics.deliveries, false)
	for i := range pings {
		if h, _, ok := c.next(); !ok || h.OpCode != ws.OpPong {
			t.Fatalf("answer %d: got %v (%v), want a pong", i, h.OpCode, ok)
		}
	}
}

// TestComingAndGoing joins and leaves while publications flow: whoever is there gets
// everything from the moment of joining on, without a gap.
func TestComingAndGoing(t *testing.T) {
	onEveryPath(t, nodeOptions{}, comeAndGo)
}

func comeAndGo(t *testing.T, n *node) {
	room := n.room(chat.RoomSpec{}).ARN
	stop := make(chan struct{})
	var publisher, visitors sync.WaitGroup
	publisher.Go(func() {
		for number := 0; ; number++ {
			select {
			case <-stop:
				return
			default:
				n.publishTo(room, fmt.Sprint(number), 10)
			}
			// Where workers write, nothing else keeps the publisher from leaving all
			// sessions behind.
			for n.lag(room, "") > maxLag/2 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	for i := range 8 {
		visitors.Go(func() {
			for range 10 {
				c := n.connect(room, fmt.Sprint(i))
				first := -1
				for seen := range 20 {
					f, err := c.read(10 * time.Second)
					if err != nil {
						t.Error(err)
						return
					}
					var number int
					fmt.Sscan(f.EventName, &number)
					if first < 0 {
						first = number
					}
					if number != first+seen {
						t.Errorf("event %d after %d", number, first+seen-1)
						return
					}
				}
				c.conn.CloseNow()
			}
		})
	}
	visitors.Wait()
	close(stop)
	publisher.Wait()
	n.stop()
	if got := len(n.gateway.rooms); got != 0 {
		t.Errorf("rooms left: got %d, want 0", got)
	}
}

// TestKindOfALaterVersion is of a publication that this version does not know: what it
// shows is shown.
func TestKindOfALaterVersion(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connect(room, "user")
	n.gateway.Deliver(&chat.Publication{Room: room, Kind: 255, Position: chat.Position{Epoch: 1, Number: 1}, Accepted: time.Now(), Frame: []byte(`{"Type":"EVENT","Id":"x"}`)})
	if got := c.next().ID; got != "x" {
		t.Errorf("got %q, want x", got)
	}
}

// TestGapOverTheEndOfARoom: that the room was deleted is among what was lost.
func TestGapOverTheEndOfARoom(t *testing.T) {
	n := startNode(t, nodeOptions{})
	gone, stays := n.room(chat.RoomSpec{}).ARN, n.room(chat.RoomSpec{}).ARN
	a, b := n.connect(gone, "a"), n.connect(stays, "b")
	if err := n.store.DeleteRoom(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for _, room := range []chat.ARN{gone, stays} {
		n.gateway.Deliver(&chat.Publication{Room: room, Kind: chat.PublishGap, Position: chat.Position{Epoch: 1, Number: 3}})
	}
	if _, err := a.read(2 * time.Second); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("got %v, want a close frame 1001", err)
	}
	n.gateway.Deliver(&chat.Publication{Room: stays, Kind: chat.PublishEvent, Position: chat.Position{Epoch: 1, Number: 4}, Accepted: time.Now(), Frame: []byte(`{"Type":"EVENT","Id":"x"}`)})
	if got := b.next().ID; got != "x" {
		t.Errorf("got %q", got)
	}
}

// TestStalledReaderHoldsLittle: a client that reads nothing is found out before the kernel
// holds megabytes for it.
func TestStalledReaderHoldsLittle(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	n.connectRaw(room, "stalled")
	const size, most = 8_000, 3 << 20 // the log's megabyte, both buffers, and what the client's kernel takes
	published := 0
	for n.endedFor(causeSlow) == 0 && published < most {
		n.publishTo(room, "x", size)
		published += size
	}
	for deadline := time.Now().Add(2 * time.Second); n.endedFor(causeSlow) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := n.endedFor(causeSlow); got != 1 {
		t.Errorf("slow sessions after %d bytes: got %v, want 1", published, got)
	}
}
