package gateway

import (
	"syscall"
	"unsafe"
)

// trySend writes what the socket takes at once. It is send(2) without a word to the
// scheduler: the call never blocks, so nobody need take over the thread's work.
func trySend(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// tryReceive reads what has arrived, 0 bytes at the end of the stream.
func tryReceive(fd uintptr, b []byte) (int, error) { return receive(fd, b, 0) }

// tryPeek is tryReceive that takes nothing.
func tryPeek(fd uintptr, b []byte) (int, error) { return receive(fd, b, syscall.MSG_PEEK) }

func receive(fd uintptr, b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// allArrived reports whether the client's system has all that was written to the socket.
//
// tcp(7), SIOCOUTQ
func allArrived(fd uintptr) bool {
	var unsent int32
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&unsent)))
	return errno == 0 && unsent == 0
}
