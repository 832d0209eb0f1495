package parlortest_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/internal/parlortest"
	"parlor/internal/redistest"
)

// tagRoom sets a tag of a room.
func tagRoom(t testing.TB, client *ivschat.Client, room, tag, value string) {
	t.Helper()
	must[*ivschat.TagResourceOutput](t)(client.TagResource(context.Background(), &ivschat.TagResourceInput{ResourceArn: &room, Tags: map[string]string{tag: value}}))
}

// standing is what a viewer was shown last of who is in the room.
func (v *viewer) standing() (users, connections int, shown []seen) {
	for _, f := range v.all() {
		if f.EventName == "parlor:PRESENCE" {
			users, _ = strconv.Atoi(f.Attributes["Users"])
			connections, _ = strconv.Atoi(f.Attributes["Connections"])
			shown = append(shown, f)
		}
	}
	return users, connections, shown
}

// awaitStanding waits until so many are in the room.
func (v *viewer) awaitStanding(users, connections int, within time.Duration) {
	v.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		u, c, shown := v.standing()
		if u == users && c == connections {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("node %s: got %d users with %d connections after %d events, want %d with %d", name(v.node), u, c, len(shown), users, connections)
		}
	}
}

func TestNodesPresence(t *testing.T) {
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "presence")
	early := n.view(0, room, "early") // before there is a tag
	tagRoom(t, n.clients[1], room, "parlor:presence", "list")
	early.awaitStanding(1, 1, patience)
	all := []*viewer{early}
	for i := range 12 {
		all = append(all, n.view(i%nodeCount, room, fmt.Sprint("user", i%4)))
	}
	for _, v := range all {
		v.awaitStanding(5, 13, patience)
	}
	_, _, shown := early.standing()
	for i := 1; i < len(shown); i++ {
		if pause := shown[i].SendTime.Sub(shown[i-1].SendTime); pause < 900*time.Millisecond { // what a node takes to show what it was asked to may differ
			t.Errorf("event %d was made %s after the one before", i, pause)
		}
	}
	// A drained node's sessions are gone with it.
	n.servers[2].Stop()
	early.awaitStanding(5, 9, patience)
}

// TestNodesPresenceOfAKilledNode: its sessions do not count any more within 20 s.
func TestNodesPresenceOfAKilledNode(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	r := newRig(t, newDatabase(t), redistest.Start(t), nil)
	client := (&parlortest.Server{URL: "http://" + r.nodes[0].address}).Client(t)
	room := newRoom(t, client, "killed")
	tagRoom(t, client, room, "parlor:presence", "count")
	enter := func(i int, user string) *viewer {
		t.Helper()
		p, status := dial(t, &parlortest.Server{WebSocketURL: "ws://" + r.nodes[i].address}, newToken(t, client, room, user))
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("node %s: got %d", name(i), status)
		}
		v := &viewer{peer: p, node: i, closed: make(chan struct{})}
		go v.listen()
		t.Cleanup(func() { v.conn.CloseNow(); <-v.closed })
		return v
	}
	watcher := enter(0, "watcher")
	for i := range 6 {
		enter(1, fmt.Sprint("lost", i%3))
		enter(2, fmt.Sprint("user", i%3))
	}
	watcher.awaitStanding(7, 13, patience)
	killed := time.Now()
	r.nodes[1].process.kill()
	watcher.awaitStanding(4, 7, 20*time.Second)
	t.Logf("the counts were right after %s", time.Since(killed).Round(100*time.Millisecond))
}

// TestNodesConnectionsPerUser: of ten connections of one user that come at once over three
// nodes three stay, and nobody else's end.
func TestNodesConnectionsPerUser(t *testing.T) {
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "bounded")
	tagRoom(t, n.clients[0], room, "parlor:max-connections-per-user", "3")
	other := n.view(1, room, "bob")
	old := n.view(2, room, "ann")
	time.Sleep(50 * time.Millisecond)
	tokens := make([]string, 10)
	for i := range tokens {
		tokens[i] = newToken(t, n.clients[i%nodeCount], room, "ann")
	}
	anns := make([]*viewer, len(tokens))
	var coming sync.WaitGroup
	for i, token := range tokens {
		coming.Go(func() {
			conn, _, err := websocket.Dial(t.Context(), n.servers[i%nodeCount].WebSocketURL, &websocket.DialOptions{Subprotocols: []string{token}})
			if err != nil {
				t.Error(err)
				return
			}
			anns[i] = &viewer{peer: &peer{t: t, conn: conn}, node: i % nodeCount, closed: make(chan struct{})}
			go anns[i].listen()
		})
	}
	coming.Wait()
	if t.Failed() {
		return
	}
	t.Cleanup(func() {
		for _, v := range anns {
			v.conn.CloseNow()
			<-v.closed
		}
	})
	left := func() (left []*viewer) {
		for _, v := range anns {
			select {
			case <-v.closed:
			default:
				left = append(left, v)
			}
		}
		return left
	}
	for deadline := time.Now().Add(patience); len(left()) > 3 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, v := range append(anns, old) {
		select {
		case <-v.closed:
			if e, _ := v.awaitClose(); e.Code != websocket.StatusGoingAway || e.Reason != "The user has newer connections, as many as the room allows." {
				t.Errorf("node %s: closed with %v", name(v.node), e)
			}
		default:
		}
	}
	time.Sleep(4 * time.Second) // past a renewal
	if got := left(); len(got) != 3 {
		t.Fatalf("%d connections stay, want 3", len(got))
	}
	if e, _ := old.awaitClose(); e.Code != websocket.StatusGoingAway {
		t.Errorf("the oldest: closed with %v", e)
	}
	for _, v := range append(left(), other) {
		if got := v.say("here"); got.Type != "MESSAGE" {
			t.Errorf("node %s: got %s", name(v.node), got.text)
		}
	}
	tagRoom(t, n.clients[2], room, "parlor:max-connections-per-user", "1")
	for deadline := time.Now().Add(patience); len(left()) > 1 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if got := left(); len(got) != 1 {
		t.Errorf("the tag lowered: %d connections stay, want 1", len(got))
	}
}
