package chatlog

import (
	"cmp"
	"io"
	"slices"
)

// queue turns a spool's entries into records that can be shipped, in the order of
// their numbers in each room.
//
// Intents are in the spool in the order in which they were written, numbers are given
// after that. Two records are only ever the other way round when both were under way
// at once: a record is ready when nothing in its room is under way that was intended
// before it was marked. Rather than that, it is taken to be ready when nothing in its
// room is under way at all, or when maxHeld are waiting.
type queue struct {
	spool *spool
	in    reader

	open  map[uint64]*record   // intents without a mark, by their number
	under map[string]int       // how many of them, by room
	done  map[string][]*record // marked, by room, until nothing there is under way
	ready []*record
	bytes int // of ready

	torn int // segments that ended in the middle of an entry
}

const (
	// maxHeld is how many marked records of a room wait for others to be marked.
	maxHeld = 1000
	// maxReady bounds the records that wait in memory; the rest waits in the spool.
	maxReady      = 10_000
	maxReadyBytes = 8 << 20
)

func newQueue(s *spool) (*queue, error) {
	at, err := readCursor(s.dir)
	if err != nil {
		return nil, err
	}
	return &queue{spool: s, in: reader{dir: s.dir, at: at}, open: map[uint64]*record{}, under: map[string]int{}, done: map[string][]*record{}}, nil
}

func (q *queue) full() bool { return len(q.ready) >= maxReady || q.bytes >= maxReadyBytes }

// fill reads what there is, as far as there is room for it.
func (q *queue) fill() error {
	end := q.spool.end()
	for !q.full() {
		before := q.in.at
		e, torn, err := q.in.next(end)
		if torn {
			q.torn++
		}
		if before.Segment < q.spool.first && (q.in.at.Segment >= q.spool.first || err == io.EOF) {
			q.orphans()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e.record != nil {
			e.record.place = place{Segment: q.in.at.Segment, Offset: before.Offset}
			if before.Segment != q.in.at.Segment {
				e.record.place.Offset = 0
			}
			q.intend(e.intent, e.record)
		} else {
			q.mark(e)
		}
	}
	return nil
}

func (q *queue) intend(n uint64, r *record) {
	if old := q.open[n]; old != nil { // of a process before this one, which died
		q.finish(n, old, true)
	}
	q.open[n] = r
	q.under[r.room]++
}

func (q *queue) mark(e entry) {
	r := q.open[e.intent]
	if r == nil {
		return // the intent was shipped already
	}
	r.at = e.at
	q.finish(e.intent, r, e.published)
}

// finish takes a record that is under way no longer.
func (q *queue) finish(n uint64, r *record, published bool) {
	delete(q.open, n)
	if q.under[r.room]--; q.under[r.room] == 0 {
		delete(q.under, r.room)
	}
	if published {
		q.done[r.room] = append(q.done[r.room], r)
	}
	if q.under[r.room] == 0 || len(q.done[r.room]) >= maxHeld {
		q.release(r.room)
	}
}

// release makes a room's marked records ready.
func (q *queue) release(room string) {
	done := q.done[room]
	delete(q.done, room)
	// Those without a number stay where they are: as late as they were marked.
	slices.SortStableFunc(done, func(a, b *record) int {
		if a.at.Epoch == 0 || b.at.Epoch == 0 {
			return 0
		}
		return cmp.Or(cmp.Compare(a.at.Epoch, b.at.Epoch), cmp.Compare(a.at.Number, b.at.Number))
	})
	for _, r := range done {
		q.ready = append(q.ready, r)
		q.bytes += r.size()
	}
}

// orphans takes the intents of processes before this one that were never marked for
// published: rather one record too many than one too few.
func (q *queue) orphans() {
	numbers := make([]uint64, 0, len(q.open))
	for n := range q.open {
		numbers = append(numbers, n)
	}
	slices.SortFunc(numbers, func(a, b uint64) int {
		p, o := q.open[a].place, q.open[b].place
		return cmp.Or(cmp.Compare(p.Segment, o.Segment), cmp.Compare(p.Offset, o.Offset))
	})
	for _, n := range numbers {
		q.finish(n, q.open[n], true)
	}
}

// shipped takes the records that are at their destination out of the queue, but for
// rest, and says so in the spool.
func (q *queue) shipped(rest []*record) error {
	q.ready = append(rest[:len(rest):len(rest)], q.ready[:0]...)
	q.bytes = 0
	for _, r := range q.ready {
		q.bytes += r.size()
	}
	at := q.in.at
	earliest := func(r *record) {
		if r.place.before(at) {
			at = r.place
		}
	}
	for _, r := range q.ready {
		earliest(r)
	}
	for _, r := range q.open {
		earliest(r)
	}
	for _, rs := range q.done {
		for _, r := range rs {
			earliest(r)
		}
	}
	if err := writeCursor(q.spool.dir, at); err != nil {
		return err
	}
	q.spool.release(at)
	return nil
}

// empty reports whether everything in the spool is at its destination.
func (q *queue) empty() bool {
	return len(q.ready)+len(q.open)+len(q.done) == 0 && !q.in.at.before(q.spool.end())
}
