package sigv4

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suite is AWS's own test suite: 38 cases, each signed in both forms. It is beside the
// repository.
const suite = "../../../shared/aws-sigv4-suite"

// suiteContext is a case's context.json.
type suiteContext struct {
	Credentials struct {
		Key    string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
		Token  string `json:"token"`
	} `json:"credentials"`
	Normalize bool      `json:"normalize"`
	OmitToken bool      `json:"omit_session_token"`
	Region    string    `json:"region"`
	Service   string    `json:"service"`
	Timestamp time.Time `json:"timestamp"`
}

func TestSuite(t *testing.T) {
	cases, err := filepath.Glob(suite + "/*/context.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		missing(t, "AWS's signature suite (shared/aws-sigv4-suite)")
	}
	if got, want := len(cases), 38; got != want {
		t.Errorf("got %d cases, want %d", got, want)
	}
	for _, name := range cases {
		dir := filepath.Dir(name)
		for _, kind := range []string{"header", "query"} {
			t.Run(filepath.Base(dir)+"/"+kind, func(t *testing.T) { runSuite(t, dir, kind) })
		}
	}
}

func runSuite(t *testing.T, dir, kind string) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var c suiteContext
	if err := json.Unmarshal([]byte(read("context.json")), &c); err != nil {
		t.Fatal(err)
	}
	text := read(kind + "-signed-request.txt")
	r, body := received(t, text)
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if s.AccessKey != c.Credentials.Key || s.SessionToken != c.Credentials.Token || s.Presigned != (kind == "query") {
		t.Errorf("got %+v", s)
	}

	canonical, ok := s.appendCanonical(nil, hashOf(body), form{keepPath: !c.Normalize, omitToken: s.Presigned && c.OmitToken})
	if got, want := string(canonical), read(kind+"-canonical-request.txt"); !ok || got != want {
		t.Errorf("canonical request: got\n%s\nwant\n%s", got, want)
	}
	toSign := s.appendStringToSign(nil, canonical)
	if got, want := string(toSign), read(kind+"-string-to-sign.txt"); got != want {
		t.Errorf("string to sign: got\n%s\nwant\n%s", got, want)
	}
	k := derive(c.Credentials.Secret, s.Date, s.Region, s.Service)
	signature := sign(k[:], toSign)
	if got, want := hex.EncodeToString(signature[:]), read(kind+"-signature.txt"); got != want || s.provided != want {
		t.Errorf("signature: got %s, and %s in the request; want %s", got, s.provided, want)
	}

	verify := func(r *http.Request, body []byte) {
		t.Helper()
		s, err := Parse(r)
		if err == nil {
			err = s.Check(c.Service, func(region string) bool { return region == c.Region }, c.Timestamp)
		}
		v := Verifier{KeepPaths: !c.Normalize}
		if err == nil {
			err = v.Verify(s, c.Credentials.Secret, body)
		}
		if err != nil {
			t.Error(err)
		}
		if s != nil && (v.Verify(s, c.Credentials.Secret+"x", body) == nil || v.Verify(s, c.Credentials.Secret, append(body, 'x')) == nil) {
			t.Error("another secret or body verifies")
		}
	}
	verify(r, body)
	// What net/http can read by itself verifies as it reads it. It takes no raw spaces.
	if r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text))); err == nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		verify(r, body)
	} else if !strings.Contains(dir, "space") {
		t.Errorf("net/http: %v", err)
	}
}

// received makes a request of its text on the wire, whatever the target looks like.
func received(t testing.TB, text string) (*http.Request, []byte) {
	t.Helper()
	in := bufio.NewReader(strings.NewReader(text))
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimSpace(line)
	method, line, _ := strings.Cut(line, " ")
	uri := line[:strings.LastIndexByte(line, ' ')]
	header, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(uri, "?")
	r := &http.Request{
		Method: method, RequestURI: uri, Host: header.Get("Host"), Header: http.Header(header),
		URL:           &url.URL{Path: path, RawPath: path, RawQuery: query},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	r.Header.Del("Host")
	return r, body
}

// missing ends a test that lacks something: on a developer's machine it skips, in CI it
// fails.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: not there, which CI must have", what)
	}
	t.Skipf("%s: not there", what)
}
