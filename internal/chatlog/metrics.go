package chatlog

import (
	"errors"
	"net/http"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are named after those of Amazon IVS Chat: LogDestinationAccessDeniedError,
// LogDestinationResourceNotFoundErrors, LogDestinationErrors.
type metrics struct {
	shipped, refused, unwanted          *prometheus.CounterVec
	accessDenied, notFound, otherErrors *prometheus.CounterVec

	said said
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"logging_configuration"})
		r.MustRegister(c)
		return c
	}
	return &metrics{
		shipped:      counter("parlor_log_records_total", "Chat log records that are at their destination, by the ARN of the logging configuration."),
		refused:      counter("parlor_log_records_refused_total", "Chat log records that were lost since the spool on disk was full (--chatlog-spool-limit) or could not be written, by the ARN of the logging configuration."),
		unwanted:     counter("parlor_log_records_unwanted_total", "Chat log records that were lost since the destination refused them for what they are (too old, too large), by the ARN of the logging configuration."),
		accessDenied: counter("parlor_log_destination_access_denied_total", "Tries to ship chat log records that the destination forbade, by the ARN of the logging configuration. The records stay in the spool and are tried again."),
		notFound:     counter("parlor_log_destination_not_found_total", "Tries to ship chat log records to a bucket, log group or stream that is not there, by the ARN of the logging configuration. The records stay in the spool and are tried again."),
		otherErrors:  counter("parlor_log_destination_errors_total", "Tries to ship chat log records that failed for another reason, by the ARN of the logging configuration. The records stay in the spool and are tried again."),
	}
}

// begin has all counters of a configuration be there, so that their first count is seen to
// be one.
func (m *metrics) begin(configuration string) {
	for _, c := range []*prometheus.CounterVec{m.shipped, m.refused, m.unwanted, m.accessDenied, m.notFound, m.otherErrors} {
		c.WithLabelValues(configuration)
	}
}

// failed counts a try that failed.
func (m *metrics) failed(configuration string, err error) {
	status := 0
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = e.HTTPStatusCode()
	}
	code := ""
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	switch {
	case deniedCodes[code] || status == http.StatusForbidden || status == http.StatusUnauthorized:
		m.accessDenied.WithLabelValues(configuration).Inc()
	case code == "NoSuchBucket" || code == "ResourceNotFoundException" || status == http.StatusNotFound:
		m.notFound.WithLabelValues(configuration).Inc()
	default:
		m.otherErrors.WithLabelValues(configuration).Inc()
	}
}

// deniedCodes are what the services call it, not all of them with a status that says so.
var deniedCodes = map[string]bool{
	"AccessDenied": true, "AccessDeniedException": true, "ExpiredToken": true, "ExpiredTokenException": true, "InvalidSignatureException": true,
	"InvalidToken": true, "UnrecognizedClientException": true,
}

// said remembers what the log said lately.
type said struct {
	mu   sync.Mutex
	when map[string]time.Time
}

// allow reports whether something may be said that was not said in the last minute.
func (s *said) allow(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for w, at := range s.when {
		if now.Sub(at) > time.Minute {
			delete(s.when, w)
		}
	}
	if _, recently := s.when[what]; recently {
		return false
	}
	if s.when == nil {
		s.when = map[string]time.Time{}
	}
	s.when[what] = now
	return true
}
