package chatlog

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limitFiles lets files become no larger; what is written over that is written in part.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Skip("no limit on files here:", err)
	}
	lift = func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }
	t.Cleanup(lift)
	return lift
}

// What was written in part hides nothing, neither from this process nor from the next.
func TestShortWrites(t *testing.T) {
	const fits = 10_000
	for size := uint64(fits); size < fits+60; size += 7 { // another byte of an entry is the last
		dir := t.TempDir()
		s := mustOpen(t, dir, plenty)
		q := mustQueue(t, s)
		lift := limitFiles(t, size)
		number, refused := 0, 0
		for refused < 50 {
			n, err := s.intend(publication("a", fmt.Sprint(number+1)))
			if err != nil {
				refused++
				continue
			}
			number++
			s.mark(n, true, at(number))
		}
		if got := len(segmentFiles(t, dir)); got != 1 {
			t.Fatalf("%d refusals made %d segments", refused, got)
		}
		flushed := s.flush()
		lift()
		if flushed != nil && !errors.Is(flushed, syscall.EFBIG) {
			t.Fatal(flushed)
		}
		killed := copyDir(t, dir)
		for range 3 {
			number++
			write(t, s, "a", number)
		}
		if got := take(t, q); len(got) != number || got[number-1] != fmt.Sprint(number) || q.damaged > 0 {
			t.Fatalf("limit %d: got %d records, want %d; %d damaged", size, len(got), number, q.damaged)
		}
		next := mustOpen(t, killed, plenty)
		if got := take(t, mustQueue(t, next)); len(got) != number-3 {
			t.Fatalf("limit %d: the next process got %d records, want %d", size, len(got), number-3)
		}
		next.close()
		s.close()
	}
}

// On a full disk records are refused, the chat goes on, and records are taken again
// when there is space.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k,nr_inodes=100"); err != nil {
		t.Skip("needs a disk of its own:", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, 0) })
	d := newDesk(t, filepath.Join(disk, "chatlog"), plenty)
	d.config.Interval = time.Millisecond
	d.sink("bad").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run()
	number := 0
	for range 10_000 {
		number++
		d.show("a", number, "bad")
	}
	d.show("a", 1, "new") // whose spool cannot even be made
	refused := d.count(t, "parlor_log_records_refused_total")
	if refused < 1000 {
		t.Fatalf("refused %v", refused)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	number++
	d.show("a", number, "bad")
	d.show("a", 2, "new")
	if got := d.count(t, "parlor_log_records_refused_total"); got != refused {
		t.Errorf("with space again: %v more refused", got-refused)
	}
	d.sink("bad").failing(nil)
	said := d.halt(t)
	got := d.sink("bad").taken()
	if want := number - int(refused) + 1; len(got) != want || got[len(got)-1] != fmt.Sprint(number) {
		t.Errorf("got %d records, want %d", len(got), want)
	}
	wantFrames(t, "a new destination", d.sink("new").taken(), "2")
	if !strings.Contains(said, "no space left on device") {
		t.Errorf("said %s", said)
	}
}

// FuzzSpool reads anything as segments and a cursor.
func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	s := mustOpen(f, dir, plenty)
	write(f, s, "a", 1)
	write(f, s, "b", 2)
	intend(f, s, "a", "3")
	s.close()
	whole, err := os.ReadFile(segmentFiles(f, dir)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, whole, []byte(`{"segment":0,"offset":16}`))
	f.Add(whole[:len(whole)-3], append(whole[:40:40], whole...), []byte(`{"segment":1,"offset":60}`))
	f.Add([]byte{}, make([]byte, 200), []byte("{"))
	f.Fuzz(func(t *testing.T, first, second, cursor []byte) {
		dir := t.TempDir()
		for name, text := range map[string][]byte{segmentPath(dir, 0): first, segmentPath(dir, 3): second, filepath.Join(dir, cursorFile): cursor} {
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := mustOpen(t, dir, plenty)
		n := intend(t, s, "a", "later")
		s.mark(n, true, at(9))
		got := take(t, mustQueue(t, s))
		if len(got) == 0 || got[len(got)-1] != "later" {
			t.Errorf("got %q, want what came later", got)
		}
		if len(got) > 1+(len(first)+len(second))/10 {
			t.Errorf("got %d records out of %d bytes", len(got), len(first)+len(second))
		}
	})
}
