// Package redistest runs redis-server for tests: alone, with Sentinels, or as a cluster,
// on private ports of loopback.
package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to come up.
const patience = 20 * time.Second

// Server is a redis-server, or a Sentinel. Without other arguments it keeps nothing on disk.
type Server struct {
	Port int

	t        testing.TB
	dir      string
	args     []string
	password string // of --requirepass
	tlsPort  int    // of a cluster that speaks TLS

	mu      sync.Mutex
	process *exec.Cmd
}

// Start starts a server that ends with the test. Where there is no redis-server the test
// skips; under CI=true it fails.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no redis-server")
		}
		t.Skip("there is no redis-server: make deps installs it")
	}
	s := &Server{Port: FreePort(t), t: t, dir: t.TempDir()}
	if i := slices.Index(args, "--requirepass"); i >= 0 {
		s.password = args[i+1]
	}
	s.args = append([]string{"--port", fmt.Sprint(s.Port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--protected-mode", "no", "--logfile", filepath.Join(s.dir, "log")}, args...)
	s.start()
	t.Cleanup(s.Stop)
	return s
}

// FreePort finds a port that is free, as is the one 10,000 above it, where a cluster's
// servers speak to each other.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		if port > 55_000 {
			continue
		}
		bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10_000))
		if err == nil {
			bus.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// Address is host and port.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// URL is where Parlor finds the server.
func (s *Server) URL() string { return "redis://" + s.Address() }

func (s *Server) start() {
	s.t.Helper()
	command := exec.Command("redis-server", s.args...)
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.process = command
	s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if answer, err := s.try("PING"); err == nil && strings.HasPrefix(answer, "+PONG") {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("redis-server does not come up: %s", log)
		}
	}
}

// Stop kills the server. Calling it again does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	s.process.Wait()
	s.process = nil
}

// Restart kills the server and starts it on the same port, without its memory unless it
// keeps that on disk.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
}

// Up starts the server again after Stop.
func (s *Server) Up() {
	s.t.Helper()
	s.start()
}

// Freeze stops the server's process where it is; Thaw lets it go on.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Process.Signal(signal)
	}
}

// Do has the server carry out a command and returns the first line of the answer, as it is
// on the wire.
func (s *Server) Do(words ...string) string {
	s.t.Helper()
	answer, err := s.try(words...)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// Eval has the server run a script that answers with a line.
func (s *Server) Eval(script string) string {
	s.t.Helper()
	return strings.TrimPrefix(s.Do("EVAL", "return {ok = (function() "+script+" end)()}", "0"), "+")
}

// Ask is Do that does not mind if there is no answer, and returns all of a text.
func (s *Server) Ask(words ...string) string {
	answer, err := s.say(words...)
	if err != nil || len(answer) == 0 {
		return ""
	}
	return answer[0]
}

// Words has the server carry out a command that is answered with a list of texts.
func (s *Server) Words(words ...string) []string {
	s.t.Helper()
	answer, err := s.say(words...)
	if err != nil {
		s.t.Error(err)
	}
	return answer
}

func (s *Server) try(words ...string) (line string, err error) {
	err = s.send(words, func(r *bufio.Reader) error {
		line, err = r.ReadString('\n')
		line = strings.TrimSpace(line)
		return err
	})
	return line, err
}

// say carries out a command whose answer is a line, a text, or a list of texts.
func (s *Server) say(words ...string) (answer []string, err error) {
	err = s.send(words, func(r *bufio.Reader) error {
		for left := 1; left > 0; left-- {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			line = strings.TrimSpace(line)
			n, _ := strconv.Atoi(line[1:])
			switch line[0] {
			case '*':
				left += n
			case '$':
				text := make([]byte, n+2)
				if _, err := io.ReadFull(r, text); err != nil {
					return err
				}
				answer = append(answer, string(text[:n]))
			default:
				answer = append(answer, line)
			}
		}
		return nil
	})
	return answer, err
}

func (s *Server) send(words []string, read func(*bufio.Reader) error) error {
	conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	reader := bufio.NewReader(conn)
	if s.password != "" {
		fmt.Fprintf(conn, "AUTH %s\r\n", s.password)
		if _, err := reader.ReadString('\n'); err != nil {
			return err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return err
	}
	return read(reader)
}

// KillConnections ends all connections of clients.
func (s *Server) KillConnections() {
	s.t.Helper()
	s.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
}
