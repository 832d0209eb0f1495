package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

const (
	databaseFile = "parlor.db"
	lockFile     = "parlor.lock"
)

// sqliteEngine runs operations on an SQLite database: writes through a committer,
// reads on whichever connection is free.
type sqliteEngine struct {
	writeDB, readDB *sql.DB
	writer          *committer
	readers         chan *session // the idle ones
	lock            *os.File

	gate
}

// OpenSQLite opens the store in dir, which is created if need be (the directory for
// its owner alone, and so the files), and brings its schema up to date. A directory
// that another process has open, and a database that a newer version has written, are
// refused with an error that says what to do.
func OpenSQLite(ctx context.Context, dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := makeDirectory(dir); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	engine := &sqliteEngine{lock: lock}
	if err := engine.open(ctx, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database in %s: %w", dir, err), engine.close())
	}
	return &Store{engine: engine}, nil
}

// makeDirectory creates dir so that it survives a power failure.
func makeDirectory(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(dir))
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (e *sqliteEngine) open(ctx context.Context, dir string) error {
	path := filepath.Join(dir, databaseFile)
	// SQLite would create the file for everybody to read; its other files follow the
	// mode of this one.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	if err := syncDirectory(dir); err != nil {
		return err
	}

	// The pragmas of the writer: cache_size is in KB when negative; the checkpoint
	// comes every 16 MB of log rather than 4, so that pages written often are copied
	// to the database less often.
	if e.writeDB, err = openPool(path, 1,
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"cache_size(-32000)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"); err != nil {
		return err
	}
	if err := migrate(ctx, e.writeDB, goose.DialectSQLite3); err != nil {
		return err
	}
	writer, err := openSession(ctx, e.writeDB)
	if err != nil {
		return err
	}
	e.writer = &committer{session: writer}

	readers := min(max(runtime.GOMAXPROCS(0), 2), 8)
	if e.readDB, err = openPool(path, readers, "query_only(1)", "cache_size(-4000)"); err != nil {
		return err
	}
	e.readers = make(chan *session, readers)
	for range readers {
		reader, err := openSession(ctx, e.readDB)
		if err != nil {
			return err
		}
		e.readers <- reader
	}
	return nil
}

// openPool returns a pool of at most n connections to the database at path.
func openPool(path string, n int, pragmas ...string) (*sql.DB, error) {
	query := url.Values{
		"_dqs":    {"0"}, // a misspelt column is an error, not a string
		"_pragma": append([]string{"busy_timeout(5000)", "trusted_schema(0)"}, pragmas...),
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// read implements engine. Nothing runs on after it returned.
func (e *sqliteEngine) read(ctx context.Context, f func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	select {
	case reader := <-e.readers:
		defer func() { e.readers <- reader }()
		return f(reader)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write implements engine.
func (e *sqliteEngine) write(ctx context.Context, f func(*session) error) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	return e.writer.do(ctx, f)
}

// statement implements engine: a statement shares a commit like everything else.
func (e *sqliteEngine) statement(ctx context.Context, f func(*session) error) error {
	return e.write(ctx, f)
}

// ready implements engine: the database answers a query, and its directory is still
// where it was.
func (e *sqliteEngine) ready(ctx context.Context) error {
	return e.read(ctx, func(q *session) error {
		var n int64
		if _, err := q.row(sqlReady, nil, &n); err != nil {
			return fmt.Errorf("query the database: %w", err)
		}
		return holdsDirectory(e.lock)
	})
}

// close ends whatever open made, also when open failed half-way.
func (e *sqliteEngine) close() error {
	if !e.shut() {
		return nil
	}
	var errs []error
	for range len(e.readers) {
		errs = append(errs, (<-e.readers).close())
	}
	if e.readDB != nil {
		errs = append(errs, e.readDB.Close())
	}
	if e.writer != nil {
		errs = append(errs, e.writer.session.close())
	}
	if e.writeDB != nil {
		errs = append(errs, e.writeDB.Close()) // the last one out empties the log into the database
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
