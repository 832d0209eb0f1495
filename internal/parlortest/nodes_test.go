package parlortest_test

// What the tests of several nodes share: nodes of one PostgreSQL database and one
// redis-server, and viewers that take note of all they see.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
	"parlor/internal/pgtest"
	"parlor/internal/redistest"
)

const (
	nodeCount = 3
	// soon is how soon a change at one node has to act at the others, on a loaded machine.
	// What it took is in the tests' logs; on a quiet machine it is some milliseconds.
	soon = 2 * time.Second
)

// lasting stands for the test binary as a whole: what it cleans up is what all tests
// share, when all are over.
type lasting struct {
	testing.TB // of the test that came first

	cleanups []func()
}

func (b *lasting) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

var shared struct {
	mu       sync.Mutex
	all      lasting
	postgres *pgtest.Server
}

// newDatabase is the URL of an empty database, on the server that all tests share.
func newDatabase(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.postgres == nil {
		shared.all.TB = t
		shared.postgres = pgtest.Start(&shared.all)
	}
	return shared.postgres.CreateDatabase(t)
}

// inDatabase runs a statement in a database of newDatabase.
func inDatabase(t testing.TB, database, text string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	shared.postgres.Exec(t, strings.TrimPrefix(u.Path, "/"), text)
}

// endShared ends what the tests shared.
func endShared() {
	for _, cleanup := range shared.all.cleanups {
		cleanup()
	}
}

// nodes are servers that share a database and a broker.
type nodes struct {
	t        testing.TB
	database string
	redis    *redistest.Server
	options  []func(*config.Config)
	servers  []*parlortest.Server
	clients  []*ivschat.Client
}

// startNodes starts nodes in this process, each with a data directory of its own.
func startNodes(t testing.TB, options ...func(*config.Config)) *nodes {
	t.Helper()
	return startNodesOn(t, newDatabase(t), options...)
}

func startNodesOn(t testing.TB, database string, options ...func(*config.Config)) *nodes {
	t.Helper()
	n := &nodes{t: t, database: database, redis: redistest.Start(t)}
	n.options = append(options, func(c *config.Config) { c.DatabaseURL, c.RedisURL = n.database, n.redis.URL() })
	for range nodeCount {
		s := parlortest.Start(t, n.options...)
		n.servers = append(n.servers, s)
		n.clients = append(n.clients, s.Client(t))
	}
	return n
}

// restart stops a node and starts it where it was.
func (n *nodes) restart(i int) {
	n.t.Helper()
	old := n.servers[i]
	old.Stop()
	n.servers[i] = parlortest.Start(n.t, append(n.options, func(c *config.Config) {
		c.Data, c.Listen = old.Data, strings.TrimPrefix(old.URL, "http://")
	})...)
}

// address is where a node listens.
func (n *nodes) address(i int) string { return strings.TrimPrefix(n.servers[i].URL, "http://") }

// other is a node that is not i.
func other(i int) int { return (i + 1) % nodeCount }

// name of a node, as the tests' logs have it.
func name(i int) string { return string(rune('A' + i)) }

// seen is a frame as it came.
type seen struct {
	frame
	text string
	at   time.Time
}

// viewer is a connection that takes note of every frame.
type viewer struct {
	*peer
	node   int
	closed chan struct{} // the connection is over

	mu     sync.Mutex
	frames []seen
	end    error // how it ended
	ended  time.Time
}

// view has somebody who may do everything enter a room at a node, by a token that
// another node made.
func (n *nodes) view(i int, room, user string) *viewer {
	n.t.Helper()
	p, status := dial(n.t, n.servers[i], newToken(n.t, n.clients[other(i)], room, user))
	if status != http.StatusSwitchingProtocols {
		n.t.Fatalf("%s at node %s: got %d", user, name(i), status)
	}
	v := &viewer{peer: p, node: i, closed: make(chan struct{})}
	go v.listen()
	n.t.Cleanup(func() { v.conn.CloseNow(); <-v.closed })
	return v
}

func (v *viewer) listen() {
	defer close(v.closed)
	for {
		_, text, err := v.conn.Read(context.Background())
		s := seen{text: string(text), at: time.Now()}
		if err == nil {
			err = json.Unmarshal(text, &s.frame)
		}
		v.mu.Lock()
		if err != nil {
			v.end, v.ended = err, s.at
			v.mu.Unlock()
			return
		}
		v.frames = append(v.frames, s)
		v.mu.Unlock()
	}
}

// all are the frames so far.
func (v *viewer) all() []seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.frames[:len(v.frames):len(v.frames)]
}

// messages are those of MESSAGE frames.
func (v *viewer) messages() (found []seen) {
	for _, f := range v.all() {
		if f.Type == "MESSAGE" {
			found = append(found, f)
		}
	}
	return found
}

// await waits for the first frame that is wanted, which may have come already.
func (v *viewer) await(what string, wanted func(frame) bool) seen {
	v.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, f := range v.all() {
			if wanted(f.frame) {
				return f
			}
		}
	}
	v.t.Fatalf("node %s: %s does not come; got %d frames", name(v.node), what, len(v.all()))
	return seen{}
}

// say sends a message and returns what answers it, a MESSAGE or an ERROR.
func (v *viewer) say(content string) seen {
	v.t.Helper()
	id := fmt.Sprint(time.Now().UnixNano())
	v.send(map[string]any{"Action": "SEND_MESSAGE", "RequestId": id, "Content": content})
	return v.await("an answer", func(f frame) bool { return f.RequestID == id })
}

// awaitContent waits for a message with a text.
func (v *viewer) awaitContent(content string) seen {
	v.t.Helper()
	return v.await(content, func(f frame) bool { return f.Type == "MESSAGE" && f.Content == content })
}

// awaitClose waits for the end of the connection and returns the close frame and when
// it came.
func (v *viewer) awaitClose() (websocket.CloseError, time.Time) {
	v.t.Helper()
	select {
	case <-v.closed:
	case <-time.After(patience):
		v.t.Fatalf("node %s: the connection is not closed", name(v.node))
	}
	e, ok := errors.AsType[websocket.CloseError](v.end)
	if !ok {
		v.t.Errorf("node %s: got %v, want a close frame", name(v.node), v.end)
	}
	return e, v.ended
}

// unlessSoaking is the first time, or the second where PARLOR_SOAK is set.
func unlessSoaking(usual, long time.Duration) time.Duration {
	if os.Getenv("PARLOR_SOAK") != "" {
		return long
	}
	return usual
}

// measured logs how long something took to act at another node, which must not be long.
func measured(t testing.TB, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s: after %v", what, took.Round(10*time.Microsecond))
	if took > soon {
		t.Errorf("%s: took %v, want at most %v", what, took, soon)
	}
}
