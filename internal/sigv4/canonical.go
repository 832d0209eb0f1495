package sigv4

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// form is how a canonical request is written.
type form struct {
	keepPath  bool // do not normalise the path
	omitToken bool // the session token was appended to the query after signing
}

// appendCanonical writes the canonical request. ok is false if there is none: a signed
// header is not there, is named twice or out of order, or the query cannot be read.
func (s *Signature) appendCanonical(b []byte, bodyHash string, f form) (_ []byte, ok bool) {
	b = append(b, s.request.Method...)
	b = append(b, '\n')
	b = appendPath(b, s.path, f.keepPath)
	b = append(b, '\n')
	b, ok = s.appendQuery(b, f.omitToken)
	if !ok {
		return b, false
	}
	b = append(b, '\n')
	previous := ""
	for _, name := range s.SignedHeaders {
		// One of each: otherwise a short list could ask for one long value many times.
		values := s.header(name)
		if name <= previous || name != strings.ToLower(name) || len(values) == 0 {
			return b, false
		}
		previous = name
		b = append(b, name...)
		b = append(b, ':')
		b = appendValues(b, values)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range s.SignedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, bodyHash...), true
}

// header is the values of a header in the order they arrived, those that net/http keeps
// elsewhere included.
func (s *Signature) header(name string) []string {
	switch name {
	case "host":
		return []string{s.request.Host}
	case "transfer-encoding":
		return s.request.TransferEncoding
	}
	return s.request.Header[http.CanonicalHeaderKey(name)]
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// appendValues writes a header's values: trimmed, blanks collapsed, joined by commas.
func appendValues(b []byte, values []string) []byte {
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		first := true
		for word := range strings.FieldsFuncSeq(value, isBlank) {
			if !first {
				b = append(b, ' ')
			}
			first = false
			b = append(b, word...)
		}
	}
	return b
}

// appendPath writes the canonical path: that of the wire, normalised unless keep is set,
// and escaped although it is escaped already. A path that would climb above the root
// stays there, as botocore has it.
func appendPath(b []byte, path string, keep bool) []byte {
	start := len(b)
	if keep {
		for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			b = append(b, '/')
			b = appendEscaped(b, segment)
		}
		return b
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			b = b[:start+max(0, bytes.LastIndexByte(b[start:], '/'))]
		default:
			b = append(b, '/')
			b = appendEscaped(b, segment)
		}
	}
	if len(b) == start || strings.HasSuffix(path, "/") {
		b = append(b, '/')
	}
	return b
}

// appendQuery writes the canonical query: every parameter but the signature, and the
// token if that was not signed, by encoded key, then value.
func (s *Signature) appendQuery(b []byte, omitToken bool) (_ []byte, ok bool) {
	if s.query == "" {
		return b, true
	}
	// Only the parameter that was used is left out: a second of its name was signed.
	omitSignature := s.Presigned
	type parameter struct{ key, value string }
	all := make([]parameter, 0, 1+strings.Count(s.query, "&"))
	for pair := range strings.SplitSeq(s.query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, keyOK := recode(key)
		value, valueOK := recode(value)
		if !keyOK || !valueOK {
			return b, false
		}
		switch {
		case omitSignature && key == querySignature && value != "":
			omitSignature = false
			continue
		case omitToken && key == queryToken && value != "":
			omitToken = false
			continue
		}
		all = append(all, parameter{key, value})
	}
	slices.SortFunc(all, func(x, y parameter) int {
		return cmp.Or(strings.Compare(x.key, y.key), strings.Compare(x.value, y.value))
	})
	for i, p := range all {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.key...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b, true
}

// recode writes one name or value of a query the canonical way, whatever way it was
// escaped. It fails on a broken escape.
func recode(s string) (string, bool) {
	if isUnreserved(s) {
		return s, true
	}
	raw, ok := decode(s)
	return string(appendEscaped(make([]byte, 0, len(raw)+2*len(s)), raw)), ok
}

// unescape is decode for reading; what cannot be read is nothing.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	raw, ok := decode(s)
	if !ok {
		return ""
	}
	return raw
}

// decode undoes the escapes of a query.
func decode(s string) (_ string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c != '%':
			b = append(b, c)
		case i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
			b = append(b, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
			i += 2
		default:
			return "", false
		}
	}
	return string(b), true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// unreserved are the bytes that stand for themselves.
//
// RFC 3986, section 2.3
var unreserved = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		set[c] = true
	}
	return set
}()

func isUnreserved(s string) bool {
	for i := range len(s) {
		if !unreserved[s[i]] {
			return false
		}
	}
	return true
}

// appendEscaped writes s with every other byte escaped.
func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; unreserved[c] {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}
