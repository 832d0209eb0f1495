package chat

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Tracer keeps the times of requests and of their steps. A Service without one keeps
// none and pays nothing for it. What it is told has neither content nor names nor ids of
// users, and so must be what it is told with attributes.
type Tracer interface {
	// Begin begins what is kept of a request that came at a time: a trace of its own, or
	// a part of the caller's, whose W3C headers traceparent and tracestate are given
	// where there are any. It returns nil for a request of which nothing is kept.
	Begin(name string, at time.Time, traceparent, tracestate string) Span
}

// Span is a request, or a step of one, that is under way.
type Span interface {
	// Begin begins a step of it.
	Begin(step string) Span
	// Traceparent is the W3C header by which others go on with it.
	Traceparent() string
	// End ends it; it is kept from then on, and not at all if it is never ended. err is what it failed with, or nil: of that
	// nothing is kept but its Code.
	End(err error, attributes ...slog.Attr)
}

// Steps of SEND_MESSAGE, and of what else is published.
const (
	stepReview        = "review"
	stepPublish       = "publish"
	stepFirstDelivery = "first delivery"
)

type spanKey struct{}

// WithSpan returns a context in which what is done are steps of the span.
func WithSpan(ctx context.Context, span Span) context.Context {
	return context.WithValue(ctx, spanKey{}, span)
}

// SpanOf returns the span that a context is about, or nil.
func SpanOf(ctx context.Context) Span {
	span, _ := ctx.Value(spanKey{}).(Span)
	return span
}

// step begins a step of what the context is about. It returns nil when nothing is kept.
func (s *Service) step(ctx context.Context, name string) Span {
	if s.tracer == nil {
		return nil
	}
	parent := SpanOf(ctx)
	if parent == nil {
		return nil
	}
	return parent.Begin(name)
}

// begin begins what is kept of a connection's request. The span is nil when nothing is.
func (s *Service) begin(ctx context.Context, action string, accepted time.Time) (context.Context, Span) {
	span := s.tracer.Begin(action, accepted, "", "")
	if span == nil {
		return ctx, nil
	}
	return WithSpan(ctx, span), span
}

// endWith ends the span of a request when what became of that is known: now, or when
// what is left of it is through.
func endWith(span Span, out *Outcome) {
	later := out.Later
	if later == nil {
		span.End(out.Err)
		return
	}
	out.Later = func(ctx context.Context, live func() bool) Outcome {
		result := later(WithSpan(ctx, span), live)
		span.End(result.Err)
		return result
	}
}

// publish hands a publication to the broker.
func (s *Service) publish(ctx context.Context, pub *Publication, rate int) error {
	span := s.step(ctx, stepPublish)
	if span == nil {
		return s.broker.Publish(ctx, pub, rate)
	}
	s.traced.put(pub.ID, span)
	defer s.traced.take(pub.ID)
	err := s.broker.Publish(ctx, pub, rate)
	span.End(err)
	return err
}

// Traces reports whether there is a Tracer.
func (s *Service) Traces() bool { return s.tracer != nil }

// FirstDelivery begins the step that ends when the publication has been written to the
// first client. It returns nil for a publication that is not this node's own, or of
// which nothing is kept. A step that is not ended is not kept.
func (s *Service) FirstDelivery(pub *Publication) Span {
	span := s.traced.take(pub.ID)
	if span == nil {
		return nil
	}
	return span.Begin(stepFirstDelivery)
}

// traced are the publications under way of which times are kept, by Id: not a member of
// [Publication], since what comes back from the broker is another copy.
type traced struct {
	mu    sync.Mutex
	spans map[string]Span
}

func (t *traced) put(id string, span Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spans == nil {
		t.spans = map[string]Span{}
	}
	t.spans[id] = span
}

// take returns the span of a publication, once.
func (t *traced) take(id string) Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	span := t.spans[id]
	delete(t.spans, id)
	return span
}
