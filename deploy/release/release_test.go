package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the directory of the repository.
const root = "../.."

// patience is for a loaded machine.
const patience = 3 * time.Minute

// What the tests build is of this release.
const (
	version   = "v1.2.3"
	revision  = "0123456789abcdef0123456789abcdef01234567"
	committed = "2026-01-02T03:04:05Z"
)

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// made is what make packages makes, in a copy of the tree.
type made struct {
	tree                             string
	program, deb, rpm, bill, license string
}

var built struct {
	once sync.Once
	dir  string
	made made
	err  error
}

// build makes everything once, in a directory that every user may enter.
func build(t testing.TB) made {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "release"); built.err != nil {
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err == nil {
			built.made, built.err = makeIn(filepath.Join(built.dir, "tree"))
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.made
}

// copyTree copies the tree, without what git knows of it.
func copyTree(tree string) error {
	files, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		from, to := filepath.Join(root, name), filepath.Join(tree, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) || err == nil && !info.Mode().IsRegular() {
			continue // removed, and not yet for git; or a link to a cache
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// makeIn copies the tree and makes the packages there.
func makeIn(tree string, env ...string) (made, error) {
	if err := copyTree(tree); err != nil {
		return made{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // nothing may be compiled yet
	defer cancel()
	command := exec.CommandContext(ctx, "make", "packages", "VERSION="+version, "REVISION="+revision, "COMMITTED="+committed)
	command.Dir = tree
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		return made{}, fmt.Errorf("make packages: %w\n%s", err, out)
	}
	m := made{
		tree:    tree,
		program: filepath.Join(tree, "bin/parlor"),
		bill:    filepath.Join(tree, "dist/parlor.cdx.json"),
		license: filepath.Join(tree, "dist/licenses.txt"),
	}
	for pattern, path := range map[string]*string{"*.deb": &m.deb, "*.rpm": &m.rpm} {
		found, err := filepath.Glob(filepath.Join(tree, "dist", pattern))
		if err != nil || len(found) != 1 {
			return made{}, fmt.Errorf("make packages made %q", found)
		}
		*path = found[0]
	}
	return m, nil
}

// need is the path of a program that make deps installs, for what root alone may do.
func need(t testing.TB, programs ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "the rights of root"
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			missing = name
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("it needs %s: make deps installs programs on Debian as root", missing)
	default:
		t.Skipf("it needs %s", missing)
	}
}

// run runs a command that must not fail, and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := try(t, exec.Command(name, args...))
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a command, and what it starts, for as long as patience is.
func try(t testing.TB, c *exec.Cmd) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = time.Second
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true
	if err := c.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(patience, func() { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	err := c.Wait()
	return out.String(), err
}

// begin starts a server and stops it with the test, gently; a server that does not
// exit with 0 then fails the test. It returns a function that stops it before.
func begin(t testing.TB, c *exec.Cmd) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(patience, func() { c.Process.Kill() })
		defer timer.Stop()
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", c, err, &out)
		}
	})
	t.Cleanup(stop)
	return stop
}

// healthy waits until a command, a health check, says yes.
func healthy(t testing.TB, check func() *exec.Cmd) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := try(t, check())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v\n%s", check(), err, out)
		}
	}
}

// file reads a file of the repository.
func file(t testing.TB, name string) string {
	t.Helper()
	return text(t, filepath.Join(root, name))
}

func text(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func digest(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// copyFile copies a file, with a mode.
func copyFile(t testing.TB, from, to string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
}
