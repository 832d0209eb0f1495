package store

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
)

func openPostgresStore(t testing.TB, url string) *Store {
	t.Helper()
	s, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// postgresPlan returns how PostgreSQL runs a query: the steps, each with its index and
// what it looks up there, without costs.
func postgresPlan(t *testing.T, s *Store, text string, args []any) string {
	t.Helper()
	for i, arg := range args { // EXPLAIN takes no parameters of its own
		literal := fmt.Sprint(arg)
		if text, ok := arg.(string); ok {
			literal = "'" + text + "'"
		}
		text = regexp.MustCompile(fmt.Sprintf(`\$%d\b`, i+1)).ReplaceAllLiteralString(text, literal)
	}
	var steps []string
	err := s.engine.read(t.Context(), func(q *session) error {
		steps = nil
		return q.rows("EXPLAIN (COSTS OFF) "+text, nil, func(rows *sql.Rows) error {
			var line string
			err := rows.Scan(&line)
			steps = append(steps, strings.TrimSpace(line))
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}

// TestPostgresPlans: as TestPlans, each list starts at its cursor in an index that has
// its order; nothing is sorted, and no other rooms are looked at. So it is for a few rooms
// that nobody has analysed, and for many that somebody has.
func TestPostgresPlans(t *testing.T) {
	server := pgtest.Start(t)
	url := server.CreateDatabase(t)
	s := openPostgresStore(t, url)
	database := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
	check := func(t *testing.T) {
		const name, uri = "stream-1", "arn:1"
		lc := numbered(chat.KindLoggingConfiguration, 1)
		for _, test := range []struct {
			filter chat.RoomFilter
			index  string
			looks  string // what the place in the index is found by
		}{
			{chat.RoomFilter{}, "rooms_by_update on rooms r", "ROW(update_us, id) < "},
			{chat.RoomFilter{Name: name}, "rooms_by_name on rooms r", "(name = 'stream-1'::text) AND (ROW(update_us, id) < "},
			{chat.RoomFilter{HandlerURI: uri}, "rooms_by_handler on rooms r", "(handler_uri = 'arn:1'::text) AND (ROW(update_us, id) < "},
			{chat.RoomFilter{LoggingConfiguration: lc}, "room_logging_by_update on room_logging l", "ROW(update_us, room_id) < "},
			{chat.RoomFilter{Name: name, HandlerURI: uri}, "rooms_by_name on rooms r", "(name = 'stream-1'::text) AND (ROW(update_us, id) < "},
			{chat.RoomFilter{Name: name, LoggingConfiguration: lc}, "rooms_by_name on rooms r", "(name = 'stream-1'::text) AND (ROW(update_us, id) < "},
			{chat.RoomFilter{HandlerURI: uri, LoggingConfiguration: lc}, "room_logging_by_update on room_logging l", "ROW(update_us, room_id) < "},
			{chat.RoomFilter{Name: name, HandlerURI: uri, LoggingConfiguration: lc}, "rooms_by_name on rooms r", "(name = 'stream-1'::text) AND (ROW(update_us, id) < "},
		} {
			text, args, _ := roomQuery(scope, test.filter, chat.Cursor{}, 50)
			got := postgresPlan(t, s, text, args)
			if !strings.Contains(got, "Backward using "+test.index) || !strings.Contains(got, test.looks) || unordered.MatchString(got) {
				t.Errorf("%+v: got\n%s\nwant a scan backward of %s from %s", test.filter, got, test.index, test.looks)
			}
		}
		us, id := place(chat.Cursor{})
		for text, test := range map[string]struct {
			args  []any
			index string
		}{
			sqlListLoggingConfigurations:     {[]any{"1", "2", us, id, 50}, "logging_configurations_by_update"},
			sqlLoggingConfigurationUsed:      {[]any{"1", "2", "x"}, "room_logging_by_update"},
			sqlDeleteSpentTokens:             {[]any{1, 1}, "spent_tokens_by_until"},
			sqlSelectRoom:                    {[]any{"1", "2", "x"}, "rooms_pkey"},
			sqlDeleteRoom:                    {[]any{"1", "2", "x"}, "rooms_pkey"},
			sqlNextRoomScope:                 {[]any{"1", "2"}, "rooms"},
			sqlNextLoggingConfigurationScope: {[]any{"1", "2"}, "logging_configurations"},
		} {
			got := postgresPlan(t, s, text, test.args)
			if !strings.Contains(got, "using "+test.index) || unordered.MatchString(got) {
				t.Errorf("%s: got\n%s\nwant %s in its order", text, got, test.index)
			}
		}
	}
	t.Run("no rooms", check)
	server.Exec(t, database, `
		INSERT INTO logging_configurations SELECT '123456789012', 'eu-west-1', 'x' || lpad(n::text, 11, '0'), '', 's3', 'b', '{}', n, n
			FROM generate_series(1, 10) n;
		INSERT INTO rooms SELECT '123456789012', 'eu-west-1', 'x' || lpad(n::text, 11, '0'), 'stream-' || n % 1000, 10, 500,
			'arn:' || n % 100, 'ALLOW', '[]', '{}', n, n FROM generate_series(1, 30000) n;
		INSERT INTO room_logging SELECT '123456789012', 'eu-west-1', 'x' || lpad(n::text, 11, '0'), 'x00000000001', n
			FROM generate_series(1, 30000, 30) n;
		INSERT INTO spent_tokens SELECT int8send(n), n FROM generate_series(1, 30000) n;`)
	t.Run("30,000 rooms", check)
	server.Exec(t, database, `ANALYZE`)
	t.Run("30,000 rooms analysed", check)
}

var unordered = regexp.MustCompile(`Sort|Seq Scan|Hash Join|Bitmap`)
