package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parlor/internal/chat"
	"parlor/internal/store"
)

var (
	home = chat.Scope{Region: "eu-west-1", Account: "123456789012"}
	noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
)

// newRoom returns the nth room.
func newRoom(n int) chat.Room {
	return chat.Room{
		ARN:                         chat.ARN{Scope: home, Kind: chat.KindRoom, ID: fmt.Sprintf("room%08d", n)},
		Name:                        "lobby",
		CreateTime:                  noon,
		UpdateTime:                  noon.Add(time.Duration(n) * time.Microsecond),
		MaximumMessageRatePerSecond: 10,
		MaximumMessageLength:        500,
		Tags:                        map[string]string{"stage": "test"},
	}
}

func newLogging(n int) chat.LoggingConfiguration {
	return chat.LoggingConfiguration{
		ARN:         chat.ARN{Scope: home, Kind: chat.KindLoggingConfiguration, ID: fmt.Sprintf("logs%08d", n)},
		CreateTime:  noon,
		UpdateTime:  noon,
		Destination: chat.Destination{Kind: chat.DestinationS3, Name: "bucket"},
		Tags:        map[string]string{},
	}
}

// openDatabase opens the file of a closed store, to look at it or to spoil it.
func openDatabase(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "parlor.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestEverythingSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	lc := newLogging(1)
	room := newRoom(1)
	room.LoggingConfigurations = []chat.ARN{lc.ARN}
	key := chat.TokenKey{ID: 9, Created: noon, Secret: []byte("0123456789abcdef0123456789abcdef")}
	token := chat.TokenID{1}
	first, err := s.SpendToken(t.Context(), token, rand.Uint64(), noon)
	if err := errors.Join(err, s.CreateLoggingConfiguration(t.Context(), lc, 0), s.CreateRoom(t.Context(), room, 0),
		s.AddTokenKey(t.Context(), key), s.Close()); err != nil || !first {
		t.Fatalf("fill the store: first %v, error %v", first, err)
	}

	s = open(t, dir)
	gotRoom, err1 := s.Room(t.Context(), room.ARN)
	gotLogging, err2 := s.LoggingConfiguration(t.Context(), lc.ARN)
	gotKeys, err3 := s.TokenKeys(t.Context())
	first, err4 := s.SpendToken(t.Context(), token, rand.Uint64(), noon)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{gotRoom, gotLogging, gotKeys, first}, []any{room, lc, []chat.TokenKey{key}, false}); diff != "" {
		t.Errorf("after reopening: got -, want +\n%s", diff)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	db := openDatabase(t, dir)
	if _, err := db.Exec(`INSERT INTO schema_versions (version_id, is_applied) VALUES (77, 1)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err = store.OpenSQLite(t.Context(), dir)
	if err == nil {
		t.Fatal("OpenSQLite: got no error")
	}
	for _, want := range []string{dir, "schema version 77", "versions up to 4"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("OpenSQLite: got error %q, want it to say %q", err, want)
		}
	}
	// The refusal gave back the lock: with the version repaired it opens.
	if _, err := openDatabase(t, dir).Exec(`DELETE FROM schema_versions WHERE version_id = 77`); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestSecondServerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenSQLite(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("a second OpenSQLite: got error %v, want one that names %s and says why", err, dir)
	}
	if err := s.CreateRoom(t.Context(), newRoom(1), 0); err != nil {
		t.Errorf("the first store after the second was refused: %v", err)
	}
	s.Close()
	open(t, dir)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space?", "and #100%")
	s := open(t, dir)
	if err := s.CreateRoom(t.Context(), newRoom(1), 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("%s: got mode %o, want 700", path, got)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s: got mode %o, want 600", file.Name(), got)
		}
	}
	want := []string{"parlor.db", "parlor.db-shm", "parlor.db-wal", "parlor.lock"}
	if diff := cmp.Diff(names, want); diff != "" {
		t.Errorf("files: got -, want +\n%s", diff)
	}
}

func TestOpenFails(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"not a database": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "parlor.db"), []byte(strings.Repeat("nothing of the kind ", 1000)), 0o600)
		},
		"a directory in place of the database": func(dir string) error { return os.Mkdir(filepath.Join(dir, "parlor.db"), 0o700) },
		"a directory in place of the lock":     func(dir string) error { return os.Mkdir(filepath.Join(dir, "parlor.lock"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			dir := t.TempDir()
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := store.OpenSQLite(t.Context(), dir); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("OpenSQLite: got error %v, want one that names the directory", err)
			}
		})
	}
	t.Run("a file in place of the directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := store.OpenSQLite(t.Context(), path); err == nil {
			t.Error("OpenSQLite: got no error")
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	// Close while operations run: each ends well or with ErrClosed.
	var wg sync.WaitGroup
	var acknowledged sync.Map
	for w := range 8 {
		wg.Go(func() {
			for n := w; ; n += 8 {
				err := s.CreateRoom(t.Context(), newRoom(n), 0)
				if err == nil {
					acknowledged.Store(n, true)
					_, err = s.Room(t.Context(), newRoom(n).ARN)
				}
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Errorf("while closing: %v", err)
					}
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Ready of a closed store: got error %v, want ErrClosed", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "parlor.db-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log after Close: got error %v, want it gone", err)
	}

	again, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	acknowledged.Range(func(n, _ any) bool {
		if _, err := again.Room(t.Context(), newRoom(n.(int)).ARN); err != nil {
			t.Errorf("room %d was acknowledged: %v", n, err)
		}
		return true
	})
}

// TestReadsDoNotWaitForWrites: while a change holds the write transaction open, reads
// are answered, with the state before it.
func TestReadsDoNotWaitForWrites(t *testing.T) {
	s := open(t, t.TempDir())
	room := newRoom(1)
	if err := s.CreateRoom(t.Context(), room, 0); err != nil {
		t.Fatal(err)
	}
	_, err := s.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		got, err := s.Room(t.Context(), room.ARN)
		if err != nil || got.Name != room.Name {
			t.Errorf("Room during a write: got %v, error %v, want the old one", got, err)
		}
		rooms, err := s.Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, 10)
		if err != nil || len(rooms) != 1 || rooms[0].Name != room.Name {
			t.Errorf("Rooms during a write: got %v, error %v, want the old one", rooms, err)
		}
		r.Name = "changed"
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Room(t.Context(), room.ARN); err != nil || got.Name != "changed" {
		t.Errorf("Room after the write: got %v, error %v, want the new one", got, err)
	}
}

// TestWaitingWriterGivesUp: a write whose context ends while it waits for the one
// before it does not happen, and the next is not held up.
func TestWaitingWriterGivesUp(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.CreateRoom(t.Context(), newRoom(0), 0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	_, err := s.UpdateRoom(t.Context(), newRoom(0).ARN, func(r chat.Room) (chat.Room, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.CreateRoom(ctx, newRoom(1), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("CreateRoom: got error %v, want DeadlineExceeded", err)
		}
		wg.Go(func() {
			if err := s.CreateRoom(t.Context(), newRoom(2), 0); err != nil {
				t.Errorf("CreateRoom behind one that gave up: %v", err)
			}
		})
		return r, nil
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := s.Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, 10)
	if err != nil || len(rooms) != 2 || rooms[0].ARN != newRoom(2).ARN {
		t.Errorf("Rooms: got %v, error %v, want rooms 2 and 0", rooms, err)
	}
}

// TestUpgrade: a database of the first schema is brought up to date with all that is in
// it.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRoom(t.Context(), newRoom(1), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SpendToken(t.Context(), chat.TokenID{1}, 7, noon); err != nil {
		t.Fatal(err)
	}
	s.Close()
	db := openDatabase(t, dir)
	if _, err := db.Exec(`
		DROP TABLE bans;
		DROP TABLE nodes;
		ALTER TABLE spent_tokens DROP COLUMN spender;
		DROP INDEX rooms_by_update;
		CREATE INDEX rooms_by_update ON rooms (account, region, update_us, id);
		DROP TABLE history;
		DELETE FROM schema_versions WHERE version_id >= 2`); err != nil {
		t.Fatal(err)
	}
	db.Close()

	s = open(t, dir)
	rooms, err := s.Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, 10)
	if err != nil || len(rooms) != 1 {
		t.Errorf("Rooms: got %d, error %v, want 1", len(rooms), err)
	}
	if first, err := s.SpendToken(t.Context(), chat.TokenID{1}, 7, noon); err != nil || first {
		t.Errorf("a token spent before: got first %v, error %v, want not first", first, err)
	}
	if _, err := s.Beat(t.Context(), chat.NodeBeat{ID: "a"}); err != nil {
		t.Errorf("Beat: %v", err)
	}
	if entries, err := s.RoomHistory(t.Context(), newRoom(1).ARN, 10); err != nil || len(entries) > 0 {
		t.Errorf("RoomHistory: got %d, error %v, want none", len(entries), err)
	}
}
