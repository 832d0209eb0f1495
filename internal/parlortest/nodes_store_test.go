package parlortest_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parlor/internal/pgtest"
)

// readiness asks a node whether it is ready, and what is in the way.
func (n *nodes) readiness(i int) (status int, body string) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(n.servers[i].URL + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

// awaitService waits until all nodes are ready and answer, and returns how long that took.
func (n *nodes) awaitService(room string) time.Duration {
	n.t.Helper()
	begun := time.Now()
	for i := range nodeCount {
		api := newAPI(n.t, n.address(i))
		for ; ; time.Sleep(20 * time.Millisecond) {
			ready, said := n.readiness(i)
			status, _, err := api.call("POST", "/UpdateRoom", map[string]any{"identifier": room, "name": "again"})
			if ready == http.StatusOK && status == http.StatusOK {
				break
			}
			if time.Since(begun) > patience {
				n.t.Fatalf("node %s does not come back: ready %s, UpdateRoom %d %v", name(i), said, status, err)
			}
		}
	}
	return time.Since(begun)
}

// TestNodesStoreAway: while PostgreSQL does not answer, or is started again, live chat goes
// on as if nothing were; handshakes wait and then succeed; /readyz says what is away; the
// API says that it failed, in time, and works again by itself.
func TestNodesStoreAway(t *testing.T) {
	t.Parallel()
	frozen := unlessSoaking(10*time.Second, 30*time.Second)
	const handshakeTime = 15 * time.Second
	postgres := pgtest.Start(t)
	n := startNodesOn(t, postgres.CreateDatabase(t))
	room, quiet := newRoom(t, n.clients[0], "lobby"), newRoom(t, n.clients[0], "quiet")
	var viewers []*viewer
	for i := range 2 * nodeCount {
		viewers = append(viewers, n.view(i%nodeCount, room, "ann"))
	}
	var late []string // tokens to enter with while the store is away
	for i := range nodeCount {
		late = append(late, newToken(t, n.clients[i], []string{room, quiet}[i%2], "bob"))
	}
	patient := newToken(t, n.clients[0], room, "eve")

	var over atomic.Bool
	var sent map[string]time.Time
	var talking sync.WaitGroup
	talking.Go(func() { sent = sayWhile(viewers, 200*time.Millisecond, func(int) bool { return !over.Load() }) })
	defer func() { over.Store(true); talking.Wait() }()
	time.Sleep(500 * time.Millisecond)

	postgres.Freeze()
	thawed := make(chan struct{})
	begun := time.Now()
	var asking sync.WaitGroup
	for i, token := range late {
		asking.Go(func() {
			time.Sleep(time.Until(begun.Add(frozen - 9*time.Second))) // the last nine seconds are the test's
			knocked := time.Now()
			conn, _, status, err := knock(n.address(i), token)
			if err != nil || status != http.StatusSwitchingProtocols {
				t.Errorf("a handshake at node %s: got %d %v after %v", name(i), status, err, time.Since(knocked))
				return
			}
			conn.Close()
			if took := time.Since(knocked); took > handshakeTime+soon {
				t.Errorf("a handshake at node %s took %v, want at most %v", name(i), took, handshakeTime)
			} else {
				t.Logf("a handshake at node %s was answered after %v", name(i), took)
			}
			select {
			case <-thawed:
			default:
				t.Error("a token was spent in a store that is frozen")
			}
		})
		asking.Go(func() {
			status, said := n.readiness(i)
			if status != http.StatusServiceUnavailable || !strings.Contains(said, `"store"`) {
				t.Errorf("/readyz of node %s: got %d %s, want 503 and the store", name(i), status, said)
			}
			api := newAPI(t, n.address(i))
			asked := time.Now()
			status, _, err := api.call("POST", "/CreateRoom", map[string]any{})
			took := time.Since(asked)
			if err != nil || status != http.StatusInternalServerError && status != http.StatusServiceUnavailable {
				t.Errorf("CreateRoom at node %s: got %d %v, want a server's error", name(i), status, err)
			}
			t.Logf("/readyz said %s; CreateRoom got %d after %v", strings.TrimSpace(said), status, took)
			if took > 8*time.Second {
				t.Errorf("CreateRoom failed after %v: too late to be of use", took)
			}
		})
	}
	var refused string // a token that was not let in, for as long as a handshake waits
	if frozen > handshakeTime+soon {
		refused = patient
		asking.Go(func() {
			knocked := time.Now()
			_, _, status, err := knock(n.address(0), refused)
			took := time.Since(knocked)
			if err != nil || status != http.StatusServiceUnavailable || took > handshakeTime+soon {
				t.Errorf("a handshake at the beginning: got %d %v after %v, want 503 after %v", status, err, took, handshakeTime)
			}
		})
	}
	time.Sleep(time.Until(begun.Add(frozen)))
	close(thawed)
	postgres.Thaw()
	t.Logf("frozen for %v; all nodes serve %v after it", frozen, n.awaitService(quiet))
	asking.Wait()
	if refused != "" {
		// It may be spent all the same: what the store was asked it carries out when it can.
		conn, _, status, err := knock(n.address(1), refused)
		if err != nil || status != http.StatusSwitchingProtocols && status != http.StatusUnauthorized {
			t.Errorf("a token that was not let in: got %d %v", status, err)
		}
		if err == nil {
			conn.Close()
		}
		t.Logf("a token that was not let in while the store was away: got %d afterwards", status)
	}

	postgres.Restart()
	t.Logf("restarted; all nodes serve %v after it", n.awaitService(quiet))
	over.Store(true)
	talking.Wait()
	awaitMessages(t, viewers, len(sent))
	sameOrder(t, viewers)
	for _, v := range viewers {
		for _, f := range v.all() {
			if f.Type != "MESSAGE" {
				t.Errorf("node %s: got %s", name(v.node), f.text)
			}
		}
	}
	meanwhile := maps.Clone(sent)
	maps.DeleteFunc(meanwhile, func(_ string, at time.Time) bool { return at.Before(begun) || at.After(begun.Add(frozen)) })
	t.Logf("%d messages in all: %s", len(sent), delivered(viewers, sent))
	t.Logf("%d while the store was frozen: %s", len(meanwhile), delivered(viewers, meanwhile))
}
