package chatlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

var testConfiguration = chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindLoggingConfiguration, ID: "AbCdEfGhIjKl"}

func publication(room, frame string) *chat.Publication {
	return &chat.Publication{Room: chat.ARN{Scope: testConfiguration.Scope, Kind: chat.KindRoom, ID: room}, Frame: []byte(frame), Accepted: time.Unix(1_700_000_000, 0)}
}

func at(number int) chat.Position { return chat.Position{Epoch: 1, Number: uint64(number)} }

func mustOpen(t testing.TB, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func mustQueue(t testing.TB, s *spool) *queue {
	t.Helper()
	q := newQueue(s)
	t.Cleanup(q.in.close)
	return q
}

func intend(t testing.TB, s *spool, room, frame string) uint64 {
	t.Helper()
	n, err := s.intend(publication(room, frame))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// write writes a record that was published at a number.
func write(t testing.TB, s *spool, room string, number int) {
	t.Helper()
	s.mark(intend(t, s, room, fmt.Sprint(number)), true, at(number))
}

// take reads what is ready, and ships it.
func take(t testing.TB, q *queue) (frames []string) {
	t.Helper()
	for {
		if err := q.spool.flush(); err != nil {
			t.Fatal(err)
		}
		if err := q.fill(); err != nil && !strings.Contains(err.Error(), "another version") {
			t.Fatal(err)
		}
		if len(q.ready) == 0 {
			return frames
		}
		for _, r := range q.ready {
			frames = append(frames, string(r.frame))
		}
		if err := q.shipped(nil); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFrames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// copyDir is a spool as a crash leaves it.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const plenty = 1 << 30

// A spool that was removed in part has a cursor and no segments: what comes next is
// behind the cursor all the same.
func TestCursorOfRemovedSegments(t *testing.T) {
	dir := t.TempDir()
	if err := writeCursor(dir, place{Segment: 7, Offset: 4000}); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, plenty)
	write(t, s, "a", 1)
	wantFrames(t, "after a removal in part", take(t, mustQueue(t, s)), "1")
}

func TestDamagedCursor(t *testing.T) {
	for _, cursor := range []string{"", "x", "{", `{"segment":"a"}`, `{"segment":-1}`, `{"segment":0,"offset":-5}`, `{"segment":18446744073709551615}`, `{"segment":0,"offset":17}`, "[]", "null"} {
		dir := t.TempDir()
		s := mustOpen(t, dir, plenty)
		write(t, s, "a", 1)
		write(t, s, "a", 2)
		s.close()
		if err := os.WriteFile(filepath.Join(dir, cursorFile), []byte(cursor), 0o600); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, plenty)
		write(t, s, "a", 3)
		got := take(t, mustQueue(t, s))
		want := []string{"1", "2", "3"}
		if strings.Contains(cursor, "17") { // a place in the middle of an entry
			want = want[1:]
		}
		wantFrames(t, cursor, got, want...)
	}
}

// A segment of another version stays, whatever it holds.
func TestUnknownVersionIsKept(t *testing.T) {
	dir := t.TempDir()
	future := []byte("PARLOR\x00\x09 of the future, and long enough")
	if err := os.WriteFile(segmentPath(dir, 0), future, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, plenty)
	write(t, s, "a", 1)
	q := mustQueue(t, s)
	wantFrames(t, "beside another version", take(t, q), "1")
	s.close()
	s = mustOpen(t, dir, plenty)
	write(t, s, "a", 2)
	wantFrames(t, "the next process", take(t, mustQueue(t, s)), "2")
	kept, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range kept {
		if text, _ := os.ReadFile(name); bytes.Equal(text, future) {
			return
		}
	}
	t.Errorf("the segment is gone: %q", kept)
}

// A byte that changes on disk costs the entry that it is in.
func TestFlippedBits(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	for n := 1; n <= 4; n++ {
		write(t, s, "a", n)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(segmentFiles(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := int(segmentHeader); i < len(whole); i++ {
		for _, bit := range []byte{1, 0x80} {
			dir := t.TempDir()
			damaged := slices.Clone(whole)
			damaged[i] ^= bit
			if err := os.WriteFile(segmentPath(dir, 0), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			next := mustOpen(t, dir, plenty)
			write(t, next, "a", 5)
			got := take(t, mustQueue(t, next))
			next.close()
			// An intent that was damaged is lost; one whose mark was is shipped.
			if missing := 5 - len(got); missing > 1 || !slices.IsSorted(got) || got[len(got)-1] != "5" {
				t.Fatalf("byte %d of %d: got %q", i, len(whole), got)
			}
		}
	}
}

// The same in the segment that is being written: what comes later is not lost.
func TestFlippedBitsInTheLiveSegment(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	q := mustQueue(t, s)
	for n := 1; n <= 4; n++ {
		write(t, s, "a", n)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(segmentFiles(t, dir)[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{0xff}, segmentHeader+9); err != nil { // of the first intent
		t.Fatal(err)
	}
	wantFrames(t, "beside the damage", take(t, q), "2", "3", "4")
	write(t, s, "a", 5)
	wantFrames(t, "after it", take(t, q), "5")
	end := s.end()
	if _, err := file.WriteAt([]byte{0xff}, end.Offset); err != nil { // the next head, before it is written: appended behind it
		t.Fatal(err)
	}
	write(t, s, "a", 6)
	write(t, s, "a", 7)
	if got := take(t, q); got[len(got)-1] != "7" {
		t.Errorf("behind damage at the end: got %q, want 7 last", got)
	}
	write(t, s, "a", 8)
	wantFrames(t, "at last", take(t, q), "8")
}

// At the limit records are refused until others are shipped, however small it is.
func TestLimit(t *testing.T) {
	for _, limit := range []int64{1 << 10, 10 << 10, 64 << 10} {
		s := mustOpen(t, t.TempDir(), limit)
		q := mustQueue(t, s)
		number, refused := 0, 0
		for range 5 {
			first := number + 1
			for {
				n, err := s.intend(publication("a", fmt.Sprint(number+1)))
				if errors.Is(err, errFull) {
					refused++
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				number++
				s.mark(n, true, at(number))
				if number > 10_000 {
					t.Fatal("there is no limit")
				}
			}
			var want []string
			for n := first; n <= number; n++ {
				want = append(want, fmt.Sprint(n))
			}
			if len(want) < 4 {
				t.Fatalf("limit %d: %d records", limit, len(want))
			}
			wantFrames(t, fmt.Sprintf("limit %d", limit), take(t, q), want...)
		}
		if refused != 5 {
			t.Errorf("limit %d: got %d refusals, want 5", limit, refused)
		}
	}
}

// A frame is never so large that its entry could not be read again.
func TestLargeEntries(t *testing.T) {
	s := mustOpen(t, t.TempDir(), plenty)
	q := mustQueue(t, s)
	large := strings.Repeat("x", maxEntry-100)
	s.mark(intend(t, s, "a", large), true, at(1))
	if _, err := s.intend(publication("a", strings.Repeat("x", maxEntry))); err == nil {
		t.Error("an entry over the limit was taken")
	}
	write(t, s, "a", 2)
	if got := take(t, q); len(got) != 2 || got[0] != large || got[1] != "2" {
		t.Errorf("got %d records", len(got))
	}
}

// What is read from a spool cut off anywhere is what was written first, and a new
// process goes on behind it.
func TestTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	type written struct {
		end    int64
		frames []string // at the destination once all until end is there
	}
	steps := []written{{}}
	note := func(frames ...string) {
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, written{s.end().Offset, frames})
	}
	one := intend(t, s, "a", "1")
	note("1")
	two := intend(t, s, "b", "2")
	note("1", "2")
	s.mark(one, true, at(1))
	note("1", "2")
	s.mark(two, false, chat.Position{})
	note("1")
	intend(t, s, "a", "3 \x00\xff\n")
	note("1", "3 \x00\xff\n")
	whole, err := os.ReadFile(segmentFiles(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(whole); n++ {
		dir := t.TempDir()
		if err := os.WriteFile(segmentPath(dir, 0), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, step := range steps {
			if step.end <= int64(n) {
				want = step.frames
			}
		}
		next := mustOpen(t, dir, plenty)
		write(t, next, "a", 4)
		got := take(t, mustQueue(t, next))
		slices.Sort(got) // those without a number have no order
		wantFrames(t, fmt.Sprintf("cut at %d of %d", n, len(whole)), got, append(slices.Clone(want), "4")...)
		if text, err := os.ReadFile(segmentPath(dir, 0)); err == nil && !bytes.Equal(text, whole[:n]) {
			t.Fatalf("cut at %d: a new process wrote to the old segment", n)
		}
		next.close()
	}
}

// Segments end at their size, and go when what is in them and before is shipped.
func TestRollover(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	q := mustQueue(t, s)
	padding := strings.Repeat("x", 100<<10)
	write(t, s, "a", 1)
	held := intend(t, s, "b", "held") // keeps the first segment
	for range 200 {
		s.mark(intend(t, s, "a", padding), true, at(2))
	}
	if got := len(take(t, q)); got != 201 {
		t.Errorf("got %d records, want 201", got)
	}
	if got := len(segmentFiles(t, dir)); got != 3 {
		t.Errorf("with an intent in the first: got %d segments, want 3", got)
	}
	s.mark(held, true, at(1))
	wantFrames(t, "held", take(t, q), "held")
	if got := len(segmentFiles(t, dir)); got != 1 {
		t.Errorf("when all is shipped: got %d segments, want 1", got)
	}
	segments, err := segmentsOf(dir)
	if err != nil || segments[0].size != s.bytes() {
		t.Errorf("got size %d %v, want %d", s.bytes(), err, segments[0].size)
	}
}

// A reader beside the writer sees whole entries, in order.
func TestReaderBesideWriter(t *testing.T) {
	s := mustOpen(t, t.TempDir(), plenty)
	const count = 20_000
	var writers sync.WaitGroup
	writers.Go(func() {
		for n := 1; n <= count; n++ {
			i, err := s.intend(publication("a", fmt.Sprintf("%08d%s", n, strings.Repeat("x", n%2000))))
			if err != nil {
				t.Error(err)
				return
			}
			s.mark(i, true, at(n))
		}
	})
	q := mustQueue(t, s)
	for next := 1; next <= count; {
		got := take(t, q)
		for _, frame := range got {
			if want := fmt.Sprintf("%08d", next); frame[:8] != want {
				t.Fatalf("got %s, want %s", frame[:8], want)
			}
			next++
		}
		if q.damaged > 0 {
			t.Fatal("a torn entry")
		}
	}
	writers.Wait()
	if !q.empty() {
		t.Error("not empty at the end")
	}
}

func TestReadersOutliveRemovedSegments(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, plenty)
	for segment := range 5 {
		write(t, s, "a", segment+1)
		s.close()
		s = mustOpen(t, dir, plenty)
	}
	q := mustQueue(t, s)
	for _, n := range []uint64{0, 1, 3} {
		if err := os.Remove(segmentPath(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	wantFrames(t, "what is left", take(t, q), "3", "5")
	in := reader{dir: dir}
	if _, _, err := in.next(place{}); err != io.EOF {
		t.Errorf("nothing to read: got %v, want io.EOF", err)
	}
}
