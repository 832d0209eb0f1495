package gateway

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"parlor/internal/chat"
)

// handshakeTimeout bounds what a handshake waits for: the subscription to its room,
// and the writing of its answer.
const handshakeTimeout = 15 * time.Second

var errDraining = errors.New("the server is shutting down")

// ServeHTTP answers a WebSocket handshake. The chat token is the subprotocol; it
// alone says which room is entered. A token is spent when everything else is in
// place: a handshake that is refused leaves it as it was.
//
// IVS: chat-messaging-api
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, message := g.serve(w, r)
	g.metrics.handshook(status)
	if status != http.StatusSwitchingProtocols {
		refuse(w, status, message)
	}
}

// serve carries out a handshake. It returns its status, and for a refusal what the
// client is told.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) (status int, message string) {
	key := r.Header.Get("Sec-WebSocket-Key")
	switch raw, err := base64.StdEncoding.DecodeString(key); {
	case r.Method != http.MethodGet || r.Proto != "HTTP/1.1" || !isUpgrade(r.Header):
		return http.StatusUpgradeRequired, "This is the Chat Messaging API: connect with a WebSocket, with the chat token as its subprotocol."
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return http.StatusUpgradeRequired, "Sec-WebSocket-Version must be 13."
	case err != nil || len(raw) != 16:
		return http.StatusBadRequest, "Sec-WebSocket-Key is missing or malformed."
	case !g.originAllowed(r):
		return http.StatusForbidden, "Pages of this origin may not connect."
	}
	address := addressOf(r.RemoteAddr)
	if !g.addresses.enter(address) {
		return http.StatusTooManyRequests, "There are too many connections or handshakes from this address."
	}
	ours := true // until the session gives up by itself what it has
	defer func() {
		if ours {
			g.addresses.leave(address)
		}
	}()
	token, _, _ := strings.Cut(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	token = strings.TrimSpace(token)
	claims, err := g.service.OpenToken(r.Context(), token)
	if err != nil {
		return g.refusal(err)
	}
	room, err := g.enter(r.Context(), claims.Room)
	if err == errDraining {
		g.hold(r.Context())
	}
	if err != nil {
		return g.refusal(err)
	}
	defer func() {
		if ours {
			g.leave(room)
		}
	}()
	core, err := g.service.Admit(r.Context(), claims)
	if err != nil {
		return g.refusal(err)
	}
	core.Address = clientIP(r)
	deflate := g.compression && wantsDeflate(r.Header)
	conn, pipelined, err := hijack(w)
	if err != nil {
		g.service.Depart(core)
		g.logger.Error("hijack", "error", err)
		return http.StatusInternalServerError, chat.AsError(err).Message
	}
	ours = false
	s := newSession(g, room, core, conn)
	s.remote = r.RemoteAddr
	// The session is seated before the client hears of it, so that it misses nothing
	// after; the writer flag is ours until the client did.
	s.writing.Store(busy)
	g.seat(s, deflate)
	conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if _, err := conn.Write(accept(key, token, deflate)); err != nil {
		s.drop(causeClient)
	}
	conn.SetWriteDeadline(time.Time{})
	g.metrics.connections.Inc()
	s.write(&g.metrics.deliveries, false) // puts the writer flag back
	if len(pipelined) > 0 || !g.lot.park(s) {
		go s.serve(pipelined) // counted since it entered the room
	}
	return http.StatusSwitchingProtocols, ""
}

// refusal is the status and message of a handshake that failed with err.
func (g *Gateway) refusal(err error) (int, string) {
	if errors.Is(err, errDraining) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable, "The server cannot take the connection now."
	}
	e := chat.AsError(err)
	if e.Code == chat.Internal {
		g.logger.Error("handshake", "error", err)
	}
	return errorCode(e), e.Message
}

// hijack takes the connection over from the HTTP server, with what the client sent
// already.
func hijack(w http.ResponseWriter) (conn net.Conn, pipelined []byte, err error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{}) // the HTTP server's
	if n := rw.Reader.Buffered(); n > 0 {
		buffered, _ := rw.Reader.Peek(n) // has n
		pipelined = append(pipelined, buffered...)
	}
	return conn, pipelined, nil
}

// accept is the answer to a handshake. Clients fail the connection unless the
// subprotocol comes back exactly as it was sent.
func accept(key, token string, deflate bool) []byte {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	b := make([]byte, 0, 256+len(token))
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	b = append(b, "\r\nSec-WebSocket-Protocol: "...)
	b = append(b, token...) // opened by us, so that it is one of ours: no line breaks
	if deflate {
		b = append(b, "\r\nSec-WebSocket-Extensions: "+deflateAnswer...)
	}
	return append(b, "\r\n\r\n"...)
}

// isUpgrade reports whether a request asks for a WebSocket.
func isUpgrade(h http.Header) bool {
	return headerHas(h, "Connection", "upgrade") && headerHas(h, "Upgrade", "websocket")
}

// headerHas reports whether a header lists a token, in any case.
func headerHas(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
