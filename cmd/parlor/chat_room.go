package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
)

// sessionMinutes is how long a connection may be there before a new one has to be opened:
// the longest that there is.
//
// IVS-MODEL: SessionDurationInMinutes
const sessionMinutes = 180

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
	if only = room == ""; only {
		s.arn, s.room, err = onlyRoom(ctx, s.api)
	} else {
		s.arn, err = findRoom(ctx, s.api, room)
		s.room = room
	}
	if err != nil {
		return nil, false, err
	}
	if arn, err := chat.ParseARN(room); err == nil {
		s.room = arn.ID
	}
	s.api = inRegionOf(s.api, s.arn)
	return s, only, nil
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
		return "", &messaging.FinalError{Err: err}
	}
	return "", errors.New(clean(plain(err)))
}

// transport is how the API is reached: by the proxies and certificates that AWS's
// variables say, AWS_CA_BUNDLE for one.
func transport(api *ivschat.Client) *http.Transport {
	if client, ok := api.Options().HTTPClient.(interface{ GetTransport() *http.Transport }); ok {
		return client.GetTransport()
	}
	return nil
}

// client returns a client for the seat, which tells it what comes.
func (s *seat) client(frame func(messaging.Frame), state func(messaging.State)) *messaging.Client {
	return messaging.New(messaging.Config{
		URL:       s.messaging,
		Transport: transport(s.api),
		Token:     s.token,
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
					s.fail(&hintedError{now.Err, or(certificateHint(now.Err, "--messaging"), "--messaging names another address of the messaging API.")})
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
