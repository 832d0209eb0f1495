package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/chat"
	"parlor/internal/messaging"
)

const (
	// firstTries is how often the first connection is tried for. One that has been there
	// is tried for without end.
	firstTries = 3

	// maxListed is how many rooms an error lists, when it cannot be said which is meant.
	maxListed = 10
)

// sessionMinutes is how long a connection may be there before a new one has to be opened:
// the longest that there is.
//
// IVS-MODEL: SessionDurationInMinutes
const sessionMinutes = 180

const (
	deniedHint   = "The policy of the access key does not allow this: parlor chat needs ivschat:CreateChatToken, and ivschat:ListRooms to find a room without its ARN."
	noServerHint = "Is parlor dev running? It starts a server at http://127.0.0.1:4870; --endpoint names another."
	noRoomHint   = "parlor room create --name lobby makes one. Rooms belong to a region and to the account of the access key: AWS_REGION names another region."
)

// seat is somebody's place in a room, for which connections are opened.
type seat struct {
	api       *ivschat.Client // in the room's region
	messaging string
	arn       string
	room      string // as a person calls it: its name, or its id
	user      string

	capabilities []types.ChatTokenCapability
	attributes   map[string]string

	been atomic.Bool // in the room, at least once

	// Owned by the goroutine of stay.
	tries  int
	kicked bool
	fail   func(error)
}

// seat finds a room, by its ARN, its name, or as the only one that there is.
func (a *apiFlags) seat(ctx context.Context, room, user string) (s *seat, only bool, err error) {
	s = &seat{user: user}
	if s.messaging, err = a.messagingURL(); err != nil {
		return nil, false, err
	}
	if s.api, err = a.client(ctx); err != nil {
		return nil, false, err
	}
	if u, err := url.Parse(a.Endpoint); err == nil && isLoopback(u.Hostname()) {
		// On this machine nothing gets better by being asked again.
		s.api = ivschat.New(s.api.Options(), func(o *ivschat.Options) { o.Retryer = aws.NopRetryer{} })
	}
	if strings.HasPrefix(room, "arn:") {
		arn, err := chat.ParseARN(room)
		if err != nil || arn.Kind != chat.KindRoom {
			return nil, false, fmt.Errorf("%q is not the ARN of a room, like arn:aws:ivschat:us-east-1:000000000000:room/AbCdEfGhIjKl", room)
		}
		s.arn, s.room = room, arn.ID
		// The ARN says in which region the room is, whatever is set up.
		s.api = ivschat.New(s.api.Options(), func(o *ivschat.Options) { o.Region = arn.Region })
		return s, false, nil
	}
	in := &ivschat.ListRoomsInput{}
	if room != "" {
		in.Name = &room
	}
	out, err := s.api.ListRooms(ctx, in)
	if err != nil {
		return nil, false, apiHint(err)
	}
	if len(out.Rooms) != 1 || out.NextToken != nil {
		return nil, false, notOne(room, s.api.Options().Region, out)
	}
	found := out.Rooms[0]
	s.arn, s.room = aws.ToString(found.Arn), or(aws.ToString(found.Name), aws.ToString(found.Id))
	return s, room == "", nil
}

// notOne is the error of rooms of which it is not clear which is meant.
func notOne(room, region string, found *ivschat.ListRoomsOutput) error {
	var list strings.Builder
	for _, r := range found.Rooms[:min(len(found.Rooms), maxListed)] {
		fmt.Fprintf(&list, "\n  %s", aws.ToString(r.Arn))
		if name := aws.ToString(r.Name); name != "" && room == "" {
			list.WriteString("  " + name)
		}
	}
	if len(found.Rooms) > maxListed || found.NextToken != nil {
		list.WriteString("\n  and more")
	}
	switch {
	case len(found.Rooms) == 0 && room == "":
		return &hintedError{fmt.Errorf("there is no room in %s", region), noRoomHint}
	case len(found.Rooms) == 0:
		return &hintedError{fmt.Errorf("no room in %s has the name %q", region, room), noRoomHint}
	case room == "":
		return &hintedError{fmt.Errorf("there are several rooms in %s:%s", region, &list), "Say which one, by its name or ARN."}
	default:
		return &hintedError{fmt.Errorf("several rooms have the name %q:%s", room, &list), "Say which one by its ARN."}
	}
}

// token gets a token for one connection. Until there has been one, what fails is final.
func (s *seat) token(ctx context.Context) (string, error) {
	out, err := s.api.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
		RoomIdentifier: &s.arn, UserId: &s.user, Capabilities: s.capabilities, Attributes: s.attributes,
		SessionDurationInMinutes: aws.Int32(sessionMinutes),
	})
	if err == nil {
		return aws.ToString(out.Token), nil
	}
	answer, answered := errors.AsType[*awshttp.ResponseError](err)
	status := 0
	if answered {
		status = answer.HTTPStatusCode()
	}
	if !s.been.Load() || status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		return "", &messaging.FinalError{Err: apiHint(err)}
	}
	return "", errors.New(inOneLine(err))
}

// client returns a client for the seat, which tells it what comes.
func (s *seat) client(frame func(messaging.Frame), state func(messaging.State)) *messaging.Client {
	return messaging.New(messaging.Config{
		URL:   s.messaging,
		Token: s.token,
		Frame: func(f messaging.Frame) {
			s.kicked = f.EventName == messaging.EventDisconnectUser && f.Attributes["UserId"] == s.user
			frame(f)
		},
		State: func(now messaging.State) {
			if now.Connected {
				s.been.Store(true)
			}
			if now.Retry > 0 && !s.been.Load() {
				if s.tries++; s.tries >= firstTries {
					s.fail(&hintedError{now.Err, "--messaging names another address of the messaging API."})
					return
				}
			}
			state(now)
		},
	})
}

// stay is in the room until ctx ends, which is no error, or until the server will not
// have it any longer.
func (s *seat) stay(ctx context.Context, client *messaging.Client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	s.fail = func(err error) {
		failed = err
		cancel(err)
	}
	err := client.Run(ctx)
	if failed != nil {
		return failed
	}
	if e, ok := errors.AsType[*messaging.ClosedError](err); ok {
		switch {
		case e.Status == http.StatusNotFound:
			return fmt.Errorf("the room %s was deleted", s.room)
		case s.kicked && e.Reason != "":
			return fmt.Errorf("%s was disconnected from %s: %s", clean(s.user), s.room, clean(e.Reason))
		case s.kicked:
			return fmt.Errorf("%s was disconnected from %s", clean(s.user), s.room)
		}
		return errors.New(clean(e.Error()))
	}
	if e, ok := errors.AsType[*messaging.RefusedError](err); ok {
		return &hintedError{errors.New(clean(e.Error())), "Is " + s.messaging + " the messaging API of the server that makes the tokens? --messaging names another."}
	}
	return err
}

// apiHint adds to an error of the API what can be done about it.
func apiHint(err error) error {
	var op *net.OpError
	var late net.Error
	if errors.As(err, &op) && op.Op == "dial" || errors.As(err, &late) && late.Timeout() {
		return &hintedError{err, noServerHint}
	}
	answer, ok := errors.AsType[*awshttp.ResponseError](err)
	_, denied := errors.AsType[*types.AccessDeniedException](err)
	switch {
	case denied:
		return &hintedError{err, deniedHint}
	case ok && answer.HTTPStatusCode() == http.StatusForbidden:
		return &hintedError{err, keyHint}
	case ok && answer.HTTPStatusCode() == http.StatusNotFound:
		return &hintedError{err, noRoomHint}
	}
	return err
}

// inOneLine is an error without what the SDK was doing at the time.
func inOneLine(err error) string {
	var answer interface {
		ErrorCode() string
		ErrorMessage() string
	}
	if errors.As(err, &answer) && answer.ErrorMessage() != "" {
		return clean(answer.ErrorMessage())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return clean(op.Error())
	}
	return clean(err.Error())
}
