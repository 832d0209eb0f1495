package load

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies are durations, gathered by many goroutines, with three digits.
type latencies struct {
	shards [16]struct {
		sync.Mutex

		h *hdrhistogram.Histogram
	}
	total *hdrhistogram.Histogram // of what was collected; owned by who collects
}

const longest = 10 * time.Minute // longer ones count as this long

func newLatencies() *latencies {
	l := &latencies{total: newHistogram()}
	for i := range l.shards {
		l.shards[i].h = newHistogram()
	}
	return l
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

// batch is a stretch of records by one goroutine. It holds a lock from a record until
// done.
type batch struct {
	l      *latencies
	shard  int
	locked bool
}

func (l *latencies) batch(shard int) batch { return batch{l: l, shard: shard % len(l.shards)} }

func (b *batch) record(d time.Duration) {
	s := &b.l.shards[b.shard]
	if !b.locked {
		s.Lock()
		b.locked = true
	}
	s.h.RecordValue(min(max(d, 0), longest).Microseconds()) // within what it can hold
}

func (b *batch) done() {
	if b.locked {
		b.l.shards[b.shard].Unlock()
		b.locked = false
	}
}

// record records one duration.
func (l *latencies) record(shard int, d time.Duration) {
	b := l.batch(shard)
	b.record(d)
	b.done()
}

// collect moves what was recorded since it was last called to the total, and returns it.
func (l *latencies) collect() *hdrhistogram.Histogram {
	interval := newHistogram()
	for i := range l.shards {
		s := &l.shards[i]
		s.Lock()
		interval.Merge(s.h)
		s.h.Reset()
		s.Unlock()
	}
	l.total.Merge(interval)
	return interval
}

func at(h *hdrhistogram.Histogram, percentile float64) time.Duration {
	if h.TotalCount() == 0 {
		return 0
	}
	return time.Duration(h.ValueAtQuantile(percentile)) * time.Microsecond
}

// Milliseconds is a duration that JSON shows in milliseconds.
type Milliseconds time.Duration

// MarshalJSON implements [encoding/json.Marshaler].
func (m Milliseconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", m.float()), nil
}

func (m Milliseconds) float() float64 { return float64(m) / float64(time.Millisecond) }

// Latency sums up durations.
type Latency struct {
	P50   Milliseconds `json:"p50Ms"`
	P90   Milliseconds `json:"p90Ms"`
	P99   Milliseconds `json:"p99Ms"`
	P999  Milliseconds `json:"p999Ms"`
	Max   Milliseconds `json:"maxMs"`
	Mean  Milliseconds `json:"meanMs"`
	Count int          `json:"count"`
}

func summary(h *hdrhistogram.Histogram) Latency {
	l := Latency{Count: int(h.TotalCount())}
	if l.Count == 0 {
		return l
	}
	l.P50, l.P90, l.P99, l.P999 = Milliseconds(at(h, 50)), Milliseconds(at(h, 90)), Milliseconds(at(h, 99)), Milliseconds(at(h, 99.9))
	l.Max = Milliseconds(time.Duration(h.Max()) * time.Microsecond)
	l.Mean = Milliseconds(h.Mean() * float64(time.Microsecond))
	return l
}

// Bar is a stretch of a histogram.
type Bar struct {
	UpTo  Milliseconds `json:"upToMs"` // from where the bar before ends
	Count int          `json:"count"`
}

// Report is what a run came to.
type Report struct {
	Rooms       int     `json:"rooms"`
	Connections int     `json:"connections"` // asked for
	Rate        float64 `json:"messagesPerSecondAndRoom"`
	Size        int     `json:"contentBytes"`
	Interrupted bool    `json:"interrupted"` // the run was stopped early

	Handshakes          Latency        `json:"handshakes"`
	HandshakesPerSecond float64        `json:"handshakesPerSecond"`
	HandshakeSeconds    float64        `json:"handshakeSeconds"` // in all
	HandshakesFailed    map[string]int `json:"handshakesFailed"` // by reason
	ConnectionsEnded    map[string]int `json:"connectionsEnded"` // before the end, by reason

	SendSeconds         float64        `json:"sendSeconds"`
	Sent                int            `json:"sent"`    // messages
	Refused             map[string]int `json:"refused"` // messages, by code
	Deliveries          int            `json:"deliveries"`
	DeliveriesPerSecond float64        `json:"deliveriesPerSecond"`
	Lost                int            `json:"lost"`        // deliveries of accepted messages that were not seen; 0 when interrupted
	OutOfOrder          int            `json:"outOfOrder"`  // deliveries after a later message of the same sender, or twice
	Disagreeing         int            `json:"disagreeing"` // connections that saw as much as others in another order
	Stalled             int            `json:"stalled"`     // connections that were to read nothing

	Latency   Latency `json:"latency"`   // from when a message was due to when it was read
	Histogram []Bar   `json:"histogram"` // of the latency
}

// report sums the run up. Its readers have ended.
func (r *run) report(opening, sending time.Duration, interrupted bool) *Report {
	r.latency.collect()
	r.connect.collect()
	p := &Report{
		Rooms: r.plan.Rooms, Connections: r.plan.Connections, Rate: r.plan.Rate, Size: r.plan.Size, Interrupted: interrupted,
		Handshakes: summary(r.connect.total), HandshakeSeconds: opening.Seconds(),
		HandshakesPerSecond: perSecond(int(r.opened.Load()), opening),
		HandshakesFailed:    r.failed, ConnectionsEnded: r.ended,
		SendSeconds: sending.Seconds(), Refused: r.refused,
		Latency: summary(r.latency.total), Histogram: bars(r.latency.total),
	}
	p.Deliveries = p.Latency.Count
	p.DeliveriesPerSecond = perSecond(p.Deliveries, sending)
	if !interrupted {
		p.Lost = r.lost()
	}
	for _, room := range r.rooms {
		p.Sent += int(room.sent.Load())
		sums := map[[2]uint64]int{}
		for _, c := range room.conns {
			if c.stalled {
				p.Stalled++
				continue
			}
			p.OutOfOrder += c.disorder
			sums[[2]uint64{uint64(c.heard.Load()), c.sum}]++
		}
		p.Disagreeing += disagreeing(sums)
	}
	return p
}

func perSecond(n int, d time.Duration) float64 {
	if n == 0 {
		return 0 // in no time, too
	}
	return float64(n) / d.Seconds()
}

// disagreeing is how many connections are not of the majority among those that saw as
// many messages. The keys are that number and the sum of what was seen.
func disagreeing(sums map[[2]uint64]int) (n int) {
	all, most := map[uint64]int{}, map[uint64]int{}
	for key, count := range sums {
		all[key[0]] += count
		most[key[0]] = max(most[key[0]], count)
	}
	for heard := range all {
		n += all[heard] - most[heard]
	}
	return n
}

// bars cuts a histogram where a person would: 1, 2, 5, 10 …
func bars(h *hdrhistogram.Histogram) []Bar {
	var edges []Bar
	for decade := 100 * time.Microsecond; decade < 10*longest; decade *= 10 {
		for _, step := range []time.Duration{1, 2, 5} {
			edges = append(edges, Bar{UpTo: Milliseconds(decade * step)})
		}
	}
	for _, bar := range h.Distribution() {
		for i := range edges {
			if time.Duration(bar.To)*time.Microsecond <= time.Duration(edges[i].UpTo) {
				edges[i].Count += int(bar.Count)
				break
			}
		}
	}
	used := func(b Bar) bool { return b.Count > 0 }
	first := slices.IndexFunc(edges, used)
	if first < 0 {
		return []Bar{}
	}
	for !used(edges[len(edges)-1]) {
		edges = edges[:len(edges)-1]
	}
	return edges[first:]
}

// WriteText writes the report for people.
func (p *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	if p.Interrupted {
		fmt.Fprintln(&b, "Stopped early: this is what there was by then.")
	}
	row("connections", "%s of %s open, in %s; opened in %.2f s (%s/s)", grouped(p.Handshakes.Count), grouped(p.Connections),
		plural(p.Rooms, "room"), p.HandshakeSeconds, grouped(int(math.Round(p.HandshakesPerSecond))))
	row("handshake", "%s", p.Handshakes)
	reasons(&b, "not opened", p.HandshakesFailed)
	reasons(&b, "ended", p.ConnectionsEnded)
	if p.Stalled > 0 {
		row("stalled", "%s read nothing", plural(p.Stalled, "connection"))
	}
	if p.Rate > 0 {
		row("messages", "%s sent in %.1f s", grouped(p.Sent), p.SendSeconds)
		reasons(&b, "refused", p.Refused)
		lost := grouped(p.Lost) + " lost, "
		if p.Interrupted { // some were under way
			lost = ""
		}
		row("deliveries", "%s (%s/s), %s%s out of order", grouped(p.Deliveries), grouped(int(math.Round(p.DeliveriesPerSecond))), lost,
			grouped(p.OutOfOrder))
		if p.Disagreeing > 0 {
			row("order", "%s saw another order than the others", plural(p.Disagreeing, "connection"))
		}
		row("latency", "%s", p.Latency)
		p.writeHistogram(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is the latency in words.
func (l Latency) String() string {
	if l.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s", l.P50, l.P90, l.P99, l.P999, l.Max)
}

// String is the duration in milliseconds, with three digits or so.
func (m Milliseconds) String() string {
	switch f := m.float(); {
	case f >= 100:
		return fmt.Sprintf("%.0f ms", f)
	case f >= 10:
		return fmt.Sprintf("%.1f ms", f)
	default:
		return fmt.Sprintf("%.2f ms", f)
	}
}

const barWidth = 50

func (p *Report) writeHistogram(b *strings.Builder) {
	most := 0
	for _, bar := range p.Histogram {
		most = max(most, bar.Count)
	}
	if most == 0 {
		return
	}
	fmt.Fprintln(b)
	for _, bar := range p.Histogram {
		share := 100 * float64(bar.Count) / float64(p.Latency.Count)
		width := (bar.Count*barWidth + most/2) / most
		if bar.Count > 0 {
			width = max(width, 1)
		}
		fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("  up to %9s %6.2f%% %s", fmt.Sprintf("%g ms", bar.UpTo.float()), share, strings.Repeat("#", width)), " "))
	}
}

// reasons writes a row for what went wrong, if anything did.
func reasons(b *strings.Builder, name string, counts map[string]int) {
	for i, why := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(b, "%-12s %s × %s\n", name, grouped(counts[why]), why)
	}
}

// grouped is a number with its thousands apart.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func be(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(n) + " " + what + "s"
}
