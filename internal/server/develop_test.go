package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/pgtest"
	"parlor/internal/redistest"
)

// TestSeedOfManyNodes: nodes that share a database share what is seeded, and hear of its
// changes; a reset would take from others what is theirs, and is refused.
func TestSeedOfManyNodes(t *testing.T) {
	database := pgtest.Start(t).CreateDatabase(t)
	redis := redistest.Start(t).URL()
	file := filepath.Join(t.TempDir(), "seed.yaml")
	start := func(text string) *Server {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := config.Default(config.Dev)
		c.Listen, c.Data, c.DatabaseURL, c.RedisURL, c.Seed = "127.0.0.1:0", t.TempDir(), database, redis, file
		s, err := New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
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
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			response, err := http.Get("http://" + s.Addr().String() + "/readyz")
			if err == nil {
				response.Body.Close()
				if response.StatusCode == http.StatusOK {
					return s
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("the server is not ready: %v", err)
			}
		}
	}
	lobby := chat.ARN{Scope: chat.Scope{Region: "us-east-1", Account: "000000000000"}, Kind: chat.KindRoom, ID: "lobby"}
	first := start("rooms: [{id: lobby, name: before}]")
	second := start("rooms: [{id: lobby, name: after}]")
	for _, s := range []*Server{first, second} {
		room, err := s.service.GetRoom(t.Context(), lobby)
		if err != nil || room.Name != "after" {
			t.Errorf("got %+v, %v, want the room as it was seeded last", room, err)
		}
	}
	response, err := http.Post("http://"+first.Addr().String()+"/parlor/dev/reset", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusConflict || !strings.Contains(string(text), "PostgreSQL") {
		t.Errorf("got %s %s, want 409", response.Status, text)
	}
	if _, err := second.service.GetRoom(t.Context(), lobby); err != nil {
		t.Errorf("got %v, want the room to be there still", err)
	}
}

// TestSeedThatFails: a server that cannot make its seed ends, and says why.
func TestSeedThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.yaml")
	// Lambda is asked, and is not there.
	text := `rooms: [{id: lobby, messageReviewHandler: {uri: "arn:aws:lambda:us-east-1:000000000000:function:f"}}]`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	c := config.Default(config.Dev)
	c.Listen, c.Data, c.Seed, c.VerifyHandlers = "127.0.0.1:0", t.TempDir(), file, true
	s, err := New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "room/lobby") || !strings.Contains(err.Error(), "invalid lambda permission") {
		t.Errorf("got %v, want an error that names the room and why", err)
	}
}
