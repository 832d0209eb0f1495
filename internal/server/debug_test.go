package server_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/parlortest"
	"parlor/internal/server"
)

// said is a log that can be read while it is written.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// find waits for what a pattern's first group stands for.
func (s *said) find(t testing.TB, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if found := expression.FindStringSubmatch(text); found != nil {
			return found[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has no %s:\n%s", pattern, text)
		}
	}
}

// TestProfiles asks for profiles as tools do, and in ways that are refused.
func TestProfiles(t *testing.T) {
	log := &said{}
	s := parlortest.StartLogging(t, log, func(c *config.Config) { c.DebugListen, c.LogLevel = "127.0.0.1:0", "info" })
	at := log.find(t, `url=(http://127\.0\.0\.1:\d+/debug/pprof/)`)

	get := func(url string, header ...string) (int, []byte, http.Header) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Host" {
				r.Host = header[i+1]
			}
			r.Header.Set(header[i], header[i+1])
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body, response.Header
	}
	for _, name := range []string{"heap?gc=1", "goroutine", "allocs", "profile?seconds=0.1"} {
		status, body, _ := get(at + name)
		unzipped, err := gzip.NewReader(bytes.NewReader(body))
		if status != http.StatusOK || err != nil {
			t.Errorf("%s: got status %d and %.40q, which is no profile: %v", name, status, body, err)
			continue
		}
		if text, err := io.ReadAll(unzipped); err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	if status, body, _ := get(at + "trace?seconds=0.1"); status != http.StatusOK || !bytes.HasPrefix(body, []byte("go 1.")) {
		t.Errorf("trace: got %d, %.20q", status, body)
	}
	if status, body, _ := get(at + "goroutine?debug=1"); status != http.StatusOK || !strings.Contains(string(body), "goroutine profile:") {
		t.Errorf("as text: got %d, %.40q", status, body)
	}
	if status, body, _ := get(at); status != http.StatusOK || !strings.Contains(string(body), `href="heap"`) {
		t.Errorf("the list: got %d, %s", status, body)
	}
	for _, tc := range []struct {
		name, path string
		header     []string
		status     int
	}{
		{"no such profile", "nonsense", nil, 404},
		{"the command line, where passwords may be", "cmdline", nil, 404},
		{"no time", "profile?seconds=soon", nil, 400},
		{"too long", "trace?seconds=301", nil, 400},
		{"no end", "profile?seconds=NaN", nil, 400},
		{"a name that leads here", "heap", []string{"Host", "evil.example"}, 403},
		{"a host of AWS, which is none of this machine", "heap", []string{"Host", "ivschat.us-west-2.amazonaws.com"}, 403},
		{"a page of another origin", "profile?seconds=1", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a person's browser", "", []string{"Sec-Fetch-Site", "none"}, 200},
	} {
		if status, body, _ := get(at+tc.path, tc.header...); status != tc.status {
			t.Errorf("%s: got status %d, want %d: %s", tc.name, status, tc.status, body)
		}
	}
	// What others reach has none, whoever says to be who.
	for _, header := range [][]string{nil, {"X-Forwarded-For", "127.0.0.1"}, {"Forwarded", "for=127.0.0.1"}} {
		if status, body, _ := get(s.URL+"/debug/pprof/heap", header...); status != http.StatusForbidden {
			t.Errorf("the port of the API: got status %d: %.100q", status, body)
		}
	}
	// A profile under way does not keep a server from stopping.
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if response, err := client.Get(at + "profile?seconds=300"); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if status, _, _ := get(at + "profile?seconds=0.01"); status == http.StatusConflict {
			break
		}
	}
	begun := time.Now()
	s.Stop()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	<-asked
}

// TestProfilesAreOff has none served unless they are asked for, nor anything that
// net/http/pprof would have added to the handlers that everybody shares.
func TestProfilesAreOff(t *testing.T) {
	log := &said{}
	s := parlortest.StartLogging(t, log, func(c *config.Config) { c.LogLevel = "info" })
	s.Stop()
	if strings.Contains(log.text.String(), "profiles") {
		t.Errorf("the log says:\n%s", &log.text)
	}
	r, err := http.NewRequest(http.MethodGet, "http://localhost/debug/pprof/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, pattern := http.DefaultServeMux.Handler(r); pattern != "" {
		t.Errorf("the shared mux has %s", pattern)
	}
}

// TestProfilesStayOnLoopback has the address be one of this machine, whatever its name says.
func TestProfilesStayOnLoopback(t *testing.T) {
	c := config.Default(config.Dev)
	for _, address := range []string{"0.0.0.0:6060", ":6060", "[::]:6060", "192.0.2.1:6060", "profiles.example:6060", "127.0.0.1", "127.0.0.1:http2"} {
		c.DebugListen = address
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "debug-listen") {
			t.Errorf("%s: got %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:6060", "[::1]:0", "localhost:6060"} {
		c.DebugListen = address
		if err := c.Validate(); err != nil {
			t.Errorf("%s: got %v", address, err)
		}
	}
	// Past the form, it is what the name stands for that counts.
	c.Listen, c.Data, c.DebugListen = "127.0.0.1:0", t.TempDir(), "0.0.0.0:0"
	if _, err := server.New(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("got %v", err)
	}
	// And one that is taken gives back what was opened before.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.DebugListen = taken.Addr().String()
	if _, err := server.New(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "for profiles") {
		t.Errorf("got %v", err)
	}
}
