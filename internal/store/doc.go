// Package store keeps rooms, logging configurations, token keys and spent tokens on
// disk: it is [chat.Store] over SQL. One SQL text (sql.go, migrations/) is meant for
// two engines; what is SQLite's alone is in sqlite.go and commit.go.
//
// Invariants:
//
//   - A write that returned nil is on disk: WAL with synchronous=FULL, which is an
//     fsync in every commit. Writers that arrive together share one (commit.go).
//   - One process owns a data directory, by a lock that dies with the process.
//   - There is one write connection, used only by the leader of the moment; reads run
//     beside it on connections of their own and see the last commit.
//   - A statement, once begun, is never interrupted: every statement is short (a page,
//     a row, a bounded step), so a context is looked at while waiting for a connection
//     or for a commit, and not in between.
//   - No write operation answers a domain error after its first change. One that fails
//     later spoils its whole batch, which is then repeated one by one.
//   - The package starts no goroutine of its own. database/sql keeps one for each of
//     the two pools, idle, from Open to Close.
//
// The package does not validate fields, does not log, and does not know what a room
// means. It runs on Unix: the lock is flock(2).
package store
