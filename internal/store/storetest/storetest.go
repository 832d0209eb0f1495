// Package storetest is the contract of [chat.Store] as tests: every engine passes all
// of it. It knows nothing of how a store is made or kept.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parlor/internal/chat"
)

// Open returns an empty store, which ends with the test it is given.
type Open func(t *testing.T) chat.Store

// Run tests the stores that open returns.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		test func(*testing.T, chat.Store)
	}{
		{"rooms", testRooms},
		{"logging configurations", testLoggingConfigurations},
		{"absent resources", testNotFound},
		{"quotas", testQuotas},
		{"logging configurations of rooms", testRoomLogging},
		{"failed changes change nothing", testAtomic},
		{"text of every kind", testText},
		{"scopes are apart", testScopes},
		{"concurrent updates lose nothing", testConcurrentUpdates},
		{"create and delete race", testCreateDeleteRace},
		{"list order and paging", testListOrder},
		{"list filters", testListFilters},
		{"logging configuration list", testLoggingConfigurationList},
		{"paging while rooms change", testStablePaging},
		{"a token is spent once", testSpendToken},
		{"a token is spent again by who spent it", testSpendTokenAgain},
		{"whether a token is spent", testTokenSpent},
		{"beats of nodes", testBeat},
		{"token keys", testTokenKeys},
		{"prune", testPrune},
		{"bans", testBans},
		{"as many bans as may be", testBanQuota},
		{"list of bans", testBanList},
		{"prune bans", testBansPrune},
		{"histories", testHistory},
		{"histories of many rooms", testHistoryRooms},
		{"a user's messages leave a history", testHistoryPurge},
		{"histories of many nodes", testHistoryRace},
		{"ended contexts", testEndedContext},
		{"a change that panics", testPanic},
		{"any sequence of operations", testModel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := open(t)
			if err := store.Ready(t.Context()); err != nil {
				t.Fatalf("Ready: %v", err)
			}
			test.test(t, store)
		})
	}
}

var (
	home = chat.Scope{Region: "eu-west-1", Account: "123456789012"}
	noon = time.Date(2026, 11, 5, 12, 0, 0, 123456000, time.UTC)

	// same compares resources; that a list or map without elements is nil or not says
	// nothing.
	same = cmpopts.EquateEmpty()

	lastID atomic.Int64
)

// newARN returns an ARN that no other call returns.
func newARN(scope chat.Scope, kind chat.Kind) chat.ARN {
	return chat.ARN{Scope: scope, Kind: kind, ID: fmt.Sprintf("x%011d", lastID.Add(1))}
}

// newRoom returns a room with every member set, updated the given number of
// microseconds after noon.
func newRoom(scope chat.Scope, us int) chat.Room {
	return chat.Room{
		ARN:                         newARN(scope, chat.KindRoom),
		Name:                        "lobby",
		CreateTime:                  noon,
		UpdateTime:                  noon.Add(time.Duration(us) * time.Microsecond),
		MaximumMessageRatePerSecond: 10,
		MaximumMessageLength:        500,
		Handler:                     &chat.ReviewHandler{URI: "arn:aws:lambda:eu-west-1:123456789012:function:review", Fallback: chat.FallbackDeny},
		Tags:                        map[string]string{"stage": "test"},
	}
}

func newLoggingConfiguration(scope chat.Scope, us int) chat.LoggingConfiguration {
	return chat.LoggingConfiguration{
		ARN:         newARN(scope, chat.KindLoggingConfiguration),
		Name:        "archive",
		CreateTime:  noon,
		UpdateTime:  noon.Add(time.Duration(us) * time.Microsecond),
		Destination: chat.Destination{Kind: chat.DestinationS3, Name: "bucket"},
		Tags:        map[string]string{"stage": "test"},
	}
}

func createRoom(t *testing.T, store chat.Store, room chat.Room) chat.Room {
	t.Helper()
	if err := store.CreateRoom(t.Context(), room, 0); err != nil {
		t.Fatalf("CreateRoom(%s): %v", room.ARN, err)
	}
	return room
}

func createLogging(t *testing.T, store chat.Store, lc chat.LoggingConfiguration) chat.LoggingConfiguration {
	t.Helper()
	if err := store.CreateLoggingConfiguration(t.Context(), lc, 0); err != nil {
		t.Fatalf("CreateLoggingConfiguration(%s): %v", lc.ARN, err)
	}
	return lc
}

func wantRoom(t *testing.T, store chat.Store, want chat.Room) {
	t.Helper()
	got, err := store.Room(t.Context(), want.ARN)
	if err != nil {
		t.Fatalf("Room(%s): %v", want.ARN, err)
	}
	if diff := cmp.Diff(got, want, same); diff != "" {
		t.Fatalf("Room(%s): got -, want +\n%s", want.ARN, diff)
	}
}

func wantLogging(t *testing.T, store chat.Store, want chat.LoggingConfiguration) {
	t.Helper()
	got, err := store.LoggingConfiguration(t.Context(), want.ARN)
	if err != nil {
		t.Fatalf("LoggingConfiguration(%s): %v", want.ARN, err)
	}
	if diff := cmp.Diff(got, want, same); diff != "" {
		t.Fatalf("LoggingConfiguration(%s): got -, want +\n%s", want.ARN, diff)
	}
}

// wantError checks that err is a *chat.Error of this code about this resource.
func wantError(t *testing.T, what string, err error, code chat.Code, resource chat.ARN) {
	t.Helper()
	if problem := checkError(err, code, resource); problem != "" {
		t.Errorf("%s: %s", what, problem)
	}
}

func checkError(err error, code chat.Code, resource chat.ARN) string {
	var got *chat.Error
	if !errors.As(err, &got) {
		return fmt.Sprintf("got error %v, want a *chat.Error of code %v", err, code)
	}
	if got.Code != code || got.Resource != resource {
		return fmt.Sprintf("got code %v about %v, want %v about %v", got.Code, got.Resource, code, resource)
	}
	return ""
}

// page is a call of Rooms with all but the place and the size bound.
type page func(after chat.Cursor, limit int) ([]chat.Room, error)

func roomPages(ctx context.Context, store chat.Store, scope chat.Scope, filter chat.RoomFilter) page {
	return func(after chat.Cursor, limit int) ([]chat.Room, error) {
		return store.Rooms(ctx, scope, filter, after, limit)
	}
}

// readAll follows the list to its end.
func readAll(next page, limit int) ([]chat.Room, error) {
	var all []chat.Room
	var at chat.Cursor
	for {
		rooms, err := next(at, limit)
		if err != nil {
			return nil, err
		}
		if len(rooms) > limit {
			return nil, fmt.Errorf("got a page of %d, want at most %d", len(rooms), limit)
		}
		all = append(all, rooms...)
		if len(rooms) < limit {
			return all, nil
		}
		last := rooms[len(rooms)-1]
		at = chat.Cursor{UpdateTime: last.UpdateTime, ID: last.ARN.ID}
	}
}

// ids returns the identifiers of rooms, in order.
func ids(rooms []chat.Room) []string {
	out := make([]string, len(rooms))
	for i, room := range rooms {
		out[i] = room.ARN.ID
	}
	return out
}
