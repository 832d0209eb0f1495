package parlortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/chat"
	"parlor/internal/parlortest"
)

// hookEvent is an event as a webhook gets it.
type hookEvent struct {
	ID, Type, Room, UserID, MessageID, Session, Cause string
	By                                                struct{ Principal, UserID string }
}

// listener is a webhook endpoint, which checks the signatures.
type listener struct {
	*httptest.Server

	mu     sync.Mutex
	secret []byte
	down   bool
	events []hookEvent
	raw    bytes.Buffer
	faults []string
}

func listen(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if got, want := r.Header.Get("Parlor-Signature"), chat.SignWebhook(l.secret, r.Header.Get("Parlor-Timestamp"), body); err != nil || got != want {
		l.faults = append(l.faults, fmt.Sprintf("signature %q, want %q (%v)", got, want, err))
	}
	var d struct {
		Events []struct {
			ID, Type, RoomARN, UserID, MessageID, SessionID, Cause string
			By                                                     struct{ Principal, UserID string }
		}
	}
	if err := json.Unmarshal(body, &d); err != nil {
		l.faults = append(l.faults, err.Error())
	}
	l.raw.Write(body)
	for _, e := range d.Events {
		l.events = append(l.events, hookEvent{ID: e.ID, Type: e.Type, Room: e.RoomARN, UserID: e.UserID, MessageID: e.MessageID, Session: e.SessionID, Cause: e.Cause, By: e.By})
	}
}

// until returns the events when they are as wanted.
func (l *listener) until(t *testing.T, what string, wanted func([]hookEvent) bool) []hookEvent {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		events, faults := slices.Clone(l.events), l.faults
		l.mu.Unlock()
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if wanted(events) {
			return events
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %+v", what, events)
		}
	}
}

// auditRecord is a line of the audit log.
type auditRecord struct {
	Action, From, Resource, UserID, MessageID, EventName, Outcome, RequestID, Region, Account string
	Capabilities                                                                              []string
	By                                                                                        struct{ Principal, UserID string }
}

func auditLog(t *testing.T, path string) (records []auditRecord) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r auditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}

// Who did what is written down, for the API's callers and for moderators in rooms, and
// webhooks are told; what people said is in neither.
func TestNotices(t *testing.T) {
	dir := t.TempDir()
	hook := listen(t)
	keys, secretFile, audit := filepath.Join(dir, "credentials"), filepath.Join(dir, "secret"), filepath.Join(dir, "audit.log")
	hook.secret = []byte("0123456789abcdef0123")
	for path, text := range map[string]string{
		keys: "[ops]\naws_access_key_id = AKIAADMINADMINADMIN0\naws_secret_access_key = secretsecretsecretsecret\n\n[intern]\naws_access_key_id = AKIAINTERNINTERN0000\n" +
			"aws_secret_access_key = secretsecretsecretsecret\npolicy = policy.json\n",
		filepath.Join(dir, "policy.json"): `{"Statement": [{"Effect": "Allow", "Action": "ivschat:List*", "Resource": "*"}]}`,
		secretFile:                        string(hook.secret),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, "--credentials", keys, "--account", parlortest.Account, "--data", filepath.Join(dir, "data"), "--audit-log", audit, "--webhook", hook.URL+"/?key=hidden", "--webhook-secret", secretFile, "--drain-window", "0s")
	server := &parlortest.Server{URL: "http://" + p.address, WebSocketURL: "ws://" + p.address}
	as := func(accessKey string) *ivschat.Client {
		return server.Client(t, once, func(o *ivschat.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(accessKey, "secretsecretsecretsecret", "")
		})
	}
	ops := as("AKIAADMINADMINADMIN0")
	ctx := t.Context()
	room := newRoom(t, ops, "lobby")
	if _, err := as("AKIAINTERNINTERN0000").DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &room}); err == nil {
		t.Fatal("a policy that allows lists alone let a room be deleted")
	}
	must[*ivschat.ListRoomsOutput](t)(ops.ListRooms(ctx, &ivschat.ListRoomsInput{})) // reads are not written down
	token := func(user string, capabilities ...types.ChatTokenCapability) string {
		return *must[*ivschat.CreateChatTokenOutput](t)(ops.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
			RoomIdentifier: &room, UserId: &user, Capabilities: capabilities, Attributes: map[string]string{"said": "attributes-of-a-token"}})).Token
	}
	mod, _ := dial(t, server, token("mod", everything...))
	troll, _ := dial(t, server, token("troll", types.ChatTokenCapabilitySendMessage))
	message := troll.say("what-people-say")
	mod.next()
	mod.send(map[string]any{"Action": "DELETE_MESSAGE", "Id": message.ID, "Reason": "a-reason-of-a-moderator"})
	mod.next()
	troll.next()
	troll.send(map[string]any{"Action": "DELETE_MESSAGE", "Id": message.ID})
	troll.next() // ERROR
	mod.send(map[string]any{"Action": "DISCONNECT_USER", "UserId": "troll", "Reason": "a-reason-of-a-moderator"})
	mod.next()
	must[*ivschat.SendEventOutput](t)(ops.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("poll"), Attributes: map[string]string{"a": "attributes-of-an-event"}}))
	must[*ivschat.TagResourceOutput](t)(ops.TagResource(ctx, &ivschat.TagResourceInput{ResourceArn: &room, Tags: map[string]string{"k": "a-value-of-a-tag"}}))
	must[*ivschat.DeleteRoomOutput](t)(ops.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &room}))

	byOps := "arn:aws:iam::" + parlortest.Account + ":user/ops "
	events := hook.until(t, "all events", func(events []hookEvent) bool { return len(events) >= 9 })
	var got []string
	for _, e := range events {
		if e.Room != room || (e.Session == "") != (e.By.Principal != "") {
			t.Errorf("got %+v", e)
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{e.Type, e.By.Principal, e.By.UserID, e.UserID, e.Cause}, " ")))
	}
	// The troll's session may end before or after what else is done.
	slices.Sort(got)
	want := []string{
		"moderation.message_deleted  mod", "moderation.user_disconnected  mod troll",
		"room.created " + byOps, "room.deleted " + byOps, "room.updated " + byOps,
		"session.ended   mod room_deleted", "session.ended   troll disconnected", "session.started   mod", "session.started   troll",
	}
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("events:\ngot  %q\nwant %q", got, want)
	}

	got = nil
	for _, r := range auditLog(t, audit) {
		if !strings.HasPrefix(r.From, "127.0.0.1") || r.Region != parlortest.Region || r.Account != parlortest.Account || r.Resource != room || (r.RequestID == "") != (r.By.Principal == "") {
			t.Errorf("got %+v", r)
		}
		got = append(got, strings.Join([]string{r.Action, strings.TrimPrefix(r.By.Principal, "arn:aws:iam::"+parlortest.Account+":user/"), r.By.UserID, r.UserID, r.EventName, strings.Join(r.Capabilities, "+"), r.Outcome}, ","))
	}
	want = []string{
		"CreateRoom,ops,,,,,done",
		"DeleteRoom,intern,,,,,AccessDeniedException",
		"CreateChatToken,ops,,mod,,DELETE_MESSAGE+DISCONNECT_USER+SEND_MESSAGE,done",
		"CreateChatToken,ops,,troll,,SEND_MESSAGE,done",
		"DELETE_MESSAGE,,mod,,,,done",
		"DELETE_MESSAGE,,troll,,,,Forbidden",
		"DISCONNECT_USER,,mod,troll,,,done",
		"SendEvent,ops,,,poll,,done",
		"TagResource,ops,,,,,done",
		"DeleteRoom,ops,,,,,done",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit log:\ngot  %q\nwant %q", got, want)
	}
	text, _ := os.ReadFile(audit)
	hook.mu.Lock()
	all := string(text) + hook.raw.String() + p.output()
	hook.mu.Unlock()
	for _, hidden := range []string{"what-people-say", "a-reason-of", "attributes-of", "a-value-of", "secretsecret", "hidden"} {
		if strings.Contains(all, hidden) {
			t.Errorf("%q was written down", hidden)
		}
	}
}

// A server that is killed has written down all that it answered for, and webhooks hear of
// it when they and it are back.
func TestNoticesKilled(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit.log")
	hook := listen(t)
	hook.down = true
	options := func(c *exec.Cmd) { c.Args = append(c.Args, "--audit-log", audit, "--webhook", hook.URL) }
	made := map[string]bool{}
	for range 3 {
		p, _ := run(t, filepath.Join(dir, "data"), options)
		server := &parlortest.Server{URL: "http://" + p.address}
		var mu sync.Mutex
		var callers sync.WaitGroup
		for range 4 {
			client := server.Client(t, once)
			callers.Go(func() {
				for {
					out, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
					if err != nil {
						return
					}
					mu.Lock()
					made[*out.Arn] = true
					mu.Unlock()
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		p.kill()
		callers.Wait()
	}
	if len(made) < 100 {
		t.Fatalf("only %d rooms were made", len(made))
	}
	written := map[string]bool{}
	text, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r auditRecord
		if json.Unmarshal([]byte(line), &r) == nil { // a part of a line, if a kill came in between
			written[r.Resource] = true
		}
	}
	for arn := range made {
		if !written[arn] {
			t.Errorf("%s was made, and is not in the audit log", arn)
		}
	}
	hook.mu.Lock()
	hook.down = false
	if hook.secret, err = os.ReadFile(filepath.Join(dir, "data", "webhook-secret")); err != nil {
		t.Fatal(err)
	}
	hook.secret = bytes.TrimSpace(hook.secret)
	hook.mu.Unlock()
	run(t, filepath.Join(dir, "data"), options)
	hook.until(t, "all rooms", func(events []hookEvent) bool {
		told := map[string]bool{}
		for _, e := range events {
			told[e.Room] = true
		}
		for arn := range made {
			if !told[arn] {
				return false
			}
		}
		return true
	})
	t.Logf("%d rooms, 3 kills", len(made))
}
