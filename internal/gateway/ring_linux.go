package gateway

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// ring is an io_uring that sends to many sockets in one system call. It is made for
// one caller at a time and for requests that the kernel carries out at once, while
// they are handed to it: no request is under way when send returns.
//
// io_uring(7), io_uring_setup(2), io_uring_enter(2)
type ring struct {
	fd              int
	shared, entries []byte // the mappings: both queues' indices, the submission entries
	sqes            []sqe
	cqes            []cqe
	sqTail          *uint32
	cqHead, cqTail  *uint32
	sqMask, cqMask  uint32
}

// What follows is the kernel's: linux/io_uring.h.

const (
	sysSetup = 425
	sysEnter = 426

	setupSubmitAll = 1 << 7 // a request that fails does not keep the next from being taken

	featSingleMmap = 1 << 0  // both queues are one mapping
	featCQESkip    = 1 << 11 // sqeSkipSuccess is known

	offQueues = 0
	offSQEs   = 0x10000000

	opSend         = 26
	sqeSkipSuccess = 1 << 6 // no completion for a request that did all it should
)

type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32

	resv [3]uint32
	sq   struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
		userAddr                                                        uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
		userAddr                                                        uint64
	}
}

type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, msgFlags uint32
	userData      uint64
	_             [3]uint64
}

type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// newRing makes a ring for size requests at once. Containers often forbid that.
func newRing(size int) (*ring, error) {
	p := ringParams{flags: setupSubmitAll}
	fd, _, errno := syscall.Syscall(sysSetup, uintptr(size), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &ring{fd: int(fd)}
	syscall.CloseOnExec(r.fd)
	if want := uint32(featSingleMmap | featCQESkip); p.features&want != want {
		r.close()
		return nil, fmt.Errorf("io_uring_setup: this kernel's lacks features (has %#x)", p.features)
	}
	const readWrite, flags = syscall.PROT_READ | syscall.PROT_WRITE, syscall.MAP_SHARED | syscall.MAP_POPULATE
	var err error
	queues := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	if r.shared, err = syscall.Mmap(r.fd, offQueues, int(queues), readWrite, flags); err != nil {
		r.close()
		return nil, fmt.Errorf("map an io_uring: %w", err)
	}
	if r.entries, err = syscall.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), readWrite, flags); err != nil {
		r.close()
		return nil, fmt.Errorf("map an io_uring: %w", err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.shared[offset])) }
	r.sqTail, r.sqMask = at(p.sq.tail), *at(p.sq.ringMask)
	r.cqHead, r.cqTail, r.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.shared[p.cq.cqes])), p.cqEntries)
	// Place i of the submission queue is always entry i.
	for i, array := uint32(0), unsafe.Slice(at(p.sq.array), p.sqEntries); i < p.sqEntries; i++ {
		array[i] = i
	}
	if err := checkParts(r.send); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// checkParts tries whether what is said of a send that the socket took in part is true.
// Kernels 5.19 and 6.0 lose the count where such a request is not to wait, and say that
// nothing was sent: a session's bytes would go out twice.
//
// Linux 7e6b638ed501 (6.1): io_uring/net: don't lose partial send/recv on fail
func checkParts(sendAll func([]send) bool) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("try an io_uring: %w", err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	if err := syscall.SetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4<<10); err != nil {
		return fmt.Errorf("try an io_uring: %w", err)
	}
	b := make([]byte, 64<<10) // more than the pair holds
	try := []send{{session: &session{fd: uintptr(pair[0])}, b: b}}
	usable, arrived := sendAll(try), 0
	for {
		n, err := tryReceive(uintptr(pair[1]), b)
		if arrived += n; n == 0 || err != nil {
			break
		}
	}
	if !usable || try[0].n != arrived || arrived == 0 || arrived == len(b) {
		return fmt.Errorf("try an io_uring: it says that it sent %d bytes, and sent %d", try[0].n, arrived)
	}
	return nil
}

func (r *ring) close() {
	if r == nil {
		return
	}
	if r.entries != nil {
		syscall.Munmap(r.entries)
	}
	if r.shared != nil {
		syscall.Munmap(r.shared)
	}
	syscall.Close(r.fd)
}

// send does what it can of each send, and says in n how much that was: all, a part, or
// nothing where the socket takes none or the connection is over. It reports whether
// the ring can be used again.
func (r *ring) send(sends []send) bool {
	usable := true
	tail := *r.sqTail
	for i := range sends {
		s := &sends[i]
		s.n = len(s.b) // unless a completion says otherwise
		// Told not to wait, the kernel is through with a request before the next. Told
		// to send all, it takes a part for a failure, of which there is a completion.
		r.sqes[tail&r.sqMask] = sqe{opcode: opSend, flags: sqeSkipSuccess, fd: int32(s.session.fd),
			addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s.b)))), len: uint32(len(s.b)),
			msgFlags: syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL | syscall.MSG_WAITALL, userData: uint64(i)}
		tail++
	}
	atomic.StoreUint32(r.sqTail, tail)
	for left := len(sends); left > 0; {
		n, _, errno := syscall.Syscall6(sysEnter, uintptr(r.fd), uintptr(left), 0, 0, 0, 0)
		if errno == syscall.EINTR || errno == syscall.EAGAIN || errno == syscall.EBUSY {
			continue
		}
		if errno != 0 || n == 0 { // what is left stays in the queue, where it must never be taken from
			for i := len(sends) - left; i < len(sends); i++ {
				sends[i].n = 0
			}
			usable = false
			break
		}
		left -= int(n)
	}
	head := *r.cqHead
	for ; head != atomic.LoadUint32(r.cqTail); head++ {
		c := &r.cqes[head&r.cqMask]
		sends[c.userData].n = max(int(c.res), 0)
	}
	atomic.StoreUint32(r.cqHead, head)
	return usable
}
