package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
	"parlor/internal/store"
)

var here = chat.Scope{Region: "us-west-2", Account: "123456789012"}

func loggedRoom(scope chat.Scope, id string, logging ...string) chat.Room {
	room := chat.Room{ARN: chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: id}, Name: "n", MaximumMessageRatePerSecond: 1, MaximumMessageLength: 2,
		CreateTime: time.UnixMicro(1).UTC(), UpdateTime: time.UnixMicro(2).UTC(), Tags: map[string]string{"k": "v"}}
	for _, lc := range logging {
		room.LoggingConfigurations = append(room.LoggingConfigurations, configuration(scope, lc).ARN)
	}
	return room
}

func configuration(scope chat.Scope, id string) chat.LoggingConfiguration {
	return chat.LoggingConfiguration{ARN: chat.ARN{Scope: scope, Kind: chat.KindLoggingConfiguration, ID: id}, Tags: map[string]string{},
		Destination: chat.Destination{Kind: chat.DestinationS3, Name: "bucket"}, CreateTime: time.UnixMicro(3).UTC(), UpdateTime: time.UnixMicro(4).UTC()}
}

func all[T any](t *testing.T, seq iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// loadAll loads things and returns what became of each.
func loadAll(t *testing.T, s *store.Store, replace bool, things ...any) (became []store.Loaded) {
	t.Helper()
	outcomes, err := s.Load(t.Context(), things, replace)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if (o.Err != nil) != (o.Loaded == store.LoadedRefused) {
			t.Errorf("got the outcome %+v", o)
		}
		became = append(became, o.Loaded)
	}
	return became
}

// TestDump: all there is, page after page, by account, region and id.
func TestDump(t *testing.T) {
	s := open(t, t.TempDir())
	var want []chat.Room
	for _, scope := range []chat.Scope{{Region: "eu-west-1", Account: "000000000001"}, {Region: "us-west-2", Account: "000000000001"}, {Region: "a", Account: "000000000002"}} {
		count := 3
		if scope.Region == "us-west-2" {
			count = 1000 // two whole pages
		}
		var things []any
		for n := range count {
			room := loggedRoom(scope, fmt.Sprintf("r%06d", n))
			want = append(want, room)
			things = append(things, room)
		}
		slices.Reverse(things)
		loadAll(t, s, false, things...)
	}
	alone := configuration(chat.Scope{Region: "b", Account: "000000000000"}, "Lc")
	loadAll(t, s, false, alone)
	if diff := cmp.Diff(all(t, s.DumpRooms(t.Context())), want); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(all(t, s.DumpLoggingConfigurations(t.Context())), []chat.LoggingConfiguration{alone}); diff != "" {
		t.Error(diff)
	}
	for range s.DumpRooms(t.Context()) {
		break // the iterator stops
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.DumpRooms(t.Context()) {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v, want %v", err, store.ErrClosed)
		}
	}
}

func TestLoad(t *testing.T) {
	s := open(t, t.TempDir())
	lc, other := configuration(here, "Lc"), configuration(here, "Other")
	room := loggedRoom(here, "Room", "Lc")
	if got, want := loadAll(t, s, false, lc, room, loggedRoom(here, "Bad", "Lc", "Other"), loggedRoom(here, "Last")), []store.Loaded{store.LoadedNew, store.LoadedNew, store.LoadedRefused, store.LoadedNew}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := s.Room(t.Context(), loggedRoom(here, "Bad").ARN); err == nil {
		t.Error("a room that was refused is there")
	}
	changed := loggedRoom(here, "Room", "Other")
	changed.Name, changed.UpdateTime = "changed", time.UnixMicro(9).UTC()
	for _, tc := range []struct {
		replace bool
		became  store.Loaded
		want    chat.Room
	}{{false, store.LoadedNot, room}, {true, store.LoadedOver, changed}} {
		loadAll(t, s, tc.replace, other)
		if got := loadAll(t, s, tc.replace, changed); got[0] != tc.became {
			t.Errorf("replace %t: got %v, want %v", tc.replace, got, tc.became)
		}
		got, err := s.Room(t.Context(), room.ARN)
		if diff := cmp.Diff(got, tc.want); err != nil || diff != "" {
			t.Errorf("replace %t: %v\n%s", tc.replace, err, diff)
		}
	}
	// The links follow: the first is free now, the other is not.
	if err := s.DeleteLoggingConfiguration(t.Context(), lc.ARN); err != nil {
		t.Error(err)
	}
	if err := s.DeleteLoggingConfiguration(t.Context(), other.ARN); err == nil {
		t.Error("a logging configuration in use was deleted")
	}
}

func TestLoadTokens(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now().UTC().Truncate(time.Microsecond)
	key := chat.TokenKey{ID: 1<<32 - 1, Created: now, Secret: bytes.Repeat([]byte{7}, 32)}
	another := chat.TokenKey{ID: key.ID, Created: now, Secret: bytes.Repeat([]byte{8}, 32)}
	if got, want := loadAll(t, s, true, key, key, another), []store.Loaded{store.LoadedNew, store.LoadedNot, store.LoadedRefused}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ring, err := s.TokenKeys(t.Context())
	if diff := cmp.Diff(ring, []chat.TokenKey{key}); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	id := chat.TokenID{1, 2, 3}
	loadAll(t, s, false, store.SpentToken{ID: id, Until: now.Add(time.Hour)})
	over := store.SpentToken{ID: chat.TokenID{0}, Until: now.Add(-time.Second)}
	long, short := store.SpentToken{ID: id, Until: now.Add(2 * time.Hour)}, store.SpentToken{ID: id, Until: now}
	if got, want := loadAll(t, s, false, over, long, short), []store.Loaded{store.LoadedNew, store.LoadedNot, store.LoadedNot}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if diff := cmp.Diff(all(t, s.DumpSpentTokens(t.Context(), now)), []store.SpentToken{long}); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Load(t.Context(), []any{loggedRoom(here, "Room"), "sofa"}, false); err == nil {
		t.Error("a sofa was loaded")
	}
	if got := all(t, s.DumpRooms(t.Context())); len(got) > 0 {
		t.Errorf("got %v of a batch that failed", got)
	}
}
