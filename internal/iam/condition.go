package iam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// condition is one operator on one key, with the policy's values of the operator's family.
type condition struct {
	operator
	key contextKey

	texts     []template
	numbers   []float64
	dates     []time.Time
	addresses []netip.Prefix
	arns      []arnPattern
	bools     [2]bool // is false, is true among the values; also of Null
}

// add takes one more value of the policy.
func (c *condition) add(value string, variables bool) error {
	switch c.family {
	case texts:
		t, err := compile(value, c.relation == like, variables)
		if err != nil {
			return err
		}
		c.texts = append(c.texts, t)
		return nil
	case arns:
		a, err := parseARN(value, variables, false)
		if err != nil {
			return fmt.Errorf("%q: %w", clip(value), err)
		}
		c.arns = append(c.arns, a)
		return nil
	}
	if variables && strings.Contains(value, "${") {
		return errors.New("policy variables stand in the values of String and Arn operators only")
	}
	switch c.family {
	case numbers:
		n, ok := parseNumber(value)
		if !ok {
			return fmt.Errorf("%q is not a number", clip(value))
		}
		c.numbers = append(c.numbers, n)
	case dates:
		d, ok := parseDate(value)
		if !ok {
			return fmt.Errorf("%q is not a date, as 2026-01-31T09:00:00Z or seconds since 1970", clip(value))
		}
		c.dates = append(c.dates, d)
	case addresses:
		p, ok := parsePrefix(value)
		if !ok {
			return fmt.Errorf("%q is not an IP address or range, as 203.0.113.0/24", clip(value))
		}
		c.addresses = append(c.addresses, p)
	case bools, null:
		b, ok := parseBool(value)
		if !ok {
			return fmt.Errorf("%q is neither true nor false", clip(value))
		}
		c.bools[index(b)] = true
	}
	return nil
}

// holds reports whether the condition is fulfilled. What a request leaves ambiguous
// holds for a Deny and fails for an Allow.
func (c *condition) holds(ctx *Context, effect Outcome) bool {
	found := ctx.has(c.key)
	if found == ambiguous {
		return effect == ExplicitlyDenied
	}
	if c.family == null {
		return c.bools[index(found == absent)]
	}
	var held, unclear bool
	switch {
	case c.key.id == tagKeys:
		held, unclear = c.holdsForKeys(ctx)
	case found == absent:
		return c.quantifier == forAllValues || c.quantifier == single && (c.ifExists || c.negated)
	case c.quantifier != single && c.empty(ctx):
		return c.quantifier == forAllValues
	default:
		held, unclear = c.matches(ctx)
		held = held != c.negated
	}
	if unclear {
		return effect == ExplicitlyDenied
	}
	return held
}

// empty reports whether the key's value is an empty string, which to ForAnyValue: and
// ForAllValues: is no value.
// IAM: reference_policies_multi-value-conditions
func (c *condition) empty(ctx *Context) bool {
	if c.key.id != requestTag && c.key.id != resourceTag {
		return false
	}
	s, _ := ctx.text(c.key)
	return s == ""
}

// holdsForKeys is holds for aws:TagKeys, the one key of many values. IfExists changes
// nothing: ForAllValues: holds for no values, ForAnyValue: does not. One value that
// settles the answer does so whatever is unclear about others.
func (c *condition) holdsForKeys(ctx *Context) (held, unclear bool) {
	all := c.quantifier == forAllValues
	// settles reports whether the key makes it certain that the answer is !all.
	settles := func(key string) bool {
		matched, un := c.matchesText(key, ctx)
		unclear = unclear || un
		return !un && (matched != c.negated) != all
	}
	for key := range ctx.RequestTags {
		if settles(key) {
			return !all, false
		}
	}
	if slices.ContainsFunc(ctx.TagKeys, settles) {
		return !all, false
	}
	return all, unclear
}

// matches reports whether the request's value of the key, which it has, matches any of
// the policy's, before negation.
func (c *condition) matches(ctx *Context) (matched, unclear bool) {
	switch {
	case c.family == dates && (c.key.id == currentTime || c.key.id == epochTime):
		return c.matchesDate(ctx.Time.Truncate(time.Second)), false
	case c.family == numbers && c.key.id == epochTime:
		return c.matchesNumber(float64(ctx.Time.Unix())), false
	case c.family == addresses && c.key.id == sourceIP:
		return c.matchesAddress(ctx.SourceIP), false
	case c.family == bools && c.key.id == secureTransport:
		return c.bools[index(ctx.SecureTransport)], false
	}
	value, _ := ctx.text(c.key)
	return c.matchesText(value, ctx)
}

// matchesText is matches for a value that is a string, read as the operator takes it.
func (c *condition) matchesText(value string, ctx *Context) (matched, unclear bool) {
	switch c.family {
	case texts:
		var space [128]byte
		for i := range c.texts {
			pattern, known := c.texts[i].expand(ctx, space[:0])
			switch {
			case known == ambiguous:
				unclear = true
			case known == present && c.relatesText(value, pattern):
				return true, false
			}
		}
	case arns:
		for i := range c.arns {
			matched, un := c.arns[i].match(value, ctx)
			if matched {
				return true, false
			}
			unclear = unclear || un
		}
	case numbers:
		n, ok := parseNumber(value)
		return ok && c.matchesNumber(n), false
	case dates:
		d, ok := parseDate(value)
		return ok && c.matchesDate(d), false
	case addresses:
		a, err := netip.ParseAddr(value)
		return err == nil && c.matchesAddress(a), false
	case bools:
		b, ok := parseBool(value)
		return ok && c.bools[index(b)], false
	}
	return false, unclear
}

func (c *condition) relatesText(value string, pattern []byte) bool {
	switch c.relation {
	case like:
		return match(pattern, value, false)
	case equalFold:
		return strings.EqualFold(value, string(pattern))
	}
	return value == string(pattern)
}

func (c *condition) matchesNumber(n float64) bool {
	for _, limit := range c.numbers {
		if c.relation.compares(cmp.Compare(n, limit)) {
			return true
		}
	}
	return false
}

func (c *condition) matchesDate(d time.Time) bool {
	for _, limit := range c.dates {
		if c.relation.compares(d.Compare(limit)) {
			return true
		}
	}
	return false
}

func (c *condition) matchesAddress(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range c.addresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parseNumber reads an integer or decimal number; more than 15 digits compare roughly.
func parseNumber(s string) (float64, bool) {
	digits := strings.TrimLeft(s, "+-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if len(s)-len(digits) > 1 || !allDigits(whole) || dotted && !allDigits(fraction) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// dateForm has the forms of the W3C's note on ISO 8601, dateLayouts the same for Go.
var (
	dateForm    = regexp.MustCompile(`^\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?)?)?$`)
	dateLayouts = []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"}
)

// parseDate reads a date, or seconds since 1970. Four digits are a year.
func parseDate(s string) (time.Time, bool) {
	if len(s) > 4 && len(s) <= 12 && allDigits(s) {
		n, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(n, 0), err == nil
	}
	if !dateForm.MatchString(s) {
		return time.Time{}, false
	}
	for _, layout := range dateLayouts {
		if d, err := time.Parse(layout, s); err == nil {
			return d, true
		}
	}
	return time.Time{}, false
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// parsePrefix reads a range of addresses, or one address.
func parsePrefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
