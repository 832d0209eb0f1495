package sigv4

import (
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMustBeSigned signs rightly what does not say enough.
func TestMustBeSigned(t *testing.T) {
	for _, test := range []struct {
		name, headers, date string
		error, saying       string
	}{
		{"host and date", "host;x-amz-date", "", "", ""},
		{"no host", "x-amz-date", "", "InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"no date", "host", "", "InvalidSignatureException", "'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"Date in place of X-Amz-Date", "date;host", "Wed, 22 May 2024 12:10:19 GMT", "", ""},
		{"Date in AWS's format", "date;host", "20240522T121019Z", "", ""},
		{"Date, not signed", "host", "Wed, 22 May 2024 12:10:19 GMT", "InvalidSignatureException", "'Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"Date, not a date", "date;host", "today", "IncompleteSignatureException", "Date must be in ISO-8601 'basic format'. Got 'today'. See http://en.wikipedia.org/wiki/ISO_8601"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request("POST", "/ListRooms", nil)
			if test.error == "IncompleteSignatureException" {
				r.Header.Set("Authorization", algorithm+" Credential="+credential+", SignedHeaders="+test.headers+", Signature=0")
				r.Header.Set("Date", test.date)
			} else {
				if test.date != "" {
					r.Header.Set("Date", test.date)
				}
				by(t, r, credential, test.headers, hashOf(nil))
			}
			expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), test.error, test.saying)
		})
	}
}

// X-Amz-Date counts if both dates are there.
func TestDateBesideXAmzDate(t *testing.T) {
	r := request("POST", "/ListRooms", nil)
	r.Header.Set("Date", "Wed, 22 May 2019 12:10:19 GMT")
	r.Header.Set("X-Amz-Date", stamp(testTime))
	by(t, r, credential, "host;x-amz-date", hashOf(nil))
	expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), "", "")
}

func TestUnsignedPayloadIsRefused(t *testing.T) {
	for _, stated := range []string{"UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", strings.ToUpper(hashOf([]byte("{}")))} {
		r := request("POST", "/ListRooms", []byte("{}"))
		r.Header.Set("X-Amz-Content-Sha256", stated)
		by(t, r, credential, "host;x-amz-content-sha256;x-amz-date", stated)
		expect(t, authenticate(&Verifier{}, r, testSecret, []byte("{}"), testTime), "InvalidSignatureException", mismatchText)
	}
}

func TestUnsignedHeadersAreIgnored(t *testing.T) {
	r := request("POST", "/ListRooms", []byte("{}"))
	by(t, r, credential, "host;x-amz-date", hashOf([]byte("{}")))
	r.Header.Set("X-Amz-Cf-Id", "added on the way")
	r.Header.Set("X-Amz-Content-Sha256", hashOf([]byte("{}")))
	r.Header.Set("X-Amz-Security-Token", "appended")
	r.Header.Set("Content-Type", "text/plain")
	expect(t, authenticate(&Verifier{}, r, testSecret, []byte("{}"), testTime), "", "")
	if s, err := Parse(r); err != nil || s.SessionToken != "appended" {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestAbsentHeaderIsNotEmpty: naming a header that is not there is no way to sign it.
func TestAbsentHeaderIsNotEmpty(t *testing.T) {
	r := request("POST", "/ListRooms", nil)
	r.Header.Set("X-Custom", "")
	by(t, r, credential, "host;x-amz-date;x-custom", hashOf(nil))
	expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), "", "")
	r.Header.Del("X-Custom")
	expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), "InvalidSignatureException", mismatchText)
}

func presignedTarget(expires string) string {
	return "/ListRooms?X-Amz-Algorithm=" + algorithm + "&X-Amz-Credential=" + url.QueryEscape(credential) +
		"&X-Amz-Date=" + stamp(testTime) + "&X-Amz-SignedHeaders=host" + expires
}

func TestPresignedExpires(t *testing.T) {
	const week = 7 * 24 * time.Hour
	const expired = "Signature expired: 20240522T121019Z is now earlier than "
	const tooLong = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
	for _, test := range []struct {
		expires string
		age     time.Duration
		saying  string // empty: accepted
	}{
		{"&X-Amz-Expires=604800", week, ""},
		{"&X-Amz-Expires=604800", week + time.Second, expired},
		{"&X-Amz-Expires=604801", 0, tooLong},
		{"&X-Amz-Expires=99999999999999999999", 0, tooLong},
		{"&X-Amz-Expires=-1", 0, "X-Amz-Expires must be non-negative"},
		{"&X-Amz-Expires=-", 0, "X-Amz-Expires should be a number"},
		{"&X-Amz-Expires=%2B5", 0, "X-Amz-Expires should be a number"},
		{"&X-Amz-Expires=1e3", 0, "X-Amz-Expires should be a number"},
		{"&X-Amz-Expires=0", 0, ""},
		{"&X-Amz-Expires=0", time.Second, expired},
		{"&X-Amz-Expires=90", 91 * time.Second, "Signature expired: 20240522T121019Z is now earlier than 20240522T121020Z (20240522T121150Z - 90 sec.)"},
		{"", 5 * time.Minute, ""},
		{"&X-Amz-Expires=", 5 * time.Minute, ""},
		{"", 5*time.Minute + time.Second, expired},
	} {
		t.Run(fmt.Sprintf("%s after %v", test.expires, test.age), func(t *testing.T) {
			r := request("POST", "/", nil)
			byQuery(t, r, presignedTarget(test.expires), hashOf(nil))
			name := ""
			if test.saying != "" {
				name = "InvalidSignatureException"
			}
			expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime.Add(test.age)), name, test.saying)
		})
	}
}

func TestSessionTokenAppendedToPresigned(t *testing.T) {
	r := request("POST", "/", nil)
	byQuery(t, r, presignedTarget(""), hashOf(nil))
	retarget(r, r.RequestURI+"&X-Amz-Security-Token=a%2Fb")
	expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), "", "")
	s, err := Parse(r)
	if err != nil || s.SessionToken != "a/b" {
		t.Errorf("got %+v, %v", s, err)
	}
	retarget(r, r.RequestURI+"&X-Amz-Security-Token=c")
	expect(t, authenticate(&Verifier{}, r, testSecret, nil, testTime), "InvalidSignatureException", mismatchText)
}

func TestLooseAuthorization(t *testing.T) {
	r := request("POST", "/ListRooms", nil)
	by(t, r, credential, "host;x-amz-date", hashOf(nil))
	_, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	for _, authorization := range []string{
		algorithm + " Credential=" + credential + ",SignedHeaders=host;x-amz-date,Signature=" + signature,
		"  " + algorithm + "   Signature=" + signature + " ,, Credential=" + credential + " , SignedHeaders=host;x-amz-date  ",
		algorithm + " Credential=x, Credential=" + credential + ", SignedHeaders=host;x-amz-date, Signature=" + signature + ", Other=1",
	} {
		r.Header.Set("Authorization", authorization)
		if err := authenticate(&Verifier{}, r, testSecret, nil, testTime); err != nil {
			t.Errorf("%s: %v", authorization, err)
		}
	}
}

func TestCheckScopeNeedsNoSignature(t *testing.T) {
	r := request("POST", "/ListRooms", nil)
	r.Header.Set("X-Amz-Date", stamp(testTime))
	r.Header.Set("Authorization", algorithm+" Credential=/20240522/us-west-2/ivschat/aws4_request, SignedHeaders=host, Signature=00")
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckScope(testService, served); err != nil {
		t.Error(err)
	}
	if s.AccessKey != "" || s.Region != testRegion || s.Service != testService || s.Date != "20240522" || !s.Time.Equal(testTime) {
		t.Errorf("got %+v", s)
	}
}

func TestTarget(t *testing.T) {
	for _, test := range []struct{ uri, path, query string }{
		{"/", "/", ""},
		{"/a%2Fb?c=d?e", "/a%2Fb", "c=d?e"},
		{"http://host:80/a/b?c", "/a/b", "c"},
		{"http://host?c", "/", "c"},
		{"http://host", "/", ""},
		{"/http://host/a", "/http://host/a", ""},
		{"//host/a", "//host/a", ""},
	} {
		r := request("GET", "/", nil)
		r.RequestURI = test.uri
		if path, query := target(r); path != test.path || query != test.query {
			t.Errorf("%s: got %q, %q", test.uri, path, query)
		}
	}
}

// TestPaths has what AWS's suite leaves open. Want is what botocore signs.
func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"": "/", "/": "/", "/..": "/", "/../../a": "/a", "/a/..": "/", "/a/b/..": "/a", "/a/b/../": "/a/",
		"/a/.": "/a", "/a/./": "/a/", "/a//b": "/a/b", "/%2e%2e/a": "/%252e%252e/a", "/a%20b": "/a%2520b",
		"/tags/arn%3Aaws": "/tags/arn%253Aaws", "/tags/arn:aws/x": "/tags/arn%3Aaws/x", "/a+b": "/a%2Bb", "/~a_-.": "/~a_-.",
	} {
		if got := string(appendPath(nil, path, false)); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

// TestMemoryIsBounded: the list of signed headers cannot make a large request larger,
// and derived keys are forgotten.
func TestMemoryIsBounded(t *testing.T) {
	t.Run("canonical request", func(t *testing.T) {
		r := request("POST", "/", nil)
		r.Header.Set("X-Amz-Date", stamp(testTime))
		r.Header.Set("X", strings.Repeat("x", 1<<16))
		r.Header.Set("Authorization", algorithm+" Credential="+credential+", SignedHeaders=host"+strings.Repeat(";x", 1<<16)+", Signature=0")
		s, err := Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := s.appendCanonical(nil, "", form{}); ok || len(b) > 1<<18 {
			t.Errorf("got %d bytes, %v", len(b), ok)
		}
	})
	t.Run("derived keys", func(t *testing.T) {
		var v Verifier
		for i := range 3 * generation {
			v.remember(derivation{accessKey: fmt.Sprint(i)}, key{})
			v.recall(derivation{accessKey: "0"}) // in use, so kept
		}
		if n := len(v.young) + len(v.old); n > 2*generation {
			t.Errorf("got %d keys, want at most %d", n, 2*generation)
		}
		if _, ok := v.recall(derivation{accessKey: "0"}); !ok {
			t.Error("a key in use is forgotten")
		}
		if _, ok := v.recall(derivation{accessKey: "1"}); ok {
			t.Error("a key not in use is remembered")
		}
	})
	t.Run("only keys that verified", func(t *testing.T) {
		var v Verifier
		r := request("POST", "/ListRooms", nil)
		by(t, r, credential, "host;x-amz-date", hashOf(nil))
		if err := authenticate(&v, r, "another", nil, testTime); err == nil || len(v.young) != 0 {
			t.Errorf("got %v and %d keys", err, len(v.young))
		}
		if err := authenticate(&v, r, testSecret, nil, testTime); err != nil || len(v.young) != 1 {
			t.Errorf("got %v and %d keys", err, len(v.young))
		}
		for d := range maps.Keys(v.young) {
			if d.accessKey != testKey || strings.Contains(fmt.Sprint(d), testSecret) {
				t.Errorf("got %v", d)
			}
		}
	})
}

// TestRotatedSecret: a secret that was replaced is not good any more, cached or not.
func TestRotatedSecret(t *testing.T) {
	var v Verifier
	r := request("POST", "/ListRooms", nil)
	by(t, r, credential, "host;x-amz-date", hashOf(nil))
	for range 2 {
		expect(t, authenticate(&v, r, testSecret, nil, testTime), "", "")
		expect(t, authenticate(&v, r, "rotated", nil, testTime), "InvalidSignatureException", mismatchText)
	}
}

func TestConcurrentUse(t *testing.T) {
	var v Verifier
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 200 {
				r := request("POST", "/ListRooms", nil)
				c := fmt.Sprintf("key%d/20240522/us-west-2/ivschat/aws4_request", (i+j)%5)
				by(t, r, c, "host;x-amz-date", hashOf(nil))
				if err := authenticate(&v, r, testSecret, nil, testTime); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
