package parlortest_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// TestJavaScriptSDKs runs the scenarios of testdata/js under Node: the unmodified
// amazon-ivs-chat-messaging and @aws-sdk/client-ivschat against whole servers. They run
// side by side in one process, since most of them wait.
func TestJavaScriptSDKs(t *testing.T) {
	scripts, err := filepath.Glob("testdata/js/*_*.mjs")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	t.Parallel()
	dir := nodeProject(t)
	// Some clients are silent for a minute, and answer pings meanwhile. Two unanswered
	// ones are the end of a connection, so that they must not come too often for a
	// loaded machine.
	s := parlortest.Start(t, withRules(t), func(c *config.Config) { c.PingInterval = 10 * time.Second })
	alone := parlortest.Start(t)
	short := parlortest.Start(t, func(c *config.Config) { c.TokenLifetime = 33 * time.Second })
	deflated := parlortest.Start(t, func(c *config.Config) { c.Compression = true })
	drained := parlortest.Start(t)
	reset := parlortest.Start(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()

	// A scenario asks for a restart, and gets it from the test's own goroutine.
	restart, restarted := make(chan struct{}), make(chan struct{})
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		restart <- struct{}{}
		<-restarted
	}))
	defer control.Close()

	arguments := []string{"run.mjs"}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".mjs")
		if testing.Short() && name == "session_expires" {
			continue // it waits a minute
		}
		arguments = append(arguments, name)
	}
	node := exec.CommandContext(t.Context(), "node", arguments...)
	node.Dir = dir
	node.Env = append(os.Environ(),
		"PARLOR_URL="+s.URL, "PARLOR_WS="+s.WebSocketURL,
		"ALONE_URL="+alone.URL, "ALONE_WS="+alone.WebSocketURL,
		"SHORT_URL="+short.URL, "SHORT_WS="+short.WebSocketURL,
		"DEFLATED_URL="+deflated.URL, "DEFLATED_WS="+deflated.WebSocketURL,
		"DRAINED_URL="+drained.URL, "DRAINED_WS="+drained.WebSocketURL,
		"RESET_URL="+reset.URL, "RESET_WS="+reset.WebSocketURL,
		"NOBODY_WS=ws://"+nobody.Addr().String(),
		"RESTART_URL="+control.URL,
	)
	var stdout, stderr bytes.Buffer
	node.Stdout, node.Stderr = &stdout, &stderr
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- node.Wait() }()
	for ended := false; !ended; {
		select {
		case <-restart:
			drained.Stop()
			drained = parlortest.Start(t, func(c *config.Config) {
				c.Data, c.Listen = drained.Data, strings.TrimPrefix(drained.URL, "http://")
			})
			restarted <- struct{}{}
		case err = <-done:
			ended = true
		}
	}

	// Subtests, so that each can be named; they have all run by now.
	results := scenarios(t, &stdout)
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			t.Logf("took %d ms under Node", r.MS)
			if !r.OK {
				t.Error(r.Error)
			}
		})
	}
	if seen, want := len(results), len(arguments)-1; seen != want || err != nil && !t.Failed() {
		t.Errorf("node ended with %v after %d of %d scenarios", err, seen, want)
	}
	if stderr.Len() > 0 && t.Failed() {
		t.Logf("node said:\n%s", &stderr)
	}
}

// scenario is what run.mjs says of one.
type scenario struct {
	Name, Error string
	OK          bool
	MS          int
	Room, ID    string // what a scenario has to tell
}

// scenarios are the lines that run.mjs printed. Others go to the test's log.
func scenarios(t *testing.T, printed *bytes.Buffer) (all []scenario) {
	t.Helper()
	for line := range bytes.Lines(printed.Bytes()) {
		var s scenario
		if json.Unmarshal(line, &s) != nil || s.Name == "" {
			t.Logf("node: %s", line)
			continue
		}
		all = append(all, s)
	}
	return all
}

// nodeProject is a directory with the scripts of testdata/js and, beside them, the npm
// packages that make deps installed.
func nodeProject(t *testing.T) string {
	t.Helper()
	const cache = "../../.cache/node"
	wanted, err := os.ReadFile("testdata/js/package.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(cache + "/installed.json"); err != nil || !bytes.Equal(got, wanted) {
		missing(t, "the npm packages of testdata/js/package.json (make deps installs them)")
	}
	if out, err := exec.Command("node", "--version").Output(); err != nil {
		missing(t, "Node")
	} else {
		t.Logf("Node %s", bytes.TrimSpace(out))
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/js")); err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs(cache + "/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// missing ends a test that lacks something make deps installs: on a developer's machine
// it skips, in CI it fails.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: not there, which CI must have", what)
	}
	t.Skipf("%s: not there", what)
}
