package awsapi

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// The decoder reads JSON into the input shapes as restJson1 wants it read, which
// encoding/json does not: member names are case-sensitive, a null in a list or map is
// an error, an integer is written as one, a union has exactly one member, and a text
// that is not Unicode is refused instead of mended.
//
// A shape is a struct of *string, *int32, *bool, []string, map[string]string, pointers to
// structs and pointers to unions (structs that say so by isUnion). Members have json
// tags; fields without are not part of the body.

// maxDepth bounds the nesting of a body, unknown members included. The deepest shape
// has 3 levels.
const maxDepth = 100

// union marks a shape of which exactly one member is set.
type union interface{ isUnion() }

// What may be wrong with a body as a whole. The texts do not say where: the position
// is of no use to a program and the content must not travel.
var (
	errSyntax = serialization("The request body is not valid JSON.")
	errUTF8   = serialization("The request body is not valid UTF-8.")
	errDepth  = serialization("The request body is nested too deeply.")
)

// wrongType is the error for a member of the wrong JSON type.
func wrongType(member, want string) *apiError {
	if member == "" {
		return serialization("The request body must be " + want + ".")
	}
	return serialization("Request member " + member + " must be " + want + ".")
}

// decodeJSON reads body into the struct that into points to. Its errors are
// SerializationExceptions.
func decodeJSON(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errUTF8
	}
	d := decoder{in: body}
	d.space()
	if err := d.structure("", reflect.ValueOf(into).Elem(), 0); err != nil {
		return err
	}
	if d.space(); d.at < len(d.in) {
		return errSyntax
	}
	return nil
}

type decoder struct {
	in []byte
	at int
}

// space skips white space.
func (d *decoder) space() {
	for d.at < len(d.in) {
		switch d.in[d.at] {
		case ' ', '\t', '\r', '\n':
			d.at++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end: no JSON text has a NUL outside a string.
func (d *decoder) peek() byte {
	if d.at < len(d.in) {
		return d.in[d.at]
	}
	return 0
}

// take skips c, and space after it, if it is next.
func (d *decoder) take(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.at++
	d.space()
	return true
}

// literal skips a whole word if it is next.
func (d *decoder) literal(word string) bool {
	if !strings.HasPrefix(string(d.in[d.at:min(len(d.in), d.at+len(word))]), word) {
		return false
	}
	d.at += len(word)
	return true
}

// mistyped is the error for a value that is not what the member wants: the value must
// be JSON all the same, else the body is the matter and not the member.
func (d *decoder) mistyped(member, want string, depth int) error {
	if err := d.skip(depth); err != nil {
		return err
	}
	return wrongType(member, want)
}

// members calls each for every member of the object that is next, with the decoder at
// its value.
func (d *decoder) members(each func(name string) error) error {
	d.take('{')
	if d.take('}') {
		return nil
	}
	for {
		if d.peek() != '"' {
			return errSyntax
		}
		name, err := d.text()
		if err != nil {
			return err
		}
		if d.space(); !d.take(':') {
			return errSyntax
		}
		if err := each(name); err != nil {
			return err
		}
		d.space()
		if d.take('}') {
			return nil
		}
		if !d.take(',') {
			return errSyntax
		}
	}
}

// elements calls each for every element of the array that is next.
func (d *decoder) elements(each func() error) error {
	d.take('[')
	if d.take(']') {
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		d.space()
		if d.take(']') {
			return nil
		}
		if !d.take(',') {
			return errSyntax
		}
	}
}

func (d *decoder) structure(member string, into reflect.Value, depth int) error {
	if d.peek() != '{' {
		return d.mistyped(member, "an object", depth)
	}
	shape := shapeOf(into.Type())
	err := d.members(func(name string) error {
		i, known := shape.fields[name]
		switch {
		case known:
			return d.value(name, into.Field(i), depth+1)
		case shape.union && name != "__type" && d.peek() != 'n':
			if err := d.skip(depth + 1); err != nil {
				return err
			}
			return wrongType(member, "an object without unknown members")
		}
		return d.skip(depth + 1)
	})
	if err != nil {
		return err
	}
	if shape.union {
		set := 0
		for _, i := range shape.fields {
			if !into.Field(i).IsNil() {
				set++
			}
		}
		if set != 1 {
			return wrongType(member, "an object with exactly one member")
		}
	}
	return nil
}

// value reads a member. Of a name that comes twice the last counts, a null included.
func (d *decoder) value(member string, into reflect.Value, depth int) error {
	if d.literal("null") {
		into.SetZero()
		return nil
	}
	switch into.Interface().(type) {
	case *string:
		s, err := d.stringMember(member, "a string", depth)
		if err != nil {
			return err
		}
		into.Set(reflect.ValueOf(&s))
		return nil
	case *int32:
		n, err := d.integer(member, depth)
		if err != nil {
			return err
		}
		into.Set(reflect.ValueOf(&n))
		return nil
	case *bool:
		b := d.literal("true")
		if !b && !d.literal("false") {
			return d.mistyped(member, "true or false", depth)
		}
		into.Set(reflect.ValueOf(&b))
		return nil
	case []string:
		const want = "a list of strings"
		if d.peek() != '[' {
			return d.mistyped(member, want, depth)
		}
		list := []string{} // present, if only to say that there are none
		err := d.elements(func() error {
			s, err := d.stringMember(member, want, depth+1)
			list = append(list, s)
			return err
		})
		into.Set(reflect.ValueOf(list))
		return err
	case map[string]string:
		const want = "an object of strings"
		if d.peek() != '{' {
			return d.mistyped(member, want, depth)
		}
		entries := map[string]string{}
		err := d.members(func(name string) error {
			s, err := d.stringMember(member, want, depth+1)
			entries[name] = s
			return err
		})
		into.Set(reflect.ValueOf(entries))
		return err
	}
	inner := reflect.New(into.Type().Elem())
	into.Set(inner)
	return d.structure(member, inner.Elem(), depth)
}

func (d *decoder) stringMember(member, want string, depth int) (string, error) {
	if d.peek() != '"' {
		return "", d.mistyped(member, want, depth)
	}
	return d.text()
}

func (d *decoder) integer(member string, depth int) (int32, error) {
	const want = "an integer of 32 bits"
	start := d.at
	if err := d.skip(depth); err != nil {
		return 0, err
	}
	// What was skipped is a JSON value: only a number without fraction and exponent
	// is read by ParseInt, which has no other forms in base 10 but "+1" and "01", and
	// these are not JSON.
	n, err := strconv.ParseInt(string(d.in[start:d.at]), 10, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, wrongType(member, want)
	}
	return int32(n), nil
}

// text reads a string. Half a surrogate pair is an error: it has no UTF-8.
func (d *decoder) text() (string, error) {
	d.at++ // the quote, which the caller has seen
	start := d.at
	for d.at < len(d.in) && d.in[d.at] >= ' ' && d.in[d.at] != '"' && d.in[d.at] != '\\' {
		d.at++
	}
	if d.peek() == '"' {
		d.at++
		return string(d.in[start : d.at-1]), nil
	}
	out := append([]byte(nil), d.in[start:d.at]...)
	for d.at < len(d.in) {
		c := d.in[d.at]
		switch {
		case c == '"':
			d.at++
			return string(out), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out = append(out, c)
			d.at++
			continue
		}
		d.at++
		escape := d.peek()
		d.at++
		switch escape {
		case '"', '\\', '/':
			out = append(out, escape)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := d.hex4()
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if d.literal(`\u`) {
					low = d.hex4()
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return "", errSyntax
				}
			}
			if r < 0 {
				return "", errSyntax
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", errSyntax
		}
	}
	return "", errSyntax
}

// hex4 reads the four digits of an escape; -1 if there are none.
func (d *decoder) hex4() rune {
	if len(d.in)-d.at < 4 {
		return -1
	}
	n, err := strconv.ParseUint(string(d.in[d.at:d.at+4]), 16, 16)
	if err != nil {
		return -1
	}
	d.at += 4
	return rune(n)
}

// skip passes over one value of any kind.
func (d *decoder) skip(depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch c := d.peek(); {
	case c == '"':
		_, err := d.text()
		return err
	case c == '{':
		return d.members(func(string) error { return d.skip(depth + 1) })
	case c == '[':
		return d.elements(func() error { return d.skip(depth + 1) })
	case c == '-', isDigit(c):
		return d.number()
	case d.literal("true"), d.literal("false"), d.literal("null"):
		return nil
	}
	return errSyntax
}

func (d *decoder) number() error {
	if d.peek() == '-' {
		d.at++
	}
	if d.peek() == '0' {
		d.at++
	} else if !d.digits() {
		return errSyntax
	}
	if d.peek() == '.' {
		d.at++
		if !d.digits() {
			return errSyntax
		}
	}
	if d.peek() == 'e' || d.peek() == 'E' {
		d.at++
		if d.peek() == '+' || d.peek() == '-' {
			d.at++
		}
		if !d.digits() {
			return errSyntax
		}
	}
	return nil
}

// digits passes over decimal digits and reports whether there were any.
func (d *decoder) digits() bool {
	start := d.at
	for isDigit(d.peek()) {
		d.at++
	}
	return d.at > start
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// shape is what the decoder knows of a struct.
type shape struct {
	fields map[string]int // by member name
	union  bool
}

var shapes sync.Map // reflect.Type → *shape: what an input type looks like never changes

func shapeOf(t reflect.Type) *shape {
	if known, ok := shapes.Load(t); ok {
		return known.(*shape)
	}
	s := &shape{
		fields: map[string]int{},
		union:  t.Implements(reflect.TypeFor[union]()),
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" {
			s.fields[name] = i
		}
	}
	shapes.Store(t, s)
	return s
}
