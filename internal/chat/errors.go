package chat

import (
	"fmt"
	"strings"
)

// Code says what kind of failure an [Error] is. Each boundary renders it through
// one table of its own: an HTTP status and exception name, or the ErrorCode of an
// ERROR frame.
type Code int

const (
	// Internal is a fault of the server. Its cause belongs in the log.
	Internal Code = iota
	// BadRequest is a request that is malformed or breaks a constraint.
	BadRequest
	// Unauthorized is a missing, invalid, expired or used token, or an ended session.
	Unauthorized
	// Forbidden is a capability or permission that the caller lacks.
	Forbidden
	// NotFound is a room or logging configuration that does not exist.
	NotFound
	// NotAcceptable is a message refused by message review.
	NotAcceptable
	// Conflict is a change that the state of another resource forbids.
	Conflict
	// TooLarge is a field or frame over its size limit.
	TooLarge
	// TooManyRequests is a request over a rate limit, or a connection over a quota.
	TooManyRequests
	// QuotaExceeded is one resource more than a quota allows.
	QuotaExceeded
)

// String is the code's name.
func (c Code) String() string {
	names := [...]string{"Internal", "BadRequest", "Unauthorized", "Forbidden", "NotFound", "NotAcceptable", "Conflict", "TooLarge", "TooManyRequests", "QuotaExceeded"}
	if c < 0 || int(c) >= len(names) {
		return "Unknown"
	}
	return names[c]
}

// Error is the only error whose text a client may see.
type Error struct {
	Code    Code
	Message string
	// Fields names every request member at fault; only with BadRequest.
	Fields []FieldError
	// Resource is what the error is about, or the zero ARN.
	Resource ARN
	// Limit is the limit that was met; only with TooManyRequests and QuotaExceeded.
	Limit int
}

// FieldError is one request member that breaks a constraint.
type FieldError struct {
	Name    string // the member as the API spells it, e.g. "maximumMessageLength"
	Message string
}

func (e *Error) Error() string { return e.Message }

// NewNotFound is the error for a resource that does not exist. Stores return it too.
func NewNotFound(arn ARN) *Error {
	what := "Room"
	if arn.Kind == KindLoggingConfiguration {
		what = "Logging configuration"
	}
	return &Error{
		Code:     NotFound,
		Message:  fmt.Sprintf("%s %s does not exist.", what, arn),
		Resource: arn,
	}
}

// NewQuotaExceeded is the error for a resource that would be one more than quota
// allows. Stores return it too.
func NewQuotaExceeded(arn ARN, quota int) *Error {
	return &Error{
		Code:     QuotaExceeded,
		Message:  fmt.Sprintf("The quota of %d %ss is exceeded.", quota, strings.ReplaceAll(string(arn.Kind), "-", " ")),
		Resource: arn,
		Limit:    quota,
	}
}

// NewInvalid is the BadRequest for one request member.
func NewInvalid(member, why string) *Error {
	message := MemberMessage(member, why)
	return &Error{Code: BadRequest, Message: message, Fields: []FieldError{{Name: member, Message: message}}}
}

// MemberMessage is the service's sentence for a member that breaks a constraint, in
// the form of the one literal known from AWS ("Request member: uri failed to satisfy
// the constraints: invalid lambda permission").
func MemberMessage(member, why string) string {
	return "Request member: " + member + " failed to satisfy the constraints: " + why
}
