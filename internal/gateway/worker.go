package gateway

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
)

// shard is one worker's share of a room's sessions. Seats are never moved: a pass
// over them, which holds no lock, meets everybody who was seated when it began.
type shard struct {
	room   *room
	queued atomic.Bool // for a pass that has not begun

	mu    sync.Mutex
	seats []atomic.Pointer[session] // replaced to grow
	free  []int                     // empty seats

	taken int // owned by room.mu
}

// seat is a session's place in a shard.
type seat struct {
	shard *shard
	index int
}

// add seats a session. The room's mu is held.
func (sh *shard) add(s *session) seat {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.taken++
	if len(sh.free) == 0 {
		grown := make([]atomic.Pointer[session], max(1, 2*len(sh.seats)))
		for i := range sh.seats {
			grown[i].Store(sh.seats[i].Load())
		}
		for i := len(grown) - 1; i >= len(sh.seats); i-- {
			sh.free = append(sh.free, i)
		}
		sh.seats = grown
	}
	i := sh.free[len(sh.free)-1]
	sh.free = sh.free[:len(sh.free)-1]
	sh.seats[i].Store(s)
	return seat{shard: sh, index: i}
}

// remove empties a seat. The room's mu is held.
func (sh *shard) remove(index int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.taken--
	sh.seats[index].Store(nil)
	sh.free = append(sh.free, index)
}

// each calls f for every session seated when it was called.
func (sh *shard) each(f func(*session)) {
	sh.mu.Lock()
	seats := sh.seats
	sh.mu.Unlock()
	for i := range seats {
		if s := seats[i].Load(); s != nil {
			f(s)
		}
	}
}

// worker writes to the sessions of large rooms, a shard at a time.
type worker struct {
	mu    sync.Mutex
	queue []*shard // each at most once
	work  chan struct{}

	logger    *slog.Logger
	tally     tally
	wantsRing bool
	ring      *ring  // nil where there is none
	batch     []send // empty between passes
}

func newWorker(logger *slog.Logger, ring bool) *worker {
	return &worker{logger: logger, work: make(chan struct{}, 1), wantsRing: ring}
}

// push asks for a pass over the shard.
func (w *worker) push(sh *shard) {
	if sh.queued.Swap(true) {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, sh)
	w.mu.Unlock()
	select {
	case w.work <- struct{}{}:
	default:
	}
}

// pop takes the next shard, or nil.
func (w *worker) pop() *shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		return nil
	}
	sh := w.queue[0]
	w.queue = w.queue[1:]
	return sh
}

// run makes passes until ctx ends.
func (w *worker) run(ctx context.Context) {
	if w.wantsRing {
		var err error
		if w.ring, err = newRing(batchSize); err != nil {
			w.logger.Warn("io_uring cannot be used; sending goes on without it", "error", err)
		}
		defer func() { w.ring.close() }()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
		for sh := w.pop(); sh != nil; sh = w.pop() {
			sh.queued.Store(false)
			if w.ring != nil {
				w.passRing(sh)
			} else {
				w.pass(sh)
			}
		}
	}
}

// pass writes to the sessions of a shard, one after the other. A send is not seen by
// the scheduler, so a pass lets others run now and then.
func (w *worker) pass(sh *shard) {
	n := 0
	sh.each(func(s *session) {
		if s.seize() {
			s.write(&w.tally, false)
		}
		if n++; n%64 == 0 {
			runtime.Gosched()
		}
	})
}

// batchSize is how many sends are handed to the kernel at once.
const batchSize = 256

// passRing writes to the sessions of a shard, a batch at a time: what is next for each
// of them goes to the kernel in one call. What it does not take whole is for write to
// see to, and so is all that is not simply the next frames of the log.
func (w *worker) passRing(sh *shard) {
	sh.each(func(s *session) {
		if !s.seize() {
			return
		}
		var b []byte
		if w.ring != nil { // it may fail on the way
			b = s.prepare()
		}
		if b == nil {
			s.write(&w.tally, false)
			return
		}
		w.batch = append(w.batch, send{session: s, b: b})
		if len(w.batch) == batchSize {
			w.flush()
		}
	})
	w.flush()
}

// send is a send under way: it holds its session's writer flag, keeps its descriptor
// pinned, and keeps the chunk alive.
type send struct {
	session *session
	b       []byte
	n       int
}

func (w *worker) flush() {
	if len(w.batch) == 0 {
		return
	}
	usable := w.ring.send(w.batch)
	for i := range w.batch {
		s := &w.batch[i]
		s.session.unpin()
		s.session.wrote(&w.tally, s.n)
		s.session.write(&w.tally, false)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	if !usable {
		w.logger.Error("io_uring failed; sending goes on without it")
		w.ring.close()
		w.ring = nil
	}
}
