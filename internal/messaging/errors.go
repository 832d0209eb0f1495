package messaging

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

var (
	// ErrNotConnected is the error of an action while there is no connection. Nothing
	// was sent.
	ErrNotConnected = errors.New("there is no connection")

	// ErrLost is the error of an action whose connection ended before the answer came.
	// It may have been carried out.
	ErrLost = errors.New("the connection was lost before the answer came")

	errSessionOver = errors.New("the session is over")
)

// Error is an ERROR of the server in answer to an action.
type Error struct {
	Code    int // like an HTTP status
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// ClosedError is a connection that the server closed for good.
type ClosedError struct {
	Reason string // of a user who was disconnected what was said, perhaps nothing
	Status int    // like an HTTP status, if the server told an error: 404 is a room that was deleted
}

func (e *ClosedError) Error() string {
	text := "the server closed the connection"
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// RefusedError is a handshake that the server refused for good.
type RefusedError struct {
	Status  int // of HTTP
	Message string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the connection was refused with HTTP status %d", e.Status)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// FinalError is an error of Config.Token that will not be another one next time.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// isFinal reports whether an error ends Run, and with which.
func isFinal(err error) (error, bool) {
	if e, ok := errors.AsType[*FinalError](err); ok {
		return e.Err, true
	}
	if e, ok := errors.AsType[*ClosedError](err); ok {
		return e, true
	}
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e, true
	}
	return nil, false
}

// said is how the server tells an error outside of frames: in a close frame's reason and
// in the answer to a handshake.
type said struct {
	ErrorCode    int
	ErrorMessage string
}

// maxSaid is as much of an answer as is looked at, in bytes.
const maxSaid = 4 << 10

// refused is the error of a handshake that was answered, but not with a connection.
func refused(r *http.Response) error {
	var s said
	if body, err := io.ReadAll(io.LimitReader(r.Body, maxSaid)); err == nil {
		json.Unmarshal(body, &s) // another server's may be anything
	}
	switch {
	case r.StatusCode >= 500, r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusRequestTimeout:
		// It may be otherwise soon.
		return fmt.Errorf("the connection was refused for now, with HTTP status %d: %s", r.StatusCode, or(s.ErrorMessage, http.StatusText(r.StatusCode)))
	default:
		return &RefusedError{Status: r.StatusCode, Message: s.ErrorMessage}
	}
}

// closed is why reading ended.
func closed(err error) error {
	e, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		return fmt.Errorf("the connection broke: %w", cause(err))
	}
	var s said
	if strings.HasPrefix(e.Reason, "{") && json.Unmarshal([]byte(e.Reason), &s) == nil {
		if s.ErrorCode == http.StatusUnauthorized {
			return errSessionOver
		}
		return &ClosedError{Reason: s.ErrorMessage, Status: s.ErrorCode}
	}
	return &ClosedError{Reason: e.Reason}
}

// cause is the innermost of what the network has to say, which a person may want to
// read: without what the library was doing at the time.
func cause(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return errors.New("the other end is gone")
	}
	return err
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
