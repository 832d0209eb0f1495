package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// errorCodes are the ErrorCodes of the messaging API, which are HTTP statuses too.
//
// IVS: chat-messaging-api/Error
var errorCodes = map[chat.Code]int{
	chat.Internal:        http.StatusInternalServerError,
	chat.BadRequest:      http.StatusBadRequest,
	chat.Unauthorized:    http.StatusUnauthorized,
	chat.Forbidden:       http.StatusForbidden,
	chat.NotFound:        http.StatusNotFound,
	chat.NotAcceptable:   http.StatusNotAcceptable,
	chat.Conflict:        http.StatusConflict,
	chat.TooLarge:        http.StatusRequestEntityTooLarge,
	chat.TooManyRequests: http.StatusTooManyRequests,
}

func errorCode(e *chat.Error) int { return errorCodes[e.Code] }

// errorReason is a close reason that tells an error, in the shape of an ERROR frame.
// The message is cut to what a close frame has room for.
func errorReason(e *chat.Error) string {
	type reason struct {
		ErrorCode    int
		ErrorMessage string
		Type         string
	}
	r := reason{ErrorCode: errorCode(e), ErrorMessage: e.Message, Type: "ERROR"}
	for {
		text, _ := json.Marshal(r) // strings and a number always marshal
		over := len(text) - maxCloseReason
		if over <= 0 {
			return string(text)
		}
		r.ErrorMessage = chat.TruncateReason(r.ErrorMessage, max(0, len(r.ErrorMessage)-over))
	}
}

// refuse answers a handshake that does not become a connection.
func refuse(w http.ResponseWriter, status int, message string) {
	body, _ := json.Marshal(map[string]any{"ErrorCode": status, "ErrorMessage": message})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if status == http.StatusUpgradeRequired {
		h.Set("Upgrade", "websocket")
		h.Set("Sec-WebSocket-Version", "13")
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// protocolError is a breach of RFC 6455, or of what is to be borne, that ends the
// connection.
type protocolError struct {
	code   ws.StatusCode
	reason string
	cause  cause // "" is causeProtocol
}

func (e *protocolError) Error() string { return e.reason }
