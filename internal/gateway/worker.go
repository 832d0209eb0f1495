package gateway

import (
	"context"
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
}

func newWorker() *worker { return &worker{work: make(chan struct{}, 1)} }

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

// run makes passes until ctx ends. A send is not seen by the scheduler, so a pass
// lets others run now and then.
func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
		for sh := w.pop(); sh != nil; sh = w.pop() {
			sh.queued.Store(false)
			n := 0
			sh.each(func(s *session) {
				s.wake()
				if n++; n%64 == 0 {
					runtime.Gosched()
				}
			})
		}
	}
}
