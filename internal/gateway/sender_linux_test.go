package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"parlor/internal/chat"
)

// sockets are two ends of a TCP connection; the first is a session's.
func sockets(t *testing.T) (*session, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	theirs, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return newSession(&Gateway{sendBuffer: sendBuffer}, nil, &chat.Session{}, ours), theirs
}

// needAIO makes a sender, or skips a test where the kernel or a container has none.
func needAIO(t testing.TB, size int) *aio {
	t.Helper()
	made, err := newAIO(size)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(made.close)
	return made.(*aio)
}

// TestSenderSays what came of each send: all, a part, nothing because the socket is full
// or the connection over; and that one does not touch another.
func TestSenderSays(t *testing.T) {
	s := needAIO(t, 4)
	well, reader := sockets(t)
	full, _ := sockets(t)
	over, _ := sockets(t)
	over.conn.(*net.TCPConn).CloseWrite()

	big := bytes.Repeat([]byte("x"), 64<<20) // more than sockets hold
	var heard bytes.Buffer
	for round := range 400 { // what the kernel keeps for the answers goes round, too
		sends := []send{{session: well, b: []byte("hello ")}, {session: full, b: big}, {session: over, b: []byte("lost")}, {session: well, b: []byte("there.")}}
		if !s.send(sends) {
			t.Fatal("the sender is not usable any more")
		}
		if sends[0].n != 6 || sends[3].n != 6 {
			t.Errorf("round %d: sent %d and %d bytes of 6", round, sends[0].n, sends[3].n)
		}
		switch part := sends[1].n; {
		case round == 0 && (part == 0 || part == len(big)):
			t.Errorf("sent %d bytes into a socket that nobody reads, want a part", part)
		case round > 0 && part != 0:
			// What the other end's kernel took meanwhile made room.
			t.Logf("round %d: %d more bytes", round, part)
		}
		if sends[2].n != 0 {
			t.Errorf("sent %d bytes over a connection that is closed for writing", sends[2].n)
		}
		heard.WriteString("hello there.")
	}
	got := make([]byte, heard.Len())
	reader.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(reader, got); err != nil || !bytes.Equal(got, heard.Bytes()) {
		t.Errorf("the client read %q (%v), want %q", got, err, heard.Bytes())
	}
}

// TestSenderIsTakenInParts: the kernel takes fewer sends at once than it is asked to.
func TestSenderIsTakenInParts(t *testing.T) {
	a := needAIO(t, 1)
	const many = 2000 // more than a page of answers
	a.requests, a.pointers, a.events = make([]ioRequest, many), make([]*ioRequest, many), make([]ioEvent, many)
	for i := range a.pointers {
		a.pointers[i] = &a.requests[i]
	}
	s, theirs := sockets(t)
	full, _ := sockets(t)
	sends, want := make([]send, many), make([]byte, many)
	for i := range sends {
		want[i] = byte(i)
		sends[i] = send{session: s, b: want[i : i+1]}
	}
	sends[many-1] = send{session: full, b: make([]byte, 64<<20)}
	if !a.send(sends) {
		t.Fatal("the sender is not usable any more")
	}
	for i := range sends[:many-1] {
		if sends[i].n != 1 {
			t.Fatalf("send %d: %d bytes", i, sends[i].n)
		}
	}
	if part := sends[many-1].n; part <= 0 || part == 64<<20 {
		t.Errorf("the last: %d bytes, want a part", part)
	}
	got := make([]byte, many-1)
	theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, want[:many-1]) {
		t.Errorf("the client read otherwise (%v)", err)
	}
}

// TestSenderCannotSay what came of sends that the kernel took: nobody may think that
// nothing was sent.
func TestSenderCannotSay(t *testing.T) {
	a := needAIO(t, 4)
	nowhere, err := syscall.Mmap(-1, 0, syscall.Getpagesize(), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(nowhere)
	a.events = unsafe.Slice((*ioEvent)(unsafe.Pointer(unsafe.SliceData(nowhere))), 4)
	s, _ := sockets(t)
	sends := []send{{session: s, b: []byte("x")}, {session: s, b: []byte("y")}}
	if a.send(sends) {
		t.Error("the sender can be used again")
	}
	for i := range sends {
		if sends[i].n != outcomeUnknown {
			t.Errorf("send %d: %d bytes", i, sends[i].n)
		}
	}
}

// TestManyAtOnce is how rooms are written to: small ones by their publishers, large ones
// by workers, and by these all but the smallest if another node publishes, or if some sends
// are system calls of their own.
func TestManyAtOnce(t *testing.T) {
	needAIO(t, 1)
	for _, test := range []struct {
		sessions int
		relayed  bool
		singly   bool
		inline   bool
	}{
		{10, false, false, true},
		{10, true, false, true},
		{10, false, true, true},
		{inlineFew, true, false, true},
		{inlineFew, false, true, true},
		{inlineFew + 1, false, false, true},
		{inlineFew + 1, true, false, false},
		{inlineFew + 1, false, true, false},
		{inlineSessions, false, false, true},
		{inlineSessions + 1, false, false, false},
	} {
		c := newCrowd(t, test.sessions, false)
		c.pub.Relayed = test.relayed
		c.room.gateway.singly.Store(test.singly)
		c.deliver()
		g := c.room.gateway
		wrote := func(w *writer) bool { return w.tally.byKind[c.pub.Kind].Load() > 0 }
		publishers, workers := 0, 0
		g.eachWriter(func(w *writer) {
			if wrote(w) {
				publishers++
			}
		})
		for _, w := range g.workers {
			if wrote(w.writer) {
				workers++
			}
		}
		if inline := publishers == 1 && workers == 0; inline != test.inline || publishers+workers == 0 {
			t.Errorf("%+v: %d publishers and %d workers wrote", test, publishers, workers)
		}
		if g.singly.Load() != test.singly {
			t.Errorf("%+v: not many at once", test)
		}
	}
}

// TestSendersAreMadeAtTheStart, not by the first who publishes.
func TestSendersAreMadeAtTheStart(t *testing.T) {
	needAIO(t, 1)
	n := startNode(t, nodeOptions{})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		made := 0
		n.gateway.eachWriter(func(w *writer) {
			if w.sender != nil {
				made++
			}
		})
		if made == cap(n.gateway.writers) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d publishers' writers have a sender", made, cap(n.gateway.writers))
		}
	}
}

// TestTLSIsOneByOne: a gateway with a session over TLS has its publishers write to few.
func TestTLSIsOneByOne(t *testing.T) {
	needAIO(t, 1)
	for _, over := range []bool{false, true} {
		n := startNode(t, nodeOptions{tls: over})
		n.connect(n.room(chat.RoomSpec{}).ARN, "user")
		if got := n.gateway.singly.Load(); got != over {
			t.Errorf("TLS %v: one by one %v", over, got)
		}
	}
}

// fakeSender sends as it is told to.
type fakeSender func([]send) bool

func (f fakeSender) send(sends []send) bool { return f(sends) }

func (fakeSender) close() {}

// sendAll sends to one socket after the other.
func sendAll(sends []send) bool {
	for i := range sends {
		sends[i].n, _ = trySend(sends[i].session.fd, sends[i].b)
	}
	return true
}

// sendParts sends all of a send, a part or nothing, and takes its time now and then,
// during which no pinned descriptor may be closed.
func sendParts(t *testing.T) fakeSender {
	return func(sends []send) bool {
		for i := range sends {
			s := &sends[i]
			b := s.b
			if rand.IntN(2) == 0 {
				b = b[:rand.IntN(len(b))]
			}
			n, err := trySend(s.session.fd, b)
			if s.n = n; err == syscall.EBADF {
				t.Error("a pinned descriptor was closed")
			}
		}
		if rand.IntN(8) == 0 {
			time.Sleep(rand.N(2 * time.Millisecond))
		}
		return true
	}
}

// TestSenderThatLies is not used: it says of a part that it was nothing, or all.
func TestSenderThatLies(t *testing.T) {
	for _, said := range []func(sent, all int) int{
		func(int, int) int { return 0 },
		func(_, all int) int { return all },
	} {
		err := try(fakeSender(func(sends []send) bool {
			s := &sends[0]
			sent, err := trySend(s.session.fd, s.b)
			if err != nil {
				t.Error(err)
			}
			s.n = said(sent, len(s.b))
			return true
		}))
		if err == nil {
			t.Error("a sender that lies is used")
		}
	}
	if err := try(fakeSender(sendAll)); err != nil {
		t.Errorf("one that does not lie is not used: %v", err)
	}
}

// audience is a session that waits for "hello", and what its client reads.
func audience(t *testing.T) (*shard, *session, net.Conn) {
	s, theirs := sockets(t)
	theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
	l := newRoomLog()
	s.log, s.cursor = l, l.cursorAtEnd()
	l.append(&chat.Publication{Accepted: time.Now()}, nil, []byte("hello"))
	sh := &shard{}
	sh.add(s)
	return sh, s, theirs
}

// testWriter logs into log.
func testWriter(log io.Writer, size int) *writer {
	return &writer{logger: slog.New(slog.NewTextHandler(log, nil)), singly: new(atomic.Bool), size: size}
}

// TestSenderThatFails has sending to many at once fail: what it did not send goes out
// without it.
func TestSenderThatFails(t *testing.T) {
	made := needAIO(t, 4)
	sh, s, theirs := audience(t)
	var log bytes.Buffer
	w := testWriter(&log, 4)
	made.close() // so that the kernel does not know it
	w.sender = made
	w.write(sh.all())
	w.flush()
	if w.sender != nil || !w.alone || !w.singly.Load() || !strings.Contains(log.String(), "at once failed") {
		t.Errorf("the writer is %+v, the log has %q", w.alone, log.String())
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(theirs, got); err != nil || string(got) != "hello" {
		t.Errorf("the client read %q (%v)", got, err)
	}
	if s.writing.Load() != idle || s.pinned.Load() {
		t.Error("the writer flag was not put back")
	}
}

// TestSenderIsForbidden, or there are too many: that is said once, and each session is
// written to by a system call of its own.
func TestSenderIsForbidden(t *testing.T) {
	var log bytes.Buffer
	first := testWriter(&log, 1<<30) // more than any system has
	second := &writer{logger: first.logger, singly: first.singly, size: first.size}
	for _, w := range []*writer{first, second} {
		sh, _, theirs := audience(t)
		w.write(sh.all())
		w.flush()
		got := make([]byte, 5)
		if _, err := io.ReadFull(theirs, got); err != nil || string(got) != "hello" {
			t.Errorf("the client read %q (%v)", got, err)
		}
	}
	if strings.Count(log.String(), "io_setup") != 1 {
		t.Errorf("the log has %q, want io_setup once", log.String())
	}
}

// TestOutcomeUnknown ends a connection on which what goes next cannot be known.
func TestOutcomeUnknown(t *testing.T) {
	sh, s, theirs := audience(t)
	w := testWriter(io.Discard, 4)
	w.sender = fakeSender(func(sends []send) bool {
		sends[0].n = outcomeUnknown
		return false
	})
	w.write(sh.all())
	w.flush()
	if got, err := io.ReadAll(theirs); err == nil || len(got) > 0 {
		t.Errorf("the client read %q (%v), want a broken connection", got, err)
	}
	if why := s.closed.Load(); why == nil || *why != causeClient {
		t.Errorf("closed for %v", why)
	}
}

// TestPanicWhileWriting costs the sessions that were being written to, not the writer.
func TestPanicWhileWriting(t *testing.T) {
	c := newCrowd(t, 10, false)
	g := c.room.gateway
	g.eachWriter(func(w *writer) { w.sender = fakeSender(func([]send) bool { panic("broken") }) })
	func() {
		defer func() { recover() }()
		c.pub.Position.Number++
		c.room.deliver(&c.pub)
		t.Error("the panic was lost")
	}()
	if got := len(g.writers); got != cap(g.writers) {
		t.Errorf("%d of %d writers are there", got, cap(g.writers))
	}
	for i, s := range c.sessions {
		if s.closed.Load() == nil || s.pinned.Load() {
			t.Errorf("session %d goes on", i)
		}
	}
}

// panicking has a writer abandon what a panic of f leaves.
func panicking(t *testing.T, w *writer, f func()) {
	t.Helper()
	defer w.abandon()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

// TestPanicWhileSettling costs the session that it is about, and those whose turn had not
// come; who was settled by then may have another writer.
func TestPanicWhileSettling(t *testing.T) {
	sh, first, _ := audience(t)
	_, second, _ := audience(t)
	sh.add(second)
	w := testWriter(io.Discard, 4)
	w.sender = fakeSender(func(sends []send) bool {
		if sends[0].session != first {
			sends[0], sends[1] = sends[1], sends[0]
		}
		sendAll(sends)
		second.log = nil
		return true
	})
	panicking(t, w, func() {
		w.write(sh.all())
		w.flush()
	})
	if first.closed.Load() != nil || first.writing.Load() != idle {
		t.Error("who was settled is not left alone")
	}
	if second.closed.Load() == nil || second.pinned.Load() {
		t.Error("the session of the panic is not closed")
	}
}

// TestPanicWhileLooking at a session leaves neither that nor its descriptor.
func TestPanicWhileLooking(t *testing.T) {
	sh, s, _ := audience(t)
	s.log = nil
	w := testWriter(io.Discard, 4)
	w.sender = fakeSender(sendAll)
	panicking(t, w, func() { w.write(sh.all()) })
	if s.closed.Load() == nil || s.pinned.Load() {
		t.Error("the session of the panic is not closed")
	}
}

// TestNothingIsForgotten has a session that gets something to be written while it is
// written to: frames that have no pass of their own, a pong, the end, which may also
// have been marked before.
func TestNothingIsForgotten(t *testing.T) {
	last := func(s *session) *ending {
		s.gateway.wheel = &wheel{base: time.Now()}
		return &ending{at: s.log.end.Load(), last: []byte(", more"), cause: causeShutdown}
	}
	for name, meanwhile := range map[string]func(s *session){
		"marked": nil,
		"pong":   func(s *session) { s.say([]byte(", more")) },
		"end":    func(s *session) { s.end(last(s)) },
		"next frame": func(s *session) {
			s.log.append(&chat.Publication{Accepted: time.Now()}, nil, []byte(", more"))
		},
		"next chunk": func(s *session) {
			s.log.grow(16)
			s.log.append(&chat.Publication{Accepted: time.Now()}, nil, []byte(", more"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			sh, s, theirs := audience(t)
			w := testWriter(io.Discard, 4)
			if meanwhile == nil {
				s.mark(last(s))
				meanwhile = func(*session) {}
			}
			w.sender = fakeSender(func(sends []send) bool {
				meanwhile(s)
				return sendAll(sends)
			})
			w.write(sh.all())
			w.flush()
			got := make([]byte, len("hello, more"))
			if _, err := io.ReadFull(theirs, got); err != nil || string(got) != "hello, more" {
				t.Errorf("the client read %q (%v)", got, err)
			}
		})
	}
}

// TestPinnedDescriptorStaysOpen has a session dropped while its descriptor is in use:
// the socket is closed by whoever uses it, and not before.
func TestPinnedDescriptorStaysOpen(t *testing.T) {
	s, theirs := sockets(t)
	if !s.pin() {
		t.Fatal("an open session cannot be pinned")
	}
	s.drop(causeSlow)
	if n, err := trySend(s.fd, []byte("x")); n != 1 {
		t.Errorf("the descriptor was closed: %v", err)
	}
	s.unpin()
	if _, err := trySend(s.fd, []byte("x")); err == nil {
		t.Error("the socket is still open")
	}
	theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(theirs); err == nil {
		t.Error("the client saw a clean end of the connection, want a reset")
	}
	if s.pin() {
		t.Error("a closed session was pinned")
	}
}
