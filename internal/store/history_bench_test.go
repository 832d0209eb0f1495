package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

// benchHistory is n entries of about 400 bytes.
func benchHistory(first, n int) (entries []chat.HistoryEntry) {
	for i := first; i < first+n; i++ {
		entries = append(entries, chat.HistoryEntry{Room: numbered(chat.KindRoom, 1), Position: chat.Position{Epoch: 1, Number: uint64(i)}, ID: fmt.Sprintf("%012d", i),
			UserID: fmt.Sprint("user", i%100), Accepted: time.Now(), Frame: []byte(strings.Repeat("x", 400))})
	}
	return entries
}

// What the first session of a room reads, of a store where 20,000 messages of others are.
func BenchmarkRoomHistory(b *testing.B) {
	s := openStore(b)
	for room := range 200 {
		entries := benchHistory(1, 100)
		for i := range entries {
			entries[i].Room = numbered(chat.KindRoom, room)
		}
		if err := s.AppendHistory(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
	}
	for _, count := range []int{50, 100} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if entries, err := s.RoomHistory(b.Context(), numbered(chat.KindRoom, 1), count); err != nil || len(entries) != count {
					b.Fatal(len(entries), err)
				}
			}
		})
	}
}

// A batch of 64 messages, with a pruning for every 32.
func BenchmarkAppendHistory(b *testing.B) {
	s := openStore(b)
	n := 1
	for b.Loop() {
		if err := s.AppendHistory(b.Context(), benchHistory(n, 64)); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if err := s.PruneHistory(b.Context(), numbered(chat.KindRoom, 1), 50, time.Now().Add(-time.Hour)); err != nil {
				b.Fatal(err)
			}
		}
		n += 64
	}
}
