package chat

import (
	"errors"
	"strings"
)

// Kind is the type of a resource as its ARN spells it.
type Kind string

const (
	KindRoom                 Kind = "room"
	KindLoggingConfiguration Kind = "logging-configuration"
)

// Scope is a name space: resources of one region and account are invisible from any
// other.
type Scope struct {
	Region  string // e.g. "us-east-1"
	Account string // digits
}

// ARN names one resource. The zero ARN names none. It is comparable and is the key of
// a resource everywhere.
//
// IVS-MODEL: RoomArn, LoggingConfigurationArn
type ARN struct {
	Scope
	Kind Kind
	ID   string // 12 letters and digits when made here; any [a-zA-Z0-9-]+ when parsed
}

// MaxARNLength is the most characters an ARN may have.
const MaxARNLength = 128

var errARN = errors.New("not an Amazon IVS Chat ARN")

func (a ARN) String() string {
	return "arn:aws:ivschat:" + a.Region + ":" + a.Account + ":" + string(a.Kind) + "/" + a.ID
}

// ParseARN parses the ARN of a room or a logging configuration. It accepts what the
// service model's patterns accept, as a full match, up to MaxARNLength, with a region
// that ValidRegion accepts.
func ParseARN(s string) (ARN, error) {
	if len(s) > MaxARNLength {
		return ARN{}, errARN
	}
	rest, ok := strings.CutPrefix(s, "arn:aws:ivschat:")
	if !ok {
		return ARN{}, errARN
	}
	region, rest, ok1 := strings.Cut(rest, ":")
	account, rest, ok2 := strings.Cut(rest, ":")
	kind, id, ok3 := strings.Cut(rest, "/")
	switch {
	case !ok1 || !ok2 || !ok3,
		!ValidRegion(region),
		!consistsOf(account, isDigit),
		kind != string(KindRoom) && kind != string(KindLoggingConfiguration),
		!consistsOf(id, func(c byte) bool { return isAlphanumeric(c) || c == '-' }):
		return ARN{}, errARN
	}
	return ARN{Scope: Scope{Region: region, Account: account}, Kind: Kind(kind), ID: id}, nil
}

// ValidRegion reports whether s can be the region of an ARN: [a-z0-9-]+, 1 to 32.
func ValidRegion(s string) bool {
	return len(s) <= 32 && consistsOf(s, func(c byte) bool { return c >= 'a' && c <= 'z' || isDigit(c) || c == '-' })
}

// ValidAccount reports whether s is an AWS account id: 12 digits.
func ValidAccount(s string) bool { return len(s) == 12 && consistsOf(s, isDigit) }

// consistsOf reports whether s is not empty and has only bytes that ok accepts.
func consistsOf(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}
