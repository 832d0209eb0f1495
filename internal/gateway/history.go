package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// A room with a history remembers it while it has sessions here: it is read once, up to
// where the room is, and goes on with what is applied. A session that joins begins in a
// chunk of its own kind, which has the history's frames and leads into the log where that
// is: nothing is missing in between, and nothing comes twice. Who joins before the next
// publication begins in the same chunk.

const (
	// maxHistory bounds what a session gets of a history, in bytes; of a longer one it is
	// the end. It leaves a session most of maxLag.
	maxHistory = 256 << 10
	// historyTime bounds the reading of a history.
	historyTime = 10 * time.Second
	// historyTries bounds how often a handshake begins anew, since the room changes.
	historyTries = 4
)

// history is what a room remembers. It is owned by its room's mu, but for what is set
// before loaded is closed.
type history struct {
	spec   chat.HistorySpec
	from   chat.Position // where the room was when it began to remember
	loaded chan struct{} // closed when what was before from is there, or cannot be read
	failed error
	stale  bool // it is to be read anew: it may lack something, or be none any more

	items []pastItem // in order, at most spec.Count, deleted ones without a payload
	bytes int        // of payloads
	gone  []string   // deleted before it was loaded, and not found

	plain, deflated snapshot
}

// pastItem is a message or event that was shown.
type pastItem struct {
	id       string
	accepted time.Time
	payload  []byte // nil: it was deleted
	deflated []byte // as it is sent compressed; nil until somebody wants it
}

// snapshot is where sessions begin that join now.
type snapshot struct {
	chunk *chunk // nil: it is to be made
	first int    // of the items, in it
}

// recall sees to it that a room remembers its history, if it has one.
func (g *Gateway) recall(ctx context.Context, r *room) error {
	for range historyTries {
		spec, err := g.service.HistorySpec(ctx, r.arn)
		if err != nil {
			return err
		}
		h, mine := r.remember(spec)
		if h == nil {
			return nil
		}
		if mine {
			g.load(ctx, r, h)
		}
		select {
		case <-h.loaded:
		case <-ctx.Done():
			return ctx.Err()
		}
		if h.failed != nil {
			return h.failed
		}
	}
	return nil // it changes all the time; then what there is will do
}

// load reads a history. Others may be waiting for it, so that the caller's going away does
// not stop it.
func (g *Gateway) load(ctx context.Context, r *room, h *history) {
	defer close(h.loaded)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyTime)
	defer cancel()
	entries, err := g.service.RoomHistory(ctx, r.arn, h.spec, h.from)
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.failed = err; err == nil {
		h.begin(entries)
	}
	if r.next == h {
		r.next = nil
		if err == nil {
			r.past = h
		}
	}
}

// remember returns the history that is to be loaded, and whether the caller has to; nil
// when there is nothing to wait for.
func (r *room) remember(spec chat.HistorySpec) (h *history, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case spec.Count == 0:
		r.past, r.next = nil, nil
		return nil, false
	case r.past != nil && r.past.spec == spec && !r.past.stale:
		return nil, false
	case r.next != nil && r.next.spec == spec && !r.next.stale:
		return r.next, false
	}
	r.next = &history{spec: spec, from: r.at, loaded: make(chan struct{})}
	return r.next, true
}

// distrust has what the room remembers read anew for the next who joins. r.mu is held.
func (r *room) distrust() {
	if r.past != nil {
		r.past.stale = true
	}
	if r.next != nil {
		r.next.stale = true
	}
}

// begin puts what was read before what came since.
func (h *history) begin(entries []chat.HistoryEntry) {
	items := make([]pastItem, 0, len(entries)+len(h.items))
	for _, e := range entries {
		if slices.ContainsFunc(h.items, func(i pastItem) bool { return i.id == e.ID }) {
			continue // it was offered again
		}
		item := pastItem{id: e.ID, accepted: e.Accepted}
		if len(e.Frame) > 0 && !slices.Contains(h.gone, e.ID) {
			item.payload = e.Frame
			h.bytes += len(item.payload)
		}
		items = append(items, item)
	}
	h.items, h.gone = append(items, h.items...), nil
	h.changed()
}

// add takes note of what is applied.
func (h *history) add(pub *chat.Publication) {
	e, ok := chat.NewHistoryEntry(pub)
	if !ok {
		return
	}
	if e.Kind == chat.PublishDelete {
		h.remove(e.ID)
		return
	}
	h.items = append(h.items, pastItem{id: e.ID, accepted: e.Accepted, payload: e.Frame})
	h.bytes += len(e.Frame)
	h.changed()
}

// remove forgets what was deleted, but that it was there.
func (h *history) remove(id string) {
	for i := range h.items {
		if item := &h.items[i]; item.id == id {
			h.bytes -= len(item.payload)
			item.payload, item.deflated = nil, nil
			h.changed()
			return
		}
	}
	select {
	case <-h.loaded:
	default:
		h.gone = append(h.gone, id)
	}
}

// changed forgets the oldest that are too many, and the snapshots.
func (h *history) changed() {
	n := 0
	for len(h.items)-n > h.spec.Count || h.bytes > maxHistory {
		h.bytes -= len(h.items[n].payload)
		h.items[n] = pastItem{}
		n++
	}
	h.items = h.items[n:]
	h.plain, h.deflated = snapshot{}, snapshot{}
}

// cursor is where a session begins that joins now. The room's mu is held.
func (h *history) cursor(log *roomLog, deflated bool) cursor {
	end := log.cursorAtEnd()
	oldest := time.Now().Add(-h.spec.Age)
	first := slices.IndexFunc(h.items, func(i pastItem) bool { return i.payload != nil && i.accepted.After(oldest) })
	if first < 0 {
		return end
	}
	s := &h.plain
	if deflated {
		s = &h.deflated
	}
	if s.chunk == nil || s.first != first || *s.chunk.then != end {
		*s = snapshot{chunk: h.chunk(h.items[first:], deflated, end), first: first}
	}
	return cursor{chunk: s.chunk}
}

// chunk makes a chunk of items that leads to a cursor. In the log's count of bytes it is
// right before that.
func (h *history) chunk(items []pastItem, deflated bool, then cursor) *chunk {
	size := 0
	for i := range items {
		size += maxHeader + len(items[i].payload) // compressed it is not longer
	}
	c := &chunk{buf: make([]byte, 0, size), frames: make([]logFrame, 0, len(items)), then: &then}
	for i := range items {
		if items[i].payload == nil {
			continue
		}
		if deflated {
			c.buf = append(c.buf, items[i].compressed()...)
		} else {
			c.buf = appendFrame(c.buf, ws.OpText, items[i].payload)
		}
		c.frames = append(c.frames, logFrame{accepted: items[i].accepted.UnixNano(), end: uint32(len(c.buf)), kind: kindPast})
	}
	c.base = then.position() - uint64(len(c.buf))
	c.n.Store(uint32(len(c.frames)))
	return c
}

// maxHeader is how long the header of a frame of a history may be.
const maxHeader = 4

// compressed is the item as it is sent compressed.
func (i *pastItem) compressed() []byte {
	if i.deflated == nil {
		compressed, payload := deflate(i.payload)
		i.deflated = append(appendHeader(nil, ws.OpText, compressed, len(payload)), payload...)
	}
	return i.deflated
}
