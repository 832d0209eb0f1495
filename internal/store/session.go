package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// session is a connection as operations see it. It is used by one goroutine at a time.
type session struct {
	conn *sql.Conn
	// prepared are the statements of a connection that has none of its own: SQLite's.
	prepared map[string]*sql.Stmt

	// spoiled says that the transaction cannot go on as if the running operation had
	// not been there: it changed something, or the engine failed it. See committer.
	spoiled bool

	// The rest is PostgreSQL's.

	// shared: others change the database at the same time, so what is read in order to
	// be relied on is locked. statement is for each statement the context to run under.
	shared    bool
	statement func() (context.Context, context.CancelFunc)
	// again: an earlier run of the operation may have happened, its answer was lost.
	again bool
	// failed is how the engine failed the operation, nil if the operation failed itself.
	failed error
}

func openSession(ctx context.Context, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, prepared: map[string]*sql.Stmt{}}, nil
}

// close gives the connection back. Its statements go first: SQLite keeps a connection
// that has some open in secret, and its files with it.
func (s *session) close() error {
	var errs []error
	for _, stmt := range s.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// prepare returns the prepared form of a statement. Statements are few and constant,
// so they stay prepared as long as the connection.
func (s *session) prepare(text string) (*sql.Stmt, error) {
	if stmt, ok := s.prepared[text]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", text, err)
	}
	s.prepared[text] = stmt
	return stmt, nil
}

// exec runs a statement and returns how many rows it changed.
//
// Here and below SQLite's context is Background for a reason: with one that can end,
// the driver starts a goroutine for each statement and gives up the connection.
func (s *session) exec(text string, args ...any) (int64, error) {
	s.spoiled = true
	if s.shared {
		ctx, cancel := s.statement()
		defer cancel()
		result, err := s.conn.ExecContext(ctx, text, args...)
		if err != nil {
			s.failed = err
			return 0, err
		}
		return result.RowsAffected()
	}
	stmt, err := s.prepare(text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row runs a query for at most one row, scans it, and reports whether there was one.
func (s *session) row(text string, args []any, into ...any) (found bool, err error) {
	err = s.rows(text, args, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(into...)
	})
	return found, err
}

// change runs a statement that changes things and returns one row.
func (s *session) change(text string, args []any, into ...any) error {
	s.spoiled = true
	found, err := s.row(text, args, into...)
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}

// rows runs a query and calls each for every row.
func (s *session) rows(text string, args []any, each func(*sql.Rows) error) (err error) {
	defer func() {
		if err != nil {
			s.spoiled = true
		}
	}()
	if s.shared {
		ctx, cancel := s.statement()
		defer cancel()
		rows, err := s.conn.QueryContext(ctx, text, args...)
		if err != nil {
			s.failed = err
			return err
		}
		return eachRow(rows, each, &s.failed)
	}
	stmt, err := s.prepare(text)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	return eachRow(rows, each, &s.failed)
}

// eachRow calls each for every row. An error of the engine's is set as failed.
func eachRow(rows *sql.Rows, each func(*sql.Rows) error, failed *error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		*failed = err
		return err
	}
	return nil
}
