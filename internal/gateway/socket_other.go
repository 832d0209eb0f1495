//go:build !linux

package gateway

import "syscall"

// trySend writes what the socket takes at once; the runtime's sockets do not block.
func trySend(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// tryReceive reads what has arrived, 0 bytes at the end of the stream.
func tryReceive(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// tryPeek is for Linux.
func tryPeek(uintptr, []byte) (int, error) { return 0, nil }

// allArrived is for Linux; elsewhere nobody says.
func allArrived(uintptr) bool { return false }
