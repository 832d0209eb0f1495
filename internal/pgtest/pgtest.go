// Package pgtest starts PostgreSQL servers for tests: private ones, on free loopback
// ports, with fsync on, that a test may stop, crash and freeze. Text in them is in the
// order of a language, so that what has to be ordered by bytes must say so.
//
// A server belongs to the test that started it and is gone with it, also when the test
// binary is killed.
package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Password is every server's. No log and no error may have it in it.
const Password = "never-to-be-shown"

// patience is how long a server may take to start or to stop.
const patience = 60 * time.Second

// Server is one PostgreSQL server. Its methods are not safe for concurrent use, but
// for URL and CreateDatabase.
type Server struct {
	t         testing.TB
	bin, dir  string
	port      int
	process   *exec.Cmd
	exited    chan struct{} // closed when process has ended
	guard     *exec.Cmd     // kills the process when this one dies
	databases atomic.Int32
}

// Start starts a server, which stops with the test. Where PostgreSQL is not installed
// the test is skipped, or fails under CI=true.
func Start(t testing.TB) *Server {
	t.Helper()
	bin := binaries()
	if bin == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("PostgreSQL is not installed: make deps installs it on Debian")
		}
		t.Skip("PostgreSQL is not installed")
	}
	// Not t.TempDir: its parents are closed to other users.
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, bin: bin, dir: dir}
	t.Cleanup(func() {
		if s.process != nil {
			s.Thaw()
			s.Crash()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := credential(t); c != nil {
		if err := errors.Join(os.Chown(dir, int(c.Uid), int(c.Gid)), os.Chown(password, int(c.Uid), int(c.Gid))); err != nil {
			t.Fatal(err)
		}
	}
	initdb := s.command("initdb", "--no-sync", "-D", s.data(), "-U", "parlor", "-A", "scram-sha-256", "--pwfile", password,
		"--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Start()
	return s
}

// binaries returns the directory of PostgreSQL's programs, "" if there is none. Debian
// keeps them out of PATH.
func binaries() string {
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // the other programs are beside it, not beside a link to it
		}
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return ""
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest)
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// credential is the user that servers run as: PostgreSQL refuses to be root. nil is
// ourselves.
func credential(t testing.TB) *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command is one of PostgreSQL's programs.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(s.t), Setpgid: true}
	return cmd
}

// URL names a database of the server; "postgres" is always there.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://parlor:%s@127.0.0.1:%d/%s?sslmode=disable", Password, s.port, database)
}

// CreateDatabase makes an empty database and returns its URL.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return s.URL(name)
}

// Exec runs statements in a database.
func (s *Server) Exec(t testing.TB, database, text string) {
	t.Helper()
	db, err := sql.Open("pgx", s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := db.ExecContext(ctx, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// Dump is what a database has, as statements that Exec can run in an empty one.
func (s *Server) Dump(t testing.TB, database string) string {
	t.Helper()
	out, err := s.command("pg_dump", "--no-owner", "--no-privileges", "--inserts", s.URL(database)).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "--") { // psql's own, and words
			b.WriteString(line)
		}
	}
	return b.String()
}

// Start starts a server that was stopped, on the port it had before.
func (s *Server) Start() {
	s.t.Helper()
	for attempt := 1; ; attempt++ {
		port := s.port
		if port == 0 {
			port = freePort(s.t)
		}
		err := s.start(port)
		if err == nil {
			s.port = port
			return
		}
		if attempt == 3 { // somebody else may have taken the port meanwhile
			s.t.Fatalf("start PostgreSQL: %v\n%s", err, s.log())
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) start(port int) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "",
		"-c", "fsync=on", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	s.process, s.exited = process, exited
	// The guard reads from us until we are no more.
	s.guard = exec.Command("sh", "-c", `read line; kill -CONT "$0"; kill -QUIT "$0"`, strconv.Itoa(process.Process.Pid))
	s.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := s.guard.StdinPipe(); err != nil {
		return err
	}
	if err := s.guard.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		status, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		if lines := strings.Split(string(status), "\n"); len(lines) > 7 && lines[0] == strconv.Itoa(process.Process.Pid) &&
			strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-exited:
			s.end()
			return errors.New("it ended")
		default:
		}
		if time.Now().After(deadline) {
			s.Crash()
			return fmt.Errorf("it is not ready after %v", patience)
		}
	}
}

// log is what the server said last.
func (s *Server) log() string {
	file, err := os.Open(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > 4000 {
		_, _ = file.Seek(-4000, io.SeekEnd)
	}
	text, _ := io.ReadAll(file)
	return string(text)
}

// Stop ends the server in good order; its connections break.
func (s *Server) Stop() { s.t.Helper(); s.signal(syscall.SIGINT) }

// Crash ends the server at once: it has to recover when it starts again.
func (s *Server) Crash() { s.t.Helper(); s.signal(syscall.SIGQUIT) }

// Restart stops and starts the server.
func (s *Server) Restart() { s.t.Helper(); s.Stop(); s.Start() }

// signal ends the server by a signal.
func (s *Server) signal(how syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(how) // it may have ended by itself
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.process.Process.Kill()
		<-s.exited
		s.t.Errorf("PostgreSQL did not end within %v of %v\n%s", patience, how, s.log())
	}
	s.end()
}

// end forgets a process that has ended, and its guard.
func (s *Server) end() {
	if s.guard != nil && s.guard.Process != nil {
		_ = s.guard.Process.Kill()
		_ = s.guard.Wait()
	}
	s.process, s.guard = nil, nil
}

// Freeze stops every process of the server where it is: connections stay and nothing
// answers.
func (s *Server) Freeze() {
	s.t.Helper()
	if runtime.GOOS != "linux" {
		s.t.Skip("the processes of a server are found in /proc")
	}
	_ = s.process.Process.Signal(syscall.SIGSTOP) // first, so that it makes no others
	s.children(syscall.SIGSTOP)
}

// Thaw has a frozen server go on; one that is not frozen does anyway.
func (s *Server) Thaw() {
	s.children(syscall.SIGCONT)
	_ = s.process.Process.Signal(syscall.SIGCONT)
}

// children sends a signal to the processes of the server's connections and workers.
func (s *Server) children(how syscall.Signal) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent …
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(s.process.Process.Pid) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_ = syscall.Kill(pid, how)
		}
	}
}
