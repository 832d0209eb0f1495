package gateway

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// shard is one worker's share of a room's sessions. Seats are never moved: a pass
// over them, which holds no lock, meets everybody who was seated when it began.
type shard struct {
	room   *room
	index  int
	news   atomic.Bool // there is something that the pass has not begun to write
	queued atomic.Bool // in its worker's queue, or being written

	pass pass // owned by the worker

	mu    sync.Mutex
	seats []atomic.Pointer[session] // replaced to grow
	free  []int                     // empty seats

	taken int // owned by room.mu
}

// seat is a session's place: one of its room's shards, and where it is in that.
type seat struct {
	shard, index int32
}

// add seats a session and returns where. The room's mu is held.
func (sh *shard) add(s *session) (index int) {
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
	return i
}

// remove empties a seat. The room's mu is held.
func (sh *shard) remove(index int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.taken--
	sh.seats[index].Store(nil)
	sh.free = append(sh.free, index)
}

// all are the seats there are.
func (sh *shard) all() []atomic.Pointer[session] {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.seats
}

// each calls f for every session seated when it was called.
func (sh *shard) each(f func(*session)) {
	seats := sh.all()
	for i := range seats {
		if s := seats[i].Load(); s != nil {
			f(s)
		}
	}
}

// pass is where a worker is in writing to a shard. It goes round: news that come while
// it is under way are written to whoever it meets next, and it ends when it has met
// everybody since.
type pass struct {
	next, left int // seats
	of         int // how many there were
}

// slice returns the seats that come next, at most n, and reports whether the pass then
// goes on.
func (sh *shard) slice(n int) (seats []atomic.Pointer[session], more bool) {
	news := sh.news.Swap(false) // before the seats: who sits down later has the news
	seats = sh.all()
	p := &sh.pass
	if news || len(seats) != p.of { // with more seats the circle is another
		p.left, p.of = len(seats), len(seats)
	}
	if p.next >= len(seats) {
		p.next = 0
	}
	n = min(n, p.left, len(seats)-p.next)
	seats = seats[p.next : p.next+n]
	p.next += n
	p.left -= n
	return seats, p.left > 0
}

// worker writes to the sessions of large rooms: a slice of one shard, then one of the
// next, so that a large room does not keep the others waiting.
type worker struct {
	mu    sync.Mutex
	queue []*shard // each at most once
	work  chan struct{}

	writer *writer
}

// sliceSize is how many seats a slice has: two milliseconds' work, all of which the
// kernel gets at once.
const sliceSize = 512

// breath is how long a worker rests after a slice during which there was more to write to
// the room. Whoever reads on the same processors gets on meanwhile, and the sends that
// follow find more to send. That saves a fifth of the work in a room of 4,000 at
// 100 messages a second, at no cost in latency.
const breath = 100 * time.Microsecond

func newWorker(w *writer) *worker { return &worker{work: make(chan struct{}, 1), writer: w} }

// push asks for a pass over the shard.
func (sh *shard) push() {
	sh.news.Store(true)
	sh.enqueue()
}

// enqueue puts the shard into the queue of its worker, unless it is in one.
func (sh *shard) enqueue() {
	if !sh.queued.Swap(true) {
		sh.worker().enqueue(sh)
	}
}

// worker is who writes to the shard. A room has shards for half of the workers: a send is
// only half of a delivery; the other half is what the kernel does for the client's
// answers, and what all others here have to do. Fewer also send to more sockets at once,
// and find more to write to each in a room that does not keep up.
func (sh *shard) worker() *worker {
	workers := sh.room.gateway.workers
	return workers[(sh.room.place+sh.index)%len(workers)]
}

// enqueue puts a shard at the end of the queue.
func (w *worker) enqueue(sh *shard) {
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
		return nil
	}
	sh := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1) // which keeps nothing of it
	return sh
}

// run makes passes until ctx ends.
func (w *worker) run(ctx context.Context) {
	w.writer.open()
	defer w.writer.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
		for sh := w.pop(); sh != nil && ctx.Err() == nil; sh = w.pop() {
			seats, more := sh.slice(sliceSize)
			w.writer.write(seats)
			w.writer.flush()
			// The scheduler does not see how long that took, so others are let run.
			runtime.Gosched()
			sh.queued.Store(false)
			behind := sh.news.Load()
			if more || behind {
				sh.enqueue() // behind the others
			}
			if behind {
				time.Sleep(breath)
			}
		}
	}
}
