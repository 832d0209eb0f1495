package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
)

// onEngines runs a test on an empty store of each engine.
func onEngines(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Run("SQLite", func(t *testing.T) { test(t, openStore(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, openPostgresStore(t, pgtest.Start(t).CreateDatabase(t)))
	})
}

// change runs one statement in the database of a store.
func change(t *testing.T, s *Store, text string, args ...any) {
	t.Helper()
	err := s.engine.write(t.Context(), func(q *session) error {
		_, err := q.exec(text, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A node counts as running until it has been silent for a while, and is forgotten after
// a day.
func TestSilentNodes(t *testing.T) {
	onEngines(t, func(t *testing.T, s *Store) {
		for _, id := range []string{"young", "old", "ancient"} {
			if _, err := s.Beat(t.Context(), chat.NodeBeat{ID: id, Well: true}); err != nil {
				t.Fatal(err)
			}
		}
		age := func(id string, by time.Duration) {
			change(t, s, `UPDATE nodes SET seen_us = seen_us - $1 WHERE id = $2`, by.Microseconds(), id)
		}
		age("young", chat.NodeSilence-2*time.Second)
		age("old", chat.NodeSilence+2*time.Second)
		age("ancient", nodeMemory+2*time.Second)
		others, err := s.Beat(t.Context(), chat.NodeBeat{ID: "me"})
		if err != nil || len(others) != 1 || others[0].ID != "young" {
			t.Fatalf("Beat: got %v, error %v, want the young alone", others, err)
		}
		if got := time.Since(others[0].Seen); got < chat.NodeSilence-3*time.Second || got > chat.NodeSilence {
			t.Errorf("the young was seen %v ago, want about %v", got, chat.NodeSilence-2*time.Second)
		}
		var n int64
		err = s.engine.read(t.Context(), func(q *session) error {
			_, err := q.row(`SELECT count(*) FROM nodes`, nil, &n)
			return err
		})
		if err != nil || n != 3 {
			t.Errorf("rows: got %d, error %v, want 3 without the ancient", n, err)
		}
	})
}

func TestScopes(t *testing.T) {
	onEngines(t, func(t *testing.T, s *Store) {
		if got, err := s.Scopes(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("Scopes of an empty store: got %v, error %v, want none", got, err)
		}
		var want []chat.Scope
		for i, account := range []string{"", "000000000000", "111111111111", "a", "B"} {
			for j, region := range []string{"eu-west-1", "us-east-1"} {
				scope := chat.Scope{Account: account, Region: region}
				for n := range 3 {
					var err error
					if (i+j)%2 == 0 {
						room := numberedRoom(n)
						room.ARN.Scope = scope
						err = s.CreateRoom(t.Context(), room, 0)
					}
					if (i+j)%2 == 1 || i == 2 {
						lc := chat.LoggingConfiguration{ARN: numbered(chat.KindLoggingConfiguration, n), CreateTime: epoch, UpdateTime: epoch}
						lc.ARN.Scope = scope
						err = s.CreateLoggingConfiguration(t.Context(), lc, 0)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				want = append(want, scope)
			}
		}
		want = slices.Concat(want[:6], want[8:], want[6:8]) // B before a
		got, err := s.Scopes(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Scopes: got %v, error %v, want %v", got, err, want)
		}
	})
}

// A mark that an earlier version made says that the token was used, by nobody who could
// ask again.
func TestOldMarks(t *testing.T) {
	onEngines(t, func(t *testing.T, s *Store) {
		id := chat.TokenID{9}
		change(t, s, `INSERT INTO spent_tokens (id, until_us) VALUES ($1, $2)`, id[:], micros(epoch))
		for _, by := range []uint64{0, 1} {
			first, err := s.SpendToken(t.Context(), id, by, epoch)
			if err != nil || first {
				t.Errorf("SpendToken by %d: got first %v, error %v, want not first", by, first, err)
			}
		}
	})
}

// Where the answer to an update was lost and somebody else changed the room since, it is
// not changed twice, and the caller is told.
func TestUpdateAfterALostAnswer(t *testing.T) {
	s := openPostgresStore(t, pgtest.Start(t).CreateDatabase(t))
	room := numberedRoom(1)
	if err := s.CreateRoom(t.Context(), room, 0); err != nil {
		t.Fatal(err)
	}
	again := &repeating{engine: s.engine, between: func() {
		change(t, s, `UPDATE rooms SET name = 'somebody else was here'`)
	}}
	_, err := (&Store{engine: again}).UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		r.MaximumMessageLength++
		return r, nil
	})
	if err == nil {
		t.Error("UpdateRoom whose outcome cannot be told: got no error")
	}
	got, err := s.Room(t.Context(), room.ARN)
	if err != nil || got.MaximumMessageLength != room.MaximumMessageLength+1 {
		t.Errorf("after it: got %d, error %v, want one update", got.MaximumMessageLength, err)
	}
}

// repeating is an engine whose first answer to each write is lost.
type repeating struct {
	engine
	between func()
}

func (r *repeating) write(ctx context.Context, f func(*session) error) error {
	if err := r.engine.write(ctx, f); err != nil {
		return fmt.Errorf("the first run: %w", err)
	}
	r.between()
	return r.engine.write(ctx, func(q *session) error {
		q.again = true
		return f(q)
	})
}
