package chatlog

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parlor/internal/chat"
	"parlor/internal/chatlog/chatlogtest"
)

// shipping is a Recorder that runs, and somebody who publishes.
type shipping struct {
	t        *testing.T
	recorder *Recorder
	stop     func()

	number uint64
}

func startShipping(t *testing.T, dir string) *shipping {
	t.Helper()
	r, err := New(Config{Dir: dir, Limit: 1 << 30, Interval: 100 * time.Millisecond, S3Interval: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	s := &shipping{t: t, recorder: r}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the recorder stopped with: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// configurationOf is a logging configuration of a kind of destination.
func configurationOf(kind chat.DestinationKind) *chat.LoggingConfiguration {
	lc := &chat.LoggingConfiguration{ARN: chat.ARN{Scope: chat.Scope{Region: testRegion, Account: testAccount}, Kind: chat.KindLoggingConfiguration, ID: "Lc" + string(kind)}}
	lc.Destination.Kind, lc.Destination.Name = kind, "there"
	return lc
}

// publish publishes the next message of the room.
func (s *shipping) publish(to ...*chat.LoggingConfiguration) {
	r := message("room", int(s.number), time.Now())
	s.number++
	pub := &chat.Publication{Room: chat.ARN{Scope: chat.Scope{Region: testRegion, Account: testAccount}, Kind: chat.KindRoom, ID: "room"},
		Kind: r.kind, Frame: r.frame, Accepted: r.time()}
	mark := s.recorder.Intend(pub, to)
	pub.Position = chat.Position{Epoch: 1, Number: s.number}
	mark(true)
}

// arrived waits until all that was published is at a destination, and compares.
func (s *shipping) arrived(what string, lines func() []string) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); len(lines()) < int(s.number) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	got := numbers(s.t, lines())
	if what == "S3" {
		slices.Sort(got) // objects of one minute are in no order
	}
	if !slices.Equal(got, upTo(int(s.number))) {
		s.t.Errorf("%s: got %d records, want %d, each once and in order", what, len(got), s.number)
	}
}

// TestOutage: a destination that fails in each of the ways keeps nobody else waiting,
// and has everything in the end, in order, also over a restart meanwhile.
func TestOutage(t *testing.T) {
	for name, c := range sinkCases {
		for what, fault := range map[string]func(*chatlogtest.Endpoint) chatlogtest.Fault{
			"down":      func(*chatlogtest.Endpoint) chatlogtest.Fault { return chatlogtest.HangUp },
			"denying":   func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(403, "AccessDenied") },
			"throttled": func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(400, "ThrottlingException") },
			"gone":      nil,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				a := startAWS(t)
				e := c.endpoint(a)
				if fault != nil {
					c.create(a)
					e.Fail(fault(e))
				}
				dir := t.TempDir()
				s := startShipping(t, dir)
				to := []*chat.LoggingConfiguration{configurationOf(c.kind)}
				others := map[string]sinkCase{}
				for other, oc := range sinkCases {
					if other != name {
						oc.create(a)
						others[other] = oc
						to = append(to, configurationOf(oc.kind))
					}
				}
				for range 200 {
					s.publish(to...)
				}
				for other, oc := range others {
					s.arrived(other, func() []string { return oc.lines(t, a, "room") })
				}
				m := s.recorder.metrics
				counter := map[string]*prometheus.CounterVec{"down": m.otherErrors, "denying": m.accessDenied, "throttled": m.otherErrors, "gone": m.notFound}[what]
				counted := func() float64 { return testutil.ToFloat64(counter.WithLabelValues(to[0].ARN.String())) }
				for deadline := time.Now().Add(20 * time.Second); counted() < 1 && time.Now().Before(deadline); {
					time.Sleep(20 * time.Millisecond)
				}
				if got := counted(); got < 1 {
					t.Errorf("counted: got %v failures", got)
				}
				waiting, err := Backlogs(dir)
				if err != nil || !slices.ContainsFunc(waiting, func(b Backlog) bool { return b.Kind == string(c.kind) && b.Records == 200 }) {
					t.Errorf("waiting: got %+v, %v", waiting, err)
				}
				number := s.number
				s.stop()
				s = startShipping(t, dir)
				s.number = number
				if fault == nil {
					c.create(a)
				}
				e.Fail(nil)
				for range 100 {
					s.publish(to[0])
				}
				s.arrived(name, func() []string { return c.lines(t, a, "room") })
				s.stop()
				if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
					t.Errorf("after all is there: got %q, %v", left, err)
				}
			})
		}
	}
}

// TestFlapping: from a destination that takes every other call nothing is lost or there twice.
func TestFlapping(t *testing.T) {
	for name, c := range sinkCases {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			c.create(a)
			e := c.endpoint(a)
			var calls atomic.Int64
			e.Fail(func(w http.ResponseWriter, operation string, body []byte) bool {
				return operation != "CreateLogStream" && calls.Add(1)%2 == 1 && e.Answer(500, "InternalFailure")(w, operation, body)
			})
			s := startShipping(t, t.TempDir())
			for range 300 {
				s.publish(configurationOf(c.kind))
				time.Sleep(3 * time.Millisecond)
			}
			s.arrived(name, func() []string { return c.lines(t, a, "room") })
		})
	}
}

// TestHalfRefused: a Firehose stream that refuses half of each batch has each record once
// in the end, and order within what it took at once.
func TestHalfRefused(t *testing.T) {
	a := startAWS(t)
	a.CreateDeliveryStream("there")
	a.Firehose.Fail(a.Refusing(func(i int) bool { return i%2 == 1 }))
	s := startShipping(t, t.TempDir())
	for range 300 {
		s.publish(configurationOf(chat.DestinationFirehose))
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(a.Records("there")) < 300 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	got := numbers(t, delivered(t, a, "there"))
	falls := 0
	for i := 1; i < len(got); i++ {
		if got[i] < got[i-1] {
			falls++
		}
	}
	if calls := a.Firehose.Calls("PutRecordBatch"); falls >= calls {
		t.Errorf("got out of order %d times in %d calls", falls, calls)
	}
	if slices.Sort(got); !slices.Equal(got, upTo(300)) {
		t.Errorf("got %d records, want each of 300 once", len(got))
	}
}
