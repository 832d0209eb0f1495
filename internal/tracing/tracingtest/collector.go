// Package tracingtest is an OpenTelemetry collector for tests: it takes OTLP over HTTP and
// decodes it as a real one does, by the official messages.
package tracingtest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Patience is how long a test waits for spans.
const Patience = 30 * time.Second

// Span is a span as the collector got it.
type Span struct {
	Trace, ID, Parent string // in hexadecimal; "" is no parent
	State             string
	Name              string
	Server            bool // its kind
	Begun, Ended      time.Time
	Attributes        map[string]any
	Fault             bool
	Flags             uint32
	Resource          map[string]any
}

// Collector is a collector that runs until its test ends.
type Collector struct {
	// URL is what OTEL_EXPORTER_OTLP_ENDPOINT names.
	URL string
	// Answer, unless nil, answers a post instead of taking it. It reports whether it did.
	// It is set before the first post.
	Answer func(w http.ResponseWriter, r *http.Request) bool
	// Reject has as many spans of each post be refused.
	Reject int64

	mu      sync.Mutex
	spans   []Span
	raw     []byte
	headers http.Header
	posts   int
	changed chan struct{}
}

// Start starts a collector.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{changed: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.post()
		if c.Answer != nil && c.Answer(w, r) {
			return
		}
		answer, err := c.take(r)
		if err != nil {
			t.Errorf("the collector cannot read a post: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.Write(answer)
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *Collector) post() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts++
}

// Posts is how often something was posted.
func (c *Collector) Posts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

// Raw is all that was taken, as it was sent.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

// Headers are those of the last post that was taken.
func (c *Collector) Headers() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers
}

func (c *Collector) take(r *http.Request) (answer []byte, err error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(text, &request); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw, c.headers = append(c.raw, text...), r.Header.Clone()
	for _, from := range request.ResourceSpans {
		for _, scope := range from.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{
					Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					State: s.TraceState, Name: s.Name, Server: s.Kind == trace.Span_SPAN_KIND_SERVER,
					Begun: time.Unix(0, int64(s.StartTimeUnixNano)), Ended: time.Unix(0, int64(s.EndTimeUnixNano)),
					Attributes: values(s.Attributes), Fault: s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR, Flags: s.Flags,
					Resource: values(from.Resource.GetAttributes()),
				})
			}
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
	var response collector.ExportTraceServiceResponse
	if c.Reject > 0 {
		response.PartialSuccess = &collector.ExportTracePartialSuccess{RejectedSpans: c.Reject, ErrorMessage: "too many"}
	}
	return proto.Marshal(&response)
}

func values(list []*common.KeyValue) map[string]any {
	found := map[string]any{}
	for _, kv := range list {
		switch v := kv.Value.GetValue().(type) {
		case *common.AnyValue_StringValue:
			found[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			found[kv.Key] = v.IntValue
		case *common.AnyValue_DoubleValue:
			found[kv.Key] = v.DoubleValue
		case *common.AnyValue_BoolValue:
			found[kv.Key] = v.BoolValue
		default:
			found[kv.Key] = nil
		}
	}
	return found
}

// Spans are those that were taken.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Await returns the spans when enough says that they are, and fails the test when that
// takes too long.
func (c *Collector) Await(t testing.TB, enough func([]Span) bool) []Span {
	t.Helper()
	deadline := time.After(Patience)
	for {
		c.mu.Lock()
		changed := c.changed
		spans := append([]Span(nil), c.spans...)
		c.mu.Unlock()
		if enough(spans) {
			return spans
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the collector got only %+v", spans)
		}
	}
}

// Named returns the spans of a name.
func Named(spans []Span, name string) []Span {
	var found []Span
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}
