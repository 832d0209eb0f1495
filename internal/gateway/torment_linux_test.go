package gateway

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

const (
	tormented = 40 // clients at a time
	// tormentLag is how far a client that reads may fall behind before its room's
	// publishers wait: far less than makes it slow, however busy the machine is.
	tormentLag = maxLag / 16
	// tormentPatience is longer than any session takes to end.
	tormentPatience = 4 * closeTimeout
)

// TestTorment has clients of all kinds come to busy rooms, and ends them in every way.
// Whoever reads sees each event in order, up to its end, and nothing after it; nobody ends
// for nothing; and nothing is left of anybody. It takes a second and a half for each path
// that a frame can take, or the time that PARLOR_SOAK says (a duration such as 10m) for all.
func TestTorment(t *testing.T) {
	paths := []struct {
		name string
		nodeOptions
	}{
		{"plain", nodeOptions{}},
		{"parts", nodeOptions{sender: sendParts(t)}},
		{"one by one", nodeOptions{oneByOne: true}},
		{"TLS", nodeOptions{tls: true}},
		{"deflate", nodeOptions{compression: true}},
	}
	span := 1500 * time.Millisecond
	if said := os.Getenv("PARLOR_SOAK"); said != "" {
		soak, err := time.ParseDuration(said)
		if err != nil {
			t.Fatal(err)
		}
		span = soak / time.Duration(len(paths))
	}
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
			path.log = io.Discard
			path.sendBuffer = []int{16 << 10, 64 << 10}[rand.IntN(2)]
			m := &torment{node: startNode(t, path.nodeOptions)}
			m.gateway.inline = tormented / 4 // of the three rooms one has fewer
			m.gateway.addresses.connections = 100 * tormented
			m.run(span)
			eventually(t, "rooms, parked sessions or addresses", m.deserted)
			m.stop()
			eventually(t, "goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
			eventually(t, "descriptors", func() bool { return openDescriptors() <= descriptors })
			t.Logf("%d clients", m.users.Load())
		})
	}
}

func eventually(t *testing.T, what string, gone func() bool) {
	t.Helper()
	for deadline := time.Now().Add(tormentPatience); !gone(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s are left", what)
			return
		}
	}
}

func openDescriptors() int {
	open, _ := os.ReadDir("/proc/self/fd")
	return len(open)
}

// torment is a node whose rooms are busy, and deleted now and then.
type torment struct {
	*node
	rooms [3]atomic.Pointer[tormentRoom]
	users atomic.Int64
	over  atomic.Bool // everybody is to come to an end
}

// tormentRoom is a room whose publications have frames that follow from their numbers.
type tormentRoom struct {
	arn     chat.ARN
	deleted atomic.Uint64 // the number of the publication that says so, or 0
}

func (m *torment) run(span time.Duration) {
	for i := range m.rooms {
		m.rooms[i].Store(&tormentRoom{arn: m.room(chat.RoomSpec{}).ARN})
	}
	var everybody sync.WaitGroup
	for i := range 2 * len(m.rooms) {
		everybody.Go(func() { m.publishFor(&m.rooms[i/2]) })
	}
	for i := range tormented {
		everybody.Go(func() {
			for !m.over.Load() {
				m.visit(m.rooms[[]int{0, 0, 0, 1, 1, 2}[i%6]].Load())
			}
		})
	}
	for begun := time.Now(); time.Since(begun) < span && !m.t.Failed(); time.Sleep(rand.N(500 * time.Millisecond)) {
		deleted := m.rooms[rand.IntN(len(m.rooms))].Swap(&tormentRoom{arn: m.room(chat.RoomSpec{}).ARN})
		m.store.DeleteRoom(m.t.Context(), deleted.arn)
		m.publish(deleted, &chat.Publication{Kind: chat.PublishRoomDeleted})
	}
	m.over.Store(true)
	everybody.Wait()
}

// deserted reports whether the gateway remembers nobody.
func (m *torment) deserted() bool {
	g := m.gateway
	for _, mu := range []*sync.Mutex{&g.mu, &g.addresses.mu, &g.lot.mu} {
		mu.Lock()
		defer mu.Unlock()
	}
	return len(g.rooms)+len(g.former)+len(g.addresses.open)+len(g.lot.parked) == 0
}

// publishFor publishes in whatever room is there, as fast as those who read it do.
func (m *torment) publishFor(room *atomic.Pointer[tormentRoom]) {
	for !m.over.Load() {
		r := room.Load()
		m.publish(r, &chat.Publication{Kind: chat.PublishEvent, Relayed: rand.IntN(4) == 0})
		for m.behind(r) > tormentLag && !m.over.Load() {
			time.Sleep(time.Millisecond)
		}
		if rand.IntN(4) == 0 {
			time.Sleep(rand.N(2 * time.Millisecond))
		}
	}
}

// behind is how far the furthest behind is of the clients that read, and go on.
func (m *torment) behind(r *tormentRoom) (lag uint64) {
	for _, s := range m.gateway.sessions() {
		if s.room.arn == r.arn && strings.HasPrefix(s.core.UserID, "reads") && s.live() {
			lag = max(lag, s.log.since(s.sent.Load()))
		}
	}
	return lag
}

// publish numbers a publication as the broker does, gives it its frame, and delivers it,
// perhaps after some that follow it.
func (m *torment) publish(r *tormentRoom, pub *chat.Publication) (number uint64) {
	m.broker.mu.Lock()
	room := m.broker.room(r.arn)
	room.number++
	number = room.number
	if pub.Kind == chat.PublishRoomDeleted {
		r.deleted.Store(number)
	}
	subscribed := room.subscribers > 0
	m.broker.mu.Unlock()
	if rand.IntN(8) == 0 {
		time.Sleep(rand.N(500 * time.Microsecond))
	}
	pub.Room, pub.Position, pub.Accepted, pub.Frame = r.arn, chat.Position{Epoch: 1, Number: number}, time.Now(), []byte(r.frame(number))
	if subscribed {
		m.gateway.Deliver(pub)
	}
	return number
}

// tormentPadding cannot be compressed much.
var tormentPadding = func() string {
	b := make([]byte, 12_000)
	rand.NewChaCha8([32]byte{}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}()

func (r *tormentRoom) frame(number uint64) string {
	size := []int{10, 100, 1000, len(tormentPadding)}[number%4]
	return fmt.Sprintf(`{"Type":"EVENT","Id":"%d","EventName":"%s","Attributes":{"x":"%s"}}`, number, r.arn.ID, tormentPadding[:size])
}

// tormentClient is a connection of a client that may be fast or slow.
type tormentClient struct {
	*torment
	rawClient
	room    *tormentRoom
	user    string
	session *session
	slow    bool
	joined  uint64        // the last publication that it is not owed
	holds   atomic.Bool   // it reads nothing just now
	done    chan struct{} // closed when it says no more

	// Owned by speak, then by judge.
	pings int
	end   string // how speak ended the session; empty: it did not
	until uint64 // up to which publication it is to see, if "disconnected" no further

	// Owned by listen, then by judge.
	last  uint64 // the last publication seen, or 0
	pongs int
	code  int // of the close frame, or 0
}

// visit is the life of a client.
func (m *torment) visit(r *tormentRoom) {
	kind, life := []string{"reads", "reads", "reads", "reads", "reads", "stalls", "aborts", "babbles"}[rand.IntN(8)], rand.N(time.Second)
	c := &tormentClient{torment: m, room: r, user: fmt.Sprint(kind, m.users.Add(1)), slow: rand.IntN(2) == 0, done: make(chan struct{})}
	if !c.connect() {
		return
	}
	defer c.conn.Close()
	switch kind {
	case "reads":
		var speaks sync.WaitGroup
		speaks.Go(func() { c.speak(life) })
		wrong := c.listen()
		c.conn.Close()
		speaks.Wait()
		c.judge(wrong)
	case "babbles":
		c.conn.Write(fmt.Append(nil, rand.Uint64(), rand.Uint64()))
	case "aborts":
		if tcp, ok := c.conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	case "stalls":
		c.hold(life, func() bool { return false })
	}
}

// connect reports whether there is a session; in a room that is deleted there is none.
func (c *tormentClient) connect() (connected bool) {
	n, ctx := c.node, c.node.t.Context()
	token, _, err := n.service.CreateChatToken(ctx, chat.TokenSpec{Room: c.room.arn, UserID: c.user, Capabilities: everything})
	if err != nil {
		return false
	}
	conn, err := n.dial(ctx, "tcp", n.address)
	if err != nil {
		n.t.Error(err)
		return false
	}
	defer func() {
		if !connected {
			conn.Close()
		}
	}()
	c.rawClient = rawClient{t: n.t, conn: conn, in: bufio.NewReaderSize(conn, 16+rand.IntN(8<<10))}
	c.setReadBuffer([]int{32 << 10, 32 << 10, 128 << 10}[rand.IntN(3)])
	request := upgrade(token)
	if n.options.compression && rand.IntN(2) == 0 {
		request = upgrade(token, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	}
	if rand.IntN(2) == 0 { // else it is parked at first
		c.pings++
		request = append(request, masked(ping, fmt.Sprint(c.pings))...)
	}
	conn.Write(request)
	conn.SetReadDeadline(time.Now().Add(tormentPatience))
	response, err := http.ReadResponse(c.in, nil)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		for _, s := range n.gateway.sessions() {
			if s.core.UserID == c.user {
				c.session, c.joined = s, applied(s)
				return true
			}
		}
	}
	if err != nil || c.room.deleted.Load() == 0 {
		n.t.Errorf("%s: no session: %v %v", c.user, response, err)
	}
	return false
}

// applied is the last publication that a session's room has shown.
func applied(s *session) uint64 {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.at.Number
}

// speak sends pings and requests until its life is over, and then ends the session,
// perhaps when its socket is full, and perhaps goes on.
func (c *tormentClient) speak(life time.Duration) {
	quiet := rand.IntN(3) == 0
	say := func(pause time.Duration) (more bool) {
		switch {
		case quiet:
		case rand.IntN(3) == 0:
			c.conn.Write(masked(text, `{"Action":"DELETE_MESSAGE"}`))
		default:
			c.pings++
			c.conn.Write(masked(ping, fmt.Sprint(c.pings)))
		}
		select {
		case <-c.done:
			return false
		case <-time.After(pause):
			return true
		}
	}
	for begun := time.Now(); time.Since(begun) < life && !c.over.Load(); {
		if !say(10*time.Millisecond + rand.N(40*time.Millisecond)) {
			return
		}
	}
	s := c.session
	holds := rand.IntN(2) == 0
	if holds {
		c.hold(200*time.Millisecond, func() bool { return s.stalled.Load() != 0 })
	}
	c.until, c.end = applied(s), []string{"closes", "disconnected", "expired", "drained"}[rand.IntN(4)]
	switch c.end {
	case "closes":
		quiet = true // nothing follows a close frame
		c.conn.Write(masked(closing, closeBody(1000, "")))
	case "disconnected":
		c.until = c.publish(c.room, &chat.Publication{Kind: chat.PublishDisconnect, UserID: c.user})
	case "expired":
		s.expire("")
	case "drained":
		s.leave()
	}
	if holds { // while the room goes on, by more than anybody else may be behind
		c.hold(time.Second, func() bool { return s.log.since(s.sent.Load()) > maxLag+maxLag/8 })
	}
	c.holds.Store(false)
	for range 200 { // which is no flood
		if !say(time.Millisecond) {
			return
		}
	}
}

// hold has the client read nothing for some time, or until there is no need.
func (c *tormentClient) hold(most time.Duration, enough func() bool) {
	c.holds.Store(true)
	for begun := time.Now(); time.Since(begun) < most && !c.over.Load() && !enough(); {
		time.Sleep(time.Millisecond)
	}
}

// listen reads until the connection is over. An error is of what ought not to have come.
func (c *tormentClient) listen() error {
	said := sync.OnceFunc(func() { close(c.done) })
	defer said()
	for {
		for c.holds.Load() {
			time.Sleep(time.Millisecond)
		}
		if c.slow {
			time.Sleep(rand.N(500 * time.Microsecond))
		}
		c.conn.SetReadDeadline(time.Now().Add(tormentPatience))
		h, err := ws.ReadHeader(c.in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err != nil {
			return nil
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return fmt.Errorf("within a frame: %w", err)
		}
		if c.code != 0 || !c.hear(h, payload) {
			return fmt.Errorf("got %v %.100q after %d pongs", h, payload, c.pongs)
		}
		if c.code != 0 {
			said()
			c.conn.Write(masked(closing, closeBody(c.code, "")))
		}
	}
}

// hear takes a frame, and reports whether it is one that was to come.
func (c *tormentClient) hear(h ws.Header, payload []byte) bool {
	switch {
	case h.OpCode == ws.OpPong:
		c.pongs++
		return string(payload) == fmt.Sprint(c.pongs)
	case h.OpCode == ws.OpClose && len(payload) >= 2:
		c.code = int(payload[0])<<8 | int(payload[1])
		return true
	case h.OpCode != ws.OpText:
		return false
	case h.Rsv1():
		var err error
		if payload, err = inflate(nil, payload, 1<<20); err != nil {
			return false
		}
	}
	if strings.HasPrefix(string(payload), `{"Type":"ERROR"`) {
		return true
	}
	first := c.last == 0
	if c.last++; first { // it may have been there for a while before it knew
		fmt.Sscanf(string(payload), `{"Type":"EVENT","Id":"%d"`, &c.last)
	}
	return string(payload) == c.room.frame(c.last) && (!first || c.last <= c.joined+1)
}

// judge fails the test if the client ought to have ended otherwise.
func (c *tormentClient) judge(wrong error) {
	until, exact := c.until, c.end == "disconnected"
	deleted := c.room.deleted.Load()
	if deleted != 0 && (c.end == "" || deleted < until) {
		until, exact = deleted, exact || c.end == ""
	}
	problem := ""
	switch {
	case wrong != nil:
		problem = wrong.Error()
	case c.end == "" && deleted == 0:
		problem = "ended for nothing"
	case c.end == "closes" && c.code == 0:
		problem = "no answer to the close frame"
	case c.end == "closes" || c.last == 0 && until <= c.joined: // owed nothing
	case c.last < until || exact && c.last > until:
		problem = fmt.Sprint("it was to see everything up to ", until)
	}
	if problem == "" && c.end != "closes" && c.end != "drained" && c.code != 1001 {
		problem = "no close frame with 1001"
	}
	if problem != "" {
		c.node.t.Errorf("%s, %q at %d, joined at %d, saw %d, room deleted at %d, close %d: %s",
			c.user, c.end, c.until, c.joined, c.last, deleted, c.code, problem)
	}
}
