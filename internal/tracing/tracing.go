// Package tracing keeps the times of requests and of their steps, and takes them to an
// OpenTelemetry collector by OTLP over HTTP. It implements [chat.Tracer].
//
// Invariants:
//
//   - Nobody who is timed waits: a span that ended goes into a bounded queue, and what
//     finds that full is dropped and counted.
//   - A collector that is away, slow or refuses costs spans and nothing else. It is said
//     in the log when that begins and when it is over, and counted.
//   - Of errors only the code is kept. Attributes are what callers give, who give neither
//     content nor ids of users nor secrets.
//
// The SDK of OpenTelemetry is not in it: it would add more to the binary than what is
// here, and read its settings from the environment by itself.
package tracing

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// Config is what a Tracer works with.
type Config struct {
	// URL is where spans are posted to. Without one they go to the log.
	URL     string
	Headers map[string]string // of those posts; secrets may be among them
	Timeout time.Duration     // of one post
	Gzip    bool
	TLS     *tls.Config // nil: as the system has it

	Sampler Sampler
	// Resource are the attributes of all that is kept: what it is kept of.
	Resource []slog.Attr
	Version  string // of this program

	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Sampler says of which requests something is kept. The zero Sampler keeps up to
// [PerSecond] a second of each operation and action, and what callers say they keep.
type Sampler struct {
	// Rule is what of requests without a caller's trace is kept, or of all where Parents
	// is not set.
	Rule Rule
	// Ratio is what part of all a RuleRatio keeps, from 0 to 1.
	Ratio float64
	// Parents has the caller's decision hold where there is one. It does under RuleRate.
	Parents bool
}

// Rule is a way to choose.
type Rule uint8

const (
	RuleRate Rule = iota // so many a second
	RuleAll
	RuleNone
	RuleRatio // so many of all
)

// PerSecond is how many requests of one kind are kept each second unless a Sampler says
// otherwise: all of them while somebody tries things out, few where there are many.
const PerSecond = 10

// maxQueue bounds the spans that wait: some hundred bytes each.
const maxQueue = 4096

// Tracer implements [chat.Tracer]. It is safe for concurrent use.
type Tracer struct {
	config Config
	queue  chan *span
	client *http.Client
	spans  *prometheus.CounterVec

	mu    sync.Mutex
	rates chat.Rates[string]

	// Owned by Run.
	failing bool
	said    time.Time // when the log last said that it fails
}

// New returns a Tracer whose spans go out while Run does.
func New(c Config) *Tracer {
	t := &Tracer{
		config: c,
		queue:  make(chan *span, maxQueue),
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_trace_spans_total",
			Help: "Spans of traces that ended, by outcome: delivered, failed (the collector did not take them) or overflow (too many were waiting).",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{delivered, failed, overflow} {
		t.spans.WithLabelValues(outcome) // to be there from the start
	}
	c.Metrics.MustRegister(t.spans)
	if c.URL != "" {
		t.client = &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the headers are for one host
		}
	}
	return t
}

// Outcomes of a span.
const (
	delivered = "delivered"
	failed    = "failed"
	overflow  = "overflow"
)

// span implements [chat.Span].
type span struct {
	tracer *Tracer
	trace  [16]byte
	id     [8]byte
	parent [8]byte // zero: none
	state  string  // the caller's tracestate, handed on as it is
	remote bool    // the parent is a caller's
	root   bool    // it is a request, not a step of one

	name       string
	begun      time.Time
	took       time.Duration
	attributes []slog.Attr
	fault      bool // it failed, and that was ours
}

// maxState bounds a caller's tracestate, which is handed on with each span. What is not
// ASCII is none: it may not be UTF-8, which would spoil the spans of others beside it.
//
// https://www.w3.org/TR/trace-context/#value
const maxState = 512

// Begin implements [chat.Tracer].
func (t *Tracer) Begin(name string, at time.Time, traceparent, tracestate string) chat.Span {
	s := span{tracer: t, name: name, begun: at, root: true}
	sampled, joined := s.join(traceparent)
	if !joined {
		binary.BigEndian.PutUint64(s.trace[:8], rand.Uint64())
		binary.BigEndian.PutUint64(s.trace[8:], 1+rand.Uint64N(1<<64-1))
	} else if len(tracestate) <= maxState && !strings.ContainsFunc(tracestate, func(r rune) bool { return r < ' ' || r > '~' }) {
		s.state = tracestate
	}
	if !joined || !t.config.Sampler.Parents && t.config.Sampler.Rule != RuleRate {
		sampled = t.keeps(&s)
	}
	if !sampled {
		return nil
	}
	s.id = newID()
	kept := s // what is not kept stays on the stack
	return &kept
}

// newID returns a span's id, which is not zero.
func newID() (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], 1+rand.Uint64N(1<<64-1))
	return id
}

// keeps reports whether a request is kept that nobody else decided on.
func (t *Tracer) keeps(s *span) bool {
	switch t.config.Sampler.Rule {
	case RuleAll:
		return true
	case RuleNone:
		return false
	case RuleRatio:
		// As OpenTelemetry does it: one trace id is kept by all, or by none.
		return t.config.Sampler.Ratio >= 1 || float64(binary.BigEndian.Uint64(s.trace[8:])>>1) < t.config.Sampler.Ratio*(1<<63)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rates.Allow(s.name, time.Now(), PerSecond)
}

// join makes the span a part of a caller's trace. It reports whether there is one, and
// whether the caller keeps it.
//
// https://www.w3.org/TR/trace-context/#traceparent-header
func (s *span) join(traceparent string) (sampled, ok bool) {
	// version 2 - trace 32 - parent 16 - flags 2; a later version may have more after that.
	const size = 55
	h := traceparent
	if len(h) < size || h[2] != '-' || h[35] != '-' || h[52] != '-' || h[:2] == "ff" ||
		len(h) > size && (h[:2] == "00" || h[size] != '-') || strings.ContainsFunc(h[:size], func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
		return false, false
	}
	var version, flags [1]byte
	var trace [16]byte
	var parent [8]byte
	for _, part := range []struct {
		into []byte
		from string
	}{{version[:], h[:2]}, {trace[:], h[3:35]}, {parent[:], h[36:52]}, {flags[:], h[53:55]}} {
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return false, false
		}
	}
	if trace == [16]byte{} || parent == [8]byte{} {
		return false, false
	}
	s.trace, s.parent, s.remote = trace, parent, true
	return flags[0]&1 != 0, true
}

// Begin implements [chat.Span].
func (s *span) Begin(step string) chat.Span {
	return &span{tracer: s.tracer, trace: s.trace, parent: s.id, id: newID(), state: s.state, name: step, begun: time.Now()}
}

// Traceparent implements [chat.Span].
func (s *span) Traceparent() string { return "00-" + hexOf(s.trace[:]) + "-" + hexOf(s.id[:]) + "-01" }

// End implements [chat.Span].
func (s *span) End(err error, attributes ...slog.Attr) {
	s.took = time.Since(s.begun)
	s.attributes = attributes
	if err != nil {
		code := chat.AsError(err).Code
		s.fault = code == chat.Internal
		if !slices.ContainsFunc(attributes, func(a slog.Attr) bool { return a.Key == errorType }) {
			s.attributes = append(slices.Clip(attributes), slog.String(errorType, codeNames[code]))
		}
	}
	select {
	case s.tracer.queue <- s:
	default:
		s.tracer.spans.WithLabelValues(overflow).Inc()
	}
}

// errorType is the attribute that says what kind of error there was.
const errorType = "error.type"

var codeNames = map[chat.Code]string{
	chat.Internal: "Internal", chat.BadRequest: "BadRequest", chat.Unauthorized: "Unauthorized", chat.Forbidden: "Forbidden",
	chat.NotFound: "NotFound", chat.NotAcceptable: "NotAcceptable", chat.Conflict: "Conflict", chat.TooLarge: "TooLarge",
	chat.TooManyRequests: "TooManyRequests", chat.QuotaExceeded: "QuotaExceeded",
}
