package store

import (
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
)

// TestClockOffset: how far a node's clock is ahead is found by its beats, where nodes share
// a database that answers soon.
func TestClockOffset(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		took, ahead time.Duration
		known       bool
	}{
		"ahead":       {took: 10 * time.Millisecond, ahead: 3 * time.Second, known: true},
		"behind":      {took: 100 * time.Millisecond, ahead: -time.Minute, known: true},
		"none":        {took: 0, ahead: 0, known: true},
		"a slow look": {took: time.Second, ahead: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{}
			if _, known := s.ClockOffset(); known {
				t.Error("known before it was looked for")
			}
			s.readClock(now, now.Add(c.took/2-c.ahead).UTC(), now.Add(c.took))
			got, known := s.ClockOffset()
			if known != c.known || known && (got-c.ahead).Abs() > time.Microsecond {
				t.Errorf("got %v, %v, want %v, %v", got, known, c.ahead, c.known)
			}
		})
	}
	t.Run("too long ago", func(t *testing.T) {
		s := &Store{}
		then := now.Add(-clockLife - time.Second)
		s.readClock(then, then, then)
		if got, known := s.ClockOffset(); known {
			t.Errorf("got %v, want that it is not known", got)
		}
	})
	t.Run("embedded", func(t *testing.T) {
		s, err := OpenSQLite(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Beat(t.Context(), chat.NodeBeat{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		if got, known := s.ClockOffset(); known {
			t.Errorf("got %v of a clock that is this machine's own", got)
		}
	})
	t.Run("shared", func(t *testing.T) {
		s, err := OpenPostgres(t.Context(), pgtest.Start(t).CreateDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for deadline := time.Now().Add(30 * time.Second); ; { // a loaded machine may be slow at first
			if _, err := s.Beat(t.Context(), chat.NodeBeat{ID: "a"}); err != nil {
				t.Fatal(err)
			}
			got, known := s.ClockOffset()
			if known && got.Abs() > clockRoundTrip/2+time.Millisecond {
				t.Errorf("got %v on one machine", got)
			}
			if known {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it is not known")
			}
		}
	})
}
