package chat

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testCursor = Cursor{UpdateTime: time.Date(2022, 12, 2, 8, 21, 20, 754555000, time.UTC), ID: "M2YcHkgffEvU"}

func TestPageTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := listing{scope: testScope, what: KindRoom, filter: RoomFilter{Name: rapid.String().Draw(t, "name")}}
		want := Cursor{
			UpdateTime: time.UnixMicro(rapid.Int64().Draw(t, "time")).UTC(),
			ID:         rapid.StringMatching(`[a-zA-Z0-9-]{1,84}`).Draw(t, "id"),
		}
		token := l.token(want)
		if len(token) > maxPageToken {
			t.Errorf("length: got %d, want at most %d", len(token), maxPageToken)
		}
		if got, err := l.parseToken(token); err != nil || got != want {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
	})
	if got, err := (listing{}).parseToken(""); err != nil || got != (Cursor{}) {
		t.Errorf("no token: got %v %v, want the beginning", got, err)
	}
}

func TestPageTokenOfAnotherList(t *testing.T) {
	lc := ARN{Scope: testScope, Kind: KindLoggingConfiguration, ID: "a"}
	lists := []listing{
		{scope: testScope, what: KindRoom},
		{scope: testScope, what: KindLoggingConfiguration},
		{scope: Scope{Region: "eu-west-1", Account: testScope.Account}, what: KindRoom},
		{scope: Scope{Region: testScope.Region, Account: "210987654321"}, what: KindRoom},
		{scope: testScope, what: KindRoom, filter: RoomFilter{Name: "a"}},
		{scope: testScope, what: KindRoom, filter: RoomFilter{Name: "b"}},
		{scope: testScope, what: KindRoom, filter: RoomFilter{HandlerURI: "a"}}, // the same text in another member
		{scope: testScope, what: KindRoom, filter: RoomFilter{LoggingConfiguration: lc}},
	}
	for i, from := range lists {
		for j, to := range lists {
			got, err := to.parseToken(from.token(testCursor))
			if i == j && (err != nil || got != testCursor) {
				t.Errorf("%+v: got %v %v, want its own token", to, got, err)
			}
			if i != j && err != errPageToken {
				t.Errorf("%+v took a token of %+v: %v", to, from, err)
			}
		}
	}
}

func TestPageTokenGarbled(t *testing.T) {
	l := listing{scope: testScope, what: KindRoom}
	token := l.token(testCursor)
	refused := func(what, token string) {
		t.Helper()
		if _, err := l.parseToken(token); err != errPageToken {
			t.Fatalf("%s %q: got %v, want %v", what, token, err, errPageToken)
		}
	}
	eachGarbled(token, refused)
	refused("not base64", "!")
	refused("only a checksum", base64.RawURLEncoding.EncodeToString(make([]byte, 12)))
	refused("too long", l.token(Cursor{ID: strings.Repeat("a", maxPageToken)}))
}

// garbles are characters that a token might be changed by: all of base64's, of either
// alphabet, and some of neither.
const garbles = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= .~\r\n\t\x00\xff"

// eachGarbled calls f with every token that differs from this one by a character that
// was changed, added or taken away, and with every part that was cut off it.
func eachGarbled(token string, f func(what, garbled string)) {
	for i := range len(token) {
		if i > 0 {
			f("its beginning", token[:i])
			f("its end", token[i:])
		}
		f("one taken away", token[:i]+token[i+1:])
		for _, c := range []byte(garbles) {
			if token[i] != c {
				f("one changed", token[:i]+string([]byte{c})+token[i+1:])
			}
		}
	}
	for i := range len(token) + 1 {
		for _, c := range []byte(garbles) {
			if garbled := token[:i] + string([]byte{c}) + token[i:]; garbled != token {
				f("one added", garbled)
			}
		}
	}
	f("twice", token+token)
}

func TestLists(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		lc := w.loggingConfiguration(t)
		var ids []string // most recently updated first
		for i := range 7 {
			time.Sleep(time.Millisecond)
			spec := RoomSpec{Name: fmt.Sprint(i % 2)}
			if i == 3 {
				spec.Handler = &HandlerChange{URI: ptr(lambda1)}
				spec.LoggingConfigurations = []ARN{lc.ARN}
			}
			ids = append([]string{w.room(t, spec).ARN.ID}, ids...)
		}
		if _, err := w.service.CreateRoom(t.Context(), Scope{Region: "eu-west-1", Account: testScope.Account}, RoomSpec{}); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name   string
			scope  Scope
			filter RoomFilter
			want   []string
		}{
			{"all", testScope, RoomFilter{}, ids},
			{"by name", testScope, RoomFilter{Name: "1"}, []string{ids[1], ids[3], ids[5]}},
			{"by handler", testScope, RoomFilter{HandlerURI: lambda1}, []string{ids[3]}},
			{"by logging configuration", testScope, RoomFilter{LoggingConfiguration: lc.ARN}, []string{ids[3]}},
			{"none", testScope, RoomFilter{Name: "2"}, nil},
			{"another account", Scope{Region: testScope.Region, Account: "1"}, RoomFilter{}, nil},
		} {
			for limit := 1; limit <= 8; limit++ {
				var got []string
				pages := 0
				for token := ""; pages == 0 || token != ""; pages++ {
					rooms, next, err := w.service.ListRooms(t.Context(), test.scope, test.filter, token, limit)
					if err != nil || len(rooms) > limit {
						t.Fatalf("%s: got %d rooms, %v", test.name, len(rooms), err)
					}
					for _, r := range rooms {
						got = append(got, r.ARN.ID)
					}
					token = next
				}
				if fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("%s by %d: got %v, want %v", test.name, limit, got, test.want)
				}
				// No page is empty but the only one.
				if want := max(1, (len(test.want)+limit-1)/limit); pages != want {
					t.Errorf("%s by %d: got %d pages, want %d", test.name, limit, pages, want)
				}
			}
		}

		t.Log("what does not change is shown exactly once, whatever happens to the others")
		page, next, err := w.service.ListRooms(t.Context(), testScope, RoomFilter{}, "", 3)
		if err != nil || len(page) != 3 {
			t.Fatal(len(page), err)
		}
		room := func(id string) ARN { return ARN{Scope: testScope, Kind: KindRoom, ID: id} }
		for _, err := range []error{
			w.service.DeleteRoom(t.Context(), room(ids[2])), // the place itself
			second(w.service.UpdateRoom(t.Context(), room(ids[4]), RoomChange{})),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		rest, next, err := w.service.ListRooms(t.Context(), testScope, RoomFilter{}, next, 10)
		if err != nil || next != "" || len(rest) != 3 || rest[0].ARN.ID != ids[3] || rest[1].ARN.ID != ids[5] || rest[2].ARN.ID != ids[6] {
			t.Errorf("got %v %v", rest, err)
		}
		if _, _, err := w.service.ListRooms(t.Context(), testScope, RoomFilter{}, "garbage", 1); code(err) != BadRequest {
			t.Errorf("a garbled token: got %v, want BadRequest", err)
		}
	})
}

func TestListLoggingConfigurations(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var want []ARN // all made in the same microsecond: the id decides
		for range 5 {
			want = append(want, w.loggingConfiguration(t).ARN)
		}
		for limit := 1; limit <= 6; limit++ {
			seen := map[ARN]int{}
			last := "~" // after every id
			for token, first := "", true; first || token != ""; first = false {
				lcs, next, err := w.service.ListLoggingConfigurations(t.Context(), testScope, token, limit)
				if err != nil || len(lcs) > limit {
					t.Fatal(len(lcs), err)
				}
				for _, lc := range lcs {
					seen[lc.ARN]++
					if lc.ARN.ID >= last {
						t.Errorf("by %d: %s after %s", limit, lc.ARN.ID, last)
					}
					last = lc.ARN.ID
				}
				token = next
			}
			for _, arn := range want {
				if seen[arn] != 1 {
					t.Errorf("by %d: %s was shown %d times", limit, arn, seen[arn])
				}
			}
		}
		roomToken := listing{scope: testScope, what: KindRoom}.token(testCursor)
		if _, _, err := w.service.ListLoggingConfigurations(t.Context(), testScope, roomToken, 1); code(err) != BadRequest {
			t.Errorf("a token of the list of rooms: got %v, want BadRequest", err)
		}
	})
}
