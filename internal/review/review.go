// Package review asks message review handlers: AWS Lambda functions, or HTTP endpoints
// that stand for them. It implements [chat.Reviewer].
//
// Invariants:
//
//   - A question takes [Timeout] at most, whatever the handler does, and delays nobody
//     but who waits for it.
//   - What is under way at one handler is bounded; a question over that is not asked.
//   - A handler that does not answer is left alone for less than a second at a time, so
//     that a dead one costs little. Only silence and refused connections count, many in
//     a row and at a time: no answer, and no single connection, can make other messages
//     go past review.
//   - A question that got no usable answer is counted by why, and the answer's text is
//     never logged.
package review

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

const (
	// Timeout is how long a handler may take.
	//
	// IVS: service-quotas (message review handler timeout)
	Timeout = 200 * time.Millisecond
	// maxUnderWay is how many questions one handler may have before it at once: what
	// 20 rooms at full rate ask within Timeout, and more.
	maxUnderWay = 500
	// maxAnswer is the largest answer that is read: many times what a valid one has.
	maxAnswer = 64 << 10
)

// Config is what a Reviewer works with.
type Config struct {
	// Webhooks are the URLs that stand for handlers, by ARN. All others are asked by
	// AWS Lambda.
	Webhooks map[string]string
	// Secret is what webhook requests are signed with.
	Secret []byte
	// Verify has [Reviewer.Verify] ask AWS Lambda; without it, any handler will do.
	Verify  bool
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Reviewer implements [chat.Reviewer]. It is safe for concurrent use.
type Reviewer struct {
	verify  bool
	logger  *slog.Logger
	metrics *metrics
	lambda  *lambdas

	mu       sync.Mutex
	webhooks map[string]string
	secret   []byte
	handlers map[string]*handler
}

// New returns a Reviewer. How AWS is reached is read from the environment when it is
// first needed.
func New(c Config) *Reviewer {
	return &Reviewer{webhooks: c.Webhooks, secret: c.Secret, verify: c.Verify, logger: c.Logger, metrics: newMetrics(c.Metrics),
		lambda: &lambdas{}, handlers: map[string]*handler{}}
}

// Redirect replaces the webhooks, and the secret that requests to them are signed with.
// Questions under way go on where they were asked.
func (r *Reviewer) Redirect(webhooks map[string]string, secret []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.webhooks, r.secret = webhooks, secret
	clear(r.handlers)
}

// webhook reports whether a webhook stands for a handler.
func (r *Reviewer) webhook(uri string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.webhooks[uri]
	return ok
}

// handler is what is known of one handler.
type handler struct {
	uri   string
	label string // of its metrics
	call  func(ctx context.Context, payload []byte) ([]byte, error)
	under chan struct{} // a place for each question under way

	used time.Time // last; owned by Reviewer.mu

	mu      sync.Mutex
	breaker breaker
	said    time.Time // when the log last said that it fails
}

// maxHandlers bounds the handlers that are remembered while no question is under way
// at them, and those that have metrics of their own.
const maxHandlers = 1000

// handler returns the handler of an ARN.
func (r *Reviewer) handler(uri string, now time.Time) *handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.handlers[uri]
	if h == nil {
		if len(r.handlers) >= maxHandlers {
			r.forget(now)
		}
		h = &handler{uri: uri, label: r.metrics.label(uri), under: make(chan struct{}, maxUnderWay)}
		if url, ok := r.webhooks[uri]; ok {
			h.call = (&webhook{url: url, secret: r.secret}).call
		} else {
			h.call = func(ctx context.Context, payload []byte) ([]byte, error) { return r.lambda.invoke(ctx, uri, payload) }
		}
		r.handlers[uri] = h
	}
	h.used = now
	return h
}

// forget makes room for a handler: those go that were not asked for a minute, or else
// the one that was asked the longest ago. One with questions under way stays: they are
// bounded by its places. r.mu is held.
func (r *Reviewer) forget(now time.Time) {
	var oldest *handler
	for uri, h := range r.handlers {
		switch {
		case len(h.under) > 0:
		case now.Sub(h.used) > time.Minute:
			delete(r.handlers, uri)
		case oldest == nil || h.used.Before(oldest.used):
			oldest = h
		}
	}
	if oldest != nil && len(r.handlers) >= maxHandlers {
		delete(r.handlers, oldest.uri)
	}
}

// Review implements [chat.Reviewer].
func (r *Reviewer) Review(ctx context.Context, uri string, payload []byte, usable func(*chat.Verdict) error) (chat.Verdict, error) {
	begun := time.Now()
	h := r.handler(uri, begun)
	verdict, err := r.ask(ctx, h, payload, usable)
	if err == nil {
		return verdict, nil
	}
	var f *failure
	if !errors.As(err, &f) { // the asker is gone
		return chat.Verdict{}, err
	}
	r.metrics.failed(h.label, f)
	h.mu.Lock()
	say := begun.Sub(h.said) > time.Minute
	if say {
		h.said = begun
	}
	h.mu.Unlock()
	if say {
		r.logger.Warn("a review handler gave no usable answer; the room's fallback decides (said once a minute)",
			"handler", uri, "why", string(f.why), "error", f.err)
	}
	return chat.Verdict{}, err
}

// ask asks a handler. What goes wrong with it is a *failure.
func (r *Reviewer) ask(ctx context.Context, h *handler, payload []byte, usable func(*chat.Verdict) error) (chat.Verdict, error) {
	begun := time.Now()
	h.mu.Lock()
	may, trial := h.breaker.allow(begun)
	h.mu.Unlock()
	if !may {
		return chat.Verdict{}, &failure{whyResting, errors.New("it did not answer before")}
	}
	select {
	case h.under <- struct{}{}:
	default:
		h.mu.Lock()
		h.breaker.withdraw(trial)
		h.mu.Unlock()
		return chat.Verdict{}, &failure{whyFull, fmt.Errorf("%d questions are under way", maxUnderWay)}
	}
	answer, err := r.wait(ctx, h, payload)
	gone := ctx.Err()
	h.mu.Lock()
	if gone != nil {
		h.breaker.withdraw(trial) // it says nothing about the handler
	} else {
		h.breaker.heard(time.Now(), trial, silent(err))
	}
	h.mu.Unlock()
	if gone != nil {
		return chat.Verdict{}, gone
	}
	if err == nil {
		r.metrics.seconds.Observe(time.Since(begun).Seconds())
	}
	if err != nil {
		return chat.Verdict{}, &failure{whyOf(err), err}
	}
	verdict, err := parse(answer)
	if err == nil {
		err = usable(&verdict)
	}
	if err != nil {
		return chat.Verdict{}, &failure{whyInvalid, err}
	}
	return verdict, nil
}

// wait calls a handler and waits for the answer, but no longer than Timeout: also
// where the call does not see that it is over. The place is given back with the call.
func (r *Reviewer) wait(ctx context.Context, h *handler, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	type result struct {
		answer []byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-h.under }()
		defer cancel()
		answer, err := h.call(ctx, payload)
		done <- result{answer, err}
	}()
	select {
	case got := <-done:
		return got.answer, got.err
	case <-ctx.Done():
		select {
		case got := <-done: // at the last moment
			return got.answer, got.err
		default:
			return nil, ctx.Err()
		}
	}
}

// why is the reason for which a question got no usable answer.
type why string

const (
	whyTimeout why = "timeout" // no answer within Timeout
	whyRefused why = "refused" // no connection
	whyResting why = "resting" // not asked: it did not answer before
	whyFull    why = "full"    // not asked: too many questions are under way
	whyError   why = "error"   // the function failed, is missing, throttled or not permitted; any other error
	whyInvalid why = "invalid" // the answer is none
)

// failure is a question without a usable answer.
type failure struct {
	why why
	err error
}

func (f *failure) Error() string { return fmt.Sprintf("review: %s: %v", f.why, f.err) }

func (f *failure) Unwrap() error { return f.err }

func whyOf(err error) why {
	switch {
	case isTimeout(err):
		return whyTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return whyRefused
	case errors.Is(err, errTooLong):
		return whyInvalid
	}
	return whyError
}

// silent reports whether a call failed in the way that counts for the breaker.
func silent(err error) bool {
	return err != nil && (whyOf(err) == whyTimeout || whyOf(err) == whyRefused)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// breaker rests a handler that did not answer many times in a row and in less than a second. It then asks
// once; until that is answered, others are still spared, and if it is not, the rest
// goes on.
type breaker struct {
	silences int       // in a row, and within silencesWithin
	first    time.Time // of them
	until    time.Time // it rests; zero while it does not
	trying   bool      // the one question after a rest is under way
}

const (
	// silencesToRest within silencesWithin is more than one connection can bring about,
	// which may ask 10 questions at once and 10 more a second: its messages may be what
	// the handler is slow for, where nobody else says anything.
	silencesToRest = 20
	silencesWithin = 800 * time.Millisecond
	// restTime and the one question after it are within a second.
	restTime = time.Second - Timeout
)

// allow reports whether a question may be asked now, and whether it is the one after a
// rest. heard or withdraw must follow.
func (b *breaker) allow(now time.Time) (may, trial bool) {
	switch {
	case b.until.IsZero():
		return true, false
	case b.trying || now.Before(b.until):
		return false, false
	}
	b.trying = true
	return true, true
}

// withdraw takes note of a question that was not asked, or to its end.
func (b *breaker) withdraw(trial bool) {
	if trial {
		b.trying = false
	}
}

// heard takes note of how a question ended. A silence that began before a rest neither
// prolongs it nor speaks for the trial.
func (b *breaker) heard(now time.Time, trial, silent bool) {
	switch {
	case !silent:
		*b = breaker{}
	case b.until.IsZero():
		if b.silences == 0 || now.Sub(b.first) > silencesWithin {
			b.silences, b.first = 0, now
		}
		if b.silences++; b.silences >= silencesToRest {
			b.until = now.Add(restTime)
		}
	case trial && b.trying:
		b.until, b.trying = now.Add(restTime), false
	}
}

// readAll reads an answer of bounded size.
func readAll(r io.Reader) ([]byte, error) {
	answer, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = errTooLong
	}
	return answer, err
}

// Verify implements [chat.Reviewer].
func (r *Reviewer) Verify(ctx context.Context, uri string) error {
	if !r.verify || r.webhook(uri) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	err := r.lambda.verify(ctx, uri)
	if err != nil {
		r.logger.Warn("a review handler was refused: AWS Lambda does not let it be invoked; --verify-handlers=false takes any", "handler", uri, "error", err)
	}
	return err
}

// verifyTimeout is how long AWS has to say whether a handler may be invoked.
const verifyTimeout = 5 * time.Second

// region is that of a function's ARN, which chat has found well-formed.
func region(uri string) string {
	parts := strings.SplitN(uri, ":", 5)
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}
