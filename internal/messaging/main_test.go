package messaging

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

const patience = 20 * time.Second // for a loaded machine under the race detector

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a client whose Run runs, and what it was told.
type running struct {
	*Client
	t      *testing.T
	frames chan Frame
	states chan State
	ended  chan error
	stop   context.CancelFunc
}

func run(t *testing.T, c Config, change ...func(*Client)) *running {
	t.Helper()
	r := &running{t: t, frames: make(chan Frame, 100), states: make(chan State, 100), ended: make(chan error, 1)}
	c.Frame = func(f Frame) { r.frames <- f }
	c.State = func(s State) { r.states <- s }
	r.Client = New(c)
	for _, f := range change {
		f(r.Client)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- r.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return r
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

// state waits for a state, whatever is said before it.
func (r *running) state(want func(State) bool) State {
	r.t.Helper()
	for {
		if s := next(r.t, r.states); want(s) {
			return s
		}
	}
}

func (r *running) connected() {
	r.t.Helper()
	r.state(func(s State) bool { return s.Connected })
}

func (r *running) waits() State {
	r.t.Helper()
	return r.state(func(s State) bool { return s.Retry > 0 })
}

func (r *running) end() error {
	r.t.Helper()
	return next(r.t, r.ended)
}

// scripted is a server that does with each connection what the test says, and the last
// of it again with those after.
type scripted struct {
	URL    string
	tokens chan string // of the handshakes
	asked  atomic.Int64
}

// script has the connection of a handshake, or none where it is to refuse it.
type script func(s *socket)

// socket is a connection as the server sees it.
type socket struct {
	t       *testing.T
	w       http.ResponseWriter
	r       *http.Request
	conn    interface{ Close() error }
	write   func(op ws.OpCode, b []byte)
	read    func() (ws.Frame, error)
	ignored bool
}

// accept answers the handshake with 101.
func (s *socket) accept() {
	upgrader := ws.HTTPUpgrader{Protocol: func(string) bool { return !s.ignored }}
	conn, rw, _, err := upgrader.Upgrade(s.r, s.w)
	if err != nil {
		s.t.Errorf("upgrade: %v", err)
		return
	}
	s.conn = conn
	s.write = func(op ws.OpCode, b []byte) {
		ws.WriteFrame(conn, ws.NewFrame(op, true, b)) // the client may be gone
	}
	s.read = func() (ws.Frame, error) {
		h, err := ws.ReadHeader(rw)
		if err != nil {
			return ws.Frame{}, err
		}
		payload := make([]byte, min(h.Length, 64<<10)) // no client of ours sends more
		_, err = io.ReadFull(rw, payload)
		return ws.UnmaskFrame(ws.Frame{Header: h, Payload: payload}), err
	}
}

func (s *socket) text(frame string) { s.write(ws.OpText, []byte(frame)) }

func (s *socket) close(code ws.StatusCode, reason string) {
	s.write(ws.OpClose, ws.NewCloseFrameBody(code, reason))
	s.drain()
}

// drain reads until the client closes.
func (s *socket) drain() {
	for {
		f, err := s.read()
		if err != nil || f.Header.OpCode == ws.OpClose {
			return
		}
	}
}

func serve(t *testing.T, scripts ...script) *scripted {
	t.Helper()
	s := &scripted{tokens: make(chan string, 100)}
	var open sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		n := int(s.asked.Add(1)) - 1
		s.tokens <- r.Header.Get("Sec-WebSocket-Protocol")
		socket := &socket{t: t, w: w, r: r}
		scripts[min(n, len(scripts)-1)](socket)
		if socket.conn != nil {
			socket.conn.Close()
		}
	}))
	t.Cleanup(func() {
		server.Close()
		open.Wait()
	})
	s.URL = "ws" + strings.TrimPrefix(server.URL, "http")
	return s
}

// numbered returns a source of tokens t1, t2, ….
func numbered() func(context.Context) (string, error) {
	var n atomic.Int64
	return func(context.Context) (string, error) { return "t" + string('0'+rune(n.Add(1))), nil }
}

func stay(s *socket)   { s.accept(); s.drain() }
func breaks(s *socket) { s.accept() }

func refuses(status int, body string) script {
	return func(s *socket) {
		s.w.WriteHeader(status)
		s.w.Write([]byte(body))
	}
}

var errOther = errors.New("another error")
