package gateway

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// metrics is what the gateway counts. Nothing is labelled by room or user.
type metrics struct {
	connections    prometheus.Gauge
	handshakes     *prometheus.CounterVec
	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	errors         *prometheus.CounterVec
	ended          *prometheus.CounterVec
	missed         prometheus.Counter

	deliveries tally // by whoever has no writer: sessions' own goroutines, replies
}

// newMetrics registers the metrics. The tallies are those of the writers.
func newMetrics(r prometheus.Registerer, tallies []*tally) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parlor_connections", Help: "Chat sessions that are open on this node: WebSocket connections whose handshake was accepted."}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_handshakes_total", Help: "WebSocket handshakes, by the HTTP status they were answered with: 101 (accepted), 400, 401, 403, 404, 426 (refused for what they are), 429 (too many connections or handshakes from an address, or more than a quota), 500 (the connection could not be taken over), 503 (the broker or the store was away, or the node drains)."}, []string{"code"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_requests_total", Help: "Requests of clients over WebSockets, by action: SEND_MESSAGE, DELETE_MESSAGE, DISCONNECT_USER, or UNKNOWN for one that was not understood."}, []string{"action"}),
		requestSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parlor_request_seconds", Help: "Time from receiving a request over a WebSocket to having published or refused it, with the message review if there was one, by action (as for parlor_requests_total).",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 8)}, []string{"action"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_errors_total", Help: "Requests over WebSockets that were answered with an ERROR frame, by its ErrorCode: 400, 401, 403, 404, 406 (denied by the review handler), 409, 413, 429 (too many messages), 500 (the broker or the store failed)."}, []string{"code"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_sessions_ended_total",
			Help: "Sessions that ended, by cause: client (it closed or went away), expired (its time was over), disconnected (DisconnectUser), room_deleted (DeleteRoom), banned (BanUser), too_many (newer connections of its user are as many as the room allows), drain (sent away, to connect elsewhere), shutdown (still there when the server stopped), protocol (it broke RFC 6455), flood (more pings, fragments or refused requests than are borne); dropped for not reading: slow (1 MB behind its room), unread (its errors and pongs piled up), silent (two pings unanswered), stuck (it did not read its last words)."}, []string{"cause"}),
	}
	m.missed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "parlor_publications_missed_total", Help: "Messages and events that never came to this node, so that its sessions did not see them; their numbers in the room were skipped."})
	r.MustRegister(m.connections, m.handshakes, m.requests, m.requestSeconds, m.errors, m.ended, m.missed, &deliveries{append(tallies, &m.deliveries)})
	return m
}

func (m *metrics) handshook(status int) {
	m.handshakes.WithLabelValues(strconv.Itoa(status)).Inc()
}

// acted counts a request; the action of one that was not understood is empty.
func (m *metrics) acted(action string, took time.Duration) {
	if action == "" {
		action = "UNKNOWN"
	}
	m.requests.WithLabelValues(action).Inc()
	m.requestSeconds.WithLabelValues(action).Observe(took.Seconds())
}

func (m *metrics) failed(code int) {
	m.errors.WithLabelValues(strconv.Itoa(code)).Inc()
}

// tally counts frames written to sockets. It is hit once for every delivery, so it is a
// few plain atomics, turned into metrics when they are asked for. Each worker has its
// own: two processors that write to one would wait for each other every time.
type tally struct {
	byKind  [kindPast + 1]atomic.Uint64
	buckets [latencyBuckets]atomic.Uint64 // not cumulative
	sum     atomic.Int64                  // nanoseconds
}

// Latencies fall into buckets of powers of two, from 64 µs to 33 s; what is over is
// in the last.
const (
	latencyShift   = 16 // 2^16 ns is 65.5 µs
	latencyBuckets = 21
)

func (t *tally) count(kind chat.PublicationKind, latency time.Duration) {
	latency = max(latency, 0)
	if int(kind) >= len(t.byKind) { // of a later version
		kind = chat.PublishEvent
	}
	t.byKind[kind].Add(1)
	if kind == kindPast {
		return // it was late on purpose
	}
	t.buckets[min(bits.Len64(uint64(latency)>>latencyShift), latencyBuckets-1)].Add(1)
	t.sum.Add(int64(latency))
}

var (
	deliveriesDesc = prometheus.NewDesc("parlor_deliveries_total",
		"Messages and events written to clients' sockets, one for each client, by the action that made them: SEND_MESSAGE, SEND_EVENT (of the API), DELETE_MESSAGE, DISCONNECT_USER, HISTORY (what was said before a session came, where the room has parlor:history).", []string{"action"}, nil)
	deliverySecondsDesc = prometheus.NewDesc("parlor_delivery_seconds",
		"Time from accepting a message or event, on any node, to having written it to a client's socket, for each client. Where several nodes are, their clocks are part of it.", nil, nil)

	deliveryActions = map[chat.PublicationKind]string{
		chat.PublishMessage:    chat.ActionSendMessage,
		chat.PublishEvent:      "SEND_EVENT",
		chat.PublishDelete:     chat.ActionDeleteMessage,
		chat.PublishDisconnect: chat.ActionDisconnectUser,
		kindPast:               "HISTORY",
	}
)

// deliveries is the sum of tallies as metrics.
type deliveries struct{ tallies []*tally }

// Describe implements prometheus.Collector.
func (d *deliveries) Describe(ch chan<- *prometheus.Desc) {
	ch <- deliveriesDesc
	ch <- deliverySecondsDesc
}

// Collect implements prometheus.Collector.
func (d *deliveries) Collect(ch chan<- prometheus.Metric) {
	sum := func(of func(*tally) uint64) (n uint64) {
		for _, t := range d.tallies {
			n += of(t)
		}
		return n
	}
	for kind, action := range deliveryActions {
		n := sum(func(t *tally) uint64 { return t.byKind[kind].Load() })
		ch <- prometheus.MustNewConstMetric(deliveriesDesc, prometheus.CounterValue, float64(n), action)
	}
	cumulative := make(map[float64]uint64, latencyBuckets)
	total := uint64(0)
	for i := range latencyBuckets {
		total += sum(func(t *tally) uint64 { return t.buckets[i].Load() })
		if i < latencyBuckets-1 {
			cumulative[time.Duration(1<<(latencyShift+i)).Seconds()] = total
		}
	}
	seconds := time.Duration(sum(func(t *tally) uint64 { return uint64(t.sum.Load()) })).Seconds()
	ch <- prometheus.MustNewConstHistogram(deliverySecondsDesc, total, seconds, cumulative)
}
