package main

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
)

// What answers need not be a Parlor. The scripts have the errors of one that is.
func TestHints(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "123456789012")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	list := func(t *testing.T, e *endpointFlag) error {
		api, err := e.client(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
		return err
	}
	describe := func(t *testing.T, e *endpointFlag) error {
		api, err := e.client(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = describeToken(t.Context(), api.Options(), e.Endpoint, "x")
		return err
	}
	answer := func(status int, name, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if name != "" {
				w.Header().Set("X-Amzn-ErrorType", name)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const page = "<html>It works!</html>"
	for name, test := range map[string]struct {
		server http.HandlerFunc
		call   func(*testing.T, *endpointFlag) error
		text   string
		hint   string // part of it
	}{
		"a page": {answer(200, "", page), list,
			"the answer to ListRooms is HTTP 200, and not the API's", "is no Parlor"},
		"a page for a token": {answer(200, "", page), describe,
			"the answer to DescribeToken is HTTP 200, and not the API's", "is no Parlor"},
		"not found by others": {answer(404, "", page), list,
			"the answer to ListRooms is HTTP 404, and not the API's", "is no Parlor"},
		"not found by others for a token": {answer(404, "", page), describe,
			"the answer to DescribeToken is HTTP 404, and not the API's", "is no Parlor"},
		"unknown operation": {answer(404, "UnknownOperationException", `{"message":"The requested operation does not exist."}`), describe,
			"The requested operation does not exist (DescribeToken: UnknownOperationException)", "older than this program"},
		"name with a link": {answer(403, "AccessDeniedException:http://internal.amazon.com/", `{"message":"No."}`), describe,
			"No (DescribeToken: AccessDeniedException)", "The policy of the access key"},
		"late clock": {answer(403, "InvalidSignatureException", `{"message":"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"}`), list,
			"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z (ListRooms: InvalidSignatureException)", "The clock of this machine"},
		"too often": {answer(429, "ThrottlingException", `{"message":"Rate exceeded"}`), describe,
			"Rate exceeded (DescribeToken: ThrottlingException)", "try again in a moment"},
		"a name that nobody knows": {answer(418, "TeapotException", `{"message":"short"}`), list,
			"short (ListRooms: TeapotException)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(test.server)
			defer s.Close()
			err := test.call(t, &endpointFlag{Endpoint: s.URL})
			if err == nil {
				t.Fatal("got no error")
			}
			if got := plain(err); got != test.text {
				t.Errorf("got text %q, want %q", got, test.text)
			}
			if got := hint(err); !strings.Contains(got, test.hint) || test.hint == "" && got != "" {
				t.Errorf("got hint %q, want %q in it", got, test.hint)
			}
		})
	}
}

func TestPlainKeepsWhatIsAround(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	at := s.URL
	s.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "123456789012")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	api, err := (&endpointFlag{Endpoint: at}).client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
	got := plain(fmt.Errorf("import: %w; to go on, import again", err))
	want := "import: " + at + ": dial tcp " + strings.TrimPrefix(at, "http://") + ": connect: connection refused; to go on, import again"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain":         "plain",
		`a "b" \n`:      `a "b" \n`,
		"ü 漢 🎉":         "ü 漢 🎉",
		"\x1b[2Jx":      `\x1b[2Jx`,
		"a\tb\nc\rd":    `a\tb\nc\rd`,
		"\u009b1m":      `\u009b1m`,
		"\u202ex\u200b": `\u202ex\u200b`,
		"\xff\"":        `\xff"`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q): got %q, want %q", text, got, want)
		}
	}
	if got, want := printableLines("a\x1b\nb\tc\r\n"), "a\\x1b\nb    c\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCertificateHint(t *testing.T) {
	for want, names := range map[string][]string{"subjectAltName": nil, "is for another name": {"parlor.example"}} {
		err := x509.HostnameError{Certificate: &x509.Certificate{DNSNames: names}, Host: "localhost"}
		if got := certificateHint(fmt.Errorf("tls: %w", err), "--endpoint"); !strings.Contains(got, want) {
			t.Errorf("names %q: got %q, want %q in it", names, got, want)
		}
	}
}
