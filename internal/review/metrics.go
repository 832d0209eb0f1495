package review

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are named after those of Amazon IVS Chat, InvocationErrors and
// ResponseValidationErrors.
type metrics struct {
	invocationErrors *prometheus.CounterVec
	invalid          *prometheus.CounterVec
	seconds          prometheus.Histogram

	mu     sync.Mutex
	labels map[string]bool
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		invocationErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_review_invocation_errors_total",
			Help: "Messages whose review handler gave no answer, so that the room's fallback decided; by the handler's ARN (other: one of more than are told apart) and reason: timeout (none within 200 ms), refused (no connection), error (it failed, is missing, throttled or not permitted), full (too many were under way), resting (not asked: it had not answered before)."},
			[]string{"uri", "reason"}),
		invalid: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_review_response_validation_errors_total",
			Help: "Messages whose review handler gave an answer that cannot be used, so that the room's fallback decided; by the handler's ARN (other: one of more than are told apart)."}, []string{"uri"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parlor_review_seconds", Help: "Time that message review handlers took to answer. What got no answer within 200 ms is not in it, but in parlor_review_invocation_errors_total.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2}}),
		labels: map[string]bool{},
	}
	r.MustRegister(m.invocationErrors, m.invalid, m.seconds)
	return m
}

// label is what a handler's metrics are labelled with: its ARN, or for those beyond
// the first maxHandlers, which customers might make without end, one for all.
func (m *metrics) label(uri string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.labels[uri] {
		if len(m.labels) >= maxHandlers {
			return "other"
		}
		m.labels[uri] = true
	}
	return uri
}

func (m *metrics) failed(label string, f *failure) {
	if f.why == whyInvalid {
		m.invalid.WithLabelValues(label).Inc()
		return
	}
	m.invocationErrors.WithLabelValues(label, string(f.why)).Inc()
}
