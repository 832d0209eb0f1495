package develop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"parlor/internal/chat"
)

// maxBody is the largest body of an API request that is looked into for its room and user.
const maxBody = 256 << 10

// Act implements [chat.Faults].
func (t *Tools) Act(ctx context.Context, session *chat.Session, action string) error {
	if !t.faults.some.Load() {
		return nil
	}
	m := t.faults.meet(*session.Room, session.UserID, onActions, action)
	m.wait(ctx)
	if m.failure == nil {
		return nil
	}
	if m.failure.Status == http.StatusUnauthorized {
		return chat.ErrSessionExpired
	}
	return &chat.Error{Code: actionErrors[m.failure.Status], Message: m.failure.words()}
}

// api makes requests of the control plane meet the faults that are about them.
func (t *Tools) api(next http.Handler, w http.ResponseWriter, r *http.Request) {
	operation := operationOf(r)
	some, picky := t.faults.about(onAPI, operation)
	if !some || r.Method == http.MethodOptions {
		next.ServeHTTP(w, r)
		return
	}
	var room chat.ARN
	user := ""
	if picky {
		room, user = subject(w, r)
	}
	m := t.faults.meet(room, user, onAPI, operation)
	m.wait(r.Context())
	if m.failure == nil {
		next.ServeHTTP(w, r)
		return
	}
	t.logger.Info("fault injected", "fault", m.failure.ID, "operation", operation, "status", m.failure.Status)
	name := apiErrors[m.failure.Status]
	header := w.Header()
	header.Set("x-amzn-ErrorType", name)
	header.Set("x-amzn-RequestId", m.failure.ID)
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "x-amzn-ErrorType,x-amzn-RequestId")
	writeJSON(w, m.failure.Status, map[string]string{"__type": name, "message": m.failure.words()})
}

// operationOf is the operation of a request, by its path.
func operationOf(r *http.Request) string {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	if !strings.HasPrefix(path, "tags/") {
		return strings.TrimPrefix(path, "parlor/")
	}
	switch r.Method {
	case http.MethodPost:
		return "TagResource"
	case http.MethodDelete:
		return "UntagResource"
	}
	return "ListTagsForResource"
}

// subject is the room and the user that a request is about. Its body can be read again.
func subject(w http.ResponseWriter, r *http.Request) (room chat.ARN, user string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), errorReader{err}))
	var in struct {
		RoomIdentifier, Identifier, UserID string
	}
	_ = json.Unmarshal(body, &in) // what cannot be read is about nothing, and refused later
	for _, text := range []string{in.RoomIdentifier, in.Identifier} {
		if arn, err := chat.ParseARN(text); err == nil {
			room = arn
		}
	}
	return room, in.UserID
}

// errorReader fails as reading failed, or ends.
type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// handshake makes handshakes meet the faults that are about them. A token is looked into,
// and left as it is.
func (t *Tools) handshake(next http.Handler, w http.ResponseWriter, r *http.Request) {
	some, picky := t.faults.about(onHandshake)
	if !some || r.Header.Get("Sec-WebSocket-Key") == "" {
		next.ServeHTTP(w, r)
		return
	}
	var claims chat.Claims
	if picky {
		token, _, _ := strings.Cut(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
		claims, _ = t.config.OpenToken(r.Context(), strings.TrimSpace(token)) // a bad one is about nothing, and refused later
	}
	m := t.faults.meet(claims.Room, claims.UserID, onHandshake)
	m.wait(r.Context())
	if m.failure == nil {
		next.ServeHTTP(w, r)
		return
	}
	t.logger.Info("fault injected", "fault", m.failure.ID, "status", m.failure.Status)
	writeJSON(w, m.failure.Status, map[string]any{"ErrorCode": m.failure.Status, "ErrorMessage": m.failure.words()})
}

// reviewTimeout is how long a handler may take.
const reviewTimeout = 200 * time.Millisecond

var errInjected = errors.New("this error was asked for")

// Reviewer is a Reviewer whose answers meet the faults that are about reviews. A delay of
// 200 ms or more is a handler that does not answer.
func (t *Tools) Reviewer(next chat.Reviewer) chat.Reviewer { return &reviewer{next, t} }

type reviewer struct {
	chat.Reviewer
	tools *Tools
}

func (r *reviewer) Review(ctx context.Context, uri string, payload []byte, usable func(*chat.Verdict) error) (chat.Verdict, error) {
	if r.tools.faults.some.Load() {
		var about struct {
			RoomArn string
			Sender  struct{ UserID string }
		}
		_ = json.Unmarshal(payload, &about) // it was made here
		room, _ := chat.ParseARN(about.RoomArn)
		m := r.tools.faults.meet(room, about.Sender.UserID, onReview)
		silent := m.delay >= reviewTimeout
		m.delay = min(m.delay, reviewTimeout)
		m.wait(ctx)
		if m.failure != nil || silent {
			return chat.Verdict{}, errInjected
		}
	}
	return r.Reviewer.Review(ctx, uri, payload, usable)
}

// Deliver is a function for the broker to call whose messages and events meet the faults
// that are about deliveries. What is late holds up what is behind it in its room: order is
// kept.
func (t *Tools) Deliver(next func(*chat.Publication)) func(*chat.Publication) {
	return func(pub *chat.Publication) {
		if !t.faults.some.Load() || pub.Frame == nil {
			next(pub)
			return
		}
		m := t.faults.meet(pub.Room, "", onDelivery)
		if m.delay <= 0 || !t.late.enter() {
			next(pub)
			return
		}
		go func() {
			defer t.late.running.Done()
			m.wait(context.Background())
			next(pub)
		}()
	}
}

// latecomers are deliveries that are late.
type latecomers struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func (l *latecomers) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.running.Add(1)
	}
	return !l.closed
}

func (l *latecomers) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.running.Wait()
}
