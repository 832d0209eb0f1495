package storetest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// before is the order of a list: update time descending, then id descending, by bytes.
func before(a, b chat.Room) int {
	if c := b.UpdateTime.Compare(a.UpdateTime); c != 0 {
		return c
	}
	switch {
	case a.ARN.ID > b.ARN.ID:
		return -1
	case a.ARN.ID < b.ARN.ID:
		return 1
	}
	return 0
}

func testListOrder(t *testing.T, store chat.Store) {
	if got, err := store.Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, 10); err != nil || len(got) != 0 {
		t.Fatalf("Rooms of an empty store: got %v, error %v, want none", got, err)
	}
	// Many ties, and ids whose order differs between bytes and languages.
	var want []chat.Room
	for i, id := range []string{"a", "B", "b", "A", "Z", "z", "0", "9", "a-b", "aB", "ab", "a0", "Aa", "AB"} {
		room := newRoom(home, i/4)
		room.ARN.ID = id
		want = append(want, createRoom(t, store, room))
	}
	slices.SortFunc(want, before)
	for _, limit := range []int{1, 2, 3, 4, len(want) - 1, len(want), len(want) + 1, 1000} {
		got, err := readAll(roomPages(t.Context(), store, home, chat.RoomFilter{}), limit)
		if err != nil {
			t.Fatalf("in pages of %d: %v", limit, err)
		}
		if diff := cmp.Diff(got, want, same); diff != "" {
			t.Errorf("in pages of %d: got -, want +\n%s", limit, diff)
		}
	}
	for _, limit := range []int{0, -1} {
		if got, err := store.Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, limit); err != nil || len(got) != 0 {
			t.Errorf("limit %d: got %d rooms, error %v, want none", limit, len(got), err)
		}
	}

	// A cursor is a place, not a room: it need not exist.
	t.Run("from any place", func(t *testing.T) {
		for _, at := range []chat.Cursor{
			{UpdateTime: noon.Add(time.Hour)},
			{UpdateTime: noon.Add(2 * time.Microsecond), ID: "a1"},
			{UpdateTime: noon, ID: "~"},
			{UpdateTime: noon},
			{UpdateTime: time.Unix(-1, 0), ID: "z"},
		} {
			got, err := store.Rooms(t.Context(), home, chat.RoomFilter{}, at, 100)
			if err != nil {
				t.Fatal(err)
			}
			rest := slices.DeleteFunc(slices.Clone(want), func(r chat.Room) bool {
				return before(r, chat.Room{UpdateTime: at.UpdateTime, ARN: chat.ARN{ID: at.ID}}) <= 0
			})
			if diff := cmp.Diff(ids(got), ids(rest), same); diff != "" {
				t.Errorf("from %v: got -, want +\n%s", at, diff)
			}
		}
	})

	// An update moves a room to where its new time says, also backwards.
	moved := want[len(want)-1]
	for _, us := range []int{1000, -1000, 1} {
		moved.UpdateTime = noon.Add(time.Duration(us) * time.Microsecond)
		if _, err := store.UpdateRoom(t.Context(), moved.ARN, func(chat.Room) (chat.Room, error) { return moved, nil }); err != nil {
			t.Fatal(err)
		}
		want = slices.DeleteFunc(want, func(r chat.Room) bool { return r.ARN == moved.ARN })
		want = append(want, moved)
		slices.SortFunc(want, before)
		got, err := readAll(roomPages(t.Context(), store, home, chat.RoomFilter{}), 3)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ids(got), ids(want)); diff != "" {
			t.Errorf("after an update: got -, want +\n%s", diff)
		}
	}
}

// matches is what a filter means.
func matches(filter chat.RoomFilter, room chat.Room) bool {
	return (filter.Name == "" || filter.Name == room.Name) &&
		(filter.HandlerURI == "" || room.Handler != nil && filter.HandlerURI == room.Handler.URI) &&
		(filter.LoggingConfiguration == chat.ARN{} || slices.Contains(room.LoggingConfigurations, filter.LoggingConfiguration))
}

func testListFilters(t *testing.T, store chat.Store) {
	names := []string{"", "lobby", "Lobby", "lobby2"}
	uris := []string{"", "arn:a", "arn:b"}
	configurations := []chat.ARN{
		createLogging(t, store, newLoggingConfiguration(home, 1)).ARN,
		createLogging(t, store, newLoggingConfiguration(home, 2)).ARN,
		createLogging(t, store, newLoggingConfiguration(home, 3)).ARN,
	}
	random := rand.New(rand.NewPCG(1, 2))
	randomRoom := func() chat.Room {
		room := newRoom(home, random.IntN(20))
		room.Name = names[random.IntN(len(names))]
		room.Handler = nil
		if i := random.IntN(len(uris) + 1); i < len(uris) {
			room.Handler = &chat.ReviewHandler{URI: uris[i], Fallback: chat.FallbackAllow}
		}
		for _, i := range random.Perm(2)[:random.IntN(3)] { // the third is nobody's
			room.LoggingConfigurations = append(room.LoggingConfigurations, configurations[i])
		}
		return room
	}
	var rooms []chat.Room
	for range 60 {
		rooms = append(rooms, createRoom(t, store, randomRoom()))
	}
	for i := range 20 { // links and index entries follow updates
		changed := randomRoom()
		changed.ARN = rooms[i].ARN
		if _, err := store.UpdateRoom(t.Context(), changed.ARN, func(chat.Room) (chat.Room, error) { return changed, nil }); err != nil {
			t.Fatal(err)
		}
		rooms[i] = changed
	}
	slices.SortFunc(rooms, before)

	for _, name := range append(names, "nobody") {
		for _, uri := range append(uris, "arn:nobody") {
			for _, lc := range append(configurations, chat.ARN{}, newARN(home, chat.KindLoggingConfiguration), rooms[0].ARN) {
				filter := chat.RoomFilter{Name: name, HandlerURI: uri, LoggingConfiguration: lc}
				want := slices.DeleteFunc(slices.Clone(rooms), func(r chat.Room) bool { return !matches(filter, r) })
				got, err := readAll(roomPages(t.Context(), store, home, filter), 7)
				if err != nil {
					t.Fatalf("%+v: %v", filter, err)
				}
				if diff := cmp.Diff(got, want, same); diff != "" {
					t.Errorf("%+v: got -, want +\n%s", filter, diff)
				}
			}
		}
	}
}

func testLoggingConfigurationList(t *testing.T, store chat.Store) {
	var want []chat.LoggingConfiguration
	for i := range 25 {
		want = append(want, createLogging(t, store, newLoggingConfiguration(home, i/4)))
	}
	slices.SortFunc(want, func(a, b chat.LoggingConfiguration) int {
		return before(chat.Room{ARN: a.ARN, UpdateTime: a.UpdateTime}, chat.Room{ARN: b.ARN, UpdateTime: b.UpdateTime})
	})
	for _, limit := range []int{0, 1, 3, 25, 26} {
		var got []chat.LoggingConfiguration
		var at chat.Cursor
		for {
			list, err := store.LoggingConfigurations(t.Context(), home, at, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, list...)
			if len(list) == 0 {
				break
			}
			last := list[len(list)-1]
			at = chat.Cursor{UpdateTime: last.UpdateTime, ID: last.ARN.ID}
		}
		if limit == 0 {
			if len(got) != 0 {
				t.Errorf("limit 0: got %d, want none", len(got))
			}
			continue
		}
		if diff := cmp.Diff(got, want, same); diff != "" {
			t.Errorf("in pages of %d: got -, want +\n%s", limit, diff)
		}
	}
}

// testStablePaging: rooms that do not change appear exactly once, in order, while
// others are made, updated and deleted between and during the pages.
func testStablePaging(t *testing.T, store chat.Store) {
	lc := createLogging(t, store, newLoggingConfiguration(home, 0)).ARN
	add := func(us int) chat.Room {
		room := newRoom(home, us)
		room.LoggingConfigurations = []chat.ARN{lc}
		return createRoom(t, store, room)
	}
	var quiet, busy []chat.Room
	for i := range 60 {
		quiet = append(quiet, add(i/3))
		busy = append(busy, add(i/3))
	}
	slices.SortFunc(quiet, before)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch room := &busy[i%len(busy)]; i % 3 {
			case 0:
				now := noon.Add(time.Duration(100+i) * time.Microsecond)
				if _, err := store.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
					r.UpdateTime = now
					return r, nil
				}); err != nil {
					t.Errorf("UpdateRoom: %v", err)
				}
			case 1:
				if err := store.DeleteRoom(t.Context(), room.ARN); err != nil {
					t.Errorf("DeleteRoom: %v", err)
				}
				*room = newRoom(home, i%25)
				room.LoggingConfigurations = []chat.ARN{lc}
				if err := store.CreateRoom(t.Context(), *room, 0); err != nil {
					t.Errorf("CreateRoom: %v", err)
				}
			}
		}
	})
	defer wg.Wait()
	defer close(stop)

	for i, filter := range []chat.RoomFilter{
		{}, {Name: "lobby"}, {HandlerURI: quiet[0].Handler.URI}, {LoggingConfiguration: lc},
		{Name: "lobby", HandlerURI: quiet[0].Handler.URI, LoggingConfiguration: lc},
	} {
		for _, limit := range []int{1, 7} {
			got, err := readAll(roomPages(t.Context(), store, home, filter), limit)
			if err != nil {
				t.Fatal(err)
			}
			unchanged := slices.DeleteFunc(got, func(r chat.Room) bool {
				return !slices.ContainsFunc(quiet, func(q chat.Room) bool { return q.ARN == r.ARN })
			})
			if diff := cmp.Diff(ids(unchanged), ids(quiet)); diff != "" {
				t.Errorf("filter %d in pages of %d, the rooms that did not change: got -, want +\n%s", i, limit, diff)
			}
		}
	}
}
