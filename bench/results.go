package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	floor     = "floor"   // the peer that all others are compared to
	reference = "1000x50" // the load whose floor stands in where none was measured
)

// machine is what was measured on, and when.
type machine struct {
	cpu       string // the model, as the kernel names it
	cores     int
	kernel    string // release
	goVersion string
	node      string // version; empty when nothing ran on it
	date      string
	command   string // without this machine's paths
}

// results are all that was measured.
type results struct {
	machine   machine
	scenarios []scenario
	peers     []*peer
	outcomes  []outcome
	rounds    int
	duration  time.Duration // of the sending
}

// writeResults writes RESULTS.md and plots/*.svg into the directory out.
func writeResults(ctx context.Context, out string, measured []scenario, peers []*peer, outcomes []outcome, rounds int, duration time.Duration) error {
	m, err := thisMachine(ctx, slices.ContainsFunc(outcomes, func(o outcome) bool { return o.peer == "ws" }))
	if err != nil {
		return err
	}
	r := &results{machine: m, scenarios: measured, peers: peers, outcomes: outcomes, rounds: rounds, duration: duration}
	if err := os.MkdirAll(filepath.Join(out, "plots"), 0o755); err != nil {
		return err
	}
	for _, c := range r.charts() {
		if err := os.WriteFile(filepath.Join(out, "plots", c.file), []byte(c.svg()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(out, "RESULTS.md"), []byte(r.markdown()), 0o644)
}

func thisMachine(ctx context.Context, onNode bool) (machine, error) {
	m := machine{cpu: runtime.GOARCH, cores: runtime.NumCPU(), goVersion: strings.TrimPrefix(runtime.Version(), "go"),
		date: time.Now().UTC().Format(time.DateOnly), command: command(flag.CommandLine)}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.kernel = strings.TrimSpace(string(kernel))
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	if model := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindSubmatch(info); model != nil { // not on every architecture
		m.cpu = string(model[1])
	}
	if onNode {
		version, err := exec.CommandContext(ctx, "node", "--version").Output()
		if err != nil {
			return m, fmt.Errorf("node --version: %w", err)
		}
		m.node = strings.TrimPrefix(strings.TrimSpace(string(version)), "v")
	}
	return m, nil
}

var absolutePath = regexp.MustCompile(`(^|[\s=])/\S*`)

// command is how to measure the same again, with PATH for paths of this machine.
func command(flags *flag.FlagSet) string {
	words := []string{"go run ."}
	flags.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		switch f.Name {
		case "out":
			return
		case "parlor":
			value = "PATH"
		case "parlor-flags":
			value = absolutePath.ReplaceAllString(value, "${1}PATH")
		}
		if regexp.MustCompile(`[^\w./:,=-]`).MatchString(value) || value == "" {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		words = append(words, "-"+f.Name+" "+value)
	})
	return strings.Join(words, " ")
}

// of are the outcomes of one server under one load, a round each.
func (r *results) of(scenario, peer string) (of []*outcome) {
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.scenario == scenario && o.peer == peer {
			of = append(of, o)
		}
	}
	return of
}

// metric is one figure of an outcome, when the outcome has it.
type metric func(*outcome) (float64, bool)

func memory(o *outcome) (float64, bool) { return o.memory, true }

func cpu(o *outcome) (float64, bool) { return o.perDelivery() }

func perSecond(o *outcome) (float64, bool) {
	return o.report.DeliveriesPerSecond, o.report.Deliveries > 0
}

func p50(o *outcome) (float64, bool) {
	return milliseconds(time.Duration(o.report.Latency.P50)), o.report.Latency.Count > 0
}

func p99(o *outcome) (float64, bool) {
	return milliseconds(time.Duration(o.report.Latency.P99)), o.report.Latency.Count > 0
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread is what the rounds came to.
type spread struct {
	median, least, most float64
	count               int // of the rounds; 0 has no figures
}

func (r *results) spread(scenario, peer string, f metric) spread {
	var all []float64
	for _, o := range r.of(scenario, peer) {
		if v, ok := f(o); ok {
			all = append(all, v)
		}
	}
	return spreadOf(all)
}

func spreadOf(all []float64) spread {
	n := len(all)
	if n == 0 {
		return spread{}
	}
	slices.Sort(all)
	return spread{median: (all[(n-1)/2] + all[n/2]) / 2, least: all[0], most: all[n-1], count: n}
}

// overFloor is how many times the floor's processor time a server needs: the median of
// the rounds' ratios or, where the floor was not measured, to its median under the
// reference load.
func (r *results) overFloor(scenario, peer string) (ratio float64, ok bool) {
	if !r.floorMeasured(scenario) {
		own, base := r.spread(scenario, peer, cpu), r.spread(reference, floor, cpu)
		if own.count == 0 || base.median == 0 {
			return 0, false
		}
		return own.median / base.median, true
	}
	floors := r.of(scenario, floor)
	s := r.spread(scenario, peer, func(o *outcome) (float64, bool) {
		i := slices.IndexFunc(floors, func(f *outcome) bool { return f.round == o.round })
		if i < 0 {
			return 0, false
		}
		own, has := o.perDelivery()
		base, hasBase := floors[i].perDelivery()
		return own / base, has && hasBase && base > 0
	})
	return s.median, s.count > 0
}

func (r *results) floorMeasured(scenario string) bool { return len(r.of(scenario, floor)) > 0 }

// markdown is RESULTS.md.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Fan-out, measured\n\nWritten by the command below; not edited by hand.\n\n")
	r.writeMethod(&b)
	for i := range r.scenarios {
		r.writeScenario(&b, &r.scenarios[i])
	}
	b.WriteString(notMeasured)
	if charts := r.charts(); len(charts) > 0 {
		b.WriteString("\n## Pictures\n")
		for _, c := range charts {
			fmt.Fprintf(&b, "\n![%s, as bars; the figures are in the tables above](plots/%s)\n", c.title, c.file)
		}
	}
	return b.String()
}

func (r *results) writeMethod(b *strings.Builder) {
	fmt.Fprintln(b, "## What was measured, and on what")
	fmt.Fprintln(b)
	m := r.machine
	fmt.Fprintf(b, "    %s\n\n", m.command)
	on := fmt.Sprintf("%s, %s, Linux %s, Go %s", m.cpu, plural(m.cores, "core"), m.kernel, m.goVersion)
	if m.node != "" {
		on += ", Node " + m.node
	}
	fmt.Fprintf(b, "%s. %s. %s, %s of messages in each.\n\nThe servers:\n\n", m.date, on, plural(r.rounds, "round"), seconds(r.duration))
	for _, p := range r.peers {
		if slices.ContainsFunc(r.outcomes, func(o outcome) bool { return o.peer == p.name }) {
			fmt.Fprintf(b, "- %s%s\n", p.title, about[p.name])
		}
	}
	b.WriteString(method)
}

// about is what a reader has to know of a server to judge its figures.
var about = map[string]string{
	floor: ", the floor: a WebSocket server in Go that writes each frame to each connection of the room, and does nothing else:" +
		" no tokens, limits, pings, or care for slow readers",
	"parlor": ", built from this tree unless the command says otherwise, as `parlor dev`: with tokens, limits, quotas, pings and bounded queues",
	"nats":   ": a room is a subject, and each connection subscribes to it",
	"ws":     ": a loop over the connections of the room that calls `send`",
}

const method = `
Each run starts its server anew, as a process of its own. The rounds alternate between the servers, and each round begins with another.

- **CPU** is the processor time of the server's process, user and system, from when all connections were open until the last message
  was heard by all, divided by the deliveries.
- **× floor** is the median of the rounds' ratios, each to the floor of the same round.
- **deliveries/s** are the deliveries by the time in which messages were sent. **Lost** are those not seen 5 s after the last message;
  they and the connections that ended early are sums over the rounds. All other figures are medians of the rounds.
- **p50 and p99** are from the moment a message was due to be sent, by a schedule fixed before the run, to when it was read. The load is
  open: a server that stalls is not asked less.
- **Memory** is VmRSS when the last message was heard less that of the server as it started, divided by the connections. The kernel's socket
  buffers are not in it. Of Parlor it includes what issuing the connections' tokens left behind, and the heap that messages let grow:
  with 1,000 connections that is most of it. Compare the idle ones.
`

const notMeasured = `
## What was not measured

- The server and the load share this machine's cores, so that each slows the other; latencies include the client's own delays. They
  compare servers under the same load, and say little about one that has a machine to itself.
- There is no network: all is loopback.
- There is no TLS in these tables, and no compression.
- Nothing above one process: no cluster, no broker between servers.
- Centrifugo and others: the module proxy did not offer them where this was written.
- The servers do not do the same. Only Parlor knows tokens, reviews, quotas and the rest of the Amazon IVS Chat protocol.
`

func (r *results) writeScenario(b *strings.Builder, s *scenario) {
	fmt.Fprintf(b, "\n## %s: %s\n\n", s.name, s.what)
	if s.plan.Rate == 0 {
		fmt.Fprintf(b, "Held for %s.\n\n| server | KB per connection%s |\n|---|---:|\n", seconds(s.plan.Duration), r.ranges())
		r.eachPeer(s, func(p *peer, _ []*outcome) {
			fmt.Fprintf(b, "| %s | %s |\n", p.title, r.spread(s.name, p.name, memory).cell())
		})
		r.writeAnomalies(b, s)
		return
	}
	fmt.Fprintf(b, "%s deliveries/s are asked for.\n\n", grouped(s.plan.Rate*float64(s.plan.Connections)))
	fmt.Fprintf(b, "| server | CPU-seconds per million deliveries%s | × floor | deliveries/s | p50, ms | p99, ms | lost | ended early | KB per connection |\n", r.ranges())
	fmt.Fprintln(b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	r.eachPeer(s, func(p *peer, of []*outcome) {
		ratio := "–"
		if f, ok := r.overFloor(s.name, p.name); ok {
			ratio = fmt.Sprintf("%.2f", f)
		}
		lost, gone := 0, 0
		for _, o := range of {
			lost += o.report.Lost
			gone += ended(o.report)
		}
		of50, of99 := r.spread(s.name, p.name, p50).middle(figure), r.spread(s.name, p.name, p99).middle(figure)
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", p.title, r.spread(s.name, p.name, cpu).cell(), ratio,
			r.spread(s.name, p.name, perSecond).middle(grouped), of50, of99, grouped(float64(lost)), grouped(float64(gone)),
			r.spread(s.name, p.name, memory).middle(figure))
	})
	if !r.floorMeasured(s.name) {
		if r.spread(reference, floor, cpu).count > 0 {
			fmt.Fprintf(b, "\nThe floor was not measured under this load: “× floor” is to its median under another, %s, and so says how dear a delivery\nis, not what Parlor adds to the floor. At a higher rate more messages share one write, which makes each cheaper and later.\n", reference)
		} else {
			fmt.Fprintln(b, "\nThe floor was not measured.")
		}
	}
	r.writeAnomalies(b, s)
}

func (r *results) eachPeer(s *scenario, f func(*peer, []*outcome)) {
	for _, p := range r.peers {
		if of := r.of(s.name, p.name); len(of) > 0 {
			f(p, of)
		}
	}
}

// writeAnomalies says what should not have happened and has no column.
func (r *results) writeAnomalies(b *strings.Builder, s *scenario) {
	r.eachPeer(s, func(p *peer, of []*outcome) {
		var refused, disorder, disagreeing, gone int
		for _, o := range of {
			for _, n := range o.report.Refused {
				refused += n
			}
			disorder += o.report.OutOfOrder
			disagreeing += o.report.Disagreeing
			if s.plan.Rate == 0 {
				gone += ended(o.report)
			}
		}
		var said []string
		for _, a := range []struct {
			n    int
			what string
		}{
			{refused, "messages refused"}, {disorder, "deliveries out of order"},
			{disagreeing, "connections that saw another order than the others"}, {gone, "connections ended early"},
		} {
			if a.n > 0 {
				said = append(said, fmt.Sprintf("%s: %s", a.what, grouped(float64(a.n))))
			}
		}
		if said != nil {
			fmt.Fprintf(b, "\n%s, in all rounds: %s.\n", p.title, strings.Join(said, "; "))
		}
	})
}

// ranges is what a column's name says of the ranges in it.
func (r *results) ranges() string {
	if r.rounds < 2 {
		return ""
	}
	return " (least–most)"
}

// cell is the median with the range.
func (s spread) cell() string {
	if s.count < 2 {
		return s.middle(figure)
	}
	return fmt.Sprintf("%s (%s)", figure(s.median), s.span())
}

func (s spread) span() string { return figure(s.least) + "–" + figure(s.most) }

func (s spread) middle(format func(float64) string) string {
	if s.count == 0 {
		return "–"
	}
	return format(s.median)
}

// figure is a number with three digits or so.
func figure(f float64) string {
	switch {
	case f >= 99.95 || f <= -99.95:
		return grouped(f)
	case f >= 9.995 || f <= -9.995:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

// grouped is a whole number with its thousands apart.
func grouped(f float64) string {
	s := fmt.Sprintf("%.0f", f)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
