package chat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"
)

// Notice says that something was done or happened, for those who run the server: who
// did what to what, when and from where. It never has content, attributes, reasons,
// tokens or secrets.
type Notice struct {
	ID     string // made by [NewID]
	Time   time.Time
	Action string // of the API or of the messaging API, as AWS names it, or one of NoticeSession…
	By     Actor
	From   netip.Addr // the client's; may be the zero Addr

	Scope     Scope
	Resource  ARN // what it was done to, or what was made; the zero ARN: no one thing
	RequestID string
	Refused   string // the name of the error that it was refused with; "" when it was done

	UserID       string // who is disconnected, whose session it is, for whom a token is
	MessageID    string // which is deleted
	EventName    string // of SendEvent
	Capabilities Capability
	Until        time.Time     // when a ban or mute ends; the zero Time: it is taken back, or is none
	Session      string        // names a session among all
	Cause        string        // why a session ended, as parlor_sessions_ended_total says it
	Lasted       time.Duration // the session
}

// NoticeGroups are the groups of events that webhooks may be narrowed to.
var NoticeGroups = []string{"room", "session", "moderation"}

// Actor is who did something: a caller of the API, or a user in a room.
type Actor struct {
	Principal string // ARN
	UserID    string
}

// Actions that nobody asks for by name.
const (
	NoticeSessionStarted = "SESSION_STARTED"
	NoticeSessionEnded   = "SESSION_ENDED"
	NoticeBanUser        = "BanUser" // also by DisconnectUser in a room whose tags say so
)

// SignWebhook returns the signature of a webhook request: "v1=" and the HMAC-SHA256, in
// hex, of the timestamp, in Unix seconds, a dot and the body.
func SignWebhook(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// The headers of a webhook request. Who checks both, and refuses old timestamps, knows
// that the request is from here and is not a repetition.
const (
	WebhookTimestamp = "Parlor-Timestamp"
	WebhookSignature = "Parlor-Signature"
)
