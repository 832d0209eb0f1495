package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

const (
	// maxMessage is the largest message that is read: one over chat.MaxFrameSize is
	// refused with an ERROR that carries its RequestId, one over this ends the
	// connection.
	maxMessage = 4 * chat.MaxFrameSize
	readBuffer = 4 << 10
	// maxPongs is how many pongs are taken from a parked session at a time, one by one
	// while the others there wait: more than there are pings that wait for an answer.
	maxPongs = 4
)

// onlyPongs takes what a client that only watches sends, the answers to our pings, from
// the socket as read would. It reports false when there is something else, or more than
// maxPongs, or the client is not to be borne. It is for a session that nobody reads.
func (s *session) onlyPongs() bool {
	only := false
	err := s.raw.Read(func(fd uintptr) bool {
		var b [ws.MinHeaderSize + 4]byte // with a mask; our pings are empty
		for range maxPongs + 1 {
			n, err := tryPeek(fd, b[:])
			if err == syscall.EAGAIN {
				only = true
				return true
			}
			if n < len(b) || b[0] != 0x80|byte(ws.OpPong) || b[1] != 0x80 {
				return true
			}
			s.heard.Store(time.Now().UnixNano())
			if !s.light.spend(s.heard.Load(), lightPerSecond, 1) {
				return true
			}
			tryReceive(fd, b[:])
		}
		return true
	})
	return err == nil && only
}

// serve reads what the client sends until the connection is closed, and then takes the
// session apart. It is the goroutine of a session that is not parked.
func (s *session) serve(pipelined []byte) {
	g := s.gateway
	defer g.leave(s.room)

	in := &source{session: s, unread: pipelined}
	err := s.read(in)
	var breach *protocolError
	if errors.As(err, &breach) {
		s.end(&ending{last: appendClose(nil, breach.code, breach.reason), waits: true, cause: cmp.Or(breach.cause, causeProtocol)})
	}
	// Closing while there is something unread would take our last words away from the
	// client.
	in.discard()

	if e := s.ending.Load(); e != nil {
		s.close(e.cause)
	}
	s.close(causeClient)
	s.shut()
	g.wheel.remove(s)
	s.room.leave(s)
	g.service.Depart(s.core)
	g.addresses.leave(addressOf(s.remote))
	why := *s.closed.Load()
	g.metrics.connections.Dec()
	g.metrics.ended.WithLabelValues(string(why)).Inc()
	if g.notice != nil {
		n := s.note(chat.NoticeSessionEnded)
		n.Cause, n.Lasted = string(why), time.Since(time.Unix(0, s.opened))
		g.notice(n)
	}
	g.logger.LogAttrs(context.Background(), slog.LevelInfo, "session ended",
		slog.String("cause", string(why)), slog.String("room", s.core.Room.String()),
		slog.Duration("duration", time.Since(time.Unix(0, s.opened))), slog.String("remote", s.remote))
}

// note tells of the session to those who run the server.
func (s *session) note(action string) chat.Notice {
	return chat.Notice{
		ID: chat.NewID(), Time: time.Now(), Action: action, From: s.core.Address, Scope: s.core.Room.Scope, Resource: *s.core.Room,
		UserID: s.core.UserID, Session: s.core.Token.String(),
	}
}

// read takes frames from the client and carries out its requests, until the
// connection fails (any error), the client breaks the protocol (*protocolError) or
// says goodbye (nil).
//
// RFC 6455 5.2, 5.4, 5.5
func (s *session) read(in *source) error {
	var (
		op       ws.OpCode // of the message that has begun; 0 when none has
		deflated bool
		message  []byte
	)
	defer func() { releaseMessage(message) }()
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
				return &protocolError{code: ws.StatusProtocolError, reason: "malformed frame length"}
			}
			return err
		}
		if err := s.check(h, op); err != nil {
			return err
		}
		if isLight(h) && !s.light.spend(s.heard.Load(), lightPerSecond, 1) {
			return errFlood
		}
		if h.OpCode.IsControl() {
			if goodbye, err := s.control(in, h); err != nil || goodbye {
				return err
			}
			continue
		}
		if h.OpCode != ws.OpContinuation {
			op, deflated = h.OpCode, h.Rsv1()
			message = newMessage()
		}
		if message, err = in.payload(message, h); err != nil {
			return err
		}
		if !h.Fin {
			continue
		}
		if deflated {
			inflated, err := inflate(newMessage(), message, maxMessage+1)
			releaseMessage(message)
			message = inflated
			if err != nil {
				return &protocolError{code: ws.StatusInvalidFramePayloadData, reason: "malformed compressed message"}
			}
			if len(message) > maxMessage {
				return errTooBig
			}
		}
		if op == ws.OpText && !utf8.Valid(message) {
			return &protocolError{code: ws.StatusInvalidFramePayloadData, reason: "text that is not UTF-8"}
		}
		if borne := s.act(message, op == ws.OpText); !borne {
			return errFlood
		}
		releaseMessage(message)
		op, message = 0, nil
	}
}

var errTooBig = &protocolError{code: ws.StatusMessageTooBig, reason: "message too big"}

// check holds a frame's header against RFC 6455. op is the message that has begun.
func (s *session) check(h ws.Header, op ws.OpCode) error {
	breach := func(reason string) error {
		return &protocolError{code: ws.StatusProtocolError, reason: reason}
	}
	switch {
	case !h.Masked:
		return breach("frames must be masked")
	case h.OpCode.IsReserved():
		return breach("reserved opcode")
	case h.Rsv2() || h.Rsv3(), h.Rsv1() && (!s.deflate || h.OpCode.IsControl() || h.OpCode == ws.OpContinuation):
		return breach("reserved bit set")
	case h.OpCode.IsControl() && !h.Fin:
		return breach("fragmented control frame")
	case h.OpCode.IsControl() && h.Length > ws.MaxControlFramePayloadSize:
		return breach("control frame too long")
	case h.OpCode == ws.OpContinuation && op == 0:
		return breach("continuation of nothing")
	case h.OpCode.IsData() && h.OpCode != ws.OpContinuation && op != 0:
		return breach("message within a message")
	}
	return nil
}

// control answers a control frame. It reports whether the client said goodbye.
func (s *session) control(in *source, h ws.Header) (goodbye bool, err error) {
	payload, err := in.payload(make([]byte, 0, h.Length), h)
	if err != nil {
		return false, err
	}
	switch h.OpCode {
	case ws.OpPing:
		if s.ending.Load() != nil { // pongs must not stand between the client and our last words
			return false, nil
		}
		s.say(appendFrame(nil, ws.OpPong, payload))
	case ws.OpClose:
		return true, s.goodbye(payload)
	}
	return false, nil // a pong says no more than that something was heard
}

// lastStatusCode is the largest code there is.
//
// RFC 6455 7.4.2
const lastStatusCode = 4999

// goodbye answers the client's close frame with one of the same code, or, where it
// was the answer to ours, closes the connection.
func (s *session) goodbye(payload []byte) error {
	malformed := &protocolError{code: ws.StatusProtocolError, reason: "malformed close frame"}
	var answer []byte
	switch {
	case len(payload) == 1:
		return malformed
	case len(payload) >= 2:
		code, reason := ws.ParseCloseFrameData(payload)
		if err := ws.CheckCloseFrameData(code, reason); err != nil || code > lastStatusCode {
			return malformed
		}
		answer = ws.NewCloseFrameBody(code, "")
	}
	s.doing.Or(parted)
	s.end(&ending{last: appendFrame(nil, ws.OpClose, answer), cause: causeClient})
	if s.said.Load() { // this is the answer to our own
		s.closeCleanly(s.ending.Load().cause)
	}
	return nil
}

// act carries out a request, and tells the client if that failed. A session that is
// ending carries out nothing. It reports whether the client is to be borne any longer.
func (s *session) act(message []byte, text bool) (borne bool) {
	if s.ending.Load() != nil || !s.began() {
		return s.bearRefused(len(message))
	}
	defer s.done()
	accepted := time.Now()
	requestID := func() string { return chat.RequestID(message) }
	out := s.request(accepted, requestID, func() chat.Outcome {
		return s.gateway.service.Act(context.Background(), s.core, message, text, accepted)
	})
	if out.Later != nil {
		s.gateway.running.Go(func() {
			requestID := func() string { return out.RequestID } // message is the next one by now
			s.answer(s.request(accepted, requestID, func() chat.Outcome { return out.Later(context.Background(), s.live) }))
		})
		return true
	}
	return s.answer(out) || s.bearRefused(len(message))
}

// live reports whether the session has not begun to end.
func (s *session) live() bool { return s.ending.Load() == nil && s.closed.Load() == nil }

// answer tells the client of a request that failed. It reports whether that was not
// for being one too many.
func (s *session) answer(out chat.Outcome) bool {
	if out.Err == nil || out.Err == chat.ErrSessionEnded {
		return true
	}
	g := s.gateway
	e := chat.AsError(out.Err)
	if e.Code == chat.Internal {
		g.logger.Error("messaging request", "action", out.Action, "room", s.core.Room.String(), "error", out.Err)
	}
	g.metrics.failed(errorCode(e))
	if e == chat.ErrSessionExpired {
		s.expire(out.RequestID)
		return true
	}
	s.sayError(out.ID, out.RequestID, errorCode(e), e.Message)
	return e.Code != chat.TooManyRequests
}

// request has the core carry out a request, or the rest of one, and counts it when it
// is through. A panic in it is a fault of ours, which ends neither the session nor the
// others.
func (s *session) request(accepted time.Time, requestID func() string, carryOut func() chat.Outcome) (out chat.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			out = chat.Outcome{RequestID: requestID(), Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
		if out.Later == nil {
			s.gateway.metrics.acted(out.Action, time.Since(accepted))
		}
	}()
	return carryOut()
}

// source reads a session's connection. While it waits for a socket it holds no
// buffer: thousands wait, few are read from.
type source struct {
	session *session
	buffer  *[readBuffer]byte // nil when nothing is unread
	unread  []byte
	own     []byte                // for a conn that is no socket
	receive func(fd uintptr) bool // made once
	n       int                   // what receive got
	err     error
}

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

func (in *source) Read(p []byte) (int, error) {
	if len(in.unread) == 0 {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.unread)
	in.take(n)
	return n, nil
}

// take gives up n unread bytes, and the buffer with the last.
func (in *source) take(n int) {
	in.unread = in.unread[n:]
	if len(in.unread) == 0 {
		in.release()
	}
}

func (in *source) release() {
	in.unread = nil
	if in.buffer != nil {
		readBuffers.Put(in.buffer)
		in.buffer = nil
	}
}

// fill waits until there is something unread.
func (in *source) fill() error {
	s := in.session
	n, err := 0, error(nil)
	if s.raw == nil || s.tls != nil {
		// It cannot be waited for without a buffer to read into: a small one of its own.
		if in.own == nil {
			in.own = make([]byte, 512)
		}
		n, err = s.conn.Read(in.own)
		in.unread = in.own[:n]
	} else {
		n, err = in.fillRaw()
	}
	if n == 0 {
		in.release()
		if err == nil {
			err = io.EOF
		}
		return err
	}
	s.heard.Store(time.Now().UnixNano())
	return nil
}

func (in *source) fillRaw() (int, error) {
	if in.receive == nil {
		in.receive = func(fd uintptr) bool {
			buffer := readBuffers.Get().(*[readBuffer]byte)
			in.n, in.err = tryReceive(fd, buffer[:])
			if in.n == 0 {
				readBuffers.Put(buffer)
				return in.err != syscall.EAGAIN
			}
			in.buffer, in.unread = buffer, buffer[:in.n]
			return true
		}
	}
	if err := in.session.raw.Read(in.receive); err != nil {
		return 0, err
	}
	return in.n, in.err
}

// payload appends a frame's payload, unmasked, to message. It grows as the payload
// arrives, not as the header promises.
func (in *source) payload(message []byte, h ws.Header) ([]byte, error) {
	if h.Length > int64(maxMessage-len(message)) {
		return message, errTooBig
	}
	for done, left := 0, int(h.Length); left > 0; {
		if len(in.unread) == 0 {
			if err := in.fill(); err != nil {
				return message, err
			}
		}
		n := min(left, len(in.unread))
		message = append(slices.Grow(message, n), in.unread[:n]...)
		ws.Cipher(message[len(message)-n:], h.Mask, done)
		in.take(n)
		done, left = done+n, left-n
	}
	return message, nil
}

const (
	// maxDiscarded is what a client may well have been sending when it was ended. What
	// it sends beyond that is taken slowly: its last words lie before it all the same.
	maxDiscarded = 1 << 20
	discardPause = 10 * time.Millisecond
)

// discard reads until the connection is closed.
func (in *source) discard() {
	for n := 0; in.fill() == nil; in.release() {
		if n += len(in.unread); n > maxDiscarded {
			time.Sleep(discardPause)
		}
	}
	in.release()
}

// messages are buffers for messages while they are read.
var messages = sync.Pool{New: func() any { return new([]byte) }}

func newMessage() []byte { return (*messages.Get().(*[]byte))[:0] }

// releaseMessage gives a message's buffer back, unless it has grown unusually large.
func releaseMessage(message []byte) {
	if message != nil && cap(message) <= chat.MaxFrameSize {
		messages.Put(&message)
	}
}
