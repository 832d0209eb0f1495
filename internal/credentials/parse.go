package credentials

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parlor/internal/chat"
	"parlor/internal/iam"
)

// Fault is one thing that is wrong with a credentials file.
type Fault struct {
	Path    string // the file
	Line    int    // 0: the file as a whole
	Message string // without secrets
}

// Faults is everything that is wrong with a credentials file. As an error it has one
// line for each, up to a bound.
type Faults []Fault

// maxFaultLines bounds what a file that is something else altogether has to say.
const maxFaultLines = 50

func (f Faults) Error() string {
	var lines []string
	for i, fault := range f {
		if i == maxFaultLines {
			lines = append(lines, fmt.Sprintf("and %d more", len(f)-i))
			break
		}
		where := fault.Path
		if fault.Line > 0 {
			where = fmt.Sprintf("%s:%d", fault.Path, fault.Line)
		}
		lines = append(lines, where+": "+fault.Message)
	}
	return strings.Join(lines, "\n")
}

// The settings of a section.
const (
	settingAccessKey = "aws_access_key_id"
	settingSecret    = "aws_secret_access_key"
	settingAccount   = "aws_account_id"
	settingToken     = "aws_session_token"
	settingExpires   = "expires"
	settingPolicy    = "policy"
	settingDisabled  = "disabled"
)

var settings = []string{settingAccessKey, settingSecret, settingAccount, settingToken, settingExpires, settingPolicy, settingDisabled}

const (
	minAccessKey, maxAccessKey = 16, 128 // as AWS's
	minSecret, maxSecret       = 16, 128
	maxToken                   = 4096
	maxName                    = 64 // as AWS's user names
	maxQuoted                  = 32 // an unknown setting that is longer may be a secret out of place
)

const (
	digits       = "0123456789"
	lowerCase    = "abcdefghijklmnopqrstuvwxyz"
	alphanumeric = digits + lowerCase + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// section is a key as it stands in the file.
type section struct {
	name      string
	line      int
	last      int // the line of its last setting, or its own
	values    map[string]value
	duplicate bool
}

type value struct {
	text string
	line int
}

// parse reads the text of a credentials file. policy reads a policy file by the name
// that a section gives it. Keys are what has no fault of its own.
func parse(data []byte, defaultAccount string, policy func(name string) (*iam.Policy, error)) ([]Key, Faults) {
	sections, faults := split(data)
	fault := func(line int, format string, args ...any) {
		faults = append(faults, Fault{Line: line, Message: fmt.Sprintf(format, args...)})
	}
	var keys []Key
	owners := map[string]*section{} // by access key
	for i := range sections {
		s := &sections[i]
		before := len(faults)
		k := s.key(fault)
		if k.Account == "" {
			k.Account = defaultAccount
		}
		if k.AccessKey != "" {
			if first := owners[k.AccessKey]; first != nil {
				fault(s.values[settingAccessKey].line, "the access key of [%s] is that of [%s] too, line %d", s.name, first.name, first.values[settingAccessKey].line)
			} else {
				owners[k.AccessKey] = s
			}
		}
		if k.PolicyFile != "" {
			p, err := policy(k.PolicyFile)
			if err != nil {
				fault(s.values[settingPolicy].line, "policy %s: %v", k.PolicyFile, err)
			}
			k.Policy = p
		}
		if len(faults) == before && !s.duplicate {
			keys = append(keys, k)
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Line - b.Line })
	return keys, faults
}

// split finds the sections of a file and their settings.
func split(data []byte) ([]section, Faults) {
	var sections []section
	var faults Faults
	fault := func(line int, format string, args ...any) {
		faults = append(faults, Fault{Line: line, Message: fmt.Sprintf(format, args...)})
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	first := map[string]int{} // the line of a section by its name
	inSection := false        // also one that has no usable name
	line := 0
	for raw := range bytes.Lines(data) {
		line++
		text := strings.TrimRight(string(raw), "\r\n")
		bare := strings.TrimSpace(text)
		switch {
		case bare == "" || bare[0] == '#' || bare[0] == ';':
			continue
		case !utf8.ValidString(text) || strings.ContainsFunc(text, isControl):
			fault(line, "the line has bytes that are not text")
			continue
		case text[0] == ' ' || text[0] == '\t':
			fault(line, "the line begins with white space, which would make it part of the one before")
			continue
		}
		text = uncomment(text)
		if text[0] == '[' {
			inSection = true
			name, ok := strings.CutSuffix(text[1:], "]")
			name = strings.TrimSpace(name)
			switch {
			case !ok:
				fault(line, "want [NAME]")
			case !ValidName(name):
				fault(line, "a name has 1 to %d letters, digits and _+=,.@-", maxName)
				ok = false
			}
			if !ok { // its settings belong to nobody
				sections = append(sections, section{line: line})
				continue
			}
			duplicate := first[name] > 0
			if duplicate {
				fault(line, "[%s] is in line %d already", name, first[name])
			} else {
				first[name] = line
			}
			sections = append(sections, section{name: name, line: line, last: line, values: map[string]value{}, duplicate: duplicate})
			continue
		}
		name, content, ok := strings.Cut(text, "=")
		name, content = strings.TrimSpace(name), strings.TrimSpace(content)
		switch {
		case !ok:
			fault(line, "want [NAME], or SETTING = VALUE")
		case !slices.Contains(settings, name):
			fault(line, "%s", unknown(name))
		case !inSection:
			fault(line, "%s stands before the first [NAME]", name)
		case content == "":
			fault(line, "%s has no value", name)
		default:
			s := &sections[len(sections)-1]
			if s.values == nil {
				continue
			}
			s.last = line
			if before, twice := s.values[name]; twice {
				fault(line, "%s of [%s] is in line %d already", name, s.name, before.line)
				continue
			}
			s.values[name] = value{text: content, line: line}
		}
	}
	return slices.DeleteFunc(sections, func(s section) bool { return s.values == nil }), faults
}

// uncomment cuts a comment off a line: white space and # or ;, and what follows.
func uncomment(text string) string {
	for i := 1; i < len(text); i++ {
		if (text[i] == '#' || text[i] == ';') && (text[i-1] == ' ' || text[i-1] == '\t') {
			text = text[:i]
			break
		}
	}
	return strings.TrimRight(text, " \t")
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// unknown says that a setting is not one, quoting it only where it cannot be a secret
// that slipped to the left.
func unknown(name string) string {
	want := "the settings are " + strings.Join(settings, ", ")
	if name == "" || len(name) > maxQuoted || !consists(name, lowerCase+"_") {
		return "unknown setting; " + want
	}
	return fmt.Sprintf("unknown setting %s; %s", name, want)
}

func consists(s, of string) bool { return strings.Trim(s, of) == "" }

// ValidName reports whether a key may have the name: 1 to 64 letters, digits and _+=,.@-.
func ValidName(s string) bool {
	return s != "" && len(s) <= maxName && consists(s, alphanumeric+"_+=,.@-")
}

// key is the section's key without account and policy where it says none, and what is
// wrong with it.
func (s *section) key(fault func(line int, format string, args ...any)) Key {
	k := Key{Name: s.name}
	// take hands a setting's text to f, and reports what f wants of it instead.
	take := func(setting string, f func(text string) (want string)) {
		if v, ok := s.values[setting]; ok {
			if want := f(v.text); want != "" {
				fault(v.line, "%s of [%s]: want %s", setting, s.name, want)
			}
		}
	}
	for _, setting := range []string{settingAccessKey, settingSecret} {
		if _, ok := s.values[setting]; !ok {
			fault(s.line, "[%s] has no %s", s.name, setting)
		}
	}
	take(settingAccessKey, func(text string) string {
		if len(text) < minAccessKey || len(text) > maxAccessKey || !consists(text, alphanumeric+"_") {
			return fmt.Sprintf("%d to %d letters, digits and _", minAccessKey, maxAccessKey)
		}
		k.AccessKey = text
		return ""
	})
	take(settingSecret, func(text string) string {
		if len(text) < minSecret || len(text) > maxSecret || !opaque(text) {
			return fmt.Sprintf("%d to %d printable characters of ASCII, without white space and quotes", minSecret, maxSecret)
		}
		k.Secret = text
		return ""
	})
	take(settingAccount, func(text string) string {
		if !chat.ValidAccount(text) {
			return "12 digits"
		}
		k.Account = text
		return ""
	})
	take(settingToken, func(text string) string {
		if len(text) > maxToken || !opaque(text) {
			return fmt.Sprintf("at most %d printable characters of ASCII, without white space and quotes", maxToken)
		}
		k.SessionToken = text
		return ""
	})
	take(settingExpires, func(text string) string {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.IsZero() {
			return "a time such as 2030-01-31T12:00:00Z"
		}
		k.Expires = t
		return ""
	})
	take(settingPolicy, func(text string) string {
		k.PolicyFile = text
		return ""
	})
	take(settingDisabled, func(text string) string {
		if text != "true" && text != "false" {
			return "true or false"
		}
		k.Disabled = text == "true"
		return ""
	})
	token, hasToken := s.values[settingToken]
	expires, hasExpires := s.values[settingExpires]
	switch {
	case hasToken && !hasExpires:
		fault(token.line, "%s of [%s]: a temporary key has %s too", settingToken, s.name, settingExpires)
	case hasExpires && !hasToken:
		fault(expires.line, "%s of [%s]: a temporary key has %s too", settingExpires, s.name, settingToken)
	}
	return k
}

// opaque reports whether a text is printable ASCII without white space and quotes.
func opaque(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\'' {
			return false
		}
	}
	return true
}
