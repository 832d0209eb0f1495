package chatlog

import (
	"fmt"
	"slices"
	"testing"
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
