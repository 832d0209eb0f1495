// Package chatlogtest is the destinations of chat logs as servers on loopback: S3 (by
// gofakes3), CloudWatch Logs and Firehose (our own, awsJson1.1). An SDK finds them by
// the variables of [AWS.Env].
//
// They verify the signature of every request, and refuse what the services' documented
// limits refuse. A test can make them fail with [Endpoint.Fail].
package chatlogtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"parlor/internal/sigv4"
)

// What requests must be signed with.
const (
	AccessKey = "AKIDCHATLOG"
	Secret    = "the secret of the chat log"
)

// AWS is the three services.
type AWS struct {
	S3, Logs, Firehose *Endpoint

	backend gofakes3.Backend

	mu       sync.Mutex
	events   map[string][]Event  // by group and stream; nil for a stream with none
	groups   map[string]bool     // log groups
	streams  map[string][]Record // Firehose streams
	uploaded map[string]string   // by whom an object was put, by bucket and key
}

// Event is one of a log stream.
type Event struct {
	Message   string
	Timestamp int64
	By        string // AWS_SDK_UA_APP_ID of who put it
	Region    string
}

// Record is one of a Firehose stream.
type Record struct {
	Data   []byte
	By     string
	Region string
}

// Object is one of a bucket.
type Object struct {
	Key  string
	Body []byte
	By   string
}

// Endpoint is one of the services.
type Endpoint struct {
	URL string

	t       testing.TB
	service string
	server  *httptest.Server
	serve   func(w http.ResponseWriter, r *request)

	mu          sync.Mutex
	fail        Fault
	calls       map[string]int // by operation
	connections int
	verifier    sigv4.Verifier
}

// Fault answers a request in place of the service, and reports true; or it reports
// false and leaves it to the service. For S3 the operation is the method.
type Fault func(w http.ResponseWriter, operation string, body []byte) bool

type request struct {
	*http.Request
	operation, by, region string
	body                  []byte
}

// Start starts the services, until the test ends.
func Start(t testing.TB) *AWS {
	t.Helper()
	a := &AWS{backend: s3mem.New(), events: map[string][]Event{}, groups: map[string]bool{}, streams: map[string][]Record{}, uploaded: map[string]string{}}
	s3 := gofakes3.New(a.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	a.S3 = start(t, "s3", func(w http.ResponseWriter, r *request) {
		answer := &status{ResponseWriter: w}
		s3.ServeHTTP(answer, r.Request)
		if r.Method == http.MethodPut && answer.code == http.StatusOK {
			a.mu.Lock()
			a.uploaded[r.URL.Path[1:]] = r.by
			a.mu.Unlock()
		}
	})
	a.Logs = start(t, "logs", a.serveLogs)
	a.Firehose = start(t, "firehose", a.serveFirehose)
	return a
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Write(b []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

func start(t testing.TB, service string, serve func(http.ResponseWriter, *request)) *Endpoint {
	e := &Endpoint{t: t, service: service, serve: serve, calls: map[string]int{}, verifier: sigv4.Verifier{KeepPaths: service == "s3"}}
	e.server = httptest.NewUnstartedServer(e)
	e.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			e.mu.Lock()
			e.connections++
			e.mu.Unlock()
		}
	}
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.server.Start()
	e.URL = e.server.URL
	t.Cleanup(func() {
		e.server.CloseClientConnections()
		e.server.Close()
	})
	return e
}

// Env is the variables that lead AWS's SDKs here.
func (a *AWS) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + a.S3.URL,
		"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=" + a.Logs.URL,
		"AWS_ENDPOINT_URL_FIREHOSE=" + a.Firehose.URL,
		"AWS_ACCESS_KEY_ID=" + AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + Secret,
		"AWS_SESSION_TOKEN=",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Fail has requests fail from now on; nil: no longer.
func (e *Endpoint) Fail(f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = f
}

// Calls is how often an operation was asked for, also in vain.
func (e *Endpoint) Calls(operation string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[operation]
}

// Connections is how many connections were opened.
func (e *Endpoint) Connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connections
}

// Answer is a fault: every request is answered with an error of the service.
func (e *Endpoint) Answer(code int, name string) Fault {
	return func(w http.ResponseWriter, _ string, _ []byte) bool {
		e.refuse(w, code, name, "by the test")
		return true
	}
}

// HangUp is a fault: the connection breaks without an answer.
func HangUp(http.ResponseWriter, string, []byte) bool { panic(http.ErrAbortHandler) }

// Slow is a fault: every request waits first.
func Slow(d time.Duration) Fault {
	return func(http.ResponseWriter, string, []byte) bool { time.Sleep(d); return false }
}

var appID = regexp.MustCompile(`\bapp/(\S+)`)

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return // the client is gone
	}
	r := &request{Request: hr, body: body, operation: hr.Method}
	if _, operation, ok := strings.Cut(hr.Header.Get("X-Amz-Target"), "."); ok {
		r.operation = operation
	}
	if m := appID.FindStringSubmatch(hr.UserAgent()); m != nil {
		r.by = m[1]
	}
	e.mu.Lock()
	e.calls[r.operation]++
	fail := e.fail
	e.mu.Unlock()
	if fail != nil && fail(w, r.operation, body) {
		return
	}
	signature, err := sigv4.Parse(hr)
	if err == nil && signature.AccessKey != AccessKey {
		err = fmt.Errorf("unknown key %q", signature.AccessKey)
	}
	if err == nil {
		err = signature.Check(e.service, func(string) bool { return true }, time.Now())
	}
	if err == nil {
		err = e.verifier.Verify(signature, Secret, body)
	}
	if err != nil {
		e.refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", err.Error())
		return
	}
	r.region = signature.Region
	r.Body = io.NopCloser(bytes.NewReader(body))
	e.serve(w, r)
}

// refuse answers with an error, in the service's form.
func (e *Endpoint) refuse(w http.ResponseWriter, code int, name, text string) {
	if e.service == "s3" {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(code)
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, name, text)
		return
	}
	reply(w, code, map[string]string{"__type": name, "message": text})
}

func reply(w http.ResponseWriter, code int, out any) {
	text, _ := json.Marshal(out) // maps and structs of the package's own
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(code)
	w.Write(text)
}

// CreateBucket makes a bucket.
func (a *AWS) CreateBucket(name string) {
	a.S3.t.Helper()
	if err := a.backend.CreateBucket(name); err != nil {
		a.S3.t.Fatal(err)
	}
}

// Objects are all of a bucket, by key.
func (a *AWS) Objects(bucket string) []Object {
	a.S3.t.Helper()
	list, err := a.backend.ListBucket(bucket, &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
	if err != nil {
		a.S3.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Object
	for _, content := range list.Contents {
		object, err := a.backend.GetObject(bucket, content.Key, nil)
		if err != nil {
			a.S3.t.Fatal(err)
		}
		body, err := io.ReadAll(object.Contents)
		object.Contents.Close()
		if err != nil {
			a.S3.t.Fatal(err)
		}
		all = append(all, Object{Key: content.Key, Body: body, By: a.uploaded[bucket+"/"+content.Key]})
	}
	return all
}
