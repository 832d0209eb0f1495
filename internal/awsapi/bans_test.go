package awsapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

type listedBans struct {
	Bans []struct {
		UserID     string    `json:"userId"`
		RoomARN    *string   `json:"roomArn"`
		Kind       string    `json:"kind"`
		Reason     *string   `json:"reason"`
		CreateTime time.Time `json:"createTime"`
		ExpireTime time.Time `json:"expireTime"`
		CreatedBy  string    `json:"createdBy"`
	} `json:"bans"`
	NextToken string `json:"nextToken"`
}

// own calls an operation that must succeed.
func (f *fixture) own(t *testing.T, operation, body string, into any) {
	t.Helper()
	w := f.post("parlor/"+operation, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: got %d %s", operation, body, w.Code, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v in %s", operation, err, w.Body)
		}
	}
}

func TestBans(t *testing.T) {
	var told []chat.Notice
	f := newFixture(t, func(c *Config) { c.Notice = func(n chat.Notice) { told = append(told, n) } })
	room := f.created(t, "CreateRoom", `{"tags":{"parlor:history":"50"}}`)
	f.own(t, "BanUser", `{"userId":"eve","roomIdentifier":"`+room+`","durationInSeconds":60,"reason":"spam"}`, nil)
	f.own(t, "MuteUser", `{"userId":"bob"}`, nil)
	var all listedBans
	f.own(t, "ListBans", ``, &all)
	if len(all.Bans) != 2 || all.NextToken != "" {
		t.Fatalf("got %+v", all)
	}
	bob, eve := all.Bans[0], all.Bans[1]
	if eve.UserID != "eve" || eve.RoomARN == nil || *eve.RoomARN != room || eve.Kind != "BAN" || eve.Reason == nil || *eve.Reason != "spam" ||
		eve.ExpireTime.Sub(eve.CreateTime) != time.Minute || !strings.HasPrefix(eve.CreatedBy, "arn:aws:iam::123456789012:") {
		t.Errorf("a ban: got %+v", eve)
	}
	if bob.UserID != "bob" || bob.RoomARN != nil || bob.Kind != "MUTE" || bob.Reason != nil || !bob.ExpireTime.IsZero() {
		t.Errorf("a mute of the account: got %+v", bob)
	}
	if w := f.post("CreateChatToken", `{"roomIdentifier":"`+room+`","userId":"eve"}`); w.Code != http.StatusForbidden || errorOf(t, w).Type != "AccessDeniedException" {
		t.Errorf("a token: got %d %s", w.Code, w.Body)
	}
	for filter, want := range map[string]int{
		`{"roomIdentifier":"` + room + `"}`: 1, `{"userId":"bob"}`: 1, `{"kind":"MUTE"}`: 1, `{"kind":"BAN","userId":"bob"}`: 0,
		`{"roomIdentifier":"` + room[:len(room)-1] + `-"}`: 0,
	} {
		var some listedBans
		f.own(t, "ListBans", filter, &some)
		if len(some.Bans) != want {
			t.Errorf("%s: got %+v, want %d", filter, some, want)
		}
	}
	f.own(t, "UnbanUser", `{"userId":"eve"}`, nil) // that of the account, which is not there
	f.own(t, "UnmuteUser", `{"userId":"bob"}`, nil)
	f.own(t, "ListBans", `{}`, &all)
	if len(all.Bans) != 1 {
		t.Errorf("got %+v, want that of the room", all)
	}
	f.kept.ids = []string{"AAAAAAAAAAAA"}
	var purged struct{ Deleted *int }
	f.own(t, "PurgeUser", `{"userId":"eve","roomIdentifier":"`+room+`"}`, &purged)
	if purged.Deleted == nil || *purged.Deleted != 1 {
		t.Errorf("got %v deleted, want 1", purged.Deleted)
	}

	var notes []string
	for _, n := range told {
		if n.UserID != "" {
			notes = append(notes, fmt.Sprintf("%s %s %s %v %s", n.Action, n.UserID, n.Resource.ID, n.Until.IsZero(), n.Refused))
		}
	}
	id := room[strings.LastIndex(room, "/")+1:]
	want := []string{"BanUser eve " + id + " false ", "MuteUser bob * true ", "CreateChatToken eve " + id + " true AccessDeniedException",
		"UnbanUser eve * true ", "UnmuteUser bob * true ", "PurgeUser eve " + id + " true "}
	if got := strings.Join(notes, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("noted:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestBanPages(t *testing.T) {
	f := newFixture(t)
	for i := range 7 {
		f.own(t, "BanUser", fmt.Sprintf(`{"userId":"user %d"}`, i), nil)
	}
	seen := map[string]bool{}
	for token := ""; ; {
		var page listedBans
		f.own(t, "ListBans", `{"maxResults":3,"nextToken":"`+token+`"}`, &page)
		for _, b := range page.Bans {
			seen[b.UserID] = true
		}
		if token = page.NextToken; token == "" {
			break
		}
		if w := f.post("parlor/ListBans", `{"kind":"MUTE","nextToken":"`+token+`"}`); w.Code != http.StatusBadRequest {
			t.Errorf("a token of another list: got %d", w.Code)
		}
	}
	if len(seen) != 7 {
		t.Errorf("got %v, want 7", seen)
	}
}

func TestBanConstraints(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	long := strings.Repeat("ü", 128)
	for _, test := range []struct {
		name, operation, body string
		refused               string // the members
	}{
		{"everything", "BanUser", `{"userId":"` + long + `","roomIdentifier":"` + room + `","durationInSeconds":315360000,"reason":"` + long + long + `"}`, ""},
		{"null is absent", "MuteUser", `{"userId":"u","roomIdentifier":null,"durationInSeconds":null,"reason":null}`, ""},
		{"nobody", "BanUser", `{}`, "userId"},
		{"an empty id", "MuteUser", `{"userId":""}`, "userId"},
		{"an id too long", "UnbanUser", `{"userId":"` + long + `u"}`, "userId"},
		{"a NUL character", "BanUser", `{"userId":"a\u0000b"}`, "userId"},
		{"no time", "BanUser", `{"userId":"u","durationInSeconds":0}`, "durationInSeconds"},
		{"a time too long", "MuteUser", `{"userId":"u","durationInSeconds":315360001}`, "durationInSeconds"},
		{"an empty reason", "BanUser", `{"userId":"u","reason":""}`, "reason"},
		{"a reason too long", "BanUser", `{"userId":"u","reason":"` + long + long + `r"}`, "reason"},
		{"no room", "BanUser", `{"userId":"u","roomIdentifier":""}`, "roomIdentifier"},
		{"all rooms", "BanUser", `{"userId":"u","roomIdentifier":"arn:aws:ivschat:us-west-2:123456789012:room/*"}`, "roomIdentifier"},
		{"several at once", "BanUser", `{"roomIdentifier":"x","durationInSeconds":-1}`, "userId roomIdentifier durationInSeconds"},
		{"another kind", "ListBans", `{"kind":"KICK"}`, "kind"},
		{"too many", "ListBans", `{"maxResults":51}`, "maxResults"},
		{"no place", "PurgeUser", `{"userId":"u"}`, "roomIdentifier"},
	} {
		w := f.post("parlor/"+test.operation, test.body)
		if test.refused == "" {
			if w.Code != http.StatusOK {
				t.Errorf("%s: got %d %s", test.name, w.Code, w.Body)
			}
			continue
		}
		e := errorOf(t, w)
		var names []string
		for _, field := range e.FieldList {
			names = append(names, field.Name)
		}
		if w.Code != http.StatusBadRequest || e.Type != "ValidationException" || strings.Join(names, " ") != test.refused {
			t.Errorf("%s: got %d %s, want a ValidationException of %s", test.name, w.Code, w.Body, test.refused)
		}
	}
	gone := strings.Replace(room, room[len(room)-12:], "nosuchroom00", 1)
	for _, operation := range []string{"BanUser", "MuteUser", "PurgeUser", "UnbanUser", "UnmuteUser"} {
		if w := f.post("parlor/"+operation, `{"userId":"u","roomIdentifier":"`+gone+`"}`); w.Code != http.StatusNotFound {
			t.Errorf("%s in a room that is not there: got %d %s", operation, w.Code, w.Body)
		}
	}
}

// TestBanPolicies: who may moderate one room may not moderate another, nor all.
func TestBanPolicies(t *testing.T) {
	f := newFixture(t)
	mine, other := f.created(t, "CreateRoom", `{}`), f.created(t, "CreateRoom", `{}`)
	mod := caller{Scope: testScope, Name: "mod", Policy: policy(t, `{"Effect":"Allow","Action":["parlor:BanUser","parlor:ListBans"],"Resource":"`+mine+`"}`)}
	for _, test := range []struct {
		operation, body string
		allowed         bool
	}{
		{"BanUser", `{"userId":"u","roomIdentifier":"` + mine + `"}`, true},
		{"BanUser", `{"userId":"u","roomIdentifier":"` + other + `"}`, false},
		{"BanUser", `{"userId":"u"}`, false},
		{"MuteUser", `{"userId":"u","roomIdentifier":"` + mine + `"}`, false},
		{"UnbanUser", `{"userId":"u","roomIdentifier":"` + mine + `"}`, false},
		{"ListBans", `{"roomIdentifier":"` + mine + `"}`, true},
		{"ListBans", `{}`, false},
		{"PurgeUser", `{"userId":"u","roomIdentifier":"` + mine + `"}`, false},
	} {
		o := operations["POST /parlor/"+test.operation]
		_, err := o.serve(context.Background(), &call{Service: f.service, caller: mod, action: o.action}, source{body: []byte(test.body)})
		if allowed := err == nil; allowed != test.allowed {
			t.Errorf("%s %s: got %v, want it allowed: %v", test.operation, test.body, err, test.allowed)
		}
	}
}
