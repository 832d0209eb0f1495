package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// FilterRule is a rule of a set that messages are judged by. Exactly one of Words,
// Pattern, Links, Repeats and Capitals is set.
type FilterRule struct {
	Action        string // deny, mask or flag
	Reason, Label string // may be empty

	Words    []string
	Pattern  *regexp.Regexp
	Links    bool
	Allow    []string // hosts, with Links
	Repeats  int
	Capitals int
}

const (
	filtersForm = "the file is not a mapping of names to lists of rules, such as\n  family:\n    - words: [darn]\n      action: mask"
	ruleForm    = "a rule is a mapping with one of words, pattern, links, repeats and capitals"
)

// LoadFilters returns the sets of rules of the file that the setting names, by their
// names; nil without one. What is not understood is refused: the error is [Faults] and
// names every line that is wrong, unless the file could not be read.
func (c *Config) LoadFilters() (map[string][]FilterRule, error) {
	if c.Filters == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Filters)
	if err != nil {
		return nil, fmt.Errorf("read the filters: %w", err)
	}
	sets, faults := parseFilters(text)
	for i, f := range faults {
		faults[i].Where = c.Filters
		if f.Where != "" {
			faults[i].Where += ":" + f.Where
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return sets, nil
}

func parseFilters(text []byte) (map[string][]FilterRule, Faults) {
	body, faults := Document(text)
	if body == nil {
		return nil, faults
	}
	fault := func(at ast.Node, format string, args ...any) {
		faults = append(faults, Fault{Where: Line(at), Message: fmt.Sprintf(format, args...)})
	}
	entries, ok := Mapping(body)
	if !ok {
		fault(body, filtersForm)
		return nil, faults
	}
	sets := map[string][]FilterRule{}
	for _, entry := range entries {
		name := entry.Key.GetToken().Value
		rules, ok := entry.Value.(*ast.SequenceNode)
		switch {
		case name == "" || len(name) > 256: // more than a tag has room for
			fault(entry.Key, "a name has 1 to 256 characters")
		case sets[name] != nil:
			fault(entry.Key, "%s is there twice", name)
		case !ok || len(rules.Values) == 0:
			fault(entry.Key, filtersForm)
		default:
			for _, node := range rules.Values {
				sets[name] = append(sets[name], readRule(node, fault))
			}
		}
	}
	return sets, faults
}

func readRule(node ast.Node, fault func(ast.Node, string, ...any)) (r FilterRule) {
	entries, ok := Mapping(node)
	if !ok {
		fault(node, ruleForm)
		return r
	}
	r.Action = "deny"
	var kinds, seen []string
	for _, entry := range entries {
		name, value := entry.Key.GetToken().Value, entry.Value
		if slices.Contains(seen, name) {
			fault(entry.Key, "%s is there twice", name)
		}
		seen = append(seen, name)
		text, single := scalarText(value)
		list, several := listOf(value)
		bad := func(want string) { fault(entry.Key, "%s: want %s", name, want) }
		switch name {
		case "words":
			kinds = append(kinds, name)
			if r.Words = list; !several || len(list) == 0 {
				bad("a list of words")
			}
		case "pattern":
			kinds = append(kinds, name)
			var err error
			if r.Pattern, err = regexp.Compile(text); !single || text == "" || err != nil {
				bad(strings.TrimSpace(fmt.Sprintf("a regular expression (RE2) %s", explained(err))))
			}
		case "links":
			kinds = append(kinds, name)
			if r.Links = true; !single || text != "true" {
				bad("true")
			}
		case "repeats":
			kinds = append(kinds, name)
			if r.Repeats = numberBetween(text, 1, 500); r.Repeats == 0 {
				bad("a number from 1 to 500")
			}
		case "capitals":
			kinds = append(kinds, name)
			if r.Capitals = numberBetween(text, 1, 99); r.Capitals == 0 {
				bad("a number of percent from 1 to 99")
			}
		case "allow":
			if r.Allow = list; !several || slices.ContainsFunc(list, func(h string) bool {
				return h != strings.ToLower(h) || strings.ContainsAny(h, "/:*@ ") || !strings.Contains(h, ".")
			}) {
				bad("a list of host names in small letters, such as [example.com]")
			}
		case "action":
			if r.Action = text; !slices.Contains([]string{"deny", "mask", "flag"}, text) {
				bad("deny, mask or flag")
			}
		case "reason":
			if r.Reason = text; !single || text == "" || len(text) > 500 {
				bad("a text of up to 500 characters")
			}
		case "label":
			if r.Label = text; !single || text == "" || len(text) > 50 || strings.Contains(text, ",") {
				bad("a word of up to 50 characters")
			}
		default:
			fault(entry.Key, "%s is not known: a rule has words, pattern, links, repeats or capitals, and action, reason, label, allow", name)
		}
	}
	switch {
	case len(kinds) != 1:
		fault(node, ruleForm)
	case r.Allow != nil && !r.Links:
		fault(node, "allow goes with links")
	case r.Action == "mask" && r.Capitals > 0:
		fault(node, "capitals can be denied or flagged, not masked: nothing of the message would be left")
	case r.Reason != "" && r.Action != "deny":
		fault(node, "reason goes with action: deny")
	case r.Label != "" && r.Action != "flag":
		fault(node, "label goes with action: flag")
	}
	return r
}

func explained(err error) string {
	if err == nil {
		return ""
	}
	return "(" + err.Error() + ")"
}

func scalarText(n ast.Node) (string, bool) {
	if !IsScalar(n) {
		return "", false
	}
	return n.GetToken().Value, true
}

func listOf(n ast.Node) (items []string, ok bool) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, false
	}
	for _, node := range list.Values {
		text, ok := scalarText(node)
		if !ok || text == "" {
			return nil, false
		}
		items = append(items, text)
	}
	return items, true
}

// numberBetween is 0 if the text is no number between the two.
func numberBetween(text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0
	}
	return n
}
