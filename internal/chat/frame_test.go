package chat

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// captured is when the service's own frame was sent that TestCapturedFrames compares.
var captured = time.Date(2022, 12, 2, 8, 21, 20, 754555595, time.UTC)

// TestCapturedFrames writes the frames that were seen on the wire of the service, but
// for what was masked in them.
func TestCapturedFrames(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{"message",
			string(appendMessage(nil, "M2YcHkgffEvU", "8fe65e61", nil, "Hi", captured, string(appendSender(nil, "user-1", map[string]string{"username": "x"})))),
			`{"Type":"MESSAGE","Id":"M2YcHkgffEvU","RequestId":"8fe65e61","Attributes":null,"Content":"Hi","SendTime":"2022-12-02T08:21:20.754555595Z","Sender":{"UserId":"user-1","Attributes":{"username":"x"}}}`},
		{"event",
			string(appendEvent(nil, "IxTh2Ad9fZIr", "", "aws:DELETE_MESSAGE", map[string]string{"MessageID": "M2YcHkgffEvU", "Reason": "Deleted by moderator"}, captured)),
			`{"Type":"EVENT","Id":"IxTh2Ad9fZIr","RequestId":"","EventName":"aws:DELETE_MESSAGE","Attributes":{"MessageID":"M2YcHkgffEvU","Reason":"Deleted by moderator"},"SendTime":"2022-12-02T08:21:20.754555595Z"}`},
		{"sender without attributes", string(appendSender(nil, "user-1", nil)), `{"UserId":"user-1","Attributes":{}}`},
	} {
		if test.got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, test.got, test.want)
		}
	}

	t.Run("error", func(t *testing.T) {
		seen := map[string]bool{}
		for range 100 {
			got := string(AppendError(nil, "", "497f6eca-6276-4993-bfeb-53cbbbba6f08", 400, "Messages must be less than 240 chars"))
			_, id, _ := strings.Cut(got, `"Id":"`)
			id = id[:idLength]
			if !ValidID(id) || seen[id] {
				t.Errorf("Id: got %q, want one that is fresh", id)
			}
			seen[id] = true
			want := `{"Type":"ERROR","Id":"` + id + `","RequestId":"497f6eca-6276-4993-bfeb-53cbbbba6f08","ErrorCode":400,"ErrorMessage":"Messages must be less than 240 chars"}`
			if got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
		}
	})
}

func TestTimes(t *testing.T) {
	for _, test := range []struct {
		name string
		at   time.Time
		want string
	}{
		{"nanoseconds", captured, "2022-12-02T08:21:20.754555595Z"},
		{"trailing zeros trimmed", time.Date(2022, 12, 2, 8, 21, 20, 875644970, time.UTC), "2022-12-02T08:21:20.87564497Z"},
		{"a tenth", time.Date(2022, 12, 2, 8, 21, 20, 100000000, time.UTC), "2022-12-02T08:21:20.1Z"},
		{"a whole second has a fraction", time.Date(2022, 12, 2, 8, 21, 20, 0, time.UTC), "2022-12-02T08:21:20.000Z"},
		{"leading zeros", time.Date(2022, 12, 2, 8, 21, 20, 1, time.UTC), "2022-12-02T08:21:20.000000001Z"},
		{"another zone", captured.In(time.FixedZone("", 3600)), "2022-12-02T08:21:20.754555595Z"},
	} {
		if got := string(appendTime(nil, test.at)); got != `"`+test.want+`"` {
			t.Errorf("%s: got %s, want %q", test.name, got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		text := strings.Trim(string(appendTime(nil, at)), `"`)
		if got, err := time.Parse(time.RFC3339Nano, text); err != nil || !got.Equal(at) || !strings.Contains(text, ".") || !strings.HasSuffix(text, "Z") {
			t.Errorf("%v: got %s (%v)", at, text, err)
		}
	})
}

// message is a MESSAGE frame with its members in order.
type message struct {
	Type, ID, RequestID string
	Attributes          map[string]string
	Content             string
	SendTime            string
	Sender              sender
}

type sender struct {
	UserID     string `json:"UserId"`
	Attributes map[string]string
}

// standard is encoding/json's form of v, without HTML escapes.
func standard(t *rapid.T, v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plain are strings that have one form only: encoding/json escapes some characters
// for the sake of JavaScript, and writes \b and \f where we write \u0008 and \u000c.
var plain = rapid.Map(rapid.String(), strings.NewReplacer("\u2028", "", "\u2029", "", "\b", "", "\f", "").Replace)

func TestFramesEqualEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attributes := rapid.OneOf(rapid.Just(map[string]string(nil)), rapid.MapOf(plain, plain))
		id, requestID, text := plain.Draw(t, "id"), plain.Draw(t, "request id"), plain.Draw(t, "text")
		own, user := attributes.Draw(t, "attributes"), plain.Draw(t, "user")
		at := `"SendTime":"2022-12-02T08:21:20.754555595Z"`

		want := `{"Type":"MESSAGE","Id":` + standard(t, id) + `,"RequestId":` + standard(t, requestID) + `,"Attributes":` + standard(t, own) +
			`,"Content":` + standard(t, text) + `,` + at + `,"Sender":` + standard(t, sender{user, map[string]string{"k": text}}) + `}`
		if got := string(appendMessage(nil, id, requestID, own, text, captured, string(appendSender(nil, user, map[string]string{"k": text})))); got != want {
			t.Errorf("message:\ngot  %s\nwant %s", got, want)
		}
		want = `{"Type":"EVENT","Id":` + standard(t, id) + `,"RequestId":` + standard(t, requestID) + `,"EventName":` + standard(t, text) +
			`,"Attributes":` + standard(t, own) + `,` + at + `}`
		if got := string(appendEvent(nil, id, requestID, text, own, captured)); got != want {
			t.Errorf("event:\ngot  %s\nwant %s", got, want)
		}
	})
}

// TestFramesAreRead decodes frames of any strings at all.
func TestFramesAreRead(t *testing.T) {
	anything := rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })
	valid := func(s string) string { return string([]rune(s)) } // each invalid byte becomes U+FFFD
	rapid.Check(t, func(t *rapid.T) {
		text, user := anything.Draw(t, "text"), rapid.String().Draw(t, "user")
		attributes := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "attributes")
		frame := appendMessage([]byte("before"), "i", "r", attributes, text, captured, string(appendSender(nil, user, attributes)))
		var got message
		if err := json.Unmarshal(frame[len("before"):], &got); err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		want := message{"MESSAGE", "i", "r", attributes, valid(text), "2022-12-02T08:21:20.754555595Z", sender{user, attributes}}
		if a, b := standard(t, got), standard(t, want); a != b {
			t.Errorf("got  %s\nwant %s", a, b)
		}
	})
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		"":                  `""`,
		`"\/`:               `"\"\\/"`,
		"<b>&</b>":          `"<b>&</b>"`,
		"\n\r\t":            `"\n\r\t"`,
		"\x00\b\f\x1f\x7f":  "\"\\u0000\\u0008\\u000c\\u001f\x7f\"",
		"é\u2028\U0001f600": "\"é\u2028\U0001f600\"",
		"a\xffb\xc3":        "\"a\ufffdb\ufffd\"",
		"\xed\xa0\x80":      "\"\ufffd\ufffd\ufffd\"",
		"\ufffd":            "\"\ufffd\"",
	} {
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
