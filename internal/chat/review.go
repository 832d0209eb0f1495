package chat

import "context"

// Review takes its time, and delays nobody but the sender, and of the sender nothing
// but later messages: the handlers of a session's messages are asked at once, and what
// they allow is shown in the order it was sent.

// through reports whether no earlier message of the session is still on its way.
func (s *Session) through() bool {
	if s.previous == nil {
		return true
	}
	select {
	case <-s.previous:
		s.previous = nil
		return true
	default:
		return false
	}
}

// later leaves the review and the publishing of a message, which has been admitted, to
// out.Later.
func (s *Service) later(m pendingMessage, room *Room, out *Outcome) {
	previous, done := m.session.previous, make(chan struct{})
	m.session.previous = done
	result := *out
	result.ID = m.id
	out.Later = func(ctx context.Context, live func() bool) Outcome {
		await := func() {
			if previous != nil {
				<-previous // within the time that review takes
			}
		}
		defer close(done)
		defer await() // also where the review panics
		result.Err = s.review(ctx, &m, room)
		await()
		if result.Err == nil && !live() {
			result.Err = ErrSessionEnded
		}
		if result.Err == nil {
			result.Err = s.show(ctx, m.publication(), room, 0)
		}
		if result.Err != nil && m.giveBack != nil {
			m.giveBack()
		}
		return result
	}
}

// ErrSessionEnded is what became of a message whose session ended while it was
// reviewed. There is nobody to tell.
var ErrSessionEnded = &Error{Code: Unauthorized, Message: "The chat session has ended."}

// notAcceptable is a message that review refused, with the reason that was given.
func notAcceptable(reason string) *Error {
	if reason == "" {
		reason = "Message rejected by review"
	}
	return &Error{Code: NotAcceptable, Message: reason}
}

// review has a message reviewed. What is allowed may come out of it changed.
//
// IVS: chat-message-review-handler
func (s *Service) review(ctx context.Context, m *pendingMessage, room *Room) error {
	if room.Handler == nil || room.Handler.URI == "" {
		return nil
	}
	if s.reviewer != nil {
		span := s.step(ctx, stepReview)
		if span != nil {
			ctx = WithSpan(ctx, span)
		}
		verdict, err := s.reviewer.Review(ctx, room.Handler.URI, m.reviewPayload(), func(v *Verdict) error {
			return verdictFault(v, room.MaximumMessageLength)
		})
		if span != nil {
			span.End(err)
		}
		switch {
		case err != nil: // no answer that can be used
		case !verdict.Allow:
			return notAcceptable(verdict.Attributes["Reason"])
		default:
			m.content = verdict.Content
			if verdict.Attributes != nil {
				m.attributes = verdict.Attributes
			}
			return nil
		}
	}
	if room.Handler.Fallback == FallbackDeny {
		return notAcceptable("")
	}
	return nil
}

// verdictFault says what makes an answer unusable.
func verdictFault(v *Verdict, maximumLength int) error {
	if v.Allow {
		if err := contentFault(v.Content, maximumLength); err != nil {
			return err
		}
	}
	if AttributesSize(v.Attributes) > MaxAttributesSize {
		return errAttributes
	}
	return nil
}

// reviewPayload is what a handler is given.
func (m *pendingMessage) reviewPayload() []byte {
	sender := m.session.sender[:len(m.session.sender)-1] // open again, for one more member
	b := make([]byte, 0, 512+len(m.content)+len(sender))
	b = append(b, `{"Content":`...)
	b = appendString(b, m.content)
	b = append(b, `,"MessageId":`...)
	b = appendString(b, m.id)
	b = append(b, `,"RoomArn":`...)
	b = appendString(b, m.session.Room.String())
	b = append(b, `,"Attributes":`...)
	attributes := m.attributes
	if attributes == nil {
		attributes = map[string]string{} // handlers look into it
	}
	b = appendAttributes(b, attributes)
	b = append(b, `,"Sender":`...)
	b = append(b, sender...)
	b = append(b, `,"Ip":`...)
	address := ""
	if m.session.Address.IsValid() {
		address = m.session.Address.String()
	}
	b = appendString(b, address)
	return append(b, "}}"...)
}

// verifyHandler refuses a change to a handler that may not be invoked. The words are
// the service's.
func (s *Service) verifyHandler(ctx context.Context, change *HandlerChange) error {
	if s.reviewer == nil || change == nil || change.URI == nil || *change.URI == "" {
		return nil
	}
	if err := s.reviewer.Verify(ctx, *change.URI); err != nil {
		return NewInvalid("uri", "invalid lambda permission")
	}
	return nil
}
