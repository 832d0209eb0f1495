package deploytest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parlor/internal/config"
)

// patience is for a loaded machine.
const patience = 60 * time.Second

// user is who Parlor runs as in containers.
const user = 65532

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// parlor builds the command once and returns its path.
func parlor(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "deploytest"); built.err != nil {
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil { // for other users
			return
		}
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(built.dir, "parlor"), "./cmd/parlor")
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "parlor")
}

// root is the directory of the repository.
const root = "../.."

// command is Parlor with an environment of its own; as root it runs as user.
func command(ctx context.Context, t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(ctx, parlor(t), args...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...)
	c.Dir = "/"
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	return c
}

// check has parlor config check judge settings as parlor serve would be given them.
func check(t testing.TB, env []string, flags ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := command(ctx, t, env, append([]string{"config", "check"}, flags...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("parlor config check %s: %w\n%s", strings.Join(flags, " "), err, out)
	}
	return nil
}

// put writes a file as root lays out secrets for others: root:user 0440.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o600)
	if os.Getuid() == 0 {
		mode = 0o440
	}
	os.Remove(path) // its mode would stay
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 0, user); err != nil {
			t.Fatal(err)
		}
	}
}

// shared is a directory that every user may enter, unlike t.TempDir.
func shared(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "deploytest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// isSetting reports whether Parlor has a variable.
func isSetting(variable string) bool {
	if variable == "PARLOR_CONFIG" {
		return true
	}
	for _, f := range config.Fields(config.Serve) {
		if f.Env == variable {
			return true
		}
	}
	return false
}

// stopTime is how long a node may take to stop beyond its drain window: constants of
// the packages that carry it out.
func stopTime(t testing.TB) time.Duration {
	t.Helper()
	seconds := func(file, name string) time.Duration {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`\b` + name + `\s+= (\d+) \* time\.Second`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no constant %s in seconds", file, name)
		}
		d, err := time.ParseDuration(string(m[1]) + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return seconds("internal/server/server.go", "drainGrace") + seconds("internal/server/server.go", "shutdownGrace") +
		seconds("internal/chatlog/shipper.go", "stopTimeout")
}

// file reads a file of the repository.
func file(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exampleKey is a credentials file.
const exampleKey = "[ops]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\naws_account_id = 123456789012\n"

const examplePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ivschat:*","Resource":"*"}]}`
