package chatlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"parlor/internal/chat"
)

// A segment that was set aside outlives a stop at which all else is shipped.
func TestSetAsideOutlivesTheStop(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.show("a", 1, "group")
		d.run()
		d.sink("group").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		d.halt(t)
		spools, err := filepath.Glob(filepath.Join(d.dir, "*"))
		if err != nil || len(spools) != 1 {
			t.Fatal(spools, err)
		}
		future := "PARLOR\x00\x09 of the future, and long enough"
		if err := os.WriteFile(segmentPath(spools[0], 77), []byte(future), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			next := newDesk(t, d.dir, 1<<20)
			next.run()
			time.Sleep(time.Minute)
			next.halt(t)
			if text, err := os.ReadFile(segmentPath(spools[0], 77) + ".unread"); err != nil || string(text) != future {
				t.Fatalf("after a stop: got %q, %v", text, err)
			}
		}
		if err := os.Remove(filepath.Join(spools[0], destinationFile)); err != nil {
			t.Fatal(err)
		}
		newDesk(t, d.dir, 1<<20)
		if _, err := os.Stat(segmentPath(spools[0], 77) + ".unread"); err != nil {
			t.Errorf("without its destination: %v", err)
		}
	})
}

// A second process would ship, and remove, what the first is writing.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, dir, plenty)
	d.run()
	d.show("a", 1, "group")
	config := d.config
	second := &Recorder{config: config, logger: config.Logger, metrics: d.metrics, shippers: map[destination]*shipper{}}
	if err := second.load(d.sinks1); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("beside another: got %v", err)
	}
	d.halt(t)
	newDesk(t, dir, plenty)
}

func (d *desk) sinks1(to destination) sink { return d.sink(to.Name) }

// A clock that was ahead for a moment costs no record of CloudWatch Logs: neither those
// of that moment nor what came after it.
func TestClockAhead(t *testing.T) {
	a := startAWS(t)
	a.CreateLogGroup("there")
	now := time.Now()
	for i, ahead := range []time.Duration{3 * time.Hour, 30 * time.Hour, 400 * 24 * time.Hour} {
		room := fmt.Sprint("room", i)
		records := []*record{message(room, 0, now.Add(-time.Minute)), message(room, 1, now.Add(ahead)), message(room, 2, now), message(room, 3, now.Add(-time.Second))}
		rest, err := newSink(to(chat.DestinationCloudWatchLogs, "there")).put(t.Context(), records)
		if err != nil || len(rest) > 0 {
			t.Errorf("%v ahead: %d left, %v", ahead, len(rest), err)
		}
		if got := numbers(t, events(a, "there", room)); !slices.Equal(got, upTo(4)) {
			t.Errorf("%v ahead: got %v", ahead, got)
		}
	}
}

// An AWS configuration that could not be read is read again.
func TestConfigurationIsReadAgain(t *testing.T) {
	setAWS(t, startAWS(t))
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[default]\nregion = eu-west-1\nrequest_checksum_calculation = x\nmax_attempts = many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	var c clients
	if _, err := c.in(testRegion); err == nil {
		t.Fatal("a configuration that is none was taken")
	}
	if err := os.WriteFile(file, []byte("[default]\nregion = eu-west-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.in(testRegion); err != nil {
		t.Errorf("when it was mended: %v", err)
	}
}

// noDescriptors takes all descriptors until it is undone.
func noDescriptors(t *testing.T) (undo func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1, Max: before.Max}); err != nil {
		t.Skip("no limit on descriptors here:", err)
	}
	undo = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	t.Cleanup(undo)
	return undo
}

// Without a descriptor for a next segment the last one grows; nothing is refused, and
// what could not be synced is synced the next time.
func TestNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, 64<<10)
	q := mustQueue(t, s)
	write(t, s, "a", 1)
	undo := noDescriptors(t)
	for number := 2; number <= 600; number++ {
		n, err := s.intend(publication("a", fmt.Sprint(number)))
		if err != nil {
			undo()
			t.Fatalf("record %d: %v", number, err)
		}
		s.mark(n, true, at(number))
	}
	first := s.sync()
	undo()
	if first == nil {
		t.Error("the directory's names were not synced, and nothing was said")
	}
	if !s.begun {
		t.Error("the directory's names are not synced the next time")
	}
	if err := s.sync(); err != nil || s.begun {
		t.Errorf("the next time: %v", err)
	}
	write(t, s, "a", 601)
	if got := take(t, q); len(got) != 601 || got[600] != "601" {
		t.Errorf("got %d records", len(got))
	}
	if got := s.end().Segment; got != 1 {
		t.Errorf("with descriptors again: in segment %d, want 1", got)
	}
}

// Destinations that nothing came for in a while keep no goroutine, file or directory,
// also while somebody records there at just that time.
func TestIdleDestinationsRetire(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.run()
		for n := range 50 { // as a configuration's destination is changed
			d.show("a", n+1, fmt.Sprint("group", n))
		}
		d.show("a", 99, "bad")
		d.sink("bad").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		late := d.Intend(publication("a", "late"), configured("slow"))
		time.Sleep(2 * retireAfter)
		spools, err := filepath.Glob(filepath.Join(d.dir, "*"))
		if err != nil || len(spools) != 2 || len(d.shippers) != 2 {
			t.Errorf("got %d spools and %d shippers, want those of bad and slow: %v", len(spools), len(d.shippers), err)
		}
		late(true)
		time.Sleep(time.Minute)
		wantFrames(t, "marked late", d.sink("slow").taken(), "late")
		d.show("a", 100, "group7")
		time.Sleep(time.Minute)
		wantFrames(t, "used again", d.sink("group7").taken(), "8", "100")
		if got := d.count(t, "parlor_log_records_refused_total"); got != 0 {
			t.Errorf("refused %v", got)
		}
		d.halt(t)
	})
}

// Who records at the very moment at which a spool is closed finds another.
func TestRecordBesideTheRetirement(t *testing.T) {
	d := newDesk(t, t.TempDir(), plenty)
	to := destination{Configuration: testConfiguration.String(), Account: testConfiguration.Account, Region: testConfiguration.Region,
		Kind: chat.DestinationCloudWatchLogs, Name: "group"}
	const rounds, writers = 200, 4
	taken, retired := 0, 0
	for round := range rounds {
		s, err := d.shipper(to, "")
		if err != nil {
			t.Fatal(err)
		}
		taken += len(take(t, s.queue))
		var wait sync.WaitGroup
		begin := make(chan bool)
		for w := range writers {
			wait.Go(func() {
				<-begin
				for range w * 50 { // a little later each
					runtime.Gosched()
				}
				d.show("a", round*writers+w+1, "group")
			})
		}
		close(begin)
		for range round % 10 * 20 {
			runtime.Gosched()
		}
		if s.retire() {
			retired++
		}
		wait.Wait()
	}
	s, err := d.shipper(to, "")
	if err != nil {
		t.Fatal(err)
	}
	taken += len(take(t, s.queue))
	s.spool.close()
	if taken != rounds*writers || d.count(t, "parlor_log_records_refused_total") != 0 {
		t.Errorf("got %d records, want %d; %d retired", taken, rounds*writers, retired)
	}
}

// A reader keeps nothing of a file that is behind what is whole: it may be written anew.
func TestWindow(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write := func(text string, at int64) {
		t.Helper()
		if _, err := file.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	write("abcd", 0)
	var w window
	got := make([]byte, 2)
	if _, err := w.over(file, 3).ReadAt(got, 0); err != nil || string(got) != "ab" {
		t.Errorf("got %q, %v", got, err)
	}
	write("CDE", 2)
	if _, err := w.over(file, 5).ReadAt(got, 2); err != nil || string(got) != "CD" {
		t.Errorf("behind what was whole: got %q, %v", got, err)
	}
	if n, err := w.over(file, 10).ReadAt(got, 4); n != 1 || err != io.EOF || got[0] != 'E' {
		t.Errorf("at the end: got %d %q, %v", n, got[:n], err)
	}
}

// The name of a log group may be longer than that of a file.
func TestLongNames(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("/abc#", 102)
	for i, name := range []string{long + "1", long + "2"} {
		d := &directory{root: root, to: to(chat.DestinationCloudWatchLogs, name)}
		rest, err := d.put(t.Context(), messages("room", 1, time.Now()))
		if err != nil || len(rest) > 0 {
			t.Fatalf("%d left, %v", len(rest), err)
		}
		if groups, err := filepath.Glob(filepath.Join(root, "cloudwatchlogs", "*", "*", "*")); err != nil || len(groups) != i+1 {
			t.Errorf("got %q, %v", groups, err)
		}
	}
}

// A spool that is removed when the process is killed is none that nobody can ship.
func TestKilledWhileRemoving(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, dir, plenty)
	d.show("a", 1, "group")
	var s *shipper
	for _, s = range d.shippers {
	}
	take(t, s.queue)
	s.spool.close()
	names, err := removal(s.spool.dir)
	if err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		left, err := os.ReadDir(s.spool.dir)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := readDestination(s.spool.dir); len(left) > 0 && (err != nil || to != s.to) {
			t.Errorf("%v is left without its destination: %v", left, err)
		}
		killed := copyDir(t, s.spool.dir)
		next := mustOpen(t, killed, plenty)
		wantFrames(t, "shipped again", take(t, mustQueue(t, next)))
		next.close()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	d.lock.Close()
}

// At a stop a destination that takes a part at a time is given all, one that refuses for a
// moment is tried again, and of one that is down is said by name how much is left.
func TestStopTriesAgain(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.config.ShipGrace = 5 * time.Second
		d.run()
		names := []string{"bucket", "parts", "moment", "down"}
		d.sink("parts").failing(func(r []*record) ([]*record, error) {
			if len(r) > 1 {
				return r[1:], errors.New("throttled")
			}
			return nil, nil
		})
		tries := 0
		d.sink("moment").failing(func(r []*record) ([]*record, error) {
			if tries++; tries < 2 {
				return r, errors.New("not now")
			}
			return nil, nil
		})
		d.sink("down").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		for n := range 7 {
			d.show("a", n+1, names...)
		}
		d.Intend(publication("a", "refused"), configured("down"))(false)
		synctest.Wait()
		begun := time.Now()
		said := d.halt(t)
		if took := time.Since(begun); took > d.config.ShipGrace+time.Second {
			t.Errorf("the stop took %v", took)
		}
		for _, name := range names[:3] {
			wantFrames(t, name, d.sink(name).taken(), "1", "2", "3", "4", "5", "6", "7")
		}
		if got := strings.Count(said, "stay in the spool"); got != 1 || !strings.Contains(said, "destination=cloudWatchLogs:down records=7 ") {
			t.Errorf("said of %d: %s", got, said)
		}
	})
}

// What is left is counted over segments, and as far as there is time for it.
func TestLeft(t *testing.T) {
	s := mustOpen(t, t.TempDir(), plenty)
	number := 0
	for range maxReady + 500 {
		number++
		write(t, s, "a", number)
	}
	s.mark(intend(t, s, "a", "refused"), false, chat.Position{})
	intend(t, s, "b", "unmarked")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	q := mustQueue(t, s)
	if err := q.fill(); err != nil {
		t.Fatal(err)
	}
	if n, all := q.left(time.Now().Add(time.Minute)); n != number+1 || !all {
		t.Errorf("got %d %t, want %d", n, all, number+1)
	}
	if n, all := q.left(time.Now()); n < maxReady || n > number || all {
		t.Errorf("without time: got %d %t", n, all)
	}
}
