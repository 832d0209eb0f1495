package chat

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// RequestsPerSecond is how many requests a connection may make, of any kind.
	RequestsPerSecond = 10
	// MaxFrameSize is the largest request, in bytes.
	MaxFrameSize = 16 << 10
)

// Session is what the core knows of an admitted connection: what its token granted,
// and how fast it asks. One goroutine at a time uses it.
type Session struct {
	Room         *ARN // of the room as it was found; its sessions share it
	UserID       string
	Capabilities Capability
	Counted      bool       // its room wanted to know who is there, as it came
	refused      Capability // those it does not have and was told so, and so were others
	Token        TokenID    // names the session: a token opens one
	Expires      int64      // Unix time, in seconds
	Address      netip.Addr // the client's, for review handlers

	sender string // the Sender object of its messages, encoded once
	rate   Rate
	// previous is closed when the last message that takes its time is through: a
	// session's messages are shown in the order they were sent. nil when none did.
	previous chan struct{}
}

// OpenToken returns the claims of a token that is genuine, not expired, and not known
// to be used; see Admit. The error of a bad token is Unauthorized.
func (s *Service) OpenToken(ctx context.Context, token string) (Claims, error) {
	return s.sealer.Open(ctx, token)
}

// DescribeToken returns what a token grants, expired or not, and whether it opened its
// connection; an hour after it expired that may be forgotten, and nothing is spent then. A
// token that was not made here, or whose key is not kept any more, is BadRequest.
func (s *Service) DescribeToken(ctx context.Context, token string) (claims Claims, spent bool, err error) {
	claims, err = s.sealer.Read(ctx, token)
	if err == errToken {
		return Claims{}, false, NewInvalid("token", "the value must be a chat token that was made here, not long ago")
	}
	if err != nil {
		return Claims{}, false, err
	}
	spent, err = s.store.TokenSpent(ctx, claims.ID)
	return claims, spent, err
}

// Admit turns claims into a session: the room must exist, and the token is spent,
// durably and once: by is a number of the handshake's own, which may call it again. It is
// called when this node's subscription to the room is live.
// Errors are NotFound, Forbidden for a user who is banned, Unauthorized, TooManyRequests over the quota of connections, or
// the store's. Depart must follow.
func (s *Service) Admit(ctx context.Context, claims Claims, by uint64) (*Session, error) {
	room, err := s.rooms.get(ctx, claims.Room, s.loadRoom)
	if err != nil {
		return nil, err
	}
	if err := room.Bans.banned(claims.UserID, time.Now()); err != nil {
		return nil, err
	}
	if err := s.limits.connect(ctx, claims.Room.Scope); err != nil {
		return nil, err
	}
	first, err := s.store.SpendToken(ctx, claims.ID, by, claims.TokenExpires.Add(clockSlack))
	if err == nil && !first {
		err = errToken
	}
	if err != nil {
		s.limits.disconnect(claims.Room.Scope)
		return nil, err
	}
	var sender [256]byte
	return &Session{
		Room:         &room.ARN,
		UserID:       claims.UserID,
		Capabilities: claims.Capabilities,
		Counted:      room.attendance().Wanted(),
		Expires:      claims.SessionExpires.Unix(),
		Token:        claims.ID,
		sender:       string(appendSender(sender[:0], claims.UserID, claims.Attributes)),
	}, nil
}

// Depart ends a session that Admit admitted; it no longer counts.
func (s *Service) Depart(session *Session) { s.limits.disconnect(session.Room.Scope) }

// ForgetRoom drops what is remembered of a room. The node calls it when the room
// changed, and when its last session left.
func (s *Service) ForgetRoom(arn ARN) { s.rooms.forget(arn) }

// Heard takes note of a publication to [ControlLog], by this node or another.
func (s *Service) Heard(pub *Publication) {
	switch pub.Kind {
	case PublishLogsChanged:
		s.logs.forget(pub.Subject)
	case PublishBansChanged:
		s.forgetBans(pub.Subject)
	case PublishGap:
		s.logs.forgetAll()
		s.scopes.forgetAll()
		s.rooms.forgetAll()
	}
}

// Trust says whether this node hears of changes. While it does not, nothing is
// remembered: what was, may be out of date.
func (s *Service) Trust(hears bool) {
	s.scopes.trust(hears)
	s.rooms.trust(hears)
	s.logs.trust(hears)
}

// ErrSessionExpired is the end of a session's time. Clients answer it by connecting
// again with a fresh token.
var ErrSessionExpired = &Error{Code: Unauthorized, Message: "The chat session has expired."}

// Outcome is what became of a request. A request that succeeded is answered by its
// publication; one with an Err is owed an ERROR frame with the RequestID.
type Outcome struct {
	Action    string // one of the Action constants, or "" when it was not understood
	RequestID string
	ID        string // of the ERROR frame; "" for a fresh one
	Err       error  // *Error, or anything else, which is an Internal
	// Later, unless nil, is the rest of a request that takes its time: it is to be
	// called once, by a goroutine of its own, and what it returns is what became of the
	// request. live reports whether the session still is.
	Later func(ctx context.Context, live func() bool) Outcome
}

// Act carries out one request of a session: a whole WebSocket message, which the
// server took at accepted. The checks come in the order of the first that costs least
// to the first that touches others: the connection's rate, the form of the request,
// the session's life, the room, the capability, the sizes, the room's rate.
func (s *Service) Act(ctx context.Context, session *Session, message []byte, text bool, accepted time.Time) Outcome {
	inTime := session.rate.Allow(accepted, RequestsPerSecond)
	request, fault := parseAction(message)
	out := Outcome{Action: request.Action, RequestID: request.RequestID}
	room := (*Room)(nil)
	switch {
	case !inTime:
		out.Err = RateLimitExceeded(*session.Room, RequestsPerSecond)
	case len(message) > MaxFrameSize:
		out.Err = &Error{Code: TooLarge, Message: "The request is too large."}
	case !text:
		out.Err = &Error{Code: BadRequest, Message: "The request is not a text frame."}
	case fault != nil:
		out.Err = fault
	case !accepted.Before(time.Unix(session.Expires, 0)):
		out.Err = ErrSessionExpired
	default:
		var err error
		if room, err = s.rooms.get(ctx, *session.Room, s.loadRoom); err != nil {
			out.Err = err
		}
	}
	if s.faults != nil && out.Err == nil {
		out.Err = s.faults.Act(ctx, session, request.Action)
	}
	if out.Err != nil {
		return out
	}
	var span Span
	if s.tracer != nil {
		ctx, span = s.begin(ctx, request.Action, accepted)
	}
	switch request.Action {
	case ActionSendMessage:
		s.sendMessage(ctx, session, room, &request, accepted, &out)
	case ActionDeleteMessage:
		out.Err = s.deleteMessage(ctx, session, room, &request, accepted)
		s.noteModeration(session, &request, MayDeleteMessage, out.Err, accepted)
	case ActionDisconnectUser:
		out.Err = s.disconnectUser(ctx, session, room, &request, accepted)
		s.noteModeration(session, &request, MayDisconnectUser, out.Err, accepted)
	}
	if span != nil {
		endWith(span, &out)
	}
	return out
}

// noteModeration tells those who run the server what a moderator did, or tried. Who is no
// moderator may try for ever: that is told once a session, for each action.
func (s *Service) noteModeration(session *Session, request *action, needs Capability, err error, at time.Time) {
	if s.notice == nil || session.refused&needs != 0 {
		return
	}
	session.refused |= needs &^ session.Capabilities
	n := Notice{
		ID: NewID(), Time: at, Action: request.Action, By: Actor{UserID: session.UserID}, From: session.Address,
		Scope: session.Room.Scope, Resource: *session.Room, Session: session.Token.String(),
		UserID: firstRunes(request.UserID, MaxUserIDLength), MessageID: cut(request.ID, maxMessageIDLength),
	}
	if err != nil {
		n.Refused = AsError(err).Code.String()
	}
	s.notice(n)
}

// firstRunes is at most so many characters of what a client sent.
func firstRunes(text string, most int) string {
	for i := range text {
		if most--; most < 0 {
			return text[:i]
		}
	}
	return text
}

// cut is at most so many bytes of what a client sent.
func cut(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }

// IVS: chat-messaging-api/SendMessage
func (s *Service) sendMessage(ctx context.Context, session *Session, room *Room, request *action, accepted time.Time, out *Outcome) {
	m := pendingMessage{session: session, id: NewID(), requestID: request.RequestID, content: request.Content, attributes: request.Attributes, accepted: accepted}
	if session.Capabilities&MaySendMessage == 0 {
		out.Err = forbidden(request.Action)
	} else if err := room.Bans.silenced(session.UserID, accepted); err != nil {
		out.Err = err
	} else if err := contentFault(m.content, room.MaximumMessageLength); err != nil {
		out.Err = err
	} else if AttributesSize(m.attributes) > MaxAttributesSize {
		out.Err = errAttributes
	} else if err := s.limits.publish(ctx, PublishMessage, *session.Room); err != nil {
		out.Err = err
	} else if m, err = s.extended(ctx, m, room); err != nil {
		out.Err = err
	} else if handler := room.Handler; handler != nil && handler.URI != "" || !session.through() {
		if out.Err = s.refund(*session.Room, s.broker.Admit(ctx, room.ARN, room.MaximumMessageRatePerSecond)); out.Err == nil {
			s.later(m, room, out)
		}
	} else {
		out.Err = s.refund(*session.Room, s.show(ctx, m.publication(), room, room.MaximumMessageRatePerSecond))
	}
	if out.Err != nil && m.giveBack != nil {
		m.giveBack()
	}
}

// pendingMessage is a message on its way.
type pendingMessage struct {
	session                *Session
	id, requestID, content string
	attributes             map[string]string
	accepted               time.Time
	giveBack               func() // of the turn that the message took; nil: none
}

// publication encodes the message as it is shown.
func (m *pendingMessage) publication() *Publication {
	frame := make([]byte, 0, 256+len(m.content)+len(m.session.sender)+2*MaxAttributesSize*min(1, len(m.attributes)))
	frame = appendMessage(frame, m.id, m.requestID, m.attributes, m.content, m.accepted, m.session.sender)
	return &Publication{Room: *m.session.Room, Kind: PublishMessage, ID: m.id, Frame: frame, Accepted: m.accepted}
}

// refund gives back what a message cost the account if it was over its room's rate, of
// which err tells.
func (s *Service) refund(room ARN, err error) error {
	if err != nil && AsError(err).Code == TooManyRequests {
		s.limits.refused(room)
	}
	return err
}

// IVS: chat-messaging-api/DeleteMessage
func (s *Service) deleteMessage(ctx context.Context, session *Session, room *Room, request *action, accepted time.Time) error {
	if session.Capabilities&MayDeleteMessage == 0 {
		return forbidden(request.Action)
	}
	if request.ID == "" {
		return &Error{Code: BadRequest, Message: "Id must not be empty."}
	}
	if len(request.ID) > maxMessageIDLength {
		return &Error{Code: TooLarge, Message: "Id exceeds maximum length"}
	}
	return s.act(ctx, session, &Publication{Room: *session.Room, Kind: PublishDelete, Accepted: accepted},
		room, request, eventDeleteMessage, deleteAttributes(request.ID, request.Reason))
}

// IVS: chat-messaging-api/DisconnectUser
func (s *Service) disconnectUser(ctx context.Context, session *Session, room *Room, request *action, accepted time.Time) error {
	if session.Capabilities&MayDisconnectUser == 0 {
		return forbidden(request.Action)
	}
	if request.UserID == "" {
		return &Error{Code: BadRequest, Message: "UserId must not be empty."}
	}
	if utf8.RuneCountInString(request.UserID) > MaxUserIDLength {
		return &Error{Code: TooLarge, Message: "UserId exceeds maximum length"}
	}
	return s.act(ctx, session, &Publication{Room: *session.Room, Kind: PublishDisconnect, Accepted: accepted, UserID: request.UserID, Reason: request.Reason},
		room, request, eventDisconnectUser, disconnectAttributes(request.UserID, request.Reason))
}

var errAttributes = &Error{Code: TooLarge, Message: "Attributes exceed maximum size"}

// act publishes the event of a moderator's request.
func (s *Service) act(ctx context.Context, session *Session, pub *Publication, room *Room, request *action, name string, attributes map[string]string) error {
	if utf8.RuneCountInString(request.Reason) > MaxReasonLength {
		return &Error{Code: TooLarge, Message: "Reason exceeds maximum length"}
	}
	if err := s.limits.publish(ctx, pub.Kind, pub.Room); err != nil {
		return err
	}
	pub.ID = NewID()
	pub.Frame = appendEvent(nil, pub.ID, request.RequestID, name, attributes, pub.Accepted)
	if pub.Kind == PublishDisconnect {
		return s.disconnect(ctx, pub, room, Actor{UserID: session.UserID})
	}
	return s.show(ctx, pub, room, 0)
}

func forbidden(action string) *Error {
	return &Error{Code: Forbidden, Message: "The chat token does not have the capability " + action + "."}
}

// AsError returns the *Error in err, or what a client is told of an internal fault.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: "Internal server error"}
}

// TruncateReason cuts a text to at most n bytes at a rune boundary.
func TruncateReason(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
