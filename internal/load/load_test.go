package load_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parlor/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for a loaded machine under the race detector. Only what is lost for good
// is waited for as long as lossPatience.
const (
	patience     = 20 * time.Second
	lossPatience = 3 * time.Second
)

// plan is ten connections in one room and 20 messages in half a second.
func plan(change func(*load.Plan)) load.Plan {
	p := load.Plan{Rooms: 1, Connections: 10, Rate: 40, Duration: 500 * time.Millisecond, Dialers: 4, Size: 100, PerSender: 40, Patience: patience}
	if change != nil {
		change(&p)
	}
	return p
}

// outcome is what of a report does not depend on time.
type outcome struct {
	Opened, Sent, Deliveries, Lost, OutOfOrder, Disagreeing, Stalled int
	Failed, Ended, Refused                                           map[string]int
}

func outcomeOf(r *load.Report) outcome {
	some := func(m map[string]int) map[string]int {
		if len(m) == 0 {
			return nil
		}
		return m
	}
	return outcome{r.Handshakes.Count, r.Sent, r.Deliveries, r.Lost, r.OutOfOrder, r.Disagreeing, r.Stalled,
		some(r.HandshakesFailed), some(r.ConnectionsEnded), some(r.Refused)}
}

func TestRun(t *testing.T) {
	lossy := func(p *load.Plan) { p.Patience = lossPatience }
	twoSenders := func(p *load.Plan) { p.PerSender = 20 }
	var held []byte
	swap := func(conn, message int, text []byte) [][]byte {
		switch {
		case conn == 3 && message == 7:
			held = text
			return [][]byte{}
		case conn == 3 && message == 8:
			return [][]byte{text, held}
		}
		return nil
	}
	for _, test := range []struct {
		name string
		plan func(*load.Plan)
		set  func(*server)
		want outcome
	}{
		{name: "all is well", want: outcome{Opened: 10, Sent: 20, Deliveries: 200}},
		{
			name: "rooms of different sizes, several senders, a ramp, binary frames",
			plan: func(p *load.Plan) {
				p.Rooms, p.Connections, p.PerSender, p.Ramp, p.Binary = 3, 11, 15, 50*time.Millisecond, true
			},
			want: outcome{Opened: 11, Sent: 60, Deliveries: 220},
		},
		{
			name: "messages over 125 bytes",
			plan: func(p *load.Plan) { p.Size = 300 },
			want: outcome{Opened: 10, Sent: 20, Deliveries: 200},
		},
		{
			name: "messages over 64 KB",
			plan: func(p *load.Plan) { p.Size, p.Rate, p.Connections = 70_000, 10, 3 },
			want: outcome{Opened: 3, Sent: 5, Deliveries: 15},
		},
		{
			name: "several messages in one",
			set: func(s *server) {
				var held []byte
				s.deliver = func(conn, message int, text []byte) [][]byte {
					switch {
					case conn == 2 && message == 4:
						held = text
						return [][]byte{}
					case conn == 2 && message == 5:
						return [][]byte{append(append([]byte("["), held...), text...)}
					}
					return nil
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 200},
		},
		{
			name: "lost", plan: lossy,
			set: func(s *server) {
				s.deliver = func(conn, message int, _ []byte) [][]byte {
					if conn == 2 && message == 5 {
						return [][]byte{}
					}
					return nil
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 199, Lost: 1},
		},
		{
			name: "swapped, of one sender",
			set:  func(s *server) { s.deliver = swap },
			want: outcome{Opened: 10, Sent: 20, Deliveries: 200, OutOfOrder: 1, Disagreeing: 1},
		},
		{
			name: "swapped, of two senders", plan: twoSenders,
			set:  func(s *server) { s.deliver = swap },
			want: outcome{Opened: 10, Sent: 20, Deliveries: 200, Disagreeing: 1},
		},
		{
			name: "twice",
			set: func(s *server) {
				s.deliver = func(conn, message int, text []byte) [][]byte {
					if conn == 4 && message == 6 {
						return [][]byte{text, text}
					}
					return nil
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 201, OutOfOrder: 1},
		},
		{
			name: "twice here does not make up for lost there", plan: lossy,
			set: func(s *server) {
				s.deliver = func(conn, message int, text []byte) [][]byte {
					switch {
					case conn == 4 && message == 6:
						return [][]byte{text, text}
					case conn == 5 && message == 6:
						return [][]byte{}
					}
					return nil
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 200, Lost: 1, OutOfOrder: 1},
		},
		{
			name: "refused is not lost", plan: twoSenders,
			set: func(s *server) {
				s.refuse = func(message int) string {
					return map[int]string{3: "429 too fast", 8: "406 rude", 13: "429 too fast"}[message]
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 170, Refused: map[string]int{"429 too fast": 2, "406 rude": 1}},
		},
		{
			name: "handshakes refused",
			set: func(s *server) {
				s.admit = func(conn int) int { return map[int]int{2: 403, 5: 403, 8: 429}[conn] }
			},
			want: outcome{Opened: 7, Sent: 20, Deliveries: 140, Failed: map[string]int{"HTTP 403": 2, "HTTP 429": 1}},
		},
		{
			name: "all handshakes refused",
			set:  func(s *server) { s.admit = func(int) int { return 503 } },
			want: outcome{Failed: map[string]int{"HTTP 503": 10}},
		},
		{
			// Three senders were planned and one came: each third message of its is
			// not another sender's.
			name: "fewer senders than planned",
			plan: func(p *load.Plan) { p.PerSender = 14 },
			set: func(s *server) {
				s.admit = func(conn int) int {
					if conn > 1 {
						return 403
					}
					return 0
				}
			},
			want: outcome{Opened: 2, Sent: 20, Deliveries: 40, Failed: map[string]int{"HTTP 403": 8}},
		},
		{
			name: "ended", plan: lossy,
			set: func(s *server) {
				s.after = func(message int, members map[int]*member) {
					if message != 9 {
						return
					}
					members[3].Close(1008, "go away") // which says so, and does not wait for long: we hang up
					members[4].Close(websocket.StatusNoStatusRcvd, "")
					members[5].CloseNow()
					members[6].net.(*net.TCPConn).SetLinger(0)
					members[6].net.Close()
					members[7].net.Write([]byte("\x83\x01x"))
				}
			},
			want: outcome{Opened: 10, Sent: 20, Deliveries: 150, Lost: 50, Ended: map[string]int{
				"close frame 1008": 1, "close frame": 1, "closed without a close frame": 1, "read: connection reset by peer": 1, "frame with opcode 3": 1,
			}},
		},
		{
			name: "some read nothing",
			plan: func(p *load.Plan) { p.Connections, p.Rooms, p.Stalled = 11, 2, 0.5 },
			want: outcome{Opened: 11, Sent: 40, Deliveries: 20*3 + 20*3, Stalled: 5},
		},
		{
			name: "only connects",
			plan: func(p *load.Plan) { p.Rate, p.Duration = 0, 10*time.Millisecond },
			want: outcome{Opened: 10},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			if test.set != nil {
				test.set(s)
			}
			r, err := load.Run(t.Context(), plan(test.plan), target{s.URL}, load.Watcher{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(outcomeOf(r), test.want); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
			if r.Interrupted {
				t.Error("interrupted")
			}
			count := 0
			for _, bar := range r.Histogram {
				count += bar.Count
			}
			if count != r.Deliveries || r.Latency.Count != r.Deliveries {
				t.Errorf("the histogram has %d, the latency %d, of %d deliveries", count, r.Latency.Count, r.Deliveries)
			}
		})
	}
}

// TestStall: what was due while the server stood still counts from when it was due. A
// load generator that waits for answers would see one late message.
func TestStall(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	s := newServer(t)
	s.refuse = func(message int) string {
		if message == 5 {
			time.Sleep(stall) // of the whole server
		}
		return ""
	}
	p := plan(nil)
	r, err := load.Run(t.Context(), p, target{s.URL}, load.Watcher{})
	if err != nil {
		t.Fatal(err)
	}
	// One in twenty waits for all of it, and those due in its first 200 ms for 100 ms
	// or more: that is 8 at 40 a second. A slow machine makes it only more.
	if time.Duration(r.Latency.Max) < stall || time.Duration(r.Latency.P99) < stall {
		t.Errorf("got %v, with a stall of %v", r.Latency, stall)
	}
	late := 0
	for _, bar := range r.Histogram {
		if time.Duration(bar.UpTo) > 100*time.Millisecond {
			late += bar.Count
		}
	}
	if want := 8 * p.Connections; late < want {
		t.Errorf("%d deliveries were late by 100 ms, want at least %d:\n%v", late, want, r.Histogram)
	}
}

// TestPing: clients answer a server's ping.
func TestPing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var answered atomic.Int64
	s.after = func(message int, members map[int]*member) {
		if message != 3 {
			return
		}
		for i, m := range members {
			if i == 0 { // its reader is who calls
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			if m.Ping(ctx) == nil {
				answered.Add(1)
			}
			cancel()
		}
	}
	r, err := load.Run(t.Context(), plan(nil), target{s.URL}, load.Watcher{})
	if err != nil || r.Lost != 0 {
		t.Fatal(r, err)
	}
	if got := answered.Load(); got != 9 {
		t.Errorf("%d answered, want 9", got)
	}
}

// TestInterrupt: a run that is stopped early says what there was.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		plan  func(*load.Plan)
		watch func(stop func()) load.Watcher
		after int // messages, before the stop
		want  outcome
	}{
		{name: "while sending", plan: func(p *load.Plan) { p.Duration = time.Hour }, after: 7, want: outcome{Opened: 10}},
		{
			name:  "while holding",
			plan:  func(p *load.Plan) { p.Rate, p.Duration = 0, time.Hour },
			watch: func(stop func()) load.Watcher { return load.Watcher{Opened: stop} },
			want:  outcome{Opened: 10},
		},
		{
			name:  "while waiting for the last",
			plan:  func(p *load.Plan) { p.Patience = time.Hour },
			watch: func(stop func()) load.Watcher { return load.Watcher{Sent: stop} },
			after: -1,
			want:  outcome{Opened: 10},
		},
		{
			name:  "while connecting",
			plan:  func(p *load.Plan) { p.Ramp = time.Hour },
			watch: func(stop func()) load.Watcher { return load.Watcher{Tick: func(load.Progress) { stop() }} },
			want:  outcome{Opened: 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			s.after = func(message int, _ map[int]*member) {
				if message+1 == test.after {
					stop()
				}
			}
			if test.after < 0 {
				s.deliver = func(conn, message int, _ []byte) [][]byte {
					if conn == 1 && message == 0 {
						return [][]byte{}
					}
					return nil
				}
			}
			var watch load.Watcher
			if test.watch != nil {
				watch = test.watch(stop)
			}
			r, err := load.Run(ctx, plan(test.plan), target{s.URL}, watch)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Interrupted || r.Handshakes.Count != test.want.Opened || r.Lost != 0 || r.Sent < test.after {
				t.Errorf("interrupted %v, %d opened, %d lost, %d sent", r.Interrupted, r.Handshakes.Count, r.Lost, r.Sent)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil || !strings.HasPrefix(text.String(), "Stopped early") || strings.Contains(text.String(), "lost") {
				t.Errorf("got %v\n%s", err, &text)
			}
		})
	}
}

// TestProgress: a watcher sees the run go by.
func TestProgress(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var last load.Progress
	var order []string
	r, err := load.Run(t.Context(), plan(func(p *load.Plan) { p.Duration = 1200 * time.Millisecond }), target{s.URL}, load.Watcher{
		Opened: func() { order = append(order, "opened") },
		Sent:   func() { order = append(order, "sent") },
		Heard:  func() { order = append(order, "heard") },
		Tick:   func(p load.Progress) { last = p },
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(order, []string{"opened", "sent", "heard"}); d != "" {
		t.Errorf("-got +want:\n%s", d)
	}
	if last.Connections != 10 || last.Sent > r.Sent || last.Deliveries > r.Deliveries || last.Failed+last.Broken+last.Refused != 0 {
		t.Errorf("got %+v", last)
	}
}

// quiet is a server that opens a connection and then does as the test says with the
// other end.
type quiet struct {
	target

	serve func(net.Conn)
}

func (q quiet) Dial(context.Context, int, int) (load.Conn, error) {
	here, there := net.Pipe()
	go q.serve(there)
	return load.Conn{Conn: here}, nil
}

// TestServerThatTakesNothing: writes that block neither hold the run up for ever nor
// keep an interrupt from ending it.
func TestServerThatTakesNothing(t *testing.T) {
	takesNothing := func(net.Conn) {}
	p := plan(func(p *load.Plan) { p.Patience = 10 * time.Second })
	t.Run("to the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			r, err := load.Run(t.Context(), p, quiet{serve: takesNothing}, load.Watcher{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := time.Since(begun), p.Duration+p.Patience; got != want {
				t.Errorf("took %v, want %v", got, want)
			}
			if d := cmp.Diff(outcomeOf(r), outcome{Opened: 10, Sent: 20, Refused: map[string]int{"not sent": 20}}); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
		})
	})
	t.Run("interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer stop()
			begun := time.Now()
			r, err := load.Run(ctx, p, quiet{serve: takesNothing}, load.Watcher{})
			if err != nil || !r.Interrupted {
				t.Fatal(r, err)
			}
			if got, want := time.Since(begun), 100*time.Millisecond; got != want {
				t.Errorf("took %v, want %v", got, want)
			}
		})
	})
}

// silent never answers a handshake.
type silent struct{ target }

func (silent) Dial(ctx context.Context, _, _ int) (load.Conn, error) {
	<-ctx.Done()
	return load.Conn{}, ctx.Err()
}

func TestHandshakeWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := load.Run(t.Context(), plan(nil), silent{}, load.Watcher{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(outcomeOf(r), outcome{Failed: map[string]int{"no answer in 30s": 10}}); d != "" {
			t.Errorf("-got +want:\n%s", d)
		}
	})
}

// TestRates: rates are over the whole duration, not to the last message.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echo := func(c net.Conn) {
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				c.Write(append([]byte{0x81, 126, byte((n - 8) >> 8), byte(n - 8)}, b[8:n]...)) // the payload of a masked frame over 125 bytes
			}
		}
		r, err := load.Run(t.Context(), plan(func(p *load.Plan) { p.Connections, p.Rate, p.Duration = 1, 2, 5*time.Second }), quiet{serve: echo}, load.Watcher{})
		if err != nil {
			t.Fatal(err)
		}
		if r.SendSeconds != 5 || r.DeliveriesPerSecond != 2 || r.Deliveries != 10 || r.Latency.Max != 0 {
			t.Errorf("got %d deliveries, %g a second, in %g s, latency %v", r.Deliveries, r.DeliveriesPerSecond, r.SendSeconds, r.Latency)
		}
	})
}

func TestPlanCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*load.Plan)
		want   string
	}{
		{"good", func(*load.Plan) {}, ""},
		{"no rate needs no senders", func(p *load.Plan) { p.Rate, p.PerSender, p.Stalled = 0, 0, 1 }, ""},
		{"no room", func(p *load.Plan) { p.Rooms = 0 }, "Rooms: must be at least 1, not 0"},
		{"fewer connections than rooms", func(p *load.Plan) { p.Rooms = 11 }, "Connections: each of 11 rooms needs one, and there are 10"},
		{"negative rate", func(p *load.Plan) { p.Rate = -1 }, "Rate: must be between 0 and 1000000 messages a second, not -1"},
		{"rate that is no number", func(p *load.Plan) { p.Rate = math.NaN() }, "Rate: must be between 0 and 1000000 messages a second, not NaN"},
		{"endless rate", func(p *load.Plan) { p.Rate = math.Inf(1) }, "Rate: must be between 0 and 1000000 messages a second, not +Inf"},
		{"senders that may not send", func(p *load.Plan) { p.PerSender = 0 }, "PerSender: must be positive, not 0"},
		{"no duration", func(p *load.Plan) { p.Duration = 0 }, "Duration: must be positive, not 0s"},
		{"negative ramp", func(p *load.Plan) { p.Ramp = -time.Second }, "Ramp: must not be negative, but is -1s"},
		{"no dialers", func(p *load.Plan) { p.Dialers = 0 }, "Dialers: must be at least 1, not 0"},
		{"no space for the mark", func(p *load.Plan) { p.Size = 35 }, "Size: a message that can be measured has at least 36 bytes, not 35"},
		{"negative share", func(p *load.Plan) { p.Stalled = -0.1 }, "Stalled: must be between 0 and 1, not -0.1"},
		{"share over 1", func(p *load.Plan) { p.Stalled = 1.1 }, "Stalled: must be between 0 and 1, not 1.1"},
		{"share that is no number", func(p *load.Plan) { p.Stalled = math.NaN() }, "Stalled: must be between 0 and 1, not NaN"},
		{"too few senders", func(p *load.Plan) { p.Rooms, p.PerSender = 9, 20 },
			"Connections: 40 messages a second need 2 connections in each room that send, at most 20 a second each, and there is 1"},
		{"too few that read", func(p *load.Plan) { p.PerSender, p.Stalled = 8, 0.6 },
			"Connections: 40 messages a second need 5 connections in each room that send, at most 8 a second each, and there are 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plan(test.change)
			err := p.Check()
			got := ""
			if err != nil {
				got = err.Error()
				if fault := new(load.PlanError); !errors.As(err, &fault) {
					t.Errorf("got %T", err)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if err != nil {
				if _, err := load.Run(t.Context(), p, target{}, load.Watcher{}); err == nil {
					t.Error("such a plan ran")
				}
			}
		})
	}
}

// TestDialKeepsWhatIsUnread: a frame that came with the handshake's answer is not lost.
func TestDialKeepsWhatIsUnread(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		var answer bytes.Buffer
		fmt.Fprintf(&answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			accept(r.Header.Get("Sec-WebSocket-Key")), r.Header.Get("Sec-WebSocket-Protocol"))
		answer.WriteString("\x81\x05early")
		conn.Write(answer.Bytes())
		io.Copy(io.Discard, conn)
	}))
	defer s.Close()
	c, err := load.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http"), "proto")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := c.Unread
	for len(got) < 7 { // it may have come apart
		b := make([]byte, 7)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
	}
	if string(got) != "\x81\x05early" {
		t.Errorf("got %q", got)
	}
}
