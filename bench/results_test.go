package main

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/load"
)

var update = flag.Bool("update", false, "write the goldens in testdata")

// invented are outcomes that nobody measured: three rounds, of which one has a load
// only for Parlor, which it can hardly bear, and one is silent.
func invented() *results {
	all := scenarios(10 * time.Second)
	var some []scenario
	for _, name := range []string{reference, "10000x100", "idle"} {
		some = append(some, all[slices.IndexFunc(all, func(s scenario) bool { return s.name == name })])
	}
	r := &results{
		machine: machine{cpu: "Invented CPU", cores: 8, kernel: "6.1.0", goVersion: "1.26.0", node: "22.1.0", date: "2026-01-31",
			command: "go run . -rounds 3 -only '^(1000x50|10000x100|idle)'"},
		scenarios: some, rounds: 3, duration: 10 * time.Second,
		peers: []*peer{{name: floor, title: "bare `net.Conn.Write`"}, {name: "parlor", title: "Parlor"},
			{name: "nats", title: "nats-server 2.0.0, WebSocket"}, {name: "ws", title: "npm ws 8.0.0 on Node"}},
	}
	add := func(scenario, peer string, round int, cpu, p50, p99, memory float64, report load.Report) {
		report.Latency = load.Latency{P50: ms(p50), P99: ms(p99), Count: report.Deliveries}
		report.DeliveriesPerSecond = float64(report.Deliveries) / 10
		r.outcomes = append(r.outcomes, outcome{scenario: scenario, peer: peer, round: round, memory: memory, report: &report,
			cpu: time.Duration(cpu * 1000 * float64(report.Deliveries))})
	}
	for i, wobble := range []float64{1, 1.3, 0.95} {
		add(reference, floor, i, 5*wobble, 3.9, 10.6*wobble, 9.7, load.Report{Deliveries: 500_000})
		add(reference, "parlor", i, 5.5*wobble, 4.7, 8.1*wobble, 5.5, load.Report{Deliveries: 500_000})
		add(reference, "nats", i, 10.6*wobble, 6.5, 10.5*wobble, 66.7*wobble, load.Report{Deliveries: 499_990, Lost: 10, ConnectionsEnded: map[string]int{"EOF": 1}})
		add(reference, "ws", i, 7.2/wobble, 4.8, 13.1*wobble*wobble*wobble, 12.8, load.Report{Deliveries: 500_000, OutOfOrder: 1000})
		add("10000x100", "parlor", i, 2.5*wobble, 610, 1840*wobble, 5.2, load.Report{Deliveries: 9_000_000, Lost: 1_000_000, Refused: map[string]int{"429": 7}})
		for _, p := range r.peers {
			add("idle", p.name, i, 0, 0, 0, 6*wobble, load.Report{})
		}
	}
	return r
}

func ms(f float64) load.Milliseconds { return load.Milliseconds(f * float64(time.Millisecond)) }

func TestGoldens(t *testing.T) {
	r := invented()
	files := map[string]string{"RESULTS.md": r.markdown()}
	for _, c := range r.charts() {
		if c.file == "latency.svg" {
			files[c.file] = c.svg()
		}
	}
	for name, got := range files {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant, or run go test -update\n%s", name, got, want)
		}
	}
}

func TestPicturesAreXML(t *testing.T) {
	r := invented()
	r.peers[1].title = `<Parlor> & "friends"`
	charts := r.charts()
	if len(charts) != 3 {
		t.Errorf("got %d pictures, want 3", len(charts))
	}
	for _, c := range charts {
		decoder := xml.NewDecoder(strings.NewReader(c.svg()))
		said := ""
		for {
			token, err := decoder.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
			if text, ok := token.(xml.CharData); ok {
				said += string(text)
			}
		}
		if !strings.Contains(said, r.peers[1].title) {
			t.Errorf("%s does not name %s", c.file, r.peers[1].title)
		}
		checkNumbers(t, c.file, c.svg())
	}
}

// What is silent has no deliveries to divide by.
func TestSilence(t *testing.T) {
	r := invented()
	r.scenarios = r.scenarios[2:]
	r.outcomes = slices.DeleteFunc(r.outcomes, func(o outcome) bool { return o.scenario != "idle" })
	charts := r.charts()
	if len(charts) != 1 || charts[0].file != "memory.svg" {
		t.Errorf("got %d pictures, want that of memory alone", len(charts))
	}
	checkNumbers(t, "RESULTS.md", r.markdown())
	for i := range r.outcomes {
		checkNumbers(t, "log", r.outcomes[i].String())
	}
}

// A server that delivers nothing of what it is asked for has no figures.
func TestNothingDelivered(t *testing.T) {
	r := invented()
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.peer == floor {
			o.report.Deliveries, o.report.Latency = 0, load.Latency{}
		}
	}
	checkNumbers(t, "RESULTS.md", r.markdown())
	if !strings.Contains(r.markdown(), "| bare `net.Conn.Write` | – | – | – | – | – |") {
		t.Error("the floor has figures")
	}
}

func checkNumbers(t *testing.T, name, text string) {
	t.Helper()
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s says %s:\n%s", name, bad, text)
		}
	}
}

func TestOverFloor(t *testing.T) {
	outcomes := func(scenario, peer string, perDelivery ...float64) (all []outcome) {
		for i, f := range perDelivery {
			all = append(all, outcome{scenario: scenario, peer: peer, round: i, cpu: time.Duration(f * 1e6), report: &load.Report{Deliveries: 1000}})
		}
		return all
	}
	base := outcomes(reference, floor, 1, 2, 4)
	for _, test := range []struct {
		name, scenario string
		outcomes       []outcome
		want           float64
		ok             bool
	}{
		{"median of the rounds' ratios", reference, slices.Concat(base, outcomes(reference, "parlor", 3, 4, 4)), 2, true},
		{"as dear as the floor", reference, slices.Concat(base, outcomes(reference, "parlor", 1, 2, 4)), 1, true},
		{"to the reference's median", "4000x100", slices.Concat(base, outcomes("4000x100", "parlor", 3, 1, 2)), 1, true},
		{"no floor at all", "4000x100", outcomes("4000x100", "parlor", 3), 0, false},
		{"no round in common", reference, append(outcomes(reference, floor, 1), outcome{scenario: reference, peer: "parlor", round: 1, report: &load.Report{Deliveries: 1}}), 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &results{outcomes: test.outcomes}
			if got, ok := r.overFloor(test.scenario, "parlor"); got != test.want || ok != test.ok {
				t.Errorf("got %v, %v, want %v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		name string
		all  []float64
		want spread
		cell string
	}{
		{"nothing", nil, spread{}, "–"},
		{"one", []float64{5}, spread{median: 5, least: 5, most: 5, count: 1}, "5.00"},
		{"odd", []float64{3, 100, 2}, spread{median: 3, least: 2, most: 100, count: 3}, "3.00 (2.00–100)"},
		{"even", []float64{4, 1, 2, 1234}, spread{median: 3, least: 1, most: 1234, count: 4}, "3.00 (1.00–1,234)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := spreadOf(test.all)
			if got != test.want || got.cell() != test.cell {
				t.Errorf("got %v %q, want %v %q", got, got.cell(), test.want, test.cell)
			}
		})
	}
}

func TestAxis(t *testing.T) {
	for _, test := range []struct {
		name      string
		medians   []float64
		end, step float64
		cut       bool
	}{
		{"beyond the longest", []float64{2.7, 5.3, 10.6}, 12, 2, false},
		{"at the longest", []float64{1, 5}, 5, 0.5, false},
		{"below one", []float64{0.013, 0.02}, 0.02, 0.002, false},
		{"hundreds", []float64{120, 610}, 700, 100, false},
		{"cut, for one dwarfs the others", []float64{5, 6, 7, 8, 900}, 8, 1, true},
		{"all nothing", []float64{0, 0}, 1, 1, false},
		{"less than nothing", []float64{-1, -2}, 1, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &chart{groups: []group{{}}}
			for _, m := range test.medians {
				c.groups[0].bars = append(c.groups[0].bars, bar{spread: spreadOf([]float64{m})})
			}
			end, step, cut := c.axis()
			if diff := end - test.end; diff > 1e-9 || diff < -1e-9 || figure(step*1000) != figure(test.step*1000) || cut != test.cut {
				t.Errorf("got %v by %v, cut %v; want %v by %v, cut %v", end, step, cut, test.end, test.step, test.cut)
			}
		})
	}
}

func TestCommandNamesNoPaths(t *testing.T) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	for _, name := range []string{"only", "out", "parlor", "parlor-flags", "rounds"} {
		flags.String(name, "", "")
	}
	if err := flags.Parse([]string{"-only", "^(1000x50|it's)", "-out", "/tmp/secret", "-parlor", "secret/parlor", "-parlor-flags", "--data /secret --quotas=/secret", "-rounds", "2"}); err != nil {
		t.Fatal(err)
	}
	got := command(flags)
	want := `go run . -only '^(1000x50|it'\''s)' -parlor PATH -parlor-flags '--data PATH --quotas=PATH' -rounds 2`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWriteResults(t *testing.T) {
	r, dir := invented(), t.TempDir()
	r.outcomes = slices.DeleteFunc(r.outcomes, func(o outcome) bool { return o.peer == "ws" }) // there may be no Node here
	if err := writeResults(t.Context(), dir, r.scenarios, r.peers, r.outcomes, r.rounds, r.duration); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.charts() {
		if _, err := os.Stat(filepath.Join(dir, "plots", c.file)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(text), "(plots/"+c.file+")") {
			t.Errorf("RESULTS.md does not show %s", c.file)
		}
	}
}
