package gateway

import (
	"sync/atomic"
	"time"

	"parlor/internal/chat"
)

const (
	// A room's first chunks are small, so that many quiet rooms cost little; a room
	// that fills one quickly gets large ones.
	smallChunk = 4 << 10
	largeChunk = 64 << 10
	fillsFast  = 10 * time.Second
	// maxLag is how many bytes of the log a session may be behind before it counts as
	// slow. It bounds what one session can keep from being freed.
	maxLag = 1 << 20
)

// roomLog is what is shown in a room, as WebSocket frames one after the other. It is
// a list of chunks of which only the last is kept: the others live as long as a
// session's cursor is in or before them.
type roomLog struct {
	tail  *chunk    // owned by the room's mu
	grown time.Time // when tail was added; owned by the room's mu
	end   atomic.Uint64
}

// since is how many bytes there are after a position that was read before.
func (l *roomLog) since(position uint64) uint64 { return l.end.Load() - position }

// chunk is a stretch of the log, filled once and never rewritten. buf and frames are
// as long as they will ever be; of both only what the first n frames cover may be
// read.
type chunk struct {
	base   uint64 // the offset in the log of buf[0]
	buf    []byte
	frames []logFrame
	n      atomic.Uint32
	next   atomic.Pointer[chunk] // set once; then n does not change any more
	then   *cursor               // of a history's chunk (history.go): where it leads, instead of next
}

// logFrame says where a frame ends in its chunk, and what is counted of it.
type logFrame struct {
	accepted int64 // Unix nanoseconds
	end      uint32
	kind     chat.PublicationKind
}

// kindPast is the kind of frames of a history.
const kindPast = chat.PublishRoomChanged // which itself has none

func newRoomLog() *roomLog {
	// A chunk without room, for the first cursors to wait in. What is before it, is for
	// histories.
	l := &roomLog{tail: &chunk{base: 2 * maxHistory}}
	l.end.Store(l.tail.base)
	return l
}

// append adds a frame of the given header and payload. It reports whether it began a
// new chunk. The room's mu is held.
func (l *roomLog) append(pub *chat.Publication, header, payload []byte) (grew bool) {
	c := l.tail
	start, size := c.filled(c.n.Load()), uint32(len(header)+len(payload))
	if int(start+size) > len(c.buf) || int(c.n.Load()) == len(c.frames) {
		c, start, grew = l.grow(int(size)), 0, true
	}
	n := c.n.Load()
	copy(c.buf[start:], header)
	copy(c.buf[start+uint32(len(header)):], payload)
	c.frames[n] = logFrame{accepted: pub.Accepted.UnixNano(), end: start + size, kind: pub.Kind}
	// The end first: no cursor, which follows n, is ever past it.
	l.end.Store(c.base + uint64(start+size))
	c.n.Store(n + 1)
	return grew
}

// grow adds a chunk that has room for size bytes at least.
func (l *roomLog) grow(size int) *chunk {
	now := time.Now()
	room := smallChunk
	if now.Sub(l.grown) < fillsFast {
		room = largeChunk
	}
	room = max(room, size)
	c := &chunk{base: l.end.Load(), buf: make([]byte, room), frames: make([]logFrame, room/128)}
	l.tail.next.Store(c)
	l.tail, l.grown = c, now
	return c
}

// filled is how many bytes the first n frames cover.
func (c *chunk) filled(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	return c.frames[n-1].end
}

// cursor is a session's place in a log.
type cursor struct {
	chunk *chunk
	frame uint32 // the frame it is in or before
	off   uint32 // bytes of the chunk that are behind it
}

// cursorAtEnd is where a session begins. The room's mu is held.
func (l *roomLog) cursorAtEnd() cursor {
	n := l.tail.n.Load()
	return cursor{chunk: l.tail, frame: n, off: l.tail.filled(n)}
}

// position is the cursor's offset in the log.
func (c *cursor) position() uint64 { return c.chunk.base + uint64(c.off) }

// inFrame reports whether a frame has been written in part.
func (c *cursor) inFrame() bool { return c.off != c.chunk.filled(c.frame) }

// pending returns what there is to write next, up to the offset limit.
func (c *cursor) pending(limit uint64) []byte {
	for {
		// next before n: once there is a next chunk, n is final.
		next := c.chunk.next.Load()
		if end := c.chunk.filled(c.chunk.n.Load()); c.off < end {
			if over := c.chunk.base + uint64(end); over > limit {
				end -= uint32(over - limit)
			}
			return c.chunk.buf[c.off:end]
		}
		if c.chunk.then != nil {
			*c = *c.chunk.then
			continue
		}
		if next == nil {
			return nil
		}
		*c = cursor{chunk: next}
	}
}

// advance moves the cursor over n bytes that were written, and calls written for each
// frame that is now complete.
func (c *cursor) advance(n int, written func(*logFrame)) {
	c.off += uint32(n)
	for last := c.chunk.n.Load(); c.frame < last && c.chunk.frames[c.frame].end <= c.off; c.frame++ {
		written(&c.chunk.frames[c.frame])
	}
}
