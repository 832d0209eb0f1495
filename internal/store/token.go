package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"parlor/internal/chat"
)

// pruneStep bounds how many marks one transaction forgets: about a millisecond's work.
const pruneStep = 200

// SpendToken implements [chat.Store].
func (s *Store) SpendToken(ctx context.Context, id chat.TokenID, by uint64, until time.Time) (bool, error) {
	// Rounded up, so that the mark is not forgotten a fraction early.
	untilUS := micros(until.Add(time.Microsecond - 1))
	var spender sql.NullInt64
	err := s.engine.statement(ctx, func(q *session) error {
		if err := q.change(sqlSpendToken, []any{id[:], int64(by), untilUS}, &spender); err != nil {
			return fmt.Errorf("mark a token as used: %w", err)
		}
		return nil
	})
	if err != nil {
		return false, err // spender may belong to another goroutine still
	}
	return spender.Valid && spender.Int64 == int64(by), nil
}

// TokenSpent implements [chat.Store].
func (s *Store) TokenSpent(ctx context.Context, id chat.TokenID) (bool, error) {
	var spent bool
	err := s.engine.read(ctx, func(q *session) (err error) {
		var one int64
		spent, err = q.row(sqlTokenSpent, []any{id[:]}, &one)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for the mark of a token: %w", err) // spent may belong to another goroutine still
	}
	return spent, nil
}

// TokenKeys implements [chat.Store].
func (s *Store) TokenKeys(ctx context.Context) ([]chat.TokenKey, error) {
	var keys []chat.TokenKey
	err := s.engine.read(ctx, func(q *session) (err error) {
		keys, err = selectTokenKeys(q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the token keys: %w", err)
	}
	return keys, nil
}

func selectTokenKeys(q *session) (keys []chat.TokenKey, err error) {
	err = q.rows(sqlSelectTokenKeys, nil, func(rows *sql.Rows) error {
		var key chat.TokenKey
		var createdUS int64
		if err := rows.Scan(&key.ID, &createdUS, &key.Secret); err != nil {
			return err
		}
		key.Created = fromMicros(createdUS)
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

// AddTokenKey implements [chat.Store].
func (s *Store) AddTokenKey(ctx context.Context, key chat.TokenKey) error {
	return s.engine.statement(ctx, func(q *session) error {
		if q.again {
			keys, err := selectTokenKeys(q)
			if err != nil {
				return fmt.Errorf("look for token key %d: %w", key.ID, err)
			}
			if slices.ContainsFunc(keys, func(k chat.TokenKey) bool { return k.ID == key.ID && bytes.Equal(k.Secret, key.Secret) }) {
				return nil
			}
		}
		if _, err := q.exec(sqlInsertTokenKey, int64(key.ID), micros(key.Created), key.Secret); err != nil {
			return fmt.Errorf("insert token key %d: %w", key.ID, err)
		}
		return nil
	})
}

// PruneTokens implements [chat.Store].
func (s *Store) PruneTokens(ctx context.Context, keysBefore, now time.Time) error {
	if _, err := s.remove(ctx, sqlDeleteTokenKeys, micros(keysBefore)); err != nil {
		return fmt.Errorf("forget old token keys: %w", err)
	}
	for {
		n, err := s.remove(ctx, sqlDeleteSpentTokens, micros(now), pruneStep)
		if err != nil {
			return fmt.Errorf("forget used tokens: %w", err)
		}
		if n < pruneStep {
			return nil
		}
	}
}

// remove runs one deletion and returns how many rows went.
func (s *Store) remove(ctx context.Context, text string, args ...any) (int64, error) {
	var removed int64
	err := s.engine.statement(ctx, func(q *session) (err error) {
		removed, err = q.exec(text, args...)
		return err
	})
	if err != nil {
		return 0, err // removed may belong to another goroutine still
	}
	return removed, nil
}
