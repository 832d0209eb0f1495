package server

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"parlor/internal/awsapi"
	"parlor/internal/chat"
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

// TestDescribeNamesOtherNodes: a node tells of the others that it hears of.
func TestDescribeNamesOtherNodes(t *testing.T) {
	database := pgtest.Start(t).CreateDatabase(t)
	redis := redistest.Start(t).URL()
	start := func() *Server {
		c := config.Default(config.Dev)
		c.Listen, c.Data, c.DatabaseURL, c.RedisURL = "127.0.0.1:0", t.TempDir(), database, redis
		s, err := New(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return s
	}
	first, second := start(), start()
	for _, nodes := range [][2]*Server{{first, second}, {second, first}} {
		var got []awsapi.NodePeer
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			node, err := nodes[0].describe(t.Context(), chat.Scope{}, awsapi.NodeQuestion{})
			if err != nil {
				t.Fatal(err)
			}
			got = node.Nodes
			if len(got) == 1 && got[0].ID == nodes[1].node && got[0].Well {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %+v, want %s, well", got, nodes[1].node)
			}
		}
		if age := time.Since(got[0].LastSeenTime.Time); age < -time.Second || age > chat.NodeSilence {
			t.Errorf("last seen %v ago", age)
		}
	}
}
