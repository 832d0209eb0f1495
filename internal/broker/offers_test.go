package broker

import (
	"strings"
	"testing"
	"time"
)

func TestOffers(t *testing.T) {
	now := time.Now()
	ids := func(o *offers, from time.Time) string {
		var b strings.Builder
		for _, f := range o.since(from) {
			b.WriteString(f.id)
		}
		return b.String()
	}
	add := func(o *offers, id string, after time.Duration) {
		o.add(offer{id: id, payload: id, published: now.Add(after)})
	}
	t.Run("they are kept until it is noticed that the broker was away", func(t *testing.T) {
		var o offers
		for i, id := range strings.Split("abcd", "") {
			add(&o, id, time.Duration(i)*offersKept/3)
		}
		add(&o, "e", offersKept+time.Second)
		if got, want := ids(&o, time.Time{}), "bcde"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := ids(&o, now.Add(2*offersKept/3-time.Second)), "cde"; got != want {
			t.Errorf("later ones: got %s, want %s", got, want)
		}
	})
	t.Run("and then until it is back", func(t *testing.T) {
		var o offers
		add(&o, "a", 0)
		add(&o, "b", time.Second)
		o.hold(now.Add(time.Second))
		add(&o, "c", time.Hour)
		if got, want := ids(&o, time.Time{}), "bc"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		add(&o, "d", time.Hour)
		if got, want := ids(&o, time.Time{}), "cd"; got != want {
			t.Errorf("afterwards: got %s, want %s", got, want)
		}
	})
}
