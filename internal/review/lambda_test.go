package review

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// patience is a generous bound of what takes Timeout.
const patience = 2 * time.Second

// fault is an answer of Lambda's own.
func fault(status int, name string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-Errortype", name)
		says(status, `{"Type":"User","message":"no"}`)(w, r)
	}
}

// functionError is the answer of a function that failed.
func functionError(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		says(http.StatusOK, body)(w, r)
	}
}

// outcomes are answers, and what becomes of them. Webhooks have them too, where only
// status and body matter.
var outcomes = []struct {
	name   string
	answer func(http.ResponseWriter, *http.Request)
	lambda bool // Lambda's alone
	want   string
	why    why
}{
	{name: "allow", answer: says(200, allowed), want: `{"Allow":true,"Content":"hello","Attributes":null}`},
	{name: "allow, rewritten", answer: says(200, `{"Content":"h***o \u00e9","ReviewResult":"ALLOW","Attributes":{"a":"b"}}`),
		want: `{"Allow":true,"Content":"h***o é","Attributes":{"a":"b"}}`},
	{name: "allow, attributes dropped", answer: says(200, `{"Content":"x","ReviewResult":"ALLOW","Attributes":{}}`), want: `{"Allow":true,"Content":"x","Attributes":{}}`},
	{name: "allow, attributes null", answer: says(200, `{"Content":"x","ReviewResult":"ALLOW","Attributes":null}`), want: `{"Allow":true,"Content":"x","Attributes":null}`},
	{name: "deny", answer: says(200, `{"Content":"","ReviewResult":"DENY","Attributes":{"Reason":"rude"}}`), want: `{"Allow":false,"Content":"","Attributes":{"Reason":"rude"}}`},
	{name: "deny, bare", answer: says(200, `{"ReviewResult":"DENY"}`), want: `{"Allow":false,"Content":"","Attributes":null}`},
	{name: "unknown members", answer: says(200, `{"ReviewResult":"DENY","More":[1]}`), want: `{"Allow":false,"Content":"","Attributes":null}`},

	{name: "hangs", answer: hangs, why: whyTimeout},
	{name: "hangs in the middle", answer: drips, why: whyTimeout},
	{name: "resets", answer: resets, why: whyError},
	{name: "closes", answer: closes, why: whyError},
	{name: "throttled", answer: fault(429, "TooManyRequestsException"), why: whyError},
	{name: "missing", answer: fault(404, "ResourceNotFoundException"), why: whyError},
	{name: "not permitted", answer: fault(403, "AccessDeniedException"), why: whyError},
	{name: "service fault", answer: fault(500, "ServiceException"), why: whyError},
	{name: "fault that is no JSON", answer: says(500, "<html>"), why: whyError},
	{name: "fault that is too long", answer: says(500, strings.Repeat(" ", 1<<20)), why: whyError},
	{name: "redirect", answer: func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, why: whyError},
	{name: "function error", answer: functionError(`{"errorMessage":"boom"}`), lambda: true, why: whyError},
	{name: "function error with a good answer", answer: functionError(allowed), lambda: true, why: whyError},
	{name: "function error that is too long", answer: functionError(strings.Repeat("a", 1<<20)), lambda: true, why: whyError},

	{name: "garbage", answer: says(200, "{garbage"), why: whyInvalid},
	{name: "empty", answer: says(200, ""), why: whyInvalid},
	{name: "too long", answer: says(200, allowed+strings.Repeat(" ", maxAnswer-len(allowed)+1)), why: whyInvalid},
	{name: "as long as may be", answer: says(200, allowed+strings.Repeat(" ", maxAnswer-len(allowed))), want: `{"Allow":true,"Content":"hello","Attributes":null}`},
	{name: "much too long", answer: says(200, strings.Repeat("a", 1<<20)), why: whyInvalid},
	{name: "not usable", answer: says(200, `{"ReviewResult":"ALLOW","Content":"unusable"}`), why: whyInvalid},
	{name: "wrong result", answer: says(200, `{"ReviewResult":"MAYBE","Content":"x"}`), why: whyInvalid},
	{name: "bad attributes", answer: says(200, `{"ReviewResult":"ALLOW","Content":"x","Attributes":{"a":1}}`), why: whyInvalid},
}

// fussy is what the core does: some answers are not usable.
func fussy(v *chat.Verdict) error {
	if v.Content == "unusable" {
		return errors.New("not usable")
	}
	return nil
}

// expect asks once, and holds the result and what is counted to what they should be.
func (r *rig) expect(t *testing.T, want string, wantWhy why) {
	t.Helper()
	begun := time.Now()
	v, err := r.Review(t.Context(), testARN, []byte(payload), fussy)
	took := time.Since(begun)
	if got := r.whyOf(err); got != wantWhy || got == "" && verdict(v) != want {
		t.Errorf("got %s, %v, want %s, %q", verdict(v), err, want, wantWhy)
	}
	if took > patience || wantWhy == whyTimeout && took < Timeout {
		t.Errorf("it took %s", took)
	}
	counts := map[string]int{}
	switch wantWhy {
	case "":
		counts["seconds"] = 1
	case whyInvalid:
		counts["response_validation_errors"] = 1
	default:
		counts[string(wantWhy)] = 1
	}
	got := r.counted()
	if wantWhy == whyInvalid { // an answer, but for one that was not read to its end
		delete(got, "seconds")
	}
	if diff := cmp.Diff(got, counts); diff != "" {
		t.Errorf("counted (-got +want)\n%s", diff)
	}
	if wantWhy != "" && (!strings.Contains(r.log.String(), "why="+string(wantWhy)) || !strings.Contains(r.log.String(), testARN)) {
		t.Errorf("got log %q", r.log.String())
	}
	for _, secret := range []string{"hello", "unusable", "rude", "garbage", "MAYBE", testSecret, "Credential"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log says %q: %s", secret, r.log.String())
		}
	}
}

func TestLambda(t *testing.T) {
	for _, test := range outcomes {
		t.Run(test.name, func(t *testing.T) {
			e := startLambda(t, test.answer)
			newRig(t).expect(t, test.want, test.why)
			well, ill := e.seen()
			want := asked{arn: testARN, region: "us-west-2", kind: "RequestResponse", body: payload}
			if ill != 0 || len(well) != 1 || well[0] != want {
				t.Errorf("got %+v and %d refused, want %+v: one attempt, well signed", well, ill, want)
			}
		})
	}
}

// The test's endpoint does check: a request that is signed with another secret, or for
// another account's key, is refused.
func TestLambdaRefusesWrongSignatures(t *testing.T) {
	for _, variable := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"} {
		e := startLambda(t, says(200, allowed))
		t.Setenv(variable, "another")
		r := newRig(t)
		if _, why := r.ask(); why != whyError {
			t.Errorf("%s: got %q, want error", variable, why)
		}
		if well, ill := e.seen(); len(well) != 0 || ill != 1 {
			t.Errorf("%s: got %d well signed and %d not, want 0 and 1", variable, len(well), ill)
		}
	}
}

// A function is asked in its own region, by its whole ARN, with an alias if it has one.
func TestLambdaARNs(t *testing.T) {
	e := startLambda(t, says(200, allowed))
	t.Setenv("AWS_REGION", "ap-south-1")
	r := newRig(t)
	arns := []string{
		"arn:aws:lambda:eu-west-1:123456789012:function:review:live",
		"arn:aws:lambda:us-east-1:123456789012:function:review:7",
		"arn:aws:lambda:us-east-1:210987654321:function:a/b c%2F✓?d=e#f",
	}
	for _, arn := range arns {
		if _, err := r.Review(t.Context(), arn, []byte(payload), usable); err != nil {
			t.Errorf("%s: %v", arn, err)
		}
	}
	well, _ := e.seen()
	for i, arn := range arns {
		if want := (asked{arn: arn, region: strings.Split(arn, ":")[3], kind: "RequestResponse", body: payload}); well[i] != want {
			t.Errorf("got %+v, want %+v", well[i], want)
		}
	}
}

// Regions that are made up cost no memory in the end.
func TestLambdaRegionsAreBounded(t *testing.T) {
	setAWS(t, "http://127.0.0.1:1")
	var l lambdas
	for i := range 3 * maxRegions {
		if _, err := l.endpoint("us-west-" + strings.Repeat("1", i)); err != nil {
			t.Fatal(err)
		}
		if got := len(l.endpoints); got > maxRegions {
			t.Fatalf("got %d clients, want at most %d", got, maxRegions)
		}
	}
}

// Connections are used again, also those of questions that were asked at once.
func TestLambdaConnectionsArePooled(t *testing.T) {
	const at, rounds = 20, 10
	var under sync.WaitGroup
	e := startLambda(t, func(w http.ResponseWriter, r *http.Request) {
		under.Done()
		under.Wait() // all of a round are under way at once
		says(200, allowed)(w, r)
	})
	pooled(t, newRig(t), &under, at, rounds)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.connections > 2*at {
		t.Errorf("got %d connections for %d questions of which %d at once", e.connections, at*rounds, at)
	}
}

// pooled asks rounds times as many questions at once as at says.
func pooled(t *testing.T, r *rig, under *sync.WaitGroup, at, rounds int) {
	t.Helper()
	for range rounds {
		under.Add(at)
		var asks sync.WaitGroup
		var failed atomic.Int32
		for range at {
			asks.Go(func() {
				if _, err := r.Review(context.Background(), testARN, []byte(payload), usable); err != nil {
					failed.Add(1)
				}
			})
		}
		asks.Wait()
		if failed.Load() > 0 {
			t.Fatalf("%d of %d failed: %s", failed.Load(), at, r.log.String())
		}
	}
}

// deadEndpoint accepts connections and says nothing.
func deadEndpoint(t *testing.T) (address string, open func() int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var n atomic.Int32
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			running.Go(func() {
				defer n.Add(-1)
				defer conn.Close()
				io.Copy(io.Discard, conn) // until the client closes
			})
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return listener.Addr().String(), func() int { return int(n.Load()) }
}

// As many as may ask at once ask an endpoint that accepts and never answers. All have
// their fallback in time, one more has it at once, and then the handler rests.
func TestDeadEndpoint(t *testing.T) {
	address, open := deadEndpoint(t)
	setAWS(t, "http://"+address)
	r := newRig(t)
	h := r.handler(testARN, time.Now())
	begun := time.Now()
	var asks sync.WaitGroup
	for range maxUnderWay {
		asks.Go(func() {
			if _, err := r.Review(context.Background(), testARN, []byte(payload), usable); err == nil {
				t.Error("got an answer")
			}
		})
	}
	asks.Wait()
	if took := time.Since(begun); took > 10*patience {
		t.Errorf("all took %s", took)
	}
	got := r.counted()
	if got["timeout"]+got["resting"] != maxUnderWay || got["timeout"] < silencesToRest {
		t.Errorf("got %v, want %d timeouts, or rests after the first of them", got, maxUnderWay)
	}
	eventually(t, "all places are free", func() bool { return len(h.under) == 0 })
	r.closeIdle() // a connection that came about too late is kept for the next
	eventually(t, "all connections are closed", func() bool { return open() == 0 })
}

// eventually waits for what comes to be within seconds.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A question does not wait for a TLS handshake longer than for an answer, and the
// handshake that it leaves behind is not left for ever: nor are its descriptors.
func TestHandshakesThatNeverEnd(t *testing.T) {
	address, open := deadEndpoint(t)
	for _, test := range []struct {
		name string
		rig  func(t *testing.T) *rig
	}{
		{"lambda", func(t *testing.T) *rig { setAWS(t, "https://"+address); return newRig(t) }},
		{"webhook", func(t *testing.T) *rig {
			return newRig(t, func(c *Config) { c.Webhooks = map[string]string{testARN: "https://" + address} })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.rig(t).expect(t, "", whyTimeout)
			eventually(t, "the connection is closed", func() bool { return open() == 0 })
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	setAWS(t, "http://"+listener.Addr().String())
	newRig(t).expect(t, "", whyRefused)
}

// AWS_CA_BUNDLE counts, as for any AWS SDK.
func TestLambdaCABundle(t *testing.T) {
	e := &endpoint{answer: says(200, allowed)}
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ErrorLog = quiet
	e.StartTLS()
	t.Cleanup(e.Close)
	setAWS(t, e.URL)
	newRig(t).expect(t, "", whyError) // nobody vouches for the certificate

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	r := newRig(t)
	eventually(t, "an answer", func() bool { _, why := r.ask(); return why == "" }) // the first handshake may take its time
}

// A configuration that cannot be read is an error, and is read again when it was mended.
func TestAWSConfigurationIsReadAgain(t *testing.T) {
	e := startLambda(t, says(200, allowed))
	t.Setenv("AWS_CA_BUNDLE", filepath.Join(t.TempDir(), "none.pem"))
	r := newRig(t)
	if _, why := r.ask(); why != whyError {
		t.Errorf("got %q, want error", why)
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	if _, why := r.ask(); why != "" {
		t.Errorf("got %q: %s", why, r.log.String())
	}
	if well, _ := e.seen(); len(well) != 1 {
		t.Errorf("asked %d times, want 1", len(well))
	}
}

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name   string
		arn    string
		answer func(http.ResponseWriter, *http.Request)
		verify bool
		good   bool
		asked  int
	}{
		{"may be invoked", testARN, says(204, ""), true, true, 1},
		{"not permitted", testARN, fault(403, "AccessDeniedException"), true, false, 1},
		{"missing", testARN, fault(404, "ResourceNotFoundException"), true, false, 1},
		{"not asked", testARN, fault(403, "AccessDeniedException"), false, true, 0},
		{"a webhook", "arn:aws:lambda:us-west-2:123456789012:function:hook", fault(403, "AccessDeniedException"), true, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := startLambda(t, test.answer)
			r := newRig(t, func(c *Config) {
				c.Verify = test.verify
				c.Webhooks = map[string]string{"arn:aws:lambda:us-west-2:123456789012:function:hook": "http://127.0.0.1:1"}
			})
			err := r.Verify(t.Context(), test.arn)
			if (err == nil) != test.good {
				t.Errorf("got %v", err)
			}
			if !test.good && !strings.Contains(r.log.String(), "--verify-handlers=false") {
				t.Errorf("got log %q, want a way out", r.log.String())
			}
			well, ill := e.seen()
			if len(well) != test.asked || ill != 0 {
				t.Fatalf("asked %d times, %d refused, want %d", len(well), ill, test.asked)
			}
			if want := (asked{arn: testARN, region: "us-west-2", kind: "DryRun"}); test.asked == 1 && well[0] != want {
				t.Errorf("got %+v, want %+v", well[0], want)
			}
			if got := r.counted(); len(got) != 0 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// TestQuickAnswersAreHeard asks an endpoint that answers at once, often: the SDK closes
// a request's body as soon as there is an answer, which net/http may not have read to
// its end by then.
func TestQuickAnswersAreHeard(t *testing.T) {
	startLambda(t, says(200, allowed))
	r := newRig(t)
	var asks sync.WaitGroup
	for range 4 {
		asks.Go(func() {
			for range 500 {
				if _, err := r.Review(context.Background(), testARN, []byte(payload), usable); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	asks.Wait()
}
