package parlortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/redistest"
)

// told is what a client of rolling.mjs has to say. Times are in milliseconds since 1970.
type told struct {
	Room      int
	User      string
	Stretches []struct {
		Opened, Closed int64
		Shown          []string
		At             []int64
	}
	Sendings map[string]struct {
		Sent, Answered int64
		Code           int
		Error          string
	}
	Stranded []string // what its disconnects were for
	State    string
	Tokens   int
}

// rollingRestart restarts the nodes one after the other, as a deployment does, while
// clients of the official SDK, and others, talk through a balancer that follows /readyz.
// No client is stranded, and what anybody was shown, everybody was who was connected.
func rollingRestart(t *testing.T, database string) {
	const visitors = 4 // of each room
	dir := nodeProject(t)
	r := newRig(t, database, redistest.Start(t), nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newRelay(t, listener, func() (net.Conn, error) {
		// A node that is gone is not yet known to be: the balancer tries another.
		conn, err := net.DialTimeout("tcp", r.pick(), patience)
		for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
			conn, err = net.DialTimeout("tcp", r.pick(), patience)
		}
		return conn, err
	})

	started, stop, all := make(chan struct{}), make(chan struct{}), make(chan []told, 1)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch request.URL.Path {
		case "/started":
			close(started)
		case "/stop":
			<-stop
		case "/told":
			var clients []told
			if err := json.NewDecoder(request.Body).Decode(&clients); err != nil {
				t.Error(err)
			}
			all <- clients
		}
	}))
	t.Cleanup(control.Close)
	enough := sync.OnceFunc(func() { close(stop) })
	t.Cleanup(enough)
	var said bytes.Buffer
	exited := make(chan error, 1)
	bring := func(rooms []string) func(int, *history) {
		node := exec.CommandContext(t.Context(), "node", "run.mjs", "rolling")
		node.Dir = dir
		node.Env = append(os.Environ(), "BALANCER_URL=http://"+listener.Addr().String(), "BALANCER_WS=ws://"+listener.Addr().String(),
			"ROOMS="+strings.Join(rooms, ","), fmt.Sprint("VISITORS=", visitors), "CONTROL="+control.URL)
		node.Stdout, node.Stderr = &said, &said
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { exited <- node.Wait() }()
		select {
		case <-started:
		case err := <-exited:
			t.Fatalf("node ended: %v\n%s", err, &said)
		}
		var clients []told
		return func(room int, h *history) {
			if clients == nil {
				enough()
				select {
				case clients = <-all:
				case err := <-exited:
					t.Fatalf("node ended: %v\n%s", err, &said)
				}
			}
			for _, c := range clients {
				if c.Room == room {
					c.add(h)
				}
			}
			if room == 0 {
				judgeSDK(t, clients, len(rooms)*visitors)
			}
		}
	}
	p := plan{rooms: 3, clients: 6, every: 120 * time.Millisecond, before: time.Second, after: 2 * time.Second}
	o := r.under(t, p, func() {
		for _, n := range r.nodes {
			n.term()
			n.start()
			r.allReady()
			time.Sleep(500 * time.Millisecond)
		}
	}, bring)
	o.clean(t)
	if o.told() > 0 {
		t.Errorf("told ERROR: %s", o.codes())
	}
}

// judgeSDK looks at how the clients are at the end.
func judgeSDK(t *testing.T, clients []told, want int) {
	t.Helper()
	if len(clients) != want {
		t.Errorf("%d clients, want %d", len(clients), want)
	}
	reconnects, tokens := 0, 0
	reasons := map[string]int{}
	for _, c := range clients {
		if c.State != "connected" || len(c.Stranded) > 0 {
			t.Errorf("%s is %s, disconnected for %v", c.User, c.State, c.Stranded)
		}
		reconnects += len(c.Stretches) - 1
		tokens += c.Tokens
		for _, s := range c.Sendings {
			if s.Code != http.StatusOK {
				reasons[s.Error]++
			}
		}
	}
	if reconnects == 0 {
		t.Error("no client of the SDK had to connect again: nothing was proven")
	}
	t.Logf("%d clients of the SDK connected again %d times, under %d tokens; sendMessage rejected: %v", len(clients), reconnects, tokens, reasons)
}

// add puts what a client says into a history.
func (c told) add(h *history) {
	for _, s := range c.Stretches {
		stretch := &stretch{Who: c.User, Opened: time.UnixMilli(s.Opened), Shown: s.Shown}
		if s.Closed != 0 {
			stretch.Closed = time.UnixMilli(s.Closed)
		}
		for _, at := range s.At {
			stretch.At = append(stretch.At, time.UnixMilli(at))
		}
		h.stretches = append(h.stretches, stretch)
	}
	if h.sendings == nil {
		h.sendings = map[string]*sending{}
	}
	for key, s := range c.Sendings {
		h.sendings[key] = &sending{Sent: time.UnixMilli(s.Sent), Answered: time.UnixMilli(s.Answered), Code: s.Code}
	}
}
