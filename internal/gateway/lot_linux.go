package gateway

import (
	"context"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// lot is where sessions are parked: most only watch, and until the client sends
// something other than the answers to our pings, or somebody closes the connection,
// such a session needs no goroutine, and so no stack.
//
// It is an epoll instance beside the runtime's, which knows the same sockets and finds
// nobody waiting for them. It is opened when the first session comes that could be
// parked: virtual time stands still while anything waits for a socket. The zero lot
// parks nobody.
type lot struct {
	wanted chan struct{} // has one when it is to be opened

	mu     sync.Mutex
	epoll  *os.File // nil until it is open; can be waited for as any other
	parked map[uintptr]*session
}

// ticket is what the kernel knows a session by. An event that comes late may bear the
// ticket of another session by then, which is looked at for nothing.
func ticket(s *session) uintptr { return uintptr(unsafe.Pointer(s)) }

func newLot() lot { return lot{wanted: make(chan struct{}, 1)} }

func (l *lot) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // else NewFile has its reads block
		syscall.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoll, l.parked = os.NewFile(uintptr(fd), "epoll"), map[uintptr]*session{}
	return nil
}

// park takes a session that nobody reads, and will have it read when there is
// something to read. It reports false for one that the caller has to have read.
func (l *lot) park(s *session) bool {
	if s.raw == nil || s.tls != nil {
		return false
	}
	l.mu.Lock()
	if l.epoll == nil {
		l.mu.Unlock()
		select {
		case l.wanted <- struct{}{}:
		default:
		}
		return false
	}
	l.parked[ticket(s)] = s
	l.mu.Unlock()
	err := l.control(s, syscall.EPOLL_CTL_ADD)
	return err == nil || !l.take(s) // or it was closed meanwhile, and is read already
}

// take takes a session from the lot; whoever gets true has it read.
func (l *lot) take(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.parked[ticket(s)] == s
	delete(l.parked, ticket(s))
	return found
}

// control tells the kernel of a session's socket. An error is that one of the
// descriptors is closed.
func (l *lot) control(s *session, op int) error {
	epoll, err := l.epoll.SyscallConn()
	if err != nil {
		return err
	}
	const edges = 1 << 31 // EPOLLET, which package syscall has as a negative: one event for each arrival
	id := uint64(ticket(s))
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | edges, Fd: int32(id), Pad: int32(id >> 32)}
	var failed error
	err = epoll.Control(func(epfd uintptr) {
		failed = s.raw.Control(func(fd uintptr) { err = syscall.EpollCtl(int(epfd), op, int(fd), &event) })
	})
	if failed != nil {
		return failed
	}
	return err
}

// run has parked sessions read, when there is something to read, until ctx ends. An
// error is that there can be no parking.
func (l *lot) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-l.wanted:
	}
	if err := l.open(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.epoll.Close() })()
	epoll, err := l.epoll.SyscallConn()
	if err != nil {
		return nil // closed
	}
	var events [256]syscall.EpollEvent
	for {
		n := 0
		err := epoll.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return nil // closed
		}
		for _, e := range events[:n] {
			l.mu.Lock()
			s := l.parked[uintptr(uint64(uint32(e.Pad))<<32|uint64(uint32(e.Fd)))]
			l.mu.Unlock()
			if s != nil && !s.onlyPongs() && l.take(s) {
				l.control(s, syscall.EPOLL_CTL_DEL) // an error is that of its next read, too
				go s.serve(nil)
			}
		}
	}
}
