package chatlog

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestDiscard: what waits is never shipped, what comes after is; a destination that keeps its
// shipper busy is not waited for longer than asked.
func TestDiscard(t *testing.T) {
	virtually(t, func(t *testing.T, d *desk) {
		d.run()
		defer func() { d.halt(t) }()
		discard := func(within time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			return d.Discard(ctx)
		}
		d.show("room", 1, "group-a", "bucket-b")
		time.Sleep(time.Second)
		d.show("room", 2, "group-a")
		if err := discard(time.Second); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		if a, b := d.sink("group-a").taken(), d.sink("bucket-b").taken(); len(a)+len(b) > 0 {
			t.Errorf("got %v and %v, want nothing to be shipped", a, b)
		}
		d.show("room", 3, "group-a")
		time.Sleep(time.Minute)
		if got := d.sink("group-a").taken(); len(got) != 1 {
			t.Errorf("got %v, want what came after", got)
		}

		d.sink("group-a").failing(func([]*record) ([]*record, error) {
			time.Sleep(20 * time.Second)
			return nil, nil
		})
		d.show("room", 4, "group-a")
		time.Sleep(15 * time.Second) // it is being shipped
		begun := time.Now()
		if err := discard(time.Second); err == nil || time.Since(begun) > 2*time.Second {
			t.Errorf("got %v after %s, want an error after a second", err, time.Since(begun))
		}
		synctest.Wait()
		if err := discard(time.Minute); err != nil {
			t.Error(err)
		}
		if got := d.sink("group-a").taken(); slices.Contains(got, "") || len(got) > 1 {
			t.Errorf("got %v, want what was on its way", got)
		}
	})
}
