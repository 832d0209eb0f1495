package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDocument is the longest document in bytes. AWS takes 6,144 characters, white
// space aside, in a managed policy.
const maxDocument = 64 << 10

// Parse reads a policy document, strictly: the error says in which line what is wrong.
func Parse(document []byte) (*Policy, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("policy of %d bytes, more than %d", len(document), maxDocument)
	}
	r := &reader{text: document, tokens: json.NewDecoder(bytes.NewReader(document))}
	r.tokens.UseNumber()
	if i := invalidUTF8(document); i >= 0 {
		return nil, r.errorAt(int64(i), errors.New("invalid UTF-8"))
	}
	p, err := r.policy()
	if err != nil {
		return nil, err
	}
	if _, err := r.tokens.Token(); err != io.EOF {
		return nil, r.fault("text after the policy")
	}
	return p, nil
}

func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// reader walks the document token by token. What it finds where it does not belong is
// an error at once, so nesting is never deeper than the language's own.
type reader struct {
	text   []byte
	tokens *json.Decoder

	variables bool // the version has policy variables
}

func (r *reader) errorAt(offset int64, err error) error {
	line := 1 + bytes.Count(r.text[:min(offset, int64(len(r.text)))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, err)
}

// fault is an error about the token that was read last.
func (r *reader) fault(format string, args ...any) error {
	return r.errorAt(r.tokens.InputOffset(), fmt.Errorf(format, args...))
}

// next reads a token; a scalar other than null comes as its text.
func (r *reader) next() (json.Token, error) {
	token, err := r.tokens.Token()
	var syntax *json.SyntaxError
	switch {
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, r.errorAt(int64(len(r.text)), errors.New("the document ends too early"))
	case errors.As(err, &syntax):
		return nil, r.errorAt(syntax.Offset, fmt.Errorf("not JSON: %w", err))
	case err != nil:
		return nil, r.fault("not JSON: %w", err)
	}
	if s, ok := token.(string); ok && strings.ContainsRune(s, utf8.RuneError) {
		return nil, r.fault("the string %q has half a surrogate pair or a replacement character", clip(s))
	}
	return token, nil
}

// object reads an object whose opening brace may have been read already; member reads
// the value of each. Names that fold to the same text are the same member.
func (r *reader) object(what string, opened bool, fold func(string) string, member func(name string) error) error {
	if !opened {
		token, err := r.next()
		if err != nil {
			return err
		}
		if token != json.Delim('{') {
			return r.fault("%s must be an object", what)
		}
	}
	seen := map[string]bool{}
	for {
		token, err := r.next()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok { // the closing brace
			return nil
		}
		id := fold(name)
		if seen[id] {
			return r.fault("%q is given twice in %s", clip(name), what)
		}
		seen[id] = true
		if err := member(name); err != nil {
			return err
		}
	}
}

func same(name string) string { return name }

// list reads one element or a list of at least one; element is given its first token.
func (r *reader) list(what string, element func(first json.Token) error) error {
	token, err := r.next()
	if err != nil {
		return err
	}
	if token != json.Delim('[') {
		return element(token)
	}
	for n := 0; ; n++ {
		if token, err = r.next(); err != nil {
			return err
		}
		if token == json.Delim(']') {
			if n == 0 {
				return r.fault("%s is an empty list", what)
			}
			return nil
		}
		if err := element(token); err != nil {
			return err
		}
	}
}

// string reads a string.
func (r *reader) string(what string) (string, error) {
	token, err := r.next()
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok {
		return "", r.fault("%s must be a string", what)
	}
	return s, nil
}

// texts reads a string or a list of strings.
func (r *reader) texts(what string, add func(string) error) error {
	return r.list(what, func(first json.Token) error {
		s, ok := first.(string)
		if !ok {
			return r.fault("%s must be a string or a list of strings", what)
		}
		if err := add(s); err != nil {
			return r.fault("%s: %w", what, err)
		}
		return nil
	})
}

// policy reads the document. IAM: reference_policies_grammar
func (r *reader) policy() (*Policy, error) {
	r.variables = r.hasVariables()
	p := &Policy{}
	stated := false
	err := r.object("the policy", false, same, func(name string) error {
		switch name {
		case "Version":
			v, err := r.string(name)
			if err == nil && v != "2012-10-17" && v != "2008-10-17" {
				err = r.fault("unknown Version %q: there are 2012-10-17 and 2008-10-17", clip(v))
			}
			return err
		case "Id":
			_, err := r.string(name)
			return err
		case "Statement":
			stated = true
			return r.list(name, func(first json.Token) error {
				if first != json.Delim('{') {
					return r.fault("a statement must be an object")
				}
				return r.statement(p)
			})
		}
		return r.fault("unknown member %q of the policy", clip(name))
	})
	if err == nil && !stated {
		err = r.fault("the policy has no Statement")
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// hasVariables finds the Version, which may come after the statements that depend on
// it. It leaves everything that is wrong to the reading proper.
func (r *reader) hasVariables() bool {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(r.text, &members) != nil {
		return false
	}
	var version string
	return json.Unmarshal(members["Version"], &version) == nil && version == "2012-10-17"
}

var sidForm = regexp.MustCompile(`^[A-Za-z0-9]*$`)

// statement reads a statement whose brace has been read.
func (r *reader) statement(p *Policy) error {
	s := statement{}
	var effect, action, resource string // the members that said so
	err := r.object("the statement", true, same, func(name string) error {
		switch name {
		case "Sid":
			var err error
			if s.sid, err = r.string(name); err != nil {
				return err
			}
			if !sidForm.MatchString(s.sid) {
				return r.fault("Sid %q: only letters and digits", clip(s.sid))
			}
			if s.sid != "" && slices.ContainsFunc(p.statements, func(other statement) bool { return other.sid == s.sid }) {
				return r.fault("two statements have the Sid %q", s.sid)
			}
			return nil
		case "Effect":
			var err error
			if effect, err = r.string(name); err != nil {
				return err
			}
			switch effect {
			case "Allow":
				s.effect = Allowed
			case "Deny":
				s.effect = ExplicitlyDenied
			default:
				return r.fault("unknown Effect %q: there are Allow and Deny", clip(effect))
			}
			return nil
		case "Action", "NotAction":
			if action != "" {
				return r.fault("a statement has either Action or NotAction")
			}
			action, s.notAction = name, name == "NotAction"
			return r.texts(name, s.addAction)
		case "Resource", "NotResource":
			if resource != "" {
				return r.fault("a statement has either Resource or NotResource")
			}
			resource, s.notResource = name, name == "NotResource"
			return r.texts(name, func(v string) error { return s.addResource(v, r.variables) })
		case "Condition":
			return r.conditions(&s)
		case "Principal", "NotPrincipal":
			return r.fault("%s belongs to resource-based policies: here the principal is whoever has the policy", name)
		}
		return r.fault("unknown member %q of a statement", clip(name))
	})
	if err != nil {
		return err
	}
	switch {
	case effect == "":
		return r.fault("the statement has no Effect")
	case action == "":
		return r.fault("the statement has neither Action nor NotAction")
	case resource == "":
		return r.fault("the statement has neither Resource nor NotResource")
	}
	p.statements = append(p.statements, s)
	return nil
}

var actionForm = regexp.MustCompile(`^(\*|(\*|[A-Za-z0-9-]+):[A-Za-z0-9*?_-]+)$`)

func (s *statement) addAction(action string) error {
	if !actionForm.MatchString(action) {
		return fmt.Errorf("%q is neither * nor service:Action", clip(action))
	}
	t, err := compile(asciiLower(action), true, false)
	s.actions = append(s.actions, t.fixed)
	return err
}

func (s *statement) addResource(resource string, variables bool) error {
	a, err := parseARN(resource, variables, true)
	if err != nil {
		return fmt.Errorf("%q: %w", clip(resource), err)
	}
	s.resources = append(s.resources, a)
	return nil
}

// conditions reads a Condition: operators, their keys, and the keys' values.
func (r *reader) conditions(s *statement) error {
	err := r.object("Condition", false, same, func(name string) error {
		op, ok := parseOperator(name)
		if !ok {
			if strings.Contains(name, "BinaryEquals") {
				return r.fault("operator %q: no condition key is binary", clip(name))
			}
			return r.fault("unknown condition operator %q", clip(name))
		}
		before := len(s.conditions)
		err := r.object(name, false, asciiLower, func(key string) error { return r.condition(s, name, op, key) })
		if err == nil && len(s.conditions) == before {
			return r.fault("%s has no condition key", name)
		}
		return err
	})
	if err == nil && len(s.conditions) == 0 {
		return r.fault("the Condition is empty")
	}
	return err
}

func (r *reader) condition(s *statement, name string, op operator, key string) error {
	c := condition{operator: op}
	var ok bool
	if c.key, ok = parseKey(key); !ok {
		return r.fault("unknown condition key %q", clip(key))
	}
	if !c.key.takes(op.family) {
		return r.fault("%s cannot match the condition key %q", name, clip(key))
	}
	if c.key.id == tagKeys && op.quantifier == single && op.family != null {
		return r.fault("%q has many values: write ForAnyValue:%s or ForAllValues:%[2]s", key, name)
	}
	err := r.list(key, func(first json.Token) error {
		var value string
		switch v := first.(type) {
		case string:
			value = v
		case json.Number:
			value = v.String()
		case bool:
			value = fmt.Sprint(v)
		default:
			return r.fault("the values of %q must be strings, numbers or booleans", clip(key))
		}
		if err := c.add(value, r.variables); err != nil {
			return r.fault("%s of %q: %w", name, clip(key), err)
		}
		return nil
	})
	s.conditions = append(s.conditions, c)
	return err
}
