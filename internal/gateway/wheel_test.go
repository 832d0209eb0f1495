package gateway

import (
	"testing"
	"time"
	"unsafe"

	"parlor/internal/chat"
)

// TestWheelOfAClockThatIsSet has the wall clock set while the wheel turns: what is due
// by it is looked at neither early, again and again, nor late.
func TestWheelOfAClockThatIsSet(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		w := &wheel{base: beforeClockWasSet(time.Now(), by)}
		s := &session{core: &chat.Session{Expires: time.Now().Add(time.Hour).Unix()}}
		w.schedule(s, time.Unix(0, time.Now().UnixNano()).Add(45*time.Second))
		if got, want := int(s.wheelSlot)-1, int(45*time.Second/wheelTick); got < want || got > want+1 {
			t.Errorf("clock set by %v: due in %d ticks, want %d", by, got, want)
		}
	}
}

// beforeClockWasSet is what time.Now answered just before the wall clock was set: of a
// time's two readings the monotonic one is now's.
func beforeClockWasSet(now time.Time, by time.Duration) time.Time {
	type internal struct {
		wall uint64 // seconds from bit 30 on
		ext  int64  // monotonic
	}
	(*internal)(unsafe.Pointer(&now)).wall -= uint64(by/time.Second) << 30
	return now
}
