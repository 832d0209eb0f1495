package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"parlor/internal/chat"
)

// Everything that a store holds can be read, and written to another, whatever their
// engines: for moving from one to another. The order of what is read is the same for
// the same content. It is read page by page: while nobody writes it is one state.

// SpentToken is the mark of a token that was used.
type SpentToken struct {
	ID    chat.TokenID
	Until time.Time // UTC, microseconds; the mark may be forgotten afterwards
}

// dumpPage is how many rows are read at once.
const dumpPage = 500

const (
	sqlDumpScopes = `SELECT account, region FROM rooms GROUP BY account, region ` +
		`UNION SELECT account, region FROM logging_configurations GROUP BY account, region`

	sqlDumpRooms = `SELECT ` + roomColumns + ` FROM rooms r ` +
		`WHERE r.account = $1 AND r.region = $2 AND r.id > $3 ORDER BY r.id LIMIT $4`

	sqlDumpLoggingConfigurations = `SELECT ` + loggingConfigurationColumns + ` FROM logging_configurations ` +
		`WHERE account = $1 AND region = $2 AND id > $3 ORDER BY id LIMIT $4`

	sqlDumpSpentTokens = `SELECT id, until_us FROM spent_tokens WHERE id > $1 AND until_us >= $2 ORDER BY id LIMIT $3`

	sqlLoadRoom = sqlInsertRoom + ` ON CONFLICT DO NOTHING`

	sqlLoadLoggingConfiguration = sqlInsertLoggingConfiguration + ` ON CONFLICT DO NOTHING`

	sqlLoadTokenKey = sqlInsertTokenKey + ` ON CONFLICT DO NOTHING`

	// Nobody in particular spent it.
	sqlLoadSpentToken = `INSERT INTO spent_tokens (id, until_us) VALUES ($1, $2) ON CONFLICT DO NOTHING`

	sqlProlongSpentToken = `UPDATE spent_tokens SET until_us = $2 WHERE id = $1 AND until_us < $2`

	sqlSelectTokenKey = `SELECT created_us, secret FROM token_keys WHERE id = $1`
)

// DumpLoggingConfigurations goes through all logging configurations, by account,
// region and id. An error is the last thing it yields.
func (s *Store) DumpLoggingConfigurations(ctx context.Context) iter.Seq2[chat.LoggingConfiguration, error] {
	return dump(ctx, s, sqlDumpLoggingConfigurations, scanLoggingConfiguration, func(lc chat.LoggingConfiguration) string { return lc.ARN.ID })
}

// DumpRooms goes through all rooms as DumpLoggingConfigurations does.
func (s *Store) DumpRooms(ctx context.Context) iter.Seq2[chat.Room, error] {
	return dump(ctx, s, sqlDumpRooms, scanRoom, func(room chat.Room) string { return room.ARN.ID })
}

// dump goes through the resources of one kind.
func dump[T any](ctx context.Context, s *Store, text string, scan func(*sql.Rows, chat.Scope) (T, error), id func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		scopes, err := s.dumpScopes(ctx)
		if err != nil {
			yield(none, err)
			return
		}
		for _, scope := range scopes {
			page := func(after string) ([]T, error) {
				var list []T
				err := s.engine.read(ctx, func(q *session) error {
					list = nil // of an earlier run
					return q.rows(text, []any{scope.Account, scope.Region, after, dumpPage}, func(rows *sql.Rows) error {
						t, err := scan(rows, scope)
						list = append(list, t)
						return err
					})
				})
				return list, err
			}
			for after, last := "", false; !last; {
				list, err := page(after)
				if err != nil {
					yield(none, fmt.Errorf("read what the store has in %s of %s: %w", scope.Region, scope.Account, err))
					return
				}
				for _, t := range list {
					if !yield(t, nil) {
						return
					}
					after = id(t)
				}
				last = len(list) < dumpPage
			}
		}
	}
}

// dumpScopes lists the scopes that have something, in order. (Not by the database,
// whose order of text may be that of a language.)
func (s *Store) dumpScopes(ctx context.Context) ([]chat.Scope, error) {
	var scopes []chat.Scope
	err := s.engine.read(ctx, func(q *session) error {
		scopes = nil // of an earlier run
		return q.rows(sqlDumpScopes, nil, func(rows *sql.Rows) error {
			var scope chat.Scope
			err := rows.Scan(&scope.Account, &scope.Region)
			scopes = append(scopes, scope)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the accounts and regions: %w", err)
	}
	slices.SortFunc(scopes, func(a, b chat.Scope) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	return scopes, nil
}

// DumpSpentTokens goes through the marks that may not be forgotten yet at now, by id.
func (s *Store) DumpSpentTokens(ctx context.Context, now time.Time) iter.Seq2[SpentToken, error] {
	return func(yield func(SpentToken, error) bool) {
		for after, last := []byte{}, false; !last; {
			var list []SpentToken
			err := s.engine.read(ctx, func(q *session) error {
				list = nil // of an earlier run
				return q.rows(sqlDumpSpentTokens, []any{after, micros(now), dumpPage}, func(rows *sql.Rows) error {
					var id []byte
					var untilUS int64
					if err := rows.Scan(&id, &untilUS); err != nil {
						return err
					}
					if len(id) != len(chat.TokenID{}) {
						return fmt.Errorf("the mark of a token has %d bytes", len(id))
					}
					list = append(list, SpentToken{ID: chat.TokenID(id), Until: fromMicros(untilUS)})
					return nil
				})
			})
			if err != nil {
				yield(SpentToken{}, fmt.Errorf("read the marks of used tokens: %w", err))
				return
			}
			for _, t := range list {
				if !yield(t, nil) {
					return
				}
				after = t.ID[:]
			}
			last = len(list) < dumpPage
		}
	}
}

// Loaded is what became of one thing given to [Store.Load].
type Loaded int

const (
	LoadedNew     Loaded = iota
	LoadedOver           // what was there was replaced
	LoadedNot            // it is there already
	LoadedRefused        // see Outcome.Err
)

// Outcome is what became of one thing.
type Outcome struct {
	Loaded
	Err error // of LoadedRefused: a logging configuration or a room that does not exist, or a key that is another
}

// Load writes things with all that is theirs: [chat.LoggingConfiguration], [chat.Room],
// [chat.Ban], [chat.TokenKey], [SpentToken], in this order where they refer to each other. They are
// valid, and without duplicates. It is one transaction: when the error is nil, each was
// written whole or not at all, as its outcome says; else none was. What is there already
// is left alone, or, with replace, replaced; a token key is never replaced, and the mark
// of a used token kept the longer of the two times. No quota holds.
func (s *Store) Load(ctx context.Context, things []any, replace bool) ([]Outcome, error) {
	var outcomes []Outcome
	err := s.engine.write(ctx, func(q *session) error {
		all := make([]Outcome, len(things))
		for i, thing := range things {
			var err error
			switch thing := thing.(type) {
			case chat.LoggingConfiguration:
				all[i], err = loadLoggingConfiguration(q, thing, replace)
			case chat.Room:
				all[i], err = loadRoom(q, thing, replace)
			case chat.Ban:
				all[i], err = loadBan(q, thing, replace)
			case chat.TokenKey:
				all[i], err = loadTokenKey(q, thing)
			case SpentToken:
				all[i], err = loadSpentToken(q, thing)
			default:
				err = fmt.Errorf("load a %T: no store has any", thing)
			}
			if err != nil {
				return err
			}
		}
		outcomes = all
		return nil
	})
	if err != nil {
		return nil, err // outcomes may belong to another goroutine still
	}
	return outcomes, nil
}

// write is how a thing that has values is loaded: inserted, or, if it is there and is to
// be replaced, updated.
func write(q *session, insert, update string, values []any, replace bool) (Loaded, error) {
	n, err := q.exec(insert, values...)
	switch {
	case err != nil:
		return 0, err
	case n > 0:
		return LoadedNew, nil
	case !replace:
		return LoadedNot, nil
	}
	_, err = q.exec(update, values...)
	return LoadedOver, err
}

func loadLoggingConfiguration(q *session, lc chat.LoggingConfiguration, replace bool) (Outcome, error) {
	values, err := loggingConfigurationValues(lc)
	var loaded Loaded
	if err == nil {
		loaded, err = write(q, sqlLoadLoggingConfiguration, sqlUpdateLoggingConfiguration, values, replace)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("write logging configuration %s: %w", lc.ARN, err)
	}
	return Outcome{Loaded: loaded}, nil
}

func loadRoom(q *session, room chat.Room, replace bool) (Outcome, error) {
	err := requireLogging(q, room, nil)
	if e, ok := errors.AsType[*chat.Error](err); ok && e.Code == chat.NotFound {
		return Outcome{LoadedRefused, err}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	values, err := roomValues(room)
	var loaded Loaded
	if err == nil {
		loaded, err = write(q, sqlLoadRoom, sqlUpdateRoom, values, replace)
	}
	if err == nil && loaded == LoadedOver {
		_, err = q.exec(sqlDeleteLinks, values[:3]...)
	}
	if err == nil && loaded != LoadedNot {
		err = insertLinks(q, room)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("write room %s: %w", room.ARN, err)
	}
	return Outcome{Loaded: loaded}, nil
}

func loadTokenKey(q *session, key chat.TokenKey) (Outcome, error) {
	var createdUS int64
	var secret []byte
	found, err := q.row(sqlSelectTokenKey, []any{int64(key.ID)}, &createdUS, &secret)
	switch {
	case err != nil:
		return Outcome{}, fmt.Errorf("read token key %d: %w", key.ID, err)
	case found && !bytes.Equal(secret, key.Secret):
		return Outcome{LoadedRefused, fmt.Errorf("the store has another token key %d", key.ID)}, nil
	case found:
		return Outcome{Loaded: LoadedNot}, nil
	}
	if _, err := q.exec(sqlLoadTokenKey, int64(key.ID), micros(key.Created), key.Secret); err != nil {
		return Outcome{}, fmt.Errorf("insert token key %d: %w", key.ID, err)
	}
	return Outcome{Loaded: LoadedNew}, nil
}

func loadSpentToken(q *session, t SpentToken) (Outcome, error) {
	n, err := q.exec(sqlLoadSpentToken, t.ID[:], micros(t.Until))
	if err == nil && n == 0 {
		_, err = q.exec(sqlProlongSpentToken, t.ID[:], micros(t.Until))
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("mark a token as used: %w", err)
	}
	if n == 0 {
		return Outcome{Loaded: LoadedNot}, nil
	}
	return Outcome{Loaded: LoadedNew}, nil
}
