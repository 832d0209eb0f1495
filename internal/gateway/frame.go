package gateway

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// appendHeader appends the header of a whole, unmasked frame.
func appendHeader(b []byte, op ws.OpCode, deflated bool, length int) []byte {
	first := 0x80 | byte(op)
	if deflated {
		first |= 0x40 // RSV1
	}
	switch {
	case length < 126:
		return append(b, first, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, first, 126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(b, first, 127), uint64(length))
	}
}

// appendFrame appends a whole frame.
func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendHeader(b, op, false, len(payload)), payload...)
}

// maxCloseReason is what a close frame has room for, in bytes.
const maxCloseReason = 123

// appendClose appends a close frame. reason is at most maxCloseReason bytes.
func appendClose(b []byte, code ws.StatusCode, reason string) []byte {
	return appendFrame(b, ws.OpClose, ws.NewCloseFrameBody(code, reason))
}
