package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// checks are the faults that a SEND_MESSAGE can have, in the order in which they are
// looked for. Any number of them can be arranged at once.
var checks = []struct {
	name    string
	code    Code
	text    string // the room's ARN is %s
	request string // the RequestID echoed
	arrange func(a *attempt)
}{
	{"connection rate", TooManyRequests, "rate limit exceeded", "r", func(a *attempt) {
		for a.session.rate.Allow(a.accepted, RequestsPerSecond) {
		}
	}},
	{"frame size", TooLarge, "The request is too large.", "r", func(a *attempt) { a.padding = MaxFrameSize }},
	{"binary frame", BadRequest, "The request is not a text frame.", "r", func(a *attempt) { a.text = false }},
	{"unknown action", BadRequest, "The Action is missing or unknown.", "r", func(a *attempt) { a.action = "SEND_EVENT" }},
	{"request id", TooLarge, "RequestId exceeds maximum length", "", func(a *attempt) { a.requestID = strings.Repeat("r", MaxRequestIDLength+1) }},
	{"session", Unauthorized, "The chat session has expired.", "r", func(a *attempt) { a.session.Expires = a.accepted.Unix() }},
	{"room", NotFound, "Room %s does not exist.", "r", func(a *attempt) {
		a.w.store.mu.Lock()
		defer a.w.store.mu.Unlock()
		delete(a.w.store.rooms, *a.session.Room)
		a.w.service.ForgetRoom(*a.session.Room)
	}},
	{"capability", Forbidden, "The chat token does not have the capability SEND_MESSAGE.", "r", func(a *attempt) { a.session.Capabilities &^= MaySendMessage }},
	{"content", BadRequest, "Message exceeds maximum length", "r", func(a *attempt) { a.content = "123456" }},
	{"attributes", TooLarge, "Attributes exceed maximum size", "r", func(a *attempt) { a.attribute = strings.Repeat("v", MaxAttributesSize) }},
	{"room rate", TooManyRequests, "rate limit exceeded", "r", func(a *attempt) {
		room := &memoryRoom{}
		for room.rate.Allow(time.Now(), 3) {
		}
		a.w.broker.rooms[*a.session.Room] = room
	}},
}

// attempt is a SEND_MESSAGE that goes well until something is arranged.
type attempt struct {
	w                                     *world
	session                               *Session
	accepted                              time.Time
	text                                  bool
	action, requestID, content, attribute string
	padding                               int
}

func newAttempt(t *testing.T, w *world) *attempt {
	t.Helper()
	room := w.room(t, RoomSpec{MaximumMessageLength: 5, MaximumMessageRatePerSecond: 3}).ARN
	return &attempt{w: w, session: w.session(t, TokenSpec{Room: room, UserID: "user", Capabilities: everything}),
		accepted: time.Now(), text: true, action: ActionSendMessage, requestID: "r", content: "12345", attribute: "v"}
}

func (a *attempt) act(ctx context.Context) Outcome {
	message := fmt.Appendf(nil, `{"Action":%q,"RequestId":%q,"Content":%q,"Attributes":{"k":%q}}%s`,
		a.action, a.requestID, a.content, a.attribute, strings.Repeat(" ", a.padding))
	return a.w.service.Act(ctx, a.session, message, a.text, a.accepted)
}

func TestOrderOfChecks(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		if out := newAttempt(t, w).act(t.Context()); out.Err != nil {
			t.Fatalf("without a fault: got %v", out.Err)
		}
		w.broker.taken()
		for i, first := range checks {
			for j := i; j < len(checks); j++ {
				a := newAttempt(t, w)
				want := first.text
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, a.session.Room)
				}
				first.arrange(a)
				echoed := first.request
				if j > i {
					checks[j].arrange(a)
					if checks[j].request == "" {
						echoed = ""
					}
				}
				out := a.act(t.Context())
				got := AsError(out.Err)
				if out.Err == nil || got.Code != first.code || got.Message != want || out.RequestID != echoed {
					t.Errorf("%s before %s: got %d %q for request %q, want %d %q for %q", first.name, checks[j].name,
						got.Code, got.Message, out.RequestID, first.code, want, echoed)
				}
				if published := w.broker.taken(); len(published) != 0 {
					t.Errorf("%s: published all the same", first.name)
				}
			}
		}
	})
}

func TestRequests(t *testing.T) {
	long := strings.Repeat
	const (
		badAction     = "The Action is missing or unknown."
		badJSON       = "The request is not valid JSON."
		noObject      = "The request is not a JSON object."
		badAttributes = "Attributes must be an object of strings."
		empty         = "Content must not be empty."
		tooLong       = "Message exceeds maximum length"
	)
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{MaximumMessageLength: 5, MaximumMessageRatePerSecond: 100}).ARN
		for _, test := range []struct {
			name, request string
			code          Code // -1: published
			want          string
			id            string
		}{
			{"empty", ``, BadRequest, noObject, ""},
			{"white space", " \t\r\n", BadRequest, noObject, ""},
			{"null", `null`, BadRequest, noObject, ""},
			{"a string", `"{}"`, BadRequest, noObject, ""},
			{"a list", `[{"RequestId":"x"}]`, BadRequest, noObject, ""},
			{"an object of nothing", `{}`, BadRequest, badAction, ""},
			{"cut", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"`, BadRequest, badJSON, ""},
			{"trailing text", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"} b`, BadRequest, badJSON, ""},
			{"two objects", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"}{}`, BadRequest, badJSON, ""},
			{"a byte order mark", "\ufeff" + `{"Action":"SEND_MESSAGE","Content":"a"}`, BadRequest, noObject, ""},
			{"very deep", `{"RequestId":"x","a":` + long("[", 11_000) + long("]", 11_000) + `}`, TooLarge, "The request is too large.", ""},
			{"no action", `{"RequestId":"x","Content":"a"}`, BadRequest, badAction, "x"},
			{"null action", `{"Action":null,"RequestId":"x"}`, BadRequest, badAction, "x"},
			{"unknown action", `{"Action":"SEND_EVENT","RequestId":"x"}`, BadRequest, badAction, "x"},
			{"action in small letters", `{"Action":"send_message","RequestId":"x","Content":"a"}`, BadRequest, badAction, "x"},
			{"action of the wrong type", `{"Action":1,"RequestId":"x"}`, BadRequest, "Action has the wrong type.", "x"},
			{"content of the wrong type", `{"Action":"SEND_MESSAGE","Content":{},"RequestId":"x"}`, BadRequest, "Content has the wrong type.", "x"},
			{"request id of the wrong type", `{"Action":"SEND_MESSAGE","Content":"a","RequestId":7}`, BadRequest, "RequestId has the wrong type.", ""},
			{"reason of the wrong type, member in small letters", `{"Action":"DELETE_MESSAGE","id":"a","reason":[],"requestid":"x"}`, BadRequest, "Reason has the wrong type.", "x"},
			{"attributes are a list", `{"Action":"SEND_MESSAGE","Attributes":[],"Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"attributes are a string", `{"Action":"SEND_MESSAGE","attributes":"","Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"attribute that is a number", `{"Action":"SEND_MESSAGE","Attributes":{"a.b":1},"Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"attribute that is null", `{"Action":"SEND_MESSAGE","Attributes":{"a":null},"Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"attribute that is an object", `{"Action":"SEND_MESSAGE","Attributes":{"a":{}},"Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"request id too long of an unknown action", `{"RequestId":"` + long("x", 257) + `"}`, BadRequest, badAction, ""},
			{"request id too long beside a wrong type", `{"Content":1,"RequestId":"` + long("x", 257) + `"}`, BadRequest, "Content has the wrong type.", ""},
			{"request id too long", `{"Action":"SEND_MESSAGE","Content":"a","RequestId":"` + long("é", 128) + `x"}`, TooLarge, "RequestId exceeds maximum length", ""},
			{"the longest request id", `{"Action":"SEND_MESSAGE","Content":"a","RequestId":"` + long("é", 128) + `"}`, -1, "a", long("é", 128)},
			{"request id twice", `{"Action":"SEND_MESSAGE","Content":"a","RequestId":"x","requestId":"y"}`, -1, "a", "y"},
			{"null request id", `{"Action":"SEND_MESSAGE","Content":"a","RequestId":null}`, -1, "a", ""},

			{"content", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"12345"}`, -1, "12345", "x"},
			{"members in any case, unknown ones", `{"action":"SEND_MESSAGE","REQUESTID":"x","cOntent":"a","uuid":7e9,"id":"not looked at","attributes":null}`, -1, "a", "x"},
			{"members of other actions, of any type", `{"id":7e9,"Action":"SEND_MESSAGE","RequestId":"x","Content":"a","Reason":[],"userId":{}}`, -1, "a", "x"},
			{"members of other actions beside a wrong type", `{"id":7e9,"Action":"SEND_MESSAGE","Content":1,"RequestId":"x"}`, BadRequest, "Content has the wrong type.", "x"},
			{"members of other actions beside bad attributes", `{"id":7e9,"Attributes":1,"Action":"SEND_MESSAGE","Content":"a","RequestId":"x"}`, BadRequest, badAttributes, "x"},
			{"white space around is kept, and not counted", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":" \u300012345\u00a0"}`, -1, "\" \u300012345\u00a0\"", "x"},
			{"characters outside the BMP count once", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"😀😀😀😀😀"}`, -1, "😀😀😀😀😀", "x"},
			{"combining characters count each", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"e\u0301e\u0301e\u0301"}`, BadRequest, tooLong, "x"},
			{"half a surrogate pair", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"\ud83d"}`, -1, "\ufffd", "x"},
			{"no content", `{"Action":"SEND_MESSAGE","RequestId":"x"}`, BadRequest, empty, "x"},
			{"blank content", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":" \u3000\t"}`, BadRequest, empty, "x"},
			{"content too long", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"123456"}`, BadRequest, tooLong, "x"},
			{"attributes at their limit", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a","Attributes":{"é":"` + long("x", 1022) + `"}}`, -1, "a", "x"},
			{"attributes too large", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a","Attributes":{"é":"` + long("x", 1020) + `","k":"vv"}}`, TooLarge, "Attributes exceed maximum size", "x"},

			{"delete", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"M2YcHkgffEvU"}`, -1, `"MessageID":"M2YcHkgffEvU","MessageId":"M2YcHkgffEvU"}`, "x"},
			{"delete by an id not of ours", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"?"}`, -1, `"MessageID":"?"`, "x"},
			{"no message id", `{"Action":"DELETE_MESSAGE","RequestId":"x"}`, BadRequest, "Id must not be empty.", "x"},
			{"message id too long", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"` + long("i", 257) + `"}`, TooLarge, "Id exceeds maximum length", "x"},
			{"the longest reason", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"i","Reason":"` + long("é", 256) + `"}`, -1, long("é", 256), "x"},
			{"reason too long", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"i","Reason":"` + long("é", 257) + `"}`, TooLarge, "Reason exceeds maximum length", "x"},
			{"disconnect", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"u","Reason":"why"}`, -1, `"Attributes":{"Reason":"why","UserId":"u"}`, "x"},
			{"no user id", `{"Action":"DISCONNECT_USER","RequestId":"x"}`, BadRequest, "UserId must not be empty.", "x"},
			{"the longest user id", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"` + long("é", 128) + `"}`, -1, long("é", 128), "x"},
			{"user id too long", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"` + long("é", 129) + `"}`, TooLarge, "UserId exceeds maximum length", "x"},
			{"disconnect reason too long", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"u","Reason":"` + long("é", 257) + `"}`, TooLarge, "Reason exceeds maximum length", "x"},
		} {
			session := w.session(t, TokenSpec{Room: room, UserID: "user", Capabilities: everything})
			out := w.service.Act(t.Context(), session, []byte(test.request), true, time.Now())
			published := w.broker.taken()
			if out.RequestID != test.id || code(out.Err) != test.code {
				t.Errorf("%s: got %v for request %q, want code %d for %q", test.name, out.Err, out.RequestID, test.code, test.id)
				continue
			}
			if test.code >= 0 {
				if got := out.Err.Error(); got != test.want || len(published) != 0 {
					t.Errorf("%s: got %q and %d publications, want %q", test.name, got, len(published), test.want)
				}
				continue
			}
			if len(published) != 1 || !strings.Contains(string(published[0].Frame), test.want) ||
				!strings.Contains(string(published[0].Frame), `"RequestId":"`+test.id+`"`) {
				t.Errorf("%s: got %d publications, want one with %q", test.name, len(published), test.want)
			}
		}
	})
}

func TestPublicationsOfRequests(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		session := w.session(t, TokenSpec{Room: room, UserID: "user", Capabilities: everything, Attributes: map[string]string{"k": "v"}})
		accepted := time.Now().Add(5)
		for _, test := range []struct {
			request, frame, user, reason string
			kind                         PublicationKind
		}{
			{`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"hi","Attributes":{}}`,
				`{"Type":"MESSAGE","Id":"ID","RequestId":"r","Attributes":{},"Content":"hi","SendTime":"2000-01-01T00:00:00.000000005Z","Sender":{"UserId":"user","Attributes":{"k":"v"}}}`,
				"", "", PublishMessage},
			{`{"Action":"DELETE_MESSAGE","RequestId":"r","Id":"M","Reason":"rude"}`,
				`{"Type":"EVENT","Id":"ID","RequestId":"r","EventName":"aws:DELETE_MESSAGE","Attributes":{"MessageID":"M","MessageId":"M","Reason":"rude"},"SendTime":"2000-01-01T00:00:00.000000005Z"}`,
				"", "", PublishDelete},
			{`{"Action":"DISCONNECT_USER","RequestId":"r","UserId":"u","Reason":"spam"}`,
				`{"Type":"EVENT","Id":"ID","RequestId":"r","EventName":"aws:DISCONNECT_USER","Attributes":{"Reason":"spam","UserId":"u"},"SendTime":"2000-01-01T00:00:00.000000005Z"}`,
				"u", "spam", PublishDisconnect},
		} {
			out := w.service.Act(t.Context(), session, []byte(test.request), true, accepted)
			if out.Err != nil || out.RequestID != "r" || !strings.Contains(test.request, out.Action) {
				t.Errorf("%s: got %+v", test.request, out)
			}
			pub := w.broker.one(t)
			frame := string(pub.Frame)
			_, id, _ := strings.Cut(frame, `"Id":"`)
			if id = id[:12]; !ValidID(id) {
				t.Errorf("Id: got %q", id)
			}
			if got := strings.Replace(frame, id, "ID", 1); got != test.frame {
				t.Errorf("got  %s\nwant %s", got, test.frame)
			}
			if pub.Kind != test.kind || pub.Room != room || pub.UserID != test.user || pub.Reason != test.reason || !pub.Accepted.Equal(accepted) {
				t.Errorf("got %+v", pub)
			}
		}
	})
}

func TestCapabilities(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		for name, needed := range CapabilityNames {
			for has := range everything + 1 {
				session := w.session(t, TokenSpec{Room: room, UserID: "user", Capabilities: has})
				out := w.service.Act(t.Context(), session, fmt.Appendf(nil, `{"Action":%q,"RequestId":"r","Content":"a","Id":"a","UserId":"a"}`, name), true, time.Now())
				want, text := Code(-1), ""
				if has&needed == 0 {
					want, text = Forbidden, "The chat token does not have the capability "+name+"."
				}
				if code(out.Err) != want || want >= 0 && out.Err.Error() != text || out.Action != name || out.RequestID != "r" {
					t.Errorf("%s with %03b: got %+v, want code %d", name, has, out, want)
				}
				time.Sleep(time.Second) // the room's rate is not what this is about
			}
		}
	})
}

func TestRates(t *testing.T) {
	request := map[string][]byte{
		"message": []byte(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"a"}`),
		"delete":  []byte(`{"Action":"DELETE_MESSAGE","RequestId":"r","Id":"a"}`),
		"garbage": []byte(`{`),
	}
	virtually(t, func(t *testing.T, w *world) {
		act := func(s *Session, what string) error {
			return w.service.Act(t.Context(), s, request[what], true, time.Now()).Err
		}
		room := w.room(t, RoomSpec{MaximumMessageRatePerSecond: 2}).ARN
		a := w.session(t, TokenSpec{Room: room, UserID: "a", Capabilities: everything})
		b := w.session(t, TokenSpec{Room: room, UserID: "b", Capabilities: everything})
		for i, want := range []Code{-1, -1, TooManyRequests} {
			if err := act([]*Session{a, b}[i%2], "message"); code(err) != want {
				t.Errorf("message %d of the room: got %v, want code %d", i, err, want)
			} else if want >= 0 && (AsError(err).Limit != 2 || AsError(err).Resource != room) {
				t.Errorf("the limit told: got %+v", err)
			}
		}
		if err := act(a, "delete"); err != nil {
			t.Errorf("the room's rate is for messages alone: got %v", err)
		}
		time.Sleep(500 * time.Millisecond)
		if err := act(a, "message"); err != nil {
			t.Errorf("half a second later: got %v", err)
		}

		time.Sleep(time.Minute) // a minute's silence saves up no more than a second's worth
		for i := range RequestsPerSecond {
			if err := act(a, []string{"delete", "garbage"}[i%2]); code(err) == TooManyRequests {
				t.Errorf("request %d of the connection: got %v", i, err)
			}
		}
		if err := act(a, "garbage"); code(err) != TooManyRequests || AsError(err).Limit != RequestsPerSecond {
			t.Errorf("every frame counts, readable or not: got %v", err)
		}
		if err := act(b, "delete"); err != nil {
			t.Errorf("another connection: got %v", err)
		}
		time.Sleep(100*time.Millisecond - 1)
		if err := act(a, "delete"); code(err) != TooManyRequests {
			t.Errorf("just before the next: got %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := act(a, "delete"); err != nil {
			t.Errorf("a tenth of a second later, refusals having cost nothing: got %v", err)
		}
	})
}

func TestRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.IntRange(1, 1000).Draw(t, "rate")
		start := time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
		var r Rate
		now, taken := start, 0
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, int(2*time.Second)/perSecond).Draw(t, "pause")))
			wasIdle := r.Idle(now)
			allowed := r.Allow(now, perSecond)
			if wasIdle && !allowed {
				t.Fatal("a full bucket refused")
			}
			if allowed {
				taken++
			}
			// Division leaves up to a nanosecond a request.
			most := perSecond + int(now.Sub(start)/(time.Second/time.Duration(perSecond))) + 1
			if taken > most {
				t.Fatalf("after %v: got %d, want at most %d", now.Sub(start), taken, most)
			}
		}
		if !r.Idle(now.Add(time.Second)) {
			t.Error("not full a second later")
		}
		var fresh Rate
		for i := range perSecond {
			if !fresh.Allow(now, perSecond) {
				t.Fatalf("burst: got %d, want %d", i, perSecond)
			}
		}
		if fresh.Allow(now, perSecond) {
			t.Fatalf("burst: got more than %d", perSecond)
		}
	})
}

func TestRateThatChanges(t *testing.T) {
	now := time.Now()
	var r Rate
	for r.Allow(now, 100) {
	}
	if r.Allow(now, 1) {
		t.Error("an empty bucket gave one when the rate fell")
	}
	if !r.Allow(now.Add(10*time.Millisecond), 100) {
		t.Error("the refusal at the lower rate was charged")
	}
	if r.Allow(now.Add(-time.Hour), 100) {
		t.Error("a clock that was set back filled the bucket")
	}
}

func TestActFaults(t *testing.T) {
	fault := errors.New("link down")
	w := newWorld()
	session := w.session(t, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "u", Capabilities: everything})
	w.broker.fails = fault
	for _, action := range []string{ActionSendMessage, ActionDeleteMessage, ActionDisconnectUser} {
		out := w.service.Act(t.Context(), session, fmt.Appendf(nil, `{"Action":%q,"RequestId":"r","Content":"a","Id":"a","UserId":"a"}`, action), true, time.Now())
		if !errors.Is(out.Err, fault) || code(out.Err) != -1 || out.RequestID != "r" {
			t.Errorf("%s: got %+v, want the broker's error and nothing for clients", action, out)
		}
	}
}

func TestTruncateReason(t *testing.T) {
	for _, test := range []struct {
		s    string
		n    int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"éé", 3, "é"}, {"aé", 2, "a"}, {"😀", 3, ""}, {"a😀", 5, "a😀"}, {"abc", 0, ""},
	} {
		if got := TruncateReason(test.s, test.n); got != test.want {
			t.Errorf("%q to %d: got %q, want %q", test.s, test.n, got, test.want)
		}
	}
}
