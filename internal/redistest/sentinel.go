package redistest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Watched is a primary, its replica, and three Sentinels that replace a primary which has
// been silent for half a second.
type Watched struct {
	Primary, Replica *Server // as they began
	Sentinels        []*Server

	t testing.TB
}

const masterSet = "parlor"

// SentinelPassword is that of the Sentinels if the servers are started with one.
const SentinelPassword = "sentinels"

// StartWatched starts them; they end with the test.
func StartWatched(t testing.TB, args ...string) *Watched {
	t.Helper()
	w := &Watched{t: t}
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	w.Primary = Start(t, args...)
	w.Replica = Start(t, append(args, "--replicaof", fmt.Sprint("127.0.0.1 ", w.Primary.Port))...)
	until(t, "the replica has its primary", func() bool {
		return strings.Contains(w.Replica.Ask("INFO", "replication"), "master_link_status:up")
	})
	for range 3 {
		w.Sentinels = append(w.Sentinels, w.sentinel())
	}
	until(t, "the Sentinels know each other and the replica", func() bool {
		for _, s := range w.Sentinels {
			if said := s.Ask("INFO", "sentinel"); !strings.Contains(said, "status=ok") || !strings.Contains(said, "slaves=1,sentinels=3") {
				return false
			}
		}
		return true
	})
	return w
}

func (w *Watched) sentinel() *Server {
	w.t.Helper()
	s := &Server{Port: FreePort(w.t), t: w.t, dir: w.t.TempDir()}
	lines := []string{
		fmt.Sprintf("port %d", s.Port), "bind 127.0.0.1", "protected-mode no", "dir " + s.dir, "logfile " + filepath.Join(s.dir, "log"),
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", masterSet, w.Primary.Port),
		"sentinel down-after-milliseconds " + masterSet + " 500",
		"sentinel failover-timeout " + masterSet + " 3000",
		"sentinel parallel-syncs " + masterSet + " 1",
	}
	if w.Primary.password != "" {
		s.password = SentinelPassword
		lines = append(lines, "requirepass "+SentinelPassword, "sentinel sentinel-pass "+SentinelPassword,
			"sentinel auth-pass "+masterSet+" "+w.Primary.password)
	}
	path := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		w.t.Fatal(err) // Start has looked for it
	}
	s.args = []string{path, "--sentinel"}
	s.start()
	w.t.Cleanup(s.Stop)
	return s
}

// URL is where Parlor finds them: by the Sentinels. It is without passwords.
func (w *Watched) URL() string {
	query := url.Values{"master_set": {masterSet}}
	for _, s := range w.Sentinels[1:] {
		query.Add("addr", s.Address())
	}
	return "redis://" + w.Sentinels[0].Address() + "?" + query.Encode()
}

// Until waits until something is so, and fails the test when it takes too long.
func (w *Watched) Until(what string, so func() bool) {
	w.t.Helper()
	until(w.t, what, so)
}
