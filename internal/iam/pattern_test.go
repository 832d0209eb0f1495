package iam

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// oracle matches as the regexp package does, which is slower and another's.
func oracle(pattern, value string, fold bool) bool {
	expression := "(?s)^"
	if fold {
		pattern, value = asciiLower(pattern), asciiLower(value)
	}
	for _, r := range pattern {
		switch r {
		case '*':
			expression += ".*"
		case '?':
			expression += "."
		default:
			expression += regexp.QuoteMeta(string(r))
		}
	}
	return regexp.MustCompile(expression + "$").MatchString(value)
}

func compiled(t testing.TB, pattern string, fold bool) []byte {
	t.Helper()
	if fold {
		pattern = asciiLower(pattern)
	}
	p, err := compile(pattern, true, false)
	if err != nil || p.pieces != nil {
		t.Fatalf("compile %q: %v", pattern, err)
	}
	return p.fixed
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		want           bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"?", "", false},
		{"?", "é", true},
		{"??", "é", false},
		{"*??", "€", false},
		{"*?", "€", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-b-b-d", false},
		{"**a**", "a", true},
		{"a?c*", "abc", true},
		{"*aab", "aaaab", true},
		{"a.c", "abc", false},
		{"a\nb*", "a\nb\n", true},
	} {
		if got := match(compiled(t, test.pattern, false), test.value, false); got != test.want {
			t.Errorf("%q on %q: got %v, want %v", test.pattern, test.value, got, test.want)
		}
	}
}

func TestMatchIsTheRegexpWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("abAB*?é€.:/")), 0, 12, -1).Draw(t, "pattern")
		value := rapid.StringOfN(rapid.SampledFrom([]rune("abABé€.:/\n")), 0, 20, -1).Draw(t, "value")
		fold := rapid.Bool().Draw(t, "fold")
		p := pattern
		if fold {
			p = asciiLower(pattern)
		}
		c, err := compile(p, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := match(c.fixed, value, fold), oracle(pattern, value, fold); got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, value, got, want)
		}
	})
}

// Patterns that make a backtracking matcher try every split end soon.
func TestMatchDoesNotExplode(t *testing.T) {
	value := strings.Repeat("a", 2_000)
	for _, pattern := range []string{
		strings.Repeat("*a", 1_000) + "b",
		strings.Repeat("*", 2_000) + "b",
		"*" + strings.Repeat("a", 1_000) + "b",
		"*" + strings.Repeat("?", 1_000) + "b",
	} {
		start := time.Now()
		if match(compiled(t, pattern, false), value, false) {
			t.Errorf("%.20s…: got a match, want none", pattern)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.20s…: took %v, want far less", pattern, took)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", "anything"}, {"a*b?c", "a--b-c"}, {"*a*a*b", "aaaaaaa"}, {"?", "é"}, {"*??", "€"},
		{"ivschat:*Room", "ivschat:CreateRoom"}, {"room/*", "room/a/b:c"}, {"", ""}, {"\\*", "\\x"},
	} {
		f.Add(seed[0], seed[1], false)
		f.Add(seed[0], seed[1], true)
	}
	f.Fuzz(func(t *testing.T, pattern, value string, fold bool) {
		if len(pattern) > 200 || len(value) > 2000 || !utf8.ValidString(pattern) ||
			!utf8.ValidString(value) { // patterns are UTF-8; to regexp a bad byte is U+FFFD
			return
		}
		if got, want := match(compiled(t, pattern, fold), value, fold), oracle(pattern, value, fold); got != want {
			t.Errorf("%q on %q, fold %v: got %v, want %v", pattern, value, fold, got, want)
		}
	})
}
