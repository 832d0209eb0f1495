package parlortest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/redistest"
)

const (
	rigNodes = 3
	// rigDrain is the drain window of the nodes.
	rigDrain = 2 * time.Second
	// healthInterval is how often the balancer asks /readyz.
	healthInterval = 100 * time.Millisecond
	// unanswered is how many requests a client has under way at most: a person stops
	// typing when nothing happens.
	unanswered = 8
	// newcomerTime is what a newcomer has to be let in.
	newcomerTime = 20 * time.Second
)

// rig is three nodes, each a process of its own, on one PostgreSQL and one Redis, and
// what stands before them: a balancer that follows /readyz.
type rig struct {
	t        testing.TB
	database string
	redis    *redistest.Server
	nodes    []*rigNode
	client   *http.Client
	turn     atomic.Uint32
	run      *rigRun // that goes on
}

// rigNode is one node. It keeps its address when it is started again.
type rigNode struct {
	rig     *rig
	address string // for clients
	data    string
	args    []string
	wrap    []string // the command that runs it elsewhere; empty: here
	process *process
	ready   atomic.Bool // as the balancer knows
}

// newRig starts three nodes, whose Redis each finds where redisURL says. wrap may change
// a node before it starts.
func newRig(t testing.TB, database string, redis *redistest.Server, change func(i int, n *rigNode)) *rig {
	t.Helper()
	r := &rig{t: t, database: database, redis: redis}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: 2 * time.Second}
	for i := range rigNodes {
		address := freeAddress(t)
		n := &rigNode{rig: r, address: address, data: filepath.Join(t.TempDir(), fmt.Sprint("node-", i))}
		n.args = []string{"dev", "--log-level", "warn", "--drain-window", rigDrain.String(),
			"--listen", address, "--database-url", database, "--redis-url", redis.URL()}
		if change != nil {
			change(i, n)
		}
		r.nodes = append(r.nodes, n)
		n.start()
	}
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, n := range r.nodes {
		watching.Go(func() { n.watch(ctx) })
	}
	t.Cleanup(func() {
		stop()
		watching.Wait()
		if t.Failed() {
			for i, n := range r.nodes {
				t.Logf("node %d said:\n%s", i, tail(n.process.output(), 6000))
			}
		}
	})
	r.allReady()
	return r
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// set gives a flag of the node another value.
func (n *rigNode) set(flag, value string) {
	n.args[slices.Index(n.args, flag)+1] = value
}

// start starts the node. It is ready some time later.
func (n *rigNode) start() {
	t := n.rig.t
	t.Helper()
	line := append(slices.Clone(n.wrap), command(t))
	line = append(line, append(slices.Clone(n.args), "--data", n.data)...)
	p := &process{address: n.address, command: exec.Command(line[0], line[1:]...), exited: make(chan struct{})}
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.said, lines.Text())
			p.mu.Unlock()
		}
		p.command.Wait()
	}()
	t.Cleanup(p.kill)
	n.process = p
}

// term stops the node as a supervisor does, and waits for it.
func (n *rigNode) term() {
	n.process.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.process.exited:
	case <-time.After(rigDrain + 3*patience):
		n.rig.t.Errorf("the node at %s does not stop:\n%s", n.address, tail(n.process.output(), 2000))
		n.process.kill()
	}
	if code := n.process.command.ProcessState.ExitCode(); code != 0 {
		n.rig.t.Errorf("a drained node exits %d:\n%s", code, tail(n.process.output(), 2000))
	}
}

// readyz is the status of /readyz now; 0 when nobody answers.
func (n *rigNode) readyz() int {
	response, err := n.rig.client.Get("http://" + n.address + "/readyz")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// watch follows /readyz for the balancer.
func (n *rigNode) watch(ctx context.Context) {
	for ctx.Err() == nil {
		n.ready.Store(n.readyz() == http.StatusOK)
		select {
		case <-ctx.Done():
		case <-time.After(healthInterval):
		}
	}
}

// allReady waits until the balancer finds every node ready.
func (r *rig) allReady() {
	r.t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(r.nodes, func(n *rigNode) bool { return !n.ready.Load() }) {
			return
		}
		if time.Now().After(deadline) {
			for i, n := range r.nodes {
				r.t.Errorf("node %d: /readyz answers %d:\n%s", i, n.readyz(), tail(n.process.output(), 2000))
			}
			r.t.Fatal("not all nodes are ready")
		}
	}
}

// pick is where the balancer leads a connection: to nodes that are ready, in turn, and
// where none is, to any.
func (r *rig) pick() string {
	turn := int(r.turn.Add(1))
	for i := range r.nodes {
		if n := r.nodes[(turn+i)%len(r.nodes)]; n.ready.Load() {
			return n.address
		}
	}
	return r.nodes[turn%len(r.nodes)].address
}

// relay passes TCP connections on until the test ends. While it is shut, what is sent
// comes to nothing and nothing is closed, as when a cable is pulled.
type relay struct {
	dial func() (net.Conn, error)

	mu    sync.Mutex
	open  chan struct{} // closed while it passes on
	shut  bool
	conns map[net.Conn]bool
	over  bool
}

func newRelay(t testing.TB, listener net.Listener, dial func() (net.Conn, error)) *relay {
	r := &relay{dial: dial, open: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(r.open)
	var under sync.WaitGroup
	under.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			under.Go(func() { r.pass(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.heal()
		r.mu.Lock()
		r.over = true
		for conn := range r.conns {
			conn.Close()
		}
		r.mu.Unlock()
		under.Wait()
	})
	return r
}

// dialTo is a relay's dial to an address.
func dialTo(address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.DialTimeout("tcp", address, patience) }
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.shut {
		r.shut, r.open = true, make(chan struct{})
	}
}

func (r *relay) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		r.shut = false
		close(r.open)
	}
}

// passing waits until the relay passes on.
func (r *relay) passing() {
	r.mu.Lock()
	open := r.open
	r.mu.Unlock()
	<-open
}

// track notes a connection, unless all is over.
func (r *relay) track(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		conn.Close()
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *relay) drop(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

func (r *relay) pass(near net.Conn) {
	if !r.track(near) {
		return
	}
	defer r.drop(near)
	r.passing()
	far, err := r.dial()
	if err != nil || !r.track(far) {
		return
	}
	defer r.drop(far)
	var both sync.WaitGroup
	copyOne := func(to, from net.Conn) {
		buffer := make([]byte, 16<<10)
		for {
			n, err := from.Read(buffer)
			r.passing()
			if n > 0 {
				if _, err := to.Write(buffer[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		near.Close()
		far.Close()
	}
	both.Go(func() { copyOne(far, near) })
	both.Go(func() { copyOne(near, far) })
	both.Wait()
}

// rigRun is one run: rooms, their clients, and a fault.
type rigRun struct {
	*rig
	rooms   []string
	clients int

	stopSending atomic.Bool

	mu        sync.Mutex
	histories []history // by room
	expired   map[string]int
	open      int
	comers    []newcomer
	begun     bool      // all clients are connected
	fault     time.Time // when it began
}

// newcomer is somebody who fetched a token and knocked.
type newcomer struct {
	begun time.Time
	took  time.Duration
	ok    bool
}

// plan is what flows in a run.
type plan struct {
	rooms, clients int // clients of each room, over all nodes in turn
	every          time.Duration
	before, after  time.Duration // how long it flows before the fault and after it
}

// usual is 200 messages a second: 24 clients that send 8.3 each, to four rooms, and are
// shown 50 a second.
var usual = plan{rooms: 4, clients: 6, every: 120 * time.Millisecond, before: time.Second, after: 1200 * time.Millisecond}

// outcome is what a run came to.
type outcome struct {
	tally
	duration  time.Duration
	newcomers time.Duration  // until they were let in at once again
	expired   map[string]int // sessions ended by ERROR 401, by the node's address
	broken    int            // connections that ended, of clients that then came again
}

// under has clients talk while fault happens. extra may bring other clients: it returns
// what has them finish and say what they sent and were shown in a room.
func (r *rig) under(t testing.TB, p plan, fault func(), extra func(rooms []string) (finish func(room int, h *history))) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	run := &rigRun{rig: r, expired: map[string]int{}}
	r.run = run
	control := newAPI(t, r.nodes[0].address)
	for i := range p.rooms {
		status, out, err := control.call("POST", "/CreateRoom", map[string]any{"name": fmt.Sprint("room-", i), "maximumMessageRatePerSecond": 100})
		if err != nil || status != http.StatusOK {
			t.Fatalf("CreateRoom: %d %v", status, err)
		}
		run.rooms = append(run.rooms, out.Arn)
		run.histories = append(run.histories, history{sendings: map[string]*sending{}})
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	run.clients = p.rooms * p.clients
	for i := range run.clients {
		c := &chatter{run: run, name: fmt.Sprint("client-", i), room: i % p.rooms, at: r.nodes[i/p.rooms%len(r.nodes)].address, api: newAPI(t, "")}
		c.api.client.Timeout = 5 * time.Second
		all.Go(func() { c.live(ctx, p.every) })
	}
	run.connected(t)
	var finish func(int, *history)
	if extra != nil {
		finish = extra(run.rooms)
	}
	run.mu.Lock()
	run.begun = true
	run.mu.Unlock()
	all.Go(func() { run.newcomers(ctx, newAPI(t, "")) })
	time.Sleep(p.before)
	begun := time.Now()
	run.mu.Lock()
	run.fault = begun
	run.mu.Unlock()
	fault()
	duration := time.Since(begun)
	time.Sleep(p.after)
	run.stopSending.Store(true)
	run.connected(t) // nobody is stranded
	run.answered(8 * time.Second)
	var o outcome
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		o = run.judge()
		if o.missing == 0 || time.Now().After(deadline) {
			break
		}
	}
	if finish != nil {
		for i := range run.histories {
			var more history
			finish(i, &more)
			run.add(i, more)
		}
		o = run.judge()
	}
	o.duration = duration
	for _, one := range run.seen() {
		if !one.ok || one.took > slow {
			o.newcomers = max(o.newcomers, one.begun.Add(one.took).Sub(begun))
		}
	}
	t.Logf("%s; newcomers let in again after %.1f s; connections broken: %d, ended by 401: %v; cut off before an answer: %d; shown to anybody: %d",
		o.row(t.Name()), o.newcomers.Seconds(), o.broken, o.expired, o.cut, o.shown)
	return o
}

// row is a line of the table in docs/operations.md.
func (o outcome) row(name string) string {
	return fmt.Sprintf("| %s (%.1f s) | %d | %d/%d/%d | %d | %s | %d | %.1f | %.1f |", strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], "_", " "),
		o.duration.Seconds(), o.accepted, o.missing, o.twice, o.late, o.away, o.codes(), o.ghosts, o.whole.Seconds(), o.newcomers.Seconds())
}

// clean holds a run to nothing missing, nothing twice and one order.
func (o outcome) clean(t testing.TB) {
	t.Helper()
	if o.missing+o.twice+o.late > 0 {
		t.Errorf("missing %d, twice %d, out of order %d: want 0/0/0", o.missing, o.twice, o.late)
	}
	if o.accepted < 100 {
		t.Errorf("%d messages accepted: too few to mean something", o.accepted)
	}
}

// quiet holds a run to no ERROR, and no connection lost.
func (o outcome) quiet(t testing.TB) {
	t.Helper()
	if o.told()+o.ghosts+o.cut+o.broken > 0 {
		t.Errorf("told ERROR %s (shown all the same: %d), not answered %d, connections broken %d: want none", o.codes(), o.ghosts, o.cut, o.broken)
	}
}

func (run *rigRun) judge() outcome {
	run.mu.Lock()
	defer run.mu.Unlock()
	o := outcome{expired: map[string]int{}}
	for _, h := range run.histories {
		o.add(h.check(run.fault))
		for _, s := range h.stretches {
			if !s.Closed.IsZero() {
				o.broken++
			}
		}
	}
	for address, n := range run.expired {
		o.expired[address] = n
	}
	return o
}

// add adds to the history of a room.
func (run *rigRun) add(room int, more history) {
	run.mu.Lock()
	defer run.mu.Unlock()
	h := &run.histories[room]
	h.stretches = append(h.stretches, more.stretches...)
	maps.Copy(h.sendings, more.sendings)
}

// connected waits until all clients are.
func (run *rigRun) connected(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(10 * time.Millisecond) {
		run.mu.Lock()
		open := run.open
		run.mu.Unlock()
		if open == run.clients {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d clients are connected", open, run.clients)
		}
	}
}

// answered waits until every request was.
func (run *rigRun) answered(d time.Duration) {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		under := 0
		run.mu.Lock()
		for _, h := range run.histories {
			for _, s := range h.sendings {
				if s.Answered.IsZero() {
					under++
				}
			}
		}
		run.mu.Unlock()
		if under == 0 {
			return
		}
	}
}

// newcomers knock, one after the other.
func (run *rigRun) newcomers(ctx context.Context, api *api) {
	api.client.Timeout = newcomerTime
	for n := 0; ctx.Err() == nil && !run.stopSending.Load(); n++ {
		one := newcomer{begun: time.Now()}
		api.url = "http://" + run.pick()
		if token, err := run.token(api, run.rooms[n%len(run.rooms)], "newcomer"); err == nil {
			if conn, _, status, err := knock(run.pick(), token); err == nil && status == http.StatusSwitchingProtocols {
				one.ok = true
				conn.Close()
			}
		}
		one.took = time.Since(one.begun)
		run.mu.Lock()
		run.comers = append(run.comers, one)
		run.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (run *rigRun) seen() []newcomer {
	run.mu.Lock()
	defer run.mu.Unlock()
	return slices.Clone(run.comers)
}

func (run *rigRun) token(api *api, room, user string) (string, error) {
	status, out, err := api.call("POST", "/CreateChatToken", map[string]any{"roomIdentifier": room, "userId": user, "capabilities": []string{"SEND_MESSAGE"}})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("CreateChatToken: %d", status)
	}
	return out.Token, err
}

// chatter is a client without an SDK that reconnects as the SDKs do, but never gives up.
type chatter struct {
	run  *rigRun
	name string
	room int
	at   string // the node it is to begin with; then the balancer says
	api  *api

	n       int                 // owned by talk
	conn    net.Conn            // owned by rigRun.mu; nil: away
	pending map[string]*sending // owned by rigRun.mu

	writing sync.Mutex
}

func (c *chatter) live(ctx context.Context, every time.Duration) {
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { c.talk(ctx, every) })
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			c.at = c.run.pick()
		}
		conn, in, err := c.enter()
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50*time.Millisecond + rand.N(100*time.Millisecond)):
			}
			continue
		}
		release := context.AfterFunc(ctx, func() { conn.Close() })
		c.stay(ctx, conn, in)
		release()
		conn.Close()
	}
}

func (c *chatter) enter() (net.Conn, *bufio.Reader, error) {
	c.api.url = "http://" + c.at
	token, err := c.run.token(c.api, c.run.rooms[c.room], c.name)
	if err != nil {
		return nil, nil, err
	}
	conn, in, status, err := knock(c.at, token)
	if err == nil && status != http.StatusSwitchingProtocols {
		err = fmt.Errorf("handshake: %d", status)
	}
	return conn, in, err
}

// stay listens until the connection ends.
func (c *chatter) stay(ctx context.Context, conn net.Conn, in *bufio.Reader) {
	run := c.run
	s := &stretch{Who: c.name, Opened: time.Now()}
	run.mu.Lock()
	run.histories[c.room].stretches = append(run.histories[c.room].stretches, s)
	run.open++
	c.conn, c.pending = conn, map[string]*sending{}
	run.mu.Unlock()
	defer func() {
		run.mu.Lock()
		defer run.mu.Unlock()
		run.open--
		c.conn = nil
		if ctx.Err() == nil {
			s.Closed = time.Now()
			for _, request := range c.pending { // nobody will tell
				request.Answered = s.Closed
			}
		}
	}()
	for {
		header, err := ws.ReadHeader(in)
		if err != nil {
			return
		}
		payload := make([]byte, min(header.Length, 1<<20))
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		switch header.OpCode {
		case ws.OpPing:
			c.write(conn, ws.NewPongFrame(payload))
		case ws.OpClose:
			c.write(conn, ws.NewCloseFrame(payload))
			return
		case ws.OpText:
			if c.heard(s, payload) {
				return
			}
		}
	}
}

// heard takes a frame. It reports whether the session is over, and is to be followed by
// another under a fresh token.
func (c *chatter) heard(s *stretch, text []byte) (over bool) {
	now := time.Now()
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		return false
	}
	run := c.run
	run.mu.Lock()
	defer run.mu.Unlock()
	switch f.Type {
	case "MESSAGE":
		s.Shown = append(s.Shown, f.Content)
		s.At = append(s.At, now)
		if request := c.take(f.RequestID); request != nil {
			request.Answered, request.Code = now, http.StatusOK
		}
	case "ERROR":
		if request := c.take(f.RequestID); request != nil {
			request.Answered, request.Code = now, f.ErrorCode
		}
		if f.ErrorCode == http.StatusUnauthorized {
			run.expired[c.at]++
			return true
		}
	}
	return false
}

// take is a request that was answered. run.mu is held.
func (c *chatter) take(id string) *sending {
	request := c.pending[id]
	delete(c.pending, id)
	return request
}

// talk sends until the run has enough.
func (c *chatter) talk(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	select {
	case <-ctx.Done():
	case <-time.After(rand.N(every)):
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.run.stopSending.Load() {
			return
		}
		c.say()
	}
}

func (c *chatter) say() {
	run := c.run
	run.mu.Lock()
	conn := c.conn
	if conn == nil || len(c.pending) >= unanswered || !run.begun {
		run.mu.Unlock()
		return
	}
	c.n++
	key := fmt.Sprintf("%s/%d", c.name, c.n)
	request := &sending{Sent: time.Now()}
	c.pending[key] = request
	run.histories[c.room].sendings[key] = request
	run.mu.Unlock()
	text, _ := json.Marshal(map[string]string{"Action": "SEND_MESSAGE", "RequestId": key, "Content": key})
	c.write(conn, ws.NewTextFrame(text))
}

func (c *chatter) write(conn net.Conn, f ws.Frame) {
	c.writing.Lock()
	defer c.writing.Unlock()
	conn.SetWriteDeadline(time.Now().Add(patience))
	ws.WriteFrame(conn, ws.MaskFrameInPlace(f)) // an error is the reader's too
}

// soaking reports whether faults have their full lengths.
func soaking() bool { return os.Getenv("PARLOR_SOAK") != "" }
