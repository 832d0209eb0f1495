package load

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// A mark is what messages are recognised by: letters that are those of this run, then
// the message's number and the time it was due, in nanoseconds of the run's clock.
const (
	markLetters = 12
	markSize    = markLetters + 8 + 16
)

func newMark() []byte {
	var random [4]byte
	rand.Read(random[:])
	return fmt.Appendf(nil, "load%x", random)
}

func appendMark(b, mark []byte, n uint32, due uint64) []byte {
	var raw [12]byte
	binary.BigEndian.PutUint32(raw[:4], n)
	binary.BigEndian.PutUint64(raw[4:], due)
	return hex.AppendEncode(append(b, mark...), raw[:])
}

// parseMark reads what follows the mark's letters.
func parseMark(b []byte) (n uint32, due uint64, ok bool) {
	var raw [12]byte
	if len(b) < markSize-markLetters {
		return 0, 0, false
	}
	if _, err := hex.Decode(raw[:], b[:markSize-markLetters]); err != nil {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(raw[:4]), binary.BigEndian.Uint64(raw[4:]), true
}

// conn is one connection of a run.
type conn struct {
	Conn
	run     *run
	room    *room
	index   int
	stalled bool

	writing sync.Mutex

	heard atomic.Int64 // messages

	// Owned by its reader.
	last      []uint32 // number of each sender's latest message, plus one
	sum       uint64   // of all numbers in their order
	disorder  int      // messages that came after a later one of the same sender
	buffer    []byte
	fragments []byte // of a message that is not whole yet
}

func newConn(r *run, room *room, i int, c Conn) *conn {
	return &conn{Conn: c, run: r, room: room, index: i, stalled: r.plan.isStalled(i), last: make([]uint32, r.plan.Senders())}
}

// write sends a whole frame.
func (c *conn) write(frame []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.Write(frame)
	return err
}

// read reads until the connection ends.
func (c *conn) read() {
	c.run.reading.Go(func() {
		err := c.listen()
		if c.run.stopping.Load() {
			return
		}
		c.run.broken.Add(1)
		c.run.count(c.run.ended, reason(err))
		c.Close()
	})
}

// readSize is what is read at once: several frames, when there are as many.
const readSize = 4 << 10

func (c *conn) listen() error {
	c.buffer = append(make([]byte, 0, max(readSize, len(c.Unread))), c.Unread...)
	c.Unread = nil
	for {
		rest, err := c.frames(c.buffer)
		if err != nil {
			return err
		}
		n := copy(c.buffer[:cap(c.buffer)], rest)
		if n == cap(c.buffer) {
			c.buffer = append(make([]byte, 0, 2*n), rest...)
		}
		got, err := c.Read(c.buffer[n:cap(c.buffer)])
		c.buffer = c.buffer[:n+got]
		if got == 0 && err != nil {
			if err == io.EOF {
				return errors.New("closed without a close frame")
			}
			return err
		}
	}
}

// frames takes the whole frames of b and returns what is left.
func (c *conn) frames(b []byte) ([]byte, error) {
	now := time.Since(c.run.began)
	batch := c.run.latency.batch(c.index)
	defer batch.done()
	for {
		f, rest, err := cutFrame(b)
		if err != nil || !f.whole {
			return b, err
		}
		b = rest
		switch f.op {
		case ws.OpPing:
			batch.done()
			if err := c.write(appendClientFrame(nil, ws.OpPong, f.payload)); err != nil {
				return b, err
			}
		case ws.OpClose:
			if len(f.payload) < 2 {
				return b, errors.New("close frame")
			}
			return b, fmt.Errorf("close frame %d", binary.BigEndian.Uint16(f.payload))
		case ws.OpPong:
		case ws.OpText, ws.OpBinary, ws.OpContinuation:
			if f.last && len(c.fragments) == 0 {
				c.message(f.payload, now, &batch)
				break
			}
			c.fragments = append(c.fragments, f.payload...)
			if len(c.fragments) > maxMessage {
				return b, errTooLarge
			}
			if f.last {
				c.message(c.fragments, now, &batch)
				c.fragments = c.fragments[:0]
			}
		default:
			return b, fmt.Errorf("frame with opcode %d", f.op)
		}
	}
}

// message looks for what was sent in a message of the server, which may hold several.
func (c *conn) message(text []byte, now time.Duration, batch *batch) {
	found := false
	for p := text; ; {
		i := bytes.Index(p, c.run.mark)
		if i < 0 {
			break
		}
		p = p[i+markLetters:]
		n, due, ok := parseMark(p)
		if !ok { // its request id
			continue
		}
		found = true
		c.heard.Add(1)
		batch.record(now - time.Duration(due))
		c.sum = c.sum*0x9E3779B97F4A7C15 + uint64(n) + 1
		last := &c.last[int64(n)%max(1, c.room.turns.Load())]
		if n+1 <= *last {
			c.disorder++
		}
		*last = n + 1
	}
	if found {
		return
	}
	batch.done()
	if code, refused := c.run.target.Refusal(text); refused {
		c.room.refused.Add(1)
		c.run.count(c.run.refused, code)
	}
}

// maxMessage is the longest message that is taken. No server of chat sends longer ones.
const maxMessage = 1 << 20

var errTooLarge = fmt.Errorf("message of more than %d bytes", maxMessage)

// frame is a frame of a server. The payload is there when the frame is whole.
type frame struct {
	whole   bool
	op      ws.OpCode
	last    bool // of its message
	payload []byte
}

// cutFrame cuts the first frame off b, if it is whole. An error is what a server must
// not send, or we do not take.
//
// RFC 6455 5.2
func cutFrame(b []byte) (f frame, rest []byte, err error) {
	if len(b) < 2 {
		return frame{}, b, nil
	}
	f.op, f.last = ws.OpCode(b[0]&15), b[0]&0x80 != 0
	size, head := uint64(b[1]&127), 2
	switch {
	case b[0]&0x70 != 0:
		return frame{}, b, errors.New("frame of an extension that was not agreed on")
	case b[1]&0x80 != 0:
		return frame{}, b, errors.New("masked frame")
	case f.op.IsControl() && (size > 125 || !f.last):
		return frame{}, b, errors.New("control frame that is long or a fragment")
	case size == 126:
		if head = 4; len(b) >= head {
			size = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case size == 127:
		if head = 10; len(b) >= head {
			size = binary.BigEndian.Uint64(b[2:])
		}
	}
	if size > maxMessage {
		return frame{}, b, errTooLarge
	}
	end := head + int(size)
	if len(b) < end {
		return frame{}, b, nil
	}
	f.whole, f.payload = true, b[head:end]
	return f, b[end:], nil
}

// appendClientFrame appends a frame as clients send it, masked with zeros: nothing
// stands between us and the server that would have to be kept from being misled.
func appendClientFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	b = append(b, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}
