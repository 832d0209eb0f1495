package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// OpenPostgres opens the store in a PostgreSQL database, version 15 or later, and
// brings its schema up to date; nodes that start together do so one after the other. A
// database that a newer version has written is refused with an error that says what to
// do. No error has the password in it.
//
// url has the form postgres://user:password@host:5432/database?sslmode=verify-full; it
// may name several hosts, of which the one that takes writes is used, and what it leaves
// out is taken from libpq's variables and files (PGPASSWORD, ~/.pgpass, …). Its
// parameter pool_max_conns is how many connections the store may have: by default four
// for each processor in use, at least 8 and at most 32. An operation waits for the
// server's disk, so this is how many commits can share one sync; more of them only cost
// the server memory, and its limit is shared by all nodes.
func OpenPostgres(ctx context.Context, url string) (*Store, error) {
	config, connections, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	where := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
	if err := preparePostgres(ctx, config); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", where, err)
	}
	return &Store{engine: newPostgresEngine(config, connections)}, nil
}

// errURL says nothing of the URL: where it cannot be told apart, any part of it may be
// the password.
var errURL = errors.New("the database URL is malformed: it has the form postgres://user:password@host:5432/database?sslmode=verify-full, " +
	"with characters other than letters and digits in the password written as %XX")

// postgresConfig returns how to connect, and how many connections there may be.
func postgresConfig(url string) (*pgx.ConnConfig, int, error) {
	rest, ok := strings.CutPrefix(url, "postgres://")
	if !ok {
		rest, ok = strings.CutPrefix(url, "postgresql://")
	}
	// An @ later than the host is a password that was cut in two: what follows would be
	// taken for a database or a setting, and be named in errors.
	if after := strings.IndexAny(rest, "/?#"); !ok || after >= 0 && strings.Contains(rest[after:], "@") {
		return nil, 0, errURL
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, 0, errURL
	}
	connections := min(max(4*runtime.GOMAXPROCS(0), 8), 32)
	if n, ok := config.RuntimeParams["pool_max_conns"]; ok {
		delete(config.RuntimeParams, "pool_max_conns")
		if connections, err = strconv.Atoi(n); err != nil || connections < 1 {
			return nil, 0, errors.New("the database URL's pool_max_conns is not a number over 0")
		}
	}
	config.ConnectTimeout = connectTime
	if config.ValidateConnect == nil && slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool {
		return f.Host != config.Host || f.Port != config.Port
	}) {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	set := func(name, value string) { config.RuntimeParams[name] = value }
	if config.RuntimeParams["application_name"] == "" {
		set("application_name", "parlor")
	}
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	set("statement_timeout", milliseconds(statementTime))
	set("lock_timeout", milliseconds(lockTime))
	set("idle_in_transaction_session_timeout", milliseconds(idleTime))
	set("default_transaction_isolation", "read committed")
	// Every statement reads an index in its order, whatever the planner believes about
	// tables that nobody has analysed yet.
	for _, way := range []string{"seqscan", "sort", "hashjoin", "mergejoin", "bitmapscan"} {
		set("enable_"+way, "off")
	}
	return config, connections, nil
}

// migrationLock is held by the node that changes the schema: "parlor" in ASCII.
const migrationLock = 0x7061726c6f72

// preparePostgres checks the server and brings the schema up to date, on connections of
// their own: to wait for other nodes, or for a large table, may take long.
func preparePostgres(ctx context.Context, config *pgx.ConnConfig) error {
	patient := config.Copy()
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		patient.RuntimeParams[name] = "0"
	}
	db := stdlib.OpenDB(*patient)
	defer db.Close()
	db.SetMaxOpenConns(2)

	// The lock is a transaction's, so it ends with the connection however that ends.
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := checkServer(ctx, tx, config); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, sqlOneByOne, int64(migrationLock)); err != nil {
		return fmt.Errorf("wait for nodes that change the schema: %w", err)
	}
	return migrate(ctx, db, goose.DialectPostgres)
}

// checkServer refuses servers that would not keep the store's promises.
func checkServer(ctx context.Context, tx *sql.Tx, config *pgx.ConnConfig) error {
	var version int
	var encoding, sync string
	row := tx.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('synchronous_commit')`)
	if err := row.Scan(&version, &encoding, &sync); err != nil {
		return fmt.Errorf("ask for the server's settings: %w", err)
	}
	if version < 15_00_00 {
		return fmt.Errorf("the server is PostgreSQL %d, Parlor needs 15 or later", version/10_000)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s, Parlor needs UTF8: create it with ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	if sync == "off" {
		config.RuntimeParams["synchronous_commit"] = "on" // what is acknowledged is on disk
	}
	return nil
}
