package store

// Tests that look inside: plans, commits, failures of the engine.

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

func openStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenSQLite(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sqliteOf(s *Store) *sqliteEngine { return s.engine.(*sqliteEngine) }

var (
	scope = chat.Scope{Region: "eu-west-1", Account: "123456789012"}
	epoch = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
)

func numbered(kind chat.Kind, n int) chat.ARN {
	return chat.ARN{Scope: scope, Kind: kind, ID: fmt.Sprintf("x%011d", n)}
}

func numberedRoom(n int) chat.Room {
	return chat.Room{ARN: numbered(chat.KindRoom, n), CreateTime: epoch, UpdateTime: epoch.Add(time.Duration(n) * time.Microsecond)}
}

// plan returns SQLite's plan of a query.
func plan(t *testing.T, s *Store, text string, args []any) string {
	t.Helper()
	var steps []string
	err := s.engine.read(t.Context(), func(q *session) error {
		return q.rows("EXPLAIN QUERY PLAN "+text, args, func(rows *sql.Rows) error {
			var id, parent, unused int
			var detail string
			err := rows.Scan(&id, &parent, &unused, &detail)
			steps = append(steps, detail)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}

func TestTags(t *testing.T) {
	for name, tags := range map[string]map[string]string{
		"none":        {},
		"one":         {"a": "b"},
		"several":     {"a": "b", "c": "d", "e": "f"},
		"empty":       {"": "", "a": ""},
		"punctuation": {":": ":", ",": ",", "{": "}", "a,": ":b", "}": "{}"},
		"quotes":      {`"`: `":"`, `\`: `\"`, `a":"b`: `,"`},
		"escapes":     {"<&>": "\u2028\x00\n"},
		"code points": {"žluť": "鬼滅 👩‍👧"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := encodeTags(tags)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeTags(text)
			if err != nil || !maps.Equal(got, tags) {
				t.Errorf("decodeTags(%s): got %q, error %v, want %q", text, got, err, tags)
			}
			if plain, ok := decodePlainTags(text); ok && !maps.Equal(plain, tags) {
				t.Errorf("decodePlainTags(%s): got %q, want %q", text, plain, tags)
			}
		})
	}
	for _, text := range []string{"", "{", `{"a`, `{"a":`, `{"a":"b`, `{"a":"b"`, `{"a":1}`, `[]`, `null]`, `{"a":"b"}}`} {
		if got, err := decodeTags(text); err == nil {
			t.Errorf("decodeTags(%s): got %q, want an error", text, got)
		}
	}
}

// TestPlans: each list starts at its cursor in an index that has its order; nothing is
// sorted, nothing skipped. So a page costs the same at any depth.
func TestPlans(t *testing.T) {
	s := openStore(t)
	const (
		byUpdateIndex  = "SEARCH r USING INDEX rooms_by_update (account=? AND region=? AND (update_us,id)<(?,?))"
		byNameIndex    = "SEARCH r USING INDEX rooms_by_name (account=? AND region=? AND name=? AND (update_us,id)<(?,?))"
		byHandlerIndex = "SEARCH r USING INDEX rooms_by_handler (account=? AND region=? AND handler_uri=? AND (update_us,id)<(?,?))"
		byLoggingIndex = "SEARCH l USING COVERING INDEX room_logging_by_update (account=? AND region=? AND logging_configuration_id=? AND (update_us,room_id)<(?,?))\n" +
			"SEARCH r USING INDEX sqlite_autoindex_rooms_1 (account=? AND region=? AND id=?)"
	)
	const byNameThenLogging = byNameIndex + "\n" +
		"SEARCH l EXISTS USING COVERING INDEX sqlite_autoindex_room_logging_1 (account=? AND region=? AND room_id=? AND logging_configuration_id=?)"
	lc := numbered(chat.KindLoggingConfiguration, 1)
	for _, test := range []struct {
		filter chat.RoomFilter
		want   string
	}{
		{chat.RoomFilter{}, byUpdateIndex},
		{chat.RoomFilter{Name: "n"}, byNameIndex},
		{chat.RoomFilter{HandlerURI: "u"}, byHandlerIndex},
		{chat.RoomFilter{LoggingConfiguration: lc}, byLoggingIndex},
		{chat.RoomFilter{Name: "n", HandlerURI: "u"}, byNameIndex},
		{chat.RoomFilter{Name: "n", LoggingConfiguration: lc}, byNameThenLogging},
		{chat.RoomFilter{HandlerURI: "u", LoggingConfiguration: lc}, byLoggingIndex},
		{chat.RoomFilter{Name: "n", HandlerURI: "u", LoggingConfiguration: lc}, byNameThenLogging},
	} {
		text, args, _ := roomQuery(scope, test.filter, chat.Cursor{}, 50)
		if got := plan(t, s, text, args); got != test.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", test.filter, got, test.want)
		}
	}
	us, id := place(chat.Cursor{})
	got := plan(t, s, sqlListLoggingConfigurations, []any{scope.Account, scope.Region, us, id, 50})
	want := "SEARCH logging_configurations USING INDEX logging_configurations_by_update (account=? AND region=? AND (update_us,id)<(?,?))"
	if got != want {
		t.Errorf("logging configurations:\ngot  %s\nwant %s", got, want)
	}
	got = plan(t, s, sqlLoggingConfigurationUsed, []any{scope.Account, scope.Region, "x"})
	want = "SEARCH room_logging USING COVERING INDEX room_logging_by_update (account=? AND region=? AND logging_configuration_id=?)"
	if got != want {
		t.Errorf("is a logging configuration in use:\ngot  %s\nwant %s", got, want)
	}
	if got := plan(t, s, sqlDeleteSpentTokens, []any{1, 1}); strings.Contains(got, "SCAN spent_tokens") || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("delete spent tokens: got %s, want no scan and no sort", got)
	}
}

// TestPragmas: what durability and the split of connections rest on is switched on.
func TestPragmas(t *testing.T) {
	s := openStore(t)
	pragma := func(q *session, name string) string {
		t.Helper()
		var value string
		if _, err := q.row("PRAGMA "+name, nil, &value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	reader := <-sqliteOf(s).readers
	defer func() { sqliteOf(s).readers <- reader }()
	for _, test := range []struct {
		connection *session
		pragma     string
		want       string
	}{
		{sqliteOf(s).writer.session, "journal_mode", "wal"},
		{sqliteOf(s).writer.session, "synchronous", "2"},
		{sqliteOf(s).writer.session, "foreign_keys", "1"},
		{reader, "query_only", "1"},
	} {
		if got := pragma(test.connection, test.pragma); got != test.want {
			t.Errorf("%s: got %s, want %s", test.pragma, got, test.want)
		}
	}
}

// TestWritersShareCommits: writes that arrive while one runs are committed together,
// whatever each of them answers.
func TestWritersShareCommits(t *testing.T) {
	s := openStore(t)
	room := numberedRoom(0)
	if err := s.CreateRoom(t.Context(), room, 0); err != nil {
		t.Fatal(err)
	}
	before := sqliteOf(s).writer.commits
	const writers = 2*maxBatch + 10
	var wg sync.WaitGroup
	_, err := s.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		for n := range writers {
			wg.Go(func() {
				if n%3 == 0 { // a refusal in the middle of the batch
					err := s.DeleteRoom(t.Context(), numbered(chat.KindRoom, 1_000_000+n))
					var refusal *chat.Error
					if !errors.As(err, &refusal) {
						t.Errorf("DeleteRoom of an absent room: got %v, want NotFound", err)
					}
				} else if err := s.CreateRoom(t.Context(), numberedRoom(1+n), 0); err != nil {
					t.Errorf("CreateRoom: %v", err)
				}
			})
		}
		waitQueued(t, s, writers)
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	sqliteOf(s).writer.mu.Lock()
	got := sqliteOf(s).writer.commits - before
	sqliteOf(s).writer.mu.Unlock()
	if want := 1 + 3; got != want {
		t.Errorf("commits of 1 + %d writes: got %d, want %d", writers, got, want)
	}
}

// waitQueued waits until n writes wait for the one that runs.
func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	c := sqliteOf(s).writer
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		queued := len(c.queue)
		c.mu.Unlock()
		if queued == n {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("queued writes: got %d, want %d", queued, n)
			return
		}
	}
}

// TestHalfDoneWriteFailsAlone: an operation that the engine fails after it changed
// something is undone, and those in its batch happen.
func TestHalfDoneWriteFailsAlone(t *testing.T) {
	s := openStore(t)
	room := numberedRoom(0)
	if err := s.CreateRoom(t.Context(), room, 0); err != nil {
		t.Fatal(err)
	}
	const writers = 20
	broken := errors.New("broken")
	write := func(n int) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = errors.New("panic")
			}
		}()
		return s.engine.write(t.Context(), func(q *session) error {
			values, err := roomValues(numberedRoom(n))
			if err != nil {
				return err
			}
			if _, err := q.exec(sqlInsertRoom, values...); err != nil {
				return err
			}
			switch n {
			case 10:
				return broken
			case 11:
				_, err = q.exec(sqlInsertRoom, values...) // the engine refuses
			case 12:
				panic("half-way")
			}
			return err
		})
	}
	fails := func(n int) bool { return n >= 10 && n <= 12 }
	var wg sync.WaitGroup
	_, err := s.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
		for n := 1; n <= writers; n++ {
			wg.Go(func() {
				if err := write(n); (err != nil) != fails(n) || n == 10 && err != broken {
					t.Errorf("write %d: got error %v, want one: %v", n, err, fails(n))
				}
			})
		}
		waitQueued(t, s, writers)
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for n := 1; n <= writers; n++ {
		if _, err := s.Room(t.Context(), numbered(chat.KindRoom, n)); (err != nil) != fails(n) {
			t.Errorf("room %d: got error %v, want one: %v", n, err, fails(n))
		}
	}
}

// TestFullDisk: writes fail with an error while there is no room, reads go on, and
// when there is room again so do writes.
func TestFullDisk(t *testing.T) {
	s := openStore(t)
	if err := s.CreateRoom(t.Context(), numberedRoom(0), 0); err != nil {
		t.Fatal(err)
	}
	pragma := func(text string) {
		t.Helper()
		if _, err := sqliteOf(s).writer.session.conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	pragma("PRAGMA max_page_count = 1") // as small as the database is now
	big := numberedRoom(1)
	big.Tags = map[string]string{"k": strings.Repeat("x", 100_000)}
	var wg sync.WaitGroup
	for n := 1; n <= 20; n++ {
		wg.Go(func() {
			room := big
			room.ARN = numbered(chat.KindRoom, n)
			if err := s.CreateRoom(t.Context(), room, 0); err == nil || !strings.Contains(err.Error(), "full") {
				t.Errorf("CreateRoom on a full disk: got error %v, want one that says so", err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Room(t.Context(), numbered(chat.KindRoom, 0)); err != nil {
		t.Errorf("Room on a full disk: %v", err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready on a full disk: %v", err)
	}
	pragma("PRAGMA max_page_count = 1000000")
	if err := s.CreateRoom(t.Context(), big, 0); err != nil {
		t.Errorf("CreateRoom when there is room again: %v", err)
	}
}

// TestLostConnection: a write connection that breaks gives errors, and no panic.
func TestLostConnection(t *testing.T) {
	s := openStore(t)
	if err := sqliteOf(s).writer.session.conn.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.CreateRoom(t.Context(), numberedRoom(1), 0); !errors.Is(err, sql.ErrConnDone) {
			t.Errorf("CreateRoom: got error %v, want ErrConnDone", err)
		}
	}
}
