package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"parlor/internal/chat"
)

// benchRoom is a room of about 600 bytes, as a streaming site would make it.
func benchRoom(n int) chat.Room {
	room := numberedRoom(n)
	room.ARN.ID = benchID(n)
	room.Name = fmt.Sprintf("stream-%d", n%1000)
	room.MaximumMessageRatePerSecond, room.MaximumMessageLength = 10, 500
	room.Handler = &chat.ReviewHandler{
		URI:      fmt.Sprintf("arn:aws:lambda:eu-west-1:123456789012:function:review-%d", n%100),
		Fallback: chat.FallbackAllow,
	}
	room.Tags = map[string]string{}
	for i := range 4 {
		room.Tags[fmt.Sprintf("department-of-video-%d", i)] = fmt.Sprintf("a value that says something of it %d", n)
	}
	return room
}

// benchID spreads ids over the key space, as random ones are.
func benchID(n int) string {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n))
	return fmt.Sprintf("%012s", strconv.FormatUint(rand.NewChaCha8(seed).Uint64()>>5, 36))[:12]
}

// benchRooms is how many rooms the read benchmarks have: their file is
// larger than SQLite's caches.
const benchRooms = 100_000

// fill returns a store with benchRooms rooms, one in a hundred of which refers to
// logging configuration 1.
func fill(b *testing.B) *Store {
	b.Helper()
	s := openStore(b)
	lc := chat.LoggingConfiguration{ARN: numbered(chat.KindLoggingConfiguration, 1), CreateTime: epoch, UpdateTime: epoch}
	if err := s.CreateLoggingConfiguration(b.Context(), lc, 0); err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 2 * maxBatch {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= benchRooms; n = int(next.Add(1)) {
				room := benchRoom(n)
				if n%100 == 0 {
					room.LoggingConfigurations = []chat.ARN{lc.ARN}
				}
				if err := s.CreateRoom(b.Context(), room, 0); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return s
}

// parallel shares b.N calls of f among that many goroutines.
func parallel(b *testing.B, writers int, f func(n int) error) {
	b.ReportAllocs()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				if err := f(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkCreateRoom(b *testing.B) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openStore(b)
			parallel(b, writers, func(n int) error { return s.CreateRoom(b.Context(), benchRoom(n), 0) })
		})
	}
}

func BenchmarkSpendToken(b *testing.B) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openStore(b)
			parallel(b, writers, func(n int) error {
				id := chat.TokenID([]byte(benchID(n)))
				first, err := s.SpendToken(b.Context(), id, rand.Uint64(), epoch)
				if err == nil && !first {
					err = fmt.Errorf("token %d was used", n)
				}
				return err
			})
		})
	}
}

func BenchmarkRoom(b *testing.B) {
	s := fill(b)
	for _, readers := range []int{1, 32} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			parallel(b, readers, func(int) error {
				arn := chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: benchID(1 + rand.IntN(benchRooms))}
				_, err := s.Room(b.Context(), arn)
				return err
			})
		})
	}
}

func BenchmarkRooms(b *testing.B) {
	s := fill(b)
	room := benchRoom(100)
	name, uri, lc := room.Name, room.Handler.URI, numbered(chat.KindLoggingConfiguration, 1)
	for _, test := range []struct {
		name   string
		filter chat.RoomFilter
	}{
		{"all", chat.RoomFilter{}},
		{"by name", chat.RoomFilter{Name: name}},
		{"by handler", chat.RoomFilter{HandlerURI: uri}},
		{"by logging configuration", chat.RoomFilter{LoggingConfiguration: lc}},
		{"by all three", chat.RoomFilter{Name: name, HandlerURI: uri, LoggingConfiguration: lc}},
	} {
		for _, place := range []struct {
			name  string
			after chat.Cursor
		}{
			{"first", chat.Cursor{}},
			{"deep", chat.Cursor{UpdateTime: benchRoom(benchRooms / 10).UpdateTime}},
		} {
			b.Run(test.name+"/"+place.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					rooms, err := s.Rooms(b.Context(), scope, test.filter, place.after, 50)
					if err != nil || len(rooms) == 0 {
						b.Fatalf("got %d rooms, error %v", len(rooms), err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		s, err := OpenSQLite(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
