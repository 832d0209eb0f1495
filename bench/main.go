// Bench measures Parlor's fan-out beside its peers, on one machine, in alternating
// runs, and writes RESULTS.md with its plots:
//
//	go run .
//
// Each server is a process of its own; what is counted is its processor time alone.
// The load, and all latencies, come from this process by internal/load, the same for
// each of them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"parlor/internal/load"
)

// scenario is a load that several servers are put under.
type scenario struct {
	name  string
	what  string // for the reader
	plan  load.Plan
	peers []string // nil is all
}

// steady is the plan of one load.
func steady(rooms, connections int, rate float64, duration time.Duration) load.Plan {
	return load.Plan{Rooms: rooms, Connections: connections, Rate: rate, Duration: duration, Dialers: 64, Size: 130, PerSender: 8, Patience: 5 * time.Second}
}

func scenarios(d time.Duration) []scenario {
	alone, both := []string{"parlor"}, []string{"parlor", "floor"}
	return []scenario{
		{name: "1000x50", what: "one room of 1,000, 50 messages/s", plan: steady(1, 1000, 50, d)},
		{name: "5000x10", what: "one room of 5,000, 10 messages/s", plan: steady(1, 5000, 10, d)},
		{name: "4000x100", what: "one room of 4,000, 100 messages/s", plan: steady(1, 4000, 100, d), peers: alone},
		{name: "10000x100", what: "one room of 10,000, 100 messages/s", plan: steady(1, 10000, 100, d), peers: alone},
		{name: "1500rooms", what: "1,500 rooms of 10, 3.3 messages/s in each", plan: steady(1500, 15000, 10.0/3, d), peers: both},
		{name: "75rooms", what: "75 rooms of 200, 3.3 messages/s in each", plan: steady(75, 15000, 10.0/3, d), peers: both},
		{name: "1room", what: "one room of 10,000, 5 messages/s", plan: steady(1, 10000, 5, d), peers: both},
		{name: "idle", what: "10,000 connections that say nothing", plan: steady(1, 10000, 0, 12*time.Second)},
	}
}

// outcome is what one server did under one load, once.
type outcome struct {
	scenario, peer string
	round          int // the servers of one round were measured one after the other
	report         *load.Report
	cpu            time.Duration // while messages were sent
	memory         float64       // KB for a connection: RSS at the end less that at the start
}

// perDelivery is in microseconds of processor time, which is also seconds for a million
// deliveries. Where nothing was delivered there is none.
func (o *outcome) perDelivery() (float64, bool) {
	if o.report.Deliveries == 0 {
		return 0, false
	}
	return float64(o.cpu.Nanoseconds()) / 1000 / float64(o.report.Deliveries), true
}

// String is a line for who waits for the results.
func (o *outcome) String() string {
	perDelivery, ok := o.perDelivery()
	if !ok {
		return fmt.Sprintf("%-10s %-7s nothing delivered, lost %d, ended %d, %.1f KB/connection", o.scenario, o.peer, o.report.Lost, ended(o.report), o.memory)
	}
	return fmt.Sprintf("%-10s %-7s %6.2f CPU-µs/delivery, %8.0f deliveries/s, lost %d, ended %d, p50 %s, p99 %s, %.1f KB/connection", o.scenario, o.peer,
		perDelivery, o.report.DeliveriesPerSecond, o.report.Lost, ended(o.report), o.report.Latency.P50, o.report.Latency.P99, o.memory)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 && serve(os.Args[1], os.Args[2:]) {
		return
	}
	rounds := flag.Int("rounds", 3, "how often each server is measured under each load")
	duration := flag.Duration("duration", 10*time.Second, "how long messages are sent")
	only := flag.String("only", "", "regular expression of the loads to measure")
	peersFlag := flag.String("peers", "", "regular expression of the servers to measure")
	parlorPath := flag.String("parlor", "", "the Parlor to measure; built from this tree when empty")
	parlorFlags := flag.String("parlor-flags", "", "more flags for parlor dev, separated by spaces")
	out := flag.String("out", ".", "directory of RESULTS.md and its plots; empty writes none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	dir, err := os.MkdirTemp("", "parlor-bench-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := measure(ctx, dir, *rounds, *duration, *only, *peersFlag, *parlorPath, *parlorFlags, *out); err != nil {
		os.RemoveAll(dir)
		log.Fatal(err)
	}
}

func measure(ctx context.Context, dir string, rounds int, duration time.Duration, only, peersFlag, parlorPath, parlorFlags, out string) error {
	loads, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	wanted, err := regexp.Compile(peersFlag)
	if err != nil {
		return err
	}
	if parlorPath == "" {
		if parlorPath, err = buildParlor(ctx, dir); err != nil {
			return err
		}
	}
	peers, err := allPeers(ctx, dir, parlorPath, parlorFlags)
	if err != nil {
		return err
	}
	peers = slices.DeleteFunc(peers, func(p *peer) bool { return !wanted.MatchString(p.name) })
	var outcomes []outcome
	measured := scenarios(duration)
	measured = slices.DeleteFunc(measured, func(s scenario) bool { return !loads.MatchString(s.name) })
	for _, s := range measured {
		for round := range rounds {
			for i := range peers {
				// Each round begins with another, so that none is always the first.
				p := peers[(i+round)%len(peers)]
				if s.peers != nil && !slices.Contains(s.peers, p.name) {
					continue
				}
				o, err := once(ctx, s, p)
				if err != nil {
					return fmt.Errorf("%s under %s: %w", p.name, s.name, err)
				}
				o.round = round
				outcomes = append(outcomes, *o)
				log.Print(o)
			}
		}
	}
	if out == "" {
		return nil
	}
	return writeResults(ctx, out, measured, peers, outcomes, rounds, duration)
}

// buildParlor builds the Parlor of this tree, as make build does.
func buildParlor(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "parlor")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "parlor/cmd/parlor")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build Parlor: %w\n%s", err, text)
	}
	return path, nil
}

func ended(r *load.Report) (n int) {
	for _, count := range r.ConnectionsEnded {
		n += count
	}
	return n
}

// once starts a server, puts it under a load, and stops it.
func once(ctx context.Context, s scenario, p *peer) (*outcome, error) {
	server, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	empty := server.memory() // what making tokens leaves behind counts, too
	target, err := p.target(ctx, server, s.plan)
	if err != nil {
		return nil, err
	}
	plan := s.plan
	plan.Binary = p.binary
	var before, after time.Duration
	o := &outcome{scenario: s.name, peer: p.name}
	o.report, err = load.Run(ctx, plan, target, load.Watcher{
		Opened: func() { before = server.cpu() },
		Heard: func() {
			after = server.cpu()
			o.memory = (server.memory() - empty) / float64(plan.Connections)
		},
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if n := o.report.Handshakes.Count; n < plan.Connections {
		return nil, fmt.Errorf("%d of %d connections opened: %v", n, plan.Connections, o.report.HandshakesFailed)
	}
	o.cpu = after - before
	return o, nil
}
