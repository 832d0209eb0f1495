package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"parlor/internal/chat"
)

// CreateRoom implements [chat.Store].
func (s *Store) CreateRoom(ctx context.Context, room chat.Room, quota int) error {
	values, err := roomValues(room)
	if err != nil {
		return fmt.Errorf("encode room %s: %w", room.ARN, err)
	}
	run := s.engine.write
	if quota <= 0 && len(room.LoggingConfigurations) == 0 {
		run = s.engine.statement
	}
	return run(ctx, func(q *session) error {
		if q.again {
			// Ids are random: a room of this id is the one that an earlier run made.
			if _, err := selectRoom(q, room.ARN, ""); err == nil || !isNotFound(err) {
				return err
			}
		}
		if err := withinQuota(q, sqlRoomAt, room.ARN, quota); err != nil {
			return err
		}
		if err := requireLogging(q, room, nil); err != nil {
			return err
		}
		if _, err := q.exec(sqlInsertRoom, values...); err != nil {
			return fmt.Errorf("insert room %s: %w", room.ARN, err)
		}
		return insertLinks(q, room)
	})
}

// Room implements [chat.Store].
func (s *Store) Room(ctx context.Context, arn chat.ARN) (chat.Room, error) {
	var room chat.Room
	err := s.engine.read(ctx, func(q *session) (err error) {
		room, err = selectRoom(q, arn, "")
		return err
	})
	if err != nil {
		return chat.Room{}, err // room may belong to another goroutine still
	}
	return room, nil
}

// isNotFound reports whether err says that a resource does not exist.
func isNotFound(err error) bool {
	var e *chat.Error
	return errors.As(err, &e) && e.Code == chat.NotFound
}

// UpdateRoom implements [chat.Store].
func (s *Store) UpdateRoom(ctx context.Context, arn chat.ARN, change func(chat.Room) (chat.Room, error)) (chat.Room, error) {
	return update(ctx, s, arn, selectRoom, roomValues, change, func(q *session, before, after chat.Room) error {
		if after.ARN != arn {
			return renamed(arn, after.ARN)
		}
		if err := requireLogging(q, after, before.LoggingConfigurations); err != nil {
			return err
		}
		return updateRoom(q, before, after)
	})
}

// update changes a resource in one transaction: it loads it, has the caller change it,
// and saves what came of that. values is what is stored of a resource.
func update[T any](ctx context.Context, s *Store, arn chat.ARN,
	load func(q *session, arn chat.ARN, lock string) (T, error), values func(T) ([]any, error),
	change func(T) (T, error), save func(q *session, before, after T) error) (T, error) {
	var none, changed, earlier T // earlier and changed: what the last run found and made of it
	err := s.engine.write(ctx, func(q *session) error {
		before, err := load(q, arn, forChange)
		if err != nil {
			return err
		}
		if q.again {
			if same(values, before, changed) {
				return nil // that run was committed
			}
			if !same(values, before, earlier) {
				return fmt.Errorf("update %s: another change came between, so whether this one happened is not known", arn)
			}
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		earlier, changed = before, after
		return save(q, before, after)
	})
	if err != nil {
		return none, err // changed may belong to another goroutine still
	}
	return changed, nil
}

// same reports whether the same is stored of both.
func same[T any](values func(T) ([]any, error), a, b T) bool {
	va, errA := values(a)
	vb, errB := values(b)
	return errA == nil && errB == nil && slices.Equal(va, vb)
}

// renamed is the error for a change that would make one resource another.
func renamed(from, to chat.ARN) error {
	return fmt.Errorf("update %s: the change gave it another ARN, %s", from, to)
}

func updateRoom(q *session, before, after chat.Room) error {
	values, err := roomValues(after)
	if err != nil {
		return fmt.Errorf("encode room %s: %w", after.ARN, err)
	}
	if _, err := q.exec(sqlUpdateRoom, values...); err != nil {
		return fmt.Errorf("update room %s: %w", after.ARN, err)
	}
	key := values[:3]
	if slices.Equal(before.LoggingConfigurations, after.LoggingConfigurations) {
		if len(after.LoggingConfigurations) == 0 {
			return nil
		}
		if _, err := q.exec(sqlMoveLinks, append(slices.Clone(key), micros(after.UpdateTime))...); err != nil {
			return fmt.Errorf("update the logging configurations of room %s: %w", after.ARN, err)
		}
		return nil
	}
	if _, err := q.exec(sqlDeleteLinks, key...); err != nil {
		return fmt.Errorf("remove the logging configurations of room %s: %w", after.ARN, err)
	}
	return insertLinks(q, after)
}

// DeleteRoom implements [chat.Store].
func (s *Store) DeleteRoom(ctx context.Context, arn chat.ARN) error {
	if arn.Kind != chat.KindRoom {
		return chat.NewNotFound(arn)
	}
	return s.engine.statement(ctx, func(q *session) error {
		n, err := q.exec(sqlDeleteRoom, arn.Account, arn.Region, arn.ID)
		if err != nil {
			return fmt.Errorf("delete room %s: %w", arn, err)
		}
		if n == 0 && !q.again {
			q.spoiled = false // nothing was changed
			return chat.NewNotFound(arn)
		}
		return nil
	})
}

// Rooms implements [chat.Store].
func (s *Store) Rooms(ctx context.Context, scope chat.Scope, filter chat.RoomFilter, after chat.Cursor, limit int) ([]chat.Room, error) {
	text, args, possible := roomQuery(scope, filter, after, limit)
	if !possible {
		return nil, ctx.Err()
	}
	var rooms []chat.Room
	err := s.engine.read(ctx, func(q *session) error {
		rooms = nil
		return q.rows(text, args, func(rows *sql.Rows) error {
			if rooms == nil {
				rooms = make([]chat.Room, 0, min(limit, 128))
			}
			room, err := scanRoom(rows, scope)
			rooms = append(rooms, room)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	return rooms, nil
}

// roomQuery returns the statement of a list and its arguments, or that nothing can
// match.
func roomQuery(scope chat.Scope, filter chat.RoomFilter, after chat.Cursor, limit int) (text string, args []any, possible bool) {
	us, id := place(after)
	args = append(make([]any, 0, 8), scope.Account, scope.Region, us, id, limit)
	filters := 0
	if filter.Name != "" {
		filters |= byName
		args = append(args, filter.Name)
	}
	if filter.HandlerURI != "" {
		filters |= byHandler
		args = append(args, filter.HandlerURI)
	}
	if lc := filter.LoggingConfiguration; lc != (chat.ARN{}) {
		if lc.Scope != scope || lc.Kind != chat.KindLoggingConfiguration {
			return "", nil, false // rooms refer to logging configurations of their own scope
		}
		filters |= byLogging
		args = append(args, lc.ID)
	}
	return sqlListRooms[filters], args, limit > 0
}

// requireLogging returns NotFound for the first logging configuration of the room that
// does not exist in the room's scope. Those in had are known to: a room that refers to
// one keeps it from being deleted.
func requireLogging(q *session, room chat.Room, had []chat.ARN) error {
	for _, lc := range room.LoggingConfigurations {
		if slices.Contains(had, lc) {
			continue
		}
		if lc.Scope != room.ARN.Scope || lc.Kind != chat.KindLoggingConfiguration {
			return chat.NewNotFound(lc)
		}
		var one int64
		found, err := q.row(q.locking(sqlLoggingConfigurationExists, forReference), []any{lc.Account, lc.Region, lc.ID}, &one)
		if err != nil {
			return fmt.Errorf("look for logging configuration %s: %w", lc, err)
		}
		if !found {
			return chat.NewNotFound(lc)
		}
	}
	return nil
}

// withinQuota checks that the scope of arn has fewer resources than quota, by asking
// whether there is one at that place; 0 is no quota. Creations in the scope are one
// after the other from here on.
func withinQuota(q *session, sqlAt string, arn chat.ARN, quota int) error {
	if quota <= 0 {
		return nil
	}
	if err := q.oneByOne(arn); err != nil {
		return fmt.Errorf("wait to create %s: %w", arn, err)
	}
	var one int64
	full, err := q.row(sqlAt, []any{arn.Account, arn.Region, quota - 1}, &one)
	if err != nil {
		return fmt.Errorf("count up to %d resources of %s: %w", quota, arn, err)
	}
	if full {
		return chat.NewQuotaExceeded(arn, quota)
	}
	return nil
}

func insertLinks(q *session, room chat.Room) error {
	for _, lc := range room.LoggingConfigurations {
		if _, err := q.exec(sqlInsertLink, room.ARN.Account, room.ARN.Region, room.ARN.ID, lc.ID, micros(room.UpdateTime)); err != nil {
			return fmt.Errorf("link room %s to logging configuration %s: %w", room.ARN, lc, err)
		}
	}
	return nil
}

// selectRoom reads a room, under one of the locks if there is to be any.
func selectRoom(q *session, arn chat.ARN, lock string) (chat.Room, error) {
	if arn.Kind != chat.KindRoom {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	var room chat.Room
	found := false
	err := q.rows(q.locking(sqlSelectRoom, lock), []any{arn.Account, arn.Region, arn.ID}, func(rows *sql.Rows) (err error) {
		found = true
		room, err = scanRoom(rows, arn.Scope)
		return err
	})
	if err != nil {
		return chat.Room{}, fmt.Errorf("read room %s: %w", arn, err)
	}
	if !found {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	return room, nil
}

// roomValues returns the parameters of sqlInsertRoom and sqlUpdateRoom, the key first.
func roomValues(room chat.Room) ([]any, error) {
	var uri, fallback sql.NullString
	if h := room.Handler; h != nil {
		uri = sql.NullString{String: h.URI, Valid: true}
		fallback = sql.NullString{String: string(h.Fallback), Valid: true}
	}
	logging := "[]"
	if len(room.LoggingConfigurations) > 0 {
		ids := make([]string, len(room.LoggingConfigurations))
		for i, lc := range room.LoggingConfigurations {
			ids[i] = lc.ID
		}
		text, err := json.Marshal(ids)
		if err != nil {
			return nil, err
		}
		logging = string(text)
	}
	tags, err := encodeTags(room.Tags)
	if err != nil {
		return nil, err
	}
	return []any{
		room.ARN.Account, room.ARN.Region, room.ARN.ID, room.Name, micros(room.CreateTime), micros(room.UpdateTime),
		room.MaximumMessageRatePerSecond, room.MaximumMessageLength, uri, fallback, logging, tags,
	}, nil
}

// scanRoom reads a row of roomColumns.
func scanRoom(rows *sql.Rows, scope chat.Scope) (chat.Room, error) {
	// One allocation for all that is scanned into: every pointer given to Scan escapes.
	var row struct {
		room               chat.Room
		createUS, updateUS int64
		uri, fallback      sql.NullString
		logging, tags      string
	}
	room := &row.room
	room.ARN = chat.ARN{Scope: scope, Kind: chat.KindRoom}
	err := rows.Scan(&room.ARN.ID, &room.Name, &row.createUS, &row.updateUS,
		&room.MaximumMessageRatePerSecond, &room.MaximumMessageLength, &row.uri, &row.fallback, &row.logging, &row.tags)
	if err != nil {
		return chat.Room{}, err
	}
	room.CreateTime, room.UpdateTime = fromMicros(row.createUS), fromMicros(row.updateUS)
	if row.uri.Valid {
		room.Handler = &chat.ReviewHandler{URI: row.uri.String, Fallback: chat.FallbackResult(row.fallback.String)}
	}
	var errLogging, errTags error
	room.LoggingConfigurations, errLogging = decodeLogging(row.logging, scope)
	room.Tags, errTags = decodeTags(row.tags)
	return *room, errors.Join(errLogging, errTags)
}

// decodeLogging returns the logging configurations of a room; nil if there are none.
func decodeLogging(text string, scope chat.Scope) ([]chat.ARN, error) {
	if text == "[]" {
		return nil, nil
	}
	var ids []string
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		return nil, err
	}
	arns := make([]chat.ARN, len(ids))
	for i, id := range ids {
		arns[i] = chat.ARN{Scope: scope, Kind: chat.KindLoggingConfiguration, ID: id}
	}
	return arns, nil
}
