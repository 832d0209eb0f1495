package develop_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/develop"
	"parlor/internal/parlortest"
)

const (
	resetPath  = "/parlor/dev/reset"
	faultsPath = "/parlor/dev/faults"
)

// call makes a call with the headers "Name: value".
func call(t *testing.T, method, url, body string, headers ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	out, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(out)
}

const inJSON = "Content-Type: application/json"

// TestWebPagesCannotCall: whatever a server answers to otherwise, a page that is open in the
// same machine's browser can neither empty it nor break it.
func TestWebPagesCannotCall(t *testing.T) {
	closed := parlortest.Start(t)
	open := parlortest.Start(t, func(c *config.Config) { c.Open = true })
	for _, s := range []*parlortest.Server{closed, open} {
		room, err := s.Client(t).CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name    string
			headers []string
		}{
			{"a page from elsewhere", []string{inJSON, "Origin: https://evil.example"}},
			{"a page of this machine", []string{inJSON, "Origin: http://localhost:3000"}},
			{"a page of the server's own name", []string{inJSON, "Origin: " + s.URL}},
			{"a page without an origin", []string{inJSON, "Origin: null"}},
			{"no-cors", []string{inJSON, "Sec-Fetch-Site: cross-site"}},
			{"a neighbour", []string{inJSON, "Sec-Fetch-Site: same-site"}},
			{"itself", []string{inJSON, "Sec-Fetch-Site: same-origin"}},
			{"a form", []string{"Content-Type: application/x-www-form-urlencoded"}},
			{"another form", []string{"Content-Type: text/plain"}},
			{"a third form", []string{"Content-Type: multipart/form-data; boundary=x"}},
			{"a beacon", nil},
			{"a name that was rebound", []string{inJSON, "Host: evil.example", "Origin: http://evil.example"}},
		} {
			for _, path := range []string{resetPath, faultsPath} {
				status, text := call(t, http.MethodPost, s.URL+path, `{"fault":"drop"}`, tc.headers...)
				if status != http.StatusForbidden {
					t.Errorf("%s: %s: got %d %s, want 403", tc.name, path, status, text)
				}
			}
			if len(tc.headers) > 1 {
				if status, text := call(t, http.MethodDelete, s.URL+faultsPath, "", tc.headers...); status != http.StatusForbidden {
					t.Errorf("%s: DELETE: got %d %s, want 403", tc.name, status, text)
				}
			}
		}
		// The question that a browser asks first has no answer that would let it go on.
		for _, path := range []string{resetPath, faultsPath} {
			r, _ := http.NewRequest(http.MethodOptions, s.URL+path, nil)
			r.Header.Set("Origin", "http://localhost:3000")
			r.Header.Set("Access-Control-Request-Method", "POST")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if allowed := response.Header.Get("Access-Control-Allow-Origin"); allowed != "" || response.StatusCode != http.StatusForbidden {
				t.Errorf("OPTIONS %s: got %d and allowed origin %q, want 403 and none", path, response.StatusCode, allowed)
			}
		}
		if _, err := s.Client(t).GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: room.Arn}); err != nil {
			t.Errorf("got %v, want the room to be there still", err)
		}
	}
}

// TestServeHasNone: a server for others knows no such paths, whoever asks.
func TestServeHasNone(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[admin]\naws_access_key_id = AKIDEXAMPLE12345\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parlortest.Start(t, func(c *config.Config) {
		data := *c
		*c = config.Default(config.Serve)
		c.Data = t.TempDir()
		c.Listen, c.LogLevel, c.Credentials, c.DrainWindow = data.Listen, data.LogLevel, keys, 0
		c.VerifyHandlers, c.Destinations = false, "local"
	})
	client := s.Client(t, func(o *ivschat.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE12345", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "")
	})
	room, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][2]string{{"POST", resetPath}, {"POST", faultsPath}, {"GET", faultsPath}, {"DELETE", faultsPath}} {
		got, text := call(t, tc[0], s.URL+tc[1], "{}", inJSON)
		want, other := call(t, tc[0], s.URL+"/parlor/nothing", "{}", inJSON)
		if got != want || got < 400 || text != other {
			t.Errorf("%s %s: got %d %s, want what any unknown path gets, %d %s", tc[0], tc[1], got, text, want, other)
		}
	}
	// Signed, it is an operation that does not exist.
	r, err := http.NewRequest(http.MethodPost, s.URL+resetPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKIDEXAMPLE12345", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"},
		r, fmt.Sprintf("%x", sha256.Sum256([]byte("{}"))), "ivschat", parlortest.Region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound || response.Header.Get("x-amzn-ErrorType") != "UnknownOperationException" {
		t.Errorf("signed: got %d %s, want 404 UnknownOperationException", response.StatusCode, response.Header.Get("x-amzn-ErrorType"))
	}
	if _, err := client.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: room.Arn}); err != nil {
		t.Errorf("got %v, want the room to be there still", err)
	}
}

// TestWhatIsNotUnderstood: all of it is said, with what there is instead.
func TestWhatIsNotUnderstood(t *testing.T) {
	s := parlortest.Start(t)
	for _, tc := range []struct {
		name, body string
		want       []string
	}{
		{"nothing", ``, []string{"fault: the value must be one of delay, drop, error, expire, revoke"}},
		{"no JSON", `{`, []string{"not a JSON object"}},
		{"no object", `[]`, []string{"not a JSON object"}},
		{"another fault", `{"fault":"explode"}`, []string{"one of delay, drop, error, expire, revoke"}},
		{"unknown members", `{"fault":"drop","rom":"x","times":3}`, []string{"rom: drop has no such member; there are room, user", "times: drop has no such member"}},
		{"the wrong types", `{"fault":"error","on":3}`, []string{"wrong type"}},
		{"nothing to be about", `{"fault":"error","status":503}`, []string{"on: say what it is about", "CreateRoom", "handshake"}},
		{"an unknown target", `{"fault":"error","on":"Room","status":503}`, []string{`on: there is no "Room"; there are api, BanUser, CreateChatToken`}},
		{"a status that is none", `{"fault":"error","on":"api","status":418}`, []string{"status: for api the value must be one of 400, 402, 403, 404, 409, 429, 500, 503"}},
		{"a status of another target", `{"fault":"error","on":["handshake","SEND_MESSAGE"],"status":503}`, []string{"status: for SEND_MESSAGE the value must be one of 400, 401, 403, 404, 406, 413, 429, 500"}},
		{"a review with a status", `{"fault":"error","on":"review","status":500}`, []string{"status: a review that fails has none"}},
		{"a delivery that fails", `{"fault":"error","on":"delivery"}`, []string{"deliveries can be delayed"}},
		{"numbers", `{"fault":"delay","on":"api","milliseconds":0,"times":0,"seconds":-1,"probability":2}`,
			[]string{"milliseconds: the value must be between 1 and 20000", "times: the value must be 1 or more", "seconds: ", "probability: "}},
		{"a room that is none", `{"fault":"drop","room":"arn:aws:ivschat:us-east-1:1:x/y"}`, []string{"room: the value must be the ARN of a room, or its id"}},
		{"a token that is none", `{"fault":"revoke","token":"x"}`, []string{"token: "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text := call(t, http.MethodPost, s.URL+faultsPath, tc.body, inJSON)
			if status != http.StatusBadRequest {
				t.Errorf("got %d, want 400", status)
			}
			text = strings.ReplaceAll(text, `\"`, `"`)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("got %s, want %q in it", text, want)
				}
			}
		})
	}
	if status, text := call(t, http.MethodPost, s.URL+resetPath, `{"rooms":false}`, inJSON); status != http.StatusBadRequest {
		t.Errorf("a reset with members: got %d %s, want 400", status, text)
	}
	if status, text := call(t, http.MethodPost, s.URL+"/parlor/dev/explode", `{}`, inJSON); status != http.StatusNotFound || !strings.Contains(text, faultsPath) {
		t.Errorf("an unknown tool: got %d %s, want 404 with what there is", status, text)
	}
	if _, text := call(t, http.MethodGet, s.URL+faultsPath, ""); strings.TrimSpace(text) != `{"faults":[]}` {
		t.Errorf("got %s, want none of that to be set", text)
	}
}

// TestFaultsAreListed: with what is left of them, until they are over or cleared.
func TestFaultsAreListed(t *testing.T) {
	s := parlortest.Start(t)
	client := s.Client(t, func(o *ivschat.Options) { o.RetryMaxAttempts = 1 })
	inject := func(body string) {
		t.Helper()
		if status, text := call(t, http.MethodPost, s.URL+faultsPath, body, inJSON); status != http.StatusOK {
			t.Fatalf("got %d %s", status, text)
		}
	}
	list := func() (faults []map[string]any) {
		t.Helper()
		_, text := call(t, http.MethodGet, s.URL+faultsPath, "")
		var out struct{ Faults []map[string]any }
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatal(err)
		}
		return out.Faults
	}
	inject(`{"fault":"error","on":["CreateRoom","GetRoom"],"status":429,"times":2}`)
	inject(`{"fault":"delay","on":"ListRooms","milliseconds":100,"seconds":0.05}`)
	inject(`{"fault":"error","on":"DeleteRoom","room":"elsewhere","status":409}`)
	if got := list(); len(got) != 3 || got[0]["times"] != 2.0 || got[0]["met"] != 0.0 || got[2]["room"] != "elsewhere" {
		t.Errorf("got %v, want the three", got)
	}
	if _, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err == nil {
		t.Error("got no error")
	}
	time.Sleep(60 * time.Millisecond)
	if got := list(); len(got) != 2 || got[0]["times"] != 1.0 || got[0]["met"] != 1.0 {
		t.Errorf("got %v, want the first with one left, and the third", got)
	}
	if _, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err == nil {
		t.Error("got no error")
	}
	room, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: room.Arn}); err != nil {
		t.Errorf("got %v, want a fault of another room not to matter", err)
	}
	if _, text := call(t, http.MethodDelete, s.URL+faultsPath, ""); strings.TrimSpace(text) != `{"cleared":1}` {
		t.Errorf("got %s, want one cleared", text)
	}
	if got := list(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

// TestDelayEndsWhenCleared: who waits for a fault goes on when it is cleared.
func TestDelayEndsWhenCleared(t *testing.T) {
	s := parlortest.Start(t)
	client := s.Client(t)
	if status, text := call(t, http.MethodPost, s.URL+faultsPath, `{"fault":"delay","on":"api","milliseconds":20000}`, inJSON); status != http.StatusOK {
		t.Fatal(text)
	}
	begun := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("got %v at once, want it to wait", err)
	case <-time.After(200 * time.Millisecond):
	}
	call(t, http.MethodDelete, s.URL+faultsPath, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s, want it to go on at once", took)
	}
}

// TestProbability: about so many requests meet the fault.
func TestProbability(t *testing.T) {
	s := parlortest.Start(t)
	client := s.Client(t, func(o *ivschat.Options) { o.RetryMaxAttempts = 1 })
	call(t, http.MethodPost, s.URL+faultsPath, `{"fault":"error","on":"ListRooms","status":500,"probability":0.5}`, inJSON)
	failed := 0
	for range 100 {
		if _, err := client.ListRooms(t.Context(), &ivschat.ListRoomsInput{}); err != nil {
			failed++
		}
	}
	if failed < 20 || failed > 80 { // six standard deviations
		t.Errorf("got %d failures of 100, want about 50", failed)
	}
}

// TestRevokedTokens: no token of before opens a connection, one of after does, and sessions
// go on.
func TestRevokedTokens(t *testing.T) {
	s := parlortest.Start(t)
	client := s.Client(t)
	room, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	token := func() string {
		t.Helper()
		out, err := client.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: room.Arn, UserId: aws.String("ann")})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Token
	}
	enter := func(token string) (*websocket.Conn, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		conn, response, err := websocket.Dial(ctx, s.WebSocketURL, &websocket.DialOptions{Subprotocols: []string{token}})
		if response == nil {
			t.Fatal(err)
		}
		if conn != nil {
			t.Cleanup(func() { conn.CloseNow() })
		}
		return conn, response.StatusCode
	}
	before := token()
	inside, _ := enter(token())
	if status, text := call(t, http.MethodPost, s.URL+faultsPath, `{"fault":"revoke"}`, inJSON); status != http.StatusOK {
		t.Fatal(text)
	}
	if _, status := enter(before); status != http.StatusUnauthorized {
		t.Errorf("got %d, want 401", status)
	}
	if _, status := enter(token()); status != http.StatusSwitchingProtocols {
		t.Errorf("got %d, want a fresh token to open", status)
	}
	if err := inside.Ping(inside.CloseRead(t.Context())); err != nil {
		t.Errorf("got %v, want the session to go on", err)
	}
}

// TestToolsOfServersWithKeys: signatures are verified there, and the tools have none, so that
// only the machine itself may use them.
func TestToolsOfServersWithKeys(t *testing.T) {
	address := ""
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			address = n.IP.String()
		}
	}
	if address == "" {
		t.Skip("this machine has no address but loopback's")
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[admin]\naws_access_key_id = AKIDEXAMPLE12345\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parlortest.Start(t, func(c *config.Config) {
		c.Open, c.Credentials, c.Listen = true, keys, "0.0.0.0:0"
	})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	if status, text := call(t, http.MethodPost, "http://"+net.JoinHostPort(address, port)+resetPath, "{}", inJSON); status != http.StatusForbidden {
		t.Errorf("from %s: got %d %s, want 403", address, status, text)
	}
	if status, text := call(t, http.MethodPost, "http://"+net.JoinHostPort("127.0.0.1", port)+resetPath, "{}", inJSON); status != http.StatusOK {
		t.Errorf("from this machine: got %d %s, want 200", status, text)
	}
}

// TestNoFaultCostsNothing: what every message passes in a server of development is one look.
func TestNoFaultCostsNothing(t *testing.T) {
	tools := develop.New(develop.Config{Logger: slog.New(slog.DiscardHandler)})
	session := &chat.Session{Room: &chat.ARN{}}
	delivered := tools.Deliver(func(*chat.Publication) {})
	pub := &chat.Publication{Frame: []byte("{}")}
	if n := testing.AllocsPerRun(100, func() {
		if err := tools.Act(context.Background(), session, chat.ActionSendMessage); err != nil {
			t.Error(err)
		}
		delivered(pub)
	}); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
