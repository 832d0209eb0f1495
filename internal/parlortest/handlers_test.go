package parlortest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/parlortest"
)

// handlers are message review handlers, each twice: as a function behind the Invoke
// API of AWS Lambda, and as a webhook.
type handlers struct {
	t               testing.TB
	lambda, webhook *httptest.Server
	secret          string // of the webhook's requests
	refusing        string // address of nobody

	mu    sync.Mutex
	named map[string]review
	asked map[string][]question // by the handler's ARN
	dry   map[string]int        // dry runs, by ARN
	trace string                // that of the last question to a webhook
}

// review is what a handler does with a message: an answer, or one of the errors below.
type review func(q question) (answer string, err error)

// question is what a handler was asked.
type question struct {
	Content, MessageID, RoomArn string
	Attributes                  map[string]string
	Sender                      struct {
		UserID, IP string
		Attributes map[string]string
	}
}

// What a handler does that does not say its answer.
var (
	errEcho      = fmt.Errorf("it allows the message as it is")
	errFails     = fmt.Errorf("the function fails")
	errMissing   = fmt.Errorf("there is no such function")
	errForbidden = fmt.Errorf("it may not be invoked")
	errThrottled = fmt.Errorf("it is invoked too often")
	errSilent    = fmt.Errorf("it takes the question and never answers")
	errHangsUp   = fmt.Errorf("it takes the question and closes the connection")
)

// as is a handler that always does the same.
func as(answer string, err error) review {
	return func(question) (string, error) { return answer, err }
}

// newHandlers starts the endpoints of handlers, by their names.
func newHandlers(t testing.TB, named map[string]review) *handlers {
	t.Helper()
	h := &handlers{t: t, secret: "the secret of the webhooks", named: named, asked: map[string][]question{}, dry: map[string]int{}}
	h.lambda = httptest.NewServer(http.HandlerFunc(h.serveLambda))
	h.webhook = httptest.NewServer(http.HandlerFunc(h.serveWebhook))
	t.Cleanup(func() {
		for _, server := range []*httptest.Server{h.lambda, h.webhook} {
			server.CloseClientConnections()
			server.Close()
		}
	})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.refusing = nobody.Addr().String()
	nobody.Close()
	return h
}

// functionARN and webhookARN are the two handlers of a name.
func functionARN(name string) string {
	return "arn:aws:lambda:" + parlortest.Region + ":" + parlortest.Account + ":function:" + name
}

func webhookARN(name string) string { return functionARN(name + "-webhook") }

// known has a server know the handlers: those of AWS Lambda by the variables of AWS's
// SDKs, the webhooks by flags. refused are webhooks where nobody listens.
func (h *handlers) known(refused ...string) func(*exec.Cmd) {
	secret := filepath.Join(h.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(h.secret+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return func(c *exec.Cmd) {
		c.Args = append(c.Args, "--webhook-secret", secret)
		for name := range h.named {
			c.Args = append(c.Args, "--review-webhook", webhookARN(name)+"="+h.webhook.URL+"/"+name)
		}
		for _, name := range refused {
			c.Args = append(c.Args, "--review-webhook", webhookARN(name)+"=http://"+h.refusing+"/"+name)
		}
		// The region is a function's own.
		c.Env = append(cliEnvironment(h.t), "AWS_REGION=eu-north-1", "AWS_ENDPOINT_URL_LAMBDA="+h.lambda.URL)
	}
}

// ask takes note of a question and has the handler answer.
func (h *handlers) ask(arn, name string, payload []byte) (string, error) {
	var q question
	if err := json.Unmarshal(payload, &q); err != nil {
		h.t.Errorf("%s was asked %s: %v", name, payload, err)
	}
	h.mu.Lock()
	do := h.named[name]
	h.asked[arn] = append(h.asked[arn], q)
	h.mu.Unlock()
	if do == nil {
		return "", errMissing
	}
	answer, err := do(q)
	if err == errEcho {
		content, err := json.Marshal(q.Content)
		return `{"ReviewResult": "ALLOW", "Content": ` + string(content) + `}`, err
	}
	return answer, err
}

// questions are those that a handler was asked.
func (h *handlers) questions(arn string) []question {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]question(nil), h.asked[arn]...)
}

func (h *handlers) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.asked)
}

// serveLambda is AWS Lambda's Invoke.
//
// IVS-MODEL: lambda Invoke
func (h *handlers) serveLambda(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
	escaped, ok2 := strings.CutSuffix(path, "/invocations")
	arn, err := url.PathUnescape(escaped)
	if r.Method != http.MethodPost || !ok || !ok2 || err != nil || !strings.HasPrefix(arn, functionARN("")) {
		h.t.Errorf("AWS Lambda was asked for %s %s", r.Method, r.URL)
	}
	if got, want := r.Header.Get("Authorization"), "/"+parlortest.Region+"/lambda/aws4_request"; !strings.Contains(got, want) {
		h.t.Errorf("Authorization: got %s, want one for …%s", got, want)
	}
	name := strings.TrimPrefix(arn, functionARN(""))
	var answer string
	switch kind := r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "RequestResponse":
		answer, err = h.ask(arn, name, payload)
	case "DryRun":
		h.mu.Lock()
		do := h.named[name]
		h.dry[arn]++
		h.mu.Unlock()
		if do == nil {
			err = errMissing
		} else if _, err = do(question{}); err == nil || err == errFails || err == errEcho { // it is not invoked
			w.WriteHeader(http.StatusNoContent)
			return
		}
	default:
		h.t.Errorf("X-Amz-Invocation-Type: got %q", kind)
	}
	refuse := func(status int, kind, body string) {
		w.Header().Set("X-Amzn-ErrorType", kind)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	switch err {
	case nil:
		w.Header().Set("X-Amz-Executed-Version", "$LATEST")
		io.WriteString(w, answer)
	case errFails:
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		io.WriteString(w, `{"errorType": "Error", "errorMessage": "boom", "ReviewResult": "ALLOW", "Content": "not an answer"}`)
	case errMissing:
		refuse(http.StatusNotFound, "ResourceNotFoundException", `{"Type": "User", "Message": "Function not found: `+arn+`"}`)
	case errForbidden:
		refuse(http.StatusForbidden, "AccessDeniedException", `{"Message": "User is not authorized to perform: lambda:InvokeFunction"}`)
	case errThrottled:
		refuse(http.StatusTooManyRequests, "TooManyRequestsException", `{"Type": "User", "message": "Rate Exceeded.", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"}`)
	default:
		h.trouble(w, r, err)
	}
}

// sign is the signature that a webhook's request should have.
func (h *handlers) sign(timestamp string, payload []byte) string {
	mac := hmac.New(sha256.New, []byte(h.secret))
	mac.Write([]byte(timestamp + "." + string(payload)))
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// serveWebhook is an endpoint that stands for functions. It believes nobody.
func (h *handlers) serveWebhook(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.trace = r.Header.Get("Traceparent")
	h.mu.Unlock()
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	timestamp := r.Header.Get("Parlor-Timestamp")
	if got, want := r.Header.Get("Parlor-Signature"), h.sign(timestamp, payload); got != want {
		h.t.Errorf("Parlor-Signature: got %q, want %q", got, want)
	}
	if seconds, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		h.t.Errorf("Parlor-Timestamp: got %q", timestamp)
	}
	if got := r.Header.Get("Content-Type"); r.Method != http.MethodPost || got != "application/json" {
		h.t.Errorf("got %s of %q", r.Method, got)
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	answer, err := h.ask(webhookARN(name), name, payload)
	switch err {
	case nil:
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	case errFails:
		http.Error(w, `{"ReviewResult": "ALLOW", "Content": "not an answer"}`, http.StatusInternalServerError)
	case errMissing:
		http.NotFound(w, r)
	case errForbidden:
		w.WriteHeader(http.StatusForbidden)
	case errThrottled:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		h.trouble(w, r, err)
	}
}

func (h *handlers) trouble(w http.ResponseWriter, r *http.Request, err error) {
	if err == errSilent {
		<-r.Context().Done()
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}
