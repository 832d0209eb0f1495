package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

func tokenID(n int) (id chat.TokenID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)) // zero bytes are part of an id like any other
	return id
}

// nobody returns a spender that no other call returns.
func nobody() uint64 { return rand.Uint64() }

// spend spends a token that must not fail to be.
func spend(t *testing.T, store chat.Store, id chat.TokenID, until time.Time) bool {
	t.Helper()
	first, err := store.SpendToken(t.Context(), id, nobody(), until)
	if err != nil {
		t.Fatalf("SpendToken: %v", err)
	}
	return first
}

// wantSpent checks whether a token is known to be used.
func wantSpent(t *testing.T, store chat.Store, id chat.TokenID, want bool) {
	t.Helper()
	got, err := store.TokenSpent(t.Context(), id)
	if err != nil || got != want {
		t.Errorf("TokenSpent: got %v, error %v, want %v", got, err, want)
	}
}

// testTokenSpent: whether a token is used can be asked, which does not use it.
func testTokenSpent(t *testing.T, store chat.Store) {
	for range 2 {
		wantSpent(t, store, tokenID(1), false)
	}
	if !spend(t, store, tokenID(1), noon) {
		t.Error("a token that was asked about: got not first")
	}
	wantSpent(t, store, tokenID(1), true)
	wantSpent(t, store, tokenID(2), false)
	wantSpent(t, store, chat.TokenID{}, false)
	if err := store.PruneTokens(t.Context(), noon, noon); err != nil {
		t.Fatal(err)
	}
	wantSpent(t, store, tokenID(1), true)
	if err := store.PruneTokens(t.Context(), noon, noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	wantSpent(t, store, tokenID(1), false)
}

func testSpendToken(t *testing.T, store chat.Store) {
	if !spend(t, store, tokenID(1), noon) {
		t.Error("a fresh token: got not first")
	}
	for range 2 {
		if spend(t, store, tokenID(1), noon) {
			t.Error("a used token: got first")
		}
	}
	if !spend(t, store, tokenID(2), noon) {
		t.Error("another token: got not first")
	}

	const tokens, contenders = 20, 16
	var winners [tokens]atomic.Int32
	var wg sync.WaitGroup
	for range contenders {
		wg.Go(func() {
			for i := range winners {
				first, err := store.SpendToken(t.Context(), tokenID(100+i), nobody(), noon)
				if err != nil {
					t.Errorf("SpendToken: %v", err)
				}
				if first {
					winners[i].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i := range winners {
		if n := winners[i].Load(); n != 1 {
			t.Errorf("token %d in a race of %d: got %d winners, want 1", i, contenders, n)
		}
	}
}

// testSpendTokenAgain: who spent a token is told so as often as it asks, and nobody
// else ever is.
func testSpendTokenAgain(t *testing.T, store chat.Store) {
	for i, by := range []uint64{0, 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		for _, attempt := range []struct {
			by    uint64
			until time.Time
			first bool
		}{
			{by, noon, true},
			{by, noon, true},
			{by + 1, noon, false},
			{by - 1, noon.Add(time.Hour), false}, // moves the mark's end, not its spender
			{by, noon.Add(-time.Hour), true},
		} {
			first, err := store.SpendToken(t.Context(), tokenID(i), attempt.by, attempt.until)
			if err != nil || first != attempt.first {
				t.Errorf("spent by %d, asked by %d: got first %v, error %v, want %v", by, attempt.by, first, err, attempt.first)
			}
		}
	}
	if err := store.PruneTokens(t.Context(), noon, noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if spend(t, store, tokenID(0), noon) {
		t.Error("a token whose mark was to be kept for longer: got first")
	}

	// In a race of spenders that repeat themselves, one is told first, each time.
	const contenders, repeats = 8, 5
	var winners atomic.Int32
	var wg sync.WaitGroup
	for by := range uint64(contenders) {
		wg.Go(func() {
			won := 0
			for range repeats {
				first, err := store.SpendToken(t.Context(), tokenID(100), by, noon)
				if err != nil {
					t.Errorf("SpendToken: %v", err)
				}
				if first {
					won++
				}
			}
			if won != 0 && won != repeats {
				t.Errorf("spender %d: got first %d times of %d, want always or never", by, won, repeats)
			}
			if won > 0 {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if got := winners.Load(); got != 1 {
		t.Errorf("first spenders: got %d, want 1", got)
	}
}

// testBeat: nodes hear of each other, and not of themselves.
func testBeat(t *testing.T, store chat.Store) {
	beat := func(id string, well bool) []chat.NodeBeat {
		t.Helper()
		before := time.Now()
		// What a node believes about the time says nothing.
		others, err := store.Beat(t.Context(), chat.NodeBeat{ID: id, Well: well, Seen: noon})
		if err != nil {
			t.Fatalf("Beat: %v", err)
		}
		for i, other := range others {
			if age := before.Sub(other.Seen); age < -time.Second || age > chat.NodeSilence {
				t.Errorf("node %s: got seen %v ago, want in the last moments", other.ID, age)
			}
			others[i].Seen = time.Time{}
		}
		return others
	}
	want := func(got []chat.NodeBeat, want ...chat.NodeBeat) {
		t.Helper()
		if diff := cmp.Diff(got, want, same); diff != "" {
			t.Errorf("other nodes: got -, want +\n%s", diff)
		}
	}
	a, b, sickB, c := chat.NodeBeat{ID: "A", Well: true}, chat.NodeBeat{ID: "b", Well: true}, chat.NodeBeat{ID: "b"}, chat.NodeBeat{ID: "C", Well: true}
	want(beat("A", true))
	want(beat("A", true))
	want(beat("b", false), a)
	want(beat("C", true), a, sickB)
	want(beat("b", true), a, c)
	want(beat("A", true), c, b)
}

func wantKeys(t *testing.T, store chat.Store, want ...chat.TokenKey) {
	t.Helper()
	got, err := store.TokenKeys(t.Context())
	if err != nil {
		t.Fatalf("TokenKeys: %v", err)
	}
	if diff := cmp.Diff(got, want, same); diff != "" {
		t.Errorf("TokenKeys: got -, want +\n%s", diff)
	}
}

func newKey(id uint32, created time.Time) chat.TokenKey {
	secret := make([]byte, 32)
	binary.BigEndian.PutUint32(secret[3:], id)
	return chat.TokenKey{ID: id, Created: created, Secret: secret}
}

func testTokenKeys(t *testing.T, store chat.Store) {
	wantKeys(t, store)
	old, middle, young := newKey(1<<32-1, noon), newKey(0, noon.Add(time.Microsecond)), newKey(7, noon.Add(time.Hour))
	for _, key := range []chat.TokenKey{middle, young, old} {
		if err := store.AddTokenKey(t.Context(), key); err != nil {
			t.Fatalf("AddTokenKey: %v", err)
		}
	}
	wantKeys(t, store, old, middle, young)
	if err := store.AddTokenKey(t.Context(), newKey(7, noon)); err == nil {
		t.Error("AddTokenKey with an id that is taken: got no error")
	}
	wantKeys(t, store, old, middle, young)
}

func testPrune(t *testing.T, store chat.Store) {
	old, young := newKey(1, noon.Add(-time.Microsecond)), newKey(2, noon)
	for _, key := range []chat.TokenKey{old, young} {
		if err := store.AddTokenKey(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	const over, kept = 1000, 10 // more than any engine's step
	var wg sync.WaitGroup
	for i := range over + kept {
		until := noon.Add(-time.Duration(1+i) * time.Microsecond)
		if i >= over {
			until = noon.Add(time.Duration(i-over) * time.Nanosecond) // the first exactly now
		}
		wg.Go(func() {
			if _, err := store.SpendToken(t.Context(), tokenID(i), nobody(), until); err != nil {
				t.Errorf("SpendToken: %v", err)
			}
		})
	}
	wg.Wait()
	// A later mark of the same token counts.
	spend(t, store, tokenID(0), noon.Add(time.Hour))
	spend(t, store, tokenID(0), noon.Add(-time.Hour))

	if err := store.PruneTokens(t.Context(), noon, noon); err != nil {
		t.Fatalf("PruneTokens: %v", err)
	}
	wantKeys(t, store, young)
	for i := range over + kept {
		first := spend(t, store, tokenID(i), noon.Add(time.Hour))
		if want := i > 0 && i < over; first != want {
			t.Fatalf("token %d after PruneTokens: got first %v, want %v", i, first, want)
		}
	}
}

func testEndedContext(t *testing.T, store chat.Store) {
	room := createRoom(t, store, newRoom(home, 1))
	lc := createLogging(t, store, newLoggingConfiguration(home, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want context.Canceled", what, err)
		}
	}
	check("CreateRoom", store.CreateRoom(ctx, newRoom(home, 2), 0))
	_, err := store.Room(ctx, room.ARN)
	check("Room", err)
	_, err = store.UpdateRoom(ctx, room.ARN, func(r chat.Room) (chat.Room, error) { return r, nil })
	check("UpdateRoom", err)
	check("DeleteRoom", store.DeleteRoom(ctx, room.ARN))
	_, err = store.Rooms(ctx, home, chat.RoomFilter{}, chat.Cursor{}, 1)
	check("Rooms", err)
	check("CreateLoggingConfiguration", store.CreateLoggingConfiguration(ctx, newLoggingConfiguration(home, 2), 0))
	_, err = store.LoggingConfiguration(ctx, lc.ARN)
	check("LoggingConfiguration", err)
	_, err = store.UpdateLoggingConfiguration(ctx, lc.ARN, func(lc chat.LoggingConfiguration) (chat.LoggingConfiguration, error) { return lc, nil })
	check("UpdateLoggingConfiguration", err)
	check("DeleteLoggingConfiguration", store.DeleteLoggingConfiguration(ctx, lc.ARN))
	_, err = store.LoggingConfigurations(ctx, home, chat.Cursor{}, 1)
	check("LoggingConfigurations", err)
	_, err = store.SpendToken(ctx, tokenID(1), 1, noon)
	check("SpendToken", err)
	_, err = store.TokenSpent(ctx, tokenID(1))
	check("TokenSpent", err)
	_, err = store.TokenKeys(ctx)
	check("TokenKeys", err)
	check("AddTokenKey", store.AddTokenKey(ctx, newKey(1, noon)))
	check("PruneTokens", store.PruneTokens(ctx, noon, noon))
	_, err = store.Beat(ctx, chat.NodeBeat{ID: "a"})
	check("Beat", err)
	check("Ready", store.Ready(ctx))

	wantRoom(t, store, room)
	wantLogging(t, store, lc)

	// Contexts that end at any moment of a write leave the store whole and going.
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			defer cancel()
			room := newRoom(home, i)
			if store.CreateRoom(ctx, room, 0) == nil {
				wantStored(t, store, room)
			}
		})
	}
	wg.Wait()
	createRoom(t, store, newRoom(home, 3))
}

// wantStored is wantRoom for goroutines that are not the test's own.
func wantStored(t *testing.T, store chat.Store, want chat.Room) {
	got, err := store.Room(t.Context(), want.ARN)
	if err != nil {
		t.Errorf("Room(%s): %v", want.ARN, err)
	} else if diff := cmp.Diff(got, want, same); diff != "" {
		t.Errorf("Room(%s): got -, want +\n%s", want.ARN, diff)
	}
}
