package deploytest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parlor/internal/pgtest"
)

// process is something that runs beside the test. It is killed with the test.
type process struct {
	name    string
	command *exec.Cmd
	exited  chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// begin starts a process, which says what it said if the test fails.
func begin(t testing.TB, name string, command *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, command: command, exited: make(chan struct{})}
	command.Stdout, command.Stderr = p, p
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, tail(p.output()))
		}
	})
	return p
}

func tail(text string) string {
	const most = 6000
	return text[max(0, len(text)-most):]
}

func (p *process) kill() {
	p.command.Process.Kill()
	<-p.exited
}

// until waits for what must come to be.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
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

// status asks for a page and returns the answer's status, or 0.
func status(url string) int {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}

// cluster is what compose.yaml describes, with other addresses, as processes of this
// machine.
type cluster struct {
	t        testing.TB
	compose  *composeFile
	secrets  string
	env      []string // of a node, but for where it listens and keeps its data
	ports    map[string]int
	nodes    map[string]*process
	redis    *process
	start    func() // starts redis
	url, tls string // of the proxy
	pool     []byte // the proxy's certificate
}

// run starts it all. Where HAProxy or redis-server is missing the test skips; under CI=true
// it fails.
func run(t testing.TB) *cluster {
	t.Helper()
	for _, program := range []string{"haproxy", "redis-server"} {
		if _, err := lookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("there is no %s: make deps installs it on Debian", program)
			}
			t.Skipf("there is no %s", program)
		}
	}
	c := &cluster{t: t, compose: compose(t), secrets: makeSecrets(t), ports: map[string]int{}, nodes: map[string]*process{}}
	database, err := url.Parse(pgtest.Start(t).CreateDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := database.User.Password()
	database.User = url.User(database.User.Username())
	put(t, filepath.Join(c.secrets, "pgpass"), fmt.Appendf(nil, "127.0.0.1:%s:*:parlor:%s\n", database.Port(), password))

	port := freePort(t)
	settings := read(t, c.secrets, "parlor.yaml")
	put(t, filepath.Join(c.secrets, "parlor.yaml"), []byte(strings.Replace(settings, "@valkey:6379", fmt.Sprintf("@127.0.0.1:%d", port), 1)))
	c.start = func() {
		t.Helper()
		program, err := lookPath("redis-server") // Valkey takes the same words
		if err != nil {
			t.Fatal(err)
		}
		words := c.compose.Services["valkey"].Command
		args := []string{strings.Replace(words[1], "/run/secrets/", c.secrets+"/", 1)}
		args = append(append(args, words[2:]...), "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", c.secrets)
		c.redis = begin(t, "redis", exec.Command(program, args...))
		until(t, "redis-server answers", func() bool { return redis(port, "PING") == "-NOAUTH Authentication required." })
	}
	c.start()

	for name, value := range c.compose.Services[nodes[0]].Environment {
		switch name {
		case "PARLOR_LISTEN", "PARLOR_DATA":
			continue
		case "PARLOR_DATABASE_URL":
			value = database.String()
		case "PARLOR_TRUSTED_PROXIES":
			value = "127.0.0.1/32"
		case "PARLOR_DRAIN_WINDOW":
			value = "3s"
		}
		c.env = append(c.env, name+"="+strings.ReplaceAll(value, "/run/secrets/", c.secrets+"/"))
	}
	for _, name := range nodes {
		c.ports[name] = freePort(t)
		c.startNode(name)
	}
	c.startProxy()
	return c
}

// lookPath finds a program, also where users have no path to.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	return path, err
}

// redis has the server at a port carry out one word, and returns the answer's line.
func redis(port int, word string) string {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "%s\r\n", word)
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func (c *cluster) node(name string) string { return fmt.Sprintf("http://127.0.0.1:%d", c.ports[name]) }

// startNode starts a node and waits until it is ready.
func (c *cluster) startNode(name string) {
	c.t.Helper()
	data := filepath.Join(c.secrets, name+"-data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chown(data, user, user); err != nil {
		c.t.Fatal(err)
	}
	env := append([]string{fmt.Sprintf("PARLOR_LISTEN=127.0.0.1:%d", c.ports[name]), "PARLOR_DATA=" + data}, c.env...)
	c.nodes[name] = begin(c.t, name, command(context.Background(), c.t, env, c.compose.Services[name].Command...))
	until(c.t, name+" is ready", func() bool {
		select {
		case <-c.nodes[name].exited:
			c.t.Fatalf("%s has ended:\n%s", name, tail(c.nodes[name].output()))
		default:
		}
		return status(c.node(name)+"/readyz") == http.StatusOK
	})
}

// startProxy runs HAProxy with its configuration as it is, but for addresses and with TLS.
func (c *cluster) startProxy() {
	t := c.t
	t.Helper()
	dir := t.TempDir()
	plain, secure, health := freePort(t), freePort(t), freePort(t)
	certificate, key := certificate(t, "chat.example.com")
	c.pool = certificate
	pem := filepath.Join(dir, "certificate.pem")
	if err := os.WriteFile(pem, append(certificate, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	text := file(t, "deploy/haproxy.cfg")
	change := func(old, new string) {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("haproxy.cfg has no %q", old)
		}
		text = strings.ReplaceAll(text, old, new)
	}
	change("maxconn 60000", "maxconn 500") // as many descriptors as a test may have
	change("\n    bind :8080\n", fmt.Sprintf("\n    bind 127.0.0.1:%d\n", plain))
	change("#bind :8443 ssl crt /run/secrets/certificate.pem", fmt.Sprintf("bind 127.0.0.1:%d ssl crt %s", secure, pem))
	change("127.0.0.1:8404", fmt.Sprintf("127.0.0.1:%d", health))
	for _, name := range nodes {
		change(fmt.Sprintf("server %s %s:4870", name, name), fmt.Sprintf("server %s 127.0.0.1:%d", name, c.ports[name]))
	}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := lookPath("haproxy")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "-c", "-f", config).CombinedOutput(); err != nil || bytes.Contains(out, []byte("[WARNING]")) {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	begin(t, "haproxy", exec.Command(program, "-W", "-db", "-f", config))
	c.url, c.tls = fmt.Sprintf("http://127.0.0.1:%d", plain), fmt.Sprintf("https://127.0.0.1:%d", secure)
	until(t, "the proxy has nodes", func() bool { return status(fmt.Sprintf("http://127.0.0.1:%d/ready", health)) == http.StatusOK })
}

// stop asks a node to stop and waits until it has, cleanly.
func (c *cluster) stop(name string) {
	c.t.Helper()
	p := c.nodes[name]
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		c.t.Fatalf("%s does not stop", name)
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("%s ended with %d", name, code)
	}
}

// metrics returns what a node says at /metrics.
func metrics(t testing.TB, node string) string {
	t.Helper()
	r, err := http.Get(node + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s/metrics: %d, %v", node, r.StatusCode, err)
	}
	return string(text)
}
