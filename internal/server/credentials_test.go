package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkcredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/smithy-go"

	"parlor/internal/config"
	"parlor/internal/credentials"
	"parlor/internal/parlortest"
	"parlor/internal/server"
)

// patience bounds every wait for something that has to happen.
const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newKey is a key of a name, as parlor key create makes it.
func newKey(name string, lifetime time.Duration) credentials.Key {
	k := credentials.New(lifetime)
	k.Name = name
	return k
}

// addKeys adds keys to a file as parlor key create does.
func addKeys(t *testing.T, path string, keys ...credentials.Key) {
	t.Helper()
	for _, k := range keys {
		if err := credentials.Add(path, k); err != nil {
			t.Fatal(err)
		}
	}
}

func withCredentials(path string) func(*config.Config) {
	return func(c *config.Config) { c.Credentials = path }
}

// signingWith has the SDK sign with a key, and try once.
func signingWith(accessKey, secret, token string) func(*ivschat.Options) {
	return func(o *ivschat.Options) {
		o.Credentials = sdkcredentials.NewStaticCredentialsProvider(accessKey, secret, token)
		o.RetryMaxAttempts = 1
	}
}

func as(k credentials.Key) func(*ivschat.Options) {
	return signingWith(k.AccessKey, k.Secret, k.SessionToken)
}

// outcome is the name of the error that a call ended with, "" for none.
func outcome(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func listRooms(ctx context.Context, client *ivschat.Client) string {
	_, err := client.ListRooms(ctx, &ivschat.ListRoomsInput{})
	return outcome(err)
}

func TestCredentials(t *testing.T) {
	const denyCreate = `{"Statement": [{"Effect": "Allow", "Action": "ivschat:List*", "Resource": "*"}]}`
	path := filepath.Join(t.TempDir(), "credentials")
	put(t, filepath.Join(filepath.Dir(path), "reader.json"), denyCreate)
	ann, other, disabled, reader := newKey("ann", 0), newKey("other", 0), newKey("disabled", 0), newKey("reader", 0)
	other.Account = "999999999999"
	disabled.Disabled = true
	reader.PolicyFile = "reader.json"
	temporary, expired := newKey("temporary", time.Hour), newKey("expired", time.Hour)
	expired.Expires = time.Now().Add(-time.Minute).Truncate(time.Second)
	addKeys(t, path, ann, other, disabled, reader, temporary, expired)
	s := parlortest.Start(t, withCredentials(path), func(c *config.Config) { c.Account = "111122223333" })

	for _, tc := range []struct {
		name         string
		sign         func(*ivschat.Options)
		list, create string // the errors; "" is none
		account      string
	}{
		{"a key", as(ann), "", "", "111122223333"},
		{"a key with an account", as(other), "", "", "999999999999"},
		{"a temporary key", as(temporary), "", "", "111122223333"},
		{"a policy that allows less", as(reader), "", "AccessDeniedException", ""},
		{"wrong secret", signingWith(ann.AccessKey, other.Secret, ""), "InvalidSignatureException", "InvalidSignatureException", ""},
		{"unknown", as(newKey("unknown", 0)), "UnrecognizedClientException", "UnrecognizedClientException", ""},
		{"disabled", as(disabled), "UnrecognizedClientException", "UnrecognizedClientException", ""},
		{"an account id is no key", signingWith("111122223333", "secret", ""), "UnrecognizedClientException", "UnrecognizedClientException", ""},
		{"expired", as(expired), "ExpiredTokenException", "ExpiredTokenException", ""},
		{"expired, wrong secret", signingWith(expired.AccessKey, ann.Secret, expired.SessionToken), "InvalidSignatureException", "InvalidSignatureException", ""},
		{"no session token", signingWith(temporary.AccessKey, temporary.Secret, ""), "UnrecognizedClientException", "UnrecognizedClientException", ""},
		{"another session token", signingWith(temporary.AccessKey, temporary.Secret, expired.SessionToken), "UnrecognizedClientException", "UnrecognizedClientException", ""},
		{"a session token that is not asked for", signingWith(ann.AccessKey, ann.Secret, temporary.SessionToken), "UnrecognizedClientException", "UnrecognizedClientException", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := s.Client(t, tc.sign)
			if got := listRooms(t.Context(), client); got != tc.list {
				t.Errorf("ListRooms: got %q, want %q", got, tc.list)
			}
			room, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
			if got := outcome(err); got != tc.create {
				t.Fatalf("CreateRoom: got %q, want %q", got, tc.create)
			}
			if err != nil {
				return
			}
			if got, want := aws.ToString(room.Arn), "arn:aws:ivschat:us-west-2:"+tc.account+":room/"; !strings.HasPrefix(got, want) {
				t.Errorf("got room %s, want %s…", got, want)
			}
		})
	}
}

// Requests with a valid key flow all the time, while others are added, disabled,
// rotated, and while the file is bad. None fails.
func TestReloadDropsNoRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	steady := newKey("steady", 0)
	addKeys(t, path, steady)
	var log logged
	s := parlortest.StartLogging(t, &log, withCredentials(path), func(c *config.Config) { c.LogLevel = "info" })

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var children sync.WaitGroup
	var answered atomic.Int64
	for range 4 {
		client := s.Client(t, as(steady))
		children.Go(func() {
			for ctx.Err() == nil {
				if got := listRooms(ctx, client); got != "" && ctx.Err() == nil {
					t.Errorf("a valid key's request failed: %s", got)
					return
				}
				answered.Add(1)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	// phase changes the file, waits until that counts, and that requests were answered.
	phase := func(name string, change func(), counts func() bool) {
		t.Helper()
		before := answered.Load()
		change()
		eventually(t, name, counts)
		eventually(t, name+": requests are answered", func() bool { return answered.Load() >= before+20 })
	}
	is := func(k credentials.Key, want string) func() bool {
		client := s.Client(t, as(k))
		return func() bool { return listRooms(t.Context(), client) == want }
	}
	const refused = "UnrecognizedClientException"
	b, c := newKey("b", 0), newKey("c", 0)
	phase("a key is added", func() { addKeys(t, path, b) }, is(b, ""))
	phase("it is disabled", func() {
		if err := credentials.Disable(path, "b"); err != nil {
			t.Fatal(err)
		}
	}, is(b, refused))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	phase("the file is bad", func() { put(t, path, "[c]\nsecret = "+c.Secret+"\n") },
		func() bool { return strings.Contains(log.String(), "credentials not reloaded") })
	if !is(b, refused)() {
		t.Error("the bad file counted for a key that was disabled before")
	}
	phase("it is empty", func() { put(t, path, "") },
		func() bool { return strings.Count(log.String(), "credentials not reloaded") == 2 })
	phase("it is good again, with one more", func() { put(t, path, string(good)); addKeys(t, path, c) }, is(c, ""))
	rotated := c
	rotated.Secret = newKey("", 0).Secret
	phase("a secret is rotated", func() {
		put(t, path, strings.ReplaceAll(string(good)+"\n[c]\naws_access_key_id = "+c.AccessKey+"\naws_secret_access_key = SECRET\n", "SECRET", rotated.Secret))
	}, is(rotated, ""))
	if !is(c, "InvalidSignatureException")() {
		t.Error("the secret before still signs")
	}
	stop()
	children.Wait()
	for _, secret := range []string{steady.Secret, b.Secret, c.Secret, rotated.Secret} {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	t.Logf("%d requests were answered", answered.Load())
}

func TestPolicyReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	policy := filepath.Join(filepath.Dir(path), "policy.json")
	const text = `{"Statement": [{"Effect": "%s", "Action": "ivschat:ListRooms", "Resource": "*"}]}`
	put(t, policy, fmt.Sprintf(text, "Deny"))
	k := newKey("ann", 0)
	k.PolicyFile = "policy.json"
	addKeys(t, path, k)
	var log logged
	s := parlortest.StartLogging(t, &log, withCredentials(path))
	client := s.Client(t, as(k))
	for _, tc := range []struct{ effect, want string }{{"Allow", ""}, {"Deny", "AccessDeniedException"}, {"Allow", ""}} {
		put(t, policy, fmt.Sprintf(text, tc.effect))
		begun := time.Now()
		eventually(t, tc.effect, func() bool { return listRooms(t.Context(), client) == tc.want })
		if got, want := time.Since(begun), 5*time.Second; got > want {
			t.Errorf("%s: counted after %s, want less than %s", tc.effect, got, want)
		}
	}
	put(t, policy, fmt.Sprintf(text, "Maybe"))
	eventually(t, "a bad policy is said", func() bool { return strings.Contains(log.String(), "credentials not reloaded") })
	if got := listRooms(t.Context(), client); got != "" {
		t.Errorf("with a bad policy: got %s, want the policy before", got)
	}
}

// A server for others neither is valid without access keys nor starts with a file
// that has faults.
func TestServeWithoutCredentials(t *testing.T) {
	c := config.Default(config.Serve)
	c.Listen, c.Data = "127.0.0.1:0", filepath.Join(t.TempDir(), "data")
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "credentials: parlor serve lets nobody in without access keys") {
		t.Errorf("got %v, want a fault of credentials", err)
	}
	c.Credentials = filepath.Join(t.TempDir(), "credentials")
	k := newKey("ann", 0)
	put(t, c.Credentials, "[ann]\naws_access_key_id = "+k.AccessKey+"\nsecret = "+k.Secret+"\n")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	_, err := server.New(c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), c.Credentials+":3: unknown setting secret") || strings.Contains(err.Error(), k.Secret) {
		t.Errorf("got %v, want the line and the reason, and no secret", err)
	}
	if _, err := os.Stat(c.Data); err == nil {
		t.Error("a data directory was made for a server that cannot start")
	}
}
