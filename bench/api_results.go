package main

import (
	"cmp"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

type apiResult struct {
	fileSize                         int64
	healthy, ready                   []time.Duration
	healthyAfterKill, readyAfterKill time.Duration
	lists                            []apiList
	rates                            [][]apiRate // by operation, then by round
	memory                           []apiMemory
}

// apiList is one list; its times are sorted.
type apiList struct {
	what              string
	rooms             int
	first, walk, last []time.Duration // the first page many times; every page once; the last tenth of them
	cpu               time.Duration   // of the server, for a page of the walk; 0: not known
}

// apiRate is what all clients together got of one operation; times is sorted, and
// processor time in microseconds for one call.
type apiRate struct {
	name                              string
	target, perSecond, cpu, clientCPU float64
	others                            float64 // processors that other processes used meanwhile
	times                             []time.Duration
}

type apiMemory struct {
	when     string
	mb, most float64 // most: of this process until then
}

func (r *apiResult) addMemory(when string, s *process) {
	m := apiMemory{when, s.memory() / 1024, peak(s) / 1024}
	log.Printf("memory %s: %.0f MB, at most %.0f MB", when, m.mb, m.most)
	r.memory = append(r.memory, m)
}

// writeResults writes RESULTS-api.md.
func (b *apiBench) writeResults(dir string, args []string) error {
	var t strings.Builder
	r := &b.result
	p := func(format string, args ...any) { fmt.Fprintf(&t, format, args...) }
	p("## The control plane\n\n")
	p("`parlor serve` with its default settings, a credentials file and its log in a file, over HTTP on loopback; every signature is verified. ")
	p("The clients run on the same processors. %s rooms of about 600 bytes, %.0f MB on disk, made by `internal/store` before the server started.\n\n",
		withCommas(len(b.ids)), float64(r.fileSize)/1e6)
	p("    go run . %s\n\n%s, %s\n\n", strings.Join(append([]string{"api"}, args...), " "), time.Now().UTC().Format("2006-01-02 15:04 MST"), apiMachine())
	p("%d clients, %s for each operation in each of %d rounds, of which the middle one with the least and the most; rooms taken at random; processor time for one call:\n\n", b.clients, b.duration, b.rounds)
	p("| operation | calls a second | to reach | p50 | p99 | server | clients | processors used by other work |\n|---|---|---|---|---|---|---|---|\n")
	for _, rounds := range r.rates {
		rounds = slices.SortedFunc(slices.Values(rounds), func(x, y apiRate) int { return cmp.Compare(x.perSecond, y.perSecond) })
		o := rounds[len(rounds)/2]
		target := "–"
		if o.target > 0 {
			target = withCommas(int(o.target))
		}
		p("| %s | %s (%s to %s) | %s | %s | %s | %.0f µs | %.0f µs | %.2f |\n", o.name, withCommas(int(o.perSecond)), withCommas(int(rounds[0].perSecond)),
			withCommas(int(rounds[len(rounds)-1].perSecond)), target, quantile(o.times, .5), quantile(o.times, .99), o.cpu, o.clientCPU, o.others)
	}
	p("\nListRooms in pages of 50, one client. To reach: p50 of 2 ms for each filter and at any depth.\n\n")
	p("| list | rooms | first page p50 | p99 | pages | every page once: p50 | p99 | longest | the last tenth of them: p50 | p99 |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range r.lists {
		p("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", l.what, withCommas(l.rooms), quantile(l.first, .5), quantile(l.first, .99),
			withCommas(len(l.walk)), quantile(l.walk, .5), quantile(l.walk, .99), quantile(l.walk, 1), quantile(l.last, .5), quantile(l.last, .99))
	}
	p("\nFrom exec to the first 200 of `/healthz`: %s; of `/readyz`: %s. ", middleOf(r.healthy), middleOf(r.ready))
	p("After a `kill -9` in the middle of CreateRoom: %s, %s. To reach: 200 ms.\n\n", roundTime(r.healthyAfterKill), roundTime(r.readyAfterKill))
	p("Resident memory of the server (to reach: 150 MB):\n\n| when | MB | most until then |\n|---|---|---|\n")
	for _, m := range r.memory {
		p("| %s | %.0f | %.0f |\n", m.when, m.mb, m.most)
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS-api.md"), []byte(t.String()), 0o644)
}

func roundTime(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// spread writes the middle one of times, and their least and most.
func middleOf(times []time.Duration) string {
	sorted := slices.SortedFunc(slices.Values(times), cmp.Compare)
	return fmt.Sprintf("%s (%s to %s of %d starts)", roundTime(sorted[len(sorted)/2]), roundTime(sorted[0]), roundTime(sorted[len(sorted)-1]), len(sorted))
}

func withCommas(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// apiMachine says where this was measured.
func apiMachine() string {
	model := "unknown processor"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		if _, rest, found := strings.Cut(string(text), "model name\t: "); found {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil || len(load) < 4 {
		load = []byte("unknown")
	}
	return fmt.Sprintf("%d processors (%s), %s, load average %s", runtime.NumCPU(), model, runtime.Version(), load[:4])
}

// peak is the most that was ever resident, in KB.
func peak(s *process) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.Atoi(kb)
	return float64(n)
}
