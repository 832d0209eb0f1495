package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parlor/internal/config"
)

func TestKnownHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost":                             true,
		"LOCALHOST:4870":                        true,
		"localhost.":                            true,
		"parlor.localhost:4870":                 true,
		"127.0.0.1:4870":                        true,
		"127.8.9.10":                            true,
		"[::1]:4870":                            true,
		"[::1]":                                 true,
		"[::ffff:127.0.0.1]:4870":               true,
		"ivschat.us-west-2.amazonaws.com":       true,
		"edge.ivschat.us-west-2.amazonaws.com.": true,
		"ivschat.us-west-2.api.aws:443":         true,
		"":                                      false,
		"evil.example":                          false,
		"localhost.evil.example":                false,
		"127.0.0.1.evil.example:4870":           false,
		"amazonaws.com.evil.example":            false,
		"evilamazonaws.com":                     false,
		"notlocalhost":                          false,
		"192.168.1.2:4870":                      false,
		"0.0.0.0:4870":                          false,
		"[fe80::1]:4870":                        false,
	} {
		if got := knownHost(host); got != want {
			t.Errorf("%q: got %t, want %t", host, got, want)
		}
	}
}

// What is not ready is named; the cause is not.
func TestNotReady(t *testing.T) {
	c := config.Default(config.Dev)
	c.Listen, c.Data = "127.0.0.1:0", t.TempDir()
	s, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "http://localhost/readyz", nil)
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	if got, want := w.Code, http.StatusServiceUnavailable; got != want {
		t.Errorf("got status %d, want %d", got, want)
	}
	if got, want := strings.TrimSpace(w.Body.String()), `{"status":"not ready","notReady":["store"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
