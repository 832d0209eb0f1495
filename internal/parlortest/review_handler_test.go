package parlortest_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

// TestReviewVerifiesHandlers: parlor serve asks AWS Lambda, by a dry run, whether a
// handler may be invoked when a room is given it, and refuses it in AWS's words.
func TestReviewVerifiesHandlers(t *testing.T) {
	t.Parallel()
	h := newHandlers(t, map[string]review{"fine": as("", errEcho), "failing": as("", errFails), "forbidden": as("", errForbidden), "throttled": as("", errThrottled)})
	const accessKey, secret = "AKIAADMINADMINADMIN0", "0123456789abcdef0123456789abcdef"
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, []byte("[admin]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(arguments ...string) *ivschat.Client {
		server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known(), func(c *exec.Cmd) {
			c.Args[1] = "serve"
			c.Args = append(append(c.Args, "--credentials", keys, "--account", "123456789012"), arguments...)
		})
		_, s := server.client(t)
		return s.Client(t, once, func(o *ivschat.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(accessKey, secret, "")
		})
	}
	client, trusting := start(), start("--verify-handlers=false")
	dev, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known())
	devClient, _ := dev.client(t)
	ctx := t.Context()

	for _, tc := range []struct {
		name, uri string
		dryRuns   int
		refused   bool
	}{
		{"a function that may be invoked", functionARN("fine"), 1, false},
		{"a function that would fail", functionARN("failing"), 1, false},
		{"a function that may not", functionARN("forbidden"), 1, true},
		{"no function", functionARN("missing"), 1, true},
		{"a function that is throttled", functionARN("throttled"), 1, true},
		{"a webhook", webhookARN("fine"), 0, false},
		{"a webhook that would refuse", webhookARN("forbidden"), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			room := *must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(ctx, &ivschat.CreateRoomInput{})).Arn
			handler := &types.MessageReviewHandler{Uri: &tc.uri, FallbackResult: types.FallbackResultDeny}
			check := func(operation string, err error) {
				t.Helper()
				h.mu.Lock()
				dryRuns := h.dry[tc.uri]
				delete(h.dry, tc.uri)
				h.mu.Unlock()
				if dryRuns != tc.dryRuns {
					t.Errorf("%s: got %d dry runs, want %d", operation, dryRuns, tc.dryRuns)
				}
				if !tc.refused {
					if err != nil {
						t.Errorf("%s: %v", operation, err)
					}
					return
				}
				e, ok := errors.AsType[*types.ValidationException](err)
				if !ok {
					t.Fatalf("%s: got %v, want a ValidationException", operation, err)
				}
				const words = "Request member: uri failed to satisfy the constraints: invalid lambda permission"
				if e.ErrorMessage() != words || e.Reason != types.ValidationExceptionReasonFieldValidationFailed ||
					len(e.FieldList) != 1 || *e.FieldList[0].Name != "uri" || statusOf(err) != http.StatusBadRequest {
					t.Errorf("%s: got %v, reason %s, fields %v", operation, err, e.Reason, e.FieldList)
				}
			}
			_, err := client.CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String("given"), MessageReviewHandler: handler})
			check("CreateRoom", err)
			_, err = client.UpdateRoom(ctx, &ivschat.UpdateRoomInput{Identifier: &room, Name: aws.String("given"), MessageReviewHandler: handler})
			check("UpdateRoom", err)

			// What is refused changes nothing.
			named := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, &ivschat.ListRoomsInput{Name: aws.String("given")})).Rooms
			if tc.refused && len(named) > 0 || !tc.refused && len(named) != 2 {
				t.Errorf("got %d rooms of the name", len(named))
			}
			for _, r := range named {
				must[*ivschat.DeleteRoomOutput](t)(client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: r.Arn}))
			}
			// Who is told not to ask, and who is in development, takes any.
			for _, c := range []*ivschat.Client{trusting, devClient} {
				out := must[*ivschat.CreateRoomOutput](t)(c.CreateRoom(ctx, &ivschat.CreateRoomInput{MessageReviewHandler: handler}))
				if got := *out.MessageReviewHandler.Uri; got != tc.uri {
					t.Errorf("got %s, want %s", got, tc.uri)
				}
			}
		})
	}

	// Only who gives a handler is asked about it.
	uri := functionARN("fine")
	room := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(ctx, &ivschat.CreateRoomInput{MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri}})).Arn
	for _, change := range []*ivschat.UpdateRoomInput{
		{Name: aws.String("x")},
		{MessageReviewHandler: &types.MessageReviewHandler{FallbackResult: types.FallbackResultDeny}},
		{MessageReviewHandler: &types.MessageReviewHandler{Uri: aws.String("")}},
	} {
		change.Identifier = room
		must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(ctx, change))
	}
	if got := h.dry[uri]; got != 1 {
		t.Errorf("got %d dry runs, want the one of CreateRoom", got)
	}
	if len(h.asked) != 0 {
		t.Errorf("functions were invoked: %v", h.asked)
	}
}

// TestReviewIPBehindProxy: what a handler is given as Ip is the client's, by the word of
// proxies that are trusted and of nobody else.
func TestReviewIPBehindProxy(t *testing.T) {
	t.Parallel()
	h := newHandlers(t, map[string]review{"echo": as("", errEcho)})
	for _, tc := range []struct {
		name, trusted, header, want string
	}{
		{"a trusted proxy", "127.0.0.0/8", "X-Forwarded-For: 198.51.100.9, 203.0.113.7\r\n", "203.0.113.7"},
		{"a client over IPv6", "127.0.0.0/8", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
		{"a client over IPv4 in IPv6", "127.0.0.0/8", "X-Forwarded-For: ::ffff:203.0.113.7\r\n", "203.0.113.7"},
		{"a proxy that says nothing", "127.0.0.0/8", "", "127.0.0.1"},
		{"nobody's proxy", "10.0.0.0/8", "X-Forwarded-For: 203.0.113.7\r\n", "127.0.0.1"},
	} {
		server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known(), func(c *exec.Cmd) { c.Args = append(c.Args, "--trusted-proxies", tc.trusted) })
		client, _ := server.client(t)
		for _, uri := range []string{functionARN("echo"), webhookARN("echo")} {
			h.forget()
			m, err := join(newAPI(t, server.address), server.address, reviewedRoom(t, client, uri), 1, tc.header)
			if err != nil {
				t.Fatal(err)
			}
			m.say(t)
			m.conn.Close()
			got := []string{}
			for _, q := range h.questions(uri) {
				got = append(got, q.Sender.IP)
			}
			if !slices.Equal(got, []string{tc.want}) {
				t.Errorf("%s: got Ip %q, want %s once", tc.name, got, tc.want)
			}
		}
	}
}

// TestReviewWithoutCredentials: a server that cannot ask AWS Lambda at all lets the
// fallback decide, at once, and its log says what is missing.
func TestReviewWithoutCredentials(t *testing.T) {
	t.Parallel()
	h := newHandlers(t, map[string]review{"echo": as("", errEcho)})
	server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known(), func(c *exec.Cmd) {
		c.Env = slices.DeleteFunc(c.Env, func(v string) bool {
			return strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") || strings.HasPrefix(v, "AWS_SECRET_ACCESS_KEY=")
		})
	})
	client, _ := server.client(t)
	uri := functionARN("echo")
	m, err := join(newAPI(t, server.address), server.address, reviewedRoom(t, client, uri), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.conn.Close()
	for range 3 {
		m.say(t)
	}
	if got := metrics(t, server.address)[`parlor_review_invocation_errors_total{reason="error",uri="`+uri+`"}`]; got != 3 || len(h.questions(uri)) != 0 {
		t.Errorf("got %v errors and %d questions, want 3 and none", got, len(h.questions(uri)))
	}
	if said := server.output(); strings.Count(said, "a review handler gave no usable answer") != 1 || !strings.Contains(said, "get credentials") {
		t.Errorf("the log says:\n%s", said)
	}
}
