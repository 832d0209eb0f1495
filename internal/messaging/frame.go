package messaging

import (
	"encoding/json"
	"time"
)

// Types of frames.
const (
	TypeMessage = "MESSAGE"
	TypeEvent   = "EVENT"
	TypeError   = "ERROR"
)

// Events of the service itself.
const (
	EventDeleteMessage  = "aws:DELETE_MESSAGE"
	EventDisconnectUser = "aws:DISCONNECT_USER"
)

// Frame is what a server sends, as it came and as it reads. What does not read as a
// frame has no Type.
//
// IVS: chat-messaging-api/Message, Event, Error
type Frame struct {
	Raw []byte `json:"-"` // the caller's own

	Type       string
	ID         string `json:"Id"`
	RequestID  string `json:"RequestId"` // of who asked, seen by everybody
	Attributes map[string]string
	SendTime   time.Time

	Content string // of a MESSAGE
	Sender  Sender

	EventName string // of an EVENT

	ErrorCode    int // of an ERROR, like an HTTP status
	ErrorMessage string
}

// Sender is who sent a message.
type Sender struct {
	UserID     string `json:"UserId"`
	Attributes map[string]string
}

// DeletedMessage returns the id of the message that an aws:DELETE_MESSAGE is about. The
// service has called the attribute both names.
func (f *Frame) DeletedMessage() string {
	if id := f.Attributes["MessageID"]; id != "" {
		return id
	}
	return f.Attributes["MessageId"]
}

func parse(raw []byte) Frame {
	var f Frame
	if err := json.Unmarshal(raw, &f); err != nil {
		f = Frame{}
	}
	f.Raw = raw
	return f
}
