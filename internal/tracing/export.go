package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// interval is how long spans wait for others.
	interval = time.Second
	// maxBatch is how many are posted at once.
	maxBatch = 512
	// tries is how often a post is made before its spans are given up.
	tries = 5
	// firstPause doubles with each try. A collector may ask for up to maxPause.
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	// flushTime is what the posts of a stop may take, all together.
	flushTime = 3 * time.Second
	maxAnswer = 64 << 10
)

// Run takes spans to the collector until ctx ends, and then what is left, for
// flushTime at most.
func (t *Tracer) Run(ctx context.Context) error {
	if t.client != nil {
		defer t.client.CloseIdleConnections()
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	batch := make([]*span, 0, maxBatch)
	for {
		select {
		case s := <-t.queue:
			if batch = append(batch, s); len(batch) < maxBatch {
				continue
			}
		case <-ticker.C:
		case <-ctx.Done():
			t.flush(context.WithoutCancel(ctx), batch)
			return nil
		}
		if len(batch) > 0 && t.export(ctx, batch) {
			clear(batch)
			batch = batch[:0]
		}
	}
}

// flush posts what is left, each batch once.
func (t *Tracer) flush(ctx context.Context, batch []*span) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	for {
		for waiting := true; waiting && len(batch) < maxBatch; {
			select {
			case s := <-t.queue:
				batch = append(batch, s)
			default:
				waiting = false
			}
		}
		if len(batch) == 0 {
			return
		}
		refused, _, err := t.post(ctx, batch)
		t.note(len(batch), refused, err)
		batch = batch[:0]
	}
}

// export delivers a batch or gives it up. It returns false when ctx ended before that.
func (t *Tracer) export(ctx context.Context, batch []*span) bool {
	for try := 1; ; try++ {
		refused, pause, err := t.post(ctx, batch)
		if ctx.Err() != nil && err != nil {
			return false
		}
		if err == nil || pause < 0 || try == tries {
			t.note(len(batch), refused, err)
			return true
		}
		t.say(err)
		pause = max(pause, firstPause<<(try-1)/2+rand.N(firstPause<<(try-1)))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// note counts what became of a batch, of which the collector refused some.
func (t *Tracer) note(spans, refused int, err error) {
	if err != nil {
		refused = spans
	} else if refused > 0 {
		err = errRefused
	}
	t.spans.WithLabelValues(failed).Add(float64(refused))
	t.spans.WithLabelValues(delivered).Add(float64(spans - refused))
	switch {
	case err != nil:
		t.say(err)
	case t.failing:
		t.failing = false
		t.config.Logger.Info("traces are delivered again")
	}
}

var errRefused = errors.New("the collector refused some of them")

// say logs that spans are not delivered: once, until they are, and no oftener than each
// minute.
func (t *Tracer) say(err error) {
	if !t.failing && time.Since(t.said) > time.Minute {
		t.failing, t.said = true, time.Now()
		t.config.Logger.Warn("traces are not delivered", "error", err)
	}
}

// post makes one try. It returns how many of the spans the collector refused, or with an
// error how long it asks to be left alone at least: less than nothing where another try
// is of no use.
func (t *Tracer) post(ctx context.Context, batch []*span) (refused int, pause time.Duration, err error) {
	if t.client == nil {
		for _, s := range batch {
			s.record(t.config.Logger)
		}
		return 0, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	body := t.request(batch)
	if t.config.Gzip {
		body = compressed(body)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.URL, bytes.NewReader(body))
	if err != nil {
		return 0, -1, err
	}
	r.Header.Set("User-Agent", "parlor/"+t.config.Version)
	for name, value := range t.config.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	if t.config.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := t.client.Do(r)
	if of, ok := errors.AsType[*url.Error](err); ok {
		return 0, 0, of.Err // the URL may have a secret in it
	}
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch code := answer.StatusCode; {
	case code/100 == 2 && err == nil:
		return int(min(max(rejected(text), 0), int64(len(batch)))), 0, nil
	case code/100 == 2:
		return 0, -1, err // it has them, most likely
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return 0, retryAfter(answer.Header.Get("Retry-After")), fmt.Errorf("the collector answered with status %d", code)
	default:
		return 0, -1, fmt.Errorf("the collector answered with status %d", code)
	}
}

// retryAfter reads how long the collector wants to be left alone.
func retryAfter(text string) time.Duration {
	pause := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		pause = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		pause = time.Until(at)
	}
	return min(max(pause, 0), maxPause)
}

func compressed(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(body) // a buffer takes all
	w.Close()
	return b.Bytes()
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
