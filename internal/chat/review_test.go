package chat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeReviewer is a Reviewer that answers as it is told.
type fakeReviewer struct {
	verdict func(content string) (Verdict, error) // by what is asked about
	refuses bool                                  // Verify does

	mu       sync.Mutex
	asked    []string // "uri payload"
	verified []string
}

var errNoAnswer = errors.New("no answer")

func (f *fakeReviewer) Review(ctx context.Context, uri string, payload []byte, usable func(*Verdict) error) (Verdict, error) {
	f.mu.Lock()
	f.asked = append(f.asked, uri+" "+string(payload))
	f.mu.Unlock()
	_, content, _ := strings.Cut(string(payload), `{"Content":"`)
	content, _, _ = strings.Cut(content, `"`)
	v, err := f.verdict(content)
	if err == nil {
		err = usable(&v)
	}
	return v, err
}

func (f *fakeReviewer) Verify(_ context.Context, uri string) error {
	f.verified = append(f.verified, uri)
	if f.refuses {
		return errors.New("AccessDeniedException")
	}
	return nil
}

// taken are the questions since it was last called.
func (f *fakeReviewer) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// says always answers so.
func says(v Verdict, err error) func(string) (Verdict, error) {
	return func(string) (Verdict, error) { return v, err }
}

// reviewed runs a test in virtual time with a service that has a reviewer.
func reviewed(t *testing.T, f func(t *testing.T, w *world, r *fakeReviewer)) {
	t.Helper()
	virtually(t, func(t *testing.T, w *world) {
		r := &fakeReviewer{verdict: says(Verdict{Allow: true, Content: "reviewed"}, nil)}
		w.service.reviewer = r
		f(t, w, r)
	})
}

func handled(uri string, fallback FallbackResult) *HandlerChange {
	return &HandlerChange{URI: &uri, Fallback: &fallback}
}

// member opens a session that may do everything, in a room.
func (w *world) member(t *testing.T, room ARN) *Session {
	t.Helper()
	return w.session(t, TokenSpec{Room: room, UserID: "user", Capabilities: everything})
}

func alive() bool { return true }

// finish is a request to its end.
func (w *world) finish(t *testing.T, s *Session, request string) Outcome {
	t.Helper()
	out := w.service.Act(t.Context(), s, []byte(request), true, time.Now())
	if out.Later != nil {
		if out.Err != nil || out.Action != ActionSendMessage {
			t.Errorf("a request that goes on: got %+v", out)
		}
		out = out.Later(t.Context(), alive)
	}
	return out
}

// publishes finishes a request, of which the only publication is returned.
func (w *world) publishes(t *testing.T, s *Session, request string) string {
	t.Helper()
	if out := w.finish(t, s, request); out.Err != nil {
		t.Fatal(out.Err)
	}
	return string(w.broker.one(t).Frame)
}

// idOf cuts the first Id or MessageId of a text out of it.
func idOf(t *testing.T, text, name string) (id, rest string) {
	t.Helper()
	before, after, _ := strings.Cut(text, `"`+name+`":"`)
	id, after, _ = strings.Cut(after, `"`)
	if !ValidID(id) {
		t.Errorf("%s: got %q in %s", name, id, text)
	}
	return id, before + `"` + name + `":"ID"` + after
}

// What a handler is given.
//
// IVS: chat-message-review-handler
func TestReviewPayload(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		room := w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN
		for _, test := range []struct {
			name, request, attributes string
			token                     TokenSpec
			address                   string
			want                      string
		}{
			{name: "everything",
				request: `{"Action":"SEND_MESSAGE","RequestId":"r","Content":"héllo \"w\\o\nrld\" </script>\u0001","Attributes":{"b":"\t","a":"✓"}}`,
				token:   TokenSpec{UserID: `us"er`, Attributes: map[string]string{"name": `N"`, "a": "b"}}, address: "192.0.2.7",
				want: `{"Content":"héllo \"w\\o\nrld\" </script>\u0001","MessageId":"ID","RoomArn":"ROOM","Attributes":{"a":"✓","b":"\t"},"Sender":{"UserId":"us\"er","Attributes":{"a":"b","name":"N\""},"Ip":"192.0.2.7"}}`},
			{name: "next to nothing",
				request: `{"Action":"SEND_MESSAGE","Content":"a"}`, token: TokenSpec{UserID: "u"}, address: "2001:db8::1",
				want: `{"Content":"a","MessageId":"ID","RoomArn":"ROOM","Attributes":{},"Sender":{"UserId":"u","Attributes":{},"Ip":"2001:db8::1"}}`},
			{name: "no address",
				request: `{"Action":"SEND_MESSAGE","Content":" a ","Attributes":null}`, token: TokenSpec{UserID: "u"},
				want: `{"Content":" a ","MessageId":"ID","RoomArn":"ROOM","Attributes":{},"Sender":{"UserId":"u","Attributes":{},"Ip":""}}`},
		} {
			test.token.Room, test.token.Capabilities = room, everything
			s := w.session(t, test.token)
			if test.address != "" {
				s.Address = netip.MustParseAddr(test.address)
			}
			w.publishes(t, s, test.request)
			asked := r.taken()
			if len(asked) != 1 {
				t.Fatalf("%s: asked %d times, want 1", test.name, len(asked))
			}
			_, got := idOf(t, asked[0], "MessageId")
			if want := lambda1 + " " + strings.Replace(test.want, "ROOM", room.String(), 1); got != want {
				t.Errorf("%s\ngot  %s\nwant %s", test.name, got, want)
			}
		}
	})
}

// What becomes of a message, by what its handler says: each row of the service's own
// table.
//
// IVS: chat-message-review-handler
func TestReview(t *testing.T) {
	long := strings.Repeat("é", 10) // as long as the room has it
	kilobyte := map[string]string{"k": strings.Repeat("v", MaxAttributesSize-1)}
	over := map[string]string{"k": strings.Repeat("v", MaxAttributesSize)}
	for _, test := range []struct {
		name     string
		verdict  Verdict
		err      error
		shown    string // members of the frame; "" when it is not
		refusal  string // the text of the 406
		fallback bool   // the room's fallback decides
	}{
		{name: "allowed as it is", verdict: Verdict{Allow: true, Content: "original"}, shown: `"Attributes":{"o":"1"},"Content":"original"`},
		{name: "rewritten", verdict: Verdict{Allow: true, Content: "re\"written"}, shown: `"Attributes":{"o":"1"},"Content":"re\"written"`},
		{name: "attributes dropped", verdict: Verdict{Allow: true, Content: "x", Attributes: map[string]string{}}, shown: `"Attributes":{},"Content":"x"`},
		{name: "attributes replaced", verdict: Verdict{Allow: true, Content: "x", Attributes: map[string]string{"n": "2", "m": "3"}}, shown: `"Attributes":{"m":"3","n":"2"},"Content":"x"`},
		{name: "as long as may be", verdict: Verdict{Allow: true, Content: " " + long + " ", Attributes: kilobyte}, shown: `"Content":" ` + long + ` "`},

		{name: "denied", verdict: Verdict{Attributes: map[string]string{"Reason": "be \"kind\"", "x": "y"}}, refusal: "be \"kind\""},
		{name: "denied without a reason", verdict: Verdict{Content: "ignored"}, refusal: "Message rejected by review"},
		{name: "denied with other attributes", verdict: Verdict{Attributes: map[string]string{"reason": "no"}}, refusal: "Message rejected by review"},
		{name: "denied with content that is too long", verdict: Verdict{Content: long + "x"}, refusal: "Message rejected by review"},

		{name: "no answer", err: errNoAnswer, fallback: true},
		{name: "content too long", verdict: Verdict{Allow: true, Content: long + "x"}, fallback: true},
		{name: "content empty", verdict: Verdict{Allow: true}, fallback: true},
		{name: "content of spaces", verdict: Verdict{Allow: true, Content: " \n"}, fallback: true},
		{name: "attributes too large", verdict: Verdict{Allow: true, Content: "x", Attributes: over}, fallback: true},
		{name: "denied, attributes too large", verdict: Verdict{Attributes: over}, fallback: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
				r.verdict = says(test.verdict, test.err)
				for _, fallback := range []FallbackResult{FallbackAllow, FallbackDeny} {
					shown, refusal := test.shown, test.refusal
					if test.fallback && fallback == FallbackAllow {
						shown = `"Attributes":{"o":"1"},"Content":"original"`
					} else if test.fallback {
						refusal = "Message rejected by review"
					}
					s := w.member(t, w.room(t, RoomSpec{MaximumMessageLength: 10, Handler: handled(lambda1, fallback)}).ARN)
					out := w.finish(t, s, `{"Action":"SEND_MESSAGE","RequestId":"r","Content":"original","Attributes":{"o":"1"}}`)
					asked := r.taken()
					if len(asked) != 1 {
						t.Fatalf("asked %d times, want 1", len(asked))
					}
					if id, _ := idOf(t, asked[0], "MessageId"); out.ID != id {
						t.Errorf("the outcome has Id %q, the handler was told %q", out.ID, id)
					}
					if out.RequestID != "r" || out.Action != ActionSendMessage || out.Later != nil {
						t.Errorf("got %+v", out)
					}
					published := w.broker.taken()
					if shown == "" {
						if code(out.Err) != NotAcceptable || out.Err.Error() != refusal || len(published) != 0 {
							t.Errorf("fallback %s: got %v and %d publications, want 406 %q", fallback, out.Err, len(published), refusal)
						}
						continue
					}
					if out.Err != nil || len(published) != 1 {
						t.Fatalf("fallback %s: got %v and %d publications", fallback, out.Err, len(published))
					}
					frame := string(published[0].Frame)
					if id, _ := idOf(t, frame, "Id"); id != out.ID {
						t.Errorf("shown as %q, reviewed as %q", id, out.ID)
					}
					if !strings.Contains(frame, shown) || !strings.Contains(frame, `"RequestId":"r"`) {
						t.Errorf("fallback %s: got %s, want %s", fallback, frame, shown)
					}
				}
			})
		})
	}
}

// Without a reviewer no handler answers, and the room's fallback decides.
func TestReviewFallback(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		allow := w.member(t, w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN)
		if got := w.publishes(t, allow, `{"Action":"SEND_MESSAGE","Content":"a"}`); !strings.Contains(got, `"Content":"a"`) {
			t.Errorf("got %s", got)
		}
		deny := w.member(t, w.room(t, RoomSpec{Handler: handled(lambda1, FallbackDeny)}).ARN)
		if out := w.finish(t, deny, `{"Action":"SEND_MESSAGE","Content":"a"}`); code(out.Err) != NotAcceptable {
			t.Errorf("got %+v, want 406", out)
		}
	})
}

// Messages that clients send are reviewed, in rooms that have a handler, and nothing
// else is.
func TestOnlyMessagesAreReviewed(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		r.verdict = says(Verdict{}, nil) // denies
		for name, handler := range map[string]*HandlerChange{"none": nil, "detached": handled("", FallbackDeny)} {
			s := w.member(t, w.room(t, RoomSpec{Handler: handler}).ARN)
			out := w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"a"}`), true, time.Now())
			if out.Err != nil || out.Later != nil || len(w.broker.taken()) != 1 {
				t.Errorf("handler %s: got %+v, want it shown at once", name, out)
			}
		}
		room := w.room(t, RoomSpec{Handler: handled(lambda1, FallbackDeny)}).ARN
		s := w.member(t, room)
		for _, request := range []string{`{"Action":"DELETE_MESSAGE","Id":"a"}`, `{"Action":"DISCONNECT_USER","UserId":"a"}`} {
			if out := w.service.Act(t.Context(), s, []byte(request), true, time.Now()); out.Err != nil || out.Later != nil {
				t.Errorf("%s: got %+v", request, out)
			}
		}
		if _, err := w.service.SendEvent(t.Context(), room, "event", nil); err != nil {
			t.Error(err)
		}
		if _, err := w.service.DeleteMessage(t.Context(), room, "M2YcHkgffEvU", ""); err != nil {
			t.Error(err)
		}
		if err := w.service.DisconnectUser(t.Context(), Actor{}, room, "a", ""); err != nil {
			t.Error(err)
		}
		if asked, published := r.taken(), w.broker.taken(); len(asked) != 0 || len(published) != 5 {
			t.Errorf("asked %q, published %d, want nothing and 5", asked, len(published))
		}
	})
}

// A request that is refused for another reason is not reviewed: checks come first.
func TestChecksComeBeforeReview(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		for _, check := range checks {
			a := newAttempt(t, w)
			if _, err := w.service.UpdateRoom(t.Context(), *a.session.Room, RoomChange{Handler: handled(lambda1, FallbackAllow)}); err != nil {
				t.Fatal(err)
			}
			check.arrange(a)
			if out := a.act(t.Context()); code(out.Err) != check.code || out.Later != nil {
				t.Errorf("%s: got %+v, want code %d", check.name, out, check.code)
			}
		}
		if asked := r.taken(); len(asked) != 0 {
			t.Errorf("asked %q", asked)
		}
	})
}

// The room's rate and the account's are charged before review, once: denied messages
// count, and allowed ones count no more than any.
func TestReviewedMessagesCostTheRateOnce(t *testing.T) {
	for name, verdict := range map[string]Verdict{"denied": {}, "allowed": {Allow: true, Content: "a"}} {
		t.Run(name, func(t *testing.T) {
			reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
				const rate, quota = 3, 5
				w.limit(Quotas{SendMessage: quota})
				r.verdict = says(verdict, nil)
				room := w.room(t, RoomSpec{MaximumMessageRatePerSecond: rate, Handler: handled(lambda1, FallbackAllow)}).ARN
				other := w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN
				count := func(room ARN) (passed int) {
					for s := w.member(t, room); ; passed++ {
						out := w.finish(t, s, `{"Action":"SEND_MESSAGE","Content":"a"}`)
						if code(out.Err) == TooManyRequests {
							return passed
						}
						if (out.Err == nil) != verdict.Allow {
							t.Fatalf("got %+v", out)
						}
					}
				}
				if got := count(room); got != rate {
					t.Errorf("in one second the room let %d pass, want %d", got, rate)
				}
				if got := count(other); got != quota-rate {
					t.Errorf("in one second the account had %d left, want %d: one refused by its room costs nothing", got, quota-rate)
				}
				if got := len(r.taken()); got != quota {
					t.Errorf("asked %d times, want %d", got, quota)
				}
			})
		})
	}
}

// A session's messages are shown in the order in which they were sent, in whichever
// their reviews end, and each is shown once that is so.
func TestReviewKeepsTheOrder(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		took := map[string]time.Duration{"a": 150, "b": 50, "c": 100, "d": 200, "e": 10}
		r.verdict = func(content string) (Verdict, error) {
			time.Sleep(took[content] * time.Millisecond)
			return Verdict{Allow: content != "c", Content: content}, nil
		}
		room := w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN
		s, begun := w.member(t, room), time.Now()
		var running sync.WaitGroup
		ends := map[string]time.Duration{}
		var mu sync.Mutex
		send := func(s *Session, content string) {
			t.Helper()
			out := w.service.Act(t.Context(), s, fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","Content":%q}`, content), true, time.Now())
			if out.Later == nil {
				t.Fatalf("%s: got %+v, want it to go on", content, out)
			}
			running.Go(func() {
				out := out.Later(context.Background(), alive)
				if (out.Err != nil) != (content == "c") {
					t.Errorf("%s: got %+v", content, out)
				}
				mu.Lock()
				defer mu.Unlock()
				ends[content] = time.Since(begun) / time.Millisecond
			})
		}
		for _, content := range []string{"a", "b", "c", "d"} {
			send(s, content)
		}
		send(w.member(t, room), "e") // another's does not wait
		// Nor does what is not reviewed stand behind it: a moderator acts at once.
		if out := w.service.Act(t.Context(), s, []byte(`{"Action":"DELETE_MESSAGE","Id":"a"}`), true, time.Now()); out.Err != nil || out.Later != nil {
			t.Errorf("delete: got %+v", out)
		}
		// The handler is detached: what follows is not reviewed, and keeps its place.
		if _, err := w.service.UpdateRoom(t.Context(), room, RoomChange{Handler: handled("", FallbackAllow)}); err != nil {
			t.Fatal(err)
		}
		send(s, "f")
		running.Wait()
		var shown []string
		for _, pub := range w.broker.taken() {
			if _, content, found := strings.Cut(string(pub.Frame), `"Content":"`); found {
				shown = append(shown, content[:1])
			}
		}
		if want := []string{"e", "a", "b", "d", "f"}; !slices.Equal(shown, want) {
			t.Errorf("got %q, want %q", shown, want)
		}
		for content, want := range map[string]time.Duration{"a": 150, "b": 150, "c": 150, "d": 200, "e": 10, "f": 200} {
			if got := ends[content]; got != want {
				t.Errorf("%s was through after %d ms, want %d", content, got, want)
			}
		}
		if got := len(r.taken()); got != 5 {
			t.Errorf("asked %d times, want 5", got)
		}
		out := w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"g"}`), true, time.Now())
		if out.Err != nil || out.Later != nil || len(w.broker.taken()) != 1 || s.previous != nil {
			t.Errorf("when all is through: got %+v, want it shown at once", out)
		}
	})
}

// A review that panics does not keep back what follows.
func TestReviewThatPanics(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		r.verdict = func(content string) (Verdict, error) {
			if content == "a" {
				panic("broken")
			}
			return Verdict{Allow: true, Content: content}, nil
		}
		s := w.member(t, w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			w.finish(t, s, `{"Action":"SEND_MESSAGE","Content":"a"}`)
		}()
		if got := w.publishes(t, s, `{"Action":"SEND_MESSAGE","Content":"b"}`); !strings.Contains(got, `"Content":"b"`) {
			t.Errorf("got %s", got)
		}
	})
}

// What a session sent that ended while it was reviewed, or while it waited for its
// turn, is not shown.
func TestSessionEndsDuringReview(t *testing.T) {
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		r.verdict = func(content string) (Verdict, error) {
			if content == "a" {
				time.Sleep(100 * time.Millisecond)
			}
			return Verdict{Allow: true, Content: content}, nil
		}
		s, begun := w.member(t, w.room(t, RoomSpec{Handler: handled(lambda1, FallbackAllow)}).ARN), time.Now()
		live := func() bool { return time.Since(begun) < 50*time.Millisecond }
		var running sync.WaitGroup
		first := w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"a"}`), true, time.Now())
		running.Go(func() {
			if out := first.Later(context.Background(), live); out.Err != ErrSessionEnded {
				t.Errorf("its review ends too late: got %+v, want %v", out, ErrSessionEnded)
			}
		})
		synctest.Wait()
		out := w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"b"}`), true, time.Now())
		if out = out.Later(t.Context(), live); out.Err != ErrSessionEnded {
			t.Errorf("its turn comes too late: got %+v, want %v", out, ErrSessionEnded)
		}
		running.Wait()
		if got := len(w.broker.taken()); got != 0 {
			t.Errorf("published %d, want nothing", got)
		}
	})
}

// A handler that may not be invoked is refused in the service's words, and nothing is
// stored.
func TestVerifyHandler(t *testing.T) {
	const text = "Request member: uri failed to satisfy the constraints: invalid lambda permission"
	refused := func(t *testing.T, err error) {
		t.Helper()
		e := AsError(err)
		if err == nil || e.Code != BadRequest || e.Message != text || len(e.Fields) != 1 || e.Fields[0] != (FieldError{Name: "uri", Message: text}) {
			t.Errorf("got %+v, want %q of uri", e, text)
		}
	}
	reviewed(t, func(t *testing.T, w *world, r *fakeReviewer) {
		room := w.room(t, RoomSpec{Name: "before", Handler: handled(lambda1, FallbackAllow)}).ARN
		if want := []string{lambda1}; !slices.Equal(r.verified, want) {
			t.Errorf("verified %q, want %q", r.verified, want)
		}
		r.verified, r.refuses = nil, true
		before := len(w.store.rooms)
		_, err := w.service.CreateRoom(t.Context(), testScope, RoomSpec{Handler: handled(lambda2, FallbackAllow)})
		refused(t, err)
		_, err = w.service.UpdateRoom(t.Context(), room, RoomChange{Name: ptr("after"), Handler: &HandlerChange{URI: ptr(lambda2)}})
		refused(t, err)
		got, err := w.service.GetRoom(t.Context(), room)
		if err != nil || got.Name != "before" || got.Handler.URI != lambda1 || len(w.store.rooms) != before {
			t.Errorf("something was stored: %+v, %v", got, err)
		}
		if published := w.broker.taken(); len(published) != 0 {
			t.Errorf("published %d", len(published))
		}
		if want := []string{lambda2, lambda2}; !slices.Equal(r.verified, want) {
			t.Errorf("verified %q, want %q", r.verified, want)
		}
		// What names no handler is not asked about.
		r.verified = nil
		for _, change := range []RoomChange{
			{Name: ptr("after")}, {Handler: &HandlerChange{Fallback: ptr(FallbackDeny)}}, {Handler: &HandlerChange{URI: ptr("")}},
		} {
			if _, err := w.service.UpdateRoom(t.Context(), room, change); err != nil {
				t.Error(err)
			}
		}
		for _, handler := range []*HandlerChange{nil, {}, {URI: ptr("")}, {Fallback: ptr(FallbackDeny)}} {
			if _, err := w.service.CreateRoom(t.Context(), testScope, RoomSpec{Handler: handler}); err != nil {
				t.Error(err)
			}
		}
		if len(r.verified) != 0 {
			t.Errorf("verified %q", r.verified)
		}
	})
}
