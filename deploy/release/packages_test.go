package release

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// debian is a new root directory with the essential packages of the Debian that this is, and
// passwd. What was downloaded for it is kept in .cache.
func debian(t testing.TB) string {
	t.Helper()
	need(t, "mmdebstrap", "dpkg", "chroot")
	release := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindStringSubmatch(text(t, "/etc/os-release"))
	if release == nil {
		t.Fatal("/etc/os-release does not say which Debian this is")
	}
	archive, err := filepath.Abs(filepath.Join(root, ".cache", "debian-"+release[1]+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(archive); err != nil {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		making := archive + ".new.tar"
		out, err := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=essential", "--include=passwd",
			"--aptopt=Acquire::Retries \"3\"", "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
			release[1], making).CombinedOutput()
		if err != nil {
			t.Fatalf("mmdebstrap: %v\n%s", err, out)
		}
		if err := os.Rename(making, archive); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "root")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The devices of the archive are more than a test needs.
	run(t, "tar", "--extract", "--file", archive, "--directory", dir, "--exclude=./dev/*")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	null := filepath.Join(dir, "dev/null")
	if err := syscall.Mknod(null, syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(null, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// in is a command in a root directory, by the shell of it.
func in(dir, script string) *exec.Cmd {
	c := exec.Command("/bin/sh", "-euc", script)
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	return c
}

func mustIn(t testing.TB, dir, script string) string {
	t.Helper()
	out, err := try(t, in(dir, script))
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// unit is what a systemd unit says of a service, as far as its process is concerned.
type unit struct {
	user, group string
	env         []string
	exec        []string
	state       string // directory under /var/lib that systemd makes for it
	umask       int
}

func readUnit(t testing.TB, path string) unit {
	t.Helper()
	var u unit
	for line := range strings.Lines(text(t, path)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "User":
			u.user = value
		case "Group":
			u.group = value
		case "Environment":
			u.env = append(u.env, value)
		case "ExecStart":
			u.exec = strings.Fields(value)
		case "StateDirectory":
			u.state = value
		case "UMask":
			n, err := strconv.ParseInt(value, 8, 0)
			if err != nil {
				t.Fatal(err)
			}
			u.umask = int(n)
		}
	}
	if u.user == "" || u.group == "" || len(u.exec) == 0 || u.state == "" || u.umask == 0 {
		t.Fatalf("the unit says %+v", u)
	}
	return u
}

// ids are of a user and a group in a root directory.
func ids(t testing.TB, dir string, u unit) (uid, gid uint32) {
	t.Helper()
	for name, id := range map[string]*uint32{"passwd " + u.user: &uid, "group " + u.group: &gid} {
		fields := strings.Split(mustIn(t, dir, "getent "+name), ":")
		n, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil || n == 0 {
			t.Fatalf("getent %s says %q", name, fields)
		}
		*id = uint32(n)
	}
	return uid, gid
}

// start starts the service of an installed unit as systemd would: its program, as its
// user, with its environment and one capability, and with its state directory.
func (u unit) start(t testing.TB, dir string) (stop func()) {
	t.Helper()
	uid, gid := ids(t, dir, u)
	state := filepath.Join(dir, "var/lib", u.state)
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	const bindService = 10
	c := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`umask %04o; exec "$@"`, u.umask), "sh"}, u.exec...)...)
	c.Dir, c.Env = "/", u.env
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: uid, Gid: gid}, AmbientCaps: []uintptr{bindService}}
	return begin(t, c)
}

// freePort is a port that nobody listens on now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// The life of the deb in a Debian: installed, its service started and asked, upgraded over
// itself, removed, purged. systemd does not run in the root directory: its part is played by
// unit.start. Then that of the rpm, in the same place.
func TestPackagesAreInstalled(t *testing.T) {
	t.Parallel()
	need(t, "rpm")
	dir := debian(t)
	m := build(t)
	copyFile(t, m.deb, filepath.Join(dir, "dist", filepath.Base(m.deb)), 0o644)
	exists := func(path string) bool {
		_, err := os.Lstat(filepath.Join(dir, path))
		return err == nil
	}

	// lives installs it, serves, and upgrades it; the settings that the administrator
	// changed and the keys survive.
	lives := func(t *testing.T, install, upgrade func() string) {
		said := install()
		for _, command := range []string{"sudo parlor key create --credentials /etc/parlor/credentials --name ops", "sudo systemctl enable --now parlor"} {
			if !strings.Contains(said, "  "+command+"\n") {
				t.Errorf("installed, it says not %q but\n%s", command, said)
			}
		}
		u := readUnit(t, filepath.Join(dir, "usr/lib/systemd/system/parlor.service"))
		uid, gid := ids(t, dir, u)
		for path, want := range map[string]string{
			"etc/parlor/parlor.yaml": fmt.Sprintf("0:%d 0640", gid),
			"etc/parlor/credentials": fmt.Sprintf("%d:%d 0600", uid, gid),
			"usr/bin/parlor":         "0:0 0755",
		} {
			info, err := os.Stat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			s := info.Sys().(*syscall.Stat_t)
			if got := fmt.Sprintf("%d:%d %04o", s.Uid, s.Gid, info.Mode().Perm()); got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
		// Without a key it does not start, and says what to do.
		out, err := try(t, in(dir, "parlor config check --config /etc/parlor/parlor.yaml"))
		if err == nil || !strings.Contains(out, "parlor key create --credentials /etc/parlor/credentials") {
			t.Errorf("without a key its settings are judged %v\n%s", err, out)
		}
		mustIn(t, dir, page(t, "parlor key create --credentials /etc/parlor/credentials --name ops"))
		mustIn(t, dir, "parlor config check --config /etc/parlor/parlor.yaml")
		mustIn(t, dir, "parlor healthcheck --config /etc/parlor/parlor.yaml || exit 0; exit 1") // nobody runs yet
		// Not in there, where there is no /proc, which bash wants.
		shell := exec.Command("bash", "-euc", `. usr/share/bash-completion/completions/parlor
			COMP_LINE="parlor healthch" COMP_POINT=15 COMP_WORDS=(parlor healthch) COMP_CWORD=1; _parlor; echo "${COMPREPLY[@]}"`)
		shell.Dir, shell.Env = dir, []string{"PATH=" + filepath.Join(dir, "usr/bin")}
		completed, err := try(t, shell)
		if !strings.HasPrefix(completed, "healthcheck") {
			t.Errorf("bash completes parlor healthch by %q, %v", completed, err)
		}

		port := freePort(t)
		mustIn(t, dir, "sed -i 's/^#listen: .*/listen: 127.0.0.1:"+port+"/' /etc/parlor/parlor.yaml")
		check := func() *exec.Cmd {
			return in(dir, page(t, "parlor healthcheck --config /etc/parlor/parlor.yaml --wait 30s"))
		}
		stop := u.start(t, dir)
		healthy(t, check)
		if !exists("var/lib/parlor/parlor.db") {
			t.Error("its data are not where the unit says")
		}

		changed := text(t, filepath.Join(dir, "etc/parlor/parlor.yaml"))
		keys := text(t, filepath.Join(dir, "etc/parlor/credentials"))
		if said := upgrade(); strings.Contains(said, "is installed, and not started") {
			t.Errorf("upgraded, it says\n%s", said)
		}
		if text(t, filepath.Join(dir, "etc/parlor/parlor.yaml")) != changed || text(t, filepath.Join(dir, "etc/parlor/credentials")) != keys {
			t.Error("an upgrade changed what the administrator has in /etc/parlor")
		}
		healthy(t, check) // the old program runs on: here is nobody to restart it
		stop()
		stop = u.start(t, dir)
		healthy(t, check)
		stop()
	}

	t.Run("deb", func(t *testing.T) {
		command := strings.ReplaceAll(page(t, "dpkg --install dist/parlor_*_amd64.deb"), "_amd64", "_"+strings.TrimSpace(run(t, "dpkg", "--print-architecture")))
		install := func() string { return mustIn(t, dir, command) }
		lives(t, install, install)
		// systemd would start it at boot: of systemctl enable --now that much is tried.
		if systemctl, err := exec.LookPath("systemctl"); err == nil {
			run(t, systemctl, "--root", dir, "enable", "parlor")
			if !exists("etc/systemd/system/multi-user.target.wants/parlor.service") {
				t.Error("enabled, it would not start at boot")
			}
		}
		mustIn(t, dir, "dpkg --verify parlor || test -z \"$(dpkg --verify parlor | grep -v ' c /etc/parlor/parlor.yaml$')\"")

		mustIn(t, dir, page(t, "dpkg --remove parlor"))
		if exists("usr/bin/parlor") || exists("usr/lib/systemd/system/parlor.service") {
			t.Error("removed, its program is still there")
		}
		if !exists("var/lib/parlor/parlor.db") || !exists("etc/parlor/credentials") || !exists("etc/parlor/parlor.yaml") {
			t.Error("removed, it took data, keys or settings with it")
		}
		mustIn(t, dir, page(t, "dpkg --purge parlor"))
		if exists("var/lib/parlor") || exists("etc/parlor") || exists("usr/share/doc/parlor") {
			t.Error("purged, it left something behind")
		}
	})

	t.Run("rpm", func(t *testing.T) {
		// What Fedora would ask for is of other names here.
		with := func(command, more string) string {
			command = strings.Replace(command, "rpm --", "rpm --root "+dir+" "+more+" --", 1)
			c := exec.Command("sh", "-euc", strings.ReplaceAll(command, "x86_64", map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]))
			c.Dir = m.tree
			out, err := try(t, c)
			if err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			return out
		}
		lives(t,
			func() string { return with(page(t, "rpm --install dist/parlor-*.x86_64.rpm"), "--nodeps") },
			func() string {
				return with(page(t, "rpm --upgrade dist/parlor-*.x86_64.rpm"), "--nodeps --replacepkgs --replacefiles")
			})
		with(page(t, "rpm --erase parlor"), "")
		if exists("usr/bin/parlor") {
			t.Error("removed, its program is still there")
		}
		if !exists("var/lib/parlor/parlor.db") || !exists("etc/parlor/credentials") || !exists("etc/parlor/parlor.yaml.rpmsave") {
			t.Error("removed, it took data, keys or settings with it")
		}
	})
}

// entry is a file of a package.
type entry struct {
	Mode         os.FileMode
	Owner, Group string
	Digest       string
}

// The deb and the rpm bring the same files, which are those of the tree.
func TestPackagesBringTheSame(t *testing.T) {
	m := build(t)
	need(t, "rpm", "dpkg-deb")

	deb := map[string]entry{}
	out, err := exec.Command("dpkg-deb", "--fsys-tarfile", m.deb).Output()
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(strings.NewReader(string(out)))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, archive); err != nil {
			t.Fatal(err)
		}
		deb[strings.TrimPrefix(h.Name, ".")] = entry{os.FileMode(h.Mode).Perm(), h.Uname, h.Gname, fmt.Sprintf("%x", sum.Sum(nil))}
	}

	rpm := map[string]entry{}
	config := ""
	lines := bufio.NewScanner(strings.NewReader(run(t, "rpm", "--query", "--package", "--dump", m.rpm)))
	for lines.Scan() { // path size mtime digest mode owner group isconfig …
		f := strings.Fields(lines.Text())
		mode, err := strconv.ParseUint(f[4], 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		if mode&syscall.S_IFMT == syscall.S_IFREG {
			rpm[f[0]] = entry{os.FileMode(mode).Perm(), f[5], f[6], f[3]}
		}
		if f[7] == "1" {
			config += f[0] + "\n"
		}
	}
	if diff := cmp.Diff(deb, rpm); diff != "" {
		t.Errorf("the deb and the rpm differ:\n%s", diff)
	}
	if want := "/etc/parlor/parlor.yaml\n"; config != want || run(t, "dpkg-deb", "--info", m.deb, "conffiles") != want {
		t.Errorf("%q is what the rpm takes for configuration, want %q", config, want)
	}
	for installed, path := range map[string]string{
		"/usr/bin/parlor":                                  m.program,
		"/usr/share/doc/parlor/parlor.cdx.json":            m.bill,
		"/usr/share/doc/parlor/licenses.txt":               m.license,
		"/etc/parlor/parlor.yaml":                          filepath.Join(root, "deploy/package/parlor.yaml"),
		"/usr/share/doc/parlor/examples/nodes.env":         filepath.Join(root, "deploy/nodes.env"),
		"/usr/share/doc/parlor/examples/nodes.conf":        filepath.Join(root, "deploy/parlor.service.d/nodes.conf"),
		"/usr/share/doc/parlor/copyright":                  filepath.Join(root, "deploy/package/copyright"),
		"/usr/share/doc/parlor/changelog.gz":               "",
		"/usr/share/bash-completion/completions/parlor":    "",
		"/usr/share/fish/vendor_completions.d/parlor.fish": "",
		"/usr/lib/systemd/system/parlor.service":           "",
	} {
		got, ok := deb[installed]
		if !ok || path != "" && got.Digest != digest(t, path) {
			t.Errorf("%s is missing, or is not %s", installed, path)
		}
	}
	scripts := run(t, "rpm", "--query", "--package", "--scripts", m.rpm)
	for _, name := range []string{"preinstall", "postinstall", "preremove", "postremove"} {
		if body := file(t, "deploy/package/"+name+".sh"); !strings.Contains(scripts, strings.TrimSpace(body)) {
			t.Errorf("the rpm has not the script %s", name)
		}
	}
}

// A tag is a version that both kinds of packages order as it is meant.
func TestPackageVersions(t *testing.T) {
	script := file(t, "deploy/package/build.sh")
	begin, end := strings.Index(script, "describe=${VERSION"), strings.Index(script, "PACKAGE_ARCH=")
	if begin < 0 || end < begin {
		t.Fatal("build.sh does not say how versions are made")
	}
	of := func(describe string) string {
		c := exec.Command("sh", "-euc", script[begin:end]+`printf %s "$PACKAGE_VERSION"`)
		c.Env = append(os.Environ(), "VERSION="+describe, "COMMITTED="+committed)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var versions []string
	for _, test := range []struct{ describe, want string }{ // in their order
		{"0123456789ab", "0~20260102.0123456789ab"},
		{"0123456789ab-dirty", "0~20260102.0123456789ab+dirty"},
		{"v1.2.3-rc.1", "1.2.3~rc.1"},
		{"v1.2.3", "1.2.3"},
		{"v1.2.3-dirty", "1.2.3+dirty"},
		{"v1.2.4-rc.1-2-g0123456789ab", "1.2.4~rc.1+2.g0123456789ab"},
		{"v1.2.4", "1.2.4"},
		{"v1.2.4-10-g0123456789ab-dirty", "1.2.4+10.g0123456789ab+dirty"},
		{"v1.10.0", "1.10.0"},
	} {
		got := of(test.describe)
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.describe, got, test.want)
		}
		versions = append(versions, got)
	}
	need(t, "dpkg")
	for i := range versions[1:] {
		if err := exec.Command("dpkg", "--compare-versions", versions[i], "lt", versions[i+1]).Run(); err != nil {
			t.Errorf("%s is not before %s", versions[i], versions[i+1])
		}
	}
}
