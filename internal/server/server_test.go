package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/parlortest"
	"parlor/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client keeps no connection, so that a server that stops waits for none.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// do sends a request and returns the response and its body.
func do(t *testing.T, method, url, host string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestRoutes(t *testing.T) {
	s := parlortest.Start(t)
	for _, tc := range []struct {
		name, method, path, host string
		status                   int
		body                     string // contained
	}{
		{"alive", "GET", "/healthz", "", 200, `{"status":"ok"}`},
		{"alive, head", "HEAD", "/healthz", "", 200, ""},
		{"ready", "GET", "/readyz", "", 200, `{"status":"ok"}`},
		{"process metrics", "GET", "/metrics", "", 200, "process_open_fds"},
		{"runtime metrics", "GET", "/metrics", "", 200, "go_goroutines"},
		{"build metric", "GET", "/metrics", "", 200, "parlor_build_info{"},
		{"no upgrade", "GET", "/", "", 426, "WebSocket"},
		{"no upgrade, head", "HEAD", "/", "", 426, ""},
		{"the control plane's", "GET", "/rooms", "", 403, "MissingAuthenticationTokenException"},
		{"paths are not cleaned", "GET", "//healthz", "", 403, "MissingAuthenticationTokenException"},
		{"health is read only", "POST", "/healthz", "", 403, "MissingAuthenticationTokenException"},
		{"a host of AWS", "GET", "/healthz", "ivschat.us-west-2.amazonaws.com", 200, "ok"},
		{"a foreign host", "GET", "/healthz", "evil.example", 403, "AccessDeniedException"},
		{"a foreign host at the API", "POST", "/ListRooms", "evil.example:80", 403, "AccessDeniedException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			response, body := do(t, tc.method, s.URL+tc.path, tc.host)
			if response.StatusCode != tc.status {
				t.Errorf("got status %d, want %d", response.StatusCode, tc.status)
			}
			if !strings.Contains(body, tc.body) {
				t.Errorf("got body %s, want one with %s", body, tc.body)
			}
		})
	}
}

func TestOpenAnswersToAnyHost(t *testing.T) {
	s := parlortest.Start(t, func(c *config.Config) { c.Open = true })
	if response, _ := do(t, "GET", s.URL+"/healthz", "chat.example"); response.StatusCode != 200 {
		t.Errorf("got status %d, want 200", response.StatusCode)
	}
}

// The longest chat token there is comes through the HTTP server, beside what a
// browser and a proxy send.
func TestHeadersHaveRoomForAToken(t *testing.T) {
	s := parlortest.Start(t)
	_, response, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{
		HTTPClient:   client,
		Subprotocols: []string{strings.Repeat("a", chat.MaxTokenLength)},
		HTTPHeader:   http.Header{"Cookie": {strings.Repeat("c", 8000)}},
	})
	if err == nil {
		t.Fatal("got a connection with a token that is none")
	}
	if response == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %v, %v, want status 401", response, err)
	}
}

func TestAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := config.Default(config.Dev)
	c.Listen, c.Data = listener.Addr().String(), filepath.Join(t.TempDir(), "data")
	if _, err := server.New(c, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	if _, err := os.Stat(c.Data); err == nil {
		t.Error("a data directory was made for a server that cannot start")
	}
}

// A server that cannot open its store lets go of its address.
func TestStoreRefused(t *testing.T) {
	s := parlortest.Start(t)
	c := config.Default(config.Dev)
	c.Listen, c.Data = freeAddress(t), s.Data
	if _, err := server.New(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), s.Data) {
		t.Fatalf("got %v, want an error that names the directory in use", err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// A request that was begun before the stop is answered.
func TestRequestUnderWayIsAnswered(t *testing.T) {
	s := parlortest.Start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	now := time.Now().UTC().Format("20060102T150405Z")
	fmt.Fprintf(conn, "POST /ListRooms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nX-Amz-Date: %s\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=000000000000/%s/us-west-2/ivschat/aws4_request, SignedHeaders=host, Signature=00\r\n\r\n", now, now[:8])
	reader := bufio.NewReader(conn)
	// The interim answer comes when the handler reads the body.
	for want := range strings.Lines("HTTP/1.1 100 Continue\r\n\r\n") {
		if got, err := reader.ReadString('\n'); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Stop() }()
	select {
	case <-stopped:
		t.Fatal("the server did not wait for a request under way")
	case <-time.After(100 * time.Millisecond):
	}
	fmt.Fprint(conn, "{}")
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := response.StatusCode, http.StatusOK; got != want {
		t.Errorf("got status %d, want %d", got, want)
	}
	<-stopped
}

// A connection on which nothing was asked yet, as browsers and SDKs open them in advance,
// keeps nobody.
func TestStopWithAnUnusedConnection(t *testing.T) {
	s := parlortest.Start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if response, _ := do(t, "GET", s.URL+"/healthz", ""); response.StatusCode != http.StatusOK { // by then the first was accepted
		t.Fatalf("got status %d", response.StatusCode)
	}
	begun := time.Now()
	s.Stop()
	if got, want := time.Since(begun), 3*time.Second; got > want {
		t.Errorf("the stop took %s, want less than %s", got, want)
	}
}

// While sessions are ended over the drain window, the server says that it should get
// no traffic and takes no new session; then it is gone.
func TestDrain(t *testing.T) {
	s := parlortest.Start(t, func(c *config.Config) { c.DrainWindow = 600 * time.Millisecond })
	control := s.Client(t)
	room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String("drained")})
	if err != nil {
		t.Fatal(err)
	}
	const sessions = 3
	ended := make(chan time.Time, sessions)
	for i := range sessions {
		conn := dial(t, s, control, room.Arn, fmt.Sprint("user-", i))
		go func() {
			conn.Read(context.Background())
			ended <- time.Now()
		}()
	}
	late := token(t, control, room.Arn, "late")

	begun := time.Now()
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Stop() }()
	<-ended
	response, body := do(t, "GET", s.URL+"/readyz", "")
	if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("got %d %s, want 503 that says draining", response.StatusCode, body)
	}
	if response, _ := do(t, "GET", s.URL+"/healthz", ""); response.StatusCode != http.StatusOK {
		t.Errorf("got status %d from /healthz, want 200", response.StatusCode)
	}
	_, response, err = websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{late}})
	if err == nil || response == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v, %v for a new session, want status 503", response, err)
	}
	var last time.Time
	for range sessions - 1 {
		last = <-ended
	}
	<-stopped
	// The last of three ends after two thirds of the window.
	if got, want := last.Sub(begun), 300*time.Millisecond; got < want {
		t.Errorf("the last session ended after %s, want the ends spread over the window", got)
	}
	if got, want := time.Since(begun), 3*time.Second; got > want {
		t.Errorf("the stop took %s, want less than %s", got, want)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://")); err == nil {
		t.Error("the server still listens")
	}
}

// What was acknowledged is there after a restart, and a used token stays used.
func TestRestart(t *testing.T) {
	s := parlortest.Start(t)
	control := s.Client(t)
	room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String("kept")})
	if err != nil {
		t.Fatal(err)
	}
	used, unused := token(t, control, room.Arn, "a"), token(t, control, room.Arn, "b")
	open := func(s *parlortest.Server, token string) error {
		conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{token}})
		if err == nil {
			conn.CloseNow()
		}
		return err
	}
	if err := open(s, used); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s = parlortest.Start(t, func(c *config.Config) { c.Data = s.Data })
	got, err := s.Client(t).GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: room.Arn})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(got.Name) != "kept" {
		t.Errorf("got room %q, want %q", aws.ToString(got.Name), "kept")
	}
	if err := open(s, used); err == nil {
		t.Error("a used token opened a connection after a restart")
	}
	if err := open(s, unused); err != nil {
		t.Errorf("a token from before the restart: %v", err)
	}
}

func token(t *testing.T, control *ivschat.Client, room *string, user string) string {
	t.Helper()
	out, err := control.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: room, UserId: &user})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Token)
}

func dial(t *testing.T, s *parlortest.Server, control *ivschat.Client, room *string, user string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{
		HTTPClient:   client,
		Subprotocols: []string{token(t, control, room, user)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}
