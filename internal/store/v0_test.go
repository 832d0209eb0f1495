package store_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
	"parlor/internal/store"
)

var writeV0 = flag.String("write-v0", "", "directory to write frozen formats to, where there are none yet")

const v0 = "../../testdata/v0"

// What is in testdata/v0/sqlite.

var v0Scope = chat.Scope{Region: "eu-west-1", Account: "123456789012"}

func v0ARN(kind chat.Kind, id string) chat.ARN {
	return chat.ARN{Scope: v0Scope, Kind: kind, ID: id}
}

func v0Time(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 4, 567_891_000, time.UTC) }

func v0Configurations() []chat.LoggingConfiguration {
	return []chat.LoggingConfiguration{
		{ARN: v0ARN(chat.KindLoggingConfiguration, "LcFirehose01"), CreateTime: v0Time(2), UpdateTime: v0Time(22), Tags: map[string]string{},
			Destination: chat.Destination{Kind: chat.DestinationFirehose, Name: "chat"}},
		{ARN: v0ARN(chat.KindLoggingConfiguration, "LcGroup00001"), Name: "group", CreateTime: v0Time(1), UpdateTime: v0Time(21), Tags: map[string]string{"cost centre": "Grüße, \"1\"\n\\"},
			Destination: chat.Destination{Kind: chat.DestinationCloudWatchLogs, Name: "/chat/logs#1"}},
		{ARN: v0ARN(chat.KindLoggingConfiguration, "LcBucket0001"), Name: "bucket", CreateTime: v0Time(0), UpdateTime: v0Time(20), Tags: map[string]string{"a": "", "b": "c"},
			Destination: chat.Destination{Kind: chat.DestinationS3, Name: "chat-logs"}},
	}
}

func v0Rooms() []chat.Room {
	handler := "arn:aws:lambda:eu-west-1:123456789012:function:review"
	return []chat.Room{
		{ARN: v0ARN(chat.KindRoom, "RoomDetached"), Name: "same", CreateTime: v0Time(13), UpdateTime: v0Time(33), MaximumMessageRatePerSecond: 100, MaximumMessageLength: 1,
			Handler: &chat.ReviewHandler{Fallback: chat.FallbackAllow}, Tags: map[string]string{}},
		{ARN: v0ARN(chat.KindRoom, "RoomReviewed"), Name: "same", CreateTime: v0Time(12), UpdateTime: v0Time(32), MaximumMessageRatePerSecond: 1, MaximumMessageLength: 500,
			Handler: &chat.ReviewHandler{URI: handler, Fallback: chat.FallbackDeny}, Tags: map[string]string{"x": "y"}},
		{ARN: v0ARN(chat.KindRoom, "RoomLogged01"), Name: "logged", CreateTime: v0Time(11), UpdateTime: v0Time(31), MaximumMessageRatePerSecond: 10, MaximumMessageLength: 250,
			LoggingConfigurations: []chat.ARN{v0ARN(chat.KindLoggingConfiguration, "LcGroup00001"), v0ARN(chat.KindLoggingConfiguration, "LcBucket0001")}, Tags: map[string]string{"ключ": "значение", "<&>": "\u2028"}},
		{ARN: v0ARN(chat.KindRoom, "RoomPlain001"), CreateTime: v0Time(10), UpdateTime: v0Time(30), MaximumMessageRatePerSecond: 10, MaximumMessageLength: 500, Tags: map[string]string{}},
	}
}

func v0Keys() []chat.TokenKey {
	return []chat.TokenKey{
		{ID: 7, Created: v0Time(0), Secret: []byte("frozen key 1, which is no secret")},
		{ID: 1<<32 - 1, Created: v0Time(40), Secret: []byte("frozen key 2, which is no secret")},
	}
}

var v0Spent = []chat.TokenID{{1, 2, 3, 0, 0xff}, {9}}

// TestV0 reads the database of the first frozen format, and writes to it.
func TestV0(t *testing.T) {
	if *writeV0 != "" {
		writeV0Database(t, filepath.Join(*writeV0, "sqlite"))
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(v0, "sqlite"))); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"migrated", "opened again"} {
		s, err := store.OpenSQLite(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		readV0(t, what, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	writeToV0(t, s)
}

// readV0 reads all there is, by all ways that there are.
func readV0(t *testing.T, what string, s chat.Store) {
	t.Helper()
	ctx := t.Context()
	want := func(name string, got, want any, err error) {
		t.Helper()
		if diff := cmp.Diff(got, want); diff != "" || err != nil {
			t.Errorf("%s: %s: %v (-got +want)\n%s", what, name, err, diff)
		}
	}
	rooms := v0Rooms()
	for _, room := range rooms {
		got, err := s.Room(ctx, room.ARN)
		want("room "+room.ARN.ID, got, room, err)
	}
	for name, c := range map[string]struct {
		filter chat.RoomFilter
		want   []chat.Room
	}{
		"all rooms":        {want: rooms},
		"rooms by name":    {chat.RoomFilter{Name: "same"}, rooms[:2]},
		"rooms by handler": {chat.RoomFilter{HandlerURI: rooms[1].Handler.URI}, rooms[1:2]},
		"rooms by logging": {chat.RoomFilter{LoggingConfiguration: rooms[2].LoggingConfigurations[1]}, rooms[2:3]},
	} {
		got, err := s.Rooms(ctx, v0Scope, c.filter, chat.Cursor{}, 10)
		want(name, got, c.want, err)
	}
	got, err := s.Rooms(ctx, v0Scope, chat.RoomFilter{}, chat.Cursor{UpdateTime: rooms[1].UpdateTime, ID: rooms[1].ARN.ID}, 1)
	want("a page", got, rooms[2:3], err)
	all, err := s.LoggingConfigurations(ctx, v0Scope, chat.Cursor{}, 10)
	want("logging configurations", all, v0Configurations(), err)
	for _, lc := range v0Configurations() {
		got, err := s.LoggingConfiguration(ctx, lc.ARN)
		want("logging configuration "+lc.ARN.ID, got, lc, err)
	}
	keys, err := s.TokenKeys(ctx)
	want("token keys", keys, v0Keys(), err)
	for _, id := range v0Spent {
		if first, err := s.SpendToken(ctx, id, 77, v0Time(0).AddDate(100, 0, 0)); first || err != nil {
			t.Errorf("%s: a spent token: got first %t, %v", what, first, err)
		}
	}
}

func writeToV0(t *testing.T, s chat.Store) {
	t.Helper()
	ctx := t.Context()
	if first, err := s.SpendToken(ctx, chat.TokenID{5}, 2, time.Now().Add(time.Hour)); !first || err != nil {
		t.Errorf("a fresh token: got first %t, %v", first, err)
	}
	if err := s.DeleteLoggingConfiguration(ctx, v0ARN(chat.KindLoggingConfiguration, "LcBucket0001")); err == nil || chat.AsError(err).Code != chat.Conflict {
		t.Errorf("delete a logging configuration in use: got %v", err)
	}
	room, err := s.UpdateRoom(ctx, v0ARN(chat.KindRoom, "RoomLogged01"), func(r chat.Room) (chat.Room, error) {
		r.LoggingConfigurations = r.LoggingConfigurations[:1]
		return r, nil
	})
	if err != nil || len(room.LoggingConfigurations) != 1 {
		t.Errorf("update a room: got %+v, %v", room, err)
	}
	if err := s.DeleteLoggingConfiguration(ctx, v0ARN(chat.KindLoggingConfiguration, "LcBucket0001")); err != nil {
		t.Errorf("delete it when it is not: %v", err)
	}
	for _, room := range v0Rooms() {
		if err := s.DeleteRoom(ctx, room.ARN); err != nil {
			t.Errorf("delete %s: %v", room.ARN.ID, err)
		}
	}
	for _, key := range v0Keys() {
		key.ID--
		if err := s.AddTokenKey(ctx, key); err != nil {
			t.Errorf("add a key: %v", err)
		}
	}
}

// fillV0 puts into a store what the frozen ones have.
func fillV0(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	var errs []error
	for _, lc := range v0Configurations() {
		errs = append(errs, s.CreateLoggingConfiguration(ctx, lc, 0))
	}
	for _, room := range v0Rooms() {
		errs = append(errs, s.CreateRoom(ctx, room, 0))
	}
	for _, key := range v0Keys() {
		errs = append(errs, s.AddTokenKey(ctx, key))
	}
	for _, id := range v0Spent {
		_, err := s.SpendToken(ctx, id, 1, v0Time(0).AddDate(100, 0, 0))
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, s.Close())...); err != nil {
		t.Fatal(err)
	}
}

func writeV0Database(t *testing.T, to string) {
	t.Helper()
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	fillV0(t, s)
	database, err := os.ReadFile(filepath.Join(dir, "parlor.db"))
	if err != nil {
		t.Fatal(err)
	}
	freeze(t, filepath.Join(to, "parlor.db"), database)
	if left, err := filepath.Glob(filepath.Join(dir, "parlor.db-wal")); err != nil || len(left) > 0 {
		t.Fatalf("a log beside the database: %v %v", left, err)
	}
}

// freeze writes a file that must not be there yet.
func freeze(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = out.Write(content)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestV0Postgres is TestV0 for the shared database: a dump of schema version 2, with which
// that began.
func TestV0Postgres(t *testing.T) {
	server := pgtest.Start(t)
	if *writeV0 != "" {
		s, err := store.OpenPostgres(t.Context(), server.CreateDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		fillV0(t, s)
		freeze(t, filepath.Join(*writeV0, "postgres", "parlor.sql"), []byte(server.Dump(t, "test1")))
	}
	dump, err := os.ReadFile(filepath.Join(v0, "postgres", "parlor.sql"))
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "CREATE DATABASE v0")
	server.Exec(t, "v0", string(dump))
	for _, what := range []string{"migrated", "opened again"} {
		s, err := store.OpenPostgres(t.Context(), server.URL("v0"))
		if err != nil {
			t.Fatal(err)
		}
		readV0(t, what, s)
		if what == "opened again" {
			writeToV0(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
