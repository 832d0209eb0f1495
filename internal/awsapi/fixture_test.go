package awsapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parlor/internal/chat"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 {
		// SDK clients keep idle connections of the default transport.
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

const (
	testAccount = "123456789012"
	testRegion  = "us-west-2"
	// testAuthorization is what a client of the default account sends.
	testAuthorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-west-2/ivschat/aws4_request, " +
		"SignedHeaders=host;x-amz-date, Signature=00"
)

var testScope = chat.Scope{Region: testRegion, Account: testAccount}

// fixture is a control plane over memory.
type fixture struct {
	*Handler
	store    *memoryStore
	broker   *recordingBroker
	kept     memoryHistory
	registry *prometheus.Registry
	logged   *syncBuffer
}

func newFixture(_ testing.TB, change ...func(*Config)) *fixture {
	f := &fixture{
		store:    newMemoryStore(),
		broker:   &recordingBroker{},
		registry: prometheus.NewRegistry(),
		logged:   &syncBuffer{},
	}
	c := Config{
		Service: chat.NewService(chat.ServiceConfig{
			Store: f.store, Broker: f.broker, TokenLifetime: time.Hour, History: f.kept.config(),
		}),
		Logger:         slog.New(slog.NewJSONHandler(f.logged, nil)),
		Metrics:        f.registry,
		DefaultAccount: testAccount,
		Node:           describedNode,
	}
	for _, f := range change {
		f(&c)
	}
	f.Handler = New(c)
	return f
}

// syncBuffer is a buffer for a logger and its reader.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// forget empties everything, so that a long run of a fuzz target stays small.
func (f *fixture) forget() {
	clear(f.store.rooms)
	clear(f.store.lcs)
	f.broker.published = nil
	f.logged.mu.Lock()
	defer f.logged.mu.Unlock()
	f.logged.b.Reset()
}

// newRequest is a signed request as an SDK would send it.
func newRequest(method, target, body string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "http://parlor.test", reader)
	u, err := url.ParseRequestURI(target) // as net/http parses it: nothing is tidied
	if err != nil {
		panic(err)
	}
	r.URL, r.RequestURI = u, target
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", testAuthorization)
	r.Header.Set("X-Amz-Date", "20260102T030405Z")
	return r
}

// post calls an operation and returns its answer.
func (f *fixture) post(operation, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, newRequest("POST", "/"+operation, body))
	return w
}

// created calls an operation that makes a resource and returns its ARN.
func (f *fixture) created(t testing.TB, operation, body string) string {
	t.Helper()
	w := f.post(operation, body)
	var out struct{ ARN string }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", operation, w.Code, w.Body, err)
	}
	return out.ARN
}

// answerError is the error in an answer.
type answerError struct {
	Type      string `json:"__type"`
	Message   string
	Reason    string
	FieldList []struct{ Name, Message string }
}

func errorOf(t testing.TB, w *httptest.ResponseRecorder) answerError {
	t.Helper()
	var e answerError
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("the answer is no JSON: %d %q", w.Code, w.Body)
	}
	return e
}
