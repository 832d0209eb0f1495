// Package broker has the implementations of [chat.Broker]: Local, for one node, and
// Redis, for many.
//
// Invariants:
//
//   - Admission and numbering are one step, under one lock: a publication that is
//     refused takes no number, and no number is skipped.
//   - deliver is called without a lock held. Two publications may therefore arrive
//     out of order; the receiver applies them by number.
//   - A room costs memory only while somebody is subscribed or its rate still counts.
//
// Redis adds to that; see there.
package broker

import (
	"context"
	"sync"
	"time"

	"parlor/internal/chat"
)

// Running is a broker that works while Run does.
type Running interface {
	chat.Broker
	// Run does the broker's work until ctx ends. Nobody may publish any more by then.
	Run(ctx context.Context) error
	// Up reports whether publications reach this node.
	Up() bool
	// Recent returns up to last publications that the broker still has of a room, in order,
	// and the room's position; the zero Position where it knows of none.
	Recent(ctx context.Context, room chat.ARN, last int) ([]*chat.Publication, chat.Position, error)
}

// Local is the broker of a node that is alone. Its zero value is not usable; see
// NewLocal.
type Local struct {
	deliver     func(*chat.Publication)
	claims      claims
	attendances attendances

	mu    sync.Mutex
	rates chat.Rates[rateKey]
	rooms map[chat.ARN]*localRoom
	// given are the last positions of rooms that are not in rooms, where the clock has not
	// passed their epoch; newest is the highest of those epochs.
	given  map[chat.ARN]chat.Position
	newest uint64
	// unsubscribed are rooms whose rate still counted when their last subscriber left,
	// in the order of leaving: leaving and coming back does not refill a bucket.
	unsubscribed []chat.ARN
}

// localRoom is owned by Local.mu.
type localRoom struct {
	last        chat.Position // of the last publication
	rate        chat.Rate
	subscribers int
}

// NewLocal returns a broker that calls deliver for every publication of a subscribed
// room.
func NewLocal(deliver func(*chat.Publication)) *Local {
	return &Local{deliver: deliver, rooms: map[chat.ARN]*localRoom{}, given: map[chat.ARN]chat.Position{}}
}

// Publish implements [chat.Broker].
func (l *Local) Publish(ctx context.Context, pub *chat.Publication, rate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	subscribed, err := l.admit(pub, rate)
	if err == nil && subscribed {
		l.deliver(pub)
	}
	return err
}

// Admit implements [chat.Broker].
func (l *Local) Admit(ctx context.Context, room chat.ARN, rate int) error {
	if err := ctx.Err(); err != nil || rate == 0 {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.take(room, rate)
	return err
}

// admit gives the publication its position, or refuses it.
func (l *Local) admit(pub *chat.Publication, rate int) (subscribed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := l.rooms[pub.Room]
	if rate > 0 {
		if room, err = l.take(pub.Room, rate); err != nil {
			return false, err
		}
	}
	if room == nil { // nobody is there, and there is nothing to remember
		pub.Position = l.lastOf(pub.Room)
		pub.Position.Number++
		l.give(pub.Room, pub.Position)
		return false, nil
	}
	room.last.Number++
	pub.Position = room.last
	return room.subscribers > 0, nil
}

// take takes one of a room's rate. l.mu is held.
func (l *Local) take(arn chat.ARN, rate int) (*localRoom, error) {
	room := l.rooms[arn]
	if room == nil {
		room = l.add(arn)
		l.unsubscribed = append(l.unsubscribed, arn)
	}
	if !room.rate.Allow(time.Now(), rate) {
		return nil, chat.RateLimitExceeded(arn, rate)
	}
	return room, nil
}

// Subscribe implements [chat.Broker].
func (l *Local) Subscribe(ctx context.Context, arn chat.ARN) (chat.Position, func(), error) {
	if err := ctx.Err(); err != nil {
		return chat.Position{}, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetIdle()
	room := l.rooms[arn]
	if room == nil {
		room = l.add(arn)
	}
	room.subscribers++
	return room.last, func() { l.unsubscribe(arn, room) }, nil
}

func (l *Local) unsubscribe(arn chat.ARN, room *localRoom) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetIdle()
	room.subscribers--
	switch {
	case room.subscribers > 0:
	case room.rate.Idle(time.Now()):
		l.remove(arn)
	default:
		l.unsubscribed = append(l.unsubscribed, arn)
	}
}

// An epoch is a millisecond of the clock: so the positions of a room are in one order also
// over restarts, as far as the clock is, and over a change to Redis.

// add makes a room with an epoch of its own: one that was forgotten counts anew.
func (l *Local) add(arn chat.ARN) *localRoom {
	last := l.lastOf(arn)
	if last.Number > 0 {
		last = chat.Position{Epoch: last.Epoch + 1}
	}
	delete(l.given, arn)
	room := &localRoom{last: last}
	l.rooms[arn] = room
	return room
}

// lastOf is the last position of a room that is not there. l.mu is held.
func (l *Local) lastOf(arn chat.ARN) chat.Position {
	now := uint64(time.Now().UnixMilli())
	if now > l.newest {
		clear(l.given)
	}
	if given := l.given[arn]; given.Epoch >= now {
		return given
	}
	return chat.Position{Epoch: now}
}

// give remembers the last position of a room that is not there, as long as lastOf could
// return another that is not higher. l.mu is held.
func (l *Local) give(arn chat.ARN, last chat.Position) {
	if last.Epoch >= uint64(time.Now().UnixMilli()) {
		l.given[arn] = chat.Position{Epoch: last.Epoch, Number: max(last.Number, 1)}
		l.newest = max(l.newest, last.Epoch)
	}
}

// remove forgets a room. l.mu is held.
func (l *Local) remove(arn chat.ARN) {
	l.give(arn, l.rooms[arn].last)
	delete(l.rooms, arn)
}

// forgetIdle drops unsubscribed rooms whose rate no longer counts. A bucket is full
// after a second at most, so the oldest go first and the rest can wait.
func (l *Local) forgetIdle() {
	now := time.Now()
	n := 0
	for _, arn := range l.unsubscribed {
		room := l.rooms[arn]
		if room != nil && room.subscribers == 0 {
			if !room.rate.Idle(now) {
				break
			}
			l.remove(arn)
		}
		n++
	}
	l.unsubscribed = l.unsubscribed[:copy(l.unsubscribed, l.unsubscribed[n:])]
}

// Refill makes all rates whole, as if nothing had been published for a while. It is for
// development.
func (l *Local) Refill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rates = chat.Rates[rateKey]{}
	for _, room := range l.rooms {
		room.rate = chat.Rate{}
	}
}

// rateKey is a rate of a scope.
type rateKey struct {
	scope chat.Scope
	what  string
}

// Borrow implements [chat.Broker]. It gives one at a time, so that nothing is given back
// unused.
func (l *Local) Borrow(ctx context.Context, scope chat.Scope, what string, perSecond, _ int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.rates.Allow(rateKey{scope, what}, time.Now(), perSecond) {
		return 0, nil
	}
	return 1, nil
}

// Reserve implements [chat.Broker]. The whole quota is this node's.
func (l *Local) Reserve(ctx context.Context, _ chat.Scope, n, quota int) (int, error) {
	return min(n, quota), ctx.Err()
}

// Recent implements [Running]. What Local published was published by this process.
func (l *Local) Recent(ctx context.Context, _ chat.ARN, _ int) ([]*chat.Publication, chat.Position, error) {
	return nil, chat.Position{}, ctx.Err()
}

// Ready implements [chat.Broker]. Local is always ready.
func (l *Local) Ready(context.Context) error { return nil }

// Up implements [Running].
func (l *Local) Up() bool { return true }

// Run implements [Running]. Local has nothing to do.
func (l *Local) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
