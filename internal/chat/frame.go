package chat

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// The encoders below write the frames of the messaging API by hand: fixed shapes,
// members in the order of the service's own frames, no HTML escaping. Attributes are
// written with sorted keys, so that a frame has one form.

// appendMessage appends a MESSAGE frame. Sender is the encoded Sender object.
//
// IVS: chat-messaging-api/Message
func appendMessage(b []byte, id, requestID string, attributes map[string]string, content string, at time.Time, sender string) []byte {
	b = append(b, `{"Type":"MESSAGE","Id":`...)
	b = appendString(b, id)
	b = append(b, `,"RequestId":`...)
	b = appendString(b, requestID)
	b = append(b, `,"Attributes":`...)
	b = appendAttributes(b, attributes)
	b = append(b, `,"Content":`...)
	b = appendString(b, content)
	b = append(b, `,"SendTime":`...)
	b = appendTime(b, at)
	b = append(b, `,"Sender":`...)
	b = append(b, sender...)
	return append(b, '}')
}

// appendSender appends the Sender object of a MESSAGE.
func appendSender(b []byte, userID string, attributes map[string]string) []byte {
	b = append(b, `{"UserId":`...)
	b = appendString(b, userID)
	b = append(b, `,"Attributes":`...)
	if attributes == nil {
		attributes = map[string]string{} // {} rather than null: IVS: chat-messaging-api/Message
	}
	b = appendAttributes(b, attributes)
	return append(b, '}')
}

// appendEvent appends an EVENT frame.
//
// IVS: chat-messaging-api/Event
func appendEvent(b []byte, id, requestID, name string, attributes map[string]string, at time.Time) []byte {
	b = append(b, `{"Type":"EVENT","Id":`...)
	b = appendString(b, id)
	b = append(b, `,"RequestId":`...)
	b = appendString(b, requestID)
	b = append(b, `,"EventName":`...)
	b = appendString(b, name)
	b = append(b, `,"Attributes":`...)
	b = appendAttributes(b, attributes)
	b = append(b, `,"SendTime":`...)
	b = appendTime(b, at)
	return append(b, '}')
}

// AppendError appends an ERROR frame. Its Id is a fresh one where it is empty.
//
// IVS: chat-messaging-api/Error
func AppendError(b []byte, id, requestID string, code int, message string) []byte {
	if id == "" {
		id = NewID()
	}
	b = append(b, `{"Type":"ERROR","Id":`...)
	b = appendString(b, id)
	b = append(b, `,"RequestId":`...)
	b = appendString(b, requestID)
	b = append(b, `,"ErrorCode":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"ErrorMessage":`...)
	b = appendString(b, message)
	return append(b, '}')
}

// appendAttributes appends the map, or null for a nil map.
func appendAttributes(b []byte, m map[string]string) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	switch len(m) {
	case 0:
	case 1:
		for k, v := range m {
			b = appendMember(b, k, v)
		}
	default:
		for i, k := range slices.Sorted(maps.Keys(m)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendMember(b, k, m[k])
		}
	}
	return append(b, '}')
}

func appendMember(b []byte, k, v string) []byte {
	b = appendString(b, k)
	b = append(b, ':')
	return appendString(b, v)
}

// appendTime appends a time as the service writes it: RFC 3339, UTC, nanoseconds with
// trailing zeros trimmed, but never without a fraction, since native date parsers
// that expect one refuse a time without.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	b = append(b, '"')
	if t.Nanosecond() == 0 {
		b = t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	} else {
		b = t.AppendFormat(b, time.RFC3339Nano)
	}
	return append(b, '"')
}

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
