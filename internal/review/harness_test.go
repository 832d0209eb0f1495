package review

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parlor/internal/chat"
	"parlor/internal/sigv4"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { hooks.CloseIdleConnections() }))
}

const (
	testARN    = "arn:aws:lambda:us-west-2:123456789012:function:review"
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	payload    = `{"Content":"hello"}`
	allowed    = `{"ReviewResult":"ALLOW","Content":"hello"}`
)

// asked is a request that the Lambda endpoint got, and found well signed.
type asked struct {
	arn, region, kind, body string
}

// endpoint is an HTTP server that stands for AWS Lambda. It verifies signatures.
type endpoint struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request)

	mu          sync.Mutex
	asked       []asked
	refused     []error
	connections int
}

// startLambda starts a Lambda endpoint, and lets AWS's SDKs find it by their variables
// alone.
func startLambda(t testing.TB, answer func(w http.ResponseWriter, r *http.Request)) *endpoint {
	e := &endpoint{answer: answer}
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ErrorLog = quiet
	e.Config.ConnState = e.count
	e.Start()
	t.Cleanup(e.Close)
	setAWS(t, e.URL)
	return e
}

// quiet is the log of servers whose handlers misbehave on purpose.
var quiet = slog.NewLogLogger(slog.DiscardHandler, 0)

func setAWS(t testing.TB, endpoint string) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_LAMBDA": endpoint, "AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret,
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func (e *endpoint) count(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.connections++
	}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a, err := e.verify(r, body)
	e.mu.Lock()
	if err != nil {
		e.refused = append(e.refused, err)
	} else {
		e.asked = append(e.asked, a)
	}
	e.mu.Unlock()
	switch {
	case err != nil:
		w.Header().Set("X-Amzn-Errortype", "InvalidSignatureException")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"message":"the signature is wrong"}`)
	default:
		e.answer(w, r)
	}
}

// verify holds a request to what the API of Lambda says of Invoke.
func (e *endpoint) verify(r *http.Request, body []byte) (asked, error) {
	s, err := sigv4.Parse(r)
	if err != nil {
		return asked{}, err
	}
	if err := s.Check("lambda", func(string) bool { return true }, time.Now()); err != nil {
		return asked{}, err
	}
	if s.AccessKey != testKey {
		return asked{}, errors.New("another access key")
	}
	if err := new(sigv4.Verifier).Verify(s, testSecret, body); err != nil {
		return asked{}, err
	}
	name, found := strings.CutPrefix(r.RequestURI, "/2015-03-31/functions/")
	name, found2 := strings.CutSuffix(name, "/invocations")
	if !found || !found2 || r.Method != http.MethodPost {
		return asked{}, errors.New("not an Invoke: " + r.Method + " " + r.RequestURI)
	}
	arn, err := url.PathUnescape(name)
	return asked{arn: arn, region: s.Region, kind: r.Header.Get("X-Amz-Invocation-Type"), body: string(body)}, err
}

// seen are the requests that were well signed, and how many were not.
func (e *endpoint) seen() (well []asked, ill int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked, len(e.refused)
}

// says answers with a status and a body.
func says(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hangs does not answer until the client is gone.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// resets closes the connection with an RST.
func resets(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// closes closes the connection without an answer.
func closes(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	conn.Close()
}

// drips begins an answer and does not end it.
func drips(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, `{"ReviewResult":`)
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// rig is a Reviewer with what it counts.
type rig struct {
	*Reviewer
	t        testing.TB
	registry *prometheus.Registry
	log      strings.Builder
}

func newRig(t testing.TB, set ...func(*Config)) *rig {
	r := &rig{t: t, registry: prometheus.NewRegistry()}
	c := Config{Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Metrics: r.registry}
	for _, f := range set {
		f(&c)
	}
	r.Reviewer = New(c)
	t.Cleanup(r.closeIdle)
	return r
}

// closeIdle closes the connections to Lambda that are kept for the next question.
func (r *rig) closeIdle() {
	r.lambda.mu.Lock()
	defer r.lambda.mu.Unlock()
	if r.lambda.http != nil {
		r.lambda.http.CloseIdleConnections()
	}
}

// calls has a handler answered by a function.
func (r *rig) calls(arn string, f func(ctx context.Context, payload []byte) ([]byte, error)) *handler {
	h := r.handler(arn, time.Now())
	h.call = f
	return h
}

func usable(*chat.Verdict) error { return nil }

// ask asks the handler of testARN and returns why there is no usable answer, "" if
// there is.
func (r *rig) ask() (chat.Verdict, why) {
	r.t.Helper()
	v, err := r.Review(context.Background(), testARN, []byte(payload), usable)
	return v, r.whyOf(err)
}

func (r *rig) whyOf(err error) why {
	r.t.Helper()
	var f *failure
	if err != nil && !errors.As(err, &f) {
		r.t.Errorf("got %v, want a failure", err)
	}
	if f == nil {
		return ""
	}
	return f.why
}

// counted are the metrics that are not zero: names without prefix and suffix, with the
// reason if there is one; answers are those in the histogram.
func (r *rig) counted() map[string]int {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimSuffix(strings.TrimPrefix(f.GetName(), "parlor_review_"), "_total")
			for _, l := range m.Label {
				if l.GetName() == "reason" {
					name = l.GetValue()
				}
			}
			n := int(m.GetCounter().GetValue()) + int(m.GetHistogram().GetSampleCount())
			if n > 0 {
				counts[name] += n
			}
		}
	}
	return counts
}

// verdict is a verdict as text.
func verdict(v chat.Verdict) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
