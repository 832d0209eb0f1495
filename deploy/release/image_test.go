package release

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// builder is a buildah with storage of its own, of which nothing stays.
type builder struct {
	t       testing.TB
	storage string
}

func newBuilder(t testing.TB) *builder {
	t.Helper()
	need(t, "buildah")
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{t, dir}
	t.Cleanup(func() {
		try(t, b.command("rm", "--all"))
		os.RemoveAll(dir)
	})
	return b
}

// command is buildah with arguments. It needs neither a daemon nor other namespaces, nor a
// network.
func (b *builder) command(args ...string) *exec.Cmd {
	all := []string{"--root", filepath.Join(b.storage, "root"), "--runroot", filepath.Join(b.storage, "run"), "--storage-driver", "vfs"}
	c := exec.Command("buildah", append(all, args...)...)
	c.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot", "BUILDAH_FORMAT=docker")
	return c
}

func (b *builder) run(args ...string) string {
	b.t.Helper()
	out, err := try(b.t, b.command(args...))
	if err != nil {
		b.t.Fatalf("buildah %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// standIn makes an image that stands for golang, which cannot be pulled in a test: programs of
// this machine that the Dockerfile calls, with their libraries. Go itself is mounted.
func (b *builder) standIn() string {
	b.t.Helper()
	dir := filepath.Join(b.storage, "golang")
	for _, name := range []string{"sh", "bash", "make", "mkdir", "cp", "chmod", "grep"} {
		path, err := exec.LookPath(name)
		if err != nil {
			b.t.Fatal(err)
		}
		files := []string{path}
		libraries, err := exec.Command("ldd", path).Output()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(libraries), -1) {
			files = append(files, m[1])
		}
		for i, from := range files {
			to := from
			if i == 0 {
				to = "/bin/" + name
			}
			copyFile(b.t, from, filepath.Join(dir, to), 0o755)
		}
	}
	for _, name := range []string{"tmp", "usr/local/go", "go/pkg/mod", "root/.cache/go-build"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			b.t.Fatal(err)
		}
	}
	copyFile(b.t, "/etc/ssl/certs/ca-certificates.crt", filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), 0o644)
	from := filepath.Join(b.storage, "Dockerfile.golang")
	if err := os.WriteFile(from, []byte("FROM scratch\nCOPY . /\nENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local GOPATH=/go GOCACHE=/root/.cache/go-build GOFLAGS=-mod=readonly\n"), 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.run("build", "--file", from, "--tag", "localhost/golang:here", dir)
	return "localhost/golang:here"
}

func goEnv(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// inspected is what an image says of itself.
type inspected struct {
	Docker struct {
		Config struct {
			User         string
			Entrypoint   []string
			Cmd          []string
			Labels       map[string]string
			ExposedPorts map[string]any
			Healthcheck  struct {
				Test                           []string
				Interval, Timeout, StartPeriod time.Duration
				Retries                        int
			}
		} `json:"config"`
	}
}

// The image is built from the Dockerfile, both ways; from sources it has the program that
// make build makes. It serves as its user in a root directory that has nothing else, and its
// health check says so.
func TestImage(t *testing.T) {
	t.Parallel()
	m := build(t)
	b := newBuilder(t)
	arguments := []string{"--pull-never", "--file", filepath.Join(m.tree, "deploy/Dockerfile"),
		"--build-arg", "GO_IMAGE=" + b.standIn(), "--build-arg", "VERSION=" + version, "--build-arg", "REVISION=" + revision}
	with := func(more ...string) []string {
		return append(append([]string{"build"}, arguments...), more...)
	}

	context := filepath.Join(b.storage, "context")
	copyFile(t, m.program, filepath.Join(context, "linux", runtime.GOARCH, "parlor"), 0o755)
	b.run(with("--target", "ready", "--tag", "parlor:ready", context)...)
	b.run(with("--build-arg", "COMMITTED="+committed, "--tag", "parlor:built",
		"--volume", goEnv(t, "GOROOT")+":/usr/local/go:ro", "--volume", goEnv(t, "GOMODCACHE")+":/go/pkg/mod", "--volume", goEnv(t, "GOCACHE")+":/root/.cache/go-build",
		m.tree)...)

	for _, image := range []string{"parlor:ready", "parlor:built"} {
		t.Run(image, func(t *testing.T) {
			var said inspected
			if err := json.Unmarshal([]byte(b.run("inspect", "--type", "image", image)), &said); err != nil {
				t.Fatal(err)
			}
			config := said.Docker.Config
			if config.User != "65532:65532" || strings.Join(append(config.Entrypoint, config.Cmd...), " ") != "/parlor serve" || config.ExposedPorts["4870/tcp"] == nil {
				t.Errorf("the image is %+v", config)
			}
			if l := config.Labels; l["org.opencontainers.image.version"] != version || l["org.opencontainers.image.revision"] != revision || l["org.opencontainers.image.licenses"] != "Apache-2.0" {
				t.Errorf("the image has the labels %v", l)
			}
			check := config.Healthcheck
			if len(check.Test) < 2 || check.Test[0] != "CMD" || check.Interval == 0 || check.Timeout <= 3*time.Second || check.Retries == 0 {
				t.Fatalf("the image has the health check %+v", check)
			}

			container := strings.TrimSpace(b.run("from", "--pull-never", image))
			mount := strings.TrimSpace(b.run("mount", container))
			if digest(t, filepath.Join(mount, "parlor")) != digest(t, m.program) {
				t.Error("it has another program than make build made of the same sources")
			}
			var files []string
			for _, pattern := range []string{"*", "etc/*", "etc/ssl/*", "etc/ssl/certs/*", "var/*", "var/lib/*"} {
				found, err := filepath.Glob(filepath.Join(mount, pattern))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range found {
					files = append(files, strings.TrimPrefix(f, mount+"/"))
				}
			}
			if got, want := strings.Join(files, " "), "etc parlor tmp var etc/ssl etc/ssl/certs etc/ssl/certs/ca-certificates.crt var/lib var/lib/parlor"; got != want {
				t.Errorf("the image has %s, want %s", got, want)
			}
			for name, want := range map[string]string{"tmp": "0:0 1777", "etc/ssl/certs": "0:0 0755", "var/lib/parlor": "65532:65532 0700", "parlor": "0:0 0755"} {
				var s syscall.Stat_t
				if err := syscall.Stat(filepath.Join(mount, name), &s); err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprintf("%d:%d %04o", s.Uid, s.Gid, s.Mode&0o7777); got != want {
					t.Errorf("/%s is %s, want %s", name, got, want)
				}
			}
			port := freePort(t)
			environment := []string{"PARLOR_LISTEN=:" + port, "PARLOR_DATA=/var/lib/parlor", "PARLOR_INSECURE_HTTP=true"}
			inside := func(command ...string) *exec.Cmd {
				args := []string{"run"}
				for _, variable := range environment {
					args = append(args, "--env", variable)
				}
				return b.command(append(append(args, container, "--"), command...)...)
			}
			health := func() *exec.Cmd { return inside(check.Test[1:]...) }
			if out, err := try(t, health()); err == nil {
				t.Errorf("of no server the health check says %s", out)
			}
			// The key goes where the image's user may write.
			if out, err := try(t, inside("/parlor", "key", "create", "--credentials", "/var/lib/parlor/credentials")); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// Not by buildah, which hands no signal on to what it runs.
			command := slices.Concat(config.Entrypoint, config.Cmd, []string{"--credentials=/var/lib/parlor/credentials", "--drain-window=0s"})
			server := exec.Command(command[0], command[1:]...)
			server.Dir, server.Env = "/", environment
			server.SysProcAttr = &syscall.SysProcAttr{Chroot: mount, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
			stop := begin(t, server)
			healthy(t, health)
			healthy(t, func() *exec.Cmd { return inside("/parlor", "healthcheck") })
			stop()
		})
	}
}
