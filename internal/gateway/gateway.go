// Package gateway is the messaging API: it admits WebSocket connections by their
// chat token, brings their requests to [chat.Service], and shows every session what
// is published in its room.
//
// A room is a log of encoded frames, a session is a cursor in it (log.go,
// session.go). A publication is encoded and framed once; what has piled up for a
// session goes out in one system call; what a slow session keeps from being freed is
// bounded by the log, not by the session.
//
// Invariants:
//
//   - One goroutine at a time writes to a session: the holder of its writer flag. A
//     frame that was begun is finished before anything else goes out.
//   - Publishers and workers never block on a client. A socket that takes no more is
//     waited for by a goroutine of its session's own.
//   - Every queue is bounded in bytes, and overflow ends the session with a cause of
//     its own: the log (slow), the side buffer (unread).
//   - A request is carried out only while its session is live, and is then answered on
//     its connection: by its publication or by an ERROR.
//   - A session is read by its goroutine, or is parked in the lot and looked at by the
//     lot's; whoever takes it from there starts the former.
//   - Locks are taken in the order Gateway.mu, room.mu, shard.mu, wheel.mu; session.mu,
//     worker.mu and lot.mu are taken last. None is held across I/O, a log call or a call
//     into another package.
package gateway

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// Config is what a Gateway works with. All members are required but Compression.
type Config struct {
	Service *chat.Service
	Broker  chat.Broker
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Compression offers permessage-deflate to clients that ask for it.
	Compression bool
	// PingInterval is how long a client may be silent before it is asked for a sign
	// of life. After two that it does not give it is dropped.
	PingInterval time.Duration
	// AllowedOrigins are the web origins whose pages may connect; none is any.
	AllowedOrigins []string
	// ConnectionsPerAddress and HandshakesPerAddress (a second) bound what comes from
	// one client address; 0 is no limit.
	ConnectionsPerAddress, HandshakesPerAddress int
	// Notice, unless nil, is told of every session's start and end.
	Notice func(chat.Notice)
}

// Gateway serves the messaging API on one node.
type Gateway struct {
	service      *chat.Service
	broker       chat.Broker
	logger       *slog.Logger
	metrics      *metrics
	compression  bool
	pingInterval time.Duration
	origins      []string
	addresses    *addresses
	notice       func(chat.Notice)

	attendance *attendance

	wheel   *wheel
	lot     lot
	workers []*worker
	writers chan *writer  // for publishers, who take one and put it back
	singly  atomic.Bool   // some sends are system calls of their own: TLS, or no sender for many
	placed  atomic.Uint32 // rooms, for their place among the workers
	inline  int           // inlineSessions, but for tests
	traces  bool          // times are kept of some publications
	// sendBuffer is the constant, but for tests.
	sendBuffer int
	// running counts users of rooms (handshakes, then sessions), and goroutines that
	// wait for a session's socket.
	running sync.WaitGroup

	// generation counts how often the store was emptied (develop.go).
	generation atomic.Uint64

	// deaf says that publications may not reach this node just now.
	deaf atomic.Bool

	bans bans

	// held are handshakes that wait, for the end of a drain or something that is away;
	// ended is closed when a drain is over.
	held  chan struct{}
	ended chan struct{}

	mu       sync.Mutex
	rooms    map[chat.ARN]*room
	former   map[*room]bool // in no map any more, with sessions that end (develop.go)
	draining bool           // no new sessions
	stopped  bool           // and none at all
}

// maxHeldHandshakes bounds the handshakes that wait for the end of a drain, or for a store
// or broker that is away.
const maxHeldHandshakes = 10_000

// New returns a Gateway that works once Run is called.
func New(c Config) *Gateway {
	g := &Gateway{
		service:      c.Service,
		broker:       c.Broker,
		logger:       c.Logger,
		writers:      make(chan *writer, runtime.GOMAXPROCS(0)),
		inline:       inlineSessions,
		traces:       c.Service.Traces(),
		sendBuffer:   sendBuffer,
		compression:  c.Compression,
		pingInterval: c.PingInterval,
		origins:      c.AllowedOrigins,
		notice:       c.Notice,
		addresses: &addresses{
			connections: c.ConnectionsPerAddress, handshakes: c.HandshakesPerAddress, open: map[netip.Prefix]int{},
		},
		wheel:  &wheel{base: time.Now()},
		lot:    newLot(),
		held:   make(chan struct{}, maxHeldHandshakes),
		ended:  make(chan struct{}),
		rooms:  map[chat.ARN]*room{},
		former: map[*room]bool{},
		bans:   bans{doubt: make(chan struct{}, 1)},
	}
	var tallies []*tally
	newWriter := func(size int) *writer {
		w := &writer{logger: c.Logger, singly: &g.singly, size: size}
		tallies = append(tallies, &w.tally)
		return w
	}
	for range cap(g.writers) {
		g.workers = append(g.workers, newWorker(newWriter(sliceSize)))
		g.writers <- newWriter(inlineSessions / 2)
	}
	g.metrics = newMetrics(c.Metrics, tallies)
	g.attendance = newAttendance(g)
	return g
}

// Run does the gateway's work until ctx ends, then drops the sessions that are left
// and returns when everything it started has ended. Nobody may publish any more by
// then but the sessions themselves.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var own sync.WaitGroup
	own.Go(func() { g.wheel.run(ctx) })
	own.Go(func() { g.attendance.run(ctx) })
	own.Go(func() { g.recheckBans(ctx) })
	own.Go(func() {
		if err := g.lot.run(ctx); err != nil {
			g.logger.Warn("idle sessions have a goroutine each", "error", err)
		}
	})
	g.eachWriter((*writer).open)
	for _, w := range g.workers {
		own.Go(func() { w.run(ctx) })
	}
	<-ctx.Done()
	own.Wait()
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.release()
	for _, s := range g.refuse() {
		s.drop(causeShutdown)
	}
	g.running.Wait()
	for range cap(g.writers) {
		(<-g.writers).close()
	}
	return nil
}

// eachWriter calls f for every publisher's writer while nobody has it.
func (g *Gateway) eachWriter(f func(*writer)) {
	for range cap(g.writers) {
		w := <-g.writers
		f(w)
		g.writers <- w
	}
}

// refuse lets no more sessions in and returns those that are there.
func (g *Gateway) refuse() []*session {
	g.mu.Lock()
	g.draining = true
	g.mu.Unlock()
	return g.sessions()
}

// sessions are those there are.
func (g *Gateway) sessions() []*session {
	g.mu.Lock()
	rooms := make([]*room, 0, len(g.rooms))
	for _, r := range g.rooms {
		rooms = append(rooms, r)
	}
	rooms = slices.AppendSeq(rooms, maps.Keys(g.former))
	g.mu.Unlock()
	var sessions []*session
	for _, r := range rooms {
		r.each(func(s *session) { sessions = append(sessions, s) })
	}
	return sessions
}

// Drain lets no new sessions in, and ends those there are, spread evenly over the
// window: each gets the answer to the request in flight, what was published, and then a
// broken connection, which makes the SDKs connect again, to another node. One that is
// led back here is held until the drain is over, or for handshakeTimeout, and then
// refused with 503: the JavaScript SDK tries four times without a pause, and should not
// have spent that before the load balancer knows. Drain returns when all are gone or ctx
// ends.
func (g *Gateway) Drain(ctx context.Context, window time.Duration) {
	defer g.release()
	start := time.Now()
	for sessions := g.refuse(); len(sessions) > 0; sessions = g.refuse() {
		for i, s := range sessions {
			due := start.Add(window * time.Duration(i) / time.Duration(len(sessions)))
			if !sleep(ctx, time.Until(due)) {
				return
			}
			s.leave()
		}
		// Once more: for those that are slow to leave, and those that were on their
		// way in when the first were counted.
		window = 0
		if !sleep(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// Hears takes note of whether publications reach this node. While they do not, nobody is
// let in, and nothing is believed that was remembered.
func (g *Gateway) Hears(does bool) {
	was := g.deaf.Swap(!does)
	g.service.Trust(does)
	if was && does {
		g.DoubtBans() // those made meanwhile may not have been told
	}
}

// Evict ends all sessions, spread over the window, as if their time were over: clients
// answer that with a fresh token and another connection, which leads to a node that is
// well. It returns when ctx ends or all have been told.
func (g *Gateway) Evict(ctx context.Context, window time.Duration) {
	begun := time.Now()
	sessions := g.sessions()
	for i, s := range sessions {
		due := begun.Add(window * time.Duration(i) / time.Duration(len(sessions)))
		if !sleep(ctx, time.Until(due)) {
			return
		}
		s.expire("")
	}
}

// release lets the held handshakes go.
func (g *Gateway) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.ended:
	default:
		close(g.ended)
	}
}

// hold waits for the end of the drain, but not for long, and not with too many.
func (g *Gateway) hold(ctx context.Context) {
	select {
	case g.held <- struct{}{}:
	default:
		return
	}
	defer func() { <-g.held }()
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	select {
	case <-g.ended:
	case <-ctx.Done():
	}
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Deliver takes a publication from the broker, which calls it in any order. When it
// returns, sessions in small rooms have been written to, or are by who had begun; and what
// is remembered of a room that changed is forgotten.
func (g *Gateway) Deliver(pub *chat.Publication) {
	if pub.Room == chat.ControlLog {
		g.service.Heard(pub)
		g.heardOfBans(pub)
		return
	}
	switch pub.Kind {
	case chat.PublishRoomChanged, chat.PublishRoomDeleted, chat.PublishGap:
		g.service.ForgetRoom(pub.Room)
	}
	if pub.Kind == chat.PublishRoomDeleted {
		g.service.ForgetHistory(pub.Room)
	}
	g.mu.Lock()
	r := g.rooms[pub.Room]
	g.mu.Unlock()
	if r == nil {
		return
	}
	r.deliver(pub)
	switch pub.Kind {
	case chat.PublishRoomChanged, chat.PublishRoomDeleted:
		g.attendance.note(r)
	case chat.PublishAttendance:
		r.stir()
	case chat.PublishGap:
		g.attendance.note(r)
		g.recheck(r)
	}
}

// recheck looks whether a room is still there: that it was deleted may have been among
// what was lost.
func (g *Gateway) recheck(r *room) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped || g.rooms[r.arn] != r {
		return
	}
	g.running.Add(1)
	go func() {
		defer g.running.Done()
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
		defer cancel()
		if _, err := g.service.GetRoom(ctx, r.arn); chat.AsError(err).Code == chat.NotFound {
			r.mu.Lock()
			r.markDeleted()
			r.mu.Unlock()
			r.each((*session).wake)
		}
	}()
}

// enter returns the room, with its subscription live, and counts the caller as a user
// of it until leave.
func (g *Gateway) enter(ctx context.Context, arn chat.ARN) (*room, error) {
	g.mu.Lock()
	if g.draining {
		g.mu.Unlock()
		return nil, errDraining
	}
	if g.deaf.Load() {
		g.mu.Unlock()
		return nil, errDeaf
	}
	r, found := g.rooms[arn]
	if !found {
		r = newRoom(g, arn)
		g.rooms[arn] = r
	}
	r.users++
	g.running.Add(1)
	g.mu.Unlock()
	if !found {
		g.subscribe(ctx, r)
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		g.leave(r)
		return nil, ctx.Err()
	}
	if r.err != nil {
		g.leave(r)
		return nil, r.err
	}
	return r, nil
}

// subscribe makes the room live. Others may be waiting for it, so that the caller's
// going away does not stop it.
func (g *Gateway) subscribe(ctx context.Context, r *room) {
	defer close(r.ready)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handshakeTimeout)
	defer cancel()
	var at chat.Position
	if at, r.cancel, r.err = g.broker.Subscribe(ctx, r.arn); r.err != nil {
		// Those who wait for it share the failure; the next starts anew.
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.rooms[r.arn] == r {
			delete(g.rooms, r.arn)
		}
		return
	}
	// What was remembered before the subscription may be out of date.
	g.service.ForgetRoom(r.arn)
	r.goLive(at)
}

// leave gives up what enter gave. The last user takes the room away.
func (g *Gateway) leave(r *room) {
	defer g.running.Done()
	g.mu.Lock()
	r.users--
	last := r.users == 0
	if last && g.rooms[r.arn] == r {
		delete(g.rooms, r.arn)
	}
	if last {
		delete(g.former, r)
	}
	g.mu.Unlock()
	if !last {
		return
	}
	<-r.ready
	if r.err == nil {
		r.cancel()
	}
	g.service.ForgetRoom(r.arn)
}

// seat gives a session its place in its room, and then in the wheel, which may find
// it due at once. One that comes when the gateway has stopped is dropped: nobody else
// would.
func (g *Gateway) seat(s *session, deflate bool) {
	s.room.join(s, deflate)
	if s.core.Counted {
		g.attendance.came(s.room)
	}
	g.wheel.schedule(s, time.Unix(0, s.opened).Add(g.pingInterval))
	g.mu.Lock()
	stopped := g.stopped
	g.mu.Unlock()
	if stopped {
		s.drop(causeShutdown)
	}
}
