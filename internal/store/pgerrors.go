package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// errSuspect tells database/sql to throw a connection away.
var errSuspect = driver.ErrBadConn

// failure is what an error says about the run of an operation that ended with it.
type failure int

const (
	own      failure = iota // the operation answered, or all is well
	harmless                // nothing was changed, another run may fare better
	unknown                 // as harmless, but it may have been changed
	final                   // nothing was changed, another run would fare no better
)

// SQLSTATE codes.
const (
	uniqueViolation       = "23505"
	readOnlyTransaction   = "25006"
	completionUnknown     = "40003"
	transactionRollback   = "40" // class: serialization failures, deadlocks
	connectionException   = "08" // class
	tooManyConnections    = "53300"
	operatorIntervention  = "57P" // the server starts, stops, or ended the session
	idleTransactionIsOver = "25P03"
)

// kindOf returns what kind of failure an error of the engine is.
func kindOf(err error, again bool) failure {
	var answer *pgconn.PgError
	switch {
	case err == nil:
		return own
	case !errors.As(err, &answer):
		if errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) {
			return harmless
		}
		return unknown
	case answer.Code == completionUnknown:
		return unknown
	case strings.HasPrefix(answer.Code, transactionRollback), answer.Code == tooManyConnections,
		answer.Code == readOnlyTransaction, answer.Code == idleTransactionIsOver:
		return harmless
	case answer.Code == uniqueViolation && again:
		return harmless // perhaps it met its own earlier run, which the next one looks for
	case strings.HasPrefix(answer.Code, operatorIntervention), strings.HasPrefix(answer.Code, connectionException):
		return unknown
	}
	return final
}

// isLost reports whether an error says that the connection, or its server, is of no
// more use.
func isLost(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return err != nil
	}
	return answer.Code == readOnlyTransaction || strings.HasPrefix(answer.Code, operatorIntervention) ||
		strings.HasPrefix(answer.Code, connectionException)
}

// honest returns err so that nobody takes the engine's own time-outs for the end of
// the caller's context.
func honest(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errNoAnswer) {
		return err
	}
	return fmt.Errorf("%w (%v)", errNoAnswer, err)
}
