package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	wheelTick  = 100 * time.Millisecond
	wheelSlots = 1024
)

// wheel looks after every session when its time comes: expiry, pings, clients that
// fell silent, sessions that take too long to end. One timer serves all; a session is
// in one slot, and one that is due beyond the wheel's turn is looked at early and
// put back.
type wheel struct {
	mu    sync.Mutex
	slots [wheelSlots]*session // heads of lists; links are in the sessions
	now   int                  // the slot that is due next
	base  time.Time            // when slot now is due
}

// schedule puts the session where it is due, taking it from where it was. A session
// that is ending or expiring is due no later than that.
func (w *wheel) schedule(s *session, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.wheelSlot == wheelGone {
		return
	}
	w.unlink(s)
	latest := time.Unix(s.core.Expires, 0)
	if e := s.ending.Load(); e != nil {
		latest = e.deadline
	}
	if due.After(latest) {
		due = latest
	}
	// By way of now: due may be a reading of the wall clock, and that was perhaps set
	// since base was read. Rounded up: never before its time.
	now := time.Now()
	ticks := min(max(int((due.Sub(now)+now.Sub(w.base)+wheelTick-1)/wheelTick), 0), wheelSlots-1)
	s.wheelSlot = int16((w.now+ticks)%wheelSlots + 1)
	head := &w.slots[s.wheelSlot-1]
	s.wheelNext = *head
	if *head != nil {
		(*head).wheelPrev = s
	}
	*head = s
}

const (
	wheelOut  = 0  // in no slot
	wheelGone = -1 // never to be put into one again
)

// unlink takes the session out of its slot. w.mu is held.
func (w *wheel) unlink(s *session) {
	if s.wheelSlot <= wheelOut {
		return
	}
	if s.wheelPrev != nil {
		s.wheelPrev.wheelNext = s.wheelNext
	} else {
		w.slots[s.wheelSlot-1] = s.wheelNext
	}
	if s.wheelNext != nil {
		s.wheelNext.wheelPrev = s.wheelPrev
	}
	s.wheelNext, s.wheelPrev, s.wheelSlot = nil, nil, wheelOut
}

// remove takes the session out for good.
func (w *wheel) remove(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(s)
	s.wheelSlot = wheelGone
}

// run turns the wheel until ctx ends.
func (w *wheel) run(ctx context.Context) {
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, s := range w.due(now) {
				w.schedule(s, s.look(now))
			}
		}
	}
}

// due takes the sessions whose slots are due at now.
func (w *wheel) due(now time.Time) []*session {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []*session
	for range wheelSlots {
		if w.base.After(now) {
			break
		}
		for s := w.slots[w.now]; s != nil; s = w.slots[w.now] {
			w.unlink(s)
			due = append(due, s)
		}
		w.now = (w.now + 1) % wheelSlots
		w.base = w.base.Add(wheelTick)
	}
	if w.base.Before(now) { // asleep for more than a turn
		w.base = now
	}
	return due
}

var pingFrame = appendFrame(nil, ws.OpPing, nil)

// look does what is due for the session and returns when to look again, if nothing
// else comes first.
func (s *session) look(now time.Time) time.Time {
	if e := s.ending.Load(); e != nil {
		if now.Before(e.deadline) {
			return e.deadline
		}
		if s.said.Load() { // the client did not answer
			s.closeCleanly(e.cause)
		} else {
			s.drop(causeStuck)
		}
		return now.Add(closeTimeout)
	}
	if !now.Before(time.Unix(s.core.Expires, 0)) {
		s.expire("")
		return now.Add(closeTimeout)
	}
	interval := s.gateway.pingInterval
	last := s.heard.Load()
	if last >= s.pinged {
		s.unanswered = 0
	}
	if s.unanswered > 0 {
		last = s.pinged
	}
	next := time.Unix(0, last).Add(interval)
	if !now.Before(next) {
		if s.unanswered == 2 {
			s.drop(causeSilent)
			return now.Add(closeTimeout)
		}
		s.pinged = now.UnixNano()
		s.unanswered++
		s.say(pingFrame)
		next = now.Add(interval)
	}
	return next
}
