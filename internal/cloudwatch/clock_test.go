package cloudwatch

import (
	"testing"
	"time"
)

// A clock that is set must not keep a process from publishing until it has caught up.
func TestPeriodAfter(t *testing.T) {
	begun := time.Date(2026, 11, 21, 10, 15, 0, 0, time.UTC)
	for name, c := range map[string]struct{ now, want time.Duration }{
		"the next":                        {60*time.Second + 2*time.Millisecond, time.Minute},
		"the timer was early":             {60*time.Second - 2*time.Millisecond, time.Minute},
		"publishing took long":            {95 * time.Second, time.Minute},
		"the machine slept":               {time.Hour + time.Second, time.Hour},
		"the clock was set back":          {-time.Hour, -time.Hour},
		"the clock was set back a little": {-10 * time.Second, -time.Minute},
	} {
		if got, want := periodAfter(begun, begun.Add(c.now), time.Minute), begun.Add(c.want); !got.Equal(want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
