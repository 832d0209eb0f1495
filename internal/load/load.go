// Package load puts a measured load on a WebSocket server: connections in rooms,
// messages at a steady rate, and for each delivery how long it took, whether one was
// lost, and whether all saw one order.
//
// The load is open: a message has a time at which it is to be sent, fixed before the
// run, and its latency counts from then. A server, or a client, that stalls cannot
// hide that by being asked less.
//
// A run is bounded in time whatever the server does: a handshake, the sending and the
// wait for the last messages each have an end.
//
// The package speaks WebSocket; what a server says inside the frames is its
// [Target]'s to know. Messages are recognised by a mark in their content.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Target is a server and the way to speak to it. Its methods are called from several
// goroutines.
type Target interface {
	// Dial opens connection i, which hears what is said in the room. When it returns,
	// the server has made it part of the room.
	Dial(ctx context.Context, room, i int) (Conn, error)
	// AppendMessage appends the text of a WebSocket message that says content in the
	// room. Content is plain ASCII, without quotes. A refusal carries the request id.
	AppendMessage(b []byte, room int, requestID string, content []byte) []byte
	// Refusal reports whether a frame is the refusal of a message, with a code to
	// count it by. It is asked about frames without a mark.
	Refusal(frame []byte) (code string, refused bool)
}

// Conn is an open WebSocket connection.
type Conn struct {
	net.Conn
	Unread []byte // what the server sent after its handshake and was read with it
}

// Plan is what a run does.
type Plan struct {
	Rooms       int
	Connections int           // in all, spread evenly over the rooms
	Rate        float64       // messages a second in each room; 0 only connects
	Duration    time.Duration // of the sending, or of the holding of connections
	Ramp        time.Duration // over which connections are opened; 0 is as fast as they come
	Dialers     int           // connections that are opened at once
	Size        int           // bytes of a message's content, at least MinSize
	Stalled     float64       // share of the connections, 0 to 1, that read nothing
	PerSender   float64       // messages a second that one connection may send
	Binary      bool          // messages go out as binary frames
	Patience    time.Duration // how long after the duration what is late is waited for: sending, then receiving
}

// MinSize is the smallest content: the mark and what it carries.
const MinSize = markSize

// handshakePatience is how long a handshake may take.
const handshakePatience = 30 * time.Second

// Senders is how many connections of a room send.
func (p *Plan) Senders() int { return max(1, int(math.Ceil(p.Rate/p.PerSender))) }

// PlanError is what is wrong with a plan.
type PlanError struct {
	Field   string // of Plan
	Problem string
}

func (e *PlanError) Error() string { return e.Field + ": " + e.Problem }

// Check says what is wrong with the plan, by a *[PlanError].
func (p *Plan) Check() error {
	fault := func(field, format string, args ...any) error {
		return &PlanError{field, fmt.Sprintf(format, args...)}
	}
	switch {
	case p.Rooms < 1:
		return fault("Rooms", "must be at least 1, not %d", p.Rooms)
	case p.Connections < p.Rooms:
		return fault("Connections", "each of %s needs one, and there are %d", plural(p.Rooms, "room"), p.Connections)
	case !(p.Rate >= 0 && p.Rate <= maxRate): // NaN is neither
		return fault("Rate", "must be between 0 and %d messages a second, not %g", maxRate, p.Rate)
	case p.Rate > 0 && !(p.PerSender > 0):
		return fault("PerSender", "must be positive, not %g", p.PerSender)
	case p.Duration <= 0:
		return fault("Duration", "must be positive, not %v", p.Duration)
	case p.Ramp < 0:
		return fault("Ramp", "must not be negative, but is %v", p.Ramp)
	case p.Dialers < 1:
		return fault("Dialers", "must be at least 1, not %d", p.Dialers)
	case p.Size < MinSize:
		return fault("Size", "a message that can be measured has at least %d bytes, not %d", MinSize, p.Size)
	case !(p.Stalled >= 0 && p.Stalled <= 1):
		return fault("Stalled", "must be between 0 and 1, not %g", p.Stalled)
	}
	if reading := p.reading(p.Rooms - 1); p.Rate > 0 && reading < p.Senders() {
		return fault("Connections", "%g messages a second need %s in each room that send, at most %g a second each, and there %s %d",
			p.Rate, plural(p.Senders(), "connection"), p.PerSender, be(reading), reading)
	}
	return nil
}

const maxRate = 1_000_000

// reading is how many connections of a room read. The later rooms are not larger.
func (p *Plan) reading(room int) int {
	inRoom := (p.Connections + p.Rooms - 1 - room) / p.Rooms
	return inRoom - int(float64(inRoom)*p.Stalled)
}

// isStalled reports whether connection i reads nothing. The stalled ones are the last
// of their rooms.
func (p *Plan) isStalled(i int) bool { return i/p.Rooms >= p.reading(i%p.Rooms) }

// Watcher is told how a run goes. Any of its members may be nil.
type Watcher struct {
	Opened func()         // all connections are open; the sending begins
	Sent   func()         // the sending is over
	Heard  func()         // the last message was heard, or waited for in vain; all connections are still open
	Tick   func(Progress) // every second
}

// Progress is a moment of a run.
type Progress struct {
	Elapsed     time.Duration // since the run, or the sending, began
	Sending     bool          // or done with that, as opposed to connecting
	Connections int           // open now
	Failed      int           // connections that did not open
	Broken      int           // connections that ended
	Sent        int           // messages so far
	Refused     int
	Deliveries  int           // so far
	PerSecond   float64       // deliveries, since the last tick
	P50, P99    time.Duration // since the last tick
}

// run is a run under way.
type run struct {
	plan    Plan
	target  Target
	mark    []byte
	began   time.Time // of the run; the clock of all messages counts from here
	rooms   []*room
	latency *latencies
	connect *latencies

	opened, broken atomic.Int64
	stopping       atomic.Bool
	reading        sync.WaitGroup

	mu      sync.Mutex
	failed  map[string]int // handshakes, by reason
	ended   map[string]int // connections, by reason
	refused map[string]int // messages, by code
}

// room is a room and its connections.
type room struct {
	index   int
	conns   []*conn
	senders []*conn
	turns   atomic.Int64 // how many senders there are: message n is of sender n modulo turns
	sent    atomic.Int64
	refused atomic.Int64
}

// Run carries out a plan. When ctx ends it stops early, and reports what there was by
// then. It closes its connections before it returns.
func Run(ctx context.Context, plan Plan, target Target, watch Watcher) (*Report, error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	r := &run{plan: plan, target: target, began: time.Now(), latency: newLatencies(), connect: newLatencies(),
		failed: map[string]int{}, ended: map[string]int{}, refused: map[string]int{}}
	r.mark = newMark()
	for i := range plan.Rooms {
		r.rooms = append(r.rooms, &room{index: i})
	}
	defer r.close()
	ticking, stopTicking := context.WithCancel(context.Background())
	var ticker sync.WaitGroup
	var sending atomic.Pointer[time.Time]
	ticker.Go(func() { r.tick(ticking, watch.Tick, &sending) })
	defer ticker.Wait()
	defer stopTicking()

	r.open(ctx)
	opened := time.Since(r.began)
	if watch.Opened != nil {
		watch.Opened()
	}
	begun := time.Now()
	sending.Store(&begun)
	if r.opened.Load() > 0 {
		r.send(ctx, begun)
	}
	sent := time.Since(begun)
	if watch.Sent != nil {
		watch.Sent()
	}
	r.await(ctx)
	if watch.Heard != nil {
		watch.Heard()
	}
	interrupted := ctx.Err() != nil
	r.close()
	stopTicking()
	ticker.Wait()
	return r.report(opened, sent, interrupted), nil
}

// open opens the connections.
func (r *run) open(ctx context.Context) {
	p := &r.plan
	conns := make([]*conn, p.Connections)
	var next atomic.Int64
	var dialing sync.WaitGroup
	for range max(1, min(p.Dialers, p.Connections)) {
		dialing.Go(func() {
			for i := int(next.Add(1)) - 1; i < p.Connections; i = int(next.Add(1)) - 1 {
				if p.Ramp > 0 && !sleep(ctx, time.Until(r.began.Add(p.Ramp*time.Duration(i)/time.Duration(p.Connections)))) {
					return
				}
				begun := time.Now()
				c, err := r.dial(ctx, i)
				if ctx.Err() != nil {
					if err == nil {
						c.Close()
					}
					return
				}
				if err != nil {
					r.count(r.failed, reason(err))
					continue
				}
				r.connect.record(i, time.Since(begun))
				conns[i] = newConn(r, r.rooms[i%p.Rooms], i, c)
				r.opened.Add(1)
				if !conns[i].stalled {
					conns[i].read()
				}
			}
		})
	}
	dialing.Wait()
	for i, c := range conns {
		if c == nil {
			continue
		}
		room := r.rooms[i%p.Rooms]
		room.conns = append(room.conns, c)
		if !c.stalled && len(room.senders) < p.Senders() {
			room.senders = append(room.senders, c)
			room.turns.Add(1)
		}
	}
}

// dial opens connection i.
func (r *run) dial(ctx context.Context, i int) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakePatience)
	defer cancel()
	c, err := r.target.Dial(ctx, i%r.plan.Rooms, i)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer in %v", handshakePatience)
	}
	return c, err
}

// send sends messages for the plan's duration, or holds the connections as long. What
// a server then does not take, in the plan's patience, is not sent.
func (r *run) send(ctx context.Context, begun time.Time) {
	defer func() { sleep(ctx, time.Until(begun.Add(r.plan.Duration))) }()
	if r.plan.Rate == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, r.plan.Duration+r.plan.Patience)
	defer cancel()
	stop := context.AfterFunc(bounded, r.stopWriting)
	defer stop()
	var rooms sync.WaitGroup
	interval := time.Duration(float64(time.Second) / r.plan.Rate)
	for i, room := range r.rooms {
		if len(room.senders) == 0 {
			continue
		}
		// Rooms do not speak at the same time.
		offset := interval * time.Duration(i) / time.Duration(len(r.rooms))
		rooms.Go(func() {
			var frame []byte
			for n := 0; ; n++ {
				due := offset + time.Duration(float64(n)*float64(time.Second)/r.plan.Rate)
				if due >= r.plan.Duration || !sleep(ctx, time.Until(begun.Add(due))) {
					return
				}
				frame = r.appendFrame(frame[:0], room, n, begun.Add(due))
				room.sent.Add(1)
				if err := room.senders[n%len(room.senders)].write(frame); err != nil {
					room.refused.Add(1)
					r.count(r.refused, "not sent")
				}
			}
		})
	}
	rooms.Wait()
}

// stopWriting ends all writes, those under way too.
func (r *run) stopWriting() {
	for _, room := range r.rooms {
		for _, c := range room.senders {
			c.SetWriteDeadline(time.Now())
		}
	}
}

// appendFrame appends message n of a room, due at the given time, as the frame of a
// client.
func (r *run) appendFrame(b []byte, room *room, n int, due time.Time) []byte {
	content := appendMark(make([]byte, 0, 512), r.mark, uint32(n), uint64(due.Sub(r.began)))
	for len(content) < r.plan.Size {
		content = append(content, 'x')
	}
	text := r.target.AppendMessage(nil, room.index, fmt.Sprintf("%s-%d", r.mark, n), content)
	return appendClientFrame(b, opOf(r.plan.Binary), text)
}

func opOf(binary bool) ws.OpCode {
	if binary {
		return ws.OpBinary
	}
	return ws.OpText
}

// ClientFrame is a frame as [Run] sends it.
func ClientFrame(payload []byte, binary bool) []byte {
	return appendClientFrame(nil, opOf(binary), payload)
}

// await waits for the last messages.
func (r *run) await(ctx context.Context) {
	deadline := time.Now().Add(r.plan.Patience)
	for time.Now().Before(deadline) {
		if r.lost() == 0 {
			return
		}
		if !sleep(ctx, 5*time.Millisecond) {
			return
		}
	}
}

// lost is how many deliveries are missing at the connections that read.
func (r *run) lost() (lost int) {
	for _, room := range r.rooms {
		accepted := int(room.sent.Load() - room.refused.Load())
		for _, c := range room.conns {
			if !c.stalled {
				lost += max(0, accepted-int(c.heard.Load()))
			}
		}
	}
	return lost
}

// close closes the connections and waits for their readers.
func (r *run) close() {
	if r.stopping.Swap(true) {
		return
	}
	for _, room := range r.rooms {
		for _, c := range room.conns {
			c.Close()
		}
	}
	r.reading.Wait()
}

func (r *run) count(what map[string]int, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what[why]++
}

// tick reports progress every second.
func (r *run) tick(ctx context.Context, tell func(Progress), sending *atomic.Pointer[time.Time]) {
	last, before := time.Now(), 0
	for sleep(ctx, time.Second-time.Since(last)) {
		now := time.Now()
		p := Progress{Elapsed: now.Sub(r.began), Connections: int(r.opened.Load() - r.broken.Load()), Broken: int(r.broken.Load())}
		if begun := sending.Load(); begun != nil {
			p.Sending, p.Elapsed = true, now.Sub(*begun)
		}
		r.mu.Lock()
		for _, n := range r.failed {
			p.Failed += n
		}
		r.mu.Unlock()
		for _, room := range r.rooms {
			p.Sent += int(room.sent.Load())
			p.Refused += int(room.refused.Load())
		}
		interval := r.latency.collect()
		p.Deliveries = int(r.latency.total.TotalCount())
		p.PerSecond = float64(p.Deliveries-before) / now.Sub(last).Seconds()
		p.P50, p.P99 = at(interval, 50), at(interval, 99)
		last, before = now, p.Deliveries
		if tell != nil {
			tell(p)
		}
	}
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// reason is what a failed handshake, or an end, is counted by: the error without the
// addresses, which differ.
func reason(err error) string {
	if status, ok := errors.AsType[ws.StatusError](err); ok {
		return fmt.Sprintf("HTTP %d", int(status))
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return err.Error()
	}
	cause := op.Err
	if call, ok := errors.AsType[*os.SyscallError](cause); ok {
		cause = call.Err
	}
	return fmt.Sprintf("%s: %v", op.Op, cause)
}

// Dial opens a WebSocket connection, with a subprotocol unless it is empty.
func Dial(ctx context.Context, url, protocol string) (Conn, error) {
	dialer := ws.Dialer{ReadBufferSize: 2048, WriteBufferSize: 2048}
	if protocol != "" {
		dialer.Protocols = []string{protocol}
	}
	conn, in, _, err := dialer.Dial(ctx, url)
	if err != nil {
		return Conn{}, err
	}
	c := Conn{Conn: conn}
	if in != nil {
		unread, _ := in.Peek(in.Buffered()) // has as many
		c.Unread = slices.Clone(unread)
		ws.PutReader(in)
	}
	return c, nil
}
