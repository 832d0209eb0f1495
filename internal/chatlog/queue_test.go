package chatlog

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"parlor/internal/chat"
)

// Intents of a dead process without a mark are shipped, and do not upset the numbers.
func TestOrphansKeepNumbersInOrder(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	var intents []uint64
	for _, name := range []string{"3", "orphan", "2", "1", "last"} {
		intents = append(intents, intend(t, s, "a", name))
	}
	s.mark(intents[0], true, at(3))
	s.mark(intents[2], true, at(2))
	s.mark(intents[3], true, at(1))
	s.close()
	got := take(t, mustQueue(t, mustOpen(t, dir, plenty)))
	slices.Sort(got)
	wantFrames(t, "all", got, "1", "2", "3", "last", "orphan")
	got = take(t, mustQueue(t, mustOpen(t, copyDir(t, dir), plenty)))
	numbered := slices.DeleteFunc(got, func(f string) bool { return len(f) > 1 })
	if !slices.IsSorted(numbered) {
		t.Errorf("got %q, want the numbers in order", numbered)
	}
}

// A room in which something is always under way is shipped in order all the same, and
// soon.
func TestARoomThatIsNeverIdle(t *testing.T) {
	s := mustOpen(t, t.TempDir(), plenty)
	q := mustQueue(t, s)
	const width = 7 // under way at once
	var got []string
	intents := map[int]uint64{}
	mark := func(n int) {
		if i, under := intents[n]; under {
			s.mark(i, true, at(n))
			delete(intents, n)
		}
	}
	for n := 1; n <= 4*maxHeld; n++ {
		intents[n] = intend(t, s, "a", fmt.Sprintf("%06d", n))
		if late := n - width; late%5 != 0 {
			mark(late)
		}
		if late := n - 2*width; late%5 == 0 {
			mark(late)
		}
		if n%100 == 0 {
			got = append(got, take(t, q)...)
			if held := n - len(got); held > 3*width {
				t.Fatalf("after %d: %d are held", n, held)
			}
		}
	}
	if !slices.IsSorted(got) {
		t.Error("not in the order of numbers")
	}
}

// model is rooms whose messages come through spools as a process writes them, and what
// must be at the destination.
type model struct {
	dir   string
	spool *spool
	queue *queue

	numbers   map[string]int  // last given, by room
	under     []*modelMessage // intended, not marked
	published map[string]bool // shown to somebody
	void      map[string]bool // marked as refused in a process that lives
	position  map[string]int  // by frame
	shipped   map[string]int  // how often
	last      map[string]int  // number last shipped in this process, by room
}

type modelMessage struct {
	intent uint64
	room   string
	frame  string
	number int // 0: not published yet
}

func (m *model) reopen(t *rapid.T) {
	if m.spool != nil {
		m.queue.in.close()
		for _, f := range append(m.spool.ended, m.spool.file) { // killed: nothing is flushed
			if f != nil {
				f.Close()
			}
		}
	}
	var err error
	if m.spool, err = openSpool(m.dir, plenty); err != nil {
		t.Fatal(err)
	}
	m.queue = newQueue(m.spool)
	m.under, m.void, m.last = nil, map[string]bool{}, map[string]int{}
}

// take ships some of what is ready, and checks it.
func (m *model) take(t *rapid.T, share int) {
	if err := m.queue.fill(); err != nil {
		t.Fatal(err)
	}
	count := len(m.queue.ready) * share / 4
	for _, r := range m.queue.ready[:count] {
		frame := string(r.frame)
		m.shipped[frame]++
		if m.void[frame] {
			t.Fatalf("%s was void", frame)
		}
		number, known := m.position[frame]
		if r.at.Number == 0 || !known {
			continue // of a dead process, unmarked
		}
		if number != int(r.at.Number) {
			t.Fatalf("%s: got number %d, want %d", frame, r.at.Number, number)
		}
		if number <= m.last[r.room] {
			t.Fatalf("room %s: %d after %d", r.room, number, m.last[r.room])
		}
		m.last[r.room] = number
	}
	if err := m.queue.shipped(m.queue.ready[count:]); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens between intents, publications, marks, shipments and crashes: each
// room is shipped in the order of its numbers, all that was published is shipped, and
// nothing void while the process lives.
func TestQueueKeepsOrderAndLosesNothing(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{dir: dir, numbers: map[string]int{}, published: map[string]bool{}, position: map[string]int{}, shipped: map[string]int{}}
		m.reopen(t)
		defer func() { m.queue.in.close(); m.spool.close() }()
		pick := func(t *rapid.T, published bool) *modelMessage {
			var of []*modelMessage
			for _, u := range m.under {
				if (u.number > 0) == published {
					of = append(of, u)
				}
			}
			if len(of) == 0 {
				t.Skip()
			}
			return of[rapid.IntRange(0, len(of)-1).Draw(t, "which")]
		}
		remove := func(u *modelMessage) {
			m.under = slices.DeleteFunc(m.under, func(o *modelMessage) bool { return o == u })
		}
		count := 0
		intend := func(t *rapid.T) {
			count++
			u := &modelMessage{room: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "room"), frame: fmt.Sprint("m", count)}
			if u.intent, err = m.spool.intend(publication(u.room, u.frame)); err != nil {
				t.Fatal(err)
			}
			m.under = append(m.under, u)
		}
		publish := func(t *rapid.T) {
			u := pick(t, false)
			m.numbers[u.room]++
			u.number = m.numbers[u.room]
			m.published[u.frame], m.position[u.frame] = true, u.number
		}
		mark := func(t *rapid.T) {
			u := pick(t, true)
			m.spool.mark(u.intent, true, at(u.number))
			remove(u)
		}
		t.Repeat(map[string]func(*rapid.T){
			"intend": intend, "intend more": intend, "publish": publish, "publish more": publish, "mark": mark, "mark more": mark,
			"refuse": func(t *rapid.T) {
				u := pick(t, false)
				m.spool.mark(u.intent, false, chat.Position{})
				m.void[u.frame] = true
				remove(u)
			},
			"flush": func(t *rapid.T) {
				if err := m.spool.flush(); err != nil {
					t.Fatal(err)
				}
			},
			"ship":  func(t *rapid.T) { m.take(t, rapid.IntRange(0, 4).Draw(t, "share")) },
			"crash": m.reopen,
			"roll": func(t *rapid.T) {
				m.spool.mu.Lock()
				defer m.spool.mu.Unlock()
				if m.spool.file != nil {
					if err := m.spool.begin(); err != nil {
						t.Fatal(err)
					}
				}
			},
		})
		m.reopen(t)
		for tries := 0; !m.queue.empty(); tries++ {
			if tries == 10 {
				t.Fatalf("%d are under way for ever", len(m.queue.open))
			}
			m.take(t, 4)
		}
		for frame := range m.published {
			if m.shipped[frame] == 0 {
				t.Errorf("%s, number %d, was shown and is not shipped", frame, m.position[frame])
			}
		}
		if len(m.queue.open)+len(m.queue.rooms) > 0 {
			t.Errorf("left: %d under way, %d rooms", len(m.queue.open), len(m.queue.rooms))
		}
	})
}

// A new process counts its intents from 0 again: its marks are never taken for those of
// a dead one, also when the reader is midway through what that left.
func TestMarksOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	dead := mustOpen(t, dir, plenty)
	for n := range 3 {
		intend(t, dead, "a", fmt.Sprint("dead ", n)) // 0, 1, 2, never marked
	}
	write(t, dead, "b", 1)
	dead.close()
	s := mustOpen(t, dir, plenty)
	q := mustQueue(t, s)
	// The reader stops before the end of what the dead process wrote.
	q.bytes = maxReadyBytes
	if err := q.fill(); err != nil || len(q.ready)+len(q.open) > 0 {
		t.Fatalf("a full queue reads: %v", err)
	}
	q.bytes = 0
	for n := range 3 {
		s.mark(intend(t, s, "a", fmt.Sprint("refused ", n)), false, chat.Position{})
	}
	write(t, s, "a", 1)
	wantFrames(t, "all", take(t, q), "1", "dead 0", "dead 1", "dead 2", "1")
	if len(q.open) > 0 {
		t.Errorf("%d are under way", len(q.open))
	}
}

// One message that is under way for ever holds its room's others for a while, no other
// room, and not the memory.
func TestOneIsNeverMarked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	q := mustQueue(t, s)
	stuck := intend(t, s, "a", "stuck")
	got := 0
	for n := 1; n <= 5*maxHeld; n++ {
		write(t, s, "a", n)
		s.mark(intend(t, s, "a", "refused"), false, chat.Position{})
		write(t, s, "b", n)
		if n%100 == 0 {
			got += len(take(t, q))
			if room := q.rooms["a"]; len(room.done) > 2*maxHeld || len(room.intended) > 2*maxHeld {
				t.Fatalf("after %d: %d and %d are held", n, len(room.done), len(room.intended))
			}
			if q.rooms["b"] != nil {
				t.Fatal("the other room is held")
			}
		}
	}
	if got < 9*maxHeld {
		t.Errorf("got %d records, want nearly all of %d", got, 10*maxHeld)
	}
	cursor, _, err := readCursor(dir)
	if err != nil || cursor != (place{0, segmentHeader}) {
		t.Errorf("got cursor %v %v: it passed what is under way", cursor, err)
	}
	s.mark(stuck, true, at(5*maxHeld+1))
	if rest := take(t, q); rest[len(rest)-1] != "stuck" || len(rest)+got != 10*maxHeld+1 {
		t.Errorf("got %d more, the last %q", len(rest), rest[len(rest)-1])
	}
	if cursor, _, _ := readCursor(dir); cursor != s.end() {
		t.Errorf("got cursor %v at the end, want %v", cursor, s.end())
	}
}

// What waits in memory is bounded; the rest is read when that is shipped.
func TestReadyIsBounded(t *testing.T) {
	s := mustOpen(t, t.TempDir(), plenty)
	q := mustQueue(t, s)
	frame := strings.Repeat("x", 16<<10)
	for n := range 2000 {
		s.mark(intend(t, s, "a", frame), true, at(n+1))
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if err := q.fill(); err != nil {
		t.Fatal(err)
	}
	if q.bytes > maxReadyBytes+len(frame)+1000 {
		t.Errorf("got %d bytes in memory", q.bytes)
	}
	if got := len(take(t, q)); got != 2000 {
		t.Errorf("got %d records, want 2000", got)
	}
}
