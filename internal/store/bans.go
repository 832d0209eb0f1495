package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"parlor/internal/chat"
)

const (
	banColumns = `account, region, room_id, id, user_id, kind, reason, create_us, expire_us, created_by`

	sqlRoomExists = `SELECT 1 FROM rooms WHERE account = $1 AND region = $2 AND id = $3`

	banKey = `account = $1 AND region = $2 AND COALESCE(room_id, '') = $3 AND user_id = $4 AND kind = $5`

	sqlBanExists = `SELECT 1 FROM bans WHERE ` + banKey

	// Whether the place has more bans than $4.
	sqlBanAt = `SELECT 1 FROM bans WHERE account = $1 AND region = $2 AND COALESCE(room_id, '') = $3 LIMIT 1 OFFSET $4`

	sqlInsertBan = `INSERT INTO bans (` + banColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

	sqlPutBan = sqlInsertBan + ` ON CONFLICT (account, region, (COALESCE(room_id, '')), user_id, kind) DO UPDATE SET ` +
		`id = excluded.id, reason = excluded.reason, create_us = excluded.create_us, expire_us = excluded.expire_us, created_by = excluded.created_by`

	sqlLoadBan = sqlInsertBan + ` ON CONFLICT DO NOTHING`

	sqlRemoveBan = `DELETE FROM bans WHERE ` + banKey

	sqlBansOf = `SELECT ` + banColumns + ` FROM bans ` +
		`WHERE account = $1 AND region = $2 AND COALESCE(room_id, '') = $3 AND expire_us > $4`

	sqlDeleteBans = `DELETE FROM bans WHERE id IN (SELECT id FROM bans WHERE expire_us <= $1 ORDER BY expire_us LIMIT $2)`

	sqlDumpBans = `SELECT ` + banColumns + ` FROM bans WHERE id > $1 AND expire_us > $2 ORDER BY id LIMIT $3`
)

// Filters of a list of bans, as a set.
const (
	banOfRoom = 1 << iota
	banOfUser
	banOfKind
	allBanFilters
)

// sqlListBans is the list of bans for each set of filters. Parameters: account, region,
// create time and id to start below, limit, the time, then one for each filter of the set
// in the order of the constants.
var sqlListBans = func() (texts [allBanFilters]string) {
	for filters := range texts {
		where, parameter := `account = $1 AND region = $2 AND (create_us, id) < ($3, $4) AND expire_us > $6`, 6
		for i, column := range []string{`room_id`, `user_id`, `kind`} {
			if filters&(1<<i) != 0 {
				parameter++
				where += fmt.Sprintf(` AND %s = $%d`, column, parameter)
			}
		}
		texts[filters] = `SELECT ` + banColumns + ` FROM bans WHERE ` + where + ` ORDER BY create_us DESC, id DESC LIMIT $5`
	}
	return texts
}()

// never is the end of what has none.
const never = 1<<63 - 1

// PutBan implements [chat.Store].
func (s *Store) PutBan(ctx context.Context, ban chat.Ban, quota int) error {
	place := banPlace(ban.Place)
	return s.engine.write(ctx, func(q *session) error {
		if found, err := roomOfBan(q, ban.Place); err != nil || !found {
			return notFoundUnless(err, ban.Place)
		}
		if quota > 0 {
			if err := q.oneByOne(chat.ARN{Scope: ban.Place.Scope, Kind: "ban"}); err != nil {
				return fmt.Errorf("wait for other bans of %s: %w", ban.Place, err)
			}
			var one int64
			there, err := q.row(sqlBanExists, []any{ban.Place.Account, ban.Place.Region, place, ban.UserID, string(ban.Kind)}, &one)
			full := false
			if err == nil && !there {
				full, err = q.row(sqlBanAt, []any{ban.Place.Account, ban.Place.Region, place, quota - 1}, &one)
			}
			if err != nil {
				return fmt.Errorf("count the bans of %s: %w", ban.Place, err)
			}
			if full {
				return &chat.Error{Code: chat.QuotaExceeded, Message: fmt.Sprintf("The quota of %d bans and mutes is exceeded.", quota), Resource: ban.Place, Limit: quota}
			}
		}
		if _, err := q.exec(sqlPutBan, banValues(ban)...); err != nil {
			return fmt.Errorf("write a ban of %s: %w", ban.Place, err)
		}
		return nil
	})
}

// roomOfBan reports whether the place of a ban exists, and sees to it that it stays.
func roomOfBan(q *session, at chat.ARN) (found bool, err error) {
	if at.Kind == "" {
		return true, nil
	}
	if at.Kind != chat.KindRoom {
		return false, nil
	}
	var one int64
	found, err = q.row(q.locking(sqlRoomExists, forReference), []any{at.Account, at.Region, at.ID}, &one)
	if err != nil {
		return false, fmt.Errorf("look for room %s: %w", at, err)
	}
	return found, nil
}

func notFoundUnless(err error, arn chat.ARN) error {
	if err != nil {
		return err
	}
	return chat.NewNotFound(arn)
}

// RemoveBan implements [chat.Store].
func (s *Store) RemoveBan(ctx context.Context, at chat.ARN, userID string, kind chat.BanKind) error {
	_, err := s.remove(ctx, sqlRemoveBan, at.Account, at.Region, banPlace(at), userID, string(kind))
	if err != nil {
		return fmt.Errorf("take a ban of %s back: %w", at, err)
	}
	return nil
}

// BansOf implements [chat.Store].
func (s *Store) BansOf(ctx context.Context, at chat.ARN, now time.Time) ([]chat.Ban, error) {
	bans, err := s.bans(ctx, sqlBansOf, at.Account, at.Region, banPlace(at), micros(now))
	if err != nil {
		return nil, fmt.Errorf("read the bans of %s: %w", at, err)
	}
	return bans, nil
}

// Bans implements [chat.Store].
func (s *Store) Bans(ctx context.Context, scope chat.Scope, filter chat.BanFilter, after chat.Cursor, limit int, now time.Time) ([]chat.Ban, error) {
	us, id := place(after)
	args := append(make([]any, 0, 9), scope.Account, scope.Region, us, id, limit, micros(now))
	filters := 0
	if filter.Room != (chat.ARN{}) {
		if filter.Room.Scope != scope || filter.Room.Kind != chat.KindRoom {
			return nil, ctx.Err()
		}
		filters |= banOfRoom
		args = append(args, filter.Room.ID)
	}
	if filter.UserID != "" {
		filters |= banOfUser
		args = append(args, filter.UserID)
	}
	if filter.Kind != "" {
		filters |= banOfKind
		args = append(args, string(filter.Kind))
	}
	bans, err := s.bans(ctx, sqlListBans[filters], args...)
	if err != nil {
		return nil, fmt.Errorf("list bans: %w", err)
	}
	return bans, nil
}

// bans runs a query for bans.
func (s *Store) bans(ctx context.Context, text string, args ...any) ([]chat.Ban, error) {
	var bans []chat.Ban
	err := s.engine.read(ctx, func(q *session) error {
		bans = nil // of an earlier run
		return q.rows(text, args, func(rows *sql.Rows) error {
			ban, err := scanBan(rows)
			bans = append(bans, ban)
			return err
		})
	})
	if err != nil {
		return nil, err // bans may belong to another goroutine still
	}
	return bans, nil
}

// PruneBans implements [chat.Store].
func (s *Store) PruneBans(ctx context.Context, now time.Time) error {
	for {
		n, err := s.remove(ctx, sqlDeleteBans, micros(now), pruneStep)
		if err != nil {
			return fmt.Errorf("forget bans that are over: %w", err)
		}
		if n < pruneStep {
			return nil
		}
	}
}

// DumpBans goes through the bans that are not over at now, by id.
func (s *Store) DumpBans(ctx context.Context, now time.Time) iter.Seq2[chat.Ban, error] {
	return func(yield func(chat.Ban, error) bool) {
		for after, last := "", false; !last; {
			list, err := s.bans(ctx, sqlDumpBans, after, micros(now), dumpPage)
			if err != nil {
				yield(chat.Ban{}, fmt.Errorf("read the bans: %w", err))
				return
			}
			for _, ban := range list {
				if !yield(ban, nil) {
					return
				}
				after = ban.ID
			}
			last = len(list) < dumpPage
		}
	}
}

func loadBan(q *session, ban chat.Ban, replace bool) (Outcome, error) {
	found, err := roomOfBan(q, ban.Place)
	if err != nil {
		return Outcome{}, err
	}
	if !found {
		return Outcome{LoadedRefused, chat.NewNotFound(ban.Place)}, nil
	}
	loaded, err := write(q, sqlLoadBan, sqlPutBan, banValues(ban), replace)
	if err != nil {
		return Outcome{}, fmt.Errorf("write a ban of %s: %w", ban.Place, err)
	}
	return Outcome{Loaded: loaded}, nil
}

// banPlace is a place as bans are found by it: "" is all of a scope.
func banPlace(at chat.ARN) string {
	if at.Kind == chat.KindRoom {
		return at.ID
	}
	return ""
}

// banValues returns the parameters of sqlInsertBan.
func banValues(ban chat.Ban) []any {
	room := sql.NullString{String: ban.Place.ID, Valid: ban.Place.Kind == chat.KindRoom}
	expireUS := int64(never)
	if !ban.ExpireTime.IsZero() {
		expireUS = micros(ban.ExpireTime)
	}
	return []any{
		ban.Place.Account, ban.Place.Region, room, ban.ID, ban.UserID, string(ban.Kind), ban.Reason,
		micros(ban.CreateTime), expireUS, ban.CreatedBy,
	}
}

// scanBan reads a row of banColumns.
func scanBan(rows *sql.Rows) (chat.Ban, error) {
	var ban chat.Ban
	var room sql.NullString
	var createUS, expireUS int64
	err := rows.Scan(&ban.Place.Account, &ban.Place.Region, &room, &ban.ID, &ban.UserID, &ban.Kind, &ban.Reason, &createUS, &expireUS, &ban.CreatedBy)
	if room.Valid {
		ban.Place.Kind, ban.Place.ID = chat.KindRoom, room.String
	}
	ban.CreateTime = fromMicros(createUS)
	if expireUS != never {
		ban.ExpireTime = fromMicros(expireUS)
	}
	return ban, err
}
