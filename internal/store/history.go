package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"parlor/internal/chat"
)

var _ chat.HistoryStore = (*Store)(nil)

const (
	historyColumns = `account, region, room_id, epoch, number, kind, id, user_id, accepted_us, frame`

	historyRoom = ` account = $1 AND region = $2 AND room_id = $3`

	sqlSelectHistory = `SELECT epoch, number, kind, id, user_id, accepted_us, frame FROM history WHERE` + historyRoom +
		` AND kind IN (0, 1) ORDER BY epoch DESC, number DESC LIMIT $4`

	// Deletions and beginnings.
	sqlSelectHistoryMarks = `SELECT epoch, number, kind, id, user_id, accepted_us, frame FROM history WHERE` + historyRoom +
		` AND kind NOT IN (0, 1)`

	sqlDeleteFromHistory = `UPDATE history SET frame = $5 WHERE` + historyRoom + ` AND id = $4 AND kind IN (0, 1)`

	// What came after its deletion had come.
	sqlDeleteLate = `UPDATE history SET frame = $4 WHERE` + historyRoom + ` AND kind IN (0, 1) AND frame <> $4 AND id IN ` +
		`(SELECT id FROM history WHERE` + historyRoom + ` AND kind = 2)`

	sqlSelectHistoryOf = `SELECT id FROM history WHERE` + historyRoom + ` AND user_id = $4 AND user_id <> '' AND kind = 0 AND frame <> $5 ` +
		`ORDER BY epoch, number`

	sqlPurgeHistory = `UPDATE history SET frame = $5 WHERE` + historyRoom + ` AND user_id = $4 AND user_id <> '' AND kind = 0`

	sqlHistoryFrom = `SELECT epoch, number FROM history WHERE` + historyRoom +
		` AND kind IN (0, 1) ORDER BY epoch DESC, number DESC LIMIT 1 OFFSET $4`

	sqlDeleteHistory       = `DELETE FROM history WHERE` + historyRoom
	sqlDeleteHistoryTo     = `DELETE FROM history WHERE` + historyRoom + ` AND (epoch, number) < ($4, $5)`
	sqlDeleteHistoryBefore = `DELETE FROM history WHERE` + historyRoom + ` AND kind IN (0, 1) AND accepted_us < $4`
	sqlDeleteDeletions     = `DELETE FROM history WHERE` + historyRoom + ` AND kind = 2 AND accepted_us < $4`

	// The least room after ($1, $2, $3): one step into the index.
	sqlNextHistoryRoom = `SELECT account, region, room_id FROM history WHERE (account, region, room_id) > ($1, $2, $3) ` +
		`ORDER BY account, region, room_id LIMIT 1`
)

// deletionLife is how long deletions are kept: as long as what they delete may come late.
const deletionLife = time.Hour

// sqlAppendHistory are the statements that insert 1, 2, 4 … rows.
var sqlAppendHistory = func() (texts [6]string) {
	for i := range texts {
		var b strings.Builder
		b.WriteString(`INSERT INTO history (` + historyColumns + `) VALUES `)
		for row := range 1 << i {
			if row > 0 {
				b.WriteString(`, `)
			}
			for column := range 10 {
				fmt.Fprintf(&b, "%c$%d", "(,"[min(column, 1)], 10*row+column+1)
			}
			b.WriteString(`)`)
		}
		texts[i] = b.String() + ` ON CONFLICT DO NOTHING`
	}
	return texts
}()

// none is the frame of what was deleted.
var none = []byte{}

// AppendHistory implements [chat.HistoryStore].
func (s *Store) AppendHistory(ctx context.Context, entries []chat.HistoryEntry) error {
	return s.engine.write(ctx, func(q *session) error {
		for i, rest := len(sqlAppendHistory)-1, entries; len(rest) > 0; {
			n := 1 << i
			if len(rest) < n {
				i--
				continue
			}
			args := make([]any, 0, 10*n)
			for _, e := range rest[:n] {
				if e.Frame == nil {
					e.Frame = none
				}
				args = append(args, e.Room.Account, e.Room.Region, e.Room.ID, int64(e.Position.Epoch), int64(e.Position.Number),
					int64(e.Kind), e.ID, e.UserID, micros(e.Accepted), e.Frame)
			}
			if _, err := q.exec(sqlAppendHistory[i], args...); err != nil {
				return fmt.Errorf("insert %d entries of histories: %w", n, err)
			}
			rest = rest[n:]
		}
		for _, e := range entries {
			if e.Kind != chat.PublishDelete {
				continue
			}
			if _, err := q.exec(sqlDeleteFromHistory, e.Room.Account, e.Room.Region, e.Room.ID, e.ID, none); err != nil {
				return fmt.Errorf("delete from the history of room %s: %w", e.Room, err)
			}
		}
		return nil
	})
}

// RoomHistory implements [chat.HistoryStore].
func (s *Store) RoomHistory(ctx context.Context, room chat.ARN, count int) ([]chat.HistoryEntry, error) {
	var entries []chat.HistoryEntry
	err := s.engine.read(ctx, func(q *session) error {
		entries = make([]chat.HistoryEntry, 0, count)
		deleted := map[string]bool{}
		each := func(rows *sql.Rows) error {
			e := chat.HistoryEntry{Room: room}
			var epoch, number, kind, acceptedUS int64
			if err := rows.Scan(&epoch, &number, &kind, &e.ID, &e.UserID, &acceptedUS, &e.Frame); err != nil {
				return err
			}
			e.Position = chat.Position{Epoch: uint64(epoch), Number: uint64(number)}
			e.Kind, e.Accepted = chat.PublicationKind(kind), fromMicros(acceptedUS)
			if e.Kind == chat.PublishDelete {
				deleted[e.ID] = true
			}
			entries = append(entries, e)
			return nil
		}
		key := []any{room.Account, room.Region, room.ID}
		if err := q.rows(sqlSelectHistory, append(slices.Clip(key), count), each); err != nil {
			return err
		}
		if err := q.rows(sqlSelectHistoryMarks, key, each); err != nil {
			return err
		}
		for i := range entries {
			if e := &entries[i]; len(e.Frame) == 0 || deleted[e.ID] {
				e.Frame = nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of room %s: %w", room, err) // entries may belong to another goroutine still
	}
	slices.SortFunc(entries, func(a, b chat.HistoryEntry) int { return a.Position.Compare(b.Position) })
	return entries, nil
}

// PurgeHistory implements [chat.HistoryStore].
func (s *Store) PurgeHistory(ctx context.Context, room chat.ARN, userID string) ([]string, error) {
	var ids []string
	err := s.engine.write(ctx, func(q *session) error {
		if !q.again { // what an earlier run found, it may have emptied
			ids = nil
		}
		args := []any{room.Account, room.Region, room.ID, userID, none}
		err := q.rows(q.locking(sqlSelectHistoryOf, forChange), args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
			return err
		})
		if err != nil {
			return err
		}
		_, err = q.exec(sqlPurgeHistory, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("purge a user from the history of room %s: %w", room, err) // ids may belong to another goroutine still
	}
	return ids, nil
}

// PruneHistory implements [chat.HistoryStore].
func (s *Store) PruneHistory(ctx context.Context, room chat.ARN, keep int, before time.Time) error {
	key := []any{room.Account, room.Region, room.ID}
	with := func(more ...any) []any { return append(slices.Clip(key), more...) }
	err := s.engine.write(ctx, func(q *session) error {
		if keep <= 0 {
			_, err := q.exec(sqlDeleteHistory, key...)
			return err
		}
		var epoch, number int64
		full, err := q.row(sqlHistoryFrom, with(keep-1), &epoch, &number)
		if err != nil {
			return err
		}
		if full {
			if _, err := q.exec(sqlDeleteHistoryTo, with(epoch, number)...); err != nil {
				return err
			}
		}
		if _, err := q.exec(sqlDeleteHistoryBefore, with(micros(before))...); err != nil {
			return err
		}
		if _, err := q.exec(sqlDeleteLate, with(none)...); err != nil {
			return err
		}
		_, err = q.exec(sqlDeleteDeletions, with(micros(time.Now().Add(-deletionLife)))...)
		return err
	})
	if err != nil {
		return fmt.Errorf("prune the history of room %s: %w", room, err)
	}
	return nil
}

// HistoryRooms implements [chat.HistoryStore].
func (s *Store) HistoryRooms(ctx context.Context, after chat.ARN, limit int) ([]chat.ARN, error) {
	var rooms []chat.ARN
	for len(rooms) < limit {
		var next struct {
			room  chat.ARN
			found bool
		}
		next.room.Kind = chat.KindRoom
		err := s.engine.read(ctx, func(q *session) (err error) {
			next.found, err = q.row(sqlNextHistoryRoom, []any{after.Account, after.Region, after.ID},
				&next.room.Account, &next.room.Region, &next.room.ID)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("find rooms with a history: %w", err)
		}
		if !next.found {
			break
		}
		after = next.room
		rooms = append(rooms, after)
	}
	return rooms, nil
}
