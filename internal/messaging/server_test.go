package messaging

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// enter is a user of a room of a real server.
func enter(t *testing.T, s *parlortest.Server, client *ivschat.Client, room, user string, may ...types.ChatTokenCapability) *running {
	t.Helper()
	c := run(t, Config{URL: s.WebSocketURL, Token: func(ctx context.Context) (string, error) {
		out, err := client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &user, Capabilities: may})
		if err != nil {
			return "", err
		}
		return *out.Token, nil
	}})
	c.connected()
	return c
}

// Two clients at a real server: what is said is answered and heard, what may not be done
// is refused, a moderator's doing is told, and who is sent away stays away.
func TestRealServer(t *testing.T) {
	s := parlortest.Start(t)
	client := s.Client(t)
	out, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	ann := enter(t, s, client, *out.Arn, "ann", types.ChatTokenCapability("").Values()...)
	bob := enter(t, s, client, *out.Arn, "bob", types.ChatTokenCapabilitySendMessage)

	said, err := bob.SendMessage(t.Context(), "hello", map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	if said.ID == "" || said.Content != "hello" || said.Sender.UserID != "bob" || said.Attributes["k"] != "v" {
		t.Errorf("bob's own: %+v", said)
	}
	if heard := next(t, ann.frames); string(heard.Raw) != string(said.Raw) {
		t.Errorf("ann hears %s, bob %s", heard.Raw, said.Raw)
	}

	_, err = bob.DeleteMessage(t.Context(), said.ID, "")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != 403 {
		t.Errorf("bob deletes: %v", err)
	}
	_, err = bob.SendMessage(t.Context(), "", nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != 400 {
		t.Errorf("bob says nothing: %v", err)
	}
	deleted, err := ann.DeleteMessage(t.Context(), said.ID, "spam")
	if err != nil || deleted.EventName != EventDeleteMessage || deleted.DeletedMessage() != said.ID || deleted.Attributes["Reason"] != "spam" {
		t.Errorf("ann deletes: %+v, %v", deleted, err)
	}
	kicked, err := ann.DisconnectUser(t.Context(), "bob", "enough")
	if err != nil || kicked.EventName != EventDisconnectUser || kicked.Attributes["UserId"] != "bob" {
		t.Errorf("ann sends bob away: %+v, %v", kicked, err)
	}
	if e, ok := errors.AsType[*ClosedError](bob.end()); !ok || *e != (ClosedError{Reason: "enough"}) {
		t.Errorf("bob ends with %v", e)
	}
	if _, err := client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: out.Arn}); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*ClosedError](ann.end()); !ok || e.Status != 404 {
		t.Errorf("ann ends with %v", e)
	}
}

// A server that goes away and comes back is connected to again, with a new token.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	listen := "127.0.0.1:0"
	start := func() *parlortest.Server {
		return parlortest.Start(t, func(c *config.Config) { c.Data, c.Listen, c.DrainWindow = dir, listen, 0 })
	}
	s := start()
	listen = s.URL[len("http://"):]
	client := s.Client(t)
	out, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	ann := enter(t, s, client, *out.Arn, "ann", types.ChatTokenCapabilitySendMessage)
	s.Stop()
	ann.waits()
	start()
	ann.connected()
	if _, err := ann.SendMessage(t.Context(), "back", nil); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
