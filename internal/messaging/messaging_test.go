package messaging

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

const message = `{"Type":"MESSAGE","Id":"M2YcHkgffEvU","RequestId":"","Attributes":null,"Content":"Hi","SendTime":"2022-12-02T08:21:20.754555595Z","Sender":{"UserId":"ann","Attributes":{"colour":"blue"}}}`

// A frame is told as it came and as it reads, one that does not read too.
func TestFrames(t *testing.T) {
	const unknown = `{"Type":"MESSAGE","Attributes":7}`
	s := serve(t, func(s *socket) {
		s.accept()
		s.text(message)
		s.text(unknown)
		s.drain()
	})
	c := run(t, Config{URL: s.URL, Token: numbered()})
	f := next(t, c.frames)
	if string(f.Raw) != message {
		t.Errorf("raw: got %s", f.Raw)
	}
	if f.Type != TypeMessage || f.ID != "M2YcHkgffEvU" || f.Content != "Hi" || f.Sender.UserID != "ann" || f.Sender.Attributes["colour"] != "blue" ||
		!f.SendTime.Equal(time.Date(2022, 12, 2, 8, 21, 20, 754555595, time.UTC)) {
		t.Errorf("got %+v", f)
	}
	if f := next(t, c.frames); f.Type != "" || string(f.Raw) != unknown {
		t.Errorf("got %+v", f)
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// What ends a connection without being the end is followed by another, with a token of
// its own.
func TestReconnect(t *testing.T) {
	for _, test := range []struct {
		name  string
		first script
		why   string
	}{
		{"broken socket", breaks, "the connection broke: .+"},
		{"broken in a frame", func(s *socket) {
			s.accept()
			s.conn.(interface{ Write([]byte) (int, error) }).Write([]byte{0x81, 100, 'x'})
		}, "the connection broke: .+"},
		{"session over", func(s *socket) {
			s.accept()
			s.text(`{"Type":"ERROR","Id":"IG5mcmlvdGlv","RequestId":"","ErrorCode":401,"ErrorMessage":"The chat session has expired."}`)
			s.close(1001, `{"ErrorCode":401,"ErrorMessage":"The chat session has expired.","Type":"ERROR"}`)
		}, "^the session is over$"},
		{"session over, said by the close alone", func(s *socket) {
			s.accept()
			s.close(1001, `{"ErrorCode":401,"ErrorMessage":"The chat session has expired.","Type":"ERROR"}`)
		}, "^the session is over$"},
		{"not available", refuses(503, `{"ErrorCode":503,"ErrorMessage":"The server cannot take the connection now."}`),
			"^the connection was refused for now, with HTTP status 503: The server cannot take the connection now.$"},
		{"too many", refuses(429, `{"ErrorCode":429,"ErrorMessage":"rate limit exceeded"}`), "HTTP status 429: rate limit exceeded$"},
		{"a proxy's answer", refuses(502, "<html>"), "HTTP status 502: Bad Gateway$"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.first, stay)
			c := run(t, Config{URL: s.URL, Token: numbered()})
			waiting := c.waits()
			if got := fmt.Sprint(waiting.Err); !regexp.MustCompile(test.why).MatchString(got) {
				t.Errorf("got %q, want %s", got, test.why)
			}
			if waiting.Retry < minPause/2 || waiting.Retry > minPause {
				t.Errorf("waits for %v", waiting.Retry)
			}
			c.connected()
			if first, second := next(t, s.tokens), next(t, s.tokens); first != "t1" || second != "t2" {
				t.Errorf("tokens: got %s, %s", first, second)
			}
			c.stop()
			if err := c.end(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// Tries that fail come ever more slowly.
func TestPauses(t *testing.T) {
	s := serve(t, breaks)
	c := run(t, Config{URL: s.URL, Token: numbered()})
	for _, most := range []time.Duration{minPause, 2 * minPause, 4 * minPause} {
		if got := c.waits().Retry; got < most/2 || got > most {
			t.Errorf("got a pause of %v, want %v to %v", got, most/2, most)
		}
	}
}

// Nobody there is tried again; a pause ends with the context.
func TestNobodyThere(t *testing.T) {
	c := run(t, Config{URL: "ws://127.0.0.1:1", Token: numbered()})
	if got := c.waits().Err.Error(); !strings.Contains(got, "connection refused") {
		t.Errorf("got %q", got)
	}
	c.waits()
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// What is the end is said, and nothing is tried again.
func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		only script
		want error
	}{
		{"kicked", func(s *socket) {
			s.accept()
			s.text(`{"Type":"EVENT","Id":"IxTh2Ad9fZIr","RequestId":"","EventName":"aws:DISCONNECT_USER","Attributes":{"UserId":"ann"},"SendTime":"2022-12-02T08:21:20.7Z"}`)
			s.close(1001, "no spam, {please}")
		}, &ClosedError{Reason: "no spam, {please}"}},
		{"kicked without a reason", func(s *socket) { s.accept(); s.close(1001, "") }, &ClosedError{}},
		{"closed without a code", func(s *socket) { s.accept(); s.write(ws.OpClose, nil); s.drain() }, &ClosedError{}},
		{"room deleted", func(s *socket) {
			s.accept()
			s.close(1001, `{"ErrorCode":404,"ErrorMessage":"The room does not exist.","Type":"ERROR"}`)
		}, &ClosedError{Reason: "The room does not exist.", Status: 404}},
		{"refused", refuses(401, `{"ErrorCode":401,"ErrorMessage":"The chat token is missing, invalid or expired, or was already used."}`),
			&RefusedError{Status: 401, Message: "The chat token is missing, invalid or expired, or was already used."}},
		{"not a messaging API", refuses(200, "<html>"), &RefusedError{Status: 200}},
		{"token not named", func(s *socket) { s.ignored = true; s.accept() },
			&RefusedError{Status: 101, Message: "the answer to the handshake does not name the token"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.only)
			c := run(t, Config{URL: s.URL, Token: numbered()})
			got := c.end()
			if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", test.want) {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
			if s.asked.Load() != 1 {
				t.Errorf("connected %d times", s.asked.Load())
			}
		})
	}
}

// A token that is not to be had is asked for again, unless the error is final.
func TestToken(t *testing.T) {
	s := serve(t, stay)
	tries := 0
	c := run(t, Config{URL: s.URL, Token: func(context.Context) (string, error) {
		if tries++; tries == 1 {
			return "", errOther
		}
		return "t", nil
	}})
	if got := c.waits().Err; got != errOther {
		t.Errorf("got %v", got)
	}
	c.connected()

	c = run(t, Config{URL: s.URL, Token: func(context.Context) (string, error) { return "", &FinalError{errOther} }})
	if got := c.end(); got != errOther {
		t.Errorf("Run: got %v", got)
	}
}

// Without a connection nothing is sent, nor kept.
func TestNotConnected(t *testing.T) {
	s := serve(t, refuses(503, ""))
	c := run(t, Config{URL: s.URL, Token: numbered()})
	c.waits()
	if _, err := c.SendMessage(t.Context(), "hi", nil); err != ErrNotConnected {
		t.Errorf("got %v", err)
	}
}

// A request whose connection ends is not left waiting.
func TestLost(t *testing.T) {
	s := serve(t, func(s *socket) {
		s.accept()
		s.read()
	}, stay)
	c := run(t, Config{URL: s.URL, Token: numbered()})
	c.connected()
	if _, err := c.SendMessage(t.Context(), "hi", nil); err != ErrLost {
		t.Errorf("got %v", err)
	}
	c.connected()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errOther) })
	if _, err := c.SendMessage(ctx, "hi", nil); !errors.Is(err, errOther) { // nobody answers
		t.Errorf("got %v", err)
	}
	if len(c.waiting) > 0 {
		t.Errorf("left waiting: %v", c.waiting)
	}
}

// An ERROR answers the request that it names, and no other; an answer of 401 is the end
// of the session too.
func TestAnswers(t *testing.T) {
	id := regexp.MustCompile(`"RequestId":"([^"]*)"`)
	s := serve(t, func(s *socket) {
		s.accept()
		for {
			f, err := s.read()
			if err != nil || f.Header.OpCode == ws.OpClose {
				return
			}
			code := 403
			if strings.Contains(string(f.Payload), "DELETE") {
				code = 401
			}
			s.text(`{"Type":"ERROR","Id":"a","RequestId":"another","ErrorCode":400,"ErrorMessage":"not yours"}`)
			s.text(fmt.Sprintf(`{"Type":"ERROR","Id":"b","RequestId":%q,"ErrorCode":%d,"ErrorMessage":"no"}`, id.FindSubmatch(f.Payload)[1], code))
		}
	}, stay)
	c := run(t, Config{URL: s.URL, Token: numbered()})
	c.connected()
	_, err := c.DisconnectUser(t.Context(), "bob", "")
	if e, ok := errors.AsType[*Error](err); !ok || *e != (Error{403, "no"}) || e.Error() != "no (403)" {
		t.Errorf("got %v", err)
	}
	_, err = c.DeleteMessage(t.Context(), "M2YcHkgffEvU", "")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != 401 {
		t.Errorf("got %v", err)
	}
	if got := c.waits().Err; got != errSessionOver {
		t.Errorf("got %v", got)
	}
	c.connected()
}

// A connection whose other end is silent is given up, and Run does not wait for a
// server that does not answer a close.
func TestSilence(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	silent := func(s *socket) {
		s.accept()
		<-release
	}
	s := serve(t, silent)
	c := run(t, Config{URL: s.URL, Token: numbered()}, func(c *Client) {
		c.pingInterval, c.pongPatience = 100*time.Millisecond, 100*time.Millisecond
	})
	c.connected()
	if got := c.waits().Err.Error(); !strings.HasPrefix(got, "the connection broke") {
		t.Errorf("got %q", got)
	}
	c.connected()
	time.Sleep(20 * time.Millisecond) // it reads by now: until then the library waits for the close by itself, 5 s
	begun := time.Now()
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begun); took > closePatience+2*time.Second {
		t.Errorf("took %v to leave", took)
	}
}

// Pings that are answered keep a connection.
func TestPings(t *testing.T) {
	pings := make(chan struct{}, 100)
	s := serve(t, func(s *socket) {
		s.accept()
		for {
			f, err := s.read()
			if err != nil {
				return
			}
			if f.Header.OpCode == ws.OpPing {
				s.write(ws.OpPong, f.Payload)
				pings <- struct{}{}
			}
		}
	})
	c := run(t, Config{URL: s.URL, Token: numbered()}, func(c *Client) { c.pingInterval = 20 * time.Millisecond })
	c.connected()
	for range 5 {
		next(t, pings)
	}
	if s.asked.Load() != 1 {
		t.Errorf("connected %d times", s.asked.Load())
	}
}
