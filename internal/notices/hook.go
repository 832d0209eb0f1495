package notices

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"parlor/internal/chat"
)

const (
	// maxEvents and maxRequest bound one request, the latter in bytes.
	maxEvents  = 100
	maxRequest = 256 << 10
	// answerTime is how long an endpoint may take to answer.
	answerTime = 10 * time.Second
	// gatherTime is how long new events wait for others after a request.
	gatherTime = 50 * time.Millisecond
	firstWait  = time.Second
	longWait   = 5 * time.Minute
	// patience is how old an event may become.
	patience = 72 * time.Hour
	// stopGrace is for what waits at the end.
	stopGrace = 3 * time.Second
)

var (
	errStale  = fmt.Errorf("the webhook did not take them within %s", patience)
	errSpoilt = errors.New("they are damaged in the queue")
)

// hook is a webhook and what waits for it.
type hook struct {
	url     string
	secret  []byte
	queue   *queue
	logger  *slog.Logger
	metrics *metrics

	failing, losing, keeping saying
}

// delivery is the body of a request.
type delivery struct {
	Events []json.RawMessage `json:"events"`
}

// take queues an event.
func (h *hook) take(line []byte) {
	if err := h.queue.append(line); err != nil {
		h.lose(1, err)
	}
}

// lose counts events that the webhook will not get, and says why.
func (h *hook) lose(events int, why error) {
	h.metrics.lost.Add(float64(events))
	if h.losing.now() {
		h.logger.Error("webhook events lost", "webhook", h.host(), "events", events, "error", why)
	}
}

// host is what of the URL may be said: the rest may be a secret.
func (h *hook) host() string {
	u, err := url.Parse(h.url)
	if err != nil {
		return ""
	}
	return u.Host
}

// client goes where it was meant to go, and nowhere else.
var client = &http.Client{
	Timeout:       answerTime,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// run delivers until ctx ends.
func (h *hook) run(ctx context.Context) {
	wait := firstWait
	for {
		err := h.deliver(ctx)
		if ctx.Err() != nil {
			break
		}
		var next <-chan time.Time // nil: when there is more
		more := h.queue.more
		if err != nil {
			if h.failing.now() {
				h.logger.Warn("webhook not delivered, tried again", "webhook", h.host(), "wait", wait, "error", err)
			}
			next, more = time.After(jittered(wait)), nil
			wait = min(2*wait, longWait)
		} else {
			wait = firstWait
			select {
			case <-ctx.Done():
			case <-time.After(gatherTime):
			}
		}
		select {
		case <-ctx.Done():
		case <-next:
		case <-more:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := h.deliver(last); err != nil {
		h.logger.Warn("webhook events stay for the next start", "webhook", h.host(), "error", err)
	}
}

// jittered is between a half of d and d, so that nodes do not come all at once.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// deliver sends all that waits when it is called.
func (h *hook) deliver(ctx context.Context) error {
	for {
		b, err := h.queue.next(maxEvents, maxRequest)
		if err != nil {
			return err
		}
		events := fresh(b.events)
		if len(events) > 0 {
			if err := h.post(ctx, events); err != nil {
				return err
			}
		}
		if b.after == h.queue.at {
			return nil
		}
		// They were taken, whatever the disk says.
		if err := h.queue.commit(b.after); err != nil && h.keeping.now() {
			h.logger.Error("webhook cursor not kept, a restart sends events again", "webhook", h.host(), "error", err)
		}
		h.metrics.delivered.Add(float64(len(events)))
		if stale := len(b.events) - len(events); stale > 0 {
			h.lose(stale, errStale)
		}
		if b.spoilt > 0 {
			h.lose(b.spoilt, errSpoilt)
		}
		if !b.full {
			return nil // what came since is told of
		}
	}
}

// fresh leaves out what is too old to be of use to anybody.
func fresh(events []json.RawMessage) []json.RawMessage {
	oldest := time.Now().Add(-patience)
	var kept []json.RawMessage
	for _, e := range events {
		var when struct {
			Time time.Time `json:"time"`
		}
		if json.Unmarshal(e, &when) == nil && when.Time.Before(oldest) {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

func (h *hook) post(ctx context.Context, events []json.RawMessage) error {
	body, err := json.Marshal(delivery{Events: events})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(chat.WebhookTimestamp, timestamp)
	r.Header.Set(chat.WebhookSignature, chat.SignWebhook(h.secret, timestamp, body))
	response, err := client.Do(r)
	if err != nil {
		h.metrics.tries.WithLabelValues("0").Inc()
		if of := (*url.Error)(nil); errors.As(err, &of) {
			err = of.Err // the URL may have a secret in its query
		}
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, maxLine)) // for the sake of the connection
	h.metrics.tries.WithLabelValues(strconv.Itoa(response.StatusCode)).Inc()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered with status %d", response.StatusCode)
	}
	return nil
}
