package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parlor/internal/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessageReachesEverybodyIncludingItsSender(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	alice := n.open(n.token(chat.TokenSpec{Room: room, UserID: "alice", Capabilities: everything, Attributes: map[string]string{"b": "2", "a": "1"}}), nil)
	bob := n.connect(room, "bob")
	alice.send(`{"Action":"SEND_MESSAGE","RequestId":"r1","Content":"hello <b> \"you\" \u00e9\n","Attributes":{"k":"v"}}`)
	want := regexp.MustCompile(`^\{"Type":"MESSAGE","Id":"[A-Za-z0-9]{12}","RequestId":"r1","Attributes":\{"k":"v"\},` +
		`"Content":"hello <b> \\"you\\" é\\n","SendTime":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z",` +
		`"Sender":\{"UserId":"alice","Attributes":\{"a":"1","b":"2"\}\}\}$`)
	for _, c := range []*client{alice, bob} {
		if got := c.next().raw; !want.MatchString(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	bob.send(`{"action":"SEND_MESSAGE","content":"hi"}`)
	want = regexp.MustCompile(`"RequestId":"","Attributes":null,"Content":"hi",.*"Sender":\{"UserId":"bob","Attributes":\{\}\}\}$`)
	for _, c := range []*client{alice, bob} {
		if got := c.next().raw; !want.MatchString(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRoomsAreApart(t *testing.T) {
	n := startNode(t, nodeOptions{})
	alice := n.connect(n.room(chat.RoomSpec{}).ARN, "alice")
	bob := n.connect(n.room(chat.RoomSpec{}).ARN, "bob")
	alice.send(`{"Action":"SEND_MESSAGE","Content":"mine"}`)
	alice.next()
	bob.send(`{"Action":"SEND_MESSAGE","Content":"his"}`)
	if got := bob.next().Content; got != "his" {
		t.Errorf("got %q, want %q", got, "his")
	}
}

func TestRequestsThatFail(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{MaximumMessageLength: 5, MaximumMessageRatePerSecond: 100}).ARN
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, test := range []struct {
		name, request string
		code          int
		id            string
	}{
		{"not JSON", `hello`, 400, ""},
		{"not an object", `["SEND_MESSAGE"]`, 400, ""},
		{"null", `null`, 400, ""},
		{"empty", ``, 400, ""},
		{"trailing text", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"} b`, 400, ""},
		{"no action", `{"RequestId":"x"}`, 400, "x"},
		{"unknown action", `{"Action":"SEND_EVENT","RequestId":"x"}`, 400, "x"},
		{"no content", `{"Action":"SEND_MESSAGE","RequestId":"x"}`, 400, "x"},
		{"blank content", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":" \u3000\n"}`, 400, "x"},
		{"content of the wrong type", `{"Action":"SEND_MESSAGE","Content":1,"RequestId":"x"}`, 400, "x"},
		{"attributes of the wrong type", `{"Action":"SEND_MESSAGE","Attributes":[],"Content":"a","RequestId":"x"}`, 400, "x"},
		{"attribute that is no string", `{"Action":"SEND_MESSAGE","Attributes":{"a":1},"Content":"a","RequestId":"x"}`, 400, "x"},
		{"attribute that is null", `{"Action":"SEND_MESSAGE","Attributes":{"a":null},"Content":"a","RequestId":"x"}`, 400, "x"},
		{"content too long", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"` + long(6) + `"}`, 400, "x"},
		{"attributes too large", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a","Attributes":{"a":"` + long(512) + `"}}`, 413, "x"},
		{"request id too long", `{"Action":"SEND_MESSAGE","RequestId":"` + long(129) + `","Content":"a"}`, 413, ""},
		{"request too large", `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"` + long(chat.MaxFrameSize/2) + `"}`, 413, "x"},
		{"no message id", `{"Action":"DELETE_MESSAGE","RequestId":"x"}`, 400, "x"},
		{"message id too long", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"` + long(129) + `"}`, 413, "x"},
		{"delete reason too long", `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"a","Reason":"` + long(257) + `"}`, 413, "x"},
		{"no user id", `{"Action":"DISCONNECT_USER","RequestId":"x"}`, 400, "x"},
		{"user id too long", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"` + long(129) + `"}`, 413, "x"},
		{"disconnect reason too long", `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"a","Reason":"` + long(257) + `"}`, 413, "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := n.connect(room, "user")
			c.send(test.request)
			c.wantError(test.id, test.code)
			// The connection is kept.
			c.send(`{"Action":"SEND_MESSAGE","Content":"` + long(5) + `  "}`)
			if got := c.next(); got.Content != long(5)+"  " {
				t.Errorf("after the error: got %s", got.raw)
			}
			c.conn.CloseNow()
		})
	}
	t.Run("binary", func(t *testing.T) {
		c := n.connect(room, "user")
		if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"}`)); err != nil {
			t.Fatal(err)
		}
		c.wantError("x", 400)
	})
	t.Run("the text for a message too long", func(t *testing.T) {
		c := n.connect(room, "user")
		c.send(`{"Action":"SEND_MESSAGE","Content":"123456"}`)
		if got, want := c.wantError("", 400).ErrorMessage, "Message exceeds maximum length"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestCapabilities(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	requests := map[chat.Capability]string{
		chat.MaySendMessage:    `{"Action":"SEND_MESSAGE","RequestId":"x","Content":"a"}`,
		chat.MayDeleteMessage:  `{"Action":"DELETE_MESSAGE","RequestId":"x","Id":"a"}`,
		chat.MayDisconnectUser: `{"Action":"DISCONNECT_USER","RequestId":"x","UserId":"a"}`,
	}
	for has := range requests {
		c := n.open(n.token(chat.TokenSpec{Room: room, UserID: fmt.Sprint(has), Capabilities: has}), nil)
		for needs, request := range requests {
			c.send(request)
			if has == needs {
				if got := c.next(); got.Type == "ERROR" || got.RequestID != "x" {
					t.Errorf("capability %d, request %d: got %s", has, needs, got.raw)
				}
			} else {
				c.wantError("x", 403)
			}
		}
		c.conn.CloseNow()
	}
	t.Run("none is needed to watch", func(t *testing.T) {
		viewer := n.open(n.token(chat.TokenSpec{Room: room, UserID: "viewer"}), nil)
		n.connect(room, "user").send(`{"Action":"SEND_MESSAGE","Content":"a"}`)
		if got := viewer.next().Content; got != "a" {
			t.Errorf("got %q, want %q", got, "a")
		}
	})
}

func TestDeleteMessage(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	moderator, viewer := n.connect(room, "moderator"), n.connect(room, "viewer")
	moderator.send(`{"Action":"DELETE_MESSAGE","RequestId":"r","Id":"M2YcHkgffEvU","Reason":"rude"}`)
	want := regexp.MustCompile(`^\{"Type":"EVENT","Id":"[A-Za-z0-9]{12}","RequestId":"r","EventName":"aws:DELETE_MESSAGE",` +
		`"Attributes":\{"MessageID":"M2YcHkgffEvU","MessageId":"M2YcHkgffEvU","Reason":"rude"\},"SendTime":"[^"]+Z"\}$`)
	for _, c := range []*client{moderator, viewer} {
		if got := c.next().raw; !want.MatchString(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	id, err := n.service.DeleteMessage(t.Context(), room, "M2YcHkgffEvU", "")
	if err != nil {
		t.Fatal(err)
	}
	got := viewer.next()
	if _, reason := got.Attributes["Reason"]; got.ID != id || got.RequestID != "" || reason {
		t.Errorf("got %s, want the event %s without a reason or request id", got.raw, id)
	}
}

func TestSendEvent(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	viewer := n.connect(room, "viewer")
	id, err := n.service.SendEvent(t.Context(), room, "poll:open", map[string]string{"q": "?"})
	if err != nil {
		t.Fatal(err)
	}
	if got := viewer.next(); got.Type != "EVENT" || got.ID != id || got.EventName != "poll:open" || got.Attributes["q"] != "?" {
		t.Errorf("got %s", got.raw)
	}
	if _, err := n.service.SendEvent(t.Context(), room, "bare", nil); err != nil {
		t.Fatal(err)
	}
	if got := viewer.next().raw; !strings.Contains(got, `"Attributes":null`) {
		t.Errorf("got %s, want null attributes", got)
	}
}

func TestDisconnectUser(t *testing.T) {
	onEveryPath(t, nodeOptions{}, disconnectUsers)
}

func disconnectUsers(t *testing.T, n *node) {
	room := n.room(chat.RoomSpec{}).ARN
	long := strings.Repeat("é", 200)
	for _, test := range []struct{ name, reason, close string }{
		{"with a reason", "spam", "spam"},
		{"without", "", ""},
		{"a reason longer than a close frame", long, long[:122]},
	} {
		t.Run(test.name, func(t *testing.T) {
			moderator, one, two := n.connect(room, "moderator"), n.connect(room, "kicked"), n.connect(room, "kicked")
			moderator.send(`{"Action":"DISCONNECT_USER","RequestId":"r","UserId":"kicked","Reason":"` + test.reason + `"}`)
			event := moderator.next()
			if event.EventName != "aws:DISCONNECT_USER" || event.Attributes["UserId"] != "kicked" || event.Attributes["Reason"] != test.reason || event.RequestID != "r" {
				t.Errorf("the moderator got %s", event.raw)
			}
			for _, c := range []*client{one, two} {
				code, reason, frames := c.closed()
				if code != websocket.StatusGoingAway || reason != test.close {
					t.Errorf("closed with %d %q, want 1001 %q", code, reason, test.close)
				}
				if len(frames) != 1 || frames[0].raw != event.raw {
					t.Errorf("before it: got %v, want the event", frames)
				}
			}
			n.connect(room, "kicked").conn.CloseNow() // may come back with a new token
			moderator.conn.CloseNow()
		})
	}
	t.Run("oneself", func(t *testing.T) {
		c := n.connect(room, "self")
		c.send(`{"Action":"DISCONNECT_USER","RequestId":"r","UserId":"self"}`)
		if code, _, frames := c.closed(); code != websocket.StatusGoingAway || len(frames) != 1 || frames[0].RequestID != "r" {
			t.Errorf("got %d after %v", code, frames)
		}
	})
	t.Run("somebody who is not there", func(t *testing.T) {
		c := n.connect(room, "moderator")
		c.send(`{"Action":"DISCONNECT_USER","RequestId":"r","UserId":"nobody"}`)
		if got := c.next(); got.RequestID != "r" || got.Type != "EVENT" {
			t.Errorf("got %s", got.raw)
		}
	})
}

func TestDeleteRoom(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	token := n.token(chat.TokenSpec{Room: room, UserID: "late"})
	c := n.connect(room, "user")
	if err := n.service.DeleteRoom(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	code, reason, frames := c.closed()
	var told struct {
		ErrorCode    int
		ErrorMessage string
	}
	if err := json.Unmarshal([]byte(reason), &told); err != nil || code != websocket.StatusGoingAway || told.ErrorCode != 404 || told.ErrorMessage == "" {
		t.Errorf("closed with %d %q", code, reason)
	}
	if len(frames) != 0 {
		t.Errorf("frames before it: %v", frames)
	}
	_, response, err := n.tryOpen(token, nil)
	if err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("connecting afterwards: got %v, want 404", response)
	}
}

func TestUpdateRoomActsOnLiveSessions(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connect(room, "user")
	c.send(`{"Action":"SEND_MESSAGE","Content":"12345"}`)
	c.next()
	reads := n.store.reads
	c.send(`{"Action":"SEND_MESSAGE","Content":"12345"}`)
	c.next()
	if got := n.store.reads - reads; got != 0 {
		t.Errorf("a message read the store %d times, want none", got)
	}
	four := 4
	if _, err := n.service.UpdateRoom(t.Context(), room, chat.RoomChange{MaximumMessageLength: &four}); err != nil {
		t.Fatal(err)
	}
	c.send(`{"Action":"SEND_MESSAGE","RequestId":"x","Content":"12345"}`)
	c.wantError("x", 400)
}

func TestHandshakeRefused(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	good := n.token(chat.TokenSpec{Room: room, UserID: "user"})
	used := n.token(chat.TokenSpec{Room: room, UserID: "user"})
	n.open(used, nil).conn.CloseNow()
	flip := func(i int) string {
		b := []byte(good)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return string(b)
	}
	messages := map[string]bool{}
	for _, test := range []struct {
		name, token string
		status      int
	}{
		{"no token", "", 401},
		{"garbage", "garbage", 401},
		{"cut", good[:len(good)-4], 401},
		{"version changed", flip(0), 401},
		{"key changed", flip(3), 401},
		{"nonce changed", flip(10), 401},
		{"claims changed", flip(40), 401},
		{"seal changed", flip(len(good) - 2), 401},
		{"used", used, 401},
		{"too long", strings.Repeat("A", chat.MaxTokenLength+1), 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, response, err := n.tryOpen(test.token, nil)
			if err == nil {
				t.Fatal("connected")
			}
			body, _ := io.ReadAll(response.Body)
			var told struct {
				ErrorCode    int
				ErrorMessage string
			}
			if err := json.Unmarshal(body, &told); err != nil || response.StatusCode != test.status || told.ErrorCode != test.status {
				t.Errorf("got %d %s, want %d", response.StatusCode, body, test.status)
			}
			if got := response.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content type: got %q", got)
			}
			messages[told.ErrorMessage] = true
		})
	}
	if len(messages) != 1 {
		t.Errorf("the refusals tell tokens apart: %v", messages)
	}
	n.open(good, nil) // none of this has spent it
}

func TestHandshakeMalformed(t *testing.T) {
	n := startNode(t, nodeOptions{})
	token := n.token(chat.TokenSpec{Room: n.room(chat.RoomSpec{}).ARN, UserID: "user"})
	for _, test := range []struct {
		name   string
		change func(http.Header)
		status int
	}{
		{"no upgrade", func(h http.Header) { h.Del("Upgrade") }, 426},
		{"no connection", func(h http.Header) { h.Del("Connection") }, 426},
		{"old version", func(h http.Header) { h.Set("Sec-WebSocket-Version", "8") }, 426},
		{"no key", func(h http.Header) { h.Del("Sec-WebSocket-Key") }, 400},
		{"short key", func(h http.Header) { h.Set("Sec-WebSocket-Key", "AAAA") }, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.address+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Close = true
			request.Header = http.Header{
				"Upgrade": {"websocket"}, "Connection": {"keep-alive, Upgrade"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {token},
			}
			test.change(request.Header)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != test.status {
				t.Errorf("got %d, want %d", response.StatusCode, test.status)
			}
		})
	}
	n.open(token, nil) // none of this has spent it
}

func TestSubprotocolIsEchoed(t *testing.T) {
	n := startNode(t, nodeOptions{})
	token := n.token(chat.TokenSpec{Room: n.room(chat.RoomSpec{}).ARN, UserID: "user"})
	c := n.open(token, &websocket.DialOptions{})
	if got := c.conn.Subprotocol(); got != token {
		t.Errorf("got %q, want the token", got)
	}
}

// TestPanicEndsOneRequest breaks something of ours under a request: it fails, and
// nothing else does.
func TestPanicEndsOneRequest(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.connect(n.room(chat.RoomSpec{}).ARN, "user")
	n.broker.mu.Lock()
	n.broker.panics = true
	n.broker.mu.Unlock()
	c.send(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"a"}`)
	c.wantError("r", 500)
	c.send(`{"Action":"SEND_MESSAGE","Content":"b"}`)
	if got := c.next().Content; got != "b" {
		t.Errorf("after it: got %q, want %q", got, "b")
	}
}

func TestConnectionRate(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.connect(n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 100}).ARN, "user")
	start := time.Now()
	const sent = 25
	for i := range sent {
		c.send(fmt.Sprintf(`{"Action":"SEND_MESSAGE","RequestId":"%d","Content":"a"}`, i))
	}
	accepted := 0
	for i := range sent {
		f := c.next()
		switch {
		case f.RequestID != fmt.Sprint(i):
			t.Errorf("answer %d: got %s", i, f.raw)
		case f.Type == "MESSAGE":
			accepted++
		case f.ErrorCode != 429 || f.ErrorMessage != "rate limit exceeded":
			t.Errorf("answer %d: got %s", i, f.raw)
		}
	}
	if most := chat.RequestsPerSecond + int(time.Since(start).Seconds()*chat.RequestsPerSecond) + 1; accepted < chat.RequestsPerSecond || accepted > most {
		t.Errorf("accepted: got %d, want %d to %d", accepted, chat.RequestsPerSecond, most)
	}
}

func TestCompression(t *testing.T) {
	content := strings.Repeat("all work and no play ", 20)
	for _, offered := range []bool{false, true} {
		t.Run(fmt.Sprint("offered ", offered), func(t *testing.T) {
			n := startNode(t, nodeOptions{compression: offered})
			room := n.room(chat.RoomSpec{}).ARN
			token := n.token(chat.TokenSpec{Room: room, UserID: "user", Capabilities: everything})
			wanting, response, err := n.tryOpen(token, &websocket.DialOptions{CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1})
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if offered {
				want = deflateAnswer
			}
			if got := response.Header.Get("Sec-WebSocket-Extensions"); got != want {
				t.Errorf("extensions: got %q, want %q", got, want)
			}
			plain := n.connect(room, "other")
			for i := range 3 {
				message := fmt.Sprint(i, content)
				wanting.send(`{"Action":"SEND_MESSAGE","Content":"` + message + `"}`)
				for _, c := range []*client{wanting, plain} {
					if got := c.next().Content; got != message {
						t.Errorf("got %q, want %q", got, message)
					}
				}
			}
		})
	}
}
