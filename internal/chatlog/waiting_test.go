package chatlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// gauge is the value of a gauge of testConfiguration, and whether there is one.
func (d *desk) gauge(t testing.TB, name string) (value float64, found bool) {
	t.Helper()
	all, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() != name {
			continue
		}
		if len(family.Metric) != 1 || family.Metric[0].Label[0].GetValue() != testConfiguration.String() {
			t.Fatalf("%s: got %v, want one of %s", name, family.Metric, testConfiguration)
		}
		return family.Metric[0].Gauge.GetValue(), true
	}
	return 0, false
}

// samples is how many values a metric has.
func (d *desk) samples(t testing.TB, name string) (count int) {
	t.Helper()
	all, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == name {
			count += len(family.Metric)
		}
	}
	return count
}

// What waits is measured: how much there is of it, and how old the first of it is, over all
// destinations that a configuration had.
func TestWaiting(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		if _, found := d.gauge(t, "parlor_log_backlog_bytes"); found {
			t.Error("something waits before anything was recorded")
		}
		defer func() {
			if got := d.samples(t, "parlor_log_records_refused_total"); got != 1 {
				t.Errorf("got %d counters of records refused, want one, though there were none", got)
			}
		}()
		bad := d.sink("bad")
		bad.failing(func(records []*record) ([]*record, error) { return records, errors.New("gone") })
		d.run()
		show := func(number int, names ...string) {
			pub := publication("a", fmt.Sprint(number))
			pub.Accepted = time.Now()
			mark := d.Intend(pub, configured(names...))
			pub.Position = at(number)
			mark(true)
		}
		measure := func(what string, low, high time.Duration) (bytes float64) {
			t.Helper()
			synctest.Wait()
			bytes, found := d.gauge(t, "parlor_log_backlog_bytes")
			age, alsoFound := d.gauge(t, "parlor_log_backlog_age_seconds")
			if !found || !alsoFound || bytes <= 0 || age < low.Seconds() || age > high.Seconds() {
				t.Errorf("%s: got %v bytes, the first %v s old; want some, from %v to %v old", what, bytes, age, low, high)
			}
			return bytes
		}
		show(1, "bad")
		time.Sleep(20 * time.Minute)
		show(2, "bad", "good")
		time.Sleep(40 * time.Second)
		one := measure("while it fails", 20*time.Minute, 21*time.Minute)
		for n := 3; n < 100; n++ {
			show(n, "bad")
		}
		if many := measure("with more", 20*time.Minute, 21*time.Minute); many <= one {
			t.Errorf("got %v bytes of 99 records and %v of 2", many, one)
		}
		bad.failing(nil)
		time.Sleep(longestPause + time.Second)
		if got := len(bad.taken()); got != 99 {
			t.Fatalf("%d records came, want 99", got)
		}
		measure("when all is there", 0, 0)
		d.halt(t)
	})
}

// What a node adopted waits with what is its own.
func TestWaitingAdopted(t *testing.T) {
	data, _ := deadNode(t)
	dir := filepath.Join(t.TempDir(), "alive", "chatlog")
	if _, err := Adopt(data, dir); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, dir, 1<<30)
	d.sink("bucket-one").failing(func(r []*record) ([]*record, error) { return r, errors.New("gone") })
	d.run()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		aged := 0
		all, err := d.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range all {
			for _, m := range family.Metric {
				if family.GetName() == "parlor_log_backlog_age_seconds" && m.Gauge.GetValue() > 0 {
					aged++
				}
			}
		}
		if aged == 1 && len(d.sink("bucket-one").tries()) > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("records of %d configurations wait, want those of the one that fails", aged)
		}
	}
	d.halt(t)
}
