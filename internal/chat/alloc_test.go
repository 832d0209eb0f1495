package chat

import (
	"context"
	"testing"
	"time"
)

const sendMessage = `{"Action":"SEND_MESSAGE","RequestId":"8fe65e61-1b7c-4f0e-9d0e-3c1d2a4b5c6d","Content":"hello, everybody","Attributes":{"color":"blue"}}`

// hotWorld has a room without limits, and a session in it.
func hotWorld(t testing.TB) (*world, *Session, string) {
	t.Helper()
	w := newWorld()
	w.broker.forgetful = true
	room := w.room(t, RoomSpec{MaximumMessageRatePerSecond: 1e9}).ARN
	spec := TokenSpec{Room: room, UserID: "user-1", Capabilities: everything, Attributes: map[string]string{"username": "x", "badge": "moderator"}}
	token, _ := w.token(t, w.service, spec)
	return w, w.session(t, spec), token
}

// act carries out a request with a full rate bucket.
func act(w *world, session *Session, message []byte) error {
	session.rate = Rate{}
	return w.service.Act(context.Background(), session, message, true, time.Now()).Err
}

// TestAllocations is what the hot paths may allocate: what they did when it was
// written, under the race detector, which costs a message one more.
func TestAllocations(t *testing.T) {
	w, session, token := hotWorld(t)
	claims, err := w.service.OpenToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	bare := []byte(`{"Action":"SEND_MESSAGE","Content":"hello, everybody"}`)
	full := []byte(sendMessage)
	frame := make([]byte, 0, 1<<10)
	for _, test := range []struct {
		name string
		want float64
		do   func() error
	}{
		{"SEND_MESSAGE", 11, func() error { return act(w, session, bare) }},
		{"SEND_MESSAGE with a request id and an attribute", 25, func() error { return act(w, session, full) }},
		{"over the connection's rate", 8, func() error {
			session.rate = Rate{free: time.Now().Add(time.Hour)}
			w.service.Act(context.Background(), session, bare, true, time.Now())
			return nil
		}},
		{"encode a frame", 0, func() error {
			appendMessage(frame, "M2YcHkgffEvU", "r", map[string]string{"k": "v"}, "hello", captured, session.sender)
			return nil
		}},
		{"seal", 13, func() error { return second(w.service.sealer.Seal(context.Background(), &claims)) }},
		{"open", 11, func() error { return second(w.service.OpenToken(context.Background(), token)) }},
	} {
		got := testing.AllocsPerRun(1000, func() {
			if err := test.do(); err != nil {
				t.Fatal(err)
			}
		})
		if got > test.want {
			t.Errorf("%s: got %v allocations, want at most %v", test.name, got, test.want)
		}
	}
}

func BenchmarkAct(b *testing.B) {
	w, session, _ := hotWorld(b)
	message := []byte(sendMessage)
	for b.Loop() {
		if err := act(w, session, message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	w, _, token := hotWorld(b)
	claims, err := w.service.OpenToken(b.Context(), token)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := w.service.sealer.Seal(context.Background(), &claims); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	w, _, token := hotWorld(b)
	for b.Loop() {
		if _, err := w.service.OpenToken(context.Background(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	_, session, _ := hotWorld(b)
	attributes := map[string]string{"color": "blue"}
	frame := make([]byte, 0, 1<<10)
	for b.Loop() {
		frame = appendMessage(frame[:0], "M2YcHkgffEvU", "8fe65e61-1b7c-4f0e-9d0e-3c1d2a4b5c6d", attributes, "hello, everybody", captured, session.sender)
	}
}

func BenchmarkParseAction(b *testing.B) {
	message := []byte(sendMessage)
	for b.Loop() {
		if _, err := parseAction(message); err != nil {
			b.Fatal(err)
		}
	}
}
