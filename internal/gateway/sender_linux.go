package gateway

import (
	"fmt"
	"syscall"
	"unsafe"
)

// aio sends to many sockets in one system call, by what Linux calls asynchronous I/O.
// A write to a socket that does not block, as Go's do not, is carried out while it is
// handed over, so that nothing is under way when the call returns.
//
// io_setup(2), io_submit(2), io_getevents(2)
type aio struct {
	context  uintptr
	requests []ioRequest
	pointers []*ioRequest // to the requests, as io_submit wants them
	events   []ioEvent
}

// What follows is the kernel's: linux/aio_abi.h.

const ioWrite = 1

type ioRequest struct {
	data      uint64
	_         [2]uint32 // the key, and flags
	opcode    uint16
	_         int16 // the priority
	fd        uint32
	buf, size uint64
	_         [2]uint64 // the offset, which sockets have not
	_         [2]uint32 // flags, and a descriptor to tell
}

type ioEvent struct {
	data, request uint64
	res, res2     int64
}

// newAIO makes a sender for size sends at once. The system has a bound for all of them
// together (fs.aio-max-nr).
func newAIO(size int) (sender, error) {
	a := new(aio)
	if _, _, errno := syscall.Syscall(syscall.SYS_IO_SETUP, uintptr(size), uintptr(unsafe.Pointer(&a.context)), 0); errno != 0 {
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	a.requests, a.pointers, a.events = make([]ioRequest, size), make([]*ioRequest, size), make([]ioEvent, size)
	for i := range a.pointers {
		a.pointers[i] = &a.requests[i]
	}
	if err := try(a); err != nil {
		a.close()
		return nil, fmt.Errorf("io_submit: %w", err)
	}
	return a, nil
}

func (a *aio) close() {
	syscall.Syscall(syscall.SYS_IO_DESTROY, a.context, 0, 0)
}

func (a *aio) send(sends []send) bool {
	for i := range sends {
		s := &sends[i]
		s.n = 0
		a.requests[i] = ioRequest{data: uint64(i), opcode: ioWrite, fd: uint32(s.session.fd),
			buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s.b)))), size: uint64(len(s.b))}
	}
	for begun := 0; begun < len(sends); {
		// Like every send here without a word to Go's scheduler: it does not wait.
		n, _, errno := syscall.RawSyscall(syscall.SYS_IO_SUBMIT, a.context, uintptr(len(sends)-begun), uintptr(unsafe.Pointer(&a.pointers[begun])))
		if errno != 0 {
			// Of what is left nothing was sent. Short of memory, the kernel may have some the
			// next time.
			return errno == syscall.EAGAIN
		}
		if n == 0 || !a.reap(sends[begun:begun+int(n)], begun) {
			return false
		}
		begun += int(n)
	}
	return true
}

// reap takes what came of sends that were handed over; the first has that number. Were
// one not over, it would wait.
func (a *aio) reap(sends []send, first int) bool {
	for i := range sends {
		sends[i].n = outcomeUnknown
	}
	for left := len(sends); left > 0; {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_IO_GETEVENTS, a.context, uintptr(left), uintptr(left), uintptr(unsafe.Pointer(&a.events[0])), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return false
		}
		for _, e := range a.events[:n] {
			sends[int(e.data)-first].n = max(int(e.res), 0)
		}
		left -= int(n)
	}
	return true
}

// try has a sender send to a socket that takes a part, and fails unless what it says
// came of that is true: else a session's bytes would go out twice, or never.
func try(s sender) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("try it: %w", err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	if err := syscall.SetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4<<10); err != nil {
		return fmt.Errorf("try it: %w", err)
	}
	b := make([]byte, 64<<10) // more than the pair holds
	sends := []send{{session: &session{fd: uintptr(pair[0])}, b: b}}
	usable, arrived := s.send(sends), 0
	for {
		n, err := tryReceive(uintptr(pair[1]), b)
		if arrived += n; n == 0 || err != nil {
			break
		}
	}
	if !usable || sends[0].n != arrived || arrived == 0 || arrived == len(b) {
		return fmt.Errorf("try it: it says that it sent %d bytes, and sent %d", sends[0].n, arrived)
	}
	return nil
}
