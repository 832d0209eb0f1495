package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
	"parlor/internal/store"
)

// command runs the command to its end.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("parlor")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=123456789012", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=eu-west-1")
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), said.String(), c.ProcessState.ExitCode()
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := command(t, args...)
	if code != 0 {
		t.Fatalf("parlor %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// running runs a server for development until stop, or the end of the test.
func running(t *testing.T, data string, args ...string) (client *ivschat.Client, url string, stop func()) {
	t.Helper()
	p, at, err := startParlor(append([]string{"dev", "--listen", "127.0.0.1:0", "--data", data}, args...), func(*exec.Cmd) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.command.Process.Kill()
		<-p.exited
	})
	client = ivschat.New(ivschat.Options{Region: "us-west-2", BaseEndpoint: aws.String(at),
		Credentials: credentials.NewStaticCredentialsProvider("123456789012", "secret", "")})
	return client, at, func() {
		p.command.Process.Signal(syscall.SIGTERM)
		if err := <-p.exited; err != nil {
			t.Errorf("the server ended with %v\n%s", err, p.said())
		}
	}
}

// opens reports whether a token opens a connection.
func opens(t *testing.T, url, token string) bool {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http"), &websocket.DialOptions{Subprotocols: []string{token}})
	if err != nil {
		if response == nil || response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden {
			t.Fatalf("got %v, want a refusal of the token", err)
		}
		return false
	}
	conn.CloseNow()
	return true
}

// TestExportTokens: tokens that are out when a server moves open once there, if they
// did not before.
func TestExportTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	client, url, stop := running(t, at("old"))
	room, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	var tokens [3]string
	for i := range tokens {
		out, err := client.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: room.Arn, UserId: aws.String("ann")})
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = *out.Token
	}
	if !opens(t, url, tokens[0]) {
		t.Fatal("a new token opens nothing")
	}
	stop()

	must(t, "export", "--data", at("old"), "--out", at("file"))
	must(t, "export", "--data", at("old"), "--out", at("keyless"), "--without-keys")
	must(t, "import", "--data", at("new"), "--in", at("file"))
	must(t, "import", "--data", at("strange"), "--in", at("keyless"))

	_, url, stop = running(t, at("new"))
	for what, want := range map[int]bool{0: false, 1: true, 2: true} {
		if got := opens(t, url, tokens[what]); got != want {
			t.Errorf("token %d: got %t, want %t", what, got, want)
		}
		if opens(t, url, tokens[what]) {
			t.Errorf("token %d opens twice", what)
		}
	}
	stop()
	// What was spent there stays spent when it moves on, and back.
	must(t, "export", "--data", at("new"), "--out", at("file"))
	must(t, "import", "--data", at("old"), "--in", at("file"))
	_, url, stop = running(t, at("old"))
	if opens(t, url, tokens[1]) {
		t.Error("a token that was spent elsewhere opens")
	}
	stop()
	_, url, stop = running(t, at("strange"))
	if opens(t, url, tokens[2]) {
		t.Error("a token opens without its key")
	}
	stop()
}

// exported is an export without its header.
func exported(t interface{ Fatal(...any) }, s *store.Store) string {
	var out bytes.Buffer
	if _, err := export(context.Background(), s, &out, true); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out.String(), "\n")
	return rest
}

// TestExportImport: an export of what was imported from an export is the same, in either
// engine.
func TestExportImport(t *testing.T) {
	t.Parallel()
	embedded := func(r *rapid.T) *store.Store {
		dir, err := os.MkdirTemp("", "parlor-export-*")
		if err != nil {
			r.Fatal(err)
		}
		s, err := store.OpenSQLite(context.Background(), dir)
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() {
			s.Close()
			os.RemoveAll(dir)
		})
		return s
	}
	t.Run("SQLite", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { moves(r, embedded(r), embedded(r)) })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		server := pgtest.Start(t)
		server.Exec(t, "postgres", "CREATE DATABASE parlor")
		shared, err := store.OpenPostgres(t.Context(), server.URL("parlor"))
		if err != nil {
			t.Fatal(err)
		}
		defer shared.Close()
		rapid.Check(t, func(r *rapid.T) {
			server.Exec(t, "parlor", "TRUNCATE rooms, logging_configurations, room_logging, bans, token_keys, spent_tokens")
			moves(r, embedded(r), shared)
			moves(r, shared, embedded(r))
		})
	})
}

// moves fills a store, moves what it has to another one, which has nothing yet, and holds
// that to be the same.
func moves(r *rapid.T, from, to *store.Store) {
	ctx := context.Background()
	first := exported(r, from)
	if strings.Count(first, "\n") == 1 { // its end alone
		fill(ctx, r, from)
		first = exported(r, from)
	}
	for range 2 { // the second time nothing is new
		in := &importing{store: to, errors: io.Discard, replace: rapid.Bool().Draw(r, "replace")}
		header := `{"format":"parlor-export","version":1,"exported":"2026-01-01T00:00:00Z","keys":true}` + "\n"
		if err := errors.Join(in.file(ctx, strings.NewReader(header+first)), in.flush(ctx)); err != nil || in.refused > 0 {
			r.Fatalf("got %v and %d refused, importing\n%s", err, in.refused, first)
		}
		if got := exported(r, to); got != first {
			r.Fatalf("got\n%s\nwant\n%s", got, first)
		}
	}
}

// fill gives a store some of everything.
func fill(ctx context.Context, r *rapid.T, s *store.Store) {
	moment := rapid.Custom(func(r *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(r, "us")).UTC()
	})
	tags := rapid.MapOfN(rapid.StringMatching(`[^\x00]{1,20}`), rapid.StringMatching(`[^\x00]{0,20}`), 0, 3)
	name := rapid.StringMatching(`[a-zA-Z0-9_-]{0,12}`)
	scopes := []chat.Scope{{Region: "us-west-2", Account: "123456789012"}, {Region: "eu-west-1", Account: "123456789012"}, {Region: "us-west-2", Account: "000000000000"}}
	known := map[chat.Scope][]chat.ARN{}
	fatal := func(err error) {
		if err != nil {
			r.Fatal(err)
		}
	}
	for n := range rapid.IntRange(0, 6).Draw(r, "logging configurations") {
		scope := rapid.SampledFrom(scopes).Draw(r, "scope")
		lc := chat.LoggingConfiguration{ARN: chat.ARN{Scope: scope, Kind: chat.KindLoggingConfiguration, ID: fmt.Sprintf("Lc%d", n)}, Name: name.Draw(r, "name"),
			CreateTime: moment.Draw(r, "created"), UpdateTime: moment.Draw(r, "updated"), Tags: tags.Draw(r, "tags"),
			Destination: chat.Destination{Kind: rapid.SampledFrom([]chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose}).Draw(r, "kind"), Name: "there"}}
		fatal(s.CreateLoggingConfiguration(ctx, lc, 0))
		known[scope] = append(known[scope], lc.ARN)
	}
	for n := range rapid.IntRange(0, 30).Draw(r, "rooms") {
		scope := rapid.SampledFrom(scopes).Draw(r, "scope")
		room := chat.Room{ARN: chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: rapid.SampledFrom([]string{"a", "B", "Z-", "0"}).Draw(r, "id") + fmt.Sprint(n)}, Name: name.Draw(r, "name"),
			CreateTime: moment.Draw(r, "created"), UpdateTime: moment.Draw(r, "updated"), Tags: tags.Draw(r, "tags"),
			MaximumMessageRatePerSecond: rapid.IntRange(1, 100).Draw(r, "rate"), MaximumMessageLength: rapid.IntRange(1, 500).Draw(r, "length")}
		if rapid.Bool().Draw(r, "handler") {
			room.Handler = &chat.ReviewHandler{URI: rapid.SampledFrom([]string{"", "arn:aws:lambda:us-west-2:123456789012:function:f"}).Draw(r, "uri"),
				Fallback: rapid.SampledFrom([]chat.FallbackResult{chat.FallbackAllow, chat.FallbackDeny}).Draw(r, "fallback")}
		}
		for _, lc := range known[scope] {
			if len(room.LoggingConfigurations) < chat.MaxLoggingConfigurationsPerRoom && rapid.Bool().Draw(r, "logs") {
				room.LoggingConfigurations = append(room.LoggingConfigurations, lc)
			}
		}
		fatal(s.CreateRoom(ctx, room, 0))
		if rapid.Bool().Draw(r, "banned") {
			ban := chat.Ban{ID: chat.NewID(), Place: room.ARN, UserID: "ü " + fmt.Sprint(n), Kind: rapid.SampledFrom([]chat.BanKind{chat.KindBan, chat.KindMute}).Draw(r, "kind"),
				Reason: rapid.StringMatching(`[^\x00]{0,20}`).Draw(r, "reason"), CreateTime: moment.Draw(r, "banned at"), CreatedBy: "mod"}
			if rapid.Bool().Draw(r, "everywhere") {
				ban.Place = chat.ARN{Scope: scope}
			}
			if rapid.Bool().Draw(r, "ends") {
				ban.ExpireTime = time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
			}
			fatal(s.PutBan(ctx, ban, 0))
		}
	}
	for n := range rapid.IntRange(0, 3).Draw(r, "keys") {
		fatal(s.AddTokenKey(ctx, chat.TokenKey{ID: uint32(n) << 30, Created: moment.Draw(r, "created"), Secret: bytes.Repeat([]byte{byte(n)}, 32)}))
	}
	for n := range rapid.IntRange(0, 5).Draw(r, "spent") {
		var t []any
		for range n {
			t = append(t, store.SpentToken{ID: chat.TokenID(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(r, "id")), Until: time.Now().Add(time.Duration(n) * time.Hour).UTC().Truncate(time.Microsecond)})
		}
		_, err := s.Load(ctx, t, false)
		fatal(err)
	}
}

// TestExportMany: more than fits a page, in memory that does not grow with it.
func TestExportMany(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := store.OpenSQLite(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in := &importing{store: s, errors: t.Output()}
	const rooms = 3_000
	for n := range rooms {
		if err := in.add(ctx, "room", chat.Room{ARN: chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: fmt.Sprint("Room", n)},
			MaximumMessageRatePerSecond: 1, MaximumMessageLength: 1, Tags: map[string]string{}, CreateTime: time.Now(), UpdateTime: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if len(in.batch) > importBatch {
			t.Fatalf("%d wait in memory", len(in.batch))
		}
	}
	if err := in.flush(ctx); err != nil || in.kinds[1].added != rooms || in.refused > 0 {
		t.Fatalf("got %+v, %v, want %d rooms", in.kinds, err, rooms)
	}
	if got := strings.Count(exported(t, s), `"type":"room"`); got != rooms {
		t.Errorf("got %d rooms, want %d", got, rooms)
	}
}
