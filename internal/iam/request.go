package iam

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Request is the question put to a policy.
type Request struct {
	Action   string // as in ivschat:CreateRoom
	Resource string // an ARN, or "*" for an action on no resource in particular
	Context  Context
}

// Context is what is known about a request beside its action and resource. A zero
// field is a condition key that the request does not have.
type Context struct {
	Time            time.Time  // aws:CurrentTime and aws:EpochTime, cut to the second
	SourceIP        netip.Addr // aws:SourceIp; an IPv4 address mapped into IPv6 counts as IPv4
	SecureTransport bool       // aws:SecureTransport; false is a value
	UserAgent       string     // aws:UserAgent
	Region          string     // aws:RequestedRegion

	PrincipalARN string // aws:PrincipalArn
	Account      string // aws:PrincipalAccount
	Username     string // aws:username; empty for an account's root

	RequestTags  map[string]string // aws:RequestTag/*: the tags to set; their keys are aws:TagKeys too
	ResourceTags map[string]string // aws:ResourceTag/*: the tags the resource has
	TagKeys      []string          // aws:TagKeys named without a value, as UntagResource does
}

type keyID uint8

const (
	literal keyID = iota // of a piece of text that is no variable
	currentTime
	epochTime
	principalAccount
	principalARN
	principalIsAWSService
	requestedRegion
	requestTag
	resourceTag
	secureTransport
	sourceIP
	tagKeys
	userAgent
	userName
	viaAWSService
)

// contextKey is a condition key.
type contextKey struct {
	id  keyID
	tag string // the part after the slash, of requestTag and resourceTag
}

// IAM: reference_policies_condition-keys
var keys = map[string]keyID{
	"aws:currenttime":           currentTime,
	"aws:epochtime":             epochTime,
	"aws:principalaccount":      principalAccount,
	"aws:principalarn":          principalARN,
	"aws:principalisawsservice": principalIsAWSService,
	"aws:requestedregion":       requestedRegion,
	"aws:requesttag":            requestTag,
	"aws:resourcetag":           resourceTag,
	"aws:securetransport":       secureTransport,
	"aws:sourceip":              sourceIP,
	"aws:tagkeys":               tagKeys,
	"aws:useragent":             userAgent,
	"aws:username":              userName,
	"aws:viaawsservice":         viaAWSService,
}

// families are, by the key's type, the families of operators that could ever match it
// beside String and Null. Keys that are not here take every family.
var families = map[keyID][]family{
	currentTime:           {dates},
	epochTime:             {dates, numbers},
	principalARN:          {arns},
	principalIsAWSService: {bools},
	secureTransport:       {bools},
	sourceIP:              {addresses},
	tagKeys:               {},
	viaAWSService:         {bools},
}

// takes reports whether an operator of the family can match the key at all.
func (k contextKey) takes(f family) bool {
	typed, ok := families[k.id]
	return !ok || f == texts || f == null || slices.Contains(typed, f)
}

// parseKey reads the name of a condition key.
func parseKey(name string) (contextKey, bool) {
	base, tag, tagged := strings.Cut(name, "/")
	id, ok := keys[asciiLower(base)]
	if !ok || tagged != (id == requestTag || id == resourceTag) {
		return contextKey{}, false
	}
	if tagged && !validTagKey(tag) {
		return contextKey{}, false
	}
	return contextKey{id, tag}, true
}

// validTagKey holds for 1 to 128 characters that AWS allows in a tag key.
func validTagKey(key string) bool {
	count := 0
	for _, r := range key {
		count++
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsSpace(r) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
	}
	return count >= 1 && count <= 128
}

// asciiLower is strings.ToLower without surprises such as the Kelvin sign.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

type presence uint8

const (
	absent presence = iota
	present
	ambiguous // several tags answer to the key
)

// has reports whether the request has the key, without making its value.
func (c *Context) has(k contextKey) presence {
	switch k.id {
	case currentTime, epochTime:
		return presentIf(!c.Time.IsZero())
	case sourceIP:
		return presentIf(c.SourceIP.IsValid())
	case tagKeys:
		return presentIf(len(c.TagKeys) > 0 || len(c.RequestTags) > 0)
	}
	_, p := c.text(k)
	return p
}

func presentIf(yes bool) presence {
	if yes {
		return present
	}
	return absent
}

// text is the value of a key of one value, as a string.
func (c *Context) text(k contextKey) (string, presence) {
	switch k.id {
	case currentTime:
		if c.Time.IsZero() {
			return "", absent
		}
		return c.Time.UTC().Format("2006-01-02T15:04:05Z"), present
	case epochTime:
		if c.Time.IsZero() {
			return "", absent
		}
		return strconv.FormatInt(c.Time.Unix(), 10), present
	case sourceIP:
		if !c.SourceIP.IsValid() {
			return "", absent
		}
		return c.SourceIP.Unmap().WithZone("").String(), present
	case secureTransport:
		return strconv.FormatBool(c.SecureTransport), present
	case principalIsAWSService, viaAWSService:
		return "false", present
	case requestTag:
		return tagValue(c.RequestTags, k.tag)
	case resourceTag:
		return tagValue(c.ResourceTags, k.tag)
	}
	s := ""
	switch k.id {
	case principalAccount:
		s = c.Account
	case principalARN:
		s = c.PrincipalARN
	case requestedRegion:
		s = c.Region
	case userAgent:
		s = c.UserAgent
	case userName:
		s = c.Username
	}
	return s, presentIf(s != "")
}

// tagValue finds a tag by its key without regard to case: the condition key TagKey1
// stands for the tag TagKey1 or tagkey1 "but not both".
// IAM: reference_policies_condition-keys#condition-keys-requesttag
func tagValue(tags map[string]string, key string) (string, presence) {
	value, found := "", absent
	for k, v := range tags {
		if !strings.EqualFold(k, key) {
			continue
		}
		if found == present {
			return "", ambiguous
		}
		value, found = v, present
	}
	return value, found
}
