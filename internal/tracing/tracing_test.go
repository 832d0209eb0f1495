package tracing

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parlor/internal/chat"
	"parlor/internal/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	kept         = "00-" + callersTrace + "-" + callersSpan + "-01"
	notKept      = "00-" + callersTrace + "-" + callersSpan + "-00"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a tracer that tells a collector; stop ends it.
func start(t testing.TB, url string, change func(*Config)) (tracer *Tracer, log *lines, stop func()) {
	t.Helper()
	log = &lines{}
	c := Config{
		URL: url, Timeout: 10 * time.Second, Version: "1.2.3",
		Sampler:  Sampler{Rule: RuleAll, Parents: true},
		Resource: []slog.Attr{slog.String("service.name", "parlor")},
		Logger:   slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&c)
	}
	tracer = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tracer.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return tracer, log, stop
}

func (t *Tracer) count(outcome string) float64 {
	return testutil.ToFloat64(t.spans.WithLabelValues(outcome))
}

// eventually waits for something.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(tracingtest.Patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it did not come to that", what)
		}
	}
}

func TestSpansArriveWhole(t *testing.T) {
	collector := tracingtest.Start(t)
	tracer, _, stop := start(t, collector.URL+"/v1/traces", func(c *Config) {
		c.Gzip = true
		c.Headers = map[string]string{"Authorization": "Bearer of a secret"}
	})
	begun := time.Now().Add(-time.Second)
	request := tracer.Begin("CreateRoom", begun, kept, "vendor=1")
	step := request.Begin("publish")
	step.End(&chat.Error{Code: chat.TooManyRequests, Message: "a text that is not kept"})
	request.End(errors.New("a cause that is not kept"),
		slog.String("text", ""), slog.Int("number", -3), slog.Bool("yes", true), slog.Float64("part", 0.5))
	stop()
	spans := collector.Spans()
	if len(spans) != 2 {
		t.Fatalf("got %d spans, want 2: %+v", len(spans), spans)
	}
	publish, api := spans[0], spans[1]
	for name, ok := range map[string]bool{
		"the request is in the caller's trace": api.Trace == callersTrace && api.Parent == callersSpan && api.State == "vendor=1",
		"it is a server's":                     api.Server && api.Name == "CreateRoom",
		"it began when the request came":       api.Begun.Equal(time.Unix(0, begun.UnixNano())),
		"it took as long as it did":            api.Ended.Sub(api.Begun) >= time.Second && api.Ended.Sub(api.Begun) < time.Minute,
		"its failure is a fault":               api.Fault && api.Attributes["error.type"] == "Internal",
		"its attributes have their types":      api.Attributes["text"] == "" && api.Attributes["number"] == int64(-3) && api.Attributes["yes"] == true && api.Attributes["part"] == 0.5,
		"its parent is remote":                 api.Flags == flagSampled|flagKnown|flagRemote,
		"the step is one of the request":       publish.Trace == api.Trace && publish.Parent == api.ID && !publish.Server && publish.State == "vendor=1",
		"its parent is not remote":             publish.Flags == flagSampled|flagKnown,
		"its failure is none of ours":          !publish.Fault && cmp.Equal(publish.Attributes, map[string]any{"error.type": "TooManyRequests"}),
		"the resource is named":                api.Resource["service.name"] == "parlor",
		"ids differ":                           api.ID != publish.ID && len(api.ID) == 16,
		"the headers come with it":             collector.Headers().Get("Authorization") == "Bearer of a secret",
		"the program says what it is":          collector.Headers().Get("User-Agent") == "parlor/1.2.3",
		"no error's text is kept":              !strings.Contains(collector.Raw(), "not kept"),
		"what was delivered is counted":        tracer.count(delivered) == 2,
		"nothing else is":                      tracer.count(failed)+tracer.count(overflow) == 0,
	} {
		if !ok {
			t.Errorf("%s: not so in %+v", name, spans)
		}
	}
}

func TestTraceparent(t *testing.T) {
	for name, test := range map[string]struct {
		header  string
		joins   bool
		sampled bool
	}{
		"kept":                       {kept, true, true},
		"not kept":                   {notKept, true, false},
		"other flags":                {"00-" + callersTrace + "-" + callersSpan + "-fe", true, false},
		"a later version":            {"cc-" + callersTrace + "-" + callersSpan + "-01-what-comes", true, true},
		"none":                       {"", false, false},
		"more after version 0":       {kept + "-more", false, false},
		"a later version, run on":    {"cc-" + callersTrace + "-" + callersSpan + "-01.more", false, false},
		"the version that is none":   {"ff-" + callersTrace + "-" + callersSpan + "-01", false, false},
		"no trace":                   {"00-00000000000000000000000000000000-" + callersSpan + "-01", false, false},
		"no span":                    {"00-" + callersTrace + "-0000000000000000-01", false, false},
		"upper case":                 {strings.ToUpper(kept), false, false},
		"not hexadecimal":            {"00-" + strings.Replace(callersTrace, "4", "g", 1) + "-" + callersSpan + "-01", false, false},
		"flags that are not":         {"00-" + callersTrace + "-" + callersSpan + "-0x", false, false},
		"too short":                  {kept[:54], false, false},
		"without dashes":             {strings.ReplaceAll(kept, "-", "0"), false, false},
		"a version that is not read": {"0g" + kept[2:], false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s span
			sampled, joins := s.join(test.header)
			if joins != test.joins || sampled != test.sampled {
				t.Errorf("got %t, sampled %t, want %t, %t", joins, sampled, test.joins, test.sampled)
			}
			if joined := s.trace != [16]byte{} || s.remote; joined != test.joins {
				t.Errorf("the trace is %x, remote %t", s.trace, s.remote)
			}
		})
	}
}

func TestSampler(t *testing.T) {
	for name, test := range map[string]struct {
		sampler                Sampler
		kept, notKept, parents float64 // what part is kept of those with a caller that keeps, that does not, and without
	}{
		"all":               {Sampler{Rule: RuleAll}, 1, 1, 1},
		"none":              {Sampler{Rule: RuleNone}, 0, 0, 0},
		"all, or parents":   {Sampler{Rule: RuleAll, Parents: true}, 1, 0, 1},
		"none, or parents":  {Sampler{Rule: RuleNone, Parents: true}, 1, 0, 0},
		"ratio, or parents": {Sampler{Rule: RuleRatio, Ratio: 0.25, Parents: true}, 1, 0, 0.25},
		"ratio 1":           {Sampler{Rule: RuleRatio, Ratio: 1}, 1, 1, 1},
		"ratio 0":           {Sampler{Rule: RuleRatio}, 0, 0, 0},
		"rate":              {Sampler{}, 1, 0, 0.005},
	} {
		t.Run(name, func(t *testing.T) {
			tracer := New(Config{Sampler: test.sampler, Metrics: prometheus.NewRegistry()})
			part := func(traceparent string) float64 {
				n := 0
				for range 4000 {
					if tracer.Begin("GetRoom", time.Now(), traceparent, "") != nil {
						n++
					}
				}
				return float64(n) / 4000
			}
			for _, f := range []struct {
				of        string
				got, want float64
			}{{"kept", part(kept), test.kept}, {"not kept", part(notKept), test.notKept}, {"alone", part(""), test.parents}} {
				if f.got < f.want-0.05 || f.got > f.want+0.05 || f.got == 0 && f.want > 0 {
					t.Errorf("%s: got %v of them, want %v", f.of, f.got, f.want)
				}
			}
		})
	}
}

// TestRateIsEachKinds has many requests of one kind leave those of another their share.
func TestRateIsEachKinds(t *testing.T) {
	tracer := New(Config{Metrics: prometheus.NewRegistry()})
	for range 100 * PerSecond {
		tracer.Begin("SEND_MESSAGE", time.Now(), "", "")
	}
	if tracer.Begin("GetRoom", time.Now(), "", "") == nil {
		t.Error("a request of another kind is not kept")
	}
}

func TestNotKeptCostsNothing(t *testing.T) {
	tracer := New(Config{Sampler: Sampler{Rule: RuleNone}, Metrics: prometheus.NewRegistry()})
	now := time.Now()
	if got := testing.AllocsPerRun(100, func() { tracer.Begin("SEND_MESSAGE", now, "", "") }); got > 0 {
		t.Errorf("got %v allocations", got)
	}
}

// TestDeadCollector has nobody wait for a collector that is away: what ends is counted,
// and said once.
func TestDeadCollector(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	tracer, log, stop := start(t, "http://"+address, nil)
	begun := time.Now()
	for range 3 * maxQueue {
		tracer.Begin("SEND_MESSAGE", begun, "", "").End(nil)
	}
	if took := time.Since(begun); took > 10*time.Second { // the race detector's time
		t.Errorf("it took %v", took)
	}
	eventually(t, "said", func() bool { return strings.Contains(log.String(), "traces are not delivered") })
	stop()
	if got := tracer.count(failed) + tracer.count(overflow); got != 3*maxQueue {
		t.Errorf("got %v spans counted, want %v", got, 3*maxQueue)
	}
	if tracer.count(overflow) == 0 {
		t.Error("nothing overflowed")
	}
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("got %d lines of log, want 1:\n%s", got, log)
	}
}

// TestSlowCollector has a stop take no longer than it may, whatever the collector does.
func TestSlowCollector(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	collector := tracingtest.Start(t)
	collector.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		select {
		case <-over:
		case <-r.Context().Done():
		case <-time.After(tracingtest.Patience):
		}
		return true
	}
	tracer, _, stop := start(t, collector.URL, nil)
	for range maxBatch + 1 {
		tracer.Begin("SEND_MESSAGE", time.Now(), "", "").End(nil)
	}
	eventually(t, "posted", func() bool { return collector.Posts() > 0 })
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > flushTime+5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if got := tracer.count(failed); got != maxBatch+1 {
		t.Errorf("got %v spans failed, want %v", got, maxBatch+1)
	}
}

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answers           []int // then they are taken
		retryAfter        string
		reject            int64
		delivered, failed float64
		posts             int
		atLeast           time.Duration
		says              string
	}{
		"too many, and when to come back": {answers: []int{429}, retryAfter: "2", delivered: 1, posts: 2, atLeast: 2 * time.Second, says: "status 429"},
		"away for a moment":               {answers: []int{503, 502}, delivered: 1, posts: 3, atLeast: firstPause / 2, says: "status 503"},
		"an error":                        {answers: []int{500}, failed: 1, posts: 1, says: "status 500"},
		"not understood":                  {answers: []int{400}, failed: 1, posts: 1, says: "status 400"},
		"sent elsewhere":                  {answers: []int{307}, failed: 1, posts: 1, says: "status 307"},
		"some refused":                    {reject: 1, failed: 1, posts: 1, says: "refused some"},
		"more refused than there were":    {reject: 7, failed: 1, posts: 1, says: "refused some"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := tracingtest.Start(t)
			collector.Reject = test.reject
			collector.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
				if n := collector.Posts(); n <= len(test.answers) {
					if test.retryAfter != "" {
						w.Header().Set("Retry-After", test.retryAfter)
					}
					w.Header().Set("Location", collector.URL+"/elsewhere")
					w.WriteHeader(test.answers[n-1])
					return true
				}
				return false
			}
			tracer, log, _ := start(t, collector.URL, nil)
			begun := time.Now()
			tracer.Begin("SEND_MESSAGE", begun, "", "").End(nil)
			eventually(t, "over", func() bool { return tracer.count(delivered)+tracer.count(failed) == 1 })
			if took := time.Since(begun); took < test.atLeast {
				t.Errorf("it took %v, want %v at least", took, test.atLeast)
			}
			if d, f := tracer.count(delivered), tracer.count(failed); d != test.delivered || f != test.failed {
				t.Errorf("got %v delivered and %v failed, want %v and %v", d, f, test.delivered, test.failed)
			}
			if got := collector.Posts(); got != test.posts {
				t.Errorf("got %d posts, want %d", got, test.posts)
			}
			if !strings.Contains(log.String(), test.says) {
				t.Errorf("the log does not say %q:\n%s", test.says, log)
			}
			if recovered := strings.Contains(log.String(), "again"); test.delivered > 0 {
				eventually(t, "said to be over", func() bool { return strings.Contains(log.String(), "again") })
			} else if recovered {
				t.Errorf("it is said to be over:\n%s", log)
			}
		})
	}
}

// TestLog has spans go to the log, where there is no collector.
func TestLog(t *testing.T) {
	tracer, log, stop := start(t, "", nil)
	request := tracer.Begin("GetRoom", time.Now(), kept, "")
	request.End(nil, slog.Int("http.response.status_code", 200))
	stop()
	for _, want := range []string{"name=GetRoom", "trace_id=" + callersTrace, "parent_id=" + callersSpan, "attributes.http.response.status_code=200"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("there is no %q in %s", want, log)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "100000": maxPause, "900": maxPause, "-5": 0, "soon": 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):  maxPause,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// FuzzAnswer has answers of any kind be read to some end.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x07})
	f.Add([]byte{0xff})
	f.Add([]byte{0x0d, 1, 2})
	f.Fuzz(func(t *testing.T, answer []byte) { rejected(answer) })
}

// TestCodesHaveNames has none of chat's codes be kept as nothing.
func TestCodesHaveNames(t *testing.T) {
	names := slices.Sorted(maps.Values(codeNames))
	if len(slices.Compact(names)) != int(chat.QuotaExceeded)+1 || slices.Contains(names, "") {
		t.Errorf("got %q", names)
	}
}
