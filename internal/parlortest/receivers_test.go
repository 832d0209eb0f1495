package parlortest_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

// TestReviewReceivers runs the webhook receivers of docs/review.md as they stand there:
// they review what a server asks them, and believe nobody else.
func TestReviewReceivers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ language, command, file string }{
		{"python", "python3", "review.py"},
		{"js", "node", "review.mjs"},
	} {
		t.Run(tc.language, func(t *testing.T) {
			if _, err := exec.LookPath(tc.command); err != nil {
				missing(t, tc.command)
			}
			_, rest, ok := strings.Cut(string(text), "\n```"+tc.language+"\n")
			program, _, closed := strings.Cut(rest, "\n```\n")
			if !ok || !closed {
				t.Fatalf("docs/review.md has no program in %s", tc.language)
			}
			h := newHandlers(t, nil)
			dir := t.TempDir()
			port := h.refusing[strings.LastIndexByte(h.refusing, ':')+1:]
			for name, content := range map[string]string{tc.file: program, "secret": h.secret + "\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			receiver := exec.CommandContext(t.Context(), tc.command, tc.file)
			receiver.Dir, receiver.Env = dir, append(os.Environ(), "WEBHOOK_SECRET=secret", "PORT="+port)
			var said bytes.Buffer
			receiver.Stdout, receiver.Stderr = &said, &said
			if err := receiver.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { receiver.Process.Kill(); receiver.Wait() }()
			for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				if conn, err := net.Dial("tcp", h.refusing); err == nil {
					conn.Close()
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the receiver does not listen")
				}
			}

			// What Parlor asks.
			server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known("receiver"))
			client, s := server.client(t)
			uri := webhookARN("receiver")
			room := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{
				MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri, FallbackResult: types.FallbackResultDeny},
			})).Arn
			ann := enter(t, s, client, *room, "ann")
			told := func(content string) (f frame) {
				t.Helper()
				for range 3 { // the first of a program that is just starting can be late
					if f = ann.say(content); f.ErrorMessage != refusal {
						break
					}
				}
				return f
			}
			if got := told("hello ✓ :)"); got.Content != "hello ✓ 🙂" {
				t.Errorf("a message: got %+v\n%s", got, &said)
			}
			if got := told("Darn it"); got.ErrorCode != http.StatusNotAcceptable || got.ErrorMessage != "Mind your language" {
				t.Errorf("a bad message: got %+v\n%s", got, &said)
			}

			// What others ask.
			payload := []byte(`{"Content": "hello", "MessageId": "M2YcHkgffEvU", "RoomArn": "", "Attributes": {}, "Sender": {"UserId": "x", "Attributes": {}, "Ip": ""}}`)
			at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
			now, old, older, ahead := at(0), at(-290*time.Second), at(-310*time.Second), at(310*time.Second)
			for _, request := range []struct {
				name, timestamp, signature string
				body                       []byte
				want                       int
			}{
				{"genuine", now, h.sign(now, payload), payload, http.StatusOK},
				{"almost five minutes old", old, h.sign(old, payload), payload, http.StatusOK},
				{"more than five minutes old", older, h.sign(older, payload), payload, http.StatusForbidden},
				{"more than five minutes ahead", ahead, h.sign(ahead, payload), payload, http.StatusForbidden},
				{"an old signature under a new time", now, h.sign(older, payload), payload, http.StatusForbidden},
				{"another body", now, h.sign(now, payload), bytes.Replace(payload, []byte("hello"), []byte("howdy"), 1), http.StatusForbidden},
				{"another secret", now, (&handlers{secret: "another"}).sign(now, payload), payload, http.StatusForbidden},
				{"no version", now, strings.TrimPrefix(h.sign(now, payload), "v1="), payload, http.StatusForbidden},
				{"no signature", now, "", payload, http.StatusForbidden},
				{"letters", now, "v1=é", payload, http.StatusForbidden},
				{"no time", "", h.sign("", payload), payload, http.StatusForbidden},
				{"a word for a time", "now", h.sign("now", payload), payload, http.StatusForbidden},
				{"no number for a time", "²", h.sign("²", payload), payload, http.StatusForbidden},
				{"large", now, "v1=", bytes.Repeat([]byte("x"), 200_000), http.StatusRequestEntityTooLarge},
			} {
				status, err := post(fmt.Sprintf("http://%s/", h.refusing), request.timestamp, request.signature, request.body)
				if status != request.want && !(err != nil && request.name == "large") { // it need not hear us out
					t.Errorf("%s: got %d %v, want %d\n%s", request.name, status, err, request.want, &said)
				}
			}
		})
	}
}

func post(url, timestamp, signature string, body []byte) (int, error) {
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if timestamp != "" {
		r.Header.Set("Parlor-Timestamp", timestamp)
	}
	if signature != "" {
		r.Header.Set("Parlor-Signature", signature)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(r)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return response.StatusCode, nil
}
