package gateway

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"parlor/internal/chat"
)

// handshakeTimeout bounds what a handshake waits for: the subscription to its room,
// and the writing of its answer.
const handshakeTimeout = 15 * time.Second

var (
	errDraining = errors.New("the server is shutting down")
	errDeaf     = errors.New("this node does not hear from the broker")
	errBefore   = &chat.Error{Code: chat.Unauthorized, Message: "The chat token is from before the server was reset."}
)

// ServeHTTP answers a WebSocket handshake. The chat token is the subprotocol; it
// alone says which room is entered. A token is spent when everything else is in
// place: a handshake that is refused leaves it as it was.
//
// IVS: chat-messaging-api
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, message := g.serve(w, r)
	g.metrics.handshook(status)
	if status != http.StatusSwitchingProtocols {
		g.logger.LogAttrs(r.Context(), slog.LevelDebug, "handshake refused",
			slog.Int("status", status), slog.String("reason", message), slog.String("remote", r.RemoteAddr))
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
	known := g.bans.changes.Load()
	core, room, err := g.admit(r.Context(), token)
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
	if g.bans.changes.Load() != known {
		g.bannedMeanwhile(r.Context(), s)
	}
	conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if _, err := conn.Write(accept(key, token, deflate)); err != nil {
		s.drop(causeClient)
	}
	conn.SetWriteDeadline(time.Time{})
	g.metrics.connections.Inc()
	if g.notice != nil {
		g.notice(s.note(chat.NoticeSessionStarted))
	}
	s.write(&g.metrics.deliveries, false) // puts the writer flag back
	if len(pipelined) > 0 || !g.lot.park(s) {
		go s.serve(pipelined) // counted since it entered the room
	}
	return http.StatusSwitchingProtocols, ""
}

// admit turns a token into a session, in its room. While the store or the broker is away
// it waits, but not for long, and not with too many: the JavaScript SDK tries four times
// without a pause and then gives up for good.
func (g *Gateway) admit(ctx context.Context, token string) (*chat.Session, *room, error) {
	begun := time.Now()
	by := rand.Uint64()
	core, room, err := g.tryAdmit(ctx, token, by)
	if !away(err) {
		return core, room, err
	}
	select {
	case g.held <- struct{}{}:
		defer func() { <-g.held }()
	default:
		return nil, nil, err
	}
	for pause := 50 * time.Millisecond; away(err) && time.Since(begun) < handshakeTimeout-pause; pause = min(2*pause, 500*time.Millisecond) {
		if !sleep(ctx, pause/2+rand.N(pause)) {
			return nil, nil, ctx.Err()
		}
		core, room, err = g.tryAdmit(ctx, token, by)
	}
	return core, room, err
}

// tryAdmit is one try; by is the same for all of one handshake.
func (g *Gateway) tryAdmit(ctx context.Context, token string, by uint64) (*chat.Session, *room, error) {
	generation := g.generation.Load()
	claims, err := g.service.OpenToken(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	room, err := g.enter(ctx, claims.Room)
	if err != nil {
		return nil, nil, err
	}
	admitted := false
	defer func() {
		if !admitted { // also where the store panics
			g.leave(room)
		}
	}()
	if err := g.recall(ctx, room); err != nil {
		return nil, nil, err
	}
	core, err := g.service.Admit(ctx, claims, by)
	if err == nil && g.generation.Load() != generation { // the token is from before
		g.service.Depart(core)
		return nil, nil, errBefore
	}
	admitted = err == nil
	return core, room, err
}

// away reports whether a handshake failed because something else is away, which may come
// back: the error is neither about the client nor about this node's end.
func away(err error) bool {
	if err == nil || err == errDraining || errors.Is(err, context.Canceled) {
		return false
	}
	_, said := errors.AsType[*chat.Error](err)
	return !said
}

// refusal is the status and message of a handshake that failed with err.
func (g *Gateway) refusal(err error) (int, string) {
	if away(err) {
		g.logger.Error("handshake", "error", err)
	}
	if e, ok := errors.AsType[*chat.Error](err); ok {
		return errorCode(e), e.Message
	}
	return http.StatusServiceUnavailable, "The server cannot take the connection now."
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
