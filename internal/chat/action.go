package chat

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Actions of the messaging API.
//
// IVS: chat-messaging-api/SendMessage, DeleteMessage, DisconnectUser
const (
	ActionSendMessage    = "SEND_MESSAGE"
	ActionDeleteMessage  = "DELETE_MESSAGE"
	ActionDisconnectUser = "DISCONNECT_USER"
)

// Limits of an action's members.
const (
	MaxAttributesSize  = 1024 // bytes of UTF-8, keys and values together
	MaxReasonLength    = 256  // code points
	MaxUserIDLength    = 128  // code points
	MaxRequestIDLength = 256  // bytes
	maxMessageIDLength = 256  // bytes
)

// Texts that clients compare literally (AWS's own demos).
const (
	messageTooLong    = "Message exceeds maximum length"
	rateLimitExceeded = "rate limit exceeded"
)

// RateLimitExceeded is the error of every rate limit: perSecond is the limit that was
// met.
func RateLimitExceeded(room ARN, perSecond int) *Error {
	return &Error{Code: TooManyRequests, Message: rateLimitExceeded, Resource: room, Limit: perSecond}
}

// action is a client's request. Member names match in any case (encoding/json folds
// them); unknown members are ignored.
type action struct {
	Action     string
	RequestID  string `json:"RequestId"`
	Content    string
	ID         string `json:"Id"`
	UserID     string `json:"UserId"`
	Reason     string
	Attributes attributes
}

// attributes is a JSON object of strings; null is no attributes.
type attributes map[string]string

func (a *attributes) UnmarshalJSON(data []byte) error {
	*a = nil
	var values map[string]*string
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	if values == nil {
		return nil
	}
	*a = make(attributes, len(values))
	for k, v := range values {
		if v == nil {
			return &json.UnmarshalTypeError{Value: "null", Field: "Attributes"}
		}
		(*a)[k] = *v
	}
	return nil
}

// parseAction decodes a request. On an error it still returns what could be read, for
// the sake of the RequestId.
func parseAction(frame []byte) (action, *Error) {
	var a action
	if trimmed := bytes.TrimLeft(frame, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return a, &Error{Code: BadRequest, Message: "The request is not a JSON object."}
	}
	err := json.Unmarshal(frame, &a)
	if err != nil && a.Action == ActionSendMessage {
		// Members that only other actions have are unknown ones here, whatever their
		// type: clients were seen to send an id of their own.
		var own struct {
			Action     string
			RequestID  string `json:"RequestId"`
			Content    string
			Attributes attributes
		}
		err = json.Unmarshal(frame, &own)
		a = action{Action: own.Action, RequestID: own.RequestID, Content: own.Content, Attributes: own.Attributes}
	}
	if err != nil {
		return action{RequestID: RequestID(frame)}, &Error{Code: BadRequest, Message: badJSON(err)}
	}
	switch a.Action {
	case ActionSendMessage, ActionDeleteMessage, ActionDisconnectUser:
	default:
		return action{RequestID: echoable(a.RequestID)}, &Error{Code: BadRequest, Message: "The Action is missing or unknown."}
	}
	if a.RequestID != echoable(a.RequestID) {
		a.RequestID = ""
		return a, &Error{Code: TooLarge, Message: "RequestId exceeds maximum length"}
	}
	return a, nil
}

// RequestID finds the RequestId of a request that is not carried out, if it can be
// read and sent back.
func RequestID(frame []byte) string {
	var only struct {
		RequestID string `json:"RequestId"`
	}
	_ = json.Unmarshal(frame, &only) // what cannot be read stays empty
	return echoable(only.RequestID)
}

// echoable is the RequestId, or nothing if it is too long to be sent back.
func echoable(requestID string) string {
	if len(requestID) > MaxRequestIDLength {
		return ""
	}
	return requestID
}

// badJSON words a decoding error without quoting the request.
func badJSON(err error) string {
	if e, ok := err.(*json.UnmarshalTypeError); ok && e.Field != "" {
		field, _, _ := strings.Cut(e.Field, ".")
		if field == "Attributes" {
			return "Attributes must be an object of strings."
		}
		return field + " has the wrong type."
	}
	return "The request is not valid JSON."
}

// AttributesSize is what the 1 KB limits count: UTF-8 bytes of keys and values,
// without what JSON adds.
func AttributesSize(m map[string]string) int {
	n := 0
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// contentFault says what is wrong with a message's content, measured in code points
// after surrounding white space is taken off, as the service does.
func contentFault(content string, maximum int) *Error {
	trimmed := strings.TrimFunc(content, unicode.IsSpace)
	switch {
	case trimmed == "":
		return &Error{Code: BadRequest, Message: "Content must not be empty."}
	case len(trimmed) > maximum && utf8.RuneCountInString(trimmed) > maximum:
		return &Error{Code: BadRequest, Message: messageTooLong}
	}
	return nil
}
