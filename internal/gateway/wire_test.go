package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// rawClient is a connection below the WebSocket: it writes any bytes.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (n *node) connectRaw(room chat.ARN, user string, headers ...string) *rawClient {
	n.t.Helper()
	conn, err := n.dial(n.t.Context(), "tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	token := n.token(chat.TokenSpec{Room: room, UserID: user, Capabilities: everything})
	conn.Write(upgrade(token, headers...))
	c := &rawClient{t: n.t, conn: conn, in: bufio.NewReader(conn)}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		n.t.Fatalf("handshake: %v %v", response, err)
	}
	// The key and answer are the example of RFC 6455 1.3.
	if got, want := response.Header.Get("Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; got != want {
		n.t.Fatalf("Sec-WebSocket-Accept: got %q, want %q", got, want)
	}
	return c
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// upgrade is the request of a handshake.
func upgrade(token string, headers ...string) []byte {
	return fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n", token, strings.Join(headers, ""))
}

// next reads a frame; ok is false when the connection has ended.
func (c *rawClient) next() (ws.Header, []byte, bool) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	h, err := ws.ReadHeader(c.in)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			c.t.Fatal("nothing more came, and the connection is open")
		}
		return ws.Header{}, nil, false
	}
	if h.Masked {
		c.t.Error("the server masked a frame")
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return ws.Header{}, nil, false
	}
	return h, payload, true
}

// masked is a client's frame. first is the first byte of its header.
func masked(first byte, payload string) []byte {
	h := ws.Header{Fin: first&0x80 != 0, Rsv: first >> 4 & 7, OpCode: ws.OpCode(first & 15), Masked: true, Length: int64(len(payload)), Mask: [4]byte{1, 2, 3, 4}}
	var b bytes.Buffer
	ws.WriteHeader(&b, h)
	body := []byte(payload)
	ws.Cipher(body, h.Mask, 0)
	return append(b.Bytes(), body...)
}

const (
	text, closing, ping, pong   = 0x81, 0x88, 0x89, 0x8a
	textBegins, continues, ends = 0x01, 0x00, 0x80
	hello                       = `{"Action":"SEND_MESSAGE","Content":"hé"}`
)

func closeBody(code int, reason string) string {
	return string([]byte{byte(code >> 8), byte(code)}) + reason
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// TestFramesThatAreRead sends requests in every legal form of frames.
//
// RFC 6455 5.4, 5.5.2
func TestFramesThatAreRead(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{MaximumMessageRatePerSecond: 100}).ARN
	var bytewise [][]byte
	bytewise = append(bytewise, masked(textBegins, ""))
	for i := range len(hello) {
		bytewise = append(bytewise, masked(continues, hello[i:i+1]))
	}
	bytewise = append(bytewise, masked(ends, ""))
	padded := hello + strings.Repeat(" ", 200)
	large := hello + strings.Repeat(" ", 10_000)
	for _, test := range []struct {
		name  string
		bytes []byte
		want  string // payloads of the frames that come back, by their beginning
	}{
		{"whole", masked(text, hello), `{"Type":"MESSAGE"`},
		{"length of 16 bits", masked(text, padded), `{"Type":"MESSAGE"`},
		{"larger than a read", masked(text, large), `{"Type":"MESSAGE"`},
		{"in two", join(masked(textBegins, hello[:20]), masked(ends, hello[20:])), `{"Type":"MESSAGE"`},
		{"split in the middle of a rune", join(masked(textBegins, hello[:strings.Index(hello, "é")+1]), masked(ends, hello[strings.Index(hello, "é")+1:])), `{"Type":"MESSAGE"`},
		{"a byte at a time", join(bytewise...), `{"Type":"MESSAGE"`},
		{"a ping between fragments", join(masked(textBegins, hello[:20]), masked(ping, "are you there"), masked(ends, hello[20:])), `are you there|{"Type":"MESSAGE"`},
		{"a pong nobody asked for", join(masked(pong, "x"), masked(text, hello)), `{"Type":"MESSAGE"`},
		{"an empty ping", join(masked(ping, ""), masked(text, hello)), `|{"Type":"MESSAGE"`},
		{"the largest ping", masked(ping, strings.Repeat("p", 125)), strings.Repeat("p", 125)},
		{"two requests at once", join(masked(text, hello), masked(text, hello)), `{"Type":"MESSAGE"|{"Type":"MESSAGE"`},
		{"one too large, and one", join(masked(text, hello+strings.Repeat(" ", chat.MaxFrameSize)), masked(text, hello)), `{"Type":"ERROR"|{"Type":"MESSAGE"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, how := range []string{"at once", "byte by byte"} {
				c := n.connectRaw(room, "user")
				if how == "at once" || len(test.bytes) > 1000 {
					c.write(test.bytes)
				} else {
					for i := range test.bytes {
						c.write(test.bytes[i : i+1])
					}
				}
				for _, want := range strings.Split(test.want, "|") {
					_, got, ok := c.next()
					if !ok || !strings.HasPrefix(string(got), want) {
						t.Errorf("%s: got %q (%v), want %q", how, got, ok, want)
					}
				}
				c.conn.Close()
			}
		})
	}
}

// TestFramesThatEndTheConnection sends what RFC 6455 forbids, and every legal close.
//
// RFC 6455 5.1, 5.2, 5.4, 5.5, 7.4, 8.1
func TestFramesThatEndTheConnection(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	unmasked := masked(text, hello)
	unmasked[1] &^= 0x80
	length := func(b ...byte) []byte { return append([]byte{text}, b...) }
	for _, test := range []struct {
		name  string
		bytes []byte
		code  int // of the close frame that comes back, 0 for one without a code
	}{
		{"unmasked", unmasked, 1002},
		{"reserved opcode", masked(0x83, ""), 1002},
		{"reserved control opcode", masked(0x8b, ""), 1002},
		{"RSV1 without compression", masked(text|0x40, hello), 1002},
		{"RSV2", masked(text|0x20, hello), 1002},
		{"RSV3", masked(text|0x10, hello), 1002},
		{"fragmented ping", masked(0x09, ""), 1002},
		{"ping too long", masked(ping, strings.Repeat("p", 126)), 1002},
		{"continuation of nothing", masked(ends, hello), 1002},
		{"message within a message", join(masked(textBegins, "{"), masked(text, hello)), 1002},
		{"length with its highest bit set", length(0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4), 1002},
		{"not UTF-8", masked(text, "\xff"), 1007},
		{"not UTF-8 in pieces", join(masked(textBegins, "\xc3"), masked(ends, "(")), 1007},
		{"a surrogate", masked(text, "\xed\xa0\x80"), 1007},
		{"more than is read", masked(text, strings.Repeat("x", maxMessage+1)), 1009},
		{"more than is read, announced", length(0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4), 1009},
		{"more than is read, in pieces", join(masked(textBegins, strings.Repeat("x", maxMessage)), masked(continues, "x")), 1009},
		{"close of one byte", masked(closing, "\x03"), 1002},
		{"close 999", masked(closing, closeBody(999, "")), 1002},
		{"close 1004", masked(closing, closeBody(1004, "")), 1002},
		{"close 1005", masked(closing, closeBody(1005, "")), 1002},
		{"close 1006", masked(closing, closeBody(1006, "")), 1002},
		{"close 1015", masked(closing, closeBody(1015, "")), 1002},
		{"close 5000", masked(closing, closeBody(5000, "")), 1002},
		{"close reason that is not UTF-8", masked(closing, closeBody(1000, "\xff")), 1002},
		{"close without a code", masked(closing, ""), 0},
		{"close 1000", masked(closing, closeBody(1000, "Work complete")), 1000},
		{"close 1001", masked(closing, closeBody(1001, "")), 1001},
		{"close 3000", masked(closing, closeBody(3000, "Restarting")), 3000},
		{"close 4999", masked(closing, closeBody(4999, "")), 4999},
		{"a request after the close", join(masked(closing, closeBody(1000, "")), masked(text, hello)), 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := n.connectRaw(room, "user")
			c.write(test.bytes)
			h, payload, ok := c.next()
			code := 0
			if len(payload) >= 2 {
				code = int(payload[0])<<8 | int(payload[1])
			}
			if !ok || h.OpCode != ws.OpClose || code != test.code {
				t.Fatalf("got %v %q (%v), want a close frame with %d", h.OpCode, payload, ok, test.code)
			}
			c.conn.(*net.TCPConn).CloseWrite()
			if h, payload, ok := c.next(); ok {
				t.Errorf("after the close: %v %q", h.OpCode, payload)
			}
		})
	}
}

func TestCompressedFramesThatEndTheConnection(t *testing.T) {
	n := startNode(t, nodeOptions{compression: true})
	room := n.room(chat.RoomSpec{}).ARN
	_, bomb := deflate(bytes.Repeat([]byte("a"), 100*maxMessage))
	_, good := deflate([]byte(hello + strings.Repeat(" ", 100)))
	for _, test := range []struct {
		name  string
		bytes []byte
		code  int
	}{
		{"a bomb", masked(text|0x40, string(bomb)), 1009},
		{"no deflate stream", masked(text|0x40, "\xff\xff\xff"), 1007},
		{"RSV1 on a continuation", join(masked(textBegins|0x40, string(good[:5])), masked(ends|0x40, string(good[5:]))), 1002},
		{"RSV1 on a ping", masked(ping|0x40, ""), 1002},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := n.connectRaw(room, "user", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
			c.write(test.bytes)
			h, payload, ok := c.next()
			if !ok || h.OpCode != ws.OpClose || int(payload[0])<<8|int(payload[1]) != test.code {
				t.Errorf("got %v %q (%v), want a close frame with %d", h.OpCode, payload, ok, test.code)
			}
		})
	}
	t.Run("fragments are fine", func(t *testing.T) {
		c := n.connectRaw(room, "user", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
		c.write(join(masked(textBegins|0x40, string(good[:5])), masked(ends, string(good[5:]))))
		if h, payload, ok := c.next(); !ok || h.OpCode != ws.OpText {
			t.Errorf("got %v %q (%v), want a message", h.OpCode, payload, ok)
		}
	})
	t.Run("a window that cannot be kept is not promised", func(t *testing.T) {
		for _, test := range []struct {
			offer string
			want  bool
		}{
			{"permessage-deflate", true},
			{"permessage-deflate; client_max_window_bits", true},
			{"permessage-deflate; server_max_window_bits=10", false},
			{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", true},
			{"permessage-deflate; x=1", false},
			{"permessage-deflate; server_max_window_bits=10, permessage-deflate", true},
			{"x-webkit-deflate-frame", false},
			{"", false},
			{"permessage-deflate;;", false},
		} {
			if got := wantsDeflate(http.Header{"Sec-Websocket-Extensions": {test.offer}}); got != test.want {
				t.Errorf("%q: got %v, want %v", test.offer, got, test.want)
			}
		}
	})
}

// TestPipelinedRequest sends a request without waiting for the 101.
func TestPipelinedRequest(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	conn, err := n.dial(t.Context(), "tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	token := n.token(chat.TokenSpec{Room: room, UserID: "user", Capabilities: everything})
	conn.Write(join(upgrade(token), masked(text, hello)))
	in := bufio.NewReader(conn)
	if _, err := http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t: t, conn: conn, in: in}
	if _, payload, ok := c.next(); !ok || !strings.HasPrefix(string(payload), `{"Type":"MESSAGE"`) {
		t.Errorf("got %q (%v), want a message", payload, ok)
	}
}

// TestServerClosesAfterTheAnswer answers a close frame and leaves the rest to the
// server, as browsers do.
func TestServerClosesAfterTheAnswer(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{}).ARN
	c := n.connectRaw(room, "user")
	if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "user", "bye"); err != nil {
		t.Fatal(err)
	}
	c.next() // the event
	if h, payload, ok := c.next(); !ok || h.OpCode != ws.OpClose || string(payload) != closeBody(1001, "bye") {
		t.Fatalf("got %v %q (%v), want a close frame", h.OpCode, payload, ok)
	}
	start := time.Now()
	c.write(masked(closing, closeBody(1001, "bye")))
	if h, _, ok := c.next(); ok {
		t.Errorf("got %v after the close", h.OpCode)
	}
	if took := time.Since(start); took > closeTimeout/2 {
		t.Errorf("the connection stayed open for %v", took)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(masked(text, hello))
	f.Add(join(masked(textBegins, hello[:20]), masked(ping, "x"), masked(ends, hello[20:])))
	f.Add(masked(closing, closeBody(1000, "bye")))
	f.Add([]byte{text, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, input []byte) {
		// The reader alone: whatever comes, it ends, and asks for no more memory than
		// came.
		s := &session{gateway: &Gateway{}, conn: bytesConn{bytes.NewReader(input)}}
		s.ending.Store(&ending{}) // carries out nothing
		s.closed.Store(new(cause))
		in := &source{session: s}
		if err := s.read(in); err == nil && !s.has(parted) {
			t.Error("ended without a reason")
		}
	})
}

// bytesConn is a conn that has received some bytes and no more.
type bytesConn struct{ *bytes.Reader }

func (bytesConn) Write(b []byte) (int, error)      { return len(b), nil }
func (bytesConn) Close() error                     { return nil }
func (bytesConn) LocalAddr() net.Addr              { return nil }
func (bytesConn) RemoteAddr() net.Addr             { return nil }
func (bytesConn) SetDeadline(time.Time) error      { return nil }
func (bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (bytesConn) SetWriteDeadline(time.Time) error { return nil }
