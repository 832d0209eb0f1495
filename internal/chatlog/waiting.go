package chatlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	backlogBytesDesc = prometheus.NewDesc("parlor_log_backlog_bytes",
		"Size of the spool files that keep chat log records until they are shipped, by the ARN of the logging configuration. A file of up to 8 MB goes when everything in it is shipped. A destination's spool that has reached --chatlog-spool-limit takes no more.",
		[]string{"logging_configuration"}, nil)
	backlogAgeDesc = prometheus.NewDesc("parlor_log_backlog_age_seconds",
		"Age of the oldest chat log record that waits for its destination, by the ARN of the logging configuration; 0 while none waits. As much as --chatlog-interval, or --chatlog-s3-interval for S3, is usual.",
		[]string{"logging_configuration"}, nil)
)

// waiting measures what waits in the spools. It looks at what the shippers noted, not at
// the disk, and waits for none of them.
type waiting struct{ recorder *Recorder }

// Describe implements prometheus.Collector.
func (w *waiting) Describe(ch chan<- *prometheus.Desc) {
	ch <- backlogBytesDesc
	ch <- backlogAgeDesc
}

// Collect implements prometheus.Collector. A configuration has a spool of its own for
// each destination that it had, and those that were adopted.
func (w *waiting) Collect(ch chan<- prometheus.Metric) {
	type backlog struct {
		bytes, oldest int64
	}
	all := map[string]backlog{}
	add := func(s *shipper) {
		b := all[s.to.Configuration]
		b.bytes += s.spool.bytes()
		if at := s.oldest.Load(); at != 0 && (b.oldest == 0 || at < b.oldest) {
			b.oldest = at
		}
		all[s.to.Configuration] = b
	}
	w.recorder.mu.RLock()
	for _, s := range w.recorder.shippers {
		add(s)
	}
	for s := range w.recorder.adopters {
		add(s)
	}
	w.recorder.mu.RUnlock()
	for configuration, b := range all {
		age := time.Duration(0)
		if b.oldest != 0 {
			age = max(0, time.Since(time.Unix(0, b.oldest)))
		}
		ch <- prometheus.MustNewConstMetric(backlogBytesDesc, prometheus.GaugeValue, float64(b.bytes), configuration)
		ch <- prometheus.MustNewConstMetric(backlogAgeDesc, prometheus.GaugeValue, age.Seconds(), configuration)
	}
}
