package store

import (
	"hash/fnv"
	"io"
	"time"

	"parlor/internal/chat"
)

// The locks that an operation takes on the rows it relies on, where others change the
// database at the same time. Each waits for those that it excludes.
const (
	forReference = " FOR KEY SHARE"     // it stays; excludes forRemoval
	forChange    = " FOR NO KEY UPDATE" // it is mine to change; excludes forChange and forRemoval
	forRemoval   = " FOR UPDATE"        // it is mine to delete; excludes all
)

const (
	sqlOneByOne = `SELECT pg_advisory_xact_lock($1)`
	sqlClock    = `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
)

// locking returns the query as one that locks what it finds, where that is needed.
func (s *session) locking(text, lock string) string {
	if !s.shared {
		return text
	}
	return text + lock
}

// oneByOne waits for the transactions of other nodes that create the same kind of
// resource in the same scope, and holds up those that come later.
func (s *session) oneByOne(arn chat.ARN) error {
	if !s.shared {
		return nil
	}
	name := fnv.New64a()
	io.WriteString(name, "parlor "+string(arn.Kind)+" "+arn.Account+" "+arn.Region)
	_, err := s.exec(sqlOneByOne, int64(name.Sum64()))
	return err
}

// now is the time by the one clock that all nodes share.
func (s *session) now() (time.Time, error) {
	if !s.shared {
		return time.Now(), nil
	}
	var us int64
	_, err := s.row(sqlClock, nil, &us)
	return fromMicros(us), err
}
