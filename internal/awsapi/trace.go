package awsapi

import (
	"log/slog"
	"net/http"
	"strings"

	"parlor/internal/chat"
)

// traced begins what is kept of an identified request, whose caller may have a trace of
// its own. A stranger's is not looked at: it would say what is kept here.
func (h *Handler) traced(x *exchange, r *http.Request) *http.Request {
	x.span = h.tracer.Begin(x.operation, x.begun, r.Header.Get("Traceparent"), strings.Join(r.Header.Values("Tracestate"), ","))
	if x.span == nil {
		return r
	}
	return r.WithContext(chat.WithSpan(r.Context(), x.span))
}

// unidentifiedRequest is what all requests of strangers are called: many of them leave
// others their share of what is kept.
const unidentifiedRequest = "Unidentified"

// trace ends what is kept of a request. Neither the account nor anything that the
// request says is in it.
func (h *Handler) trace(id string, x *exchange) {
	identified := x.caller.Scope.Account != ""
	if x.span == nil && !identified && x.operation != operationPreflight {
		x.span = h.tracer.Begin(unidentifiedRequest, x.begun, "", "")
	}
	if x.span == nil {
		return
	}
	attributes := []slog.Attr{
		slog.String("rpc.system", "aws-api"),
		slog.String("rpc.service", service),
		slog.String("rpc.method", x.operation),
		slog.Int("http.response.status_code", x.status),
		slog.String("aws.request_id", id),
	}
	if identified {
		attributes = append(attributes, slog.String("cloud.region", x.caller.Scope.Region))
	}
	if x.errorName != "" {
		attributes = append(attributes, slog.String("error.type", x.errorName))
	}
	x.span.End(x.cause, attributes...)
}
