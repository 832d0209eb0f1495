package notices

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parlor/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("a secret of the tests")

func room(id string) chat.ARN {
	return chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: id}
}

func notice(action, id string) chat.Notice {
	arn := room("AbCdEfGhIjKl")
	return chat.Notice{
		ID: id, Time: time.Now().Truncate(time.Second), Action: action, By: chat.Actor{Principal: "arn:aws:iam::123456789012:user/ops"},
		From: netip.MustParseAddr("192.0.2.7"), Scope: arn.Scope, Resource: arn, RequestID: "request-1",
	}
}

// endpoint is a webhook of somebody's.
type endpoint struct {
	*httptest.Server

	mu     sync.Mutex
	status int // that it answers with; 0 is 200
	tried  int
	got    []event
	faults []string
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tried++
	timestamp := r.Header.Get(chat.WebhookTimestamp)
	if got, want := r.Header.Get(chat.WebhookSignature), chat.SignWebhook(secret, timestamp, body); err != nil || got != want {
		e.faults = append(e.faults, fmt.Sprintf("signature %q, want %q (%v)", got, want, err))
	}
	if e.status != 0 {
		w.WriteHeader(e.status)
		return
	}
	var d struct{ Events []event }
	if err := json.Unmarshal(body, &d); err != nil || len(d.Events) == 0 || len(d.Events) > maxEvents {
		e.faults = append(e.faults, fmt.Sprintf("%d events: %v", len(d.Events), err))
	}
	e.got = append(e.got, d.Events...)
}

func (e *endpoint) answer(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status = status
}

// waits until the endpoint has so many events, and returns their ids.
func (e *endpoint) waits(t *testing.T, n int) []string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		e.mu.Lock()
		got, faults := e.got, e.faults
		e.mu.Unlock()
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if len(got) >= n {
			var ids []string
			for _, g := range got {
				ids = append(ids, g.ID)
			}
			return ids
		}
		if time.Now().After(end) {
			t.Fatalf("got %d events, want %d", len(got), n)
		}
	}
}

// begin runs Notices until the test, or what it returns, ends them.
func begin(t *testing.T, c Config) (n *Notices, r *prometheus.Registry, stop func()) {
	t.Helper()
	r = prometheus.NewRegistry()
	c.Metrics, c.Secret, c.Node = r, secret, "node-1"
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n, r, stop
}

func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0 // nothing was counted yet
}

func TestAuditLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	n, registry, stop := begin(t, Config{AuditLog: path})
	made := notice("CreateChatToken", "one")
	made.UserID, made.Capabilities = "ann", chat.MaySendMessage|chat.MayDeleteMessage
	n.Notice(made)
	refused := notice("DeleteRoom", "two")
	refused.Refused = "AccessDeniedException"
	n.Notice(refused)
	moderated := notice(chat.ActionDisconnectUser, "three")
	moderated.By, moderated.RequestID, moderated.UserID = chat.Actor{UserID: "mod\n"}, "", "troll"
	n.Notice(moderated)
	n.Notice(notice(chat.NoticeSessionStarted, "four")) // not for the audit log
	stop()

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := made.Time.UTC().Format(time.RFC3339)
	want := `{"id":"one","time":"` + at + `","action":"CreateChatToken","by":{"principal":"arn:aws:iam::123456789012:user/ops"},"from":"192.0.2.7","region":"us-west-2","account":"123456789012","resource":"arn:aws:ivschat:us-west-2:123456789012:room/AbCdEfGhIjKl","userId":"ann","capabilities":["DELETE_MESSAGE","SEND_MESSAGE"],"requestId":"request-1","outcome":"done"}
{"id":"two","time":"` + at + `","action":"DeleteRoom","by":{"principal":"arn:aws:iam::123456789012:user/ops"},"from":"192.0.2.7","region":"us-west-2","account":"123456789012","resource":"arn:aws:ivschat:us-west-2:123456789012:room/AbCdEfGhIjKl","requestId":"request-1","outcome":"AccessDeniedException"}
{"id":"three","time":"` + at + `","action":"DISCONNECT_USER","by":{"userId":"mod\n"},"from":"192.0.2.7","region":"us-west-2","account":"123456789012","resource":"arn:aws:ivschat:us-west-2:123456789012:room/AbCdEfGhIjKl","userId":"troll","outcome":"done"}
`
	if diff := cmp.Diff(string(text), want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
	if got := value(t, registry, "parlor_audit_records_total"); got != 3 {
		t.Errorf("records counted: got %v, want 3", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode %v: others may read it", info.Mode())
	}
}

// What rotates logs renames the file, and may take it away before a new one is there.
func TestAuditLogRenamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	n, _, _ := begin(t, Config{AuditLog: path})
	n.Notice(notice("CreateRoom", "before"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		n.Notice(notice("CreateRoom", "after"))
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no new file was made")
		}
	}
	old, _ := os.ReadFile(path + ".1")
	fresh, _ := os.ReadFile(path)
	if !bytes.Contains(old, []byte(`"before"`)) || !bytes.Contains(fresh, []byte(`"after"`)) || bytes.Contains(fresh, []byte(`"before"`)) {
		t.Errorf("old:\n%s\nfresh:\n%s", old, fresh)
	}
}

// A kill may leave a part of a line, which must not spoil the next one.
func TestAuditLogTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"id":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	n, _, stop := begin(t, Config{AuditLog: path})
	n.Notice(notice("CreateRoom", "whole"))
	n.Notice(notice("CreateRoom", "next"))
	stop()
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 3 || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("got %q", lines)
	}
}

func TestAuditLogFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	var said bytes.Buffer
	n, registry, stop := begin(t, Config{AuditLog: "/dev/full", Logger: slog.New(slog.NewTextHandler(&said, nil))})
	for range 3 {
		n.Notice(notice("CreateRoom", "lost"))
	}
	stop()
	if got := value(t, registry, "parlor_audit_records_lost_total"); got != 3 {
		t.Errorf("lost: got %v, want 3", got)
	}
	if got := strings.Count(said.String(), "audit log not written"); got != 1 {
		t.Errorf("said %d times, want once:\n%s", got, &said)
	}
}

func TestAuditLogNowhere(t *testing.T) {
	_, err := New(Config{AuditLog: filepath.Join(t.TempDir(), "no", "audit.log"), Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("got %v, want an error that names the audit log", err)
	}
}

func TestWebhook(t *testing.T) {
	e := newEndpoint(t)
	n, registry, _ := begin(t, Config{Webhooks: []string{e.URL}, Dir: t.TempDir()})
	ended := notice(chat.NoticeSessionEnded, "four")
	ended.By, ended.UserID, ended.Session, ended.Cause, ended.Lasted = chat.Actor{}, "ann", "0011", "client", 1500*time.Millisecond
	deleted := notice("DeleteMessage", "two")
	deleted.MessageID = "message-1"
	refused := notice("DeleteRoom", "never")
	refused.Refused = "AccessDeniedException"
	logs := notice("TagResource", "never either")
	logs.Resource.Kind = chat.KindLoggingConfiguration
	for _, one := range []chat.Notice{notice("CreateRoom", "one"), refused, logs, notice("CreateChatToken", "nor this"), deleted, notice("TagResource", "three"), ended} {
		n.Notice(one)
	}
	e.waits(t, 4)
	time.Sleep(50 * time.Millisecond) // would there be more
	e.waits(t, 4)
	seconds := 1.5
	base := event{Time: ended.Time.UTC(), Node: "node-1", Region: "us-west-2", Account: "123456789012", Room: ended.Resource.String()}
	by := &actor{Principal: "arn:aws:iam::123456789012:user/ops"}
	want := []event{base, base, base, base}
	want[0].ID, want[0].Type, want[0].By = "one", "room.created", by
	want[1].ID, want[1].Type, want[1].By, want[1].MessageID = "two", "moderation.message_deleted", by, "message-1"
	want[2].ID, want[2].Type, want[2].By = "three", "room.updated", by
	want[3].ID, want[3].Type, want[3].UserID, want[3].Session, want[3].Cause, want[3].Seconds = "four", "session.ended", "ann", "0011", "client", &seconds
	if diff := cmp.Diff(e.got, want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
	if got := value(t, registry, "parlor_webhook_events_total"); got != 4 {
		t.Errorf("delivered: got %v, want 4", got)
	}
}

func TestWebhookGroups(t *testing.T) {
	e := newEndpoint(t)
	n, _, stop := begin(t, Config{Webhooks: []string{e.URL}, Groups: []string{"moderation"}, Dir: t.TempDir()})
	if n.Sessions() {
		t.Error("sessions are wanted, though nobody asked for them")
	}
	n.Notice(notice("CreateRoom", "not this"))
	n.Notice(notice("DisconnectUser", "this"))
	stop()
	if diff := cmp.Diff(e.waits(t, 1), []string{"this"}); diff != "" {
		t.Error(diff)
	}
}

// Bans and what is like them are events, with the time when they end and of every room if
// they are of none.
func TestWebhookBans(t *testing.T) {
	e := newEndpoint(t)
	n, _, stop := begin(t, Config{Webhooks: []string{e.URL}, Groups: []string{"moderation"}, Dir: t.TempDir()})
	until := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, action := range []string{chat.NoticeBanUser, "UnbanUser", "MuteUser", "UnmuteUser", "PurgeUser"} {
		one := notice(action, action)
		one.UserID = "eve"
		if action == "MuteUser" {
			one.Until, one.Resource = until, chat.AnyRoom(one.Scope)
		}
		n.Notice(one)
	}
	stop()
	e.waits(t, 5)
	for i, want := range []string{"moderation.user_banned", "moderation.user_unbanned", "moderation.user_muted", "moderation.user_unmuted", "moderation.user_purged"} {
		got := e.got[i]
		if got.Type != want || got.UserID != "eve" {
			t.Errorf("got %s of %s, want %s of eve", got.Type, got.UserID, want)
		}
		if muted := i == 2; got.Expire.Equal(until) != muted || strings.HasSuffix(got.Room, ":room/*") != muted {
			t.Errorf("%s: got %v in %s", want, got.Expire, got.Room)
		}
	}
}

// What an endpoint does not take waits, over a restart, and comes in order.
func TestWebhookWaits(t *testing.T) {
	e := newEndpoint(t)
	e.answer(http.StatusServiceUnavailable)
	dir := t.TempDir()
	c := Config{Webhooks: []string{e.URL}, Dir: dir}
	n, registry, stop := begin(t, c)
	var want []string
	note := func(n *Notices, count int) {
		for range count {
			id := fmt.Sprintf("%04d", len(want))
			want = append(want, id)
			n.Notice(notice("CreateRoom", id))
		}
	}
	note(n, 250)
	for end := time.Now().Add(10 * time.Second); value(t, registry, "parlor_webhook_requests_total") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not tried again")
		}
	}
	stop()
	if got := value(t, registry, "parlor_webhook_queue_bytes"); got == 0 {
		t.Error("nothing waits")
	}
	e.answer(0)
	n, registry, stop = begin(t, c)
	note(n, 10)
	got := e.waits(t, len(want))
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
	stop()
	if got := value(t, registry, "parlor_webhook_queue_bytes"); got != 0 {
		t.Errorf("%v bytes wait, want none", got)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "*.events"))
	if err != nil || len(left) != 0 {
		t.Errorf("left on disk: %v %v", left, err)
	}
}

// A kill leaves the files as they are: a part of a line, a cursor of before.
func TestWebhookAfterKill(t *testing.T) {
	e := newEndpoint(t)
	e.answer(http.StatusInternalServerError)
	dir := t.TempDir()
	c := Config{Webhooks: []string{e.URL}, Dir: dir}
	n, _, stop := begin(t, c)
	for i := range 5 {
		n.Notice(notice("CreateRoom", fmt.Sprint(i)))
	}
	stop()
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.events"))
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	file, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString(`{"id":"torn`)
	file.Close()
	if err := os.WriteFile(filepath.Join(filepath.Dir(files[0]), cursorName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.answer(0)
	n, registry, stop := begin(t, c)
	n.Notice(notice("CreateRoom", "5"))
	if diff := cmp.Diff(e.waits(t, 6), []string{"0", "1", "2", "3", "4", "5"}); diff != "" {
		t.Error(diff)
	}
	stop()
	if got := value(t, registry, "parlor_webhook_events_lost_total"); got != 1 {
		t.Errorf("lost: got %v, want the torn one", got)
	}
}

// An endpoint that does not answer keeps nobody waiting.
func TestWebhookSilent(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(release)
	other := newEndpoint(t)
	n, _, _ := begin(t, Config{Webhooks: []string{silent.URL, other.URL}, Dir: t.TempDir()})
	begun := time.Now()
	for i := range 1000 {
		n.Notice(notice("CreateRoom", fmt.Sprint(i)))
	}
	if took := time.Since(begun); took > answerTime/2 {
		t.Errorf("taking notice took %s", took)
	}
	other.waits(t, 1000)
}

func TestQueueFull(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	q, err := openQueue(t.TempDir(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	q.total = queueSize - 10
	if err := q.append([]byte("0123456789")); err != errQueueFull {
		t.Errorf("got %v, want errQueueFull", err)
	}
	if err := q.append([]byte("01234")); err != nil {
		t.Errorf("got %v, want room for it", err)
	}
}

func TestQueueSegments(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	dir := t.TempDir()
	q, err := openQueue(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	line, _ := json.Marshal(strings.Repeat("x", 30<<10))
	const lines = 3 * segmentSize / (30 << 10)
	for range lines {
		if err := q.append(bytes.Clone(line)); err != nil {
			t.Fatal(err)
		}
	}
	if segments, _ := q.segments(); len(segments) < 3 {
		t.Fatalf("%d files, want several", len(segments))
	}
	got := 0
	for {
		b, err := q.next(7, maxRequest)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.events) == 0 {
			break
		}
		if len(b.events) > 7 {
			t.Fatalf("%d events at once, want 7 at most", len(b.events))
		}
		got += len(b.events)
		if err := q.commit(b.after); err != nil {
			t.Fatal(err)
		}
	}
	if segments, _ := q.segments(); got != lines || len(segments) != 0 || q.total != 0 {
		t.Errorf("got %d events of %d; %d files and %d bytes are left", got, lines, len(segments), q.total)
	}
}

func TestOldEventsAreGivenUp(t *testing.T) {
	e := newEndpoint(t)
	n, registry, stop := begin(t, Config{Webhooks: []string{e.URL}, Dir: t.TempDir()})
	old := notice("CreateRoom", "old")
	old.Time = time.Now().Add(-patience - time.Minute)
	n.Notice(old)
	n.Notice(notice("CreateRoom", "fresh"))
	if diff := cmp.Diff(e.waits(t, 1), []string{"fresh"}); diff != "" {
		t.Error(diff)
	}
	stop()
	if got := value(t, registry, "parlor_webhook_events_lost_total"); got != 1 {
		t.Errorf("lost: got %v, want 1", got)
	}
}
