package chatlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// otherFileSystem is a rename between two.
func otherFileSystem(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
}

var renames = map[string]func(from, to string) error{"renamed": os.Rename, "copied": otherFileSystem}

// deadNode makes the data directory of a node that was killed with records in three
// spools, one of which has segments of two processes, and an intent without a mark, and
// returns it with the frames that clients may have seen.
func deadNode(t *testing.T) (data string, want map[string][]string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "dead")
	dir := filepath.Join(data, "chatlog")
	want = map[string][]string{}
	for process := range 2 {
		d := newDesk(t, dir, 1<<30)
		for i := range 5 {
			number := 10*process + i
			names := []string{"bucket-one", "group", "bucket-two"}
			d.show("Room00000001", number, names...)
			for _, name := range names {
				want[name] = append(want[name], string(publication("Room00000001", fmt.Sprint(number)).Frame))
			}
		}
		d.Intend(publication("Room00000001", "refused"), configured("group"))(false)
		d.Intend(publication("Room00000001", fmt.Sprint("unmarked", process)), configured("group"))
		want["group"] = append(want["group"], string(publication("Room00000001", fmt.Sprint("unmarked", process)).Frame))
		for _, s := range d.shippers { // what a killed process leaves
			if err := s.spool.sync(); err != nil {
				t.Fatal(err)
			}
		}
		d.lock.Close()
	}
	return data, want
}

// shippedBy runs a recorder over a directory until it has nothing left, and returns
// what it took where.
func shippedBy(t *testing.T, dir string, want map[string][]string) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, dir, 1<<30)
		d.run()
		time.Sleep(time.Hour)
		d.halt(t)
		for name := range want {
			got[name] = d.sink(name).taken()
		}
	})
	if left, err := Backlogs(dir); err != nil || len(left) > 0 {
		t.Errorf("got %+v, %v after an hour, want nothing left", left, err)
	}
	return got
}

// TestAdopt: what the dead node had is shipped by this one, once, in its order, with
// what nobody marked.
func TestAdopt(t *testing.T) {
	for name, rename := range renames {
		t.Run(name, func(t *testing.T) {
			data, want := deadNode(t)
			dir := filepath.Join(t.TempDir(), "alive", "chatlog")
			a := &adoption{rename: rename, step: func() {}}
			taken, err := a.run(data, dir)
			if err != nil || len(taken) != 3 {
				t.Fatalf("got %+v, %v, want three spools", taken, err)
			}
			if left, err := Backlogs(filepath.Join(data, "chatlog")); err != nil || len(left) > 0 {
				t.Errorf("got %+v, %v at the source, want nothing", left, err)
			}
			waits, err := Backlogs(dir)
			if err != nil || len(waits) != 3 || !waits[0].Adopted || waits[0].Records != 12 || waits[1].Records != 10 {
				t.Errorf("got %+v, %v, want adopted spools with 12, 10 and 10 records", waits, err)
			}
			for name, got := range shippedBy(t, dir, want) {
				if !slices.Equal(got, want[name]) {
					t.Errorf("%s: got %q, want %q", name, got, want[name])
				}
			}
		})
	}
}

// TestAdoptKilled: an adoption that ends between any two of its steps, and is done
// again, loses nothing.
func TestAdoptKilled(t *testing.T) {
	for name, rename := range renames {
		t.Run(name, func(t *testing.T) {
			for at, killed := 1, true; killed; at++ {
				data, want := deadNode(t)
				dir := filepath.Join(t.TempDir(), "alive", "chatlog")
				killed = endedAt(t, rename, at, data, dir)
				taken, err := Adopt(data, dir)
				if err != nil {
					t.Fatalf("again, after %d steps: %v", at, err)
				}
				if at == 1 && len(taken) != 3 {
					t.Fatalf("got %d spools after no step, want 3", len(taken))
				}
				if again, err := Adopt(data, dir); err != nil || len(again) > 0 {
					t.Errorf("the third time: got %+v, %v, want nothing", again, err)
				}
				for name, got := range shippedBy(t, dir, want) {
					slices.Sort(got)
					slices.Sort(want[name])
					if got := slices.Compact(got); !slices.Equal(got, want[name]) {
						t.Errorf("after %d steps: %s: got %q, want %q", at, name, got, want[name])
					}
				}
				if at > 100 {
					t.Fatal("it never ends")
				}
			}
		})
	}
}

// endedAt ends an adoption at its step n, and reports whether it has as many.
func endedAt(t *testing.T, rename func(from, to string) error, n int, data, dir string) (killed bool) {
	type end struct{}
	defer func() {
		if p := recover(); p != nil {
			if p != (end{}) {
				panic(p)
			}
			killed = true
		}
	}()
	a := &adoption{rename: rename, step: func() {
		if n--; n == 0 {
			panic(end{})
		}
	}}
	if _, err := a.run(data, dir); err != nil {
		t.Fatal(err)
	}
	return false
}

// TestAdoptWhileRunning: a recorder that runs takes up what is adopted, and ships its
// own records meanwhile.
func TestAdoptWhileRunning(t *testing.T) {
	data, want := deadNode(t)
	dir := filepath.Join(t.TempDir(), "alive", "chatlog")
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, dir, 1<<30)
		d.run()
		d.show("Room00000002", 1, "group")
		time.Sleep(time.Minute)
		d.sink("bucket-one").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
		if got := d.sink("group").taken(); len(got) != 1 {
			t.Errorf("got %d records of its own, want 1", len(got))
		}
		if _, err := Adopt(data, dir); err != nil {
			t.Fatal(err)
		}
		d.show("Room00000002", 2, "group")
		time.Sleep(adoptedInterval + 20*time.Second)
		if got := d.sink("group").taken(); len(got) != 13 {
			t.Errorf("got %d records, want 13", len(got))
		}
		if got := d.sink("bucket-two").taken(); !slices.Equal(got, want["bucket-two"]) {
			t.Errorf("got %q, want %q", got, want["bucket-two"])
		}
		said := d.halt(t)
		if !strings.Contains(said, "records of an adopted spool of the chat log stay there") {
			t.Errorf("got the log\n%swant it to say what stays", said)
		}
	})
	if left, err := Backlogs(dir); err != nil || len(left) != 1 || left[0].Records != 10 || !left[0].Adopted {
		t.Errorf("got %+v, %v, want the spool of the destination that fails", left, err)
	}
	// That node dies too: what it adopted is adopted with it.
	third := filepath.Join(t.TempDir(), "third", "chatlog")
	if taken, err := Adopt(dir, third); err != nil || len(taken) != 1 {
		t.Fatalf("got %+v, %v, want one spool", taken, err)
	}
	if got := shippedBy(t, third, want)["bucket-one"]; !slices.Equal(got, want["bucket-one"]) {
		t.Errorf("got %q, want %q", got, want["bucket-one"])
	}
}

func TestAdoptRefuses(t *testing.T) {
	data, _ := deadNode(t)
	dir := filepath.Join(t.TempDir(), "alive", "chatlog")
	for name, lock := range map[string]string{"a live spool": filepath.Join(data, "chatlog"), "a live store": filepath.Join(data, storeLock)} {
		t.Run(name, func(t *testing.T) {
			if name == "a live store" {
				if err := os.WriteFile(lock, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			held, err := lockSpools(lock)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			for _, from := range []string{data, filepath.Join(data, "chatlog")} {
				if taken, err := Adopt(from, dir); !errors.Is(err, ErrInUse) || len(taken) > 0 {
					t.Errorf("%s: got %+v, %v, want %v", from, taken, err, ErrInUse)
				}
			}
		})
	}
	for _, from := range []string{t.TempDir(), filepath.Join(data, "nowhere")} {
		if _, err := Adopt(from, dir); err == nil {
			t.Errorf("%s: got no error", from)
		}
	}
	if _, err := Adopt(data, filepath.Join(data, "chatlog")); err == nil {
		t.Error("its own spools: got no error")
	}
	if waits, err := Backlogs(filepath.Join(data, "chatlog")); err != nil || len(waits) != 3 {
		t.Errorf("got %+v, %v, want all that there was", waits, err)
	}
}

// TestAdoptInPart: a spool that cannot be moved stays, and keeps no other back; what
// cannot be read goes along and is kept, and seen.
func TestAdoptInPart(t *testing.T) {
	for name, rename := range renames {
		t.Run(name, func(t *testing.T) {
			data, want := deadNode(t)
			source := filepath.Join(data, "chatlog")
			bare := filepath.Join(source, "nobody-knows")
			empty := filepath.Join(source, "empty")
			for _, dir := range []string{bare, empty} {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(segmentPath(bare, 0), []byte("records"), 0o600); err != nil {
				t.Fatal(err)
			}
			spools, err := filepath.Glob(filepath.Join(source, testConfiguration.ID+"-*"))
			if err != nil || len(spools) != 3 {
				t.Fatalf("got %q, %v", spools, err)
			}
			if err := os.WriteFile(segmentPath(spools[0], 99)+unreadSuffix, []byte("of version 9"), 0o600); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "alive", "chatlog")
			taken, err := (&adoption{rename: rename, step: func() {}}).run(data, dir)
			if len(taken) != 3 || err == nil || !strings.Contains(err.Error(), bare+" stays where it is") {
				t.Errorf("got %d spools, %v, want three and the fourth's name", len(taken), err)
			}
			if _, err := os.Stat(segmentPath(bare, 0)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(empty); err == nil {
				t.Error("an empty spool is left behind")
			}
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, dir, 1<<30)
				d.run()
				time.Sleep(time.Hour)
				d.halt(t)
				for name := range want {
					if got := d.sink(name).taken(); len(got) != len(want[name]) {
						t.Errorf("%s: got %d records, want %d", name, len(got), len(want[name]))
					}
				}
			})
			left, err := Backlogs(dir)
			if err != nil || len(left) != 1 || left[0].Unread != 1 || left[0].UnreadBytes != 12 || left[0].Records != 0 {
				t.Errorf("got %+v, %v, want the segment that cannot be read", left, err)
			}
		})
	}
}

// TestSpoolsLocked: two recorders never have the same spools.
func TestSpoolsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chatlog")
	s := startShipping(t, dir)
	if _, err := New(Config{Dir: dir, Logger: s.recorder.logger, Metrics: prometheus.NewRegistry()}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if _, err := Adopt(dir, filepath.Join(t.TempDir(), "chatlog")); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	s.stop()
	held, err := lockSpools(dir)
	if err != nil {
		t.Fatalf("after it stopped: %v", err)
	}
	held.Close()
}
