package gateway

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

const (
	// maxSide bounds what may wait to be written to one session besides the room's
	// log: errors, pings, pongs, the last words. A client that makes more of it than
	// it reads is dropped.
	maxSide = 8 << 10
	// maxAnswers is the same for a client that reads, or of which nobody knows since
	// somebody is in the middle of writing: more than the answers to all that may come at
	// once (floodBurst), with RequestIds as the SDKs make them. Who takes nothing for
	// unreadTime does not read.
	maxAnswers = 96 << 10
	unreadTime = 2 * time.Second
	// closeTimeout is how long a session may take to read its last words and to
	// answer a close frame.
	closeTimeout = 5 * time.Second
)

// session is an admitted connection: a cursor in its room's log, and at most one
// goroutine that writes.
//
// Whoever moves writing from idle holds the writer flag, and owns cursor and part
// until it puts the flag back: the publisher in a small room, a worker in a large
// one, or, once the socket takes no more, a goroutine of the session's own. Writers
// other than that one never block. The reader (read.go) owns core, or the lot does while
// the session is parked there.
//
// Most sessions are idle, and of those there are many. So the fields are in an order
// that leaves no gaps, and moments are Unix nanoseconds.
type session struct {
	gateway *Gateway
	room    *room
	log     *roomLog
	conn    net.Conn
	raw     syscall.RawConn // the socket; nil for a conn without one
	fd      uintptr         // the socket's descriptor, used while pinned only; notPlain under TLS and without a socket
	tls     *tlsConn        // conn, where it is TLS
	core    *chat.Session
	opened  int64
	remote  string // the client, for the log and for where it counts

	deflate bool          // log is the compressed one
	lastly  bool          // the last words were begun; the writer's
	writing atomic.Uint32 // idle, busy or again
	pinned  atomic.Bool   // the descriptor is in use by the holder of the writer flag, and must not be closed
	stalled atomic.Uint32 // the socket takes no more: when it last took something, in seconds since 1970; else 0

	cursor cursor
	part   []byte        // of the side buffer or the last words, being written
	sent   atomic.Uint64 // the cursor's position, for those who do not hold the flag

	mu   sync.Mutex
	side []byte // whole frames that go out between those of the log

	ending atomic.Pointer[ending] // set once
	closed atomic.Pointer[cause]  // set once, when the conn is to be closed
	broken atomic.Bool            // and what the client has not read by then is worth nothing
	said   atomic.Bool            // all that is to be written was
	doing  atomic.Uint32          // acting, leaving, parted

	// Owned by the wheel: its mu guards slot and links, its goroutine the rest.
	wheelSlot            int16
	unanswered           uint8 // pings since the client was last heard
	wheelNext, wheelPrev *session
	pinged               int64 // when the last ping went out

	heard atomic.Int64 // when the client last sent anything

	light, refused budget // owned by the reader

	seat seat // where the room keeps it; owned by the seat's shard
}

// sendBuffer is how many bytes the kernel may hold for a client that does not read; it
// takes twice as much memory. Left alone it would hold some megabytes: half a minute of
// a busy room, before anybody noticed that the client reads nothing.
const sendBuffer = 128 << 10

func newSession(g *Gateway, r *room, core *chat.Session, conn net.Conn) *session {
	s := &session{gateway: g, room: r, core: core, conn: conn, fd: notPlain, opened: time.Now().UnixNano()}
	s.heard.Store(s.opened)
	if s.tls = tlsOf(conn); s.tls != nil {
		s.tls.hold()
		g.singly.Store(true)
	}
	if tcp, ok := s.socket().(*net.TCPConn); ok {
		tcp.SetKeepAlive(false) // pings find dead peers, and know more than the kernel's
		tcp.SetWriteBuffer(g.sendBuffer)
		if raw, err := tcp.SyscallConn(); err == nil {
			s.raw = raw
			if s.tls == nil {
				raw.Control(func(fd uintptr) { s.fd = fd })
			}
		}
	}
	return s
}

const (
	idle  uint32 = iota
	busy         // somebody holds the writer flag
	again        // and has to look once more before putting it back
)

// cause is why a session ended: what its log record and its counter say.
type cause string

const (
	causeClient       cause = "client"       // the client closed, or went away
	causeExpired      cause = "expired"      // the session's time was over
	causeDisconnected cause = "disconnected" // DisconnectUser
	causeBanned       cause = "banned"       // BanUser
	causeRoomDeleted  cause = "room_deleted" // DeleteRoom
	causeTooMany      cause = "too_many"     // its user has newer ones, as many as the room allows
	causeSlow         cause = "slow"         // the log left it behind
	causeUnread       cause = "unread"       // its side buffer overflowed
	causeSilent       cause = "silent"       // two pings without an answer
	causeStuck        cause = "stuck"        // it did not read its last words in time
	causeProtocol     cause = "protocol"     // it broke RFC 6455
	causeFlood        cause = "flood"        // it sent more than is to be borne (flood.go)
	causeDrain        cause = "drain"        // sent away, to connect again elsewhere
	causeFault        cause = "fault"        // broken on purpose, in development
	causeShutdown     cause = "shutdown"     // still there when the server stopped
)

// ending is how a session ends: it gets the log up to a position, then the last
// words, then the connection is closed.
type ending struct {
	at       uint64 // offset in the log; frames are never cut
	last     []byte // whole frames; nil to break the connection
	waits    bool   // whether the client is owed time to answer a close frame
	deadline time.Time
	cause    cause
}

// end begins to end the session, unless it is ending already.
func (s *session) end(e *ending) {
	if s.mark(e) {
		s.wake()
	}
}

const (
	acting  uint32 = 1 << iota // the reader carries out a request
	leaving                    // the session ends when it does not
	parted                     // the client sent its close frame
)

// has reports whether the session is doing something.
func (s *session) has(what uint32) bool { return s.doing.Load()&what != 0 }

// leave ends the session for a drain: at once, or when the request that is being carried
// out is answered. None is begun any more.
func (s *session) leave() {
	if s.doing.Or(leaving)&acting == 0 {
		s.end(&ending{at: s.log.end.Load(), cause: causeDrain})
	}
}

// began reports whether a request may be carried out; done must follow.
func (s *session) began() bool {
	if s.doing.Or(acting)&leaving == 0 {
		return true
	}
	s.doing.And(^acting)
	return false
}

func (s *session) done() {
	if s.doing.And(^acting)&leaving != 0 {
		s.leave()
	}
}

// mark is end for a caller that wakes the session afterwards.
func (s *session) mark(e *ending) bool {
	e.deadline = time.Now().Add(closeTimeout)
	if !s.ending.CompareAndSwap(nil, e) {
		return false
	}
	s.gateway.wheel.schedule(s, e.deadline)
	return true
}

// drop ends the session at once, without last words and without a close handshake:
// to an SDK the socket broke, and it connects again.
func (s *session) drop(why cause) {
	s.broken.Store(true)
	if s.close(why) {
		s.shut()
	}
}

// shut closes the socket of a closed session, or leaves that to whoever has its
// descriptor pinned: closed sooner, its number might be that of another connection by
// the time it is written to.
func (s *session) shut() {
	if s.pinned.Load() {
		return
	}
	if tcp, ok := s.socket().(*net.TCPConn); ok && s.broken.Load() {
		tcp.SetLinger(0)
	}
	s.socket().Close()
	if s.gateway.lot.take(s) {
		go s.serve(nil) // which takes it apart
	}
}

// pin keeps the descriptor from being closed until unpin, unless the session is closed
// already. The writer flag is the caller's.
func (s *session) pin() bool {
	s.pinned.Store(true)
	if s.closed.Load() == nil {
		return true
	}
	s.unpin()
	return false
}

// unpin closes the socket if that was wanted meanwhile: whoever closes a session looks
// at pinned after that, and we at closed after this.
func (s *session) unpin() {
	s.pinned.Store(false)
	if s.closed.Load() != nil {
		s.shut()
	}
}

// socket is the connection below TLS.
func (s *session) socket() net.Conn {
	if s.tls != nil {
		return s.tls.held.Conn
	}
	return s.conn
}

// close closes the connection. Its reader then finds that, and takes the session
// apart.
func (s *session) close(why cause) bool {
	return s.closed.CompareAndSwap(nil, &why)
}

// say queues a whole frame beside the log, and writes it if it can be written.
func (s *session) say(frame []byte) {
	most := maxAnswers
	if took := s.stalled.Load(); took != 0 && time.Since(time.Unix(int64(took), 0)) > unreadTime {
		most = maxSide
	}
	s.mu.Lock()
	overflows := len(s.side)+len(frame) > most
	if !overflows {
		s.side = append(s.side, frame...)
	}
	s.mu.Unlock()
	if overflows {
		s.drop(causeUnread)
		return
	}
	s.wake()
}

// wake sees to it that what is pending gets written, by the caller unless somebody is
// writing already.
func (s *session) wake() {
	if s.seize() {
		s.write(&s.gateway.metrics.deliveries, false)
	}
}

// seize takes the writer flag. When somebody else has it, that one is made to look once
// more.
func (s *session) seize() bool {
	for {
		switch s.writing.Load() {
		case idle:
			if s.writing.CompareAndSwap(idle, busy) {
				return true
			}
		case busy:
			if s.writing.CompareAndSwap(busy, again) {
				return false
			}
		default:
			return false
		}
	}
}

// write writes all that is pending, then puts the writer flag back. When the socket
// takes no more it leaves the flag to a goroutine that waits; that one calls it with
// patient set. A closed session keeps the flag for ever.
func (s *session) write(t *tally, patient bool) {
	for {
		s.writing.Store(busy)
		for {
			// What TLS made of the bytes before goes first.
			n, err := s.flush(patient)
			if err == nil {
				b, ended := s.pending()
				if ended {
					s.finish()
					return
				}
				if len(b) == 0 {
					break
				}
				n, err = s.send(b, patient)
				s.wrote(t, n, time.Now().UnixNano())
			}
			if patient && n > 0 {
				// A socket that takes more has a client behind it that reads, slow as it
				// may be: its pong is behind all that it has yet to read.
				s.heard.Store(time.Now().UnixNano())
				s.stalled.Store(uint32(time.Now().Unix()))
			}
			if errors.Is(err, syscall.EAGAIN) {
				s.stalled.Store(uint32(time.Now().Unix()))
				s.gateway.running.Go(func() { s.write(&s.gateway.metrics.deliveries, true) })
				return
			}
			if err != nil {
				s.drop(causeClient)
				return
			}
		}
		s.stalled.Store(0)
		if s.writing.CompareAndSwap(busy, idle) {
			return
		}
	}
}

// prepare returns what is next for a session that is written to as one of many, and
// pins its descriptor; nil when there is nothing, or nothing that simple. The writer
// flag is the caller's.
func (s *session) prepare() []byte {
	if s.fd == notPlain || !s.pin() {
		return nil
	}
	if b, _ := s.pending(); len(b) > 0 {
		return b
	}
	s.unpin()
	return nil
}

// pending returns what to write next: the rest of what was begun, else the side
// buffer, else the log; or that the session has had everything.
func (s *session) pending() (b []byte, ended bool) {
	if s.closed.Load() != nil {
		return nil, true
	}
	e := s.ending.Load()
	if s.cursor.inFrame() {
		limit := ^uint64(0)
		if e != nil { // the frame that was begun, and no more
			limit = s.cursor.chunk.base + uint64(s.cursor.chunk.frames[s.cursor.frame].end)
			limit = max(limit, e.at)
		}
		return s.cursor.pending(limit), false
	}
	if len(s.part) == 0 && !s.lastly { // nothing follows a close frame
		s.mu.Lock()
		s.part, s.side = s.side, nil
		s.mu.Unlock()
	}
	if len(s.part) > 0 {
		return s.part, false
	}
	if e == nil {
		if s.log.since(s.cursor.position()) > maxLag {
			s.drop(causeSlow)
			return nil, true
		}
		return s.cursor.pending(^uint64(0)), false
	}
	if s.cursor.position() < e.at {
		return s.cursor.pending(e.at), false
	}
	if !s.lastly {
		s.lastly = true
		s.part = e.last
	}
	return s.part, len(s.part) == 0
}

// wrote accounts for n bytes of what pending returned, which were written by now.
func (s *session) wrote(t *tally, n int, now int64) {
	if n == 0 {
		return
	}
	if len(s.part) > 0 {
		if s.part = s.part[n:]; len(s.part) == 0 {
			s.part = nil
		}
		return
	}
	s.cursor.advance(n, func(f *logFrame) {
		t.count(f.kind, time.Duration(now-f.accepted))
	})
	s.sent.Store(s.cursor.position())
}

// finish closes a session that has had everything if its client has, too, or said goodbye.
// Else the client does, by its answer to the close frame or by closing, or the wheel.
func (s *session) finish() {
	if s.closed.Load() != nil {
		return
	}
	s.said.Store(true)
	e := s.ending.Load()
	if s.has(parted) || !e.waits && !s.breakOff() {
		s.closeCleanly(e.cause)
	}
}

// breakOff closes our half of the connection, so that the client gets what is under way
// and finds that there is no more. Were the whole of it closed, the next byte of the client
// would cost it what has not arrived yet. It reports false where all has, or where that
// cannot be done. The writer flag is the caller's.
func (s *session) breakOff() bool {
	tcp, ok := s.socket().(*net.TCPConn)
	if !ok || s.raw == nil {
		return false
	}
	s.sayTLSGoodbye()
	arrived := false
	s.raw.Control(func(fd uintptr) { arrived = allArrived(fd) })
	return !arrived && tcp.CloseWrite() == nil
}

// closeCleanly closes a connection on which all was said.
func (s *session) closeCleanly(why cause) {
	if !s.close(why) {
		return
	}
	s.sayTLSGoodbye()
	s.shut()
}

// sayTLSGoodbye says to TLS that this is the end, so that a client knows that nothing was
// cut off. What the socket does not take of it at once is lost.
func (s *session) sayTLSGoodbye() {
	if s.tls != nil {
		s.tls.CloseWrite() // into what is held
		s.flush(false)
	}
}

// send writes to the connection. Without patience it takes no longer than a system
// call and answers EAGAIN where it would; with it, it waits for the first byte to go.
func (s *session) send(b []byte, patient bool) (int, error) {
	if s.tls != nil {
		return s.tls.Write(b[:min(len(b), maxHeld)])
	}
	if s.raw == nil {
		if !patient {
			return 0, syscall.EAGAIN
		}
		return s.conn.Write(b)
	}
	if patient || s.fd == notPlain {
		return sendRaw(s.raw, b, patient)
	}
	if !s.pin() {
		return 0, net.ErrClosed
	}
	defer s.unpin()
	return trySend(s.fd, b)
}

// notPlain is the descriptor of a session whose bytes cannot be written to a socket as
// they are.
const notPlain = ^uintptr(0)

// sending is one send through a RawConn: the function that RawConn wants, made once
// and reused, with its argument and result.
type sending struct {
	b       []byte
	patient bool
	n       int
	err     error
	do      func(fd uintptr) bool
}

var sendings = sync.Pool{New: func() any {
	s := new(sending)
	s.do = func(fd uintptr) bool {
		s.n, s.err = trySend(fd, s.b)
		return !s.patient || s.err != syscall.EAGAIN
	}
	return s
}}

func sendRaw(raw syscall.RawConn, b []byte, patient bool) (int, error) {
	s := sendings.Get().(*sending)
	s.b, s.patient = b, patient
	err := raw.Write(s.do)
	n := s.n
	if err == nil {
		err = s.err
	}
	s.b, s.n, s.err = nil, 0, nil
	sendings.Put(s)
	return n, err
}

// sayError tells the client that a request failed.
func (s *session) sayError(id, requestID string, code int, message string) {
	s.say(appendFrame(nil, ws.OpText, chat.AppendError(nil, id, requestID, code, message)))
}

// expire ends the session because its time is over. The ERROR is what makes the SDKs
// connect again with a fresh token; the close reason has the same shape.
func (s *session) expire(requestID string) {
	text := chat.AppendError(nil, "", requestID, errorCode(chat.ErrSessionExpired), chat.ErrSessionExpired.Message)
	last := appendFrame(nil, ws.OpText, text)
	last = appendClose(last, ws.StatusGoingAway, errorReason(chat.ErrSessionExpired))
	s.end(&ending{at: s.log.end.Load(), last: last, waits: true, cause: causeExpired})
}
