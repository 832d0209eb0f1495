package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func loadFilters(t *testing.T, text string) (map[string][]FilterRule, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filters.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Filters: path}
	sets, err := c.LoadFilters()
	if err != nil {
		return nil, strings.ReplaceAll(err.Error(), path, "F")
	}
	return sets, ""
}

func TestFilters(t *testing.T) {
	got, fault := loadFilters(t, `
family:
  - words: [darn, "dirty word"]
    action: mask
  - pattern: '(?i)free\s+nitro'
    reason: No advertising.
  - links: true
    allow: [example.com]
    action: flag
    label: link
strict:
  - repeats: 5
  - capitals: 70
    action: flag
`)
	want := map[string][]FilterRule{
		"family": {
			{Action: "mask", Words: []string{"darn", "dirty word"}},
			{Action: "deny", Pattern: regexp.MustCompile(`(?i)free\s+nitro`), Reason: "No advertising."},
			{Action: "flag", Links: true, Allow: []string{"example.com"}, Label: "link"},
		},
		"strict": {{Action: "deny", Repeats: 5}, {Action: "flag", Capitals: 70}},
	}
	same := cmp.Comparer(func(a, b *regexp.Regexp) bool {
		return a == nil && b == nil || a != nil && b != nil && a.String() == b.String()
	})
	if diff := cmp.Diff(got, want, same); diff != "" || fault != "" {
		t.Errorf("%s\ngot -, want +:\n%s", fault, diff)
	}
}

func TestFiltersFaults(t *testing.T) {
	for text, want := range map[string]string{
		"- words: [a]":              "F:1: the file is not a mapping of names to lists of rules",
		"family: darn":              "F:1: the file is not a mapping of names to lists of rules",
		"family: []":                "F:1: the file is not a mapping",
		"family:\n  - darn":         "F:2: a rule is a mapping with one of",
		"family:\n  - action: mask": "F:2: a rule is a mapping with one of",
		"family:\n  - words: [a]\n    links: true":                 "F:2: a rule is a mapping with one of",
		"family:\n  - words: a":                                    "F:2: words: want a list of words",
		"family:\n  - pattern: '('":                                "F:2: pattern: want a regular expression (RE2) (error parsing regexp",
		"family:\n  - links: yes":                                  "F:2: links: want true",
		"family:\n  - repeats: 0":                                  "F:2: repeats: want a number from 1 to 500",
		"family:\n  - capitals: 100":                               "F:2: capitals: want a number of percent",
		"family:\n  - capitals: 70\n    action: mask":              "F:2: capitals can be denied or flagged",
		"family:\n  - words: [a]\n    action: hide":                "F:3: action: want deny, mask or flag",
		"family:\n  - words: [a]\n    actoin: deny":                "F:3: actoin is not known",
		"family:\n  - words: [a]\n    allow: [a.b]":                "F:2: allow goes with links",
		"family:\n  - links: true\n    allow: [https://a.b]":       "F:3: allow: want a list of host names",
		"family:\n  - words: [a]\n    action: mask\n    reason: b": "F:2: reason goes with action: deny",
		"family:\n  - words: [a]\n    label: b":                    "F:2: label goes with action: flag",
		"family:\n  - words: [a]\n    words: [b]":                  "F:",
	} {
		if _, fault := loadFilters(t, text); !strings.Contains(fault, want) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, fault, want)
		}
	}
	c := Config{Filters: filepath.Join(t.TempDir(), "none.yaml")}
	if _, err := c.LoadFilters(); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v, want a fault that names the file", err)
	}
	if sets, fault := loadFilters(t, "# nothing yet\n"); sets != nil || fault != "" {
		t.Errorf("an empty file: got %v, %s", sets, fault)
	}
}
