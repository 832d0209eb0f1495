package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"parlor/internal/messaging"
)

// What a terminal could take for a command does not come to it, whatever another writes.
func TestClean(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "Grüße, 世界 👋🏽", "Grüße, 世界 👋🏽"},
		{"joined emoji", "👩\u200d🚀", "👩\u200d🚀"},
		{"escape sequences", "\x1b[2J\x1b]0;title\x07", "�[2J�]0;title�"},
		{"C1 in UTF-8", "\u009b2J\u0090q", "�2J�q"},
		{"C1 as bytes", "\x9b2J", "�2J"},
		{"backspaces", "ann\b\b\bbob\x7f", "ann���bob�"},
		{"another line", "hi\n» 12:00 #9 ann: I quit\r\n", "hi↵ » 12:00 #9 ann: I quit↵ "},
		{"other line ends", "a\u2028b\u2029c\u0085d\x0be\x0cf", "a↵ b↵ c↵ d�e�f"},
		{"bidi overrides", "\u202egro.live\u202c \u2066x\u2069\u200f", "�gro.live� �x��"},
		{"no width", "a\u200bb\ufeffc\u00add", "a�b�c�d"},
		{"tags", "a\U000e0041", "a�"},
		{"spaces", "a\tb\u00a0c\u3000d", "a b c d"},
		{"piled marks", "a" + strings.Repeat("\u0301", 50) + "b", "a" + strings.Repeat("\u0301", maxMarks) + "b"},
		{"piled marks with joiners between", "a" + strings.Repeat("\u0301\u200d", 50), "a" + strings.Repeat("\u0301\u200d", maxMarks/2)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := clean(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[2J\u009b\u202e\x9b\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("%q has %U", got, r)
			}
		}
		for _, width := range []int{0, 1, 7, 40} {
			for i, line := range (painter{}).lines(entry{kind: theirs, number: 1, who: clean(text), text: got}, width) {
				if width >= 40 && lipgloss.Width(line) > width {
					t.Errorf("line %d has %d columns of %d: %q", i, lipgloss.Width(line), width, line)
				}
			}
		}
	})
}

// A frame of a hostile room is shown as one entry without anything hostile, whichever
// member has it.
func TestHostileFrames(t *testing.T) {
	const evil = "\x1b]52;c;ZXZpbA==\x07\u009b31m\u202e\n"
	marshal := func(m map[string]any) messaging.Frame {
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var f messaging.Frame
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		f.Raw = raw
		return f
	}
	var h history
	var shown []string
	for _, f := range []messaging.Frame{
		marshal(map[string]any{"Type": "MESSAGE", "Id": evil, "Content": evil, "Sender": map[string]any{"UserId": evil, "Attributes": map[string]string{evil: evil}}, "Attributes": map[string]string{evil: evil}}),
		marshal(map[string]any{"Type": "EVENT", "Id": evil, "EventName": evil, "Attributes": map[string]string{evil: evil}}),
		marshal(map[string]any{"Type": "EVENT", "Id": "a", "EventName": "aws:DELETE_MESSAGE", "Attributes": map[string]string{"MessageID": evil, "Reason": evil}}),
		marshal(map[string]any{"Type": "EVENT", "Id": "b", "EventName": "aws:DELETE_MESSAGE", "Attributes": map[string]string{"MessageID": "unknown" + evil}}),
		marshal(map[string]any{"Type": "EVENT", "Id": "c", "EventName": "aws:DISCONNECT_USER", "Attributes": map[string]string{"UserId": evil, "Reason": evil}}),
		marshal(map[string]any{"Type": "ERROR", "Id": "d", "ErrorCode": 500, "ErrorMessage": evil}),
	} {
		e, ok := h.shown(f, "ann")
		if !ok {
			t.Fatalf("%s is not shown", f.Raw)
		}
		shown = append(shown, painter{}.lines(e, 0)...)
		shown = append(shown, painter{}.lines(e, 40)...)
		shown = append(shown, jsonLine(f.Raw, true))
	}
	shown = append(shown, sorry(&messaging.Error{Code: 406, Message: evil}), sorry(errors.New(evil)), jsonLine([]byte(evil), true))
	for _, line := range shown {
		if strings.ContainsAny(line, "\x1b\x07\n\u009b\u202e") {
			t.Errorf("shown: %q", line)
		}
	}
}

// Lines are as wide as the terminal at most; what follows stands under what was said.
func TestLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for _, test := range []struct {
		name  string
		entry entry
		width int
		want  []string
	}{
		{"short", entry{kind: theirs, at: at, number: 7, who: "bob", text: "hi"}, 80, []string{"  03:04:05 #7 bob: hi"}},
		{"own, on a narrow terminal", entry{kind: own, at: at, number: 12, who: "ann", text: "one two three four five six seven"}, 30,
			[]string{"» 03:04 #12 ann: one two three", "        four five six seven"}},
		{"one long word", entry{kind: theirs, at: at, number: 1, who: "bob", text: strings.Repeat("abcdefghij", 5)}, 30,
			[]string{"  03:04 #1 bob: abcdefghijabcd", "        efghijabcdefghijabcdef", "        ghijabcdefghij"}},
		{"wide letters", entry{kind: theirs, at: at, number: 1, who: "王", text: "世界世界世界 世界世界世界世界"}, 30,
			[]string{"  03:04 #1 王: 世界世界世界", "        世界世界世界世界"}},
		{"long name", entry{kind: theirs, number: 1, who: strings.Repeat("n", 128), text: "hi"}, 60,
			[]string{"  #1 " + strings.Repeat("n", maxNameWidth-1) + "…: hi"}},
		{"attributes", entry{kind: event, at: at, text: "stage:change", extra: "scene=two"}, 0, []string{"• 03:04:05 stage:change scene=two"}},
		{"a terminal too narrow for anything", entry{kind: theirs, at: at, number: 1, who: "bob", text: "hello there"}, 5,
			[]string{"  03:04 #1 bob: ", "        hello", "        there"}},
		{"spaces are kept", entry{kind: theirs, number: 1, who: "bob", text: "a  b   c"}, 80, []string{"  #1 bob: a  b   c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(painter{}.lines(test.entry, test.width), test.want); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
		})
	}
}

// Users' colours can be read on black and on white, and are theirs for good.
func TestColours(t *testing.T) {
	for _, code := range colours256 {
		n, err := strconv.Atoi(strings.TrimPrefix(code, "38;5;"))
		if err != nil || n < 16 || n > 231 {
			t.Fatalf("%s is not of the cube", code)
		}
		l := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			level := float64([]int{0, 95, 135, 175, 215, 255}[(n-16)/[]int{36, 6, 1}[i]%6]) / 255
			if level <= 0.04045 {
				level /= 12.92
			} else {
				level = math.Pow((level+0.055)/1.055, 2.4)
			}
			l += weight * level
		}
		if black, white := (l+0.05)/0.05, 1.05/(l+0.05); black < 3.2 || white < 3.2 {
			t.Errorf("%s: contrast is %.1f on black, %.1f on white", code, black, white)
		}
	}
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "")
	used := map[string]bool{}
	for i := range 200 {
		user := fmt.Sprint("user-", i)
		used[newPainter(true).colourOf(user)] = true
	}
	if len(used) != len(colours256) {
		t.Errorf("%d colours of %d are used", len(used), len(colours256))
	}
	if got := newPainter(true).colourOf("ann"); got != "38;5;162" {
		t.Errorf("ann's colour has become %s", got)
	}
	for _, test := range []struct {
		name, term, noColour, colourTerm string
		terminal                         bool
		want                             []string
	}{
		{"256", "screen-256color", "", "", true, colours256},
		{"said otherwise", "foot", "", "truecolor", true, colours256},
		{"few", "linux", "", "", true, colours16},
		{"unwanted", "xterm-256color", "1", "", true, nil},
		{"not a terminal", "xterm-256color", "", "", false, nil},
		{"dumb", "dumb", "", "", true, nil},
	} {
		t.Setenv("TERM", test.term)
		t.Setenv("NO_COLOR", test.noColour)
		t.Setenv("COLORTERM", test.colourTerm)
		if d := cmp.Diff(newPainter(test.terminal).colours, test.want); d != "" {
			t.Errorf("%s: -got +want:\n%s", test.name, d)
		}
	}
}

// Messages are named by number while they are kept, and by id for ever.
func TestHistory(t *testing.T) {
	var h history
	for i := range maxKept + 10 {
		h.add(fmt.Sprintf("id%010d", i+1), "bob")
	}
	for named, want := range map[string]string{
		"510": "id0000000510", "#11": "id0000000011", "id0000000020": "id0000000020", // as they came
		"M2YcHkgffEvU": "M2YcHkgffEvU", "123456789012": "123456789012", // before we were there
	} {
		if got, err := h.id(named); got != want || err != nil {
			t.Errorf("%s: got %s, %v", named, got, err)
		}
	}
	for _, named := range []string{"10", "511", "#0", "#x", "-1"} {
		if got, err := h.id(named); err == nil {
			t.Errorf("%s: got %s", named, got)
		}
	}
	if got := h.name("id0000000020"); got != "#20 by bob" {
		t.Errorf("got %q", got)
	}
	if got := h.name("id0000000001"); got != "id0000000001" || len(h.kept) != maxKept {
		t.Errorf("got %q of %d", got, len(h.kept))
	}
}

func TestReadAttributes(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                         nil,
		"a=1 b=":                   {"a": "1", "b": ""},
		`a= b="x y"  c=z=1`:        {"a": "", "b": "x y", "c": "z=1"},
		`title="The \ second" n=2`: {"title": `The \ second`, "n": "2"},
	} {
		got, err := readAttributes(text)
		if d := cmp.Diff(got, want); d != "" || err != nil {
			t.Errorf("%s: %v, -got +want:\n%s", text, err, d)
		}
	}
	for _, text := range []string{"a", "a=1 b", "=1", `a="x`} {
		if got, err := readAttributes(text); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// A frame is one line of JSON, the same as came.
func TestJSONLine(t *testing.T) {
	for _, test := range []struct {
		name, raw string
		terminal  bool
		want      string
	}{
		{"as it comes", `{"a": "ü\u009b"}`, false, `{"a": "ü\u009b"}`},
		{"with line ends", "{\n  \"a\": 1\r\n}", false, `{"a":1}`},
		{"no JSON", "a\nb", false, `"a\nb"`},
		{"on a terminal", "{\"a\": \"ü\u009b\u202e\U000e0041\x7f\"}", true, `{"a": "ü\u009b\u202e\udb40\udc41\u007f"}`},
	} {
		if got := jsonLine([]byte(test.raw), test.terminal); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// Every error of the server has a line that says what to do.
func TestSorry(t *testing.T) {
	for code, want := range map[int]string{
		400: "Not done: Why.", 401: "connected anew", 403: "--capabilities", 404: "deleted", 406: "review refused it: Why.",
		413: "shorter", 429: "Wait a second", 500: "server's fault", 599: "Not done: Why.",
	} {
		if got := sorry(&messaging.Error{Code: code, Message: "Why."}); !strings.Contains(got, want) || strings.Contains(got, "..") {
			t.Errorf("%d: got %q, want %q in it", code, got, want)
		}
	}
	if got, want := sorry(&messaging.Error{Code: 403, Message: "You are muted until noon."}), "Not sent: You are muted until noon."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := sorry(messaging.ErrNotConnected); !strings.HasPrefix(got, "Not sent: there is no connection") {
		t.Errorf("got %q", got)
	}
	if got := sorry(messaging.ErrLost); !strings.Contains(got, "or not") {
		t.Errorf("got %q", got)
	}
}

// A frame that is somebody's answer, or says what the state says, is not shown.
func TestNotShown(t *testing.T) {
	for _, f := range []messaging.Frame{
		{Type: messaging.TypeError, RequestID: "mine", ErrorCode: 403},
		{Type: messaging.TypeError, ErrorCode: 401, ErrorMessage: "The chat session has expired."},
		{},
	} {
		if e, ok := new(history).shown(f, "ann"); ok {
			t.Errorf("%+v is shown as %+v", f, e)
		}
	}
}
