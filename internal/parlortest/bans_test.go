package parlortest_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// own calls an operation that only Parlor has.
func own(t testing.TB, address, operation string, input map[string]any) {
	t.Helper()
	if status, _, err := newAPI(t, address).call("POST", "/parlor/"+operation, input); status != http.StatusOK || err != nil {
		t.Fatalf("%s: got %d, %v", operation, status, err)
	}
}

// TestNodesBan: a ban at one node ends the sessions of all, at once, and keeps the user
// out of all; taken back at another, it is over at all.
func TestNodesBan(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	var watchers []*viewer
	for i := range nodeCount {
		watchers = append(watchers, n.view(i, room, "watcher"))
	}
	var err error
	took := make([][]time.Duration, nodeCount)
	const rounds = 9
	for round := range rounds {
		user, place := fmt.Sprint("eve ", round), map[string]any{}
		if round%2 == 0 {
			place["roomIdentifier"] = room
		}
		with := func(more map[string]any) map[string]any {
			for name, value := range place {
				more[name] = value
			}
			return more
		}
		token := newToken(t, n.clients[1], room, user)
		var eves []*viewer
		for i := range nodeCount {
			eves = append(eves, n.view(i, room, user))
		}
		begun := time.Now()
		own(t, n.address(0), "BanUser", with(map[string]any{"userId": user, "reason": "spam", "durationInSeconds": 600}))
		for i, eve := range eves {
			closed, at := eve.awaitClose()
			if closed.Code != 1001 || closed.Reason != "spam" || len(eve.all()) != 0 {
				t.Errorf("node %s: got %v after %d frames, want 1001 and none", name(i), closed, len(eve.all()))
			}
			took[i] = append(took[i], at.Sub(begun))
			n.opens(i, "a token of before", token, http.StatusForbidden)
			_, err := n.clients[i].CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &user})
			if denied := (*types.AccessDeniedException)(nil); !errors.As(err, &denied) || !strings.Contains(err.Error(), "is banned from") {
				t.Errorf("node %s: a token: got %v", name(i), err)
			}
		}
		own(t, n.address(1), "UnbanUser", with(map[string]any{"userId": user}))
		for i := range nodeCount {
			token := newToken(t, n.clients[1], room, user)
			status := 0
			for deadline := time.Now().Add(soon); status != http.StatusSwitchingProtocols && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				var conn net.Conn
				if conn, _, status, err = knock(n.address(i), token); err != nil {
					t.Fatal(err)
				}
				conn.Close()
			}
			if status != http.StatusSwitchingProtocols {
				t.Errorf("taken back, at node %s: got %d", name(i), status)
			}
		}
	}
	for i, all := range took {
		slices.Sort(all)
		median := all[len(all)/2]
		measured(t, "BanUser at A, closed at "+name(i)+" (median)", median)
		if limit := unlessSoaking(100*time.Millisecond, time.Second); median > limit {
			t.Errorf("node %s: by median after %v, want at most %v", name(i), median, limit)
		}
	}
	for i, w := range watchers {
		if got := w.say("still here"); got.Type != "MESSAGE" {
			t.Errorf("somebody else at %s: got %s", name(i), got.text)
		}
		for _, f := range w.all() {
			if f.Type == "EVENT" {
				t.Errorf("somebody else at %s saw %s", name(i), f.text)
			}
		}
	}
}

// TestNodesMute: who is muted at one node is so at the others with the next message.
func TestNodesMute(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	for i := range nodeCount {
		user := "eve" + name(i)
		v := n.view(i, room, user)
		v.say("before")
		own(t, n.address(other(i)), "MuteUser", map[string]any{"userId": user, "roomIdentifier": room, "durationInSeconds": 2})
		refused := 0
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			got := v.say("hello")
			if got.ErrorCode == 403 && strings.HasPrefix(got.ErrorMessage, "You are muted until 20") {
				refused++
			} else if refused > 0 {
				break // it ran out
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %s: refused %d times, then still %s", name(i), refused, got.text)
			}
		}
	}
}

// TestNodesBanUnheard: a node that lost its Redis ends the sessions of those who were
// banned meanwhile as soon as it is back, and lets none of them in before.
func TestNodesBanUnheard(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	between := newRelay(t, l, dialTo(n.redis.Address()))
	n.servers = append(n.servers, parlortest.Start(t, append(n.options, func(c *config.Config) { c.RedisURL = "redis://" + l.Addr().String() })...))
	n.clients = append(n.clients, n.servers[3].Client(t))
	room := newRoom(t, n.clients[0], "lobby")
	eve, token := n.viewAt(3, room, "eve"), newToken(t, n.clients[0], room, "eve")
	elsewhere, ann := n.viewAt(3, room, "bob"), n.viewAt(3, room, "ann")
	between.cut()
	own(t, n.address(0), "BanUser", map[string]any{"userId": "eve", "roomIdentifier": room, "reason": "spam"})
	own(t, n.address(1), "BanUser", map[string]any{"userId": "bob", "reason": "spam"})
	time.Sleep(3 * time.Second) // the link is found broken
	between.heal()
	for _, v := range []*viewer{eve, elsewhere} {
		if closed, _ := v.awaitClose(); closed.Code != 1001 || closed.Reason != "spam" {
			t.Errorf("got %v, want 1001 for spam", closed)
		}
	}
	if p, status := dial(t, n.servers[3], token); status != http.StatusForbidden {
		t.Errorf("a token of before: got %d, want 403", status)
		if p != nil {
			p.conn.Close(websocket.StatusNormalClosure, "")
		}
	}
	if got := ann.say("still here"); got.Type != "MESSAGE" {
		t.Errorf("somebody else: got %s", got.text)
	}
}

// viewAt is view at any node.
func (n *nodes) viewAt(i int, room, user string) *viewer {
	n.t.Helper()
	p, status := dial(n.t, n.servers[i], newToken(n.t, n.clients[0], room, user))
	if status != http.StatusSwitchingProtocols {
		n.t.Fatalf("%s: got %d", user, status)
	}
	v := &viewer{peer: p, node: i, closed: make(chan struct{})}
	go v.listen()
	n.t.Cleanup(func() { v.conn.CloseNow(); <-v.closed })
	return v
}

// TestBansOutlive: what was acknowledged holds after a kill -9, and after a restart.
func TestBansOutlive(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	server, _ := run(t, data)
	client := newAPI(t, server.address)
	_, room, err := client.call("POST", "/CreateRoom", map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		own(t, server.address, "BanUser", map[string]any{"userId": fmt.Sprint("user ", i), "roomIdentifier": room.Arn})
	}
	own(t, server.address, "BanUser", map[string]any{"userId": "everywhere", "durationInSeconds": 3600})
	server.kill()
	for range 2 {
		server, _ = run(t, data, func(*exec.Cmd) {})
		client = newAPI(t, server.address)
		for user, want := range map[string]int{"user 0": 403, "user 19": 403, "everywhere": 403, "ann": 200} {
			if status, _, err := client.call("POST", "/CreateChatToken", map[string]any{"roomIdentifier": room.Arn, "userId": user}); status != want || err != nil {
				t.Errorf("%s: got %d, %v, want %d", user, status, err, want)
			}
		}
		server.kill()
	}
}
