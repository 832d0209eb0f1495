package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

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

// TestRingSays what came of each send: all, a part, nothing because the socket is full
// or the connection over; and that one does not touch another.
func TestRingSays(t *testing.T) {
	needRing(t)
	const size = 4
	r, err := newRing(size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	well, reader := sockets(t)
	full, _ := sockets(t)
	over, _ := sockets(t)
	over.conn.(*net.TCPConn).CloseWrite()

	big := bytes.Repeat([]byte("x"), 64<<20) // more than sockets hold
	var heard bytes.Buffer
	for round := range 3 * size { // the queues' indices go round, too
		sends := []send{{session: well, b: []byte("hello ")}, {session: full, b: big}, {session: over, b: []byte("lost")}, {session: well, b: []byte("there.")}}
		if !r.send(sends) {
			t.Fatal("the ring is not usable any more")
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

// TestRingThatLies is not used: there are kernels that say of a part that it was
// nothing, or all.
func TestRingThatLies(t *testing.T) {
	for _, said := range []func(sent, all int) int{
		func(int, int) int { return 0 },
		func(_, all int) int { return all },
	} {
		err := checkParts(func(sends []send) bool {
			s := &sends[0]
			sent, err := trySend(s.session.fd, s.b)
			if err != nil {
				t.Error(err)
			}
			s.n = said(sent, len(s.b))
			return true
		})
		if err == nil {
			t.Error("a ring that lies is used")
		}
	}
}

// TestRingThatFails has io_uring fail: what it did not send goes out without it.
func TestRingThatFails(t *testing.T) {
	needRing(t)
	s, theirs := sockets(t)
	l := newRoomLog()
	s.log, s.cursor = l, l.cursorAtEnd()
	l.append(&chat.Publication{Accepted: time.Now()}, nil, []byte("hello"))
	sh := &shard{}
	sh.add(s)
	w := newWorker(slog.New(slog.DiscardHandler), false)
	var err error
	if w.ring, err = newRing(sliceSize); err != nil {
		t.Fatal(err)
	}
	syscall.Close(w.ring.fd)
	w.ring.fd = -1
	w.writeByRing(sh.all())
	if w.ring != nil {
		t.Error("the ring is still used")
	}
	got := make([]byte, 5)
	theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(theirs, got); err != nil || string(got) != "hello" {
		t.Errorf("the client read %q (%v)", got, err)
	}
	if s.writing.Load() != idle || s.pinned.Load() {
		t.Error("the writer flag was not put back")
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
