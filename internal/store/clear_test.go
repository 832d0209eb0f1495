package store_test

import (
	"context"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/store"
)

// TestClear: nothing is left, and all of it can be made again.
func TestClear(t *testing.T) {
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	logging, room, key := newLogging(1), newRoom(1), chat.TokenKey{ID: 7, Created: noon, Secret: make([]byte, 32)}
	room.LoggingConfigurations = []chat.ARN{logging.ARN}
	for range 2 {
		if err := s.CreateLoggingConfiguration(ctx, logging, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateRoom(ctx, room, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.AddTokenKey(ctx, key); err != nil {
			t.Fatal(err)
		}
		if first, err := s.SpendToken(ctx, chat.TokenID{1}, 1, time.Now().Add(time.Hour)); err != nil || !first {
			t.Fatal(first, err)
		}
		if err := s.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		rooms, err := s.Rooms(ctx, home, chat.RoomFilter{}, chat.Cursor{}, 10)
		if err != nil || len(rooms) > 0 {
			t.Errorf("got rooms %v, %v, want none", rooms, err)
		}
		lcs, err := s.LoggingConfigurations(ctx, home, chat.Cursor{}, 10)
		if err != nil || len(lcs) > 0 {
			t.Errorf("got logging configurations %v, %v, want none", lcs, err)
		}
		keys, err := s.TokenKeys(ctx)
		if err != nil || len(keys) > 0 {
			t.Errorf("got keys %v, %v, want none", keys, err)
		}
		if spent, err := s.TokenSpent(ctx, chat.TokenID{1}); err != nil || spent {
			t.Errorf("got a mark: %t, %v, want none", spent, err)
		}
	}
}
