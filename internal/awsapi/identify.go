package awsapi

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"parlor/internal/chat"
	"parlor/internal/iam"
	"parlor/internal/sigv4"
)

// Principal is who an access key stands for.
type Principal struct {
	Name    string // the user's name, in policies and refusals
	Account string
	Secret  string
	// SessionToken must come with a temporary key, and nothing with another.
	SessionToken string
	Expires      time.Time   // of a temporary key; zero: never
	Policy       *iam.Policy // nil: everything in its account
}

// Format shows a Principal to people and logs: its secrets to neither.
func (p Principal) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{%s of %s}", p.Name, p.Account) }

// LogValue is Format for structured logs.
func (p Principal) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// caller is who sent a request.
type caller struct {
	Scope  chat.Scope
	Name   string // for messages to the caller, never for the log
	Policy *iam.Policy
}

// arn is the caller as AWS names a user in a refusal.
func (c caller) arn() string { return "arn:aws:iam::" + c.Scope.Account + ":user/" + c.Name }

const service = "ivschat"

// identify finds out who a request says to be from: the region is that of the
// credential scope, the account is the access key's. With credentials, the key must be
// known and the signature of now, and prove says with the body whether it holds; a
// stranger's body is not read. Without, whoever says to be somebody is, the account
// being the access key if that is an account id, else the default account.
func (h *Handler) identify(r *http.Request) (who caller, prove func(body []byte) error, err error) {
	signature, err := sigv4.Parse(r)
	if err != nil {
		return caller{}, nil, err
	}
	// The region is part of a whole header, which need not live as long as what is counted by it.
	who.Scope.Region = strings.Clone(signature.Region)
	if h.credentials == nil {
		if err := signature.CheckScope(service, h.serves); err != nil {
			return caller{}, nil, err
		}
		if signature.AccessKey == "" {
			return caller{}, nil, errUnrecognized
		}
		who.Name, who.Scope.Account = signature.AccessKey, h.defaultAccount
		if chat.ValidAccount(signature.AccessKey) {
			who.Scope.Account = strings.Clone(signature.AccessKey)
		}
		return who, func([]byte) error { return nil }, nil
	}
	now := time.Now()
	if err := signature.Check(service, h.serves, now); err != nil {
		return caller{}, nil, err
	}
	principal, found := h.credentials(signature.AccessKey)
	if !found {
		return caller{}, nil, errUnrecognized
	}
	who.Name, who.Scope.Account, who.Policy = principal.Name, principal.Account, principal.Policy
	return who, func(body []byte) error {
		if err := h.verifier.Verify(signature, principal.Secret, body); err != nil {
			return err
		}
		if subtle.ConstantTimeCompare([]byte(principal.SessionToken), []byte(signature.SessionToken)) != 1 {
			return errUnrecognized
		}
		if !principal.Expires.IsZero() && !now.Before(principal.Expires) {
			return errExpired
		}
		return nil
	}, nil
}

var (
	errUnrecognized = &sigv4.Error{Name: "UnrecognizedClientException", Message: "The security token included in the request is invalid."}
	errExpired      = &sigv4.Error{Name: "ExpiredTokenException", Message: "The security token included in the request is expired"}
)

// serves reports whether a region is served here.
func (h *Handler) serves(region string) bool {
	return chat.ValidRegion(region) && (len(h.regions) == 0 || slices.Contains(h.regions, region))
}

// unidentified renders an error of identify.
func unidentified(err error) *apiError {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return errInternal()
	}
	return &apiError{Status: http.StatusForbidden, Name: e.Name, Message: e.Message}
}
