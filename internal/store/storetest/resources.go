package storetest

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

func testRooms(t *testing.T, store chat.Store) {
	full := newRoom(home, 1)
	bare := chat.Room{ARN: newARN(home, chat.KindRoom), CreateTime: noon, UpdateTime: noon}
	detached := newRoom(home, 2)
	detached.Handler = &chat.ReviewHandler{Fallback: chat.FallbackAllow}
	for _, room := range []chat.Room{full, bare, detached} {
		createRoom(t, store, room)
		wantRoom(t, store, room)
	}

	if err := store.CreateRoom(t.Context(), full, 0); err == nil {
		t.Error("CreateRoom of an ARN that is taken: got no error")
	}
	wantRoom(t, store, full)

	changed := newRoom(home, 77)
	changed.ARN, changed.Name, changed.Handler, changed.Tags = full.ARN, "", nil, nil
	changed.MaximumMessageRatePerSecond, changed.MaximumMessageLength = 100, 1
	got, err := store.UpdateRoom(t.Context(), full.ARN, func(room chat.Room) (chat.Room, error) {
		if diff := cmp.Diff(room, full, same); diff != "" {
			t.Errorf("the room to change: got -, want +\n%s", diff)
		}
		return changed, nil
	})
	if err != nil {
		t.Fatalf("UpdateRoom: %v", err)
	}
	if diff := cmp.Diff(got, changed, same); diff != "" {
		t.Errorf("UpdateRoom: got -, want +\n%s", diff)
	}
	wantRoom(t, store, changed)
	wantRoom(t, store, bare)

	if err := store.DeleteRoom(t.Context(), full.ARN); err != nil {
		t.Fatalf("DeleteRoom: %v", err)
	}
	_, err = store.Room(t.Context(), full.ARN)
	wantError(t, "Room after DeleteRoom", err, chat.NotFound, full.ARN)
	wantRoom(t, store, bare)
}

func testLoggingConfigurations(t *testing.T, store chat.Store) {
	for _, kind := range []chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose} {
		lc := newLoggingConfiguration(home, 1)
		lc.Destination = chat.Destination{Kind: kind, Name: "/a/b.c"}
		createLogging(t, store, lc)
		wantLogging(t, store, lc)

		changed := lc
		changed.Name, changed.Tags = "", nil
		changed.UpdateTime = lc.UpdateTime.Add(time.Hour)
		changed.Destination = chat.Destination{Kind: chat.DestinationFirehose, Name: "stream"}
		got, err := store.UpdateLoggingConfiguration(t.Context(), lc.ARN, func(before chat.LoggingConfiguration) (chat.LoggingConfiguration, error) {
			if diff := cmp.Diff(before, lc, same); diff != "" {
				t.Errorf("the logging configuration to change: got -, want +\n%s", diff)
			}
			return changed, nil
		})
		if err != nil {
			t.Fatalf("UpdateLoggingConfiguration: %v", err)
		}
		if diff := cmp.Diff(got, changed, same); diff != "" {
			t.Errorf("UpdateLoggingConfiguration: got -, want +\n%s", diff)
		}
		wantLogging(t, store, changed)

		if err := store.DeleteLoggingConfiguration(t.Context(), lc.ARN); err != nil {
			t.Fatalf("DeleteLoggingConfiguration: %v", err)
		}
		_, err = store.LoggingConfiguration(t.Context(), lc.ARN)
		wantError(t, "LoggingConfiguration after its deletion", err, chat.NotFound, lc.ARN)
	}
}

func testNotFound(t *testing.T, store chat.Store) {
	room := createRoom(t, store, newRoom(home, 1))
	lc := createLogging(t, store, newLoggingConfiguration(home, 1))
	// An id that exists, but as another kind of resource, is absent too.
	for _, arn := range []chat.ARN{
		newARN(home, chat.KindRoom),
		{Scope: home, Kind: chat.KindRoom, ID: lc.ARN.ID},
		lc.ARN,
	} {
		_, err := store.Room(t.Context(), arn)
		wantError(t, "Room", err, chat.NotFound, arn)
		_, err = store.UpdateRoom(t.Context(), arn, func(r chat.Room) (chat.Room, error) {
			t.Error("the change of an absent room was called")
			return r, nil
		})
		wantError(t, "UpdateRoom", err, chat.NotFound, arn)
		wantError(t, "DeleteRoom", store.DeleteRoom(t.Context(), arn), chat.NotFound, arn)
	}
	for _, arn := range []chat.ARN{
		newARN(home, chat.KindLoggingConfiguration),
		{Scope: home, Kind: chat.KindLoggingConfiguration, ID: room.ARN.ID},
		room.ARN,
	} {
		_, err := store.LoggingConfiguration(t.Context(), arn)
		wantError(t, "LoggingConfiguration", err, chat.NotFound, arn)
		_, err = store.UpdateLoggingConfiguration(t.Context(), arn, func(lc chat.LoggingConfiguration) (chat.LoggingConfiguration, error) {
			t.Error("the change of an absent logging configuration was called")
			return lc, nil
		})
		wantError(t, "UpdateLoggingConfiguration", err, chat.NotFound, arn)
		wantError(t, "DeleteLoggingConfiguration", store.DeleteLoggingConfiguration(t.Context(), arn), chat.NotFound, arn)
	}
	wantRoom(t, store, room)
	wantLogging(t, store, lc)
}

// testRoomLogging: what a room refers to exists, from when it refers to it until it
// does no longer.
func testQuotas(t *testing.T, store chat.Store) {
	elsewhere := chat.Scope{Region: "us-west-2", Account: home.Account}
	createRoom(t, store, newRoom(elsewhere, 1)) // counts there
	rooms := make([]chat.Room, 3)
	for i := range rooms {
		rooms[i] = newRoom(home, i)
		if err := store.CreateRoom(t.Context(), rooms[i], 3); err != nil {
			t.Fatalf("room %d of 3: %v", i+1, err)
		}
	}
	over := newRoom(home, 9)
	wantError(t, "CreateRoom over the quota", store.CreateRoom(t.Context(), over, 3), chat.QuotaExceeded, over.ARN)
	_, err := store.Room(t.Context(), over.ARN)
	wantError(t, "Room after that", err, chat.NotFound, over.ARN)
	if err := store.DeleteRoom(t.Context(), rooms[0].ARN); err != nil {
		t.Fatal(err)
	}
	// Many at once: exactly one finds the free place.
	var created atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if store.CreateRoom(t.Context(), newRoom(home, 10+i), 3) == nil {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	if got := created.Load(); got != 1 {
		t.Errorf("rooms created in one free place: got %d, want 1", got)
	}

	if err := store.CreateLoggingConfiguration(t.Context(), newLoggingConfiguration(home, 1), 1); err != nil {
		t.Fatal(err)
	}
	lc := newLoggingConfiguration(home, 2)
	wantError(t, "CreateLoggingConfiguration over the quota", store.CreateLoggingConfiguration(t.Context(), lc, 1), chat.QuotaExceeded, lc.ARN)
}

func testRoomLogging(t *testing.T, store chat.Store) {
	a := createLogging(t, store, newLoggingConfiguration(home, 1)).ARN
	b := createLogging(t, store, newLoggingConfiguration(home, 2)).ARN
	elsewhere := createLogging(t, store, newLoggingConfiguration(chat.Scope{Region: "us-east-1", Account: home.Account}, 3)).ARN
	absent, absentToo := newARN(home, chat.KindLoggingConfiguration), newARN(home, chat.KindLoggingConfiguration)

	for _, test := range []struct {
		logging []chat.ARN
		missing chat.ARN
	}{
		{[]chat.ARN{absent}, absent},
		{[]chat.ARN{a, absentToo, absent}, absentToo},
		{[]chat.ARN{elsewhere}, elsewhere},
	} {
		room := newRoom(home, 1)
		room.LoggingConfigurations = test.logging
		wantError(t, "CreateRoom", store.CreateRoom(t.Context(), room, 0), chat.NotFound, test.missing)
		_, err := store.Room(t.Context(), room.ARN)
		wantError(t, "Room after CreateRoom failed", err, chat.NotFound, room.ARN)
	}

	room := newRoom(home, 1)
	room.LoggingConfigurations = []chat.ARN{b, a, b} // the order and number given is kept
	createRoom(t, store, room)
	wantRoom(t, store, room)
	for _, arn := range []chat.ARN{a, b} {
		wantError(t, "DeleteLoggingConfiguration of one in use", store.DeleteLoggingConfiguration(t.Context(), arn), chat.Conflict, arn)
	}

	set := func(arns ...chat.ARN) error {
		_, err := store.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
			r.LoggingConfigurations = arns
			return r, nil
		})
		return err
	}
	wantError(t, "UpdateRoom", set(a, absent, absentToo), chat.NotFound, absent)
	wantError(t, "UpdateRoom", set(elsewhere), chat.NotFound, elsewhere)
	wantRoom(t, store, room)
	if err := set(a); err != nil {
		t.Fatalf("UpdateRoom: %v", err)
	}
	wantError(t, "DeleteLoggingConfiguration of one in use", store.DeleteLoggingConfiguration(t.Context(), a), chat.Conflict, a)
	if err := store.DeleteLoggingConfiguration(t.Context(), b); err != nil {
		t.Errorf("DeleteLoggingConfiguration of one no longer in use: %v", err)
	}
	if err := set(a); err != nil {
		t.Errorf("UpdateRoom with what the room had already: %v", err)
	}
	if err := store.DeleteRoom(t.Context(), room.ARN); err != nil {
		t.Fatalf("DeleteRoom: %v", err)
	}
	if err := store.DeleteLoggingConfiguration(t.Context(), a); err != nil {
		t.Errorf("DeleteLoggingConfiguration after its last room: %v", err)
	}
}

func testAtomic(t *testing.T, store chat.Store) {
	room := createRoom(t, store, newRoom(home, 1))
	lc := createLogging(t, store, newLoggingConfiguration(home, 1))
	refusal := errors.New("no")
	_, err := store.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		r.Name = "changed"
		return r, refusal
	})
	if err != refusal {
		t.Errorf("UpdateRoom: got error %v, want the change's own", err)
	}
	_, err = store.UpdateLoggingConfiguration(t.Context(), lc.ARN, func(lc chat.LoggingConfiguration) (chat.LoggingConfiguration, error) {
		lc.Name = "changed"
		return lc, refusal
	})
	if err != refusal {
		t.Errorf("UpdateLoggingConfiguration: got error %v, want the change's own", err)
	}
	wantRoom(t, store, room)
	wantLogging(t, store, lc)

	_, err = store.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		r.ARN = newARN(home, chat.KindRoom)
		return r, nil
	})
	if err == nil {
		t.Error("UpdateRoom that changes the ARN: got no error")
	}
	wantRoom(t, store, room)
}

func testText(t *testing.T, store chat.Store) {
	for name, text := range map[string]string{
		"quotes":       `"it's" \ ` + "`" + `; DROP TABLE rooms; --`,
		"code points":  "žluťoučký 鬼滅の刃 👩‍👩‍👧‍👦 \u202e\ufeff",
		"markup":       "<b>&amp;</b>\u2028",
		"placeholders": "$1 ? :a @b %s",
		"blanks":       "  a\tb\r\n ",
		"digits":       "0123456789.50",
	} {
		t.Run(name, func(t *testing.T) {
			room := newRoom(home, 1)
			room.Name, room.Handler.URI = text, text
			room.Tags = map[string]string{text: text, "empty": "", "nul": "a\x00b"}
			createRoom(t, store, room)
			wantRoom(t, store, room)
			got, err := store.Rooms(t.Context(), home, chat.RoomFilter{Name: text, HandlerURI: text}, chat.Cursor{}, 10)
			if err != nil || len(got) != 1 || got[0].ARN != room.ARN {
				t.Errorf("Rooms of that name and handler: got %d rooms, error %v, want the one", len(got), err)
			}

			lc := newLoggingConfiguration(home, 1)
			lc.Name, lc.Destination.Name, lc.Tags = text, text, maps.Clone(room.Tags)
			createLogging(t, store, lc)
			wantLogging(t, store, lc)
		})
	}
}

func testScopes(t *testing.T, store chat.Store) {
	scopes := []chat.Scope{
		home,
		{Region: "us-east-1", Account: home.Account},
		{Region: home.Region, Account: "000000000000"},
		{Region: home.Region, Account: "0"},
	}
	// The same id in all scopes: each has a resource of its own.
	id := newARN(home, chat.KindRoom).ID
	for i, scope := range scopes {
		lc := newLoggingConfiguration(scope, i)
		lc.ARN.ID, lc.Name = id, fmt.Sprint("lc", i)
		createLogging(t, store, lc)
		room := newRoom(scope, i)
		room.ARN.ID, room.Name, room.LoggingConfigurations = id, "same", []chat.ARN{lc.ARN}
		createRoom(t, store, room)
	}
	for i, scope := range scopes {
		arn := chat.ARN{Scope: scope, Kind: chat.KindLoggingConfiguration, ID: id}
		for _, filter := range []chat.RoomFilter{{}, {Name: "same"}, {LoggingConfiguration: arn}} {
			got, err := store.Rooms(t.Context(), scope, filter, chat.Cursor{}, 10)
			if err != nil || len(got) != 1 || got[0].ARN.Scope != scope {
				t.Errorf("Rooms(%v, %+v): got %v, error %v, want the scope's own", scope, filter, got, err)
			}
		}
		other := chat.RoomFilter{LoggingConfiguration: chat.ARN{Scope: scopes[(i+1)%len(scopes)], Kind: arn.Kind, ID: id}}
		if got, err := store.Rooms(t.Context(), scope, other, chat.Cursor{}, 10); err != nil || len(got) != 0 {
			t.Errorf("Rooms by another scope's logging configuration: got %v, error %v, want none", got, err)
		}
		got, err := store.LoggingConfigurations(t.Context(), scope, chat.Cursor{}, 10)
		if err != nil || len(got) != 1 || got[0].Name != fmt.Sprint("lc", i) {
			t.Errorf("LoggingConfigurations(%v): got %v, error %v, want the scope's own", scope, got, err)
		}
	}
	if err := store.DeleteRoom(t.Context(), chat.ARN{Scope: home, Kind: chat.KindRoom, ID: id}); err != nil {
		t.Fatal(err)
	}
	for _, scope := range scopes[1:] {
		if _, err := store.Room(t.Context(), chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: id}); err != nil {
			t.Errorf("Room in %v after the deletion of its namesake: %v", scope, err)
		}
	}
}

func testConcurrentUpdates(t *testing.T, store chat.Store) {
	const writers, updates = 16, 10
	room := newRoom(home, 0)
	room.MaximumMessageLength = 0
	createRoom(t, store, room)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for u := range updates {
				_, err := store.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
					r.MaximumMessageLength++
					r.Tags = maps.Clone(r.Tags)
					r.Tags[fmt.Sprintf("%d-%d", w, u)] = ""
					r.UpdateTime = r.UpdateTime.Add(time.Microsecond)
					return r, nil
				})
				if err != nil {
					t.Errorf("UpdateRoom: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got, err := store.Room(t.Context(), room.ARN)
	if err != nil {
		t.Fatal(err)
	}
	const want = writers * updates
	if got.MaximumMessageLength != want || len(got.Tags) != want+1 {
		t.Errorf("after %d updates: got count %d and %d tags, want all of them", want, got.MaximumMessageLength, len(got.Tags)-1)
	}
	if moved := got.UpdateTime.Sub(room.UpdateTime); moved != want*time.Microsecond {
		t.Errorf("update time: got %v later, want %v", moved, want*time.Microsecond)
	}
}

// testCreateDeleteRace: a room never refers to a logging configuration that is gone.
func testCreateDeleteRace(t *testing.T, store chat.Store) {
	for i := range 20 {
		lc := createLogging(t, store, newLoggingConfiguration(home, i))
		room := newRoom(home, i)
		room.LoggingConfigurations = []chat.ARN{lc.ARN}
		var created, deleted error
		var wg sync.WaitGroup
		wg.Go(func() { created = store.CreateRoom(t.Context(), room, 0) })
		wg.Go(func() { deleted = store.DeleteLoggingConfiguration(t.Context(), lc.ARN) })
		wg.Wait()
		switch {
		case created == nil:
			wantError(t, "DeleteLoggingConfiguration", deleted, chat.Conflict, lc.ARN)
			wantRoom(t, store, room)
		case deleted == nil:
			wantError(t, "CreateRoom", created, chat.NotFound, lc.ARN)
		default:
			t.Errorf("both failed: CreateRoom %v, DeleteLoggingConfiguration %v", created, deleted)
		}
	}
}

func testPanic(t *testing.T, store chat.Store) {
	room := createRoom(t, store, newRoom(home, 1))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("UpdateRoom with a change that panics: got no panic")
			}
		}()
		_, _ = store.UpdateRoom(t.Context(), room.ARN, func(chat.Room) (chat.Room, error) { panic("change") })
	}()
	wantRoom(t, store, room)
	createRoom(t, store, newRoom(home, 2)) // and the store goes on
}
