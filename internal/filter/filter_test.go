package filter

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func judge(t *testing.T, rules []Rule, content string) (string, string, []string) {
	t.Helper()
	s, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	out := s.Judge(content)
	return out.Content, out.Refused, out.Flags
}

func TestWords(t *testing.T) {
	rules := []Rule{{Action: Mask, Words: []string{"darn", "dirty word", "scheiße", "💩"}}}
	for content, want := range map[string]string{
		"well, darn it":           "well, **** it",
		"DARN! Darn? @darn":       "****! ****? @****",
		"$cheiße, d@rn":           "*******, ****",
		"darn.":                   "****.",
		"darned":                  "darned", // another word
		"da\u200brn":              "*****",  // with something between that cannot be seen
		"dárñ it":                 "**** it",
		"d4rn":                    "****",
		"dаrn":                    "****", // with a Cyrillic letter
		"ｄａｒｎ":                    "****", // full width
		"a Dirty Word":            "a ***** ****",
		"Scheiße":                 "*******",
		"oh 💩💩":                   "oh **",
		"nothing of the kind":     "nothing of the kind",
		"d a r n":                 "d a r n",
		"darn darn":               "**** ****",
		"a\u0301 dar\u0301n here": "a\u0301 ***** here",
	} {
		if got, _, _ := judge(t, rules, content); got != want {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	links := &Links{Allow: []string{"example.com", "youtube.com"}}
	for _, test := range []struct {
		name    string
		rule    Rule
		content string
		shown   string
		refused string
		flags   string
	}{
		{"pattern denied", Rule{Action: Deny, Pattern: regexp.MustCompile(`(?i)free\s+nitro`), Reason: "No advertising."}, "FREE  nitro", "", "No advertising.", ""},
		{"pattern absent", Rule{Action: Deny, Pattern: regexp.MustCompile(`(?i)free\s+nitro`)}, "nitro free", "nitro free", "", ""},
		{"pattern masked", Rule{Action: Mask, Pattern: regexp.MustCompile(`\d{4,}`)}, "call 0123456 or 12", "call ******* or 12", "", ""},
		{"pattern of nothing", Rule{Action: Deny, Pattern: regexp.MustCompile(`x*`)}, "abc", "abc", "", ""},
		{"word flagged", Rule{Action: Flag, Words: []string{"darn"}, Label: "rude"}, "darn", "darn", "", "rude"},
		{"word denied", Rule{Action: Deny, Words: []string{"darn"}}, "darn", "", "The message has a word that this room does not allow.", ""},
		{"link", Rule{Action: Deny, Links: links}, "see https://evil.test/x", "", "The message has a link that this room does not allow.", ""},
		{"link without a scheme", Rule{Action: Mask, Links: links}, "see evil.com now", "see ******** now", "", ""},
		{"link in capitals", Rule{Action: Mask, Links: links}, "WWW.EVIL.ZZ", "***********", "", ""},
		{"link to a numeric host", Rule{Action: Mask, Links: links}, "http://192.0.2.1/x", "******************", "", ""},
		{"allowed link", Rule{Action: Deny, Links: links}, "see https://example.com/a?b and WWW.youtube.com/watch", "see https://example.com/a?b and WWW.youtube.com/watch", "", ""},
		{"only looks allowed", Rule{Action: Mask, Links: links}, "https://notexample.com", "**********************", "", ""},
		{"allowed as a user", Rule{Action: Mask, Links: links}, "https://example.com@evil.com", "****************************", "", ""},
		{"no link", Rule{Action: Deny, Links: links}, "e.g. this.is fine, main.go too. And 1.5 or 10.30.", "e.g. this.is fine, main.go too. And 1.5 or 10.30.", "", ""},
		{"mail", Rule{Action: Deny, Links: links}, "ann@evil.com", "ann@evil.com", "", ""},
		{"repeated character", Rule{Action: Mask, Repeats: 3}, "nooooo way", "n***** way", "", ""},
		{"as often as allowed", Rule{Action: Deny, Repeats: 3}, "ooo aaa, haha ha ha", "ooo aaa, haha ha ha", "", ""},
		{"repeated word", Rule{Action: Deny, Repeats: 3}, "go GO go gO", "", "The message has repetitions that this room does not allow.", ""},
		{"capitals", Rule{Action: Flag, Capitals: 70}, "STOP SHOUTING now", "STOP SHOUTING now", "", "capitals"},
		{"few letters", Rule{Action: Deny, Capitals: 70}, "OK GG WP", "OK GG WP", "", ""},
		{"few capitals", Rule{Action: Deny, Capitals: 70}, "This Is A Title, It Is", "This Is A Title, It Is", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			shown, refused, flags := judge(t, []Rule{test.rule}, test.content)
			if refused == "" && shown != test.shown || refused != test.refused || strings.Join(flags, ",") != test.flags {
				t.Errorf("got %q, refused %q, flags %q; want %q, %q, %q", shown, refused, flags, test.shown, test.refused, test.flags)
			}
		})
	}
}

// Rules are asked in their order; the first that refuses has the word, masks add up.
func TestSeveralRules(t *testing.T) {
	rules := []Rule{
		{Action: Flag, Words: []string{"darn"}}, {Action: Mask, Words: []string{"heck"}}, {Action: Mask, Pattern: regexp.MustCompile("ck of")},
		{Action: Deny, Words: []string{"never"}, Reason: "one"}, {Action: Deny, Words: []string{"never"}, Reason: "two"},
	}
	if got, _, flags := judge(t, rules, "darn heck of it"); got != "darn **** ** it" || !slices.Equal(flags, []string{"words"}) {
		t.Errorf("got %q, %q", got, flags)
	}
	if _, refused, _ := judge(t, rules, "never heck"); refused != "one" {
		t.Errorf("got %q, want the first", refused)
	}
}

func TestNotAWord(t *testing.T) {
	if _, err := New([]Rule{{Words: []string{" \u200b"}}}); err == nil {
		t.Error("got nil, want an error")
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("well, d4rn it https://evil.com AAAA")
	s, err := New([]Rule{
		{Action: Mask, Words: []string{"darn", "a"}}, {Action: Mask, Links: &Links{}}, {Action: Mask, Repeats: 2}, {Action: Flag, Capitals: 50},
		{Action: Mask, Pattern: regexp.MustCompile(`\d+`)},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content string) {
		if !utf8.ValidString(content) || len(content) > 16<<10 {
			t.Skip()
		}
		got := s.Judge(content).Content
		if utf8.RuneCountInString(got) != utf8.RuneCountInString(content) || !utf8.ValidString(got) {
			t.Errorf("%q became %q", content, got)
		}
	})
}
