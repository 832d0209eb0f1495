package parlortest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// newRoomKeeping makes a room with a history.
func newRoomKeeping(t testing.TB, client *ivschat.Client, history string) string {
	t.Helper()
	out := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{
		MaximumMessageRatePerSecond: aws.Int32(100), Tags: map[string]string{"parlor:history": history},
	}))
	return *out.Arn
}

func setHistory(t testing.TB, client *ivschat.Client, room, history string) {
	t.Helper()
	if history == "" {
		must[*ivschat.UntagResourceOutput](t)(client.UntagResource(context.Background(), &ivschat.UntagResourceInput{ResourceArn: &room, TagKeys: []string{"parlor:history"}}))
		return
	}
	must[*ivschat.TagResourceOutput](t)(client.TagResource(context.Background(), &ivschat.TagResourceInput{ResourceArn: &room, Tags: map[string]string{"parlor:history": history}}))
}

// historyAt is what somebody who joins a room gets before a last event, which all there get.
func historyAt(t testing.TB, s *parlortest.Server, client *ivschat.Client, room string) (texts []string) {
	t.Helper()
	p := enter(t, s, client, room, "late")
	defer p.conn.CloseNow()
	end := "parlor:end" // not kept
	must[*ivschat.SendEventOutput](t)(client.SendEvent(context.Background(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &end}))
	for {
		f := p.next()
		if f.EventName == end {
			return texts
		}
		if f.RequestID != "" {
			t.Errorf("a RequestId in %+v", f)
		}
		texts = append(texts, f.Content+f.EventName)
	}
}

func wantHistory(t testing.TB, what string, s *parlortest.Server, client *ivschat.Client, room, want string) {
	t.Helper()
	if got := strings.Join(historyAt(t, s, client, room), " "); got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestHistoryAfterRestart: a history is there after a restart, goes on in its order, and
// is gone with its tag.
func TestHistoryAfterRestart(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	client := s.Client(t)
	room := newRoomKeeping(t, client, "5/1h")
	ann := enter(t, s, client, room, "ann")
	for _, text := range []string{"one", "two", "three"} {
		ann.say(text)
	}
	ann.send(map[string]any{"Action": "DISCONNECT_USER", "UserId": "nobody"})
	ann.next()
	rude := ann.say("rude")
	ann.send(map[string]any{"Action": "DELETE_MESSAGE", "Id": rude.ID})
	ann.next()
	wantHistory(t, "at once", s, client, room, "one two three")
	for i := range 3 {
		s.Stop()
		s = parlortest.Start(t, func(c *config.Config) { c.Data = s.Data })
		client = s.Client(t)
		want := [...]string{"one two three", "one two three zero", "two three zero one"}[i] // the deleted one keeps its place
		wantHistory(t, "after a restart", s, client, room, want)
		enter(t, s, client, room, "ann") // its history comes first
		event := [...]string{"zero", "one", "two"}[i]
		must[*ivschat.SendEventOutput](t)(client.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &event}))
	}
	wantHistory(t, "at the end", s, client, room, "three zero one two")
	setHistory(t, client, room, "2")
	wantHistory(t, "of two", s, client, room, "one two")
	setHistory(t, client, room, "")
	wantHistory(t, "off", s, client, room, "")
	setHistory(t, client, room, "5")
	wantHistory(t, "on again", s, client, room, "")
}

// TestHistoryAfterKill: of what was said 200 ms before a process is killed, nothing is
// missing, and what is there is in order.
func TestHistoryAfterKill(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	room, said := "", 0
	for round := range 3 {
		p, _ := run(t, data)
		s := &parlortest.Server{URL: "http://" + p.address, WebSocketURL: "ws://" + p.address}
		client := s.Client(t)
		if round == 0 {
			room = newRoomKeeping(t, client, "100")
		}
		texts := historyAt(t, s, client, room)
		for i, text := range texts {
			if text != fmt.Sprint(said-len(texts)+i) {
				t.Fatalf("round %d, %d said: got %q", round, said, texts)
			}
		}
		if len(texts) != min(said, 100) {
			t.Fatalf("round %d: got %d of %d", round, len(texts), said)
		}
		for range 60 {
			event := fmt.Sprint(said)
			must[*ivschat.SendEventOutput](t)(client.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &event}))
			said++
		}
		time.Sleep(200 * time.Millisecond) // what is promised
		p.kill()
	}
}

// TestNodesHistory: three nodes show the same history, whether they were there, came just
// now, or were started anew.
func TestNodesHistory(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoomKeeping(t, n.clients[0], "6")
	all := func(what, want string) {
		t.Helper()
		for i := range nodeCount {
			wantHistory(t, what+", node "+name(i), n.servers[i], n.clients[i], room, want)
		}
	}
	all("nothing", "")
	ann, bob := n.view(0, room, "ann"), n.view(1, room, "bob")
	for i := range 4 {
		ann.say(fmt.Sprint("ann", i))
		bob.say(fmt.Sprint("bob", i))
	}
	// Node C reads it: at once, what A and B have not stored yet.
	all("said just now", "ann1 bob1 ann2 bob2 ann3 bob3")
	rude := bob.awaitContent("ann2")
	must[*ivschat.DeleteMessageOutput](t)(n.clients[2].DeleteMessage(t.Context(), &ivschat.DeleteMessageInput{RoomIdentifier: &room, Id: &rude.ID}))
	all("one deleted", "ann1 bob1 bob2 ann3 bob3")
	ann.say("again")
	all("its place is kept", "bob1 bob2 ann3 bob3 again")
	n.restart(2)
	n.clients[2] = n.servers[2].Client(t)
	all("a node started anew", "bob1 bob2 ann3 bob3 again")

	n.redis.Do("FLUSHALL") // the broker forgets; the store does not
	ann.say("after")
	all("when the broker forgot", "bob2 ann3 bob3 again after")
	n.restart(0)
	n.clients[0] = n.servers[0].Client(t)
	n.restart(1)
	n.clients[1] = n.servers[1].Client(t)
	all("all started anew", "bob2 ann3 bob3 again after")

	setHistory(t, n.clients[1], room, "2")
	all("of two", "again after")
	setHistory(t, n.clients[2], room, "50")
	all("of fifty", "again after")
	setHistory(t, n.clients[0], room, "")
	all("off", "")
	setHistory(t, n.clients[1], room, "50")
	all("on again", "")
	eve := n.view(2, room, "eve")
	for _, text := range []string{"new", "newer", "newest"} {
		eve.say(text)
	}
	all("and from then on", "new newer newest")
	setHistory(t, n.clients[0], room, "2")
	setHistory(t, n.clients[0], room, "50")
	all("what two left out", "newer newest") // though the broker has it still
	n.restart(1)
	n.clients[1] = n.servers[1].Client(t)
	eve.say("last")
	all("and then", "newer newest last")
	must[*ivschat.DeleteRoomOutput](t)(n.clients[0].DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &room}))
	time.Sleep(soon)
	inDatabase(t, n.database, `DO $$ BEGIN IF EXISTS (SELECT 1 FROM history) THEN RAISE EXCEPTION 'left of a deleted room: %', (SELECT string_agg(kind || ' ' || id || ' ' || epoch || '.' || number || ' ' || encode(frame, 'escape'), '; ') FROM history); END IF; END $$`)
}

// TestNodesHistoryJavaScript runs testdata/js/history.mjs: the official SDK joins at each
// of three nodes.
func TestNodesHistoryJavaScript(t *testing.T) {
	t.Parallel()
	dir := nodeProject(t)
	n := startNodes(t)
	node := exec.CommandContext(t.Context(), "node", "run.mjs", "history")
	node.Dir, node.Env = dir, os.Environ()
	for i, s := range n.servers {
		node.Env = append(node.Env, name(i)+"_URL="+s.URL, name(i)+"_WS="+s.WebSocketURL)
	}
	var stdout, stderr strings.Builder
	node.Stdout, node.Stderr = &stdout, &stderr
	err := node.Run()
	if err != nil || !strings.Contains(stdout.String(), `"ok":true`) {
		t.Errorf("node: %v\n%s%s", err, &stdout, &stderr)
	}
}

// TestLoadHistory has 1,000 join a room during 50 events a second: each gets the end of
// one order, from the fiftieth before on, without a gap and nothing twice.
func TestLoadHistory(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	t.Run("Local", func(t *testing.T) {
		s := parlortest.Start(t)
		joinWhileItTalks(t, []*parlortest.Server{s}, []*ivschat.Client{s.Client(t)})
	})
	t.Run("Redis", func(t *testing.T) {
		n := startNodes(t)
		joinWhileItTalks(t, n.servers, n.clients)
	})
}

func joinWhileItTalks(t *testing.T, servers []*parlortest.Server, clients []*ivschat.Client) {
	const perSecond, kept, live, perJoin = 50, 50, 5, 10 * time.Millisecond
	joiners := 1000
	if underRace() {
		joiners = 200
	}
	room := newRoomKeeping(t, clients[0], fmt.Sprint(kept))
	var begun, done atomic.Int64 // numbers of events
	ctx, stop := context.WithCancel(t.Context())
	var speaking, joined sync.WaitGroup
	defer speaking.Wait()
	defer stop()
	speaking.Go(func() {
		for ticker := time.NewTicker(time.Second / perSecond); ctx.Err() == nil; <-ticker.C {
			number := begun.Add(1)
			event := fmt.Sprint(number)
			if _, err := clients[int(number)%len(clients)].SendEvent(context.WithoutCancel(ctx), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &event}); err != nil {
				t.Error(err)
				return
			}
			done.Store(number)
		}
	})
	time.Sleep(1200 * time.Millisecond)
	var frames atomic.Int64
	places := make(chan struct{}, 200)
	for i := range joiners {
		time.Sleep(perJoin)
		places <- struct{}{}
		at := i % len(servers)
		joined.Go(func() {
			defer func() { <-places }()
			token := newToken(t, clients[(at+1)%len(clients)], room, fmt.Sprint("user", i))
			before := done.Load()
			p, status := dial(t, servers[at], token)
			if status != http.StatusSwitchingProtocols {
				t.Errorf("joiner %d: got %d", i, status)
				return
			}
			after := begun.Load()
			defer p.conn.CloseNow()
			first, next := int64(0), int64(0)
			for next <= after+live {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, text, err := p.conn.Read(ctx)
				cancel()
				var f frame
				if err == nil {
					err = json.Unmarshal(text, &f)
				}
				if err != nil {
					t.Errorf("joiner %d: %v after %d", i, err, next-1)
					return
				}
				var number int64
				fmt.Sscan(f.EventName, &number)
				if first == 0 {
					first, next = number, number
				}
				if number != next {
					t.Errorf("joiner %d: got %d, want %d", i, number, next)
					return
				}
				next++
				frames.Add(1)
			}
			if first < max(1, before-kept+1) || first > max(1, after-kept+1) {
				t.Errorf("joiner %d: the first is %d, when from %d to %d had been said", i, first, before, after)
			}
		})
	}
	joined.Wait()
	t.Logf("%d joined, and got %d frames; %d events", joiners, frames.Load(), done.Load())
}
