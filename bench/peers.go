package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parlor/internal/load"
)

// peer is a server that is measured.
type peer struct {
	name   string
	title  string
	binary bool // its frames are binary
	// command starts it; it prints its address, HOST:PORT, as the last word of a line
	// that has "listening" or AWS_ENDPOINT_URL_IVSCHAT in it.
	command func() *exec.Cmd
	target  func(context.Context, *process, load.Plan) (load.Target, error)
}

//go:embed ws.mjs
var wsServer []byte

// wsVersion is the npm package ws that is measured.
const wsVersion = "8.18.3"

func allPeers(ctx context.Context, dir, parlor, parlorFlags string) ([]*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	parlorDev := func() *exec.Cmd {
		return exec.Command(parlor, append([]string{"dev", "--listen", "127.0.0.1:0", "--log-level", "warn"}, strings.Fields(parlorFlags)...)...)
	}
	peers := []*peer{
		{name: "floor", title: "bare `net.Conn.Write`", target: plainTarget,
			command: func() *exec.Cmd { return exec.Command(self, "floor") }},
		{name: "parlor", title: "Parlor", target: parlorTarget, command: parlorDev},
		{name: "nats", title: "nats-server " + natsVersion() + ", WebSocket", binary: true, target: natsTarget,
			command: func() *exec.Cmd { return exec.Command(self, "nats") }},
	}
	// npm's ws, where there is npm.
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "ws@"+wsVersion)
	install.Dir = dir
	if err := os.WriteFile(filepath.Join(dir, "ws.mjs"), wsServer, 0o644); err != nil {
		return nil, err
	}
	if text, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm install ws: %w\n%s", err, text)
	}
	return append(peers, &peer{name: "ws", title: "npm ws " + wsVersion + " on Node", target: plainTarget,
		command: func() *exec.Cmd {
			c := exec.Command("node", "ws.mjs")
			c.Dir = dir
			return c
		}}), nil
}

// process is a running server.
type process struct {
	command *exec.Cmd
	address string
	url     string // http:// or https:// and the address
	exited  chan struct{}
}

func (p *peer) start(ctx context.Context) (*process, error) {
	s := &process{command: p.command(), exited: make(chan struct{})}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.command.Stdout, s.command.Stderr = in, in
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	in.Close()
	address := make(chan string, 1)
	var said bytes.Buffer
	go func() {
		defer close(s.exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line := lines.Text()
			if said.Len() < 1<<16 {
				fmt.Fprintln(&said, line)
			}
			if strings.Contains(line, "listening") || strings.Contains(line, "AWS_ENDPOINT_URL_IVSCHAT=") {
				select {
				case address <- line[strings.LastIndexAny(line, " =")+1:]:
				default:
				}
			}
		}
		s.command.Wait()
		out.Close()
	}()
	select {
	case url := <-address:
		scheme, rest, found := strings.Cut(url, "://")
		if !found {
			scheme, rest = "http", url
		}
		s.address, s.url = rest, scheme+"://"+rest
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("%s ended:\n%s", p.name, said.String())
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	s.stop()
	return nil, fmt.Errorf("%s does not say where it listens:\n%s", p.name, said.String())
}

func (s *process) stop() {
	s.command.Process.Kill()
	<-s.exited
}

// cpu is the processor time used so far.
func (s *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	utime, _ := strconv.Atoi(fields[11]) // proc_pid_stat(5)
	stime, _ := strconv.Atoi(fields[12])
	return time.Duration(utime+stime) * 10 * time.Millisecond
}

// memory is what is resident, in KB.
func (s *process) memory() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return float64(kb)
}

// plain is a server whose messages are what they say; a room is a path.
type plain struct{ address string }

func plainTarget(_ context.Context, s *process, _ load.Plan) (load.Target, error) {
	return plain{s.address}, nil
}

func (p plain) Dial(ctx context.Context, room, _ int) (load.Conn, error) {
	return load.Dial(ctx, fmt.Sprintf("ws://%s/%d", p.address, room), "")
}

// AppendMessage makes as long a frame as Parlor's MESSAGE is, with its parts.
func (p plain) AppendMessage(b []byte, _ int, requestID string, content []byte) []byte {
	return fmt.Appendf(b, `{"Type":"MESSAGE","Id":"AbCdEfGhIjKl","RequestId":%q,"Attributes":null,"Content":"%s",`+
		`"SendTime":"2026-01-01T00:00:00.000000000Z","Sender":{"UserId":"bench-1","Attributes":{}}}`, requestID, content)
}

func (p plain) Refusal([]byte) (string, bool) { return "", false }

// nats speaks the NATS protocol over WebSocket; a room is a subject.
type nats struct{ plain }

func natsTarget(_ context.Context, s *process, _ load.Plan) (load.Target, error) {
	return nats{plain{s.address}}, nil
}

func (n nats) Dial(ctx context.Context, room, _ int) (load.Conn, error) {
	c, err := load.Dial(ctx, "ws://"+n.address+"/", "")
	if err != nil {
		return c, err
	}
	hello := fmt.Sprintf("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB room.%d 1\r\nPING\r\n", room)
	if _, err := c.Write(load.ClientFrame([]byte(hello), true)); err != nil {
		return c, err
	}
	// The answer to our PING says that it knows of the subscription.
	seen := bytes.Clone(c.Unread)
	for b := make([]byte, 4096); !bytes.Contains(seen, []byte("PONG\r\n")); {
		got, err := c.Read(b)
		if err != nil {
			return c, err
		}
		seen = append(seen, b[:got]...)
	}
	c.Unread = nil
	return c, nil
}

func (n nats) AppendMessage(b []byte, room int, requestID string, content []byte) []byte {
	text := n.plain.AppendMessage(nil, room, requestID, content)
	b = fmt.Appendf(b, "PUB room.%d %d\r\n", room, len(text))
	return append(append(b, text...), "\r\n"...)
}

// ivs is Parlor, by the two calls that a load needs of its API.
type ivs struct {
	plain
	tokens []string
}

func parlorTarget(ctx context.Context, s *process, plan load.Plan) (load.Target, error) {
	t := &ivs{plain: plain{s.address}, tokens: make([]string, plan.Connections)}
	rooms := make([]string, plan.Rooms)
	for i := range rooms {
		var out struct{ Arn string }
		if err := call(ctx, s.address, "/CreateRoom", map[string]any{"maximumMessageRatePerSecond": 100}, &out); err != nil {
			return nil, err
		}
		rooms[i] = out.Arn
	}
	var next atomic.Int64
	var minting sync.WaitGroup
	failed := make(chan error, 16)
	for range cap(failed) {
		minting.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(t.tokens); i = int(next.Add(1)) - 1 {
				var out struct{ Token string }
				err := call(ctx, s.address, "/CreateChatToken", map[string]any{"roomIdentifier": rooms[i%len(rooms)],
					"userId": fmt.Sprintf("bench-%d", i), "capabilities": []string{"SEND_MESSAGE"}}, &out)
				if err != nil {
					failed <- err
					return
				}
				t.tokens[i] = out.Token
			}
		})
	}
	minting.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return t, nil
	}
}

func (t *ivs) Dial(ctx context.Context, _, i int) (load.Conn, error) {
	return load.Dial(ctx, "ws://"+t.address+"/", t.tokens[i])
}

func (t *ivs) AppendMessage(b []byte, _ int, requestID string, content []byte) []byte {
	return fmt.Appendf(b, `{"Action":"SEND_MESSAGE","RequestId":%q,"Content":"%s"}`, requestID, content)
}

func (t *ivs) Refusal(frame []byte) (string, bool) {
	return string(frame), bytes.Contains(frame, []byte(`"Type":"ERROR"`))
}

// call calls the API. Parlor dev takes any well-formed signature.
func call(ctx context.Context, address, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	date := time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amz-Date", date)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=123456789012/"+date[:8]+
		"/us-east-1/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, response.Status, text)
	}
	return json.Unmarshal(text, out)
}
