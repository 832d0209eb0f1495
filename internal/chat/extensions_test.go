package chat

import (
	"strings"
	"testing"
	"time"
)

func TestParseExtensions(t *testing.T) {
	if x, err := ParseExtensions(map[string]string{"team": "live", "Parlor:slow-mode": "5s"}); x != nil || err != nil {
		t.Errorf("no tags of ours: got %v, %v", x, err)
	}
	x, err := ParseExtensions(map[string]string{"parlor:slow-mode": "1m30s", "parlor:read-only": "true", "parlor:duplicate-window": "30s", "team": "live"})
	if err != nil || *x != (Extensions{ReadOnly: true, SlowMode: 90 * time.Second, DuplicateWindow: 30 * time.Second}) {
		t.Errorf("got %+v, %v", x, err)
	}
	for tag, want := range map[string]string{
		"parlor:slow-mode=":           "parlor:slow-mode must be a time between 1s and 6h, such as 30s",
		"parlor:slow-mode=5":          "parlor:slow-mode must be a time",
		"parlor:slow-mode=999ms":      "parlor:slow-mode must be a time",
		"parlor:slow-mode=7h":         "parlor:slow-mode must be a time",
		"parlor:slow-mode=-5s":        "parlor:slow-mode must be a time",
		"parlor:duplicate-window=61m": "parlor:duplicate-window must be a time between 1s and 1h",
		"parlor:read-only=yes":        "parlor:read-only must be true or false",
		"parlor:slowmode=5s":          "parlor:slowmode is not known: there are parlor:",
		"parlor:=5s":                  "parlor: is not known",
	} {
		name, value, _ := strings.Cut(tag, "=")
		if _, err := ParseExtensions(map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", tag, err, want)
		}
	}
}

// said is what became of each message: "" when it was shown.
func said(t *testing.T, w *world, s *Session, content string) (code Code, text string) {
	t.Helper()
	out := w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"`+content+`"}`), true, time.Now())
	if out.Err == nil {
		return -1, ""
	}
	return AsError(out.Err).Code, AsError(out.Err).Message
}

func (w *world) tagged(t *testing.T, tags map[string]string) ARN {
	t.Helper()
	return w.room(t, RoomSpec{MaximumMessageRatePerSecond: 3, Tags: tags}).ARN
}

func TestSlowMode(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.tagged(t, map[string]string{"parlor:slow-mode": "5s"})
		as := func(user string, c Capability) *Session {
			return w.session(t, TokenSpec{Room: room, UserID: user, Capabilities: c})
		}
		ann, annElsewhere, bob, mod := as("ann", MaySendMessage), as("ann", MaySendMessage), as("bob", MaySendMessage), as("mod", MaySendMessage|MayDeleteMessage)
		for i, step := range []struct {
			after   time.Duration
			session *Session
			want    string
		}{
			{0, ann, ""},
			{time.Second, annElsewhere, "The room is in slow mode: you may send a message again in 4 s."},
			{0, bob, ""},
			{3500 * time.Millisecond, ann, "The room is in slow mode: you may send a message again in 1 s."},
			{500 * time.Millisecond, annElsewhere, ""},
			{0, ann, "The room is in slow mode: you may send a message again in 5 s."},
			{time.Second, mod, ""},
			{time.Second, mod, ""},
		} {
			time.Sleep(step.after)
			code, got := said(t, w, step.session, "hello")
			if got != step.want || got != "" && code != TooManyRequests {
				t.Errorf("step %d: got %s %q, want %q", i, code, got, step.want)
			}
		}
		// What the room's rate refuses does not use up the turn.
		time.Sleep(5 * time.Second)
		for code := Code(-1); code == -1; {
			code, _ = said(t, w, mod, "x")
		}
		if code, text := said(t, w, ann, "refused"); code != TooManyRequests || text != "rate limit exceeded" {
			t.Fatalf("got %s %q, want the room's rate", code, text)
		}
		time.Sleep(time.Second)
		if code, text := said(t, w, ann, "at last"); code != -1 {
			t.Errorf("got %s %q, want it shown", code, text)
		}
		// It acts on live sessions, and stops to.
		if err := w.service.UntagResource(t.Context(), room, []string{"parlor:slow-mode"}); err != nil {
			t.Fatal(err)
		}
		if code, text := said(t, w, ann, "at once"); code != -1 {
			t.Errorf("untagged: got %s %q, want it shown", code, text)
		}
	})
}

func TestReadOnly(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.tagged(t, nil)
		ann := w.session(t, TokenSpec{Room: room, UserID: "ann", Capabilities: MaySendMessage})
		mod := w.session(t, TokenSpec{Room: room, UserID: "mod", Capabilities: MaySendMessage | MayDeleteMessage})
		if code, text := said(t, w, ann, "before"); code != -1 {
			t.Fatal(code, text)
		}
		if err := w.service.TagResource(t.Context(), room, map[string]string{"parlor:read-only": "true"}); err != nil {
			t.Fatal(err)
		}
		if code, text := said(t, w, ann, "now"); code != Forbidden || text != "The room is read-only." {
			t.Errorf("got %s %q", code, text)
		}
		if code, text := said(t, w, mod, "now"); code != -1 {
			t.Errorf("a moderator: got %s %q", code, text)
		}
		if err := w.service.TagResource(t.Context(), room, map[string]string{"parlor:read-only": "false"}); err != nil {
			t.Fatal(err)
		}
		if code, text := said(t, w, ann, "after"); code != -1 {
			t.Errorf("got %s %q", code, text)
		}
	})
}

func TestDuplicateWindow(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.tagged(t, map[string]string{"parlor:duplicate-window": "30s"})
		ann := w.session(t, TokenSpec{Room: room, UserID: "ann", Capabilities: MaySendMessage})
		bob := w.session(t, TokenSpec{Room: room, UserID: "bob", Capabilities: MaySendMessage})
		for i, step := range []struct {
			after   time.Duration
			session *Session
			content string
			want    string
		}{
			{0, ann, "first", ""},
			{time.Second, ann, "first", "You have just said the same."},
			{0, bob, "first", ""},
			{time.Second, ann, "other", ""},
			{27 * time.Second, ann, "first", "You have just said the same."},
			{time.Second, ann, "first", ""},
		} {
			time.Sleep(step.after)
			if code, got := said(t, w, step.session, step.content); got != step.want || got != "" && code != NotAcceptable {
				t.Errorf("step %d: got %s %q, want %q", i, code, got, step.want)
			}
		}
	})
}

// A message that review refuses gives its turn back.
func TestSlowModeAndReview(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		uri := "arn:aws:lambda:us-west-2:123456789012:function:deny"
		deny := FallbackDeny
		room := w.room(t, RoomSpec{Handler: &HandlerChange{URI: &uri, Fallback: &deny}, Tags: map[string]string{"parlor:slow-mode": "1h"}}).ARN
		ann := w.session(t, TokenSpec{Room: room, UserID: "ann", Capabilities: MaySendMessage})
		for range 2 {
			out := w.service.Act(t.Context(), ann, []byte(`{"Action":"SEND_MESSAGE","Content":"x"}`), true, time.Now())
			if out.Err == nil && out.Later != nil {
				out = out.Later(t.Context(), func() bool { return true })
			}
			if AsError(out.Err).Code != NotAcceptable {
				t.Errorf("got %v, want review's refusal", out.Err)
			}
		}
	})
}

// obvious is a set of rules: it refuses "bad", masks "rude" and flags "odd".
type obvious struct{}

func (obvious) Judge(content string) Filtered {
	out := Filtered{Content: strings.ReplaceAll(content, "rude", "****")}
	if strings.Contains(content, "bad") {
		out.Refused = "Not here."
	}
	if strings.Contains(content, "odd") {
		out.Flags = []string{"words", "links"}
	}
	return out
}

func TestFilter(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.service = NewService(ServiceConfig{Store: w.store, Broker: w.broker, TokenLifetime: time.Hour, Filters: map[string]Filter{"family": obvious{}}})
		if err := w.service.CheckTags(map[string]string{"parlor:filter": "familiy"}); err == nil || !strings.Contains(err.Error(), `parlor:filter must be the name of a set of rules of the server's --filters, and "familiy" is none`) {
			t.Errorf("got %v", err)
		}
		tags := map[string]string{"parlor:filter": "family", "parlor:slow-mode": "1s"}
		if err := w.service.CheckTags(tags); err != nil {
			t.Fatal(err)
		}
		room := w.tagged(t, tags)
		ann := w.session(t, TokenSpec{Room: room, UserID: "ann", Capabilities: MaySendMessage})
		mod := w.session(t, TokenSpec{Room: room, UserID: "mod", Capabilities: MaySendMessage | MayDeleteMessage})
		if code, text := said(t, w, ann, "bad"); code != NotAcceptable || text != "Not here." {
			t.Errorf("got %s %q", code, text)
		}
		w.broker.taken()
		if code, text := said(t, w, ann, "a rude and odd word"); code != -1 { // what was refused did not use up the turn
			t.Fatalf("got %s %q", code, text)
		}
		if frame := string(w.broker.taken()[0].Frame); !strings.Contains(frame, `"Content":"a **** and odd word"`) || !strings.Contains(frame, `"parlor:flag":"words,links"`) {
			t.Errorf("got %s", frame)
		}
		if code, text := said(t, w, mod, "bad"); code != -1 {
			t.Errorf("a moderator: got %s %q", code, text)
		}
	})
}
