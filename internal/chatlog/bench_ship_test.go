package chatlog

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
	"parlor/internal/chatlog/chatlogtest"
)

// BenchmarkWhole is a record's whole way, the processor time of the endpoint included: noted,
// marked, read, shipped; 2,000 records a second in eight rooms. An iteration is a record. What the pace
// alone costs is said first.
func BenchmarkWhole(b *testing.B) {
	for _, name := range []string{"nothing/Firehose", "directory/Firehose", "directory/S3", "protocol/Firehose", "protocol/CloudWatch Logs", "protocol/S3"} {
		b.Run(name, func(b *testing.B) {
			where, kind, _ := strings.Cut(name, "/")
			a := chatlogtest.Start(b)
			sinkCases[kind].create(a)
			setAWS(b, a)
			c := Config{Dir: b.TempDir(), Limit: plenty, Interval: time.Second, S3Interval: time.Second,
				Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry()}
			if where == "directory" {
				c.Local = b.TempDir()
			}
			r, err := New(c)
			if err != nil {
				b.Fatal(err)
			}
			d := &desk{Recorder: r, done: make(chan error, 1)}
			d.run()
			to := []*chat.LoggingConfiguration{configurationOf(sinkCases[kind].kind)}
			rooms := make([]*chat.Publication, 8)
			for i := range rooms {
				rooms[i] = publication(fmt.Sprint("room", i), string(heavy(message("", i, time.Now()), 320).frame))
				rooms[i].Accepted = time.Now()
			}
			before, n := processTime(b), 0
			b.ReportAllocs()
			for b.Loop() {
				if n++; where != "nothing" {
					pub := *rooms[n%len(rooms)]
					mark := r.Intend(&pub, to)
					pub.Position = at(n)
					mark(true)
				}
				if n%20 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
			d.halt(b)
			b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(n), "CPU-µs/record")
		})
	}
}

func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
