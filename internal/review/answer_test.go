package review

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{ // want "" is a refusal
		{"allow", `{"ReviewResult":"ALLOW","Content":"a"}`, `{"Allow":true,"Content":"a","Attributes":null}`},
		{"in any order, with space", " {\"Attributes\" : {} ,\n\"Content\":\"a\",\"ReviewResult\":\"ALLOW\"}\r\n", `{"Allow":true,"Content":"a","Attributes":{}}`},
		{"content null", `{"ReviewResult":"ALLOW","Content":null}`, `{"Allow":true,"Content":"","Attributes":null}`}, // the core refuses it
		{"deny", `{"ReviewResult":"DENY","Attributes":{"Reason":"r","x":""}}`, `{"Allow":false,"Content":"","Attributes":{"Reason":"r","x":""}}`},
		{"a member twice", `{"ReviewResult":"ALLOW","ReviewResult":"DENY"}`, `{"Allow":false,"Content":"","Attributes":null}`},
		{"half a surrogate pair", `{"ReviewResult":"ALLOW","Content":"\ud800"}`, `{"Allow":true,"Content":"�","Attributes":null}`},

		{"nothing", ``, ""},
		{"null", `null`, ""},
		{"array", `[{"ReviewResult":"ALLOW","Content":"a"}]`, ""},
		{"string", `"{\"ReviewResult\":\"ALLOW\",\"Content\":\"a\"}"`, ""},
		{"number", `1`, ""},
		{"true", `true`, ""},
		{"cut short", `{"ReviewResult":"ALLOW","Content":"a"`, ""},
		{"two values", `{"ReviewResult":"ALLOW","Content":"a"}{}`, ""},
		{"byte order mark", "\ufeff" + `{"ReviewResult":"ALLOW","Content":"a"}`, ""},
		{"not UTF-8", "{\"ReviewResult\":\"ALLOW\",\"Content\":\"\xff\"}", ""},
		{"not UTF-8 where nobody looks", "{\"ReviewResult\":\"ALLOW\",\"Content\":\"a\",\"x\":\"\xff\"}", ""},
		{"nested without end", strings.Repeat("[", maxAnswer), ""},

		{"no result", `{"Content":"a"}`, ""},
		{"result null", `{"ReviewResult":null,"Content":"a"}`, ""},
		{"result in another case", `{"ReviewResult":"Allow","Content":"a"}`, ""},
		{"result with space", `{"ReviewResult":"ALLOW ","Content":"a"}`, ""},
		{"result of another type", `{"ReviewResult":true,"Content":"a"}`, ""},
		{"member in another case", `{"reviewResult":"ALLOW","Content":"a"}`, ""},
		{"members in lower case", `{"reviewresult":"ALLOW","content":"a"}`, ""},
		{"content of another type", `{"ReviewResult":"ALLOW","Content":1}`, ""},
		{"content of another type, denied", `{"ReviewResult":"DENY","Content":{}}`, ""},
		{"attributes an array", `{"ReviewResult":"ALLOW","Content":"a","Attributes":[]}`, ""},
		{"attributes a string", `{"ReviewResult":"ALLOW","Content":"a","Attributes":"{}"}`, ""},
		{"an attribute null", `{"ReviewResult":"ALLOW","Content":"a","Attributes":{"a":null}}`, ""},
		{"an attribute a number", `{"ReviewResult":"ALLOW","Content":"a","Attributes":{"a":1}}`, ""},
		{"an attribute an object", `{"ReviewResult":"ALLOW","Content":"a","Attributes":{"a":{}}}`, ""},
		{"the reason a number", `{"ReviewResult":"DENY","Attributes":{"Reason":1}}`, ""},
		{"wrapped as for an HTTP gateway", `{"statusCode":200,"body":"{\"ReviewResult\":\"ALLOW\",\"Content\":\"a\"}"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := parse([]byte(test.answer))
			if got := verdict(v); (err == nil) != (test.want != "") || err == nil && got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
	// A member's name in another case is another member's: it is not there.
	v, err := parse([]byte(`{"ReviewResult":"ALLOW","content":"a","attributes":{"a":"b"}}`))
	if got, want := verdict(v), `{"Allow":true,"Content":"","Attributes":null}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// FuzzParse: whatever is accepted is valid UTF-8, and the same when it is written down
// and read again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		allowed, `{"ReviewResult":"DENY","Attributes":{"Reason":"r"}}`, `{"ReviewResult":"ALLOW","Content":"\ud800","Attributes":{"\udfff":""}}`,
		"null", `{"ReviewResult":"ALLOW","Attributes":{"a":null}}`, "\xff", `[[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		v, err := parse(answer)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("the error quotes the answer: %v", err)
			}
			return
		}
		result := "DENY"
		if v.Allow {
			result = "ALLOW"
		}
		text, err := json.Marshal(map[string]any{"ReviewResult": result, "Content": v.Content, "Attributes": v.Attributes})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parse(text); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("got %+v, %v, want %+v", again, err, v)
		}
		if !utf8.ValidString(v.Content) {
			t.Errorf("Content %q", v.Content)
		}
		for name, value := range v.Attributes {
			if !utf8.ValidString(name + value) {
				t.Errorf("attribute %q: %q", name, value)
			}
		}
	})
}
