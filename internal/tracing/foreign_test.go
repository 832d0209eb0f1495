package tracing

import (
	"testing"
	"time"

	"parlor/internal/tracing/tracingtest"
)

// Headers may have any bytes, OTLP's strings may not: a strict collector would refuse all
// that comes with such a one.
func TestTracestateIsText(t *testing.T) {
	for name, c := range map[string]struct{ state, want string }{
		"as it came": {"vendor=1,other=a b", "vendor=1,other=a b"},
		"not UTF-8":  {"vendor=\xff", ""},
		"not ASCII":  {"vendor=é", ""},
		"controls":   {"vendor=\t1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			collector := tracingtest.Start(t)
			tracer, _, stop := start(t, collector.URL+"/v1/traces", nil)
			request := tracer.Begin("CreateRoom", time.Now(), kept, c.state)
			request.Begin("publish").End(nil)
			request.End(nil)
			stop()
			spans := collector.Spans()
			if len(spans) != 2 {
				t.Fatalf("got %d spans, want 2", len(spans))
			}
			for _, s := range spans {
				if s.State != c.want || s.Trace != callersTrace {
					t.Errorf("got state %q of trace %s, want %q of the caller's", s.State, s.Trace, c.want)
				}
			}
		})
	}
}
