package gateway

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// TestDescribe: connections, messages and users of rooms, those of one scope.
func TestDescribe(t *testing.T) {
	n := startNode(t, nodeOptions{})
	busy, calm, empty := n.room(chat.RoomSpec{}).ARN, n.room(chat.RoomSpec{}).ARN, n.room(chat.RoomSpec{}).ARN
	alice, bob := n.connect(busy, "alice"), n.connect(busy, "bob")
	n.connect(busy, "alice")
	carol := n.connect(calm, "carol")
	alice.send(`{"Action":"SEND_MESSAGE","Content":"hello"}`)
	alice.next()
	alice.send(`{"Action":"DELETE_MESSAGE","Id":"x"}`) // no message
	alice.next()

	want := func(what string, asked []chat.ARN, users bool, want ...RoomState) {
		t.Helper()
		var got []RoomState
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got = n.gateway.Describe(busy.Scope, asked, users)
			if cmp.Equal(want, got) {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
				return
			}
		}
	}
	busyNow := RoomState{ARN: busy, Connections: 3, Messages: 1}
	calmNow := RoomState{ARN: calm, Connections: 1}
	want("the largest", nil, false, busyNow, calmNow)
	want("asked for", []chat.ARN{empty, calm}, false, RoomState{ARN: empty}, calmNow)
	want("none asked for", []chat.ARN{}, true)
	busyNow.Users = []UserState{{"alice", 2}, {"bob", 1}}
	want("users", []chat.ARN{busy}, true, busyNow)
	foreign := busy
	foreign.Account = "999999999999"
	want("of another scope", []chat.ARN{foreign}, true)
	if got := n.gateway.Describe(foreign.Scope, nil, true); len(got) > 0 {
		t.Errorf("another scope has %v", got)
	}

	bob.conn.CloseNow()
	busyNow.Connections, busyNow.Users = 2, []UserState{{"alice", 2}}
	want("one left", []chat.ARN{busy}, true, busyNow)
	carol.conn.CloseNow()
	want("a room without sessions", []chat.ARN{calm}, false, RoomState{ARN: calm})
}

// TestDescribeIsBounded: a node with many rooms and users tells of some of them.
func TestDescribeIsBounded(t *testing.T) {
	n := startNode(t, nodeOptions{})
	scope := chat.Scope{Region: "us-west-2", Account: "123456789012"}
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	crowded := func(i int, users ...string) *room {
		r := newRoom(n.gateway, chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: fmt.Sprintf("Room%08d", i)})
		for _, user := range users {
			r.join(newSession(n.gateway, r, &chat.Session{UserID: user}, conn), false)
		}
		return r
	}
	var many []string
	for i := range mostUsers + 10 {
		many = append(many, fmt.Sprintf("user%05d", (i*7919)%(mostUsers+10)))
	}
	n.gateway.mu.Lock()
	for i := range mostRooms + 10 {
		r := crowded(i, many[:i]...)
		n.gateway.rooms[r.arn] = r
	}
	full := crowded(9999, many...)
	n.gateway.rooms[full.arn] = full
	n.gateway.mu.Unlock()
	t.Cleanup(func() {
		n.gateway.mu.Lock()
		defer n.gateway.mu.Unlock()
		clear(n.gateway.rooms)
	})

	got := n.gateway.Describe(scope, nil, false)
	if len(got) != mostRooms || got[0].Connections != len(many) || got[1].Connections != mostRooms+9 || got[mostRooms-1].Connections != 11 {
		t.Errorf("got %d rooms, the first %+v, the last %+v", len(got), got[0], got[len(got)-1])
	}
	users := n.gateway.Describe(scope, []chat.ARN{full.arn}, true)[0].Users
	slices.Sort(many)
	if len(users) != mostUsers || users[0].UserID != many[0] || users[mostUsers-1].UserID != many[mostUsers-1] {
		t.Errorf("got %d users", len(users))
	}
	left := 5
	if got := full.usersOf(&left); len(got) != 5 || left != 0 {
		t.Errorf("got %d users and %d left of 5", len(got), left)
	}
	if got := full.usersOf(&left); len(got) != 0 {
		t.Errorf("got %d users when none may be looked at", len(got))
	}
}

// TestDescribeWhileSessionsComeAndGo looks while it changes.
func TestDescribeWhileSessionsComeAndGo(t *testing.T) {
	n := startNode(t, nodeOptions{})
	arn := n.room(chat.RoomSpec{}).ARN
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for _, state := range n.gateway.Describe(arn.Scope, nil, true) {
					if state.ARN != arn || len(state.Users) > 1 {
						t.Errorf("got %+v", state)
					}
				}
			}
		})
	}
	for range 30 {
		c := n.connect(arn, "alice")
		c.send(`{"Action":"SEND_MESSAGE","Content":"a"}`)
		c.next()
		c.conn.CloseNow()
	}
}
