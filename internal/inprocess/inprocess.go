// Package inprocess runs a whole server in the process of a test, until the test ends. It is
// what our own tests' parlortest and our users' testserver have in common, and knows
// nothing of clients.
//
// A server that does not stop cleanly, or not within a minute, fails the test.
package inprocess

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/server"
)

// stopTimeout is how long a server may take to stop.
const stopTimeout = time.Minute

// Server is a running server.
type Server struct {
	URL          string // of the control plane, without a slash at its end
	WebSocketURL string // of the messaging API
	Data         string // its data directory

	// Stop stops the server before the test ends, and returns when it has.
	Stop func()
}

// Start runs a server until the test ends. Without a data directory it has one of the
// test's. Writes to the log come one at a time. It returns when connections are taken,
// which are answered once the server is ready. What keeps it from starting fails the test.
func Start(t testing.TB, c config.Config, log io.Writer) *Server {
	t.Helper()
	if c.Data == "" {
		c.Data = t.TempDir()
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: c.Level()})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	address := s.Addr().String()
	secure := ""
	if c.TLS() {
		secure = "s"
	}
	running := &Server{
		URL:          "http" + secure + "://" + address,
		WebSocketURL: "ws" + secure + "://" + address,
		Data:         c.Data,
		Stop: sync.OnceFunc(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("the server stopped with: %v", err)
				}
			case <-time.After(stopTimeout):
				t.Errorf("the server did not stop within %s", stopTimeout)
			}
		}),
	}
	t.Cleanup(running.Stop)
	return running
}
