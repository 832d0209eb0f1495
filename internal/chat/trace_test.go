package chat

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeTracer writes down what ends, with what it is a step of.
type fakeTracer struct {
	keepsNone bool

	mu    sync.Mutex
	ended []string
}

type fakeSpan struct {
	tracer *fakeTracer
	path   string
}

func (f *fakeTracer) Begin(name string, _ time.Time, _, _ string) Span {
	if f.keepsNone {
		return nil
	}
	return &fakeSpan{f, name}
}

func (s *fakeSpan) Begin(step string) Span { return &fakeSpan{s.tracer, s.path + " > " + step} }

func (s *fakeSpan) Traceparent() string { return "of " + s.path }

func (s *fakeSpan) End(err error, _ ...slog.Attr) {
	s.tracer.mu.Lock()
	defer s.tracer.mu.Unlock()
	if err != nil {
		s.path += ": " + AsError(err).Message
	}
	s.tracer.ended = append(s.tracer.ended, s.path)
}

func (f *fakeTracer) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended := f.ended
	f.ended = nil
	return ended
}

// TestTracer has each request be a span with its steps, in the order of their ends.
func TestTracer(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		tracer := &fakeTracer{}
		w.service.tracer = tracer
		plain := w.member(t, w.room(t, RoomSpec{}).ARN)
		handler := w.member(t, w.room(t, RoomSpec{Handler: handled(lambda1, FallbackDeny)}).ARN)
		slow := w.member(t, w.room(t, RoomSpec{MaximumMessageRatePerSecond: 1}).ARN)
		const send = `{"Action":"SEND_MESSAGE","Content":"hello"}`
		for _, test := range []struct {
			name    string
			session *Session
			request string
			verdict func(string) (Verdict, error)
			want    []string
		}{
			{"a message", plain, send, nil, []string{"SEND_MESSAGE > publish", "SEND_MESSAGE"}},
			{"an event", plain, `{"Action":"DELETE_MESSAGE","Id":"abc"}`, nil, []string{"DELETE_MESSAGE > publish", "DELETE_MESSAGE"}},
			{"a message that is reviewed", handler, send, says(Verdict{Allow: true, Content: "x"}, nil), []string{"SEND_MESSAGE > review", "SEND_MESSAGE > publish", "SEND_MESSAGE"}},
			{"a message that is denied", handler, send, says(Verdict{}, nil), []string{"SEND_MESSAGE > review", "SEND_MESSAGE: Message rejected by review"}},
			{"a handler without an answer", handler, send, says(Verdict{}, errNoAnswer), []string{"SEND_MESSAGE > review: Internal server error", "SEND_MESSAGE: Message rejected by review"}},
			{"within the room's rate", slow, send, nil, []string{"SEND_MESSAGE > publish", "SEND_MESSAGE"}},
			{"over the room's rate", slow, send, nil, []string{"SEND_MESSAGE > publish: rate limit exceeded", "SEND_MESSAGE: rate limit exceeded"}},
			{"not understood", plain, `{"Action":"SING"}`, nil, nil},
			{"empty", plain, `{"Action":"SEND_MESSAGE","Content":""}`, nil, []string{"SEND_MESSAGE: Content must not be empty."}},
		} {
			r.verdict = test.verdict
			w.finish(t, test.session, test.request)
			if diff := cmp.Diff(tracer.taken(), test.want); diff != "" {
				t.Errorf("%s: got - want +:\n%s", test.name, diff)
			}
		}

		api := tracer.Begin("SendEvent", time.Now(), "", "")
		if _, err := w.service.SendEvent(WithSpan(t.Context(), api), *plain.Room, "e", nil); err != nil {
			t.Fatal(err)
		}
		if got := tracer.taken(); !slices.Equal(got, []string{"SendEvent > publish"}) {
			t.Errorf("an event of the API: got %q", got)
		}
		if _, err := w.service.SendEvent(t.Context(), *plain.Room, "e", nil); err != nil || tracer.taken() != nil {
			t.Errorf("without a span there are steps, or %v", err)
		}

		w.broker.fails = errors.New("the broker is away")
		w.finish(t, plain, send)
		if got := tracer.taken(); len(got) == 0 || strings.Contains(strings.Join(got, ""), "away") {
			t.Errorf("the broker is away: got %q", got)
		}
		w.broker.fails = nil

		tracer.keepsNone = true
		if out := w.finish(t, plain, send); out.Err != nil || tracer.taken() != nil || len(w.service.traced.spans) != 0 {
			t.Errorf("where none is kept: got %+v, and %d publications waiting", out, len(w.service.traced.spans))
		}
	})
}
