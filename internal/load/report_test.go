package load

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite testdata/report.txtar")

// invented are reports that show everything a report can.
func invented() map[string]*Report {
	good := newLatencies()
	for i := range 1000 {
		good.record(i, time.Duration(i+1)*time.Duration(i+1)*100*time.Nanosecond) // 0 to 100 ms, most of them short
	}
	good.collect()
	handshakes := newLatencies()
	for i := range 1500 {
		handshakes.record(i, time.Duration(i)*10*time.Microsecond)
	}
	handshakes.collect()
	none := map[string]int{}
	well := Report{
		Rooms: 2, Connections: 1500, Rate: 20, Size: 100,
		Handshakes: summary(handshakes.total), HandshakesPerSecond: 12345.6, HandshakeSeconds: 0.12, HandshakesFailed: none, ConnectionsEnded: none,
		SendSeconds: 10, Sent: 400, Refused: none, Deliveries: 1000, DeliveriesPerSecond: 100,
		Latency: summary(good.total), Histogram: bars(good.total),
	}
	unwell := well
	unwell.Connections = 1_234_567
	unwell.HandshakesFailed = map[string]int{"HTTP 403": 1_233_000, "dial: connection refused": 67}
	unwell.ConnectionsEnded = map[string]int{"close frame 1008": 1, "closed without a close frame": 3}
	unwell.Refused = map[string]int{"429 Too many requests.": 5}
	unwell.Lost, unwell.OutOfOrder, unwell.Disagreeing, unwell.Stalled = 1234, 5, 1, 75
	early := well
	early.Interrupted = true
	nothing := Report{Rooms: 1, Connections: 1, Rate: 1, Size: 100, HandshakesFailed: map[string]int{"HTTP 503": 1}, ConnectionsEnded: none, Refused: none, Histogram: bars(newHistogram())}
	connects := well
	connects.Rate, connects.Sent, connects.Deliveries, connects.DeliveriesPerSecond = 0, 0, 0, 0
	connects.Latency, connects.Histogram = Latency{}, []Bar{}
	return map[string]*Report{"well": &well, "unwell": &unwell, "early": &early, "nothing": &nothing, "connects": &connects}
}

// TestReport compares what people and machines are shown with testdata/report.txtar.
func TestReport(t *testing.T) {
	reports := invented()
	var archive txtar.Archive
	archive.Comment = []byte("Reports as text and JSON. -update rewrites them.\n")
	for _, name := range []string{"well", "unwell", "early", "nothing", "connects"} {
		var text bytes.Buffer
		if err := reports[name].WriteText(&text); err != nil {
			t.Fatal(err)
		}
		archive.Files = append(archive.Files, txtar.File{Name: name + ".txt", Data: text.Bytes()})
	}
	for _, name := range []string{"unwell", "nothing"} {
		shown, err := json.MarshalIndent(reports[name], "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		archive.Files = append(archive.Files, txtar.File{Name: name + ".json", Data: append(shown, '\n')})
	}
	const path = "testdata/report.txtar"
	got := txtar.Format(&archive)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), string(want)); d != "" {
		t.Errorf("-got +want:\n%s", d)
	}
	for _, f := range archive.Files {
		for line := range strings.Lines(string(f.Data)) {
			if strings.HasSuffix(f.Name, ".txt") && len([]rune(line)) > 81 {
				t.Errorf("%s: wider than 80 columns: %s", f.Name, line)
			}
		}
	}
}

// TestBars: all that was recorded is in a bar, at its end at most.
func TestBars(t *testing.T) {
	for _, test := range []struct {
		name string
		d    time.Duration
		want time.Duration
	}{
		{"none", 0, 100 * time.Microsecond},
		{"of a clock that went back", -time.Second, 100 * time.Microsecond},
		{"at the end of a bar", time.Millisecond, time.Millisecond},
		{"after it", time.Millisecond + time.Microsecond, 2 * time.Millisecond},
		{"a second", 999 * time.Millisecond, time.Second},
		{"the longest", longest, 1000 * time.Second},
		{"longer than that", time.Hour, 1000 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLatencies()
			l.record(3, test.d)
			l.collect()
			want := []Bar{{UpTo: Milliseconds(test.want), Count: 1}}
			if d := cmp.Diff(bars(l.total), want); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
		})
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
