package gateway

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// inlineSessions is the most sessions a room may have for its publishers to write to
// them themselves; in a larger one they wake the workers. Waking costs more than handing
// a few hundred sends to the kernel at once, and a publisher must not be kept for long:
// this is a millisecond. inlineFew is the same where each send is a system call of its own,
// as under TLS, and for what comes by way of other nodes: who brings that brings it for
// all rooms.
const (
	inlineSessions = 256
	inlineFew      = 64
)

// maxEarly bounds what a room keeps that came before its turn. The broker brings what
// is missing long before that, or never.
const maxEarly = 1024

// roomDeletedReason is short enough for a close frame; the room's ARN would not be.
var roomDeletedReason = errorReason(&chat.Error{Code: chat.NotFound, Message: "The room does not exist."})

// room is the node's side of a chat room that has sessions here. It applies
// publications in the order of their numbers, whatever order they arrive in.
type room struct {
	gateway *Gateway
	arn     chat.ARN
	users   int // sessions there or on their way; owned by Gateway.mu

	// ready is closed when the subscription is live, or failed with err.
	ready  chan struct{}
	err    error
	cancel func()

	shards []shard // for half of the workers
	place  int     // of the first of its workers

	attended atomic.Pointer[attended] // nil: its tags do not want to know who is there

	mu       sync.Mutex
	live     bool                // at is known
	at       chat.Position       // of the last publication applied
	early    []*chat.Publication // arrived before their turn
	plain    *roomLog
	deflated *roomLog // the same frames, compressed; nil until a session wants it
	sessions int
	messages uint64   // applied since the room is here
	deleted  bool     // then whoever still comes is sent away
	past     *history // what is remembered, and loaded; nil: nothing
	next     *history // what will be in its place
}

func newRoom(g *Gateway, arn chat.ARN) *room {
	r := &room{gateway: g, arn: arn, ready: make(chan struct{}), shards: make([]shard, max(1, len(g.workers)/2)), plain: newRoomLog()}
	r.place = int(g.placed.Add(1)) % len(g.workers)
	for i := range r.shards {
		r.shards[i].room, r.shards[i].index = r, i
	}
	return r
}

// join gives a session its cursor and its seat. What is published from now on is for
// it, after the room's history.
func (r *room) join(s *session, deflate bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.log, s.deflate = r.plain, deflate
	if deflate {
		if r.deflated == nil {
			r.deflated = newRoomLog()
		}
		s.log = r.deflated
	}
	s.cursor = s.log.cursorAtEnd()
	if r.past != nil {
		s.cursor = r.past.cursor(s.log, deflate)
	}
	s.sent.Store(s.cursor.position())
	r.sessions++
	emptiest := 0
	for i := range r.shards {
		if r.shards[i].taken < r.shards[emptiest].taken {
			emptiest = i
		}
	}
	s.seat = seat{shard: int32(emptiest), index: int32(r.shards[emptiest].add(s))}
	r.stir()
	if r.deleted { // since the room was seen to exist
		r.sendAway(s)
	}
}

// leave takes a session's seat away.
func (r *room) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions--
	r.shards[s.seat.shard].remove(int(s.seat.index))
	r.stir()
}

// deliver takes a publication from the broker.
func (r *room) deliver(pub *chat.Publication) {
	r.mu.Lock()
	grew := r.take(pub)
	sessions := r.sessions
	r.mu.Unlock()
	if grew {
		r.dropSlow()
	}
	if r.gateway.traces {
		r.first(pub)
	}
	inline := r.gateway.inline
	if pub.Relayed || r.gateway.singly.Load() {
		inline = min(inline, inlineFew)
	}
	if sessions <= inline {
		r.writeInline()
		return
	}
	for i := range r.shards {
		r.shards[i].push()
	}
}

// writeInline writes to the sessions of a small room, for its publisher.
func (r *room) writeInline() {
	select {
	case w := <-r.gateway.writers:
		defer func() {
			w.abandon()
			r.gateway.writers <- w
		}()
		for i := range r.shards {
			w.write(r.shards[i].all())
		}
		w.flush()
	default: // as many publishers as there are processors are at it
		r.each((*session).wake)
	}
}

// goLive begins the log after the given position.
func (r *room) goLive(at chat.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live, r.at = true, at
	r.applyEarly()
}

// take applies a publication whose turn it is, and whatever waited for it, or keeps
// it. It reports whether a log grew by a chunk. r.mu is held.
func (r *room) take(pub *chat.Publication) (grew bool) {
	switch {
	case !r.live:
		r.early = append(r.early, pub)
		return false
	case byPosition(pub.Position, r.at) <= 0: // seen
		return false
	case !r.follows(pub):
		r.early = append(r.early, pub)
		if len(r.early) <= maxEarly {
			return false
		}
		r.skip(slices.MinFunc(r.early, func(a, b *chat.Publication) int { return byPosition(a.Position, b.Position) }))
		return r.applyEarly()
	case pub.Kind == chat.PublishGap:
		r.at = pub.Position
		r.distrust()
	default:
		grew = r.apply(pub)
	}
	if len(r.early) > 0 {
		grew = r.applyEarly() || grew
	}
	return grew
}

// follows reports whether nothing can be between what was applied last and a publication
// after it. Another epoch than the first begins with a gap. r.mu is held.
func (r *room) follows(pub *chat.Publication) bool {
	switch {
	case pub.Kind == chat.PublishGap:
		return byPosition(pub.After, r.at) <= 0
	case r.at.Epoch == 0:
		return pub.Position.Number == 1
	}
	return pub.Position == chat.Position{Epoch: r.at.Epoch, Number: r.at.Number + 1}
}

// skip goes on right before a publication: what is missing has not come for long.
// r.mu is held.
func (r *room) skip(next *chat.Publication) {
	to := chat.Position{Epoch: next.Position.Epoch, Number: next.Position.Number - 1}
	if next.Kind == chat.PublishGap {
		to = next.After
	}
	missed := to.Number
	if to.Epoch == r.at.Epoch {
		missed -= r.at.Number
	}
	r.gateway.metrics.missed.Add(float64(missed))
	r.distrust()
	r.at = to
}

// applyEarly applies what has its turn by now. r.mu is held.
func (r *room) applyEarly() (grew bool) {
	early := r.early
	r.early = nil
	slices.SortFunc(early, func(a, b *chat.Publication) int { return byPosition(a.Position, b.Position) })
	for _, pub := range early {
		grew = r.take(pub) || grew
	}
	return grew
}

func byPosition(a, b chat.Position) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Number, b.Number))
}

// apply shows a publication, and marks the sessions that it ends. r.mu is held.
func (r *room) apply(pub *chat.Publication) (grew bool) {
	r.at = pub.Position
	if r.past != nil {
		r.past.add(pub)
	}
	if r.next != nil {
		r.next.add(pub)
	}
	if pub.Frame != nil {
		var buf [10]byte
		grew = r.plain.append(pub, appendHeader(buf[:0], ws.OpText, false, len(pub.Frame)), pub.Frame)
		if r.deflated != nil {
			compressed, payload := deflate(pub.Frame)
			grew = r.deflated.append(pub, appendHeader(buf[:0], ws.OpText, compressed, len(payload)), payload) || grew
		}
	}
	switch pub.Kind {
	case chat.PublishMessage:
		r.messages++
	case chat.PublishDisconnect:
		last := appendClose(nil, ws.StatusGoingAway, chat.TruncateReason(pub.Reason, maxCloseReason))
		r.each(func(s *session) {
			if s.core.UserID == pub.UserID {
				s.mark(&ending{at: s.log.end.Load(), last: last, waits: true, cause: causeDisconnected})
			}
		})
	case chat.PublishRoomChanged:
		r.distrust()
	case chat.PublishRoomDeleted:
		r.markDeleted()
	}
	return grew
}

// markDeleted marks the sessions of a room that is no more. r.mu is held.
func (r *room) markDeleted() {
	r.deleted = true
	r.each(r.sendAway)
}

// sendAway marks a session of a deleted room. r.mu is held.
func (r *room) sendAway(s *session) {
	last := appendClose(nil, ws.StatusGoingAway, roomDeletedReason)
	s.mark(&ending{at: s.log.end.Load(), last: last, waits: true, cause: causeRoomDeleted})
}

// dropSlow drops the sessions that the log has left behind while their sockets took
// nothing: nobody else looks at those. What ends is owed no more of the log, and has a
// time of its own. It is called whenever a log grew by a chunk.
func (r *room) dropSlow() {
	r.each(func(s *session) {
		if s.stalled.Load() != 0 && s.ending.Load() == nil && s.log.since(s.sent.Load()) > maxLag {
			s.drop(causeSlow)
		}
	})
}

// each calls f for every session.
func (r *room) each(f func(*session)) {
	for i := range r.shards {
		r.shards[i].each(f)
	}
}
