package iam

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A compiled pattern is text in which two bytes that UTF-8 never has stand for the
// wildcards, so that a * written as ${*}, or brought in by a variable, is a plain one.
const (
	anyRun  = 0xFF // *
	oneChar = 0xFE // ?
)

// match reports whether the whole value matches the compiled pattern. It goes back to
// the last * only, so it takes at most len(pattern)·len(value) steps. With fold, ASCII
// letters of the value match lower-case letters of the pattern.
func match(pattern []byte, value string, fold bool) bool {
	p, v := 0, 0
	star, from := -1, 0 // the last *, and the value's rest when it took nothing more
	for v < len(value) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == anyRun:
				if p++; p == len(pattern) {
					return true
				}
				star, from = p, v
				continue
			case c == oneChar:
				p++
				v += width(value, v)
				continue
			case c == value[v] || fold && c == lower(value[v]):
				p++
				v++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from += width(value, from)
		p, v = star, from
	}
	for p < len(pattern) && pattern[p] == anyRun {
		p++
	}
	return p == len(pattern)
}

// width is the length in bytes of the character at s[i]; a byte that is none counts as one.
func width(s string, i int) int {
	if s[i] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// template is a pattern with the places of its variables.
type template struct {
	fixed  []byte // the compiled pattern, when there are no variables
	pieces []piece
}

// piece is a run of compiled text, or a variable.
type piece struct {
	text       []byte // or, of a variable, the default
	key        contextKey
	hasDefault bool
}

// compile reads a pattern. Wildcards and variables count as such only where asked for.
func compile(s string, wildcards, variables bool) (template, error) {
	var t template
	var text []byte
	for s != "" {
		switch {
		case wildcards && s[0] == '*':
			text = append(text, anyRun)
			s = s[1:]
		case wildcards && s[0] == '?':
			text = append(text, oneChar)
			s = s[1:]
		case variables && strings.HasPrefix(s, "${"):
			p, rest, err := variable(s)
			if err != nil {
				return template{}, err
			}
			s = rest
			if p.key.id == literal {
				text = append(text, p.text...)
				continue
			}
			if len(text) > 0 {
				t.pieces = append(t.pieces, piece{text: text})
				text = nil
			}
			t.pieces = append(t.pieces, p)
		default:
			text = append(text, s[0])
			s = s[1:]
		}
	}
	if t.pieces == nil {
		t.fixed = text
	} else if len(text) > 0 {
		t.pieces = append(t.pieces, piece{text: text})
	}
	return t, nil
}

// variable reads the policy variable that s begins with, and gives back the rest.
// IAM: reference_policies_variables
func variable(s string) (p piece, rest string, err error) {
	name, rest, ok := strings.Cut(s[len("${"):], "}")
	if !ok {
		return piece{}, "", fmt.Errorf("policy variable %q without }", clip(s))
	}
	if name == "*" || name == "?" || name == "$" {
		return piece{text: []byte(name)}, rest, nil
	}
	if i := strings.Index(name, ", '"); i >= 0 {
		after := s[len("${")+i+len(", '"):]
		name = name[:i]
		var value string
		if value, rest, ok = strings.Cut(after, "'"); !ok || !strings.HasPrefix(rest, "}") {
			return piece{}, "", fmt.Errorf("policy variable %q: a default is written ${key, 'text'}", clip(s))
		}
		p.text, p.hasDefault, rest = []byte(value), true, rest[1:]
	}
	if p.key, ok = parseKey(name); !ok {
		return piece{}, "", fmt.Errorf("unknown policy variable %s", clip("${"+name+"}"))
	}
	if p.key.id == tagKeys {
		return piece{}, "", fmt.Errorf("policy variable ${%s}: the key has many values", name)
	}
	return p, rest, nil
}

// clip shortens a text that goes into an error.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	end := most
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// expand is the compiled pattern with the request's values in place of the variables,
// written to buf if it has variables. Without present, the pattern matches nothing.
func (t *template) expand(c *Context, buf []byte) ([]byte, presence) {
	if t.pieces == nil {
		return t.fixed, present
	}
	for i := range t.pieces {
		p := &t.pieces[i]
		if p.key.id == literal {
			buf = append(buf, p.text...)
			continue
		}
		value, found := c.text(p.key)
		switch {
		case found == ambiguous:
			return nil, ambiguous
		case found == absent && p.hasDefault:
			buf = append(buf, p.text...)
		case found == absent || !utf8.ValidString(value): // a byte of the value must not become a wildcard
			return nil, absent
		default:
			buf = append(buf, value...)
		}
	}
	return buf, present
}

// arnPattern is a pattern of an ARN: of everything, or of each of its six parts.
type arnPattern struct {
	all   bool
	parts [6]template
}

// parseARN reads an ARN with wildcards, or "*". That of a resource names its service,
// and has variables in its last part only.
// IAM: reference_policies_elements_resource#reference_policies_elements_resource_wildcards
func parseARN(s string, variables, resource bool) (arnPattern, error) {
	if s == "*" {
		return arnPattern{all: true}, nil
	}
	var a arnPattern
	for i := range a.parts {
		part := s
		if i < len(a.parts)-1 {
			end, err := colon(s, variables)
			if err != nil {
				return arnPattern{}, err
			}
			if end < 0 {
				return arnPattern{}, fmt.Errorf("it is neither * nor an ARN, arn:partition:service:region:account:resource")
			}
			part, s = s[:end], s[end+1:]
		}
		if strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7F }) {
			return arnPattern{}, fmt.Errorf("control character in the ARN")
		}
		switch {
		case i == 0 && part != "arn":
			return arnPattern{}, fmt.Errorf("it is neither * nor an ARN")
		case (i == 1 || i == 2 || i == 5) && part == "":
			return arnPattern{}, fmt.Errorf("empty %s in the ARN", arnParts[i])
		case i == 2 && resource && strings.ContainsAny(part, "*?"):
			return arnPattern{}, fmt.Errorf("wildcard in the service of the ARN")
		case i < 5 && resource && variables && strings.Contains(part, "${"):
			return arnPattern{}, fmt.Errorf("policy variable before the fifth colon of the ARN")
		}
		var err error
		if a.parts[i], err = compile(part, true, variables); err != nil {
			return arnPattern{}, err
		}
	}
	return a, nil
}

var arnParts = [6]string{"prefix", "partition", "service", "region", "account", "resource"}

// colon is the index of the first colon that is not within a variable, or -1.
func colon(s string, variables bool) (int, error) {
	for i := 0; i < len(s); i++ {
		if variables && strings.HasPrefix(s[i:], "${") {
			_, rest, err := variable(s[i:])
			if err != nil {
				return -1, err
			}
			i = len(s) - len(rest) - 1
			continue
		}
		if s[i] == ':' {
			return i, nil
		}
	}
	return -1, nil
}

// match reports whether an ARN matches. Not to be known (ambiguous) is not a match.
func (a *arnPattern) match(arn string, c *Context) (matched, unclear bool) {
	if a.all {
		return true, false
	}
	var space [128]byte
	for i := range a.parts {
		part := arn
		if i < len(a.parts)-1 {
			var ok bool
			if part, arn, ok = strings.Cut(arn, ":"); !ok {
				return false, false
			}
		}
		pattern, known := a.parts[i].expand(c, space[:0])
		if known != present {
			return false, known == ambiguous
		}
		if !match(pattern, part, false) {
			return false, false
		}
	}
	return true, false
}
