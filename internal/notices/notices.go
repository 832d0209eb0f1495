// Package notices takes what was done and what happened to those who run the server:
// into an audit log, and to webhooks.
//
// Invariants:
//
//   - When [Notices.Notice] returns, what it was given is with the operating system: a
//     killed process loses nothing that it answered for. It waits for no endpoint.
//   - An endpoint gets what it asked for at least once, from one node in the order it
//     happened, by signed requests, until it takes them or [patience] is over.
//   - What cannot be kept is counted and said in the log, never silently left out; the
//     server goes on.
//   - Content, attributes, reasons, tokens and secrets are in no notice.
//
// The package does not decide what is worth a notice; who makes them does.
package notices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// Config is what Notices work with.
type Config struct {
	AuditLog string // file; "" is none
	Webhooks []string
	Groups   []string // of [chat.NoticeGroups], that webhooks get; none is all
	Secret   []byte   // signs webhook requests
	Dir      string   // of what waits for webhooks
	Node     string   // names this node in what it sends
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Notices are taken by many goroutines at once.
type Notices struct {
	audit  *auditLog // nil: none
	hooks  []*hook
	groups []string
	node   string
}

// New opens the audit log and the queues. Run must follow, also to close them.
func New(c Config) (*Notices, error) {
	n := &Notices{groups: c.Groups, node: c.Node}
	metrics := newMetrics(c.Metrics)
	if c.AuditLog != "" {
		audit, err := openAudit(c.AuditLog, c.Logger, metrics)
		if err != nil {
			return nil, err
		}
		n.audit = audit
	}
	for _, url := range c.Webhooks {
		sum := sha256.Sum256([]byte(url))
		h := &hook{url: url, secret: c.Secret, logger: c.Logger, metrics: metrics}
		var err error
		if h.queue, err = openQueue(filepath.Join(c.Dir, hex.EncodeToString(sum[:8])), metrics); err != nil {
			n.close()
			return nil, fmt.Errorf("open the queue of a webhook: %w", err)
		}
		n.hooks = append(n.hooks, h)
	}
	return n, nil
}

// Any reports whether anybody wants notices at all.
func (n *Notices) Any() bool { return n.audit != nil || len(n.hooks) > 0 }

// Sessions reports whether anybody wants to know of sessions.
func (n *Notices) Sessions() bool { return len(n.hooks) > 0 && n.sends(groupSession) }

func (n *Notices) sends(group string) bool {
	return group != "" && (len(n.groups) == 0 || slices.Contains(n.groups, group))
}

// Notice takes note. It writes to files, and waits for nothing else.
func (n *Notices) Notice(notice chat.Notice) {
	if n.audit != nil && !ofSession(notice.Action) {
		n.audit.write(&notice)
	}
	kind := kindOf(&notice)
	if kind == "" || len(n.hooks) == 0 || !n.sends(groupOf(kind)) {
		return
	}
	line, err := json.Marshal(eventOf(kind, n.node, &notice))
	if err != nil {
		panic("notices: encode an event: " + err.Error()) // strings always can be
	}
	for _, h := range n.hooks {
		h.take(line)
	}
}

// Run delivers to webhooks until ctx ends; what waits then is tried once more, for
// [stopGrace] at most, and stays for the next start.
func (n *Notices) Run(ctx context.Context) error {
	var hooks sync.WaitGroup
	for _, h := range n.hooks {
		hooks.Go(func() { h.run(ctx) })
	}
	hooks.Wait()
	<-ctx.Done()
	return n.close()
}

func (n *Notices) close() error {
	var all []error
	if n.audit != nil {
		all = append(all, n.audit.close())
	}
	for _, h := range n.hooks {
		all = append(all, h.queue.close())
	}
	return errors.Join(all...)
}

type metrics struct {
	audited, unaudited prometheus.Counter
	delivered, lost    prometheus.Counter
	tries              *prometheus.CounterVec
	waiting            prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		audited:   counter("parlor_audit_records_total", "Records written to the audit log of --audit-log."),
		unaudited: counter("parlor_audit_records_lost_total", "Records that could not be written to the audit log."),
		delivered: counter("parlor_webhook_events_total", "Events that a webhook of --webhook took: it answered with 2xx."),
		lost:      counter("parlor_webhook_events_lost_total", "Events that a webhook will not get: its queue was full or could not be written, or it did not take them for three days."),
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_webhook_requests_total", Help: "Requests to webhooks of --webhook, by the HTTP status of the answer as code; 0: there was none."}, []string{"code"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parlor_webhook_queue_bytes", Help: "Size of the events on disk that wait for webhooks. At 256 MB for a webhook its new events are lost."}),
	}
	r.MustRegister(m.tries, m.waiting)
	return m
}

// saying is something that is worth a line in the log once a minute at most.
type saying struct {
	mu   sync.Mutex
	last time.Time
}

func (s *saying) now() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) >= time.Minute {
		s.last = now
		return true
	}
	return false
}
