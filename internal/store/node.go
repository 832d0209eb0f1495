package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"parlor/internal/chat"
)

// nodeMemory is how long a silent node's row is kept.
const nodeMemory = 24 * time.Hour

// Beat implements [chat.Store].
func (s *Store) Beat(ctx context.Context, node chat.NodeBeat) ([]chat.NodeBeat, error) {
	var others []chat.NodeBeat
	err := s.engine.write(ctx, func(q *session) error {
		others = nil
		asked := time.Now()
		now, err := q.now()
		if err != nil {
			return fmt.Errorf("ask the database for the time: %w", err)
		}
		if q.shared {
			s.readClock(asked, now, time.Now())
		}
		if _, err := q.exec(sqlBeat, node.ID, number(node.Well), number(node.Alone), micros(now)); err != nil {
			return fmt.Errorf("write the beat of node %s: %w", node.ID, err)
		}
		if _, err := q.exec(sqlDeleteNodes, micros(now.Add(-nodeMemory))); err != nil {
			return fmt.Errorf("forget nodes long silent: %w", err)
		}
		err = q.rows(sqlOtherNodes, []any{node.ID, micros(now.Add(-chat.NodeSilence))}, func(rows *sql.Rows) error {
			var other chat.NodeBeat
			var well, alone, seenUS int64
			if err := rows.Scan(&other.ID, &well, &alone, &seenUS); err != nil {
				return err
			}
			other.Well, other.Alone = well != 0, alone != 0
			// Two nodes that beat at once may read the clock in one order and write in the
			// other: nobody was seen after now.
			other.Seen = time.Now().Add(-max(0, now.Sub(fromMicros(seenUS))))
			others = append(others, other)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read the beats of other nodes: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err // others may belong to another goroutine still
	}
	slices.SortFunc(others, func(a, b chat.NodeBeat) int { return cmp.Compare(a.ID, b.ID) })
	return others, nil
}

// clockReading is how far this machine's clock was ahead of the database's.
type clockReading struct {
	at     time.Time
	offset time.Duration
}

const (
	// clockRoundTrip is within what time the database has to say what time it is: half of
	// it is how wrong the offset may be.
	clockRoundTrip = 200 * time.Millisecond
	// clockLife is how long the offset is told after it was found.
	clockLife = 10 * time.Second
)

// readClock takes the database's time, which was read between two of ours.
func (s *Store) readClock(asked, database, answered time.Time) {
	took := answered.Sub(asked)
	if took > clockRoundTrip {
		return
	}
	s.clock.Store(&clockReading{at: answered, offset: asked.Add(took / 2).Sub(database)})
}

// ClockOffset is how far this machine's clock is ahead of the clock of a database that nodes
// share, to within 100 ms, as [Store.Beat] found it. It is not known where it was not found in the
// last ten seconds, or nodes share none. It does not ask the database.
func (s *Store) ClockOffset() (ahead time.Duration, known bool) {
	reading := s.clock.Load()
	if reading == nil || time.Since(reading.at) > clockLife {
		return 0, false
	}
	return reading.offset, true
}

// number is a truth value as it is stored.
func number(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// Scopes returns every account and region that has rooms or logging configurations, by
// account, then region. What comes or goes meanwhile may be in it or not.
func (s *Store) Scopes(ctx context.Context) ([]chat.Scope, error) {
	found := map[chat.Scope]bool{}
	for _, text := range []string{sqlNextRoomScope, sqlNextLoggingConfigurationScope} {
		var at chat.Scope
		for more := true; more; {
			var next struct {
				scope chat.Scope
				found bool
			}
			err := s.engine.read(ctx, func(q *session) (err error) {
				next.found, err = q.row(text, []any{at.Account, at.Region}, &next.scope.Account, &next.scope.Region)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("list scopes: %w", err)
			}
			if more = next.found; more {
				at = next.scope
				found[at] = true
			}
		}
	}
	scopes := make([]chat.Scope, 0, len(found))
	for scope := range found {
		scopes = append(scopes, scope)
	}
	slices.SortFunc(scopes, func(a, b chat.Scope) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	return scopes, nil
}
