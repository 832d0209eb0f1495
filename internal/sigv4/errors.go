package sigv4

import (
	"strings"
	"time"
)

// Names of errors, as the client sees them.
const (
	missingToken     = "MissingAuthenticationTokenException"
	incomplete       = "IncompleteSignatureException"
	invalidSignature = "InvalidSignatureException"
)

// Texts that do not depend on the request.
const (
	missingTokenText = "Missing Authentication Token"
	mismatchText     = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	algorithmText    = "Unsupported AWS 'algorithm'."
	credentialText   = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
	noDateText       = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
	noEqualText      = "Authorization header has a part that is not a valid key=value pair (missing equal-sign)."
	reexamineText    = " Re-examine the query-string parameters."
	regionText       = "Credential should be scoped to a valid region."
	terminatorText   = "Credential should be scoped with a valid terminator: 'aws4_request'."
	hostText         = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
	notANumberText   = "X-Amz-Expires should be a number"
	negativeText     = "X-Amz-Expires must be non-negative"
	overAWeekText    = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
)

// Error is why a request's signature does not hold. Clients may see all of it. It is
// answered with status 403.
type Error struct {
	Name    string // as in x-amzn-ErrorType
	Message string
}

func (e *Error) Error() string { return e.Name + ": " + e.Message }

func fault(name string, messages ...string) error {
	return &Error{Name: name, Message: strings.Join(messages, " ")}
}

func mismatch() error { return fault(invalidSignature, mismatchText) }

// basic is ISO 8601's basic format, the only one of X-Amz-Date and of AWS's messages.
const basic = "20060102T150405Z"

func stamp(t time.Time) string { return t.UTC().Format(basic) }
