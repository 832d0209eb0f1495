package parlortest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/parlortest"
)

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	endShared()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// command builds the command once, as make build does, and returns its path.
func command(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "parlortest-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "parlor")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", built.path, "parlor/cmd/parlor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is a server that runs as a user's does, in a process of its own.
type process struct {
	address string
	command *exec.Cmd
	exited  chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// run starts parlor dev over a data directory and returns when /readyz says yes, and
// how long that took. Options change the command.
func run(t testing.TB, data string, options ...func(*exec.Cmd)) (*process, time.Duration) {
	t.Helper()
	p := &process{command: exec.Command(command(t), "dev", "--listen", "127.0.0.1:0", "--data", data, "--log-level", "warn"), exited: make(chan struct{})}
	for _, option := range options {
		option(p.command)
	}
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.said, lines.Text())
			p.mu.Unlock()
			if url, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export AWS_ENDPOINT_URL_IVSCHAT=http://"); ok {
				address <- url
			}
		}
		p.command.Wait()
	}()
	t.Cleanup(p.kill)
	select {
	case p.address = <-address:
	case <-p.exited:
		t.Fatalf("parlor ended:\n%s", p.output())
	case <-time.After(patience):
		t.Fatalf("parlor does not say that it is ready:\n%s", p.output())
	}
	// A node that shares a broker has to reach it first.
	for deadline := begun.Add(patience); ; time.Sleep(5 * time.Millisecond) {
		response, err := http.Get("http://" + p.address + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz: got %s\n%s", response.Status, p.output())
		}
	}
	return p, time.Since(begun)
}

// kill kills the process as the system does when memory is short, and waits for that.
func (p *process) kill() {
	p.command.Process.Kill()
	<-p.exited
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// cpu is the processor time that the process has used, counted in ticks of 10 ms.
func (p *process) cpu(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		t.Skipf("no processor times on this system: %v", err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime, stime: proc_pid_stat(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// api is a lean client of the control plane, for tests that call it a lot. It answers
// with an error when there was no whole answer: a process may be killed meanwhile.
type api struct {
	client *http.Client
	url    string
}

func newAPI(t testing.TB, address string) *api {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{client: &http.Client{Transport: transport, Timeout: patience}, url: "http://" + address}
}

type answer struct {
	Arn, Name, Token, NextToken string
	MaximumMessageLength        int
	Tags                        map[string]string
	Rooms                       []struct{ Arn string }
}

func (a *api) call(method, path string, input any) (status int, out answer, err error) {
	body, err := json.Marshal(input)
	if err != nil {
		return 0, out, err
	}
	r, err := http.NewRequest(method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, out, err
	}
	r.Header.Set("Content-Type", "application/json")
	date := time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", date)
	// Well formed but not signed: parlor dev takes anybody's word.
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+parlortest.Account+"/"+date[:8]+"/"+parlortest.Region+
		"/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	response, err := a.client.Do(r)
	if err != nil {
		return 0, out, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, out, err
	}
	if response.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, &out)
	}
	return response.StatusCode, out, err
}

// knock tries a token at the messaging API and returns the connection and the status
// of the handshake, which for 101 was read to its end.
func knock(address, token string, headers ...string) (net.Conn, *bufio.Reader, int, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, nil, 0, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n", address, token, strings.Join(headers, ""))
	in := bufio.NewReaderSize(conn, 2048)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		conn.Close()
		return nil, nil, 0, err
	}
	conn.SetDeadline(time.Time{})
	if response.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
	}
	return conn, in, response.StatusCode, nil
}
