package testserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// patience bounds a call: a loaded machine may take a while.
const patience = 30 * time.Second

// Fault is what [Server.Inject] takes; docs/development.md has the whole list. Members
// that are empty say nothing.
type Fault struct {
	Fault string `json:"fault"` // "error", "delay", "drop", "expire" or "revoke"

	// On says which requests of error and delay: operations such as "CreateRoom",
	// actions such as "SEND_MESSAGE", or "api", "actions", "handshake", "review",
	// "delivery".
	On   []string `json:"on,omitempty"`
	Room string   `json:"room,omitempty"` // of this room alone: its ARN or id
	User string   `json:"user,omitempty"` // of this user alone

	Status       int    `json:"status,omitempty"`       // of an error: 429, 503, …
	Message      string `json:"message,omitempty"`      // of an error
	Milliseconds int    `json:"milliseconds,omitempty"` // of a delay
	Token        string `json:"token,omitempty"`        // of revoke: this one alone

	// Until when: so many requests, so many seconds, each with this probability. Without
	// them until ClearFaults or Reset.
	Times       int     `json:"times,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
	Probability float64 `json:"probability,omitempty"`
}

// Inject injects a fault. For drop and expire it returns how many connections ended.
func (s *Server) Inject(f Fault) (connections int) {
	s.t.Helper()
	var out struct{ Connections int }
	s.call(http.MethodPost, "/parlor/dev/faults", f, &out)
	return out.Connections
}

// ClearFaults ends all faults. Requests that wait for one go on.
func (s *Server) ClearFaults() {
	s.t.Helper()
	s.call(http.MethodDelete, "/parlor/dev/faults", nil, nil)
}

// Drop breaks the connections of a user in a room, as a network does, and returns how many
// there were: chat SDKs connect again. An empty room or user is any.
func (s *Server) Drop(room, user string) (connections int) {
	s.t.Helper()
	return s.Inject(Fault{Fault: "drop", Room: room, User: user})
}

// Expire ends sessions of a user in a room as if their time were over, and returns how many
// there were: chat SDKs fetch a new token. An empty room or user is any.
func (s *Server) Expire(room, user string) (connections int) {
	s.t.Helper()
	return s.Inject(Fault{Fault: "expire", Room: room, User: user})
}

// Reset makes the server as it was at its start: all rooms, sessions, tokens, chat logs
// and faults go, and the seed is made anew. Sessions end as when their room is deleted.
func (s *Server) Reset() {
	s.t.Helper()
	s.call(http.MethodPost, "/parlor/dev/reset", struct{}{}, nil)
}

// Token makes a chat token, as CreateChatToken does. Capabilities are SEND_MESSAGE,
// DELETE_MESSAGE and DISCONNECT_USER.
func (s *Server) Token(room, user string, capabilities ...string) string {
	s.t.Helper()
	in := map[string]any{"roomIdentifier": room, "userId": user, "capabilities": capabilities}
	if capabilities == nil {
		delete(in, "capabilities")
	}
	var out struct{ Token string }
	s.call(http.MethodPost, "/CreateChatToken", in, &out)
	return out.Token
}

// call calls the server. What goes wrong fails the test.
func (s *Server) call(method, path string, in, out any) {
	s.t.Helper()
	if err := s.tryCall(method, path, in, out); err != nil {
		s.t.Fatalf("testserver: %s %s: %v", method, path, err)
	}
}

func (s *Server) tryCall(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	// Well formed but not signed: a server without access keys takes anybody's word.
	date := time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", date)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.AccessKeyID+"/"+date[:8]+"/"+s.Region+
		"/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	// A transport of its own, so that no connection outlives the call.
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
