// Package store keeps rooms, logging configurations, token keys, spent tokens, the beats
// of nodes and histories of rooms: it is [chat.Store] and [chat.HistoryStore] over SQL. One
// SQL text (sql.go, history.go, migrations/) serves two engines; what is SQLite's alone is in sqlite.go and commit.go, what is
// PostgreSQL's alone in postgres.go, pgopen.go, pgerrors.go and locks.go.
//
// Invariants:
//
//   - A write that returned nil is on disk. SQLite: WAL with synchronous=FULL, which is an
//     fsync in every commit; writers that arrive together share one (commit.go).
//     PostgreSQL: a commit that the server acknowledged, or was found to have made.
//   - What is read in order to be relied on stays so until the commit. SQLite has one
//     write connection, used only by the leader of the moment; on PostgreSQL, at read
//     committed, the rows are locked (locks.go).
//   - Reads run beside writes and see the last commit.
//   - A statement, once begun, is never interrupted by its caller: every statement is
//     short (a page, a row, a bounded step), so a context is looked at while waiting for
//     a connection or for a commit, and not in between. On PostgreSQL the caller leaves
//     at once, and what was begun ends within operationTime.
//   - No write operation answers a domain error after its first change. On SQLite one
//     that fails later spoils its whole batch, which is then repeated one by one.
//   - An operation on PostgreSQL that fails on its way is repeated within operationTime.
//     One that may have happened although its answer was lost is told so (session.again),
//     and looks for what it did.
//   - SQLite: one process owns a data directory, by a lock that dies with the process.
//   - SQLite starts no goroutine but the two that database/sql keeps, idle, from Open to
//     Close. PostgreSQL has one for each operation, at most as many as connections
//     outlive their callers, and Close waits for them; pgx closes a connection that does
//     not answer on one that lives for 15 s at most.
//   - No error has a password in it.
//
// The package does not validate fields, does not log, and does not know what a room
// means. It runs on Unix: the lock of a data directory is flock(2).
package store
