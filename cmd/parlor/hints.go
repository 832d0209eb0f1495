package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// hintedError is an error that comes with what to do about it.
type hintedError struct {
	error
	hint string // a sentence or two
}

func (e *hintedError) Unwrap() error { return e.error }

const (
	keyHint     = "The access key is for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to say, or AWS_PROFILE; parlor key create makes one for parlor serve."
	tokenHint   = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN go together: set those of one key, and unset AWS_SESSION_TOKEN for a key without."
	policyHint  = "The policy of the access key does not allow this, or what is named is another account's; parlor key list, at the server, shows whose key has which."
	banHint     = "parlor bans --user shows the bans of a user, and parlor unban takes them back."
	notFound    = "parlor room list shows the rooms of the account and region that the access key and AWS_REGION say."
	serverHint  = "Is a server running there? parlor dev starts one at http://" + usualAddress + "; --endpoint names another."
	foreignHint = "What answers there is no Parlor, or something before it that answers for it: look at --endpoint."
	defaultHint = "Is parlor dev running? It is where verbs look unless --endpoint or AWS_ENDPOINT_URL_IVSCHAT names another server."
)

// usualAddress is where a server listens unless told otherwise.
const usualAddress = "127.0.0.1:4870"

// apiHints are by the name of the API's error.
var apiHints = map[string]string{
	"UnrecognizedClientException":         keyHint,
	"InvalidClientTokenId":                keyHint,
	"InvalidSignatureException":           "The secret is not that of the access key. " + keyHint,
	"MissingAuthenticationTokenException": keyHint,
	"IncompleteSignatureException":        keyHint,
	"ExpiredTokenException":               "The temporary key is over: parlor key create --session makes another. " + tokenHint,
	"AccessDeniedException":               policyHint,
	"ResourceNotFoundException":           notFound,
	"UnknownOperationException":           "The server does not know this operation: it is older than this program, or no Parlor.",
	"ServiceQuotaExceededException":       "The quotas are the server's to set: --quotas of parlor serve and parlor dev.",
	"ThrottlingException":                 "The API was asked too often: try again in a moment. The quotas are the server's to set: --quotas.",
}

// hint is what can be done about an error, "" if nothing is known.
func hint(err error) string {
	if hinted, ok := errors.AsType[*hintedError](err); ok {
		return hinted.hint
	}
	if answer := answered(err); answer != nil {
		return answerHint(answer)
	}
	if _, ok := errors.AsType[*smithy.OperationError](err); ok {
		return wayHint(err)
	}
	if usage, ok := errors.AsType[*kong.ParseError](err); ok {
		return lineHint(usage)
	}
	return ""
}

// lineHint is about a line that is not understood.
func lineHint(usage *kong.ParseError) string {
	text, command := usage.Error(), path(usage)
	switch {
	case strings.HasPrefix(text, "unexpected argument") && (command == "parlor room create" || command == "parlor room list"):
		return "A room's name is for --name to say."
	case strings.HasPrefix(command, "parlor key") && strings.Contains(text, "--credentials"):
		return "It is the file that parlor serve has; PARLOR_CREDENTIALS names it to all verbs."
	}
	return ""
}

// answerHint is about what the API answered.
func answerHint(answer smithy.APIError) string {
	text := answer.ErrorMessage()
	switch {
	case strings.HasPrefix(text, "Signature expired") || strings.HasPrefix(text, "Signature not yet current"):
		return "The clock of this machine and that of the server differ by more than five minutes."
	case strings.Contains(text, "scoped to a valid region"):
		return "The server has other regions: AWS_REGION must name one of those that it was started with (--regions)."
	case answer.ErrorCode() == "AccessDeniedException" && strings.Contains(text, " is banned from "):
		return banHint
	case strings.Contains(text, "security token") && strings.Contains(text, "expired"):
		return apiHints["ExpiredTokenException"]
	}
	return apiHints[answer.ErrorCode()]
}

// wayHint is about a call that had no answer, or one that is not the API's.
func wayHint(err error) string {
	host := ""
	if at, ok := errors.AsType[*url.Error](err); ok {
		if u, err := url.Parse(at.URL); err == nil {
			host = u.Host
		}
	}
	var late net.Error
	op, _ := errors.AsType[*net.OpError](err)
	text := err.Error()
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case certificateHint(err, "--endpoint") != "":
		return certificateHint(err, "--endpoint")
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "The server speaks plain HTTP: --endpoint http://" + host
	case strings.HasSuffix(host, ".amazonaws.com"):
		return "Is there a way to Amazon from here, and is AWS_REGION a region that has IVS Chat?"
	case op != nil && op.Op == "dial" && host == usualAddress:
		return defaultHint
	case op != nil && op.Op == "dial" || errors.As(err, &late) && late.Timeout():
		return serverHint
	case foreign(err) == http.StatusBadRequest:
		return "Does the server speak HTTPS? Then --endpoint is to begin with https://. Else what answers there is no Parlor."
	case foreign(err) != 0:
		return foreignHint
	}
	return ""
}

// certificateHint is about a certificate that is not trusted, "" if it is not that. flag
// names where the certificate is of.
func certificateHint(err error, flag string) string {
	if _, stranger := errors.AsType[x509.UnknownAuthorityError](err); stranger {
		if os.Getenv(bundleVariable) != "" {
			return bundleVariable + " names the file of certificates to trust, instead of SSL_CERT_FILE."
		}
		return "SSL_CERT_FILE names a file of certificates to trust."
	}
	if misnamed, ok := errors.AsType[x509.HostnameError](err); ok {
		if c := misnamed.Certificate; c != nil && len(c.DNSNames)+len(c.IPAddresses) == 0 {
			return "The certificate needs its names as subjectAltName: one in the Common Name is not looked at."
		}
		return "The certificate is for another name: " + flag + " is to have that one."
	}
	return ""
}

// bundleVariable is AWS's own for certificates.
const bundleVariable = "AWS_CA_BUNDLE"

// answered is the error that the API answered with, or nil.
func answered(err error) smithy.APIError {
	var answer smithy.APIError
	if !errors.As(err, &answer) || answer.ErrorCode() == "UnknownError" {
		return nil // so the SDK calls what has no name
	}
	return answer
}

// foreign is the status of an answer that is not the API's, else 0.
func foreign(err error) int {
	answer, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok || answer.Response == nil || answer.Response.Response == nil || answered(err) != nil {
		return 0
	}
	return answer.HTTPStatusCode()
}

// notOurs is the text for such an answer.
func notOurs(operation string, status int) string {
	return fmt.Sprintf("the answer to %s is HTTP %d, and not the API's", operation, status)
}

// roomsHint says where rooms of a name are looked for.
func roomsHint(region string) string {
	return "parlor room list shows the rooms that there are in " + region + "; AWS_REGION names another region."
}

// startHint says what to do about a server that does not start.
func startHint(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &hintedError{err, "Another program listens there, perhaps another Parlor: stop it, or choose another address with --listen (--listen 127.0.0.1:0 takes any free port)."}
	case errors.Is(err, syscall.EACCES):
		return &hintedError{err, "This user may not: choose a port from 1024 on with --listen, or a directory it may write to with --data."}
	}
	return err
}

// plain is an error's text for people. Where the SDK says at length how a call went, it
// says what the API answered, or why it did not.
func plain(err error) string {
	text := err.Error()
	call, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return text
	}
	short := ""
	if answer := answered(call); answer != nil {
		short = fmt.Sprintf("%s (%s: %s)", strings.TrimSuffix(or(answer.ErrorMessage(), "no reason is given"), "."), call.OperationName, answer.ErrorCode())
	} else if status := foreign(call); status != 0 {
		short = notOurs(call.OperationName, status)
	} else if at, ok := errors.AsType[*url.Error](call); ok {
		server := strings.TrimSuffix(strings.TrimSuffix(at.URL, "/"+call.OperationName), "/parlor")
		short = server + ": " + at.Err.Error()
	} else {
		return text
	}
	return strings.Replace(text, call.Error(), short, 1)
}
