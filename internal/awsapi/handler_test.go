package awsapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// records are the log records of a fixture, one map each.
func (f *fixture) records(t *testing.T) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(f.logged.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, record)
	}
	return out
}

// TestEveryAnswer looks at what all answers have, whatever was asked.
func TestEveryAnswer(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	tests := []struct {
		name   string
		r      *http.Request
		status int
		json   bool
	}{
		{"success", newRequest("POST", "/GetRoom", `{"identifier":"`+room+`"}`), 200, true},
		{"nothing to say", newRequest("POST", "/TagResource", ``), 404, true},
		{"empty output", newRequest("POST", "/tags/"+room, `{"tags":{}}`), 200, true},
		{"fault", newRequest("POST", "/GetRoom", `{}`), 400, true},
		{"unsigned", httptest.NewRequest("POST", "/GetRoom", nil), 403, true},
		{"preflight", newRequest("OPTIONS", "/GetRoom", ``), 200, false},
		{"no content", newRequest("POST", "/DeleteRoom", `{"identifier":"`+room+`"}`), 204, false},
	}
	seen := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			f.ServeHTTP(w, test.r)
			if w.Code != test.status {
				t.Errorf("status: got %d, want %d", w.Code, test.status)
			}
			id := w.Header().Get("x-amzn-RequestId")
			if !requestIDForm.MatchString(id) || seen[id] {
				t.Errorf("request id %q is no fresh UUID", id)
			}
			seen[id] = true
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("allowed origin: got %q, want *", got)
			}
			if got := w.Header().Get("Access-Control-Expose-Headers"); !strings.Contains(got, "x-amzn-errortype") || !strings.Contains(got, "x-amzn-requestid") {
				t.Errorf("exposed headers: got %q", got)
			}
			if got := w.Header().Get("Content-Type") == "application/json" && json.Valid(w.Body.Bytes()); got != test.json {
				t.Errorf("JSON: got %v, want %v: %s", got, test.json, w.Body)
			}
			if !test.json && w.Body.Len() > 0 {
				t.Errorf("body: got %q, want none", w.Body)
			}
		})
	}
}

func TestBodyIsBounded(t *testing.T) {
	f := newFixture(t)
	pad := func(n int) string { return `{"x":"` + strings.Repeat("a", n-len(`{"x":""}`)) + `"}` }
	if w := f.post("ListRooms", pad(maxBody)); w.Code != http.StatusOK {
		t.Errorf("the largest body: got %d %s, want 200", w.Code, w.Body)
	}
	w := f.post("ListRooms", pad(maxBody+1))
	if e := errorOf(t, w); w.Code != http.StatusRequestEntityTooLarge || e.Type != "RequestEntityTooLargeException" {
		t.Errorf("a byte more: got %d %s, want 413", w.Code, w.Body)
	}
	// A stranger's is not read at all.
	r := httptest.NewRequest("POST", "/ListRooms", strings.NewReader(pad(maxBody+1)))
	w = httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("unsigned: got %d, want 403", w.Code)
	}
	if rest, _ := io.Copy(io.Discard, r.Body); rest != maxBody+1 {
		t.Errorf("unsigned: %d bytes were left unread, want all %d", rest, maxBody+1)
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	f := newFixture(t)
	r := newRequest("POST", "/CreateRoom", `{}`)
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{`), brokenReader{}))
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Type != "SerializationException" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if len(f.store.rooms) != 0 {
		t.Error("a room was made of half a request")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestNestingIsCheap sends as many brackets as a body holds.
func TestNestingIsCheap(t *testing.T) {
	f := newFixture(t)
	for _, body := range []string{
		`{"x":` + strings.Repeat("[", maxBody-5),
		strings.Repeat(`{"x":`, maxBody/5),
		`{"messageReviewHandler":` + strings.Repeat(`{"uri":`, maxBody/8),
		`{"destinationConfiguration":` + strings.Repeat(`{"s3":`, maxBody/8),
		strings.Repeat("[", maxBody),
	} {
		start := time.Now()
		w := f.post("CreateLoggingConfiguration", body)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%.30s: got %d, want 400", body, w.Code)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%.30s took %v", body, took)
		}
	}
}

func TestInternalErrorsStayInTheLog(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	f.store.err = errors.New("disk on fire")
	w := f.post("GetRoom", `{"identifier":"`+room+`"}`)
	if e := errorOf(t, w); w.Code != http.StatusInternalServerError || e.Type != "InternalServerException" || e.Message != internalText {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("x-amzn-ErrorType"); got != "InternalServerException" {
		t.Errorf("error type: got %q", got)
	}
	records := f.records(t)
	last := records[len(records)-1]
	if last["cause"] != "disk on fire" || last["level"] != "ERROR" || last["error"] != "InternalServerException" {
		t.Errorf("record: got %v", last)
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	f.store.panics = "a bug"
	w := f.post("GetRoom", `{"identifier":"`+room+`"}`)
	if e := errorOf(t, w); w.Code != http.StatusInternalServerError || e.Message != internalText {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	records := f.records(t)
	last := records[len(records)-1]
	if stack, _ := last["stack"].(string); last["cause"] != "panic: a bug" || !strings.Contains(stack, "getRoom") {
		t.Errorf("record: got %v", last)
	}
	f.store.panics = nil
	if w := f.post("GetRoom", `{"identifier":"`+room+`"}`); w.Code != http.StatusOK {
		t.Errorf("afterwards: got %d, want 200", w.Code)
	}
}

func TestAbortHandlerIsNotCaught(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	f.store.panics = http.ErrAbortHandler
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("got %v, want http.ErrAbortHandler", got)
		}
	}()
	f.post("GetRoom", `{"identifier":"`+room+`"}`)
}

// TestOneRecordPerRequest holds the log to what it may say.
func TestOneRecordPerRequest(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{"name":"secretname","tags":{"secrettag":"secretvalue"}}`)
	secrets := []string{"secretname", "secrettag", "secretvalue", "secretuser", "secretkey", "secretattribute", "secretreason", "AKIDEXAMPLE", room}
	w := f.post("CreateChatToken", `{"roomIdentifier":"`+room+`","userId":"secretuser","attributes":{"secretkey":"secretattribute"}}`)
	var token struct{ Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, token.Token)
	f.post("DisconnectUser", `{"roomIdentifier":"`+room+`","userId":"secretuser","reason":"secretreason"}`)
	f.post("CreateRoom", `{"name":"secretname !"}`)
	f.post("CreateRoom", `{"name":"secretname`)
	f.post("secretname", ``)

	records := f.records(t)
	type row struct{ operation, status, err string }
	var got []row
	for _, r := range records {
		name, _ := r["error"].(string)
		got = append(got, row{r["operation"].(string), http.StatusText(int(r["status"].(float64))), name})
		for _, key := range []string{"request_id", "account", "region", "duration", "remote", "time", "level", "msg"} {
			if _, ok := r[key]; !ok {
				t.Errorf("record without %s: %v", key, r)
			}
		}
		if r["account"] != testAccount || r["region"] != testRegion {
			t.Errorf("record of %v %v", r["account"], r["region"])
		}
	}
	want := []row{
		{"CreateRoom", "OK", ""},
		{"CreateChatToken", "OK", ""},
		{"DisconnectUser", "OK", ""},
		{"CreateRoom", "Bad Request", "ValidationException"},
		{"CreateRoom", "Bad Request", "SerializationException"},
		{"Unknown", "Not Found", "UnknownOperationException"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("records: got %v, want %v", got, want)
	}
	for _, secret := range secrets {
		if strings.Contains(f.logged.String(), secret) {
			t.Errorf("the log says %q", secret)
		}
	}
}

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	f.post("CreateRoom", `{}`)
	f.post("CreateRoom", `{}`)
	f.post("CreateRoom", `[]`)
	f.post("x", ``)
	f.ServeHTTP(httptest.NewRecorder(), newRequest("OPTIONS", "/y", ""))
	const want = `
# HELP parlor_api_requests_total API requests (the control plane) that were answered, by operation as the API names it (CreateRoom; Unknown for what is none, Preflight for CORS) and HTTP status as code.
# TYPE parlor_api_requests_total counter
parlor_api_requests_total{code="200",operation="CreateRoom"} 2
parlor_api_requests_total{code="400",operation="CreateRoom"} 1
parlor_api_requests_total{code="404",operation="Unknown"} 1
parlor_api_requests_total{code="200",operation="Preflight"} 1
`
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "parlor_api_requests_total"); err != nil {
		t.Error(err)
	}
	if got := testutil.CollectAndCount(f.seconds, "parlor_api_request_seconds"); got != 3 {
		t.Errorf("histograms: got %d, want 3", got)
	}
}

// TestRawPaths speaks to a real server by hand: no path is redirected, and nothing is
// anything but JSON.
func TestRawPaths(t *testing.T) {
	f := newFixture(t)
	room := f.created(t, "CreateRoom", `{}`)
	server := httptest.NewServer(f)
	defer server.Close()
	tests := []struct {
		name, target string
		status       int
	}{
		{"escaped", "/tags/" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(room), 200},
		{"escaped in lower case", "/tags/" + strings.NewReplacer(":", "%3a", "/", "%2f").Replace(room), 200},
		{"escaped in part", "/tags/" + strings.Replace(room, ":", "%3A", 1), 200},
		{"raw", "/tags/" + room, 200},
		{"two slashes", "//tags/" + room, 404},
		{"two slashes before the label", "/tags//" + room, 400},
		{"dots", "/tags/../tags/" + room, 400},
		{"a slash at the end", "/tags/" + room + "/", 400},
		{"an escaped slash after tags", "/tags%2F" + room, 404},
		{"not UTF-8", "/tags/%ff", 400},
		{"NUL", "/tags/%00", 400},
		{"absolute", "http://x/tags/" + room, 200},
		{"nothing", "/", 404},
		{"a star", "*", 404},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET "+test.target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Amz-Date: 20260102T030405Z\r\nAuthorization: "+testAuthorization+"\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !json.Valid(body) {
				t.Errorf("body %q (%v)", body, err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("status: got %d, want %d: %s", resp.StatusCode, test.status, body)
			}
		})
	}
}

// TestDecodeAgreesWithEncodingJSON has two decoders read what is valid for both.
func TestDecodeAgreesWithEncodingJSON(t *testing.T) {
	for _, body := range syntaxSeeds {
		checkSyntax(t, []byte(body))
	}
}

// checkSyntax holds the decoder's idea of JSON against that of encoding/json, which
// also takes what is not Unicode.
func checkSyntax(t *testing.T, body []byte) {
	t.Helper()
	var in createRoomInput
	err := decodeJSON(body, &in)
	switch e, _ := err.(*apiError); {
	case e == errSyntax:
		if json.Valid(body) && !bytes.Contains(bytes.ToLower(body), []byte(`\ud`)) {
			t.Errorf("refused: %q", body)
		}
	case err == nil:
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Errorf("accepted: %q", body)
		}
	}
}

var syntaxSeeds = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":-0}`, `{"a":-}`, `{"a":1.}`, `{"a":.1}`, `{"a":1e+}`, `{"a":1E-5}`, `{"a":00}`,
	`{"a":tru}`, `{"a":nul}`, `{"a":nullx}`, `{"name":nullx}`, `{"a":[1,2,]}`, `{"a":[,]}`, `{"a":{"b":}}`, `{"a" : "\u00e9"}`,
	`{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, `{"a":"\ud83dx"}`, `{"a":"\u+123"}`, `{"a":"\u00"`, `{"a":"\`, `{"a":"`, `{"`, `{`, ``,
	"{\"a\":\"\x7f\"}", "{\"a\":\"\x1f\"}", "{\"a\":\"\xed\xa0\x80\"}", "\v{}", `[]`, `"a"`, `1`, `null`, `{"tags":{"a":"b","a":"c"}}`,
}
