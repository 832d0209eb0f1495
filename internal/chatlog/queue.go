package chatlog

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"time"

	"parlor/internal/chat"
)

// queue turns a spool's entries into records that can be shipped, in the order of
// their numbers in each room.
//
// Intents are in the spool in the order in which they were written, numbers are given
// after that. A marked record is ready when nothing in its room is under way that was
// intended before it was marked: all that have a lower number are known then, and are
// made ready with it, in order.
//
// An intent that a dead process did not mark has no number. It stands among the others
// where its intent does.
type queue struct {
	spool *spool
	in    reader

	process uint64                // whose entries are read
	clock   uint64                // entries read
	open    map[uint64]*record    // intents of the process without a mark, by their number
	rooms   map[string]*roomQueue // that have something under way or waiting
	ready   []*record
	bytes   int // of ready

	damaged int // places where something could not be read
}

// roomQueue is what of a room is not ready.
type roomQueue struct {
	intended []*record // from the oldest under way on; those marked meanwhile stay among them
	done     []*record // published, in the order of their marks
	marked   int       // of intended
}

const (
	// maxHeld is how many records of a room wait for one under way to be marked. Such a
	// one comes later than its number then.
	maxHeld = 1000
	// maxReady bounds the records that wait in memory; the rest waits in the spool.
	maxReady      = 10_000
	maxReadyBytes = 8 << 20
)

func newQueue(s *spool) *queue {
	return &queue{spool: s, in: reader{dir: s.dir, at: s.cursor}, open: map[uint64]*record{}, rooms: map[string]*roomQueue{}}
}

func (q *queue) full() bool { return len(q.ready) >= maxReady || q.bytes >= maxReadyBytes }

// fill reads what there is, as far as there is room for it. An error does not keep it
// from reading on the next time.
func (q *queue) fill() error {
	var faults error
	end := q.spool.end()
	for !q.full() {
		e, damaged, err := q.in.next(end)
		for _, n := range q.in.unread {
			if n < q.spool.first {
				faults = errors.Join(faults, q.spool.setAside(n))
			}
		}
		q.in.unread = nil
		if damaged { // perhaps the mark of one that waits for it
			q.damaged++
			q.orphans()
		}
		if err != nil && err != io.EOF {
			return errors.Join(faults, err)
		}
		process := q.in.process
		if err == io.EOF {
			process = q.spool.first // nothing of another is left
		}
		if process != q.process {
			q.orphans()
			q.process = process
		}
		if err == io.EOF {
			break
		}
		q.clock++
		if e.record != nil {
			e.record.place = e.place
			q.intend(e.intent, e.record)
		} else if r := q.open[e.intent]; r != nil { // else it was shipped already
			r.at = e.at
			q.mark(e.intent, r, e.published)
		}
	}
	return faults
}

func (q *queue) intend(n uint64, r *record) {
	if old := q.open[n]; old != nil { // of a spool that was put together by hand
		q.mark(n, old, true)
	}
	room := q.rooms[r.room]
	if room == nil {
		room = &roomQueue{}
		q.rooms[r.room] = room
	}
	r.intended = q.clock
	q.open[n] = r
	room.intended = append(room.intended, r)
}

// mark takes a record that is under way no longer.
func (q *queue) mark(n uint64, r *record, published bool) {
	delete(q.open, n)
	room := q.rooms[r.room]
	r.marked = q.clock
	room.marked++
	if published {
		room.done = append(room.done, r)
	} else {
		r.frame = nil
	}
	for len(room.intended) > 0 && room.intended[0].marked > 0 {
		room.intended = room.intended[1:]
		room.marked--
	}
	if room.marked >= maxHeld || len(room.done) >= 2*maxHeld {
		room.intended = slices.DeleteFunc(room.intended, func(r *record) bool { return r.marked > 0 })
		room.marked = 0
		q.release(room, len(room.done))
	} else {
		count := len(room.done)
		if len(room.intended) > 0 {
			oldest := room.intended[0].intended
			count, _ = slices.BinarySearchFunc(room.done, oldest, func(r *record, oldest uint64) int { return cmp.Compare(r.marked, oldest) })
		}
		q.release(room, count)
	}
	if len(room.intended)+len(room.done) == 0 {
		delete(q.rooms, r.room)
	}
}

// release makes the first of a room's marked records ready, and what comes before them.
func (q *queue) release(room *roomQueue, count int) {
	if count == 0 {
		return
	}
	last := chat.Position{}
	for _, r := range room.done[:count] {
		if compare(last, r.at) < 0 {
			last = r.at
		}
	}
	var numbered, others, later []*record
	for i, r := range room.done {
		switch {
		case i >= count && (r.at.Epoch == 0 || compare(r.at, last) > 0):
			later = append(later, r)
		case r.at.Epoch == 0:
			others = append(others, r)
		default:
			numbered = append(numbered, r)
		}
	}
	room.done = later
	slices.SortStableFunc(numbered, func(a, b *record) int { return compare(a.at, b.at) })
	for _, r := range numbered {
		for len(others) > 0 && others[0].intended < r.intended {
			q.add(others[0])
			others = others[1:]
		}
		q.add(r)
	}
	for _, r := range others {
		q.add(r)
	}
}

func (q *queue) add(r *record) {
	q.ready = append(q.ready, r)
	q.bytes += r.size()
}

func compare(a, b chat.Position) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Number, b.Number))
}

// orphans takes the intents that nobody will mark for published: rather one record too
// many than one too few.
func (q *queue) orphans() {
	numbers := make([]uint64, 0, len(q.open))
	for n := range q.open {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		q.clock++
		q.mark(n, q.open[n], true)
	}
}

// shipped takes the records that are at their destination out of the queue, but for
// rest, and says so in the spool.
func (q *queue) shipped(rest []*record) error {
	q.ready = rest[:len(rest):len(rest)]
	q.bytes = 0
	at := q.in.at
	for _, r := range q.ready {
		q.bytes += r.size()
		at = earlier(at, r.place)
	}
	for _, room := range q.rooms {
		for _, r := range room.intended {
			if r.marked == 0 {
				at = earlier(at, r.place)
				break // the others are behind it
			}
		}
		for _, r := range room.done {
			at = earlier(at, r.place)
		}
	}
	if err := writeCursor(q.spool.dir, at); err != nil {
		return err
	}
	q.spool.release(at)
	return nil
}

func earlier(a, b place) place {
	if b.before(a) {
		return b
	}
	return a
}

// left counts what is not at the destination, until a time; all reports whether it came to
// the end.
func (q *queue) left(until time.Time) (n int, all bool) {
	n = len(q.ready)
	for _, room := range q.rooms {
		n += len(room.done)
		for _, r := range room.intended {
			if r.marked == 0 {
				n++
			}
		}
	}
	open := map[uint64]bool{} // of the process that is read
	for intent := range q.open {
		open[intent] = true
	}
	in, end, process := reader{dir: q.in.dir, at: q.in.at}, q.spool.end(), q.process
	defer in.close()
	for i := 0; ; i++ {
		if i%1024 == 0 && !time.Now().Before(until) {
			return n, false
		}
		e, _, err := in.next(end)
		if err != nil {
			return n, err == io.EOF
		}
		if in.process != process {
			process = in.process
			clear(open)
		}
		switch {
		case e.record != nil:
			n++
			open[e.intent] = true
		case open[e.intent]:
			delete(open, e.intent)
			if !e.published {
				n--
			}
		}
	}
}

// empty reports whether everything in the spool is at its destination.
func (q *queue) empty() bool {
	return len(q.ready)+len(q.rooms) == 0 && !q.in.at.before(q.spool.end())
}
