package pgtest_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"parlor/internal/pgtest"
)

// A server answers, does not while frozen, and keeps what it had through a stop and a
// crash, at the same address.
func TestServer(t *testing.T) {
	server := pgtest.Start(t)
	url := server.CreateDatabase(t)
	answers := func() error {
		db, err := sql.Open("pgx", url)
		if err != nil {
			return err
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return db.PingContext(ctx)
	}
	want := func(what string, yes bool) {
		t.Helper()
		if err := answers(); (err == nil) != yes {
			t.Errorf("%s: got error %v, want an answer: %v", what, err, yes)
		}
	}
	want("started", true)
	server.Freeze()
	want("frozen", false)
	server.Thaw()
	want("thawed", true)
	server.Stop()
	want("stopped", false)
	server.Start()
	want("started again", true)
	server.Crash()
	want("crashed", false)
	server.Start()
	want("started after a crash", true)
	server.Restart()
	want("restarted", true)
}
