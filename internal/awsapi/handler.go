package awsapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
	"parlor/internal/sigv4"
)

// maxBody bounds a request body, in bytes. The largest input there can be is a tenth
// of it, were every character escaped.
const maxBody = 256 << 10

// Config is what a Handler works with.
type Config struct {
	Service *chat.Service
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Credentials finds the principal of an access key, for every request anew. Nil
	// takes any access key at its word; then DefaultAccount owns what those do that
	// are not account ids.
	Credentials    func(accessKey string) (Principal, bool)
	DefaultAccount string
	// Regions are those that are served; none is any.
	Regions []string
	// Notice, unless nil, is told of every operation that changes something and whose
	// caller is known, before it is answered.
	Notice func(chat.Notice)
	// Node describes the server to a caller of the scope.
	Node func(context.Context, chat.Scope, NodeQuestion) (Node, error)
	// Tracer keeps the times of requests; nil keeps none.
	Tracer chat.Tracer
}

// Handler serves the control plane on every path it is given. It is safe for
// concurrent use.
type Handler struct {
	service        *chat.Service
	logger         *slog.Logger
	credentials    func(accessKey string) (Principal, bool)
	defaultAccount string
	regions        []string
	notice         func(chat.Notice)
	node           func(context.Context, chat.Scope, NodeQuestion) (Node, error)
	tracer         chat.Tracer
	verifier       sigv4.Verifier
	requests       *prometheus.CounterVec
	seconds        *prometheus.HistogramVec
}

// New returns the control plane over a Service. It registers its metrics, so it may
// be called once per Registerer.
func New(c Config) *Handler {
	h := &Handler{
		service:        c.Service,
		logger:         c.Logger,
		credentials:    c.Credentials,
		defaultAccount: c.DefaultAccount,
		regions:        c.Regions,
		notice:         c.Notice,
		node:           c.Node,
		tracer:         c.Tracer,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_api_requests_total",
			Help: "API requests (the control plane) that were answered, by operation as the API names it (CreateRoom; Unknown for what is none, Preflight for CORS) and HTTP status as code.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "parlor_api_request_seconds",
			Help:    "Time from an API request's headers to the end of its answer, by operation (as for parlor_api_requests_total).",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
	}
	c.Metrics.MustRegister(h.requests, h.seconds)
	return h
}

// Operations that are none of the API, as log and metrics name them.
const (
	operationUnknown   = "Unknown"
	operationPreflight = "Preflight"
)

// exchange is one request and what is known of it so far.
type exchange struct {
	operation string
	begun     time.Time
	caller    caller
	call      *call     // nil: its caller is not known, or it is none of the operations
	span      chat.Span // nil: its times are not kept, or not yet
	status    int
	body      []byte // nil: none
	errorName string
	cause     error  // of a 500; for the log
	stack     []byte // of a panic; for the log
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := newRequestID()
	x := exchange{operation: operationUnknown, begun: time.Now()}
	h.serve(&x, w, r)
	if h.notice != nil && x.call != nil && !reads(x.operation) {
		h.notice(x.note(id, x.begun))
	}

	header := w.Header()
	header.Set("x-amzn-RequestId", id)
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", exposedHeaders)
	if x.errorName != "" {
		header.Set("x-amzn-ErrorType", x.errorName)
	}
	if x.body != nil {
		header.Set("Content-Type", "application/json")
		header.Set("Content-Length", strconv.Itoa(len(x.body)))
	}
	w.WriteHeader(x.status)
	w.Write(x.body) // a client that went away is told nothing

	elapsed := time.Since(x.begun)
	h.requests.WithLabelValues(x.operation, strconv.Itoa(x.status)).Inc()
	h.seconds.WithLabelValues(x.operation).Observe(elapsed.Seconds())
	h.log(r, id, &x, elapsed)
	if h.tracer != nil {
		h.trace(id, &x)
	}
}

// serve fills in the exchange.
func (h *Handler) serve(x *exchange, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		x.operation, x.status = operationPreflight, http.StatusOK
		preflight(w.Header())
		return
	}
	out, err := h.answer(x, w, r)
	if err == nil && out != nil {
		x.body, err = encode(out)
	}
	if err != nil {
		var e *apiError
		e, x.cause = render(err)
		x.status, x.errorName, x.body = e.Status, e.Name, e.body()
	}
}

// answer returns the operation's output, nil if its answer has no body.
func (h *Handler) answer(x *exchange, w http.ResponseWriter, r *http.Request) (any, error) {
	operation, label, found := route(r)
	if found {
		x.operation = operation.name
	}
	who, prove, err := h.identify(r)
	if err != nil {
		return nil, unidentified(err)
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if err := prove(body); err != nil {
		return nil, unidentified(err)
	}
	x.caller = who
	if h.tracer != nil {
		r = h.traced(x, r)
	}
	if !found {
		return nil, &apiError{Status: http.StatusNotFound, Name: "UnknownOperationException", Message: unknownOperationText}
	}
	c := &call{
		Service: h.service, node: h.node, caller: who, action: operation.action,
		address: addressOf(r.RemoteAddr), secure: r.TLS != nil, userAgent: r.UserAgent(),
	}
	x.call = c
	if err := h.service.TakeRequest(r.Context(), who.Scope, operation.name); err != nil {
		return nil, err
	}
	if operation.hasBody && len(body) > 0 && !isJSON(r.Header.Get("Content-Type")) {
		return nil, &apiError{Status: http.StatusUnsupportedMediaType, Name: "UnsupportedMediaTypeException", Message: mediaTypeText}
	}
	out, err := x.run(r.Context(), operation, c, source{body: body, label: label, query: r.URL.RawQuery})
	x.status = operation.success
	if operation.success == http.StatusNoContent {
		out = nil
	}
	return out, err
}

// note says who did what.
func (x *exchange) note(requestID string, at time.Time) chat.Notice {
	n := x.call.noted
	n.ID, n.Time, n.RequestID = chat.NewID(), at, requestID
	n.Action, n.Refused = x.operation, x.errorName
	n.By.Principal, n.Scope, n.From = x.caller.arn(), x.caller.Scope, x.call.address
	return n
}

// reads reports whether an operation changes nothing.
func reads(operation string) bool {
	return strings.HasPrefix(operation, "Get") || strings.HasPrefix(operation, "List") || strings.HasPrefix(operation, "Describe")
}

// run serves the operation; a panic in it becomes an error.
func (x *exchange) run(ctx context.Context, o operation, c *call, from source) (out any, err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler: // net/http's own way to drop a connection
			panic(p)
		default:
			err = fmt.Errorf("panic: %v", p)
			x.stack = debug.Stack()
		}
	}()
	return o.serve(ctx, c, from)
}

// readBody reads the whole body, up to maxBody.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &apiError{Status: http.StatusRequestEntityTooLarge, Name: "RequestEntityTooLargeException", Message: tooLargeText}
	}
	return nil, serialization(unreadableText)
}

// isJSON reports whether a Content-Type may stand over a body. None may, and so may
// the types of AWS's other JSON protocols, which hand-written clients send.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	// Only the type matters; parameters that do not parse are no reason to refuse.
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType, _, _ = strings.Cut(contentType, ";")
		mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	}
	switch mediaType {
	case "application/json", "application/x-amz-json-1.0", "application/x-amz-json-1.1":
		return true
	}
	return false
}

// encode writes an output as JSON, without the escapes that only HTML needs.
func encode(out any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("encode an output: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// log writes the request's record.
func (h *Handler) log(r *http.Request, id string, x *exchange, elapsed time.Duration) {
	attrs := []slog.Attr{
		slog.String("request_id", id),
		slog.String("operation", x.operation),
		slog.Int("status", x.status),
		slog.String("account", x.caller.Scope.Account),
		slog.String("region", x.caller.Scope.Region),
		slog.Duration("duration", elapsed),
		slog.String("remote", r.RemoteAddr),
	}
	if x.errorName != "" {
		attrs = append(attrs, slog.String("error", x.errorName))
	}
	level := slog.LevelInfo
	if x.cause != nil {
		attrs = append(attrs, slog.String("cause", x.cause.Error()))
		// A request that its client gave up fails in ways that are nobody's fault.
		if r.Context().Err() == nil {
			level = slog.LevelError
		}
	}
	if x.stack != nil {
		attrs = append(attrs, slog.String("stack", string(x.stack)))
	}
	h.logger.LogAttrs(context.WithoutCancel(r.Context()), level, "api request", attrs...)
}

// newRequestID returns a random UUID (version 4).
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
