package chatlog

import (
	"fmt"
	"testing"
	"time"

	"parlor/internal/chatlog/chatlogtest"
)

// BenchmarkSink takes batches of 10,000 records of 300 bytes in 20 rooms to each kind of
// destination: directories, and endpoints in this process.
func BenchmarkSink(b *testing.B) {
	for name, c := range sinkCases {
		for _, local := range []bool{true, false} {
			where := map[bool]string{true: "directory", false: "protocol"}[local]
			b.Run(fmt.Sprintf("%s/%s", name, where), func(b *testing.B) {
				a := chatlogtest.Start(b)
				c.create(a)
				setAWS(b, a)
				s := newSink(to(c.kind, "there"))
				if local {
					s = &directory{root: b.TempDir(), to: to(c.kind, "there")}
				}
				var took time.Duration
				for b.Loop() {
					b.StopTimer()
					records := make([]*record, maxReady)
					for i := range records {
						records[i] = heavy(message(fmt.Sprint("room", i%20), i, time.Now()), 300)
					}
					b.StartTimer()
					began := time.Now()
					rest, err := s.put(b.Context(), records)
					took += time.Since(began)
					if err != nil || len(rest) > 0 {
						b.Fatalf("%d left, %v", len(rest), err)
					}
				}
				b.ReportMetric(float64(b.N*maxReady)/took.Seconds(), "records/s")
			})
		}
	}
}
