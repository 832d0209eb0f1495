package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// session is one connection and its prepared statements. It is used by one goroutine
// at a time: a reader that took it from the pool, or the leader of a commit.
type session struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt

	// spoiled says that the transaction cannot go on as if the running operation had
	// not been there: it changed something, or the engine failed it. See committer.
	spoiled bool
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
// Here and below the context is Background for a reason: with one that can end, the
// driver starts a goroutine for each statement and gives up the connection.
func (s *session) exec(text string, args ...any) (int64, error) {
	s.spoiled = true
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

// rows runs a query and calls each for every row.
func (s *session) rows(text string, args []any, each func(*sql.Rows) error) (err error) {
	defer func() {
		if err != nil {
			s.spoiled = true
		}
	}()
	stmt, err := s.prepare(text)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
