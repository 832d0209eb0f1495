package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	testKey     = "AKIDEXAMPLE"
	testSecret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	testToken   = "IQoJb3JpZ2luX2VjE//Example+Token=="
	testRegion  = "us-west-2"
	testService = "ivschat"
)

// testTime is in the example of an expired signature that AWS's messages are known by.
var testTime = time.Date(2024, 5, 22, 12, 10, 19, 0, time.UTC)

func served(region string) bool { return region == testRegion || region == "eu-west-1" }

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// authenticate does what a server does.
func authenticate(v *Verifier, r *http.Request, secret string, body []byte, now time.Time) error {
	s, err := Parse(r)
	if err != nil {
		return err
	}
	if err := s.Check(testService, served, now); err != nil {
		return err
	}
	return v.Verify(s, secret, body)
}

// request is one as a server receives it.
func request(method, target string, body []byte) *http.Request {
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	r.Host = "chat.example.com:4870"
	r.Header.Set("Content-Type", "application/json")
	if len(body) > 0 {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return r
}

// retarget changes the target of a received request.
func retarget(r *http.Request, uri string) {
	r.RequestURI = uri
	path, query, _ := strings.Cut(uri, "?")
	r.URL = &url.URL{Path: path, RawPath: path, RawQuery: query}
}

// bySDK signs a request as the official SDK does and gives it as it is received.
func bySDK(t testing.TB, r *http.Request, body []byte, token string, presign bool) *http.Request {
	t.Helper()
	credentials := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token}
	r = r.Clone(t.Context())
	r.URL.Scheme, r.URL.Host = "http", r.Host
	if !presign {
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hashOf(body), testService, testRegion, testTime); err != nil {
			t.Fatal(err)
		}
		r.RequestURI = r.URL.RequestURI()
		return r
	}
	signed, header, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, r, hashOf(body), testService, testRegion, testTime)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	out := r.Clone(t.Context())
	out.Header, out.URL, out.RequestURI = header, u, u.RequestURI()
	out.Header.Del("Host")
	return out
}

// onTheWire sends a request through net/http's writer and reader.
func onTheWire(t testing.TB, r *http.Request, body []byte) *http.Request {
	t.Helper()
	r = r.Clone(t.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	return read(t, wire.String())
}

// by signs a request with a credential and headers of the test's choice, right or
// wrong, over the hash it is given.
func by(t testing.TB, r *http.Request, credential, signedHeaders, bodyHash string) {
	t.Helper()
	if r.Header.Get("X-Amz-Date") == "" && r.Header.Get("Date") == "" {
		r.Header.Set("X-Amz-Date", stamp(testTime))
	}
	prefix := algorithm + " Credential=" + credential + ", SignedHeaders=" + signedHeaders + ", Signature="
	r.Header.Set("Authorization", prefix+"0")
	r.Header.Set("Authorization", prefix+signatureOf(t, r, bodyHash))
}

// byQuery presigns a request; target is without the signature.
func byQuery(t testing.TB, r *http.Request, target, bodyHash string) {
	t.Helper()
	retarget(r, target+"&X-Amz-Signature=0")
	retarget(r, target+"&X-Amz-Signature="+signatureOf(t, r, bodyHash))
}

func signatureOf(t testing.TB, r *http.Request, bodyHash string) string {
	t.Helper()
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	canonical, ok := s.appendCanonical(nil, bodyHash, form{})
	if !ok {
		return strings.Repeat("0", 64)
	}
	k := derive(testSecret, s.Date, s.Region, s.Service)
	signature := sign(k[:], s.appendStringToSign(nil, canonical))
	return hex.EncodeToString(signature[:])
}
