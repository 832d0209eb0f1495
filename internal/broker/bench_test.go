package broker

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

// BenchmarkPublish is what a publication costs its sender, and how long it takes to
// another node: one at a time, with a rate, 320 bytes.
func BenchmarkPublish(b *testing.B) {
	room := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: chat.NewID()}
	frame := make([]byte, 320)
	pub := func() *chat.Publication {
		return &chat.Publication{Room: room, ID: chat.NewID(), Frame: frame, Accepted: time.Now()}
	}
	b.Run("Local", func(b *testing.B) {
		l := NewLocal(func(*chat.Publication) {})
		_, cancel, err := l.Subscribe(b.Context(), room)
		if err != nil {
			b.Fatal(err)
		}
		defer cancel()
		for b.Loop() {
			if err := l.Publish(b.Context(), pub(), 1_000_000); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Redis", func(b *testing.B) {
		server := redistest.Start(b)
		here := open(b, server.URL(), "here", func(*chat.Publication) {})
		arrived := make(chan time.Time, 1)
		there := open(b, server.URL(), "there", func(*chat.Publication) { arrived <- time.Now() })
		for _, node := range []*Redis{here, there} {
			_, cancel, err := node.Subscribe(b.Context(), room)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(cancel)
		}
		var own, other []time.Duration
		for b.Loop() {
			begun := time.Now()
			if err := here.Publish(b.Context(), pub(), 1_000_000); err != nil {
				b.Fatal(err)
			}
			own = append(own, time.Since(begun))
			other = append(other, (<-arrived).Sub(begun))
		}
		b.ReportMetric(float64(median(own).Nanoseconds())/1000, "here-p50-µs")
		b.ReportMetric(float64(median(other).Nanoseconds())/1000, "there-p50-µs")
	})
	b.Run("Redis, 64 at once", func(b *testing.B) {
		server := redistest.Start(b)
		here := open(b, server.URL(), "here", func(*chat.Publication) {})
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			own := room
			own.ID = fmt.Sprint("room", n.Add(1))
			for pb.Next() {
				p := pub()
				p.Room = own
				if err := here.Publish(b.Context(), p, 1_000_000); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
