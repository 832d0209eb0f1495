package awsapi

import (
	"net/http"
	"net/url"
	"strings"

	"parlor/internal/chat"
)

// caller is who sent a request.
type caller struct {
	Scope chat.Scope
	KeyID string // the access key; for messages to the caller, never for the log
}

// arn is the caller as AWS names a user in a refusal.
func (c caller) arn() string { return "arn:aws:iam::" + c.Scope.Account + ":user/" + c.KeyID }

const algorithm = "AWS4-HMAC-SHA256"

// identify reads the caller from the Credential of a Signature Version 4 request, in
// the Authorization header or in the query: the region is that of the credential
// scope, the account is the access key if that is an account id, else the default
// account. Signatures are not verified.
func (h *Handler) identify(r *http.Request) (caller, *apiError) {
	credential, err := credentialOf(r)
	if err != nil {
		return caller{}, err
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 {
		return caller{}, incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	key, region, service, terminator := parts[0], parts[2], parts[3], parts[4]
	if key == "" {
		return caller{}, &apiError{
			Status: http.StatusForbidden, Name: "UnrecognizedClientException",
			Message: "The security token included in the request is invalid.",
		}
	}
	var faults []string
	if !chat.ValidRegion(region) {
		faults = append(faults, "Credential should be scoped to a valid region.")
	}
	if service != "ivschat" {
		faults = append(faults, "Credential should be scoped to correct service: 'ivschat'.")
	}
	if terminator != "aws4_request" {
		faults = append(faults, "Credential should be scoped with a valid terminator: 'aws4_request'.")
	}
	if faults != nil {
		return caller{}, &apiError{
			Status: http.StatusForbidden, Name: "InvalidSignatureException",
			Message: strings.Join(faults, " "),
		}
	}
	who := caller{Scope: chat.Scope{Region: region, Account: h.defaultAccount}, KeyID: key}
	if isAccount(key) {
		who.Scope.Account = key
	}
	return who, nil
}

// credentialOf finds the Credential parameter and checks that the others are there.
func credentialOf(r *http.Request) (string, *apiError) {
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		return headerCredential(r.Header, authorization)
	}
	// A query that does not parse says what it can: what is missing is reported.
	query, _ := url.ParseQuery(r.URL.RawQuery)
	if !query.Has("X-Amz-Algorithm") && !query.Has("X-Amz-Credential") && !query.Has("X-Amz-Signature") {
		return "", &apiError{
			Status: http.StatusForbidden, Name: "MissingAuthenticationTokenException",
			Message: missingTokenText,
		}
	}
	var faults []string
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if query.Get(name) == "" {
			faults = append(faults, "AWS query-string parameters must include '"+name+"'. Re-examine the query-string parameters.")
		}
	}
	if a := query.Get("X-Amz-Algorithm"); a != "" && a != algorithm {
		faults = append(faults, "Unsupported AWS 'algorithm'.")
	}
	if faults != nil {
		return "", incomplete(faults...)
	}
	return query.Get("X-Amz-Credential"), nil
}

func headerCredential(header http.Header, authorization string) (string, *apiError) {
	// Another scheme has none of the parameters, and that is what AWS says of it.
	scheme, rest, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	parameters := map[string]string{}
	if scheme == algorithm {
		for part := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			parameters[name] = value
		}
	}
	var faults []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if parameters[name] == "" {
			faults = append(faults, "Authorization header requires '"+name+"' parameter.")
		}
	}
	if header.Get("X-Amz-Date") == "" && header.Get("Date") == "" {
		faults = append(faults, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if faults != nil {
		return "", incomplete(faults...)
	}
	return parameters["Credential"], nil
}

func incomplete(faults ...string) *apiError {
	return &apiError{
		Status: http.StatusForbidden, Name: "IncompleteSignatureException",
		Message: strings.Join(faults, " "),
	}
}

// isAccount reports whether s has the form of an AWS account id.
func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}
