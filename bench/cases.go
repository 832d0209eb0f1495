package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"parlor/internal/load"
)

// cases measures what Parlor does when things are not even: a loud room beside quiet
// ones, readers that stop, thousands who come at once, as many connections as there
// may be. It prints a table for each, and writes them to RESULTS-cases.md.
func cases(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cases", flag.ExitOnError)
	only := flags.String("only", "", "regular expression of the cases to measure")
	parlor := flags.String("parlor", "", "the Parlor to measure; built from this tree when empty")
	more := flags.String("parlor-flags", "", "more flags for parlor dev, separated by spaces")
	out := flags.String("out", ".", "directory of RESULTS-cases.md; empty writes none")
	flags.Parse(args)
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "parlor-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *parlor == "" {
		if *parlor, err = buildParlor(ctx, dir); err != nil {
			return err
		}
	}
	c := &caseRunner{dir: dir, parlor: *parlor, flags: strings.Fields(*more)}
	var page strings.Builder
	fmt.Fprintf(&page, "# Uneven loads\n\nWritten by `go run . cases`. Latencies are the clients', who share the server's processors.\n")
	for _, measured := range []struct {
		name, title string
		run         func(context.Context, *caseRunner) ([][]string, error)
	}{
		{"hot", "Quiet rooms (10 of 20 connections, 10 of 200; 2 messages/s in each) beside a loud one (5,000 connections, 50 messages/s)", hotRoom},
		{"stalled", "One room of 1,000, 50 messages/s, of whom some stop reading", stalledReaders},
		{"storm", "15,000 handshakes as fast as they come, beside 500 connections with 20 messages/s", connectStorm},
		{"idle", "Connections that say nothing, in one process", manyIdle},
		{"three", "50,000 connections over three processes", overThree},
		{"tls", "TLS: one room of 1,000, 50 messages/s", overTLS},
	} {
		if !wanted.MatchString(measured.name) {
			continue
		}
		rows, err := measured.run(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", measured.name, err)
		}
		fmt.Fprintf(&page, "\n## %s\n\n", measured.title)
		for i, row := range rows {
			line := "| " + strings.Join(row, " | ") + " |"
			log.Print(line)
			fmt.Fprintln(&page, line)
			if i == 0 {
				fmt.Fprintln(&page, strings.Repeat("|---", len(row))+"|")
			}
		}
	}
	if *out == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(*out, "RESULTS-cases.md"), []byte(page.String()), 0o644)
}

type caseRunner struct {
	dir, parlor string
	flags       []string
}

// start starts a server with more flags of its own.
func (c *caseRunner) start(ctx context.Context, flags ...string) (*process, error) {
	p := &peer{name: "parlor", command: func() *exec.Cmd {
		args := append([]string{"dev", "--listen", "127.0.0.1:0", "--log-level", "warn"}, c.flags...)
		return exec.Command(c.parlor, append(args, flags...)...)
	}}
	return p.start(ctx)
}

// at runs a load against a server.
func (c *caseRunner) at(ctx context.Context, s *process, plan load.Plan, watch load.Watcher) (*load.Report, error) {
	target, err := parlorTarget(ctx, s, plan)
	if err != nil {
		return nil, err
	}
	return load.Run(ctx, plan, target, watch)
}

func latencyCells(r *load.Report) []string {
	return []string{r.Latency.P50.String(), r.Latency.P99.String(), r.Latency.Max.String(), strconv.Itoa(r.Lost), strconv.Itoa(r.OutOfOrder)}
}

// hotRoom compares quiet rooms alone with quiet rooms beside a loud one, which is in
// another server first: what that does to them is the machine's doing.
func hotRoom(ctx context.Context, c *caseRunner) ([][]string, error) {
	rows := [][]string{{"quiet rooms", "p50", "p99", "max", "lost", "out of order"}}
	s, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	quiet := func(name string) error {
		var wg sync.WaitGroup
		results := make([]*load.Report, 2)
		errs := make([]error, 2)
		for i, plan := range []load.Plan{steady(10, 200, 2, 8*time.Second), steady(10, 2000, 2, 8*time.Second)} {
			wg.Go(func() { results[i], errs[i] = c.at(ctx, s, plan, load.Watcher{}) })
		}
		wg.Wait()
		for i, size := range []string{"20", "200"} {
			if errs[i] != nil {
				return errs[i]
			}
			rows = append(rows, append([]string{"of " + size + ", " + name}, latencyCells(results[i])...))
		}
		return nil
	}
	// The loud room's clients are another process: what is read by one of so many
	// connections waits for the others in the same process.
	beside := func(loudest *process, where string) error {
		var loud benchReport
		var loudErr error
		var wg sync.WaitGroup
		wg.Go(func() {
			loud, loudErr = c.bench(ctx, nil, "--endpoint", loudest.url, "--size", "130", "--connections", "5000", "--rate", "50", "--duration", "14s")
		})
		for ctx.Err() == nil && loudest.metric("parlor_connections") != "5000" {
			time.Sleep(100 * time.Millisecond)
		}
		err := quiet("beside a loud one in " + where)
		wg.Wait()
		if err != nil || loudErr != nil {
			return fmt.Errorf("%v %v", err, loudErr)
		}
		rows = append(rows, []string{"the loud one in " + where, fmt.Sprintf("%.1f ms", loud.Latency.P50), fmt.Sprintf("%.1f ms", loud.Latency.P99), "", strconv.Itoa(loud.Lost), ""})
		return nil
	}
	if err := quiet("alone"); err != nil {
		return nil, err
	}
	other, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	err = beside(other, "another server")
	other.stop()
	if err != nil {
		return nil, err
	}
	return rows, beside(s, "the same server")
}

// stalledReaders compares a room with one of which a tenth stops reading.
func stalledReaders(ctx context.Context, c *caseRunner) ([][]string, error) {
	rows := [][]string{{"", "p50", "p99", "max", "lost", "out of order", "memory before", "memory after", "dropped as slow"}}
	for _, stalled := range []float64{0, 0.1} {
		s, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		plan := steady(1, 1000, 50, 100*time.Second)
		plan.Size, plan.Stalled = 480, stalled
		var before, after float64
		dropped := ""
		r, err := c.at(ctx, s, plan, load.Watcher{Opened: func() { before = s.memory() }, Heard: func() {
			after = s.memory()
			dropped = s.metric(`parlor_sessions_ended_total{cause="slow"}`)
		}})
		s.stop()
		if err != nil {
			return nil, err
		}
		row := append([]string{fmt.Sprintf("%.0f %% stalled", stalled*100)}, latencyCells(r)...)
		rows = append(rows, append(row, megabytes(before), megabytes(after), dropped))
	}
	return rows, nil
}

// connectStorm opens many connections as fast as they come.
func connectStorm(ctx context.Context, c *caseRunner) ([][]string, error) {
	s, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	before := steady(1, 500, 20, 8*time.Second)
	quiet, err := c.at(ctx, s, before, load.Watcher{})
	if err != nil {
		return nil, err
	}
	storm := steady(100, 15000, 0, time.Second)
	storm.Dialers = 256
	target, err := parlorTarget(ctx, s, storm) // its tokens
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var during *load.Report
	var duringErr error
	opened := make(chan struct{})
	existing := before
	existing.Duration = 6 * time.Second
	wg.Go(func() { during, duringErr = c.at(ctx, s, existing, load.Watcher{Opened: func() { close(opened) }}) })
	select {
	case <-opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	used := s.cpu()
	var spent time.Duration
	r, err := load.Run(ctx, storm, target, load.Watcher{Opened: func() { spent = s.cpu() - used }})
	wg.Wait()
	if err != nil || duringErr != nil {
		return nil, fmt.Errorf("%v %v", err, duringErr)
	}
	refused := 0
	for _, n := range r.HandshakesFailed {
		refused += n
	}
	return [][]string{
		{"", "handshakes", "refused", "handshakes/s", "p50", "p99", "server's processor time for each", "existing: p50", "p99", "lost"},
		{"quiet", "", "", "", "", "", "", quiet.Latency.P50.String(), quiet.Latency.P99.String(), strconv.Itoa(quiet.Lost)},
		{"storm", strconv.Itoa(r.Handshakes.Count), strconv.Itoa(refused), fmt.Sprintf("%.0f", r.HandshakesPerSecond), r.Handshakes.P50.String(), r.Handshakes.P99.String(),
			fmt.Sprintf("%.0f µs", float64(spent.Microseconds())/float64(r.Handshakes.Count)), during.Latency.P50.String(), during.Latency.P99.String(), strconv.Itoa(during.Lost)},
	}, nil
}

// manyIdle holds connections that say nothing, and are pinged.
func manyIdle(ctx context.Context, c *caseRunner) ([][]string, error) {
	rows := [][]string{{"connections", "memory for each after 10 s", "resident in all", "processor time for each and second, over a minute of pings"}}
	for _, n := range []int{10000, 19000} {
		s, err := c.start(ctx, "--ping-interval", "20s")
		if err != nil {
			return nil, err
		}
		empty := s.memory()
		plan := steady(1, n, 0, 72*time.Second)
		var memory float64
		var used time.Duration
		var counting sync.WaitGroup
		_, err = c.at(ctx, s, plan, load.Watcher{Opened: func() {
			counting.Go(func() {
				time.Sleep(10 * time.Second)
				memory = s.memory()
				before := s.cpu()
				time.Sleep(60 * time.Second)
				used = s.cpu() - before
			})
		}})
		counting.Wait()
		s.stop()
		if err != nil {
			return nil, err
		}
		rows = append(rows, []string{strconv.Itoa(n), fmt.Sprintf("%.1f KB", (memory-empty)/float64(n)), megabytes(memory),
			fmt.Sprintf("%.2f µs", float64(used.Microseconds())/float64(n)/60)})
	}
	return rows, nil
}

// overThree holds more connections than one process may have files, by as many
// processes that load.
func overThree(ctx context.Context, c *caseRunner) ([][]string, error) {
	const each = 16700
	rows := [][]string{{"process", "connections opened", "memory for each after 10 s", "resident in all"}}
	var servers []*process
	var empty []float64
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	var wg sync.WaitGroup
	reports := make([]benchReport, 3)
	errs := make([]error, 3)
	for i := range 3 {
		s, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		servers, empty = append(servers, s), append(empty, s.memory())
		wg.Go(func() {
			reports[i], errs[i] = c.bench(ctx, nil, "--endpoint", s.url, "--connections", strconv.Itoa(each), "--rate", "0", "--duration", "60s")
		})
	}
	memory := make([]float64, 3)
	for _, s := range servers {
		for s.metric("parlor_connections") != strconv.Itoa(each) {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-s.exited:
				return nil, fmt.Errorf("a server ended")
			}
		}
	}
	time.Sleep(10 * time.Second)
	for i, s := range servers {
		memory[i] = s.memory()
	}
	wg.Wait()
	for i := range servers {
		if errs[i] != nil {
			return nil, errs[i]
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), strconv.Itoa(reports[i].Handshakes.Count),
			fmt.Sprintf("%.1f KB", (memory[i]-empty[i])/each), megabytes(memory[i])})
	}
	return rows, nil
}

// overTLS compares plain connections with TLS ones.
func overTLS(ctx context.Context, c *caseRunner) ([][]string, error) {
	rows := [][]string{{"", "CPU-µs for a delivery", "p50", "p99", "lost", "memory for each of 5,000 idle connections"}}
	cert, key, err := certificate(c.dir)
	if err != nil {
		return nil, err
	}
	for _, over := range []string{"plain", "TLS"} {
		var flags, env []string
		if over == "TLS" {
			flags, env = []string{"--tls-cert", cert, "--tls-key", key}, []string{"SSL_CERT_FILE=" + cert, "AWS_CA_BUNDLE=" + cert}
		}
		memory, err := c.idleMemory(ctx, flags, env)
		if err != nil {
			return nil, err
		}
		r, used, err := c.fanOut(ctx, flags, env)
		if err != nil {
			return nil, err
		}
		rows = append(rows, []string{over, fmt.Sprintf("%.2f", float64(used.Microseconds())/float64(r.Deliveries)), fmt.Sprintf("%.1f ms", r.Latency.P50),
			fmt.Sprintf("%.1f ms", r.Latency.P99), strconv.Itoa(r.Lost), fmt.Sprintf("%.1f KB", memory)})
	}
	return rows, nil
}

// idleMemory is what a server holds for each of 5,000 idle connections, in KB, 10 s
// after the last came.
func (c *caseRunner) idleMemory(ctx context.Context, flags, env []string) (float64, error) {
	s, err := c.start(ctx, flags...)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	const connections = 5000
	empty, held := s.memory(), 0.0
	var measuring sync.WaitGroup
	measuring.Go(func() {
		for ctx.Err() == nil && s.metric("parlor_connections") != strconv.Itoa(connections) {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		held = s.memory()
	})
	_, err = c.bench(ctx, env, "--endpoint", s.url, "--connections", strconv.Itoa(connections), "--rate", "0", "--duration", "15s")
	if err != nil {
		return 0, err
	}
	measuring.Wait()
	return (held - empty) / connections, nil
}

// fanOut is a run with messages, and the server's processor time for these: that of
// the run less that of one which only opens the connections.
func (c *caseRunner) fanOut(ctx context.Context, flags, env []string) (r benchReport, used time.Duration, err error) {
	s, err := c.start(ctx, flags...)
	if err != nil {
		return r, 0, err
	}
	defer s.stop()
	var spent [2]time.Duration
	for i, rate := range []string{"0", "50"} {
		before := s.cpu()
		r, err = c.bench(ctx, env, "--endpoint", s.url, "--size", "130", "--connections", "1000", "--rate", rate, "--duration", "10s")
		if err != nil {
			return r, 0, err
		}
		spent[i] = s.cpu() - before
	}
	return r, spent[1] - spent[0], nil
}

// benchReport is what is read of the JSON of parlor bench.
type benchReport struct {
	Handshakes struct{ Count int }
	Deliveries int
	Lost       int
	Latency    struct{ P50, P99 float64 }
}

func (b *benchReport) UnmarshalJSON(text []byte) error {
	var r struct {
		Handshakes struct {
			Count int `json:"count"`
		} `json:"handshakes"`
		Deliveries int `json:"deliveries"`
		Lost       int `json:"lost"`
		Latency    struct {
			P50 float64 `json:"p50Ms"`
			P99 float64 `json:"p99Ms"`
		} `json:"latency"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	b.Handshakes.Count, b.Deliveries, b.Lost = r.Handshakes.Count, r.Deliveries, r.Lost
	b.Latency.P50, b.Latency.P99 = r.Latency.P50, r.Latency.P99
	return nil
}

// bench runs parlor bench.
func (c *caseRunner) bench(ctx context.Context, env []string, args ...string) (benchReport, error) {
	command := exec.CommandContext(ctx, c.parlor, append([]string{"bench", "--json"}, args...)...)
	command.Env = append(append(os.Environ(), "AWS_ACCESS_KEY_ID=123456789012", "AWS_SECRET_ACCESS_KEY=any"), env...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	var r benchReport
	if err != nil {
		return r, fmt.Errorf("parlor bench: %w\n%s", err, stderr.String())
	}
	return r, json.Unmarshal(text, &r)
}

// metrics asks servers whose certificate is whoever's: it is ours.
var metrics = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// metric is what /metrics says of one.
func (s *process) metric(name string) string {
	response, err := metrics.Get(s.url + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return value
		}
	}
	return "0"
}

func megabytes(kb float64) string { return fmt.Sprintf("%.0f MB", kb/1024) }
