package load

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
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
	last     []uint32 // number of each sender's latest message, plus one
	sum      uint64   // of all numbers in their order
	disorder int      // messages that came after a later one of the same sender
	buffer   []byte
}

func newConn(r *run, room *room, i int, c Conn) *conn {
	return &conn{Conn: c, run: r, room: room, index: i, stalled: r.isStalled(i), last: make([]uint32, r.plan.Senders())}
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
		c.run.count(c.run.ended, err.Error())
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
				return fmt.Errorf("closed without a close frame")
			}
			return fmt.Errorf("%s", reason(err))
		}
	}
}

// frames takes the whole frames of b and returns what is left.
func (c *conn) frames(b []byte) ([]byte, error) {
	now := time.Since(c.run.began)
	batch := c.run.latency.batch(c.index)
	defer batch.done()
	for {
		op, payload, rest, ok := cutFrame(b)
		if !ok {
			return b, nil
		}
		b = rest
		switch op {
		case ws.OpPing:
			batch.done()
			if err := c.write(appendClientFrame(nil, ws.OpPong, payload)); err != nil {
				return b, err
			}
		case ws.OpClose:
			if len(payload) < 2 {
				return b, fmt.Errorf("close frame")
			}
			return b, fmt.Errorf("close frame %d", binary.BigEndian.Uint16(payload))
		case ws.OpPong:
		default:
			c.payload(payload, now, &batch)
		}
	}
}

// payload looks for messages in a frame.
func (c *conn) payload(frame []byte, now time.Duration, batch *batch) {
	found := false
	for p := frame; ; {
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
		last := &c.last[int(n)%len(c.last)]
		if n+1 <= *last {
			c.disorder++
		}
		*last = n + 1
	}
	if found {
		return
	}
	if code, refused := c.run.target.Refusal(frame); refused {
		c.room.refused.Add(1)
		c.run.count(c.run.refused, code)
	}
}

// cutFrame cuts the first frame, of a server, off b.
//
// RFC 6455 5.2
func cutFrame(b []byte) (op ws.OpCode, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	op, size, head := ws.OpCode(b[0]&15), int(b[1]&127), 2
	switch {
	case size == 126:
		if head = 4; len(b) >= head {
			size = int(binary.BigEndian.Uint16(b[2:]))
		}
	case size == 127:
		if head = 10; len(b) >= head {
			size = int(binary.BigEndian.Uint64(b[2:]))
		}
	}
	if len(b) < head || len(b)-head < size {
		return 0, nil, nil, false
	}
	return op, b[head : head+size], b[head+size:], true
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
