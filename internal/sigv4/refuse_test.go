package sigv4

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	tagsTarget = "/tags/arn%3Aaws%3Aivschat%3Aus-west-2%3A123456789012%3Aroom%2FAbCdEf123456?tagKeys=a%20b&tagKeys=c"
	credential = testKey + "/20240522/us-west-2/ivschat/aws4_request"
)

// attempt is a request on its way to a server, all of which a test may change.
type attempt struct {
	*http.Request
	body   []byte
	secret string
	now    time.Time
}

// edit replaces text in the Authorization header, or in the query if presigned.
func (a *attempt) edit(t *testing.T, old, new string) {
	t.Helper()
	replace := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	if text := a.Header.Get("Authorization"); text != "" {
		a.Header.Set("Authorization", replace(text, old, new))
		return
	}
	escape := strings.NewReplacer("/", "%2F", ";", "%3B").Replace
	path, query, _ := strings.Cut(a.RequestURI, "?")
	retarget(a.Request, path+"?"+replace(query, escape(old), escape(new)))
}

// TestRefused changes one thing about a request that the official SDK signed.
func TestRefused(t *testing.T) {
	signed := func(t *testing.T, presign bool) *attempt {
		body := []byte(`{"tags":{"a":"b"}}`)
		r := request("POST", tagsTarget, body)
		r.Header.Set("X-Custom", "one  two")
		r.Header.Set("X-Amz-Content-Sha256", hashOf(body))
		if presign {
			r.Header.Del("X-Amz-Content-Sha256")
			r.RequestURI += "&X-Amz-Expires=3600"
			r.URL.RawQuery += "&X-Amz-Expires=3600"
		}
		return &attempt{Request: bySDK(t, r, body, testToken, presign), body: body, secret: testSecret, now: testTime}
	}
	const (
		signature = "InvalidSignatureException"
		partial   = "IncompleteSignatureException"
		mismatch  = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
		scopeDate = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
	)
	const header, query = 1, 2
	edit := func(old, new string) func(*testing.T, *attempt) {
		return func(t *testing.T, a *attempt) { a.edit(t, old, new) }
	}
	retime := func(d time.Duration) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.now = a.now.Add(d) }
	}
	set := func(name, value string) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.Header.Set(name, value) }
	}
	del := func(name string) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.Header.Del(name) }
	}
	dated := func(date string) func(*testing.T, *attempt) {
		return func(t *testing.T, a *attempt) {
			if a.Header.Get("Authorization") == "" {
				a.edit(t, "X-Amz-Date=20240522T121019Z", "X-Amz-Date="+date)
			} else {
				a.Header.Set("X-Amz-Date", date)
			}
		}
	}
	for _, test := range []struct {
		name          string
		forms         int
		change        func(*testing.T, *attempt)
		error, saying string // error empty: accepted
	}{
		{"nothing", header | query, func(*testing.T, *attempt) {}, "", ""},

		{"no signature at all", header, del("Authorization"), "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{"no query", query, func(_ *testing.T, a *attempt) { retarget(a.Request, "/ListRooms") }, "MissingAuthenticationTokenException", "Missing Authentication Token"},

		{"another body", header | query, func(_ *testing.T, a *attempt) { a.body = []byte(`{"tags":{"a":"c"}}`) }, signature, mismatch},
		{"no body", header | query, func(_ *testing.T, a *attempt) { a.body = nil }, signature, mismatch},
		{"more body", header | query, func(_ *testing.T, a *attempt) { a.body = append(a.body, ' ') }, signature, mismatch},
		{"another body and its hash", header, func(_ *testing.T, a *attempt) {
			a.body = []byte("{}")
			a.Header.Set("X-Amz-Content-Sha256", hashOf(a.body))
		}, signature, mismatch},
		{"another method", header | query, func(_ *testing.T, a *attempt) { a.Method = "DELETE" }, signature, mismatch},
		{"another host", header | query, func(_ *testing.T, a *attempt) { a.Host = "chat.example.com" }, signature, mismatch},
		{"another secret", header | query, func(_ *testing.T, a *attempt) { a.secret += "x" }, signature, mismatch},
		{"no secret", header | query, func(_ *testing.T, a *attempt) { a.secret = "" }, signature, mismatch},

		{"another path", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "AbCdEf", "AbCdEg", 1))
		}, signature, mismatch},
		{"path unescaped", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "%3A", ":", 1))
		}, signature, mismatch},
		{"path escaped in lower case", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "%3A", "%3a", 1))
		}, signature, mismatch},
		{"path escaped twice", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "%3A", "%253A", 1))
		}, signature, mismatch},
		{"path with a slash more", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "?", "/?", 1))
		}, signature, mismatch},
		{"a parameter more", header | query, func(_ *testing.T, a *attempt) { retarget(a.Request, a.RequestURI+"&tagKeys=d") }, signature, mismatch},
		{"a parameter twice", header | query, func(_ *testing.T, a *attempt) { retarget(a.Request, a.RequestURI+"&tagKeys=c") }, signature, mismatch},
		{"a parameter less", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "&tagKeys=c", "", 1))
		}, signature, mismatch},
		{"another value of a parameter", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "tagKeys=c", "tagKeys=C", 1))
		}, signature, mismatch},
		{"a broken escape in the query", header | query, func(_ *testing.T, a *attempt) { retarget(a.Request, a.RequestURI+"&x=%zz") }, signature, mismatch},
		{"no escape at the query's end", header | query, func(_ *testing.T, a *attempt) { retarget(a.Request, a.RequestURI+"&x=%2") }, signature, mismatch},
		{"a plus for a plus", header | query, func(_ *testing.T, a *attempt) {
			retarget(a.Request, strings.Replace(a.RequestURI, "tagKeys=c", "tagKeys=c+", 1))
		}, signature, mismatch},
		{"parameters in another order", header, func(_ *testing.T, a *attempt) {
			path, _, _ := strings.Cut(a.RequestURI, "?")
			retarget(a.Request, path+"?tagKeys=c&&tagKeys=a+b")
		}, "", ""},

		{"another value of a signed header", header | query, set("X-Custom", "one two three"), signature, mismatch},
		{"other letters in a signed header", header | query, set("X-Custom", "One two"), signature, mismatch},
		{"blanks in a signed header", header | query, set("X-Custom", " one \t two  "), "", ""},
		{"no signed header", header | query, del("X-Custom"), signature, mismatch},
		{"an empty signed header", header | query, set("X-Custom", ""), signature, mismatch},
		{"a signed header twice", header | query, func(_ *testing.T, a *attempt) { a.Header.Add("X-Custom", "one two") }, signature, mismatch},
		{"another Content-Type", header | query, set("Content-Type", "text/plain"), signature, mismatch},
		{"a header more that is said to be signed", header | query, func(t *testing.T, a *attempt) {
			a.Header.Set("X-More", "1")
			a.edit(t, "x-custom", "x-custom;x-more")
		}, signature, mismatch},
		{"a header less that is said to be signed", header | query, edit(";x-custom", ""), signature, mismatch},
		{"a signed header named twice", header, edit("host;", "host;host;"), signature, mismatch},
		{"signed headers out of order", header, edit("content-length;content-type", "content-type;content-length"), signature, mismatch},
		{"signed headers in capitals", header, edit("x-custom", "X-Custom"), signature, mismatch},
		{"an empty name of a signed header", header, edit("x-custom", "x-custom;"), signature, mismatch},
		{"a line break in the name of a signed header", query, edit("host", "host%0Ax-more:1"), signature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"a header more that is not signed", header | query, set("X-Amz-Cf-Id", "from a proxy"), "", ""},

		{"another hash of the body", header | query, set("X-Amz-Content-Sha256", hashOf(nil)), signature, mismatch},
		{"a hash of the body that is empty", header | query, set("X-Amz-Content-Sha256", ""), signature, mismatch},
		{"a body said to be unsigned", header | query, set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), signature, mismatch},
		{"two hashes of the body", header | query, func(_ *testing.T, a *attempt) {
			a.Header["X-Amz-Content-Sha256"] = []string{hashOf(a.body), "UNSIGNED-PAYLOAD"}
		}, signature, mismatch},
		{"another session token", header, set("X-Amz-Security-Token", "another"), signature, mismatch},
		{"another session token", query, edit("Example%2BToken", "Example%2Btoken"), signature, mismatch},
		{"no session token", header, del("X-Amz-Security-Token"), signature, mismatch},
		{"no session token", query, edit("X-Amz-Security-Token=", "X-Amz-Security-Tokem="), signature, mismatch},

		{"another time", header | query, dated("20240522T121020Z"), signature, mismatch},
		{"yesterday's time", header | query, dated("20240521T121019Z"), signature,
			"Signature expired: 20240521T121019Z is now earlier than "},
		{"a time without seconds", header | query, dated("20240522T1210Z"), partial,
			"Date must be in ISO-8601 'basic format'. Got '20240522T1210Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"a fraction of a second", header | query, dated("20240522T121019.5Z"), partial,
			"Date must be in ISO-8601 'basic format'. Got '20240522T121019.5Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"HTTP's date in X-Amz-Date", header, set("X-Amz-Date", "Wed, 22 May 2024 12:10:19 GMT"), partial,
			"Date must be in ISO-8601 'basic format'. Got 'Wed, 22 May 2024 12:10:19 GMT'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"no date", header, del("X-Amz-Date"), partial, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		{"another header for the date", header, func(_ *testing.T, a *attempt) {
			a.Header.Del("X-Amz-Date")
			a.Header.Set("Date", "20240522T121019Z")
		}, signature, "'Date' must be a 'SignedHeader' in the AWS Authorization."},

		{"5 minutes old", header, retime(5 * time.Minute), "", ""},
		{"more than 5 minutes old", header, retime(5*time.Minute + time.Second), signature,
			"Signature expired: 20240522T121019Z is now earlier than 20240522T121020Z (20240522T121520Z - 5 min.)"},
		{"5 minutes and a fraction", header, retime(5*time.Minute + 999*time.Millisecond), "", ""},
		{"5 minutes ahead", header | query, retime(-5 * time.Minute), "", ""},
		{"more than 5 minutes ahead", header | query, retime(-5*time.Minute - time.Second), signature,
			"Signature not yet current: 20240522T121019Z is still later than 20240522T121018Z (20240522T120518Z + 5 min.)"},
		{"presigned, an hour old", query, retime(time.Hour), "", ""},
		{"presigned, over", query, retime(time.Hour + time.Second), signature,
			"Signature expired: 20240522T121019Z is now earlier than 20240522T121020Z (20240522T131020Z - 60 min.)"},
		{"presigned for longer", query, edit("X-Amz-Expires=3600", "X-Amz-Expires=3601"), signature, mismatch},
		{"presigned for no time given", query, edit("X-Amz-Expires=3600", "x=1"), signature, mismatch},

		{"another access key", header | query, func(t *testing.T, a *attempt) {
			a.edit(t, testKey, "AKIDOTHER")
			a.secret = "that of the other key"
		}, signature, mismatch},
		{"another date in the scope", header | query, edit("/20240522/", "/20240521/"), signature,
			scopeDate + "'20240521' != '20240522', from '20240522T121019Z'."},
		{"a region that is not served", header | query, edit("/us-west-2/", "/xx-west-2/"), signature, "Credential should be scoped to a valid region."},
		{"another region that is served", header | query, edit("/us-west-2/", "/eu-west-1/"), signature, mismatch},
		{"another service", header | query, edit("/ivschat/", "/s3/"), signature, "Credential should be scoped to correct service: 'ivschat'."},
		{"another terminator", header | query, edit("/aws4_request", "/aws5_request"), signature,
			"Credential should be scoped with a valid terminator: 'aws4_request'."},
		{"nothing right in the scope", header | query, edit("20240522/us-west-2/ivschat/aws4_request", "2024/x/y/z"), signature,
			"Credential should be scoped to a valid region. Credential should be scoped to correct service: 'ivschat'. " +
				"Credential should be scoped with a valid terminator: 'aws4_request'. " + scopeDate + "'2024' != '20240522', from '20240522T121019Z'."},
		{"four elements", header | query, edit("/aws4_request", ""), partial,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."},
		{"six elements", header | query, edit("/aws4_request", "/aws4_request/x"), partial,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."},

		{"another algorithm", header, edit("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), partial, "Unsupported AWS 'algorithm'."},
		{"another algorithm", query, edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), partial, "Unsupported AWS 'algorithm'."},
		{"another scheme", header, set("Authorization", "Bearer abc=="), partial,
			"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter."},
		{"no Credential", header, edit("Credential=", "Credentiam="), partial, "Authorization header requires 'Credential' parameter."},
		{"no Signature", header, edit("Signature=", "Signaturf="), partial, "Authorization header requires 'Signature' parameter."},
		{"an empty Signature", header, edit("Signature=", "Signature=,X="), partial, "Authorization header requires 'Signature' parameter."},
		{"no SignedHeaders", header, edit("SignedHeaders=", "SignedHeader="), partial, "Authorization header requires 'SignedHeaders' parameter."},
		{"nothing but the algorithm", header, func(_ *testing.T, a *attempt) {
			a.Header.Set("Authorization", algorithm)
			a.Header.Del("X-Amz-Date")
		}, partial, "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. " +
			"Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		{"no equal-sign", header, edit("Signature=", "Signature:"), partial,
			"Authorization header has a part that is not a valid key=value pair (missing equal-sign)."},
		{"no X-Amz-Algorithm", query, edit("X-Amz-Algorithm", "X-Algorithm"), partial,
			"AWS query-string parameters must include 'X-Amz-Algorithm'. Re-examine the query-string parameters."},
		{"no X-Amz-Credential", query, edit("X-Amz-Credential", "X-Credential"), partial,
			"AWS query-string parameters must include 'X-Amz-Credential'. Re-examine the query-string parameters."},
		{"no X-Amz-Signature", query, edit("X-Amz-Signature", "X-Signature"), partial,
			"AWS query-string parameters must include 'X-Amz-Signature'. Re-examine the query-string parameters."},
		{"no X-Amz-SignedHeaders", query, edit("X-Amz-SignedHeaders", "X-SignedHeaders"), partial,
			"AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."},
		{"no X-Amz-Date", query, edit("X-Amz-Date", "X-Date"), partial,
			"AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."},
		{"two signatures in the query", query, func(t *testing.T, a *attempt) {
			a.edit(t, "X-Amz-Signature=", "X-Amz-Signature=00&X-Amz-Signature=")
		}, signature, mismatch},
		{"the signature in capitals", header | query, func(t *testing.T, a *attempt) {
			s, err := Parse(a.Request)
			if err != nil {
				t.Fatal(err)
			}
			a.edit(t, s.provided, strings.ToUpper(s.provided))
		}, signature, mismatch},
		{"half a signature", header | query, func(t *testing.T, a *attempt) {
			s, err := Parse(a.Request)
			if err != nil {
				t.Fatal(err)
			}
			a.edit(t, s.provided, s.provided[:32])
		}, signature, mismatch},
		{"both forms", query, set("Authorization", algorithm+" Credential="+credential+", SignedHeaders=host, Signature=0"), signature, mismatch},
		{"both forms, the other scheme's", query, set("Authorization", "Basic dXNlcjpwYXNz"), signature, mismatch},
	} {
		for form, name := range map[int]string{header: "header", query: "query"} {
			if test.forms&form == 0 {
				continue
			}
			t.Run(test.name+"/"+name, func(t *testing.T) {
				a := signed(t, form == query)
				test.change(t, a)
				err := authenticate(&Verifier{}, a.Request, a.secret, a.body, a.now)
				expect(t, err, test.error, test.saying)
			})
		}
	}
}

// expect holds an error to its name and text. A text that ends in a space is a beginning.
func expect(t *testing.T, err error, name, saying string) {
	t.Helper()
	if name == "" {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		t.Errorf("got %v, want %s: %s", err, name, saying)
	case e.Name != name, e.Message != saying && !(strings.HasSuffix(saying, " ") && strings.HasPrefix(e.Message, saying)):
		t.Errorf("got %s: %s\nwant %s: %s", e.Name, e.Message, name, saying)
	case strings.Contains(e.Message, testSecret), strings.Contains(e.Message, "Example+Token"), strings.Contains(e.Message, "dXNlcjpwYXNz"):
		t.Errorf("the message tells a secret: %s", e.Message)
	}
}
