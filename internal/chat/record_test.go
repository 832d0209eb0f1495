package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// diary is a Recorder that notes what it is told, and when.
type diary struct {
	world *world
	lines []string
}

func (d *diary) Intend(pub *Publication, to []*LoggingConfiguration) func(bool) {
	names := ""
	for _, lc := range to {
		names += " " + lc.Destination.Name
	}
	what := fmt.Sprintf("%d%s", pub.Kind, names)
	if pub.Frame == nil {
		what += " without a frame"
	}
	for _, p := range d.world.broker.published {
		if p == pub {
			what += " too late"
		}
	}
	return func(published bool) {
		d.lines = append(d.lines, fmt.Sprintf("%s: %t %d", what, published, pub.Position.Number))
	}
}

func (d *diary) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := strings.Join(d.lines, "; "); got != strings.Join(want, "; ") {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
	d.lines = nil
}

func TestRecords(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		d := &diary{world: w}
		w.service.recorder = d
		one, two := w.loggingConfiguration(t).ARN, w.loggingConfiguration(t).ARN
		rename := func(arn ARN, name string) {
			t.Helper()
			if _, err := w.service.UpdateLoggingConfiguration(t.Context(), arn, LoggingConfigurationChange{Destination: &Destination{Kind: DestinationS3, Name: name}}); err != nil {
				t.Fatal(err)
			}
		}
		attach := func(arn ARN, to ...ARN) {
			t.Helper()
			if _, err := w.service.UpdateRoom(t.Context(), arn, RoomChange{LoggingConfigurations: &to}); err != nil {
				t.Fatal(err)
			}
		}
		rename(two, "second")
		room := w.room(t, RoomSpec{MaximumMessageRatePerSecond: 1}).ARN
		session := w.session(t, TokenSpec{Room: room, UserID: "u", Capabilities: everything})
		act := func(request string) error {
			return w.service.Act(t.Context(), session, []byte(request), true, time.Now()).Err
		}
		send := func() error { time.Sleep(time.Second); return act(`{"Action":"SEND_MESSAGE","Content":"a"}`) }

		if err := send(); err != nil {
			t.Fatal(err)
		}
		d.want(t, "a room that does not log")

		attach(room, one)
		d.want(t, "a change of the room")
		send()
		d.want(t, "the next message", "0 bucket: true 3")
		attach(room, one, two)
		send()
		d.want(t, "another destination", "0 bucket second: true 5")
		rename(one, "first")
		send()
		d.want(t, "a changed destination", "0 first second: true 6")

		if err := act(`{"Action":"SEND_MESSAGE","Content":"over the rate"}`); code(err) != TooManyRequests {
			t.Errorf("got %v", err)
		}
		d.want(t, "over the room's rate", "0 first second: false 0")
		act(`{"Action":"SEND_MESSAGE","Content":""}`)
		act(`{"Action":"DELETE_MESSAGE"}`)
		act(`nonsense`)
		d.want(t, "what is answered by ERROR")
		time.Sleep(time.Second)
		for _, request := range []string{`{"Action":"DELETE_MESSAGE","Id":"x"}`, `{"Action":"DISCONNECT_USER","UserId":"x"}`} {
			if err := act(request); err != nil {
				t.Fatal(err)
			}
		}
		d.want(t, "by connections", "2 first second: true 7", "3 first second: true 8")
		if _, err := w.service.SendEvent(t.Context(), room, "e", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.DeleteMessage(t.Context(), room, "x", ""); err != nil {
			t.Fatal(err)
		}
		if err := w.service.DisconnectUser(t.Context(), Actor{}, room, "x", ""); err != nil {
			t.Fatal(err)
		}
		d.want(t, "by the API", "1 first second: true 9", "2 first second: true 10", "3 first second: true 11")

		w.broker.fails = errors.New("gone")
		send()
		w.broker.fails = nil
		d.want(t, "the broker fails", "0 first second: false 0")
		w.broker.deliver = append(w.broker.deliver, func(*Publication) { panic("by deliver") })
		func() {
			defer func() { recover() }()
			send()
		}()
		w.broker.deliver = w.broker.deliver[:1]
		d.want(t, "a panic, after which clients may have seen it", "0 first second: true 12")

		// A configuration that goes between the look at the room and the one at it.
		delete(w.store.configs, two)
		w.service.logs.forget(two)
		if err := send(); err != nil {
			t.Errorf("without a configuration: got %v", err)
		}
		d.want(t, "the others are told", "0 first: true 13")
		attach(room)
		send()
		d.want(t, "a room that logs no more")
		if err := w.service.DeleteRoom(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		d.want(t, "the end of a room")
	})
}

// Denied messages are not recorded, reviewed ones as they are shown.
func TestReviewedRecords(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		d := &diary{world: w}
		w.service.recorder = d
		room := w.room(t, RoomSpec{Handler: &HandlerChange{URI: ptr("arn:aws:lambda:us-west-2:123456789012:function:f")}, LoggingConfigurations: []ARN{w.loggingConfiguration(t).ARN}}).ARN
		session := w.session(t, TokenSpec{Room: room, UserID: "u", Capabilities: everything})
		for _, allow := range []bool{false, true} {
			w.service.reviewer = verdict{Allow: allow, Content: "b"}
			out := w.service.Act(t.Context(), session, []byte(`{"Action":"SEND_MESSAGE","Content":"a"}`), true, time.Now())
			if out.Later != nil {
				out.Later(t.Context(), func() bool { return true })
			}
		}
		d.want(t, "after review", "0 bucket: true 1")
	})
}

type verdict Verdict

func (v verdict) Review(context.Context, string, []byte, func(*Verdict) error) (Verdict, error) {
	return Verdict(v), nil
}

func (v verdict) Verify(context.Context, string) error { return nil }

// No frame is larger than the chat log's spool takes.
func TestLargestFrame(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		session := w.session(t, TokenSpec{Room: room, UserID: strings.Repeat("\x01", MaxUserIDLength), Capabilities: everything,
			Attributes: map[string]string{"a": strings.Repeat("\x01", MaxAttributesSize-1)}})
		largest := 0
		for _, filler := range []string{`\u0001`, "😀", "x", `\ud800`} {
			request := `{"Action":"SEND_MESSAGE","Content":"` + strings.Repeat(filler, 500) + `","RequestId":"` + strings.Repeat(filler, MaxRequestIDLength/4) +
				`","Attributes":{"a":"` + strings.Repeat(filler, 255) + `"}}`
			time.Sleep(time.Second)
			if err := w.service.Act(t.Context(), session, []byte(request), true, time.Now()).Err; err != nil {
				t.Errorf("%q: %v", filler, err)
			}
			for _, pub := range w.broker.taken() {
				largest = max(largest, len(pub.Frame))
			}
		}
		if largest < 8<<10 || largest > 64<<10 {
			t.Errorf("got %d bytes, want at most 64 KB", largest)
		}
		t.Log(largest, "bytes")
	})
}

// What may have been shown is kept: rather one record too many.
func TestUnknownOutcomeIsRecorded(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		d := &diary{world: w}
		w.service.recorder = d
		to := []ARN{w.loggingConfiguration(t).ARN}
		room := w.room(t, RoomSpec{LoggingConfigurations: to}).ARN
		for fails, want := range map[error]string{
			fmt.Errorf("%w: it went away", ErrUnknownOutcome): ": true 0",
			errors.New("refused"):                             ": false 0",
		} {
			d.lines = nil
			w.broker.fails = fails
			if _, err := w.service.SendEvent(t.Context(), room, "e", nil); !errors.Is(err, fails) {
				t.Errorf("got %v, want %v", err, fails)
			}
			w.broker.fails = nil
			if len(d.lines) != 1 || !strings.HasSuffix(d.lines[0], want) {
				t.Errorf("%v: got %q, want one that ends with %q", fails, d.lines, want)
			}
		}
	})
}
