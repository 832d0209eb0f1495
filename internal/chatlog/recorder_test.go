package chatlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parlor/internal/chat"
)

// memorySink is a destination in memory.
type memorySink struct {
	mu     sync.Mutex
	frames []string
	puts   []time.Time // tries
	fails  func(records []*record) (rest []*record, err error)
}

func (m *memorySink) put(ctx context.Context, records []*record) (rest []*record, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts = append(m.puts, time.Now())
	if m.fails != nil {
		rest, err = m.fails(records)
	}
	for _, r := range records {
		if !slices.Contains(rest, r) {
			m.frames = append(m.frames, string(r.frame))
		}
	}
	return rest, err
}

func (m *memorySink) failing(f func(records []*record) (rest []*record, err error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = f
}

// taken returns what came since it was last called.
func (m *memorySink) taken() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	frames := m.frames
	m.frames = nil
	return frames
}

func (m *memorySink) tries() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.puts)
}

// text is what a log said.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// desk is a recorder over destinations in memory, by their names.
type desk struct {
	*Recorder
	dir      string
	said     text
	registry *prometheus.Registry
	sinks    sync.Map // of *memorySink
	stop     context.CancelFunc
	done     chan error
}

func (d *desk) sink(name string) *memorySink {
	s, _ := d.sinks.LoadOrStore(name, &memorySink{})
	return s.(*memorySink)
}

func newDesk(t testing.TB, dir string, limit int64) *desk {
	t.Helper()
	d := &desk{dir: dir, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	c := Config{Dir: dir, Limit: limit, Interval: 10 * time.Second, S3Interval: 5 * time.Minute, Logger: slog.New(slog.NewTextHandler(&d.said, nil)), Metrics: d.registry}
	d.Recorder = &Recorder{config: c, logger: c.Logger, metrics: newMetrics(c.Metrics), shippers: map[destination]*shipper{}}
	if err := d.load(func(to destination) sink { return d.sink(to.Name) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.lock.Close() })
	return d
}

func (d *desk) run() {
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	go func() { d.done <- d.Run(ctx) }()
}

// halt stops the recorder and returns what it said.
func (d *desk) halt(t testing.TB) string {
	t.Helper()
	d.stop()
	if err := <-d.done; err != nil {
		t.Error(err)
	}
	return d.said.String()
}

func configured(names ...string) (all []*chat.LoggingConfiguration) {
	for _, name := range names {
		arn := testConfiguration
		kind := chat.DestinationCloudWatchLogs
		if strings.HasPrefix(name, "bucket") {
			kind = chat.DestinationS3
		}
		all = append(all, &chat.LoggingConfiguration{ARN: arn, Destination: chat.Destination{Kind: kind, Name: name}})
	}
	return all
}

func (d *desk) show(room string, number int, names ...string) {
	pub := publication(room, fmt.Sprint(number))
	mark := d.Intend(pub, configured(names...))
	pub.Position = at(number)
	mark(true)
}

// count is the value of a counter.
func (d *desk) count(t testing.TB, name string) (total float64) {
	t.Helper()
	all, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == name {
			for _, m := range family.Metric {
				total += m.Counter.GetValue()
			}
		}
	}
	return total
}

func virtually(t *testing.T, f func(t *testing.T, d *desk)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, newDesk(t, dir, 1<<20)) })
}

func TestIntervals(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.run()
		begun := time.Now()
		d.show("a", 1, "group", "bucket")
		time.Sleep(5 * time.Second)
		d.show("a", 2, "group", "bucket")
		time.Sleep(10 * time.Minute)
		for name, want := range map[string]time.Duration{"group": 10 * time.Second, "bucket": 5 * time.Minute} {
			wantFrames(t, name, d.sink(name).taken(), "1", "2")
			tries := d.sink(name).tries()
			if len(tries) != 1 || tries[0].Sub(begun) < want || tries[0].Sub(begun) > want+2*pollInterval {
				t.Errorf("%s: got tries %v, want one after %v", name, tries, want)
			}
		}
		if said := d.halt(t); said != "" {
			t.Errorf("said %s", said)
		}
		if got := d.count(t, "parlor_log_records_total"); got != 4 {
			t.Errorf("counted %v, want 4", got)
		}
		if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
			t.Errorf("empty spools stay: %v %v", left, err)
		}
	})
}

func TestManyRecordsDoNotWait(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, dir, plenty)
		d.run()
		for n := range maxReady {
			d.show("a", n+1, "bucket")
		}
		time.Sleep(3 * pollInterval)
		if got := len(d.sink("bucket").taken()); got < maxReady {
			t.Errorf("got %d records at once, want %d", got, maxReady)
		}
		d.halt(t)
	})
}

// A destination that fails is tried again after ever longer pauses, and delays no other.
func TestPoisonedDestination(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		bad := d.sink("bad")
		bad.failing(func(records []*record) ([]*record, error) { return records, errors.New("access denied") })
		d.run()
		for n := 1; n <= 60; n++ {
			d.show("a", n, "bad", "good")
			time.Sleep(time.Minute)
			if got := d.sink("good").taken(); len(got) != 1 {
				t.Fatalf("minute %d: the good destination got %q", n, got)
			}
		}
		tries := bad.tries()
		for i := range tries[1:] {
			pause, longest := tries[i+1].Sub(tries[i]), min(firstPause<<i, longestPause)
			if pause < longest/2 || pause > longest+time.Second {
				t.Errorf("pause %d: got %v, want between %v and %v", i, pause, longest/2, longest)
			}
		}
		if len(tries) < 12 || len(tries) > 40 {
			t.Errorf("got %d tries in an hour", len(tries))
		}
		if got := d.count(t, "parlor_log_destination_errors_total"); got != float64(len(tries)) {
			t.Errorf("counted %v, want %d", got, len(tries))
		}
		bad.failing(nil)
		time.Sleep(longestPause + time.Minute)
		if got := bad.taken(); len(got) != 60 || got[0] != "1" || got[59] != "60" {
			t.Errorf("after the outage: got %q", got)
		}
		if said := d.halt(t); !strings.Contains(said, "takes no records") || strings.Count(said, "\n") > len(tries) {
			t.Errorf("said %s", said)
		}
	})
}

// What a destination took of a batch is not put again, and what is made of the rest is
// not taken for an outage.
func TestPartialSuccess(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.sink("group").failing(func(records []*record) ([]*record, error) {
			if len(records) > 2 {
				return records[2:], errors.New("throttled")
			}
			return nil, nil
		})
		d.run()
		for n := 1; n <= 9; n++ {
			d.show("a", n, "group")
		}
		time.Sleep(20 * time.Second)
		wantFrames(t, "all", d.sink("group").taken(), "1", "2", "3", "4", "5", "6", "7", "8", "9")
		d.sink("group").failing(func(records []*record) ([]*record, error) {
			return nil, &unwanted{count: 1, err: errors.New("too old")}
		})
		d.show("a", 10, "group")
		d.show("a", 11, "group")
		time.Sleep(20 * time.Second)
		if shipped, unwanted := d.count(t, "parlor_log_records_total"), d.count(t, "parlor_log_records_unwanted_total"); shipped != 10 || unwanted != 1 {
			t.Errorf("counted %v and %v, want 10 and 1", shipped, unwanted)
		}
		d.halt(t)
		if left, _ := os.ReadDir(d.dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// A stop ships what is left, from all destinations at once, says what stays, and the
// next process ships that.
func TestStop(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		names := []string{"group"}
		for i := range 8 {
			name := fmt.Sprint("hangs", i)
			names = append(names, name)
			d.sinks.Store(name, &memorySink{})
		}
		hang := func(ctx context.Context) { <-ctx.Done() }
		d.Recorder.sinks = func(to destination) sink {
			if strings.HasPrefix(to.Name, "hangs") {
				return hanging(hang)
			}
			return d.sink(to.Name)
		}
		d.run()
		for n := range 3 {
			d.show("a", n+1, names...)
		}
		synctest.Wait()
		begun := time.Now()
		said := d.halt(t)
		wantFrames(t, "at the stop", d.sink("group").taken(), "1", "2", "3")
		if took := time.Since(begun); took > defaultShipGrace+time.Second {
			t.Errorf("the stop took %v", took)
		}
		if got := strings.Count(said, "stay in the spool"); got != 8 {
			t.Errorf("said of %d spools, want 8: %s", got, said)
		}
		before := d.count(t, "parlor_log_records_refused_total")
		d.show("a", 4, "group", "new") // after the end: refused and counted
		if got := d.count(t, "parlor_log_records_refused_total") - before; got != 2 {
			t.Errorf("after the end: counted %v, want 2", got)
		}
		next := newDesk(t, d.dir, 1<<20)
		next.run()
		time.Sleep(time.Minute)
		next.halt(t)
		wantFrames(t, "the next process", next.sink("hangs3").taken(), "1", "2", "3")
		wantFrames(t, "the next process", next.sink("group").taken())
		if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v %v", left, err)
		}
	})
}

type hanging func(ctx context.Context)

func (h hanging) put(ctx context.Context, records []*record) ([]*record, error) {
	h(ctx)
	return records, ctx.Err()
}

// At the limit of its spool a destination's records are refused, which is counted and
// said once a minute; others go on, and it does too, when there is room.
func TestSpoolLimit(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.config.Limit = 64 << 10
		bad := d.sink("bad")
		bad.failing(func(records []*record) ([]*record, error) { return records, errors.New("gone") })
		d.run()
		const count = 5000
		for n := range count {
			d.show("a", n+1, "bad", "good")
			if n%100 == 0 {
				time.Sleep(11 * time.Second)
			}
		}
		refused := int(d.count(t, "parlor_log_records_refused_total"))
		if refused == 0 || refused > count-500 {
			t.Errorf("refused %d of %d", refused, count)
		}
		bad.failing(nil)
		time.Sleep(longestPause + time.Minute)
		if got := len(bad.taken()); got != count-refused {
			t.Errorf("got %d records after the outage, want %d", got, count-refused)
		}
		d.show("a", count+1, "bad")
		time.Sleep(time.Minute)
		wantFrames(t, "when there is room", bad.taken(), fmt.Sprint(count+1))
		time.Sleep(time.Second)
		if got := len(d.sink("good").taken()); got != count {
			t.Errorf("the other destination got %d, want %d", got, count)
		}
		said := d.halt(t)
		if got := strings.Count(said, "refused by the chat log's spool"); got < 5 || got > 12 { // about 9 minutes
			t.Errorf("said %d times", got)
		}
		if strings.Contains(said, "refused by the chat log's spool") && strings.Contains(said, `"1"`) {
			t.Error("content in the log")
		}
	})
}

// A configuration whose destination changes while something waits has two spools.
func TestChangedDestination(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.run()
		d.show("a", 1, "old")
		d.show("a", 2, "new")
		time.Sleep(time.Minute)
		wantFrames(t, "old", d.sink("old").taken(), "1")
		wantFrames(t, "new", d.sink("new").taken(), "2")
		d.halt(t)
	})
}

// Spools that cannot be opened are left as they are and said; the others ship.
func TestStrangeSpools(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.show("a", 1, "group")
		d.show("a", 2, "other")
		write := func(name, text string) {
			t.Helper()
			if err := os.MkdirAll(filepath.Dir(filepath.Join(d.dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d.run()
		d.sink("group").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		d.sink("other").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		d.halt(t)
		arn := "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/AbCdEfGhIjKl"
		write("killed/cursor", "{}")
		write("nameless/00000000000000000000.seg", "PARLOR\x00\x01 of whom?")
		write("garbage/destination.json", "{")
		write("noarn/destination.json", `{"loggingConfiguration":"x"}`)
		write("twice/destination.json", `{"loggingConfiguration":"`+arn+`","account":"123456789012","region":"us-west-2","kind":"`+string(chat.DestinationCloudWatchLogs)+`","name":"group"}`)
		write("file", "")
		spools, err := filepath.Glob(filepath.Join(d.dir, "AbCdEfGhIjKl-*"))
		if err != nil || len(spools) != 2 {
			t.Fatal(spools, err)
		}
		for _, dir := range spools {
			if err := os.WriteFile(filepath.Join(dir, cursorFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		next := newDesk(t, d.dir, 1<<20)
		next.run()
		time.Sleep(time.Minute)
		said := next.halt(t)
		wantFrames(t, "group", next.sink("group").taken(), "1")
		wantFrames(t, "other", next.sink("other").taken(), "2")
		if got := strings.Count(said, "is left as it is"); got != 4 {
			t.Errorf("said of %d, want 4: %s", got, said)
		}
		if got := strings.Count(said, "from its beginning"); got != 2 {
			t.Errorf("said of %d cursors, want 2: %s", got, said)
		}
		for name, want := range map[string]bool{"killed": false, "nameless/00000000000000000000.seg": true, "garbage": true, "noarn": true, "file": true} {
			if _, err := os.Stat(filepath.Join(d.dir, name)); (err == nil) != want {
				t.Errorf("%s: got %v, want it there: %t", name, err, want)
			}
		}
	})
}

// Many record at once, to new destinations too, while others stop.
func TestRecordFromEverywhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	d := newDesk(t, t.TempDir(), plenty)
	d.config.Interval = time.Millisecond
	d.run()
	const writers, each = 16, 200
	var wait sync.WaitGroup
	var mu sync.Mutex
	numbers := map[string]int{}
	for w := range writers {
		wait.Go(func() {
			for n := range each {
				room := fmt.Sprint("room", n%3)
				pub := publication(room, fmt.Sprintf("%d-%d", w, n))
				mark := d.Intend(pub, configured("one", fmt.Sprint("two", n%5)))
				mu.Lock()
				numbers[room]++
				pub.Position = at(numbers[room])
				mu.Unlock()
				mark(true)
			}
		})
	}
	wait.Wait()
	d.halt(t)
	if got := len(d.sink("one").taken()); got != writers*each {
		t.Errorf("got %d records, want %d", got, writers*each)
	}
	if refused := d.count(t, "parlor_log_records_refused_total"); refused != 0 {
		t.Errorf("refused %v", refused)
	}
}

// Who records while the recorder stops, and removes what is empty, is refused or heard.
func TestRecordBesideTheStop(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		d := newDesk(t, dir, plenty)
		d.config.Interval = time.Millisecond
		d.run()
		var stop atomic.Bool
		var writers sync.WaitGroup
		var count atomic.Int64
		for range 2 {
			writers.Go(func() {
				for !stop.Load() {
					mark := d.Intend(publication("a", "x"), configured("one", fmt.Sprint("two", count.Add(1)%7)))
					mark(true)
				}
			})
		}
		time.Sleep(3 * time.Millisecond)
		d.halt(t)
		stop.Store(true)
		writers.Wait()
		shipped := func(d *desk) (n int) {
			d.sinks.Range(func(_, s any) bool { n += len(s.(*memorySink).taken()); return true })
			return n
		}
		got := shipped(d)
		next := newDesk(t, dir, plenty)
		next.run()
		next.halt(t)
		got += shipped(next)
		want := 2*int(count.Load()) - int(d.count(t, "parlor_log_records_refused_total"))
		if got < want {
			t.Fatalf("shipped %d, want %d", got, want)
		}
	}
}

// Backlogs counts what waits, beside a server that writes.
func TestBacklogs(t *testing.T) {
	dir := t.TempDir()
	all, err := Backlogs(filepath.Join(dir, "none"))
	if err != nil || len(all) > 0 {
		t.Errorf("no directory: got %v %v", all, err)
	}
	d := newDesk(t, dir, plenty)
	d.show("a", 1, "one", "two")
	d.show("b", 2, "one")
	d.Intend(publication("a", "refused"), configured("one"))(false)
	d.show("a", 3, "one")
	for _, s := range d.shippers {
		if err := s.spool.flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, records ...int) {
		t.Helper()
		all, err := Backlogs(dir)
		var got []int
		for _, b := range all {
			got = append(got, b.Records)
			if b.Records > 0 && (b.Bytes == 0 || b.Oldest.IsZero() || b.Configuration != testConfiguration.String()) {
				t.Errorf("%s: got %+v", what, b)
			}
		}
		if err != nil || !slices.Equal(got, records) {
			t.Errorf("%s: got %v %v, want %v", what, got, err, records)
		}
	}
	want("at first", 3, 1)
	for to, s := range d.shippers {
		if to.Name == "one" {
			take(t, s.queue)
		}
	}
	want("one is shipped", 1, 0)
	late := d.Intend(publication("a", "late"), configured("one"))
	d.show("a", 4, "one")
	late(false)
	for to, s := range d.shippers {
		if to.Name == "one" {
			s.spool.flush()
			take(t, s.queue)
		}
		os.WriteFile(filepath.Join(s.spool.dir, cursorFile), []byte("{"), 0o600)
	}
	want("with damaged cursors all counts", 4, 1)
	for _, s := range d.shippers {
		s.spool.close()
	}
}

func BenchmarkIntend(b *testing.B) {
	for _, names := range [][]string{{"one"}, {"one", "two", "three"}} {
		b.Run(fmt.Sprint(len(names)), func(b *testing.B) {
			d := newDesk(b, b.TempDir(), 1<<40)
			configurations := configured(names...)
			pub := publication("AbCdEfGhIjKl", strings.Repeat("x", 320))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				mark := d.Intend(pub, configurations)
				pub.Position = at(n)
				mark(true)
			}
			b.StopTimer()
			size := int64(0)
			for _, s := range d.shippers {
				size += s.spool.bytes()
				s.spool.close()
			}
			b.ReportMetric(float64(size)/float64(n), "spool-B/op")
		})
	}
}
