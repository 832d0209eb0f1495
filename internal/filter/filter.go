// Package filter judges messages by rules that the operator wrote: words, regular
// expressions, links, repetitions, capitals.
//
// Words are compared as people read them: in small letters, without accents and what
// cannot be seen, with what passes for a letter taken for it. Regular expressions
// (RE2, whose time grows with the text's length alone) see the text as it was written.
//
// A Set is immutable and safe for concurrent use. The package knows nothing of rooms.
package filter

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"parlor/internal/chat"
)

// Action is what becomes of a message that a rule applies to.
type Action string

const (
	Deny Action = "deny" // the message is refused
	Mask Action = "mask" // what the rule found is shown as asterisks
	Flag Action = "flag" // the message is shown, and says in an attribute that a rule applies
)

// Rule is one of a Set. Exactly one of Words, Pattern, Links, Repeats and Capitals is set.
type Rule struct {
	Action Action
	Reason string // what the sender of a refused message is told; "" is a sentence of ours
	Label  string // what a flag says; "" is the kind of the rule

	Words   []string
	Pattern *regexp.Regexp
	Links   *Links
	// Repeats is how often a character, or a word, may stand in a row.
	Repeats int
	// Capitals is the most of its letters, in percent, that a text of ten letters or more
	// may have in capitals.
	Capitals int
}

// Links finds addresses of the web, but for those of the allowed hosts and of hosts under
// them.
type Links struct{ Allow []string }

// Set is a set of rules, in the order in which they are asked.
type Set struct {
	rules []compiled
}

type compiled struct {
	Rule

	words []folded // by length, longest first
}

// New prepares rules for use.
func New(rules []Rule) (*Set, error) {
	s := &Set{}
	for _, rule := range rules {
		c := compiled{Rule: rule}
		for _, word := range rule.Words {
			f := fold(strings.TrimSpace(word), true)
			if len(f.runes) == 0 {
				return nil, fmt.Errorf("%q is not a word", word)
			}
			c.words = append(c.words, f)
		}
		slices.SortStableFunc(c.words, func(a, b folded) int { return len(b.runes) - len(a.runes) })
		s.rules = append(s.rules, c)
	}
	return s, nil
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// Judge implements [chat.Filter].
func (s *Set) Judge(content string) chat.Filtered {
	out := chat.Filtered{Content: content}
	var texts []folded
	var masked []span
	for _, rule := range s.rules {
		var found []span
		switch {
		case len(rule.words) > 0:
			if texts == nil {
				texts = []folded{fold(content, true), fold(content, false)}
			}
			for _, text := range texts {
				found = append(found, rule.inWords(text)...)
			}
		case rule.Pattern != nil:
			for _, at := range rule.Pattern.FindAllStringIndex(content, -1) {
				if at[0] < at[1] {
					found = append(found, span{at[0], at[1]})
				}
			}
		case rule.Links != nil:
			found = rule.Links.find(content)
		case rule.Repeats > 0:
			found = repeats(content, rule.Repeats)
		case rule.Capitals > 0:
			found = capitals(content, rule.Capitals)
		}
		if len(found) == 0 {
			continue
		}
		switch rule.Action {
		case Deny:
			out.Refused = rule.Reason
			if out.Refused == "" {
				out.Refused = "The message has " + rule.what() + " that this room does not allow."
			}
			return out
		case Mask:
			masked = append(masked, found...)
		case Flag:
			if label := rule.label(); !slices.Contains(out.Flags, label) {
				out.Flags = append(out.Flags, label)
			}
		}
	}
	out.Content = mask(content, masked)
	return out
}

func (r *Rule) what() string {
	switch {
	case len(r.Words) > 0:
		return "a word"
	case r.Pattern != nil:
		return "something"
	case r.Links != nil:
		return "a link"
	case r.Repeats > 0:
		return "repetitions"
	default:
		return "capitals"
	}
}

func (r *Rule) label() string {
	switch {
	case r.Label != "":
		return r.Label
	case len(r.Words) > 0:
		return "words"
	case r.Pattern != nil:
		return "pattern"
	case r.Links != nil:
		return "links"
	case r.Repeats > 0:
		return "repeats"
	default:
		return "capitals"
	}
}

// inWords finds the rule's words, whole.
func (r *compiled) inWords(text folded) (found []span) {
	for i := 0; i < len(text.runes); i++ {
		if i > 0 && isWord(text.runes[i-1]) && isWord(text.runes[i]) {
			continue
		}
		for _, word := range r.words {
			end := i + len(word.runes)
			if end > len(text.runes) || !slices.Equal(text.runes[i:end], word.runes) {
				continue
			}
			if end < len(text.runes) && isWord(text.runes[end-1]) && isWord(text.runes[end]) {
				continue
			}
			found = append(found, span{text.from[i], text.to[end-1]})
			i = end - 1
			break
		}
	}
	return found
}

// A link is what begins with a scheme or www., or a name whose last part is one that
// people register names under.
var links = regexp.MustCompile(`(?i)\bhttps?://[^\s<>"']+|\b(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]{2,59})\b(?::\d{1,5})?(?:/[^\s<>"']*)?`)

// endings that are no file's and no abbreviation's: without a scheme, a path or www. only
// names under these are taken for links.
var endings = strings.Fields("com net org info biz io gg tv me co app dev xyz live online shop site store stream click link top vip club pro ru de uk fr it es nl pl br cn jp in eu us ca au to ly cc ws")

func (l *Links) find(content string) (found []span) {
	for _, at := range links.FindAllStringIndex(content, -1) {
		text := strings.ToLower(content[at[0]:at[1]])
		rest, schemed := strings.CutPrefix(text, "http://")
		if !schemed {
			rest, schemed = strings.CutPrefix(text, "https://")
		}
		host, _, hasPath := strings.Cut(rest, "/")
		if _, after, ok := strings.Cut(host, "@"); ok { // what is before is a name for who logs in
			host = after
		}
		host, _, _ = strings.Cut(host, ":")
		host = strings.TrimRight(host, ".,;!?)")
		if at[0] > 0 && content[at[0]-1] == '@' && !schemed {
			continue // a mail address
		}
		last := host[strings.LastIndexByte(host, '.')+1:]
		_, numeric := netip.ParseAddr(host)
		if !schemed && !hasPath && !strings.HasPrefix(host, "www.") && !slices.Contains(endings, last) && numeric != nil {
			continue
		}
		if l.allowed(host) {
			continue
		}
		found = append(found, span{at[0], at[1]})
	}
	return found
}

func (l *Links) allowed(host string) bool {
	return slices.ContainsFunc(l.Allow, func(a string) bool {
		return host == a || strings.HasSuffix(host, "."+a)
	})
}

// repeats finds characters and words that stand in a row more often than allowed.
func repeats(content string, most int) (found []span) {
	var last rune = -1
	count, begun := 0, 0
	end := func(at int) {
		if count > most {
			found = append(found, span{begun, at})
		}
	}
	for at, r := range content {
		if r = unicode.ToLower(r); r == last && !unicode.IsSpace(r) {
			count++
			continue
		}
		end(at)
		last, count, begun = r, 1, at
	}
	end(len(content))
	word, count, begun := "", 0, 0
	at := 0
	for part := range strings.FieldsSeq(content) {
		from := at + strings.Index(content[at:], part)
		if strings.EqualFold(part, word) {
			count++
		} else {
			end(at)
			word, count, begun = part, 1, from
		}
		at = from + len(part)
	}
	end(at)
	return found
}

// leastLetters is how many letters a text must have for its capitals to count.
const leastLetters = 10

func capitals(content string, most int) []span {
	letters, upper := 0, 0
	for _, r := range content {
		if unicode.IsUpper(r) || unicode.IsLower(r) {
			letters++
		}
		if unicode.IsUpper(r) {
			upper++
		}
	}
	if letters < leastLetters || upper*100 <= letters*most {
		return nil
	}
	return []span{{0, len(content)}}
}

// mask writes an asterisk for each character of the spans but white space.
func mask(content string, spans []span) string {
	if len(spans) == 0 {
		return content
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	until := 0 // where what is hidden ends
	for at, r := range content {
		for len(spans) > 0 && spans[0].from <= at {
			until = max(until, spans[0].to)
			spans = spans[1:]
		}
		if hidden := at < until; hidden && !unicode.IsSpace(r) {
			b.WriteByte('*')
			continue
		}
		b.WriteString(content[at : at+utf8.RuneLen(r)])
	}
	return b.String()
}
