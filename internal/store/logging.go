package store

import (
	"context"
	"database/sql"
	"fmt"

	"parlor/internal/chat"
)

// CreateLoggingConfiguration implements [chat.Store].
func (s *Store) CreateLoggingConfiguration(ctx context.Context, lc chat.LoggingConfiguration, quota int) error {
	values, err := loggingConfigurationValues(lc)
	if err != nil {
		return fmt.Errorf("encode logging configuration %s: %w", lc.ARN, err)
	}
	run := s.engine.write
	if quota <= 0 {
		run = s.engine.statement
	}
	return run(ctx, func(q *session) error {
		if q.again {
			if _, err := selectLoggingConfiguration(q, lc.ARN, ""); err == nil || !isNotFound(err) {
				return err
			}
		}
		if err := withinQuota(q, sqlLoggingConfigurationAt, lc.ARN, quota); err != nil {
			return err
		}
		if _, err := q.exec(sqlInsertLoggingConfiguration, values...); err != nil {
			return fmt.Errorf("insert logging configuration %s: %w", lc.ARN, err)
		}
		return nil
	})
}

// LoggingConfiguration implements [chat.Store].
func (s *Store) LoggingConfiguration(ctx context.Context, arn chat.ARN) (chat.LoggingConfiguration, error) {
	var lc chat.LoggingConfiguration
	err := s.engine.read(ctx, func(q *session) (err error) {
		lc, err = selectLoggingConfiguration(q, arn, "")
		return err
	})
	if err != nil {
		return chat.LoggingConfiguration{}, err // lc may belong to another goroutine still
	}
	return lc, nil
}

// UpdateLoggingConfiguration implements [chat.Store].
func (s *Store) UpdateLoggingConfiguration(ctx context.Context, arn chat.ARN, change func(chat.LoggingConfiguration) (chat.LoggingConfiguration, error)) (chat.LoggingConfiguration, error) {
	return update(ctx, s, arn, selectLoggingConfiguration, loggingConfigurationValues, change, func(q *session, _, after chat.LoggingConfiguration) error {
		if after.ARN != arn {
			return renamed(arn, after.ARN)
		}
		values, err := loggingConfigurationValues(after)
		if err != nil {
			return fmt.Errorf("encode logging configuration %s: %w", arn, err)
		}
		if _, err := q.exec(sqlUpdateLoggingConfiguration, values...); err != nil {
			return fmt.Errorf("update logging configuration %s: %w", arn, err)
		}
		return nil
	})
}

// DeleteLoggingConfiguration implements [chat.Store].
func (s *Store) DeleteLoggingConfiguration(ctx context.Context, arn chat.ARN) error {
	if arn.Kind != chat.KindLoggingConfiguration {
		return chat.NewNotFound(arn)
	}
	key := []any{arn.Account, arn.Region, arn.ID}
	return s.engine.write(ctx, func(q *session) error {
		// Whoever is about to refer to it is waited for, and waits from here on.
		var one int64
		if _, err := q.row(q.locking(sqlLoggingConfigurationExists, forRemoval), key, &one); err != nil {
			return fmt.Errorf("lock %s: %w", arn, err)
		}
		used, err := q.row(sqlLoggingConfigurationUsed, key, &one)
		if err != nil {
			return fmt.Errorf("look for rooms that refer to %s: %w", arn, err)
		}
		if used {
			return &chat.Error{
				Code:     chat.Conflict,
				Message:  fmt.Sprintf("Logging configuration %s is in use by a room.", arn),
				Resource: arn,
			}
		}
		n, err := q.exec(sqlDeleteLoggingConfiguration, key...)
		if err != nil {
			return fmt.Errorf("delete logging configuration %s: %w", arn, err)
		}
		if n == 0 && !q.again {
			q.spoiled = false // nothing was changed
			return chat.NewNotFound(arn)
		}
		return nil
	})
}

// LoggingConfigurations implements [chat.Store].
func (s *Store) LoggingConfigurations(ctx context.Context, scope chat.Scope, after chat.Cursor, limit int) ([]chat.LoggingConfiguration, error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	us, id := place(after)
	var list []chat.LoggingConfiguration
	err := s.engine.read(ctx, func(q *session) error {
		list = nil
		return q.rows(sqlListLoggingConfigurations, []any{scope.Account, scope.Region, us, id, limit}, func(rows *sql.Rows) error {
			lc, err := scanLoggingConfiguration(rows, scope)
			list = append(list, lc)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list logging configurations: %w", err)
	}
	return list, nil
}

// selectLoggingConfiguration reads a logging configuration, under one of the locks if
// there is to be any.
func selectLoggingConfiguration(q *session, arn chat.ARN, lock string) (chat.LoggingConfiguration, error) {
	if arn.Kind != chat.KindLoggingConfiguration {
		return chat.LoggingConfiguration{}, chat.NewNotFound(arn)
	}
	var lc chat.LoggingConfiguration
	found := false
	err := q.rows(q.locking(sqlSelectLoggingConfiguration, lock), []any{arn.Account, arn.Region, arn.ID}, func(rows *sql.Rows) (err error) {
		found = true
		lc, err = scanLoggingConfiguration(rows, arn.Scope)
		return err
	})
	if err != nil {
		return chat.LoggingConfiguration{}, fmt.Errorf("read logging configuration %s: %w", arn, err)
	}
	if !found {
		return chat.LoggingConfiguration{}, chat.NewNotFound(arn)
	}
	return lc, nil
}

// loggingConfigurationValues returns the parameters of sqlInsertLoggingConfiguration
// and sqlUpdateLoggingConfiguration, the key first.
func loggingConfigurationValues(lc chat.LoggingConfiguration) ([]any, error) {
	tags, err := encodeTags(lc.Tags)
	if err != nil {
		return nil, err
	}
	return []any{
		lc.ARN.Account, lc.ARN.Region, lc.ARN.ID, lc.Name, string(lc.Destination.Kind), lc.Destination.Name,
		tags, micros(lc.CreateTime), micros(lc.UpdateTime),
	}, nil
}

// scanLoggingConfiguration reads a row of loggingConfigurationColumns.
func scanLoggingConfiguration(rows *sql.Rows, scope chat.Scope) (chat.LoggingConfiguration, error) {
	lc := chat.LoggingConfiguration{ARN: chat.ARN{Scope: scope, Kind: chat.KindLoggingConfiguration}}
	var createUS, updateUS int64
	var tags string
	err := rows.Scan(&lc.ARN.ID, &lc.Name, &lc.Destination.Kind, &lc.Destination.Name, &tags, &createUS, &updateUS)
	if err != nil {
		return chat.LoggingConfiguration{}, err
	}
	lc.CreateTime, lc.UpdateTime = fromMicros(createUS), fromMicros(updateUS)
	lc.Tags, err = decodeTags(tags)
	return lc, err
}
