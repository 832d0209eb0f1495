package sigv4

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// read reads a request as a server does.
func read(t testing.TB, wire string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
	if err != nil {
		t.Fatalf("%v:\n%s", err, wire)
	}
	return r
}

// TestSDKSigner has the official Go SDK sign what its clients send.
func TestSDKSigner(t *testing.T) {
	for _, test := range []struct{ method, target, body string }{
		{"POST", "/CreateRoom", `{"name":"lobby ✓"}`},
		{"POST", "/ListRooms", ""},
		{"GET", "/tags/arn%3Aaws%3Aivschat%3Aus-west-2%3A123456789012%3Aroom%2FAbCdEf123456", ""},
		{"POST", "/tags/arn%3Aaws%3Aivschat%3Aus-west-2%3A123456789012%3Aroom%2FAbCdEf123456", `{"tags":{"a":"b"}}`},
		{"DELETE", "/tags/arn%3Aaws%3Aivschat%3Aus-west-2%3A123456789012%3Aroom%2FAbCdEf123456?tagKeys=b%2Fc&tagKeys=a%20%2B&tagKeys=%C3%A9&tagKeys=", ""},
		{"GET", "/tags/arn:aws:ivschat:us-west-2:123456789012:room/AbCdEf123456", ""},
	} {
		for _, token := range []string{"", testToken} {
			for _, presign := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s token=%v presigned=%v", test.method, test.target, token != "", presign), func(t *testing.T) {
					body := []byte(test.body)
					r := onTheWire(t, bySDK(t, request(test.method, test.target, body), body, token, presign), body)
					if err := authenticate(&Verifier{}, r, testSecret, body, testTime); err != nil {
						t.Errorf("%v\n%s %s %v", err, r.Method, r.RequestURI, r.Header)
					}
					if s, err := Parse(r); err != nil || s.SessionToken != token || s.Presigned != presign {
						t.Errorf("got %+v, %v", s, err)
					}
				})
			}
		}
	}
}

// TestBotocore has botocore sign; testdata/sign.py says what.
func TestBotocore(t *testing.T) {
	python := ""
	for _, candidate := range []string{"python3", "/usr/bin/python3"} { // a Python beside Debian's does not see its packages
		if exec.Command(candidate, "-c", "import botocore").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		missing(t, "botocore")
	}
	out, err := exec.CommandContext(t.Context(), python, "-B", "testdata/sign.py", testKey, testSecret, testToken, testService, testRegion).Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var signed []struct {
		Name, Wire, Body string
		Refused          bool
	}
	if err := json.Unmarshal(out, &signed); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := len(signed), 18; got != want {
		t.Errorf("got %d requests, want %d", got, want)
	}
	for _, test := range signed {
		t.Run(test.Name, func(t *testing.T) {
			r := read(t, test.Wire)
			s, err := Parse(r)
			if err != nil {
				t.Fatalf("%v:\n%s", err, test.Wire)
			}
			err = authenticate(&Verifier{}, r, testSecret, []byte(test.Body), s.Time)
			if test.Refused {
				expect(t, err, "InvalidSignatureException", mismatchText)
			} else if err != nil {
				canonical, _ := s.appendCanonical(nil, hashOf([]byte(test.Body)), form{})
				t.Errorf("%v:\n%s\n%s", err, test.Wire, canonical)
			}
			if err := authenticate(&Verifier{}, r, testSecret, []byte(test.Body+"x"), s.Time); err == nil {
				t.Error("another body verifies")
			}
		})
	}
}

// TestAnyRequestOfTheSDK: whatever the SDK signs verifies, and no longer does once a bit
// of its signature or its body is turned.
func TestAnyRequestOfTheSDK(t *testing.T) {
	// The SDK signs paths as they are, so there is nothing here to normalise.
	segment := rapid.StringN(1, 12, -1).Filter(func(s string) bool { return s != "." && s != ".." })
	blanks := rapid.StringMatching(`[!-~éß]{1,6}([ ]{1,3}[!-~]{1,6}){0,3}`)
	rapid.Check(t, func(rt *rapid.T) {
		target := ""
		for _, s := range rapid.SliceOfN(segment, 1, 4).Draw(rt, "path") {
			target += "/" + url.PathEscape(s)
		}
		query := url.Values(rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.String(), 1, 3), 0, 4).Draw(rt, "query"))
		if len(query) > 0 {
			target += "?" + query.Encode()
		}
		body := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "body")
		r := request(rapid.SampledFrom([]string{"GET", "POST", "DELETE", "PUT"}).Draw(rt, "method"), target, body)
		for i, values := range rapid.SliceOfN(rapid.SliceOfN(blanks, 1, 3), 0, 3).Draw(rt, "headers") {
			r.Header[fmt.Sprintf("X-Custom%d", i)] = values
		}
		token := rapid.SampledFrom([]string{"", testToken}).Draw(rt, "token")
		r = onTheWire(t, bySDK(t, r, body, token, rapid.Bool().Draw(rt, "presigned")), body)

		var v Verifier
		s, err := Parse(r)
		if err != nil {
			rt.Fatal(err)
		}
		if err := s.Check(testService, served, testTime); err != nil {
			rt.Fatal(err)
		}
		if err := v.Verify(s, testSecret, body); err != nil {
			canonical, _ := s.appendCanonical(nil, hashOf(body), form{})
			rt.Fatalf("%v:\n%s %s %q\n%s", err, r.Method, r.RequestURI, r.Header, canonical)
		}
		provided := s.provided
		at := rapid.IntRange(0, 8*len(provided)-1).Draw(rt, "bit of the signature")
		s.provided = string(turned([]byte(provided), at))
		if v.Verify(s, testSecret, body) == nil {
			rt.Errorf("signature %s verifies, as %s does", s.provided, provided)
		}
		s.provided = provided
		if len(body) > 0 {
			at := rapid.IntRange(0, 8*len(body)-1).Draw(rt, "bit of the body")
			if v.Verify(s, testSecret, turned(body, at)) == nil {
				rt.Errorf("a body with bit %d turned verifies", at)
			}
		}
	})
}

func turned(b []byte, bit int) []byte {
	b = append([]byte(nil), b...)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}
