package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readersPatience is for one block: it may build a Go program under the race detector's
// load.
const readersPatience = 2 * time.Minute

// ready is what a server says when it may be used.
const ready = "Parlor … is ready.\n"

// reader does what a page says, in an empty directory.
type reader struct {
	t    *testing.T
	dir  string
	env  []string
	port string // that stands for 4870; "" where that is our own

	shell     *exec.Cmd
	say       *os.File
	hear      *bufio.Scanner
	cwd       string
	blocks    int
	terminals map[string]*another
}

// another is a terminal beside the first, with what ran there last.
type another struct {
	command *exec.Cmd
	exited  chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *another) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *another) shown() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// interrupt does what Ctrl-C does, and waits.
func (c *another) interrupt() bool {
	syscall.Kill(-c.command.Process.Pid, syscall.SIGINT)
	select {
	case <-c.exited:
		return true
	case <-time.After(patience):
		syscall.Kill(-c.command.Process.Pid, syscall.SIGKILL)
		<-c.exited
		return false
	}
}

func newReader(t *testing.T, port string) *reader {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"home", "tmp", "bin", "here"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r := &reader{t: t, dir: dir, port: port, terminals: map[string]*another{}}
	r.env = []string{"HOME=" + dir + "/home", "TMPDIR=" + dir + "/tmp", "PATH=" + dir + "/bin:" + os.Getenv("PATH"),
		"USER=reader", "LANG=C.UTF-8", "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "npm_config_update_notifier=false"}
	if port != "" {
		r.env = append(r.env, "PARLOR_LISTEN=127.0.0.1:"+port, "AWS_ENDPOINT_URL_IVSCHAT=http://127.0.0.1:"+port)
	}
	return r
}

// read does all of a page.
func (r *reader) read(all []block) {
	r.t.Helper()
	r.tools(all)
	r.open()
	var last *block
	var printed string
	for i := range all {
		b := &all[i]
		if b.server != "" {
			r.begin(b, "server", b.server)
			r.await(b, "server", ready)
		}
		if b.before != "" {
			r.run(b, b.before)
		}
		if b.browser != "" {
			r.begin(b, "browser", r.browser()+" "+b.browser+" 2>/dev/null\n")
		}
		switch {
		case b.language == "sh" && b.runs() && b.terminal != "":
			r.begin(b, b.terminal, b.command())
			if b.serves() {
				r.await(b, b.terminal, ready)
			}
		case b.language == "sh" && b.runs():
			printed = r.run(b, b.command())
		case b.runs():
			if b.file != "" { // else TestDocumentsUntried says so
				if err := os.WriteFile(filepath.Join(r.cwd, b.file), []byte(r.moved(b.text)), 0o600); err != nil {
					r.t.Fatalf("%s: %v", b.at(), err)
				}
			}
		case b.language != "" || b.untried != "" || b.tried != "":
		case b.terminal != "":
			r.await(b, b.terminal, b.text)
		case last != nil && last.language == "sh" && last.runs() && last.terminal != "":
			r.await(b, last.terminal, b.text)
		case last != nil && last.language == "sh" && last.runs():
			if fault := shows(r.moved(b.text), printed, false); fault != "" {
				r.t.Fatalf("%s: %s\nIt printed:\n%s", b.at(), fault, printed)
			}
		}
		last = b
	}
	r.say.Close()
	r.shell.Wait()
	for name, c := range r.terminals {
		if !c.interrupt() {
			r.t.Errorf("what runs in the terminal %s does not heed an interrupt:\n%s", name, c.shown())
		}
	}
}

// moved is a text with the places that stand for those of the page.
func (r *reader) moved(text string) string {
	text = strings.ReplaceAll(text, "/tmp/", r.dir+"/tmp/")
	if r.port != "" {
		text = strings.NewReplacer("127.0.0.1:4870", "127.0.0.1:"+r.port, "0.0.0.0:4870", "127.0.0.1:"+r.port, "--listen :443", "--listen 127.0.0.1:0").Replace(text)
	}
	return text
}

// open opens the shell. It is told files to read, one a line, and answers each by the
// directory that it is in then; a command that fails ends it.
func (r *reader) open() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.shell = exec.CommandContext(ctx, "bash", "--norc", "-e", "-o", "pipefail", "-c",
		`while read -r file; do . "$file" </dev/null >"$file.out" 2>&1; echo "$PWD"; done`)
	r.shell.Dir, r.shell.Env = filepath.Join(r.dir, "here"), r.env
	r.cwd = r.shell.Dir
	r.shell.WaitDelay = time.Second
	theirs, ours, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	answers, err := r.shell.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.shell.Stdin, r.say, r.hear = theirs, ours, bufio.NewScanner(answers)
	if err := r.shell.Start(); err != nil {
		r.t.Fatal(err)
	}
	theirs.Close()
	r.t.Cleanup(func() {
		cancel()
		ours.Close()
		for _, c := range r.terminals {
			syscall.Kill(-c.command.Process.Pid, syscall.SIGKILL)
		}
	})
}

// file is a file with commands.
func (r *reader) file(commands string) string {
	r.t.Helper()
	r.blocks++
	name := filepath.Join(r.dir, fmt.Sprintf("block-%d", r.blocks))
	if err := os.WriteFile(name, []byte(r.moved(commands)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// run runs commands of a block and returns what they print.
func (r *reader) run(b *block, commands string) string {
	r.t.Helper()
	name := r.file(commands)
	printed := func() string {
		out, _ := os.ReadFile(name + ".out") // empty as long as there is none
		return string(out)
	}
	begun := time.Now()
	fmt.Fprintln(r.say, name)
	done := make(chan bool, 1)
	go func() { done <- r.hear.Scan() }()
	select {
	case ok := <-done:
		if !ok {
			r.t.Fatalf("%s failed. It printed:\n%s%s", b.at(), printed(), r.seen())
		}
	case <-time.After(readersPatience):
		r.t.Fatalf("%s goes on after %v. It printed:\n%s%s", b.at(), readersPatience, printed(), r.seen())
	}
	r.cwd = r.hear.Text()
	r.t.Logf("%s took %v", b.at(), time.Since(begun).Round(10*time.Millisecond))
	return printed()
}

// begin runs commands of a block in another terminal.
func (r *reader) begin(b *block, name, commands string) {
	r.t.Helper()
	if before := r.terminals[name]; before != nil && !before.interrupt() {
		r.t.Fatalf("%s: what ran in the terminal %s does not heed an interrupt:\n%s", b.at(), name, before.shown())
	}
	c := &another{command: exec.Command("bash", "--norc", "-e", r.file(commands)), exited: make(chan error, 1)}
	c.command.Dir, c.command.Env = filepath.Join(r.dir, "here"), r.env
	c.command.Stdout, c.command.Stderr = c, c
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.command.WaitDelay = time.Second
	if err := c.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		c.exited <- c.command.Wait()
		close(c.exited)
	}()
	r.terminals[name] = c
}

// await waits until a terminal shows what a block wants.
func (r *reader) await(b *block, name, want string) {
	r.t.Helper()
	c := r.terminals[name]
	if c == nil {
		r.t.Fatalf("%s: there is no terminal %s", b.at(), name)
	}
	fault := ""
	for deadline := time.Now().Add(readersPatience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if fault = shows(r.moved(want), c.shown(), true); fault == "" {
			return
		}
	}
	r.t.Fatalf("%s: %s\nThe terminal %s shows:\n%s", b.at(), fault, name, c.shown())
}

// seen is what the other terminals show.
func (r *reader) seen() string {
	var b strings.Builder
	for name, c := range r.terminals {
		shown := c.shown()
		fmt.Fprintf(&b, "\nThe terminal %s shows:\n%s", name, shown[max(0, len(shown)-1000):])
	}
	return b.String()
}

// different are parts of what is printed that are others each time.
var different = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`(room|logging-configuration)/[A-Za-z0-9]{12}\b`), "$1/ID"},
	{regexp.MustCompile(`"[A-Za-z0-9]{12}"`), `"ID"`},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "UUID"},
}

// shows says what is missing in what was printed, or there beyond what was wanted,
// unless others may be there.
func shows(want, printed string, others bool) string {
	lines := func(text string) (all []string) {
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, " \r\n")
			for _, d := range different {
				line = d.from.ReplaceAllString(line, d.to)
			}
			if line != "" {
				all = append(all, line)
			}
		}
		return all
	}
	there := lines(printed)
	for _, line := range lines(want) {
		if line == "…" {
			others = true
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
		i := slices.IndexFunc(there, pattern.MatchString)
		if i < 0 {
			return fmt.Sprintf("it does not print %q", line)
		}
		there = slices.Delete(there, i, i+1)
	}
	if !others && len(there) > 0 {
		return fmt.Sprintf("it prints %q too", there[0])
	}
	return ""
}

// tools sees to it that what the page uses is there, and finds what it needs without
// the Internet.
func (r *reader) tools(all []block) {
	r.t.Helper()
	var text string
	for _, b := range all {
		text += b.before
		if b.language == "sh" && b.runs() {
			text += b.command()
		}
	}
	uses := func(command string) bool {
		return regexp.MustCompile(`(?m)(^|[(|;&] *)(env )?([A-Z_]+=\S+ )*` + command + ` `).MatchString(text)
	}
	if uses("aws") {
		r.need("the AWS CLI", "aws", "--version")
	}
	if uses("curl") {
		r.need("curl", "curl", "--version")
	}
	if uses("openssl") {
		r.need("openssl", "openssl", "version")
	}
	if uses("node") || uses("npm") {
		r.need("Node", "node", "--version")
		r.need("npm", "npm", "--version")
		r.npm()
	}
	if uses("python3") {
		r.python()
	}
	if uses("go") {
		cache, err := exec.Command("go", "env", "GOMODCACHE", "GOCACHE").Output()
		paths := strings.Fields(string(cache))
		if err != nil || len(paths) != 2 {
			r.t.Fatalf("go env: %v: %q", err, cache)
		}
		r.env = append(r.env, "GOMODCACHE="+paths[0], "GOCACHE="+paths[1], "GOPROXY=file://"+filepath.ToSlash(paths[0])+"/cache/download",
			"GOSUMDB=off", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false")
	}
}

// need ends the test if a tool is missing.
func (r *reader) need(what string, command ...string) {
	r.t.Helper()
	if exec.Command(command[0], command[1:]...).Run() == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		r.t.Fatalf("%s: not there, which CI must have", what)
	}
	r.t.Skipf("%s: not there", what)
}

// python has python3 be one that knows boto3 and websockets: one beside Debian's does not
// see its packages.
func (r *reader) python() {
	r.t.Helper()
	for _, candidate := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(candidate)
		if err == nil && exec.Command(path, "-c", "import boto3, websockets").Run() == nil {
			if err := os.Symlink(path, filepath.Join(r.dir, "bin", "python3")); err != nil {
				r.t.Fatal(err)
			}
			return
		}
	}
	r.need("boto3 and websockets for Python", "python3", "-c", "import boto3, websockets")
}

// npm has npm install take what make deps installed.
func (r *reader) npm() {
	r.t.Helper()
	const wanted, cache = "internal/parlortest/testdata/js/package.json", "../../.cache/node"
	want, err := os.ReadFile("../../" + wanted)
	if err != nil {
		r.t.Fatal(err)
	}
	if got, err := os.ReadFile(cache + "/installed.json"); err != nil || !bytes.Equal(got, want) {
		r.need("the npm packages of "+wanted+" (make deps installs them)", "false")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		r.t.Fatal(err)
	}
	modules, err := filepath.Abs(cache + "/node_modules")
	if err != nil {
		r.t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = install ] || exec %q "$@"
shift
ln -sfn %q node_modules
for package; do
  [ -d "node_modules/$package" ] || { echo "npm: make deps does not install $package" >&2; exit 1; }
done
`, npm, modules)
	if err := os.WriteFile(filepath.Join(r.dir, "bin", "npm"), []byte(script), 0o700); err != nil {
		r.t.Fatal(err)
	}
}

// browser is a command that shows a page until it is interrupted.
func (r *reader) browser() string {
	r.t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path + " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-port=0"
		}
	}
	r.need("Chromium", "false")
	return ""
}

func freePort(t *testing.T) string {
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
