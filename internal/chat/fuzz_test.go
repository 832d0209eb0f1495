package chat

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// IVS-MODEL: RoomArn, LoggingConfigurationArn
var arnPattern = regexp.MustCompile(`^arn:aws:ivschat:([a-z0-9-]+):[0-9]+:(room|logging-configuration)/[a-zA-Z0-9-]+$`)

func FuzzParseARN(f *testing.F) {
	f.Add("arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6")
	f.Add("arn:aws:ivschat:us-west-2:123456789012:logging-configuration/g1H2I3j4k5L6")
	f.Add("arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6\n")
	f.Add("arn:aws:ivschat::1:room/")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseARN(s)
		m := arnPattern.FindStringSubmatch(s)
		if want := m != nil && len(s) <= MaxARNLength && len(m[1]) <= 32; (err == nil) != want {
			t.Errorf("%q: got %v, want accepted %v", s, err, want)
		}
		if err == nil && got.String() != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// FuzzAction hands messages to a session that may do everything.
func FuzzAction(f *testing.F) {
	f.Add([]byte(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"hi","Attributes":{"k":"v"}}`))
	f.Add([]byte(`{"action":"SEND_MESSAGE","content":" \ud83d \u0000","attributes":null,"id":"x"}`))
	f.Add([]byte(`{"Action":"DELETE_MESSAGE","RequestId":"r","Id":"M2YcHkgffEvU","Reason":"rude"}`))
	f.Add([]byte(`{"Action":"DISCONNECT_USER","RequestId":"r","UserId":"u","Reason":""}`))
	f.Add([]byte(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":1}`))
	f.Add([]byte(`{"Action":"SEND_MESSAGE","RequestId":1,"Attributes":{"a":null}}`))
	f.Add([]byte(`{"RequestId":"` + strings.Repeat("x", 300) + `"}`))
	f.Add([]byte(` [{}] `))
	w := newWorld()
	var last *Publication
	w.broker.forgetful = true
	w.broker.deliver = append(w.broker.deliver, func(pub *Publication) { last = pub })
	room := w.room(f, RoomSpec{MaximumMessageRatePerSecond: 1e9})
	template := w.session(f, TokenSpec{Room: room.ARN, UserID: "u", Capabilities: everything})
	f.Fuzz(func(t *testing.T, message []byte) {
		session := *template
		last = nil
		out := w.service.Act(context.Background(), &session, message, true, time.Now())
		if len(out.RequestID) > MaxRequestIDLength || !utf8.ValidString(out.RequestID) {
			t.Errorf("RequestID: got %q", out.RequestID)
		}
		var only struct {
			RequestID string `json:"RequestId"`
		}
		if json.Unmarshal(message, &only) == nil && len(only.RequestID) <= MaxRequestIDLength && out.RequestID != only.RequestID {
			t.Errorf("RequestID: got %q, want %q", out.RequestID, only.RequestID)
		}
		if out.Err != nil {
			e := AsError(out.Err)
			if e.Code != BadRequest && e.Code != TooLarge || e.Message == "" || last != nil {
				t.Errorf("got %d %q, published %v", e.Code, e.Message, last)
			}
			return
		}
		if _, known := CapabilityNames[out.Action]; !known || last == nil {
			t.Fatalf("got %+v, published %v", out, last)
		}
		var frame struct {
			Type, SendTime string
			RequestID      *string `json:"RequestId"`
		}
		if err := json.Unmarshal(last.Frame, &frame); err != nil || !utf8.Valid(last.Frame) {
			t.Fatalf("%s: %v", last.Frame, err)
		}
		if frame.RequestID == nil || *frame.RequestID != out.RequestID || frame.Type == "ERROR" || !strings.Contains(frame.SendTime, ".") {
			t.Errorf("got %s", last.Frame)
		}
	})
}

func FuzzOpenToken(f *testing.F) {
	w := newWorld()
	// A fixed key and nonce: the one genuine token is the same in every process.
	w.store.keys = []TokenKey{{ID: 0, Created: time.Now(), Secret: make([]byte, 32)}}
	claims := Claims{Room: ARN{testScope, KindRoom, "g1H2I3j4k5L6"}, UserID: "u", Attributes: map[string]string{"k": "v"},
		TokenExpires: time.Now().Truncate(time.Hour).Add(2 * time.Hour), SessionExpires: time.Now().Truncate(time.Hour).Add(3 * time.Hour)}
	key, err := w.service.sealer.sealingKey(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	head := make([]byte, tokenHeader)
	head[0] = tokenVersion
	genuine := base64.RawURLEncoding.EncodeToString(key.aead.Seal(head, head[5:], appendClaims(nil, &claims), head[:5]))
	f.Add(genuine)
	f.Add(genuine + "\n")
	f.Add(genuine[:30])
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		w.service.sealer.reloaded = time.Time{} // an unknown key need not wait
		got, err := w.service.OpenToken(context.Background(), token)
		switch {
		case token == genuine && err != nil:
			t.Errorf("the genuine token: %v", err)
		case err == nil: // the genuine token, or that of a worker begun in another hour
			if got.UserID != claims.UserID || got.Room != claims.Room {
				t.Errorf("%q: got %+v", token, got)
			}
		case err != errToken:
			t.Errorf("%q: got %+v %v, want %v", token, got, err, errToken)
		}
	})
}

func FuzzPageToken(f *testing.F) {
	l := listing{scope: testScope, what: KindRoom}
	f.Add(l.token(testCursor))
	f.Add(l.token(testCursor) + "\r\n")
	f.Add(l.token(Cursor{UpdateTime: time.UnixMicro(-1), ID: "x"}))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := l.parseToken(token)
		switch {
		case token == "" && (got != Cursor{} || err != nil):
			t.Errorf("no token: got %v %v", got, err)
		case err != nil && err != errPageToken:
			t.Errorf("%q: got %v, want %v", token, err, errPageToken)
		case err == nil && token != "" && l.token(got) != token:
			t.Errorf("%q: %v, whose token is %q", token, got, l.token(got))
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("hello")
	f.Add("<b>\"\\\x00\x1f\x7f\u2028\U0001f600")
	f.Add("\xff\xc3(\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString([]byte("x"), s)
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil || b[0] != 'x' || !utf8.Valid(b) {
			t.Fatalf("%q: %q %v", s, b, err)
		}
		if want := string([]rune(s)); got != want { // each invalid byte becomes U+FFFD
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add(appendClaims(nil, &Claims{Room: ARN{testScope, KindRoom, "g1H2I3j4k5L6"}, UserID: "u", Capabilities: everything,
		Attributes: map[string]string{"k": "v", "": ""}, TokenExpires: captured, SessionExpires: captured}))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		claims, err := parseClaims(b)
		if err != nil {
			return
		}
		again, err := parseClaims(appendClaims(nil, &claims))
		if diff := cmp.Diff(claims, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
