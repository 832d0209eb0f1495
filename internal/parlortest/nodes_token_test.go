package parlortest_test

import (
	"encoding/base64"
	"net/http"
	"sync"
	"testing"
	"time"
)

// race knocks with a token at all nodes at once, twice at each, and returns how many
// connections it opened. Those that it did not open were refused as used.
func (n *nodes) race(token string) (opened int) {
	n.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range 2 * nodeCount {
		all.Go(func() {
			<-begin
			conn, _, status, err := knock(n.address(i%nodeCount), token)
			if err != nil {
				n.t.Errorf("knock at %s: %v", name(i%nodeCount), err)
				return
			}
			defer conn.Close()
			mu.Lock()
			defer mu.Unlock()
			switch status {
			case http.StatusSwitchingProtocols:
				opened++
			case http.StatusUnauthorized:
			default:
				n.t.Errorf("knock at %s: got %d, want 101 or 401", name(i%nodeCount), status)
			}
		})
	}
	close(begin)
	all.Wait()
	return opened
}

// opens knocks once.
func (n *nodes) opens(i int, what, token string, want int) {
	n.t.Helper()
	conn, _, status, err := knock(n.address(i), token)
	if err != nil {
		n.t.Fatal(err)
	}
	conn.Close()
	if status != want {
		n.t.Errorf("%s at node %s: got %d, want %d", what, name(i), status, want)
	}
}

// TestNodesTokenOpensOnce: a token of any node opens one connection, at any node, however
// many knock with it at once, and also when a node was restarted in between.
func TestNodesTokenOpensOnce(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	for round := range 10 * nodeCount {
		token := newToken(t, n.clients[round%nodeCount], room, "ann")
		if opened := n.race(token); opened != 1 {
			t.Errorf("a token of node %s: opened %d connections, want 1", name(round%nodeCount), opened)
		}
	}

	spent, kept := newToken(t, n.clients[0], room, "ann"), newToken(t, n.clients[0], room, "bob")
	n.opens(0, "a token", spent, http.StatusSwitchingProtocols)
	n.restart(0)
	for i := range nodeCount {
		n.opens(i, "a token that was used before a restart", spent, http.StatusUnauthorized)
	}
	n.opens(0, "a token that was made before a restart", kept, http.StatusSwitchingProtocols)
	n.opens(1, "a token that was used after a restart", kept, http.StatusUnauthorized)
}

// TestNodesShareKeys: a token sealed by a key that another node made opens, also when this
// node has a ring already; and nodes go over to the newest key.
func TestNodesShareKeys(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	keyOf := func(token string) string {
		raw := must[[]byte](t)(base64.RawURLEncoding.DecodeString(token))
		return string(raw[1:5])
	}
	var first []string
	for i := range nodeCount {
		first = append(first, newToken(t, n.clients[i], room, "ann"))
	}
	if keyOf(first[0]) != keyOf(first[1]) || keyOf(first[0]) != keyOf(first[2]) {
		t.Error("nodes that asked one after the other made a key each")
	}
	n.opens(0, "a token of the first key", first[2], http.StatusSwitchingProtocols)

	// A day later, as the store has it, the last node is the first to see that the key is old.
	inDatabase(t, n.database, "UPDATE token_keys SET created_us = created_us - 86400000000")
	n.restart(2)
	second := newToken(t, n.clients[2], room, "ann")
	if keyOf(second) == keyOf(first[0]) {
		t.Fatal("the key was not replaced after a day")
	}
	n.opens(0, "a token of a key that another node made", second, http.StatusSwitchingProtocols)
	n.opens(1, "the same again elsewhere", second, http.StatusUnauthorized)
	n.opens(1, "a token of the key before", first[0], http.StatusSwitchingProtocols)
	for i := range nodeCount {
		if token := newToken(t, n.clients[i], room, "ann"); keyOf(token) != keyOf(second) {
			t.Errorf("node %s does not seal with the newest key", name(i))
		}
	}
}

// TestNodesShareKeysUnderForgery: who knocks with forged tokens does not keep a node from
// finding a key that another node has just made.
func TestNodesShareKeysUnderForgery(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	// The form of a token, under a key that nobody made.
	forged := base64.RawURLEncoding.EncodeToString(append([]byte{1, 0, 0, 0, 1}, make([]byte, 100)...))
	n.opens(1, "a forged token", forged, http.StatusUnauthorized) // the node has just looked for keys
	begun := time.Now()
	n.opens(1, "the first token of all", newToken(t, n.clients[0], room, "ann"), http.StatusSwitchingProtocols)
	t.Logf("opened after %v", time.Since(begun))
}
