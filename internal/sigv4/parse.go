package sigv4

import (
	"net/http"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
)

// The parameters of the presigned form.
const (
	queryAlgorithm     = "X-Amz-Algorithm"
	queryCredential    = "X-Amz-Credential"
	querySignature     = "X-Amz-Signature"
	querySignedHeaders = "X-Amz-SignedHeaders"
	queryDate          = "X-Amz-Date"
	queryExpires       = "X-Amz-Expires"
	queryToken         = "X-Amz-Security-Token"
)

// Signature is the authentication of one request, as it claims to be. The request must
// not be changed while its Signature is in use.
type Signature struct {
	AccessKey string // may be empty: that is a key nobody has

	// The credential scope, as it was sent; Check holds it to what it should be.
	Date    string // YYYYMMDD
	Region  string
	Service string

	Time          time.Time // when the request was signed, in whole seconds, UTC
	SignedHeaders []string  // as they were sent
	Presigned     bool      // by the query, not by the Authorization header
	SessionToken  string    // empty: none was sent; it may be unsigned

	scope      string // what follows the access key in the credential
	terminator string
	dateHeader string // the header that Time was read from; empty if presigned
	expires    string // X-Amz-Expires as it was sent
	provided   string // the signature, in hex

	request     *http.Request
	path, query string // as received
}

// Parse reads the authentication of a request. Its errors are
// MissingAuthenticationTokenException if there is none, IncompleteSignatureException if
// a part is missing or cannot be read, InvalidSignatureException if there are two.
func Parse(r *http.Request) (*Signature, error) {
	s := &Signature{request: r}
	s.path, s.query = target(r)
	var p parameters
	p.read(s.query)
	authorization := strings.TrimSpace(r.Header.Get("Authorization"))
	var err error
	switch {
	case authorization != "" && p.algorithm != "":
		err = mismatch()
	case authorization != "":
		err = s.parseHeader(authorization)
	case p.algorithm != "" || p.credential != "" || p.signature != "":
		err = s.parseQuery(&p)
	default:
		err = fault(missingToken, missingTokenText)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parseHeader reads the form of the Authorization header.
func (s *Signature) parseHeader(authorization string) error {
	header := s.request.Header
	scheme, rest, _ := strings.Cut(authorization, " ")
	if scheme != algorithm {
		if strings.HasPrefix(scheme, "AWS4-") {
			return fault(incomplete, algorithmText)
		}
		rest = "" // another scheme has none of the parameters, and that is what AWS says of it
	}
	var credential, signedHeaders string
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return fault(incomplete, noEqualText)
		}
		switch name { // of two, AWS takes the last
		case "Credential":
			credential = value
		case "SignedHeaders":
			signedHeaders = value
		case "Signature":
			s.provided = value
		}
	}
	s.dateHeader = "X-Amz-Date"
	date := header.Get(s.dateHeader)
	if date == "" {
		s.dateHeader = "Date"
		date = header.Get(s.dateHeader)
	}

	var faults []string
	for _, required := range [...]struct{ name, value string }{
		{"Credential", credential}, {"Signature", s.provided}, {"SignedHeaders", signedHeaders},
	} {
		if required.value == "" {
			faults = append(faults, "Authorization header requires '"+required.name+"' parameter.")
		}
	}
	if date == "" {
		faults = append(faults, noDateText)
	}
	if faults != nil {
		return fault(incomplete, faults...)
	}
	s.SessionToken = header.Get(queryToken)
	return s.fill(credential, signedHeaders, date)
}

// parseQuery reads the presigned form.
func (s *Signature) parseQuery(p *parameters) error {
	var faults []string
	for _, required := range [...]struct{ name, value string }{
		{queryAlgorithm, p.algorithm}, {queryCredential, p.credential}, {querySignature, p.signature},
		{querySignedHeaders, p.signedHeaders}, {queryDate, p.date},
	} {
		if required.value == "" {
			faults = append(faults, "AWS query-string parameters must include '"+required.name+"'."+reexamineText)
		}
	}
	if p.algorithm != "" && p.algorithm != algorithm {
		faults = append(faults, algorithmText)
	}
	if faults != nil {
		return fault(incomplete, faults...)
	}
	s.Presigned, s.SessionToken, s.expires, s.provided = true, p.token, p.expires, p.signature
	return s.fill(p.credential, p.signedHeaders, p.date)
}

// fill takes apart what both forms have.
func (s *Signature) fill(credential, signedHeaders, date string) error {
	if strings.Count(credential, "/") != 4 {
		return fault(incomplete, credentialText)
	}
	s.AccessKey, s.scope, _ = strings.Cut(credential, "/")
	var rest string
	s.Date, rest, _ = strings.Cut(s.scope, "/")
	s.Region, rest, _ = strings.Cut(rest, "/")
	s.Service, s.terminator, _ = strings.Cut(rest, "/")
	s.SignedHeaders = strings.Split(signedHeaders, ";")

	var ok bool
	if s.Time, ok = parseTime(date, s.dateHeader == "Date"); !ok {
		return fault(incomplete, "Date must be in ISO-8601 'basic format'. Got '"+date+"'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	return nil
}

// parseTime reads a date of the basic format or, in HTTP's own header, of HTTP's.
func parseTime(s string, httpDate bool) (time.Time, bool) {
	// time.Parse takes a fraction of a second that the layout has not.
	if t, err := time.Parse(basic, s); err == nil && len(s) == len(basic) {
		return t, true
	}
	if !httpDate {
		return time.Time{}, false
	}
	t, err := http.ParseTime(s)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, s) // botocore's
	}
	return t.UTC(), err == nil
}

// target is the path and the query of a request as they were received. net/http keeps
// the text in RequestURI; what it makes of it in URL may be escaped otherwise.
func target(r *http.Request) (path, query string) {
	uri := r.RequestURI
	if uri == "" { // not received, but made in this process
		return r.URL.EscapedPath(), r.URL.RawQuery
	}
	path, query, _ = strings.Cut(uri, "?")
	if _, rest, absolute := strings.Cut(path, "://"); absolute && !strings.HasPrefix(path, "/") {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	return path, query
}

// parameters are those of the presigned form, the first of each name.
type parameters struct {
	algorithm, credential, signature, signedHeaders, date, expires, token string
}

func (p *parameters) read(query string) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		var where *string
		switch unescape(key) {
		case queryAlgorithm:
			where = &p.algorithm
		case queryCredential:
			where = &p.credential
		case querySignature:
			where = &p.signature
		case querySignedHeaders:
			where = &p.signedHeaders
		case queryDate:
			where = &p.date
		case queryExpires:
			where = &p.expires
		case queryToken:
			where = &p.token
		default:
			continue
		}
		if *where == "" {
			*where = unescape(value)
		}
	}
}
