package server

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/pgtest"
	"parlor/internal/redistest"
)

// TestCompany: nodes that share a database must share a Redis.
func TestCompany(t *testing.T) {
	database := pgtest.Start(t).CreateDatabase(t)
	redis := redistest.Start(t).URL()
	start := func(redis string) (stop func(), err error) {
		c := config.Default(config.Dev)
		c.Listen, c.Data, c.DatabaseURL, c.RedisURL = "127.0.0.1:0", t.TempDir(), database, redis
		s, err := New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}, nil
	}
	refused := func(redis, want string) {
		t.Helper()
		stop, err := start(redis)
		if err == nil {
			stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with Redis %q: got %v, want that %s", redis, err, want)
		}
	}
	stop, err := start("")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * beatInterval) // it beats
	refused("", "another node uses the database")
	refused(redis, "another node, without --redis-url")
	stop()
	first, err := start(redis) // the other has just stopped
	if err != nil {
		t.Fatal(err)
	}
	defer first()
	second, err := start(redis)
	if err != nil {
		t.Fatal(err)
	}
	defer second()
	refused("", "another node uses the database")
}
