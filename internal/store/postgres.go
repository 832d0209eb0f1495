package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// The times that bound an operation. A server that is well answers a statement or gives
// it up within statementTime; one that has not answered after answerTime is taken for
// gone, with the connection, and there is time left to ask on another.
const (
	operationTime = 5 * time.Second
	answerTime    = 3 * time.Second
	statementTime = 2500 * time.Millisecond
	lockTime      = 2 * time.Second // to wait for a row's lock
	connectTime   = 3 * time.Second // for each host
	idleTime      = 5 * time.Second // between two statements of a transaction

	// A connection is replaced after this time, so that nodes find their way back to a
	// server that was away, and the server gets back the memory of old ones.
	connectionLife = 30 * time.Minute
)

// How an operation that failed on its way is repeated: soon, then ever later, until its
// time is over.
const (
	maxAttempts  = 12
	firstBackoff = 20 * time.Millisecond
	maxBackoff   = time.Second
)

// errNoAnswer is the cause of failures after operationTime. It is not
// context.DeadlineExceeded, which would be the caller's.
var errNoAnswer = fmt.Errorf("the database did not answer within %v", operationTime)

// postgresEngine runs operations on a PostgreSQL database, each on a connection of a
// pool. Writers do not wait for each other here: the server commits together what
// arrives together.
type postgresEngine struct {
	db *sql.DB

	// Connections made before this time, as told by age, are not used again.
	suspect atomic.Int64
	started time.Time

	gate
}

// age is how long the engine has been there.
func (e *postgresEngine) age() int64 { return int64(time.Since(e.started)) }

const bornKey = "parlor: the engine's age when the connection was made"

func newPostgresEngine(config *pgx.ConnConfig, connections int) *postgresEngine {
	e := &postgresEngine{started: time.Now()}
	e.db = stdlib.OpenDB(*config,
		stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
			c.PgConn().CustomData()[bornKey] = e.age()
			return nil
		}),
		stdlib.OptionResetSession(func(_ context.Context, c *pgx.Conn) error {
			if born, ok := c.PgConn().CustomData()[bornKey].(int64); !ok || born < e.suspect.Load() {
				return errSuspect
			}
			return nil
		}),
		// A connection that died is found out by the operation, which is repeated.
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }))
	e.db.SetMaxOpenConns(connections)
	e.db.SetMaxIdleConns(connections)
	e.db.SetConnMaxLifetime(connectionLife)
	return e
}

// close implements engine. It takes no longer than an operation may.
func (e *postgresEngine) close() error {
	if !e.shut() {
		return nil
	}
	return e.db.Close()
}

// unit is what a run of an operation is to the database.
type unit int

const (
	lone        unit = iota // each statement by itself, one of which may change things
	transaction             // all statements together
	reading                 // each statement by itself, none of which changes anything
)

// read implements engine.
func (e *postgresEngine) read(ctx context.Context, f func(*session) error) error {
	return e.run(ctx, reading, maxAttempts, f)
}

// write implements engine.
func (e *postgresEngine) write(ctx context.Context, f func(*session) error) error {
	return e.run(ctx, transaction, maxAttempts, f)
}

// statement implements engine.
func (e *postgresEngine) statement(ctx context.Context, f func(*session) error) error {
	return e.run(ctx, lone, maxAttempts, f)
}

// sqlWritable also asks whether this server takes writes: a standby does not.
const sqlWritable = `SELECT count(*), current_setting('transaction_read_only') FROM token_keys`

// ready implements engine. It asks once: who wants to know does not want to wait.
func (e *postgresEngine) ready(ctx context.Context) error {
	return e.run(ctx, reading, 1, func(q *session) error {
		var n int64
		var readOnly string
		if _, err := q.row(sqlWritable, nil, &n, &readOnly); err != nil {
			return fmt.Errorf("query the database: %w", err)
		}
		if readOnly != "off" {
			return errors.New("the database is read-only")
		}
		return nil
	})
}

// run runs an operation on a goroutine of its own, so that the caller may leave at any
// moment and the connection, which is dear, is kept: what was begun is ended within
// operationTime, on at most as many goroutines as there are connections.
func (e *postgresEngine) run(ctx context.Context, as unit, attempts int, f func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer e.running.Done()
		done <- e.repeat(ctx, as, attempts, f)
	}()
	select {
	case err := <-done:
		if p, ok := err.(*panicked); ok {
			panic(p)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// repeat runs an operation until it succeeds, fails for a reason of its own, or has had
// its time. ctx is looked at while waiting.
func (e *postgresEngine) repeat(ctx context.Context, as unit, attempts int, f func(*session) error) error {
	waiting, cancel := context.WithTimeoutCause(ctx, operationTime, errNoAnswer)
	defer cancel()
	working, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), operationTime, errNoAnswer)
	defer cancel()

	again := false // a run may have happened, although it failed
	backoff := firstBackoff
	for n := 1; ; n++ {
		failure, err := e.attempt(waiting, working, as, again, f)
		if err == nil || failure == own {
			return err
		}
		again = again || failure == unknown && as != reading
		var p *panicked
		switch {
		case errors.As(err, &p):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case failure != final && n < attempts:
			select {
			case <-time.After(backoff/2 + rand.N(backoff/2)):
				backoff = min(2*backoff, maxBackoff)
				continue
			case <-waiting.Done():
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if again {
			err = fmt.Errorf("whether the change was made is not known: %w", err)
		}
		return err
	}
}

// attempt runs an operation once, and says what kind of failure its error is.
func (e *postgresEngine) attempt(waiting, working context.Context, as unit, again bool, f func(*session) error) (failure, error) {
	begun := e.age()
	conn, err := e.db.Conn(waiting)
	if err != nil {
		kind := kindOf(err, false)
		if kind == unknown {
			kind = harmless // nothing was asked yet
		}
		return kind, honest(waiting, fmt.Errorf("connect to the database: %w", err))
	}
	defer conn.Close()
	q := &session{conn: conn, shared: true, again: again, statement: func() (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(working, answerTime, errNoAnswer)
	}}
	finish := func(err error, asked bool) (failure, error) {
		kind := kindOf(q.failed, again)
		if isLost(q.failed) {
			e.suspectBefore(begun)
		}
		if kind == unknown && !asked {
			kind = harmless
		}
		return kind, honest(working, err)
	}

	if as == transaction {
		if _, err := q.exec("BEGIN"); err != nil {
			return finish(fmt.Errorf("begin: %w", err), false)
		}
	}
	err = runRecovered(f, q)
	switch {
	case err != nil && as == transaction:
		failed := q.failed
		_, _ = q.exec("ROLLBACK") // where it fails the connection is not used again
		q.failed = failed
		if failed == nil {
			return own, err
		}
		return finish(err, false)
	case err != nil:
		if q.failed == nil {
			return own, err
		}
		return finish(err, as == lone)
	case as == transaction:
		if _, err := q.exec("COMMIT"); err != nil {
			kind, err := finish(fmt.Errorf("commit: %w", err), true)
			if errors.Is(err, driver.ErrBadConn) {
				kind = unknown // pgx says so of a statement without arguments also when its answer is lost
			}
			return kind, err
		}
	}
	return own, nil
}

// suspectBefore has connections that were there at the given age not used again. They
// came the same way as one that broke, and would cost an operation each to find out.
func (e *postgresEngine) suspectBefore(age int64) {
	for {
		at := e.suspect.Load()
		if age <= at || e.suspect.CompareAndSwap(at, age) {
			return
		}
	}
}
