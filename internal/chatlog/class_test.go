package chatlog

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// classOf is how the metrics count a failure.
func classOf(t testing.TB, err error) string {
	t.Helper()
	m := newMetrics(prometheus.NewRegistry())
	m.failed("c", err)
	switch {
	case testutil.ToFloat64(m.accessDenied.WithLabelValues("c")) == 1:
		return "denied"
	case testutil.ToFloat64(m.notFound.WithLabelValues("c")) == 1:
		return "not found"
	case testutil.ToFloat64(m.otherErrors.WithLabelValues("c")) == 1:
		return "other"
	}
	return "nothing"
}

// unwantedOf parts what a sink says: how much it refuses for good, and what failed.
func unwantedOf(err error) (int, error) {
	if u, ok := errors.AsType[*unwanted](err); ok {
		return u.count, u.failed
	}
	return 0, err
}
