package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parlor/internal/chat"
)

// hearing has a node hear the control log, as a server does.
func hearing(t *testing.T, n *node) {
	_, cancel, err := n.broker.Subscribe(t.Context(), chat.ControlLog)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
}

// places are those that a ban from a room may have.
func places(room chat.ARN) map[string]chat.ARN {
	return map[string]chat.ARN{"the room": room, "the account": {Scope: room.Scope}}
}

func (n *node) ban(place chat.ARN, user string) {
	n.t.Helper()
	if _, err := n.gateway.service.BanUser(context.Background(), chat.BanSpec{Place: place, UserID: user, Reason: "spam"}); err != nil {
		n.t.Error(err)
	}
}

// TestBan: the sessions of a user end cleanly, with the reason and nothing else; those of
// others, and of the user elsewhere, stay.
func TestBan(t *testing.T) {
	for what := range places(chat.ARN{}) {
		t.Run(what, func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			hearing(t, n)
			room, elsewhere := n.room(chat.RoomSpec{}), n.room(chat.RoomSpec{})
			first, second, away := n.connect(room.ARN, "eve"), n.connect(room.ARN, "eve"), n.connect(elsewhere.ARN, "eve")
			other := n.connect(room.ARN, "ann")
			token := n.token(chat.TokenSpec{Room: room.ARN, UserID: "eve"})
			n.ban(places(room.ARN)[what], "eve")
			ended := []*client{first, second}
			if what == "the account" {
				ended = append(ended, away)
			}
			for _, c := range ended {
				if code, reason, frames := c.closed(); code != websocket.StatusGoingAway || reason != "spam" || len(frames) != 0 {
					t.Errorf("got close %d %q after %d frames, want 1001 \"spam\" and no frame", code, reason, len(frames))
				}
			}
			if _, response, err := n.tryOpen(token, nil); err == nil || response == nil || response.StatusCode != 403 {
				t.Errorf("a token of before: got %v, want a 403", err)
			}
			if err := n.gateway.service.UnbanUser(t.Context(), places(room.ARN)[what], "eve"); err != nil {
				t.Fatal(err)
			}
			n.open(token, nil) // refused, it was not spent
			other.send(`{"Action":"SEND_MESSAGE","Content":"still here"}`)
			if f := other.next(); f.Type != "MESSAGE" {
				t.Errorf("somebody else: got %s", f.raw)
			}
			if what == "the room" {
				away.send(`{"Action":"SEND_MESSAGE","Content":"still here"}`)
				if f := away.next(); f.Type != "MESSAGE" {
					t.Errorf("elsewhere: got %s", f.raw)
				}
			}
		})
	}
}

// TestBanDuringHandshake: whoever is banned while on the way in is not left in, at
// whichever moment the ban comes.
func TestBanDuringHandshake(t *testing.T) {
	for what := range places(chat.ARN{}) {
		t.Run(what, func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			hearing(t, n)
			room := n.room(chat.RoomSpec{})
			token := n.token(chat.TokenSpec{Room: room.ARN, UserID: "eve"})
			slow := &slowSpending{Store: n.store, meanwhile: func() { n.ban(places(room.ARN)[what], "eve") }}
			n.gateway.service = chat.NewService(chat.ServiceConfig{Store: slow, Broker: n.gateway.broker, TokenLifetime: time.Hour})
			c, _, err := n.tryOpen(token, nil)
			if err != nil {
				t.Fatalf("got %v: the ban came after the look at it", err)
			}
			if code, reason, _ := c.closed(); code != websocket.StatusGoingAway || reason != "spam" {
				t.Errorf("got close %d %q, want 1001 \"spam\"", code, reason)
			}
		})
	}
}

// TestBanAgainstHandshakes: many come in while they are banned, and none stays.
func TestBanAgainstHandshakes(t *testing.T) {
	n := startNode(t, nodeOptions{})
	hearing(t, n)
	room := n.room(chat.RoomSpec{})
	const users = 40
	type in struct {
		c   *client
		err error
	}
	var came [users]chan in
	for i := range users {
		user := fmt.Sprint("user ", i)
		token := n.token(chat.TokenSpec{Room: room.ARN, UserID: user})
		came[i] = make(chan in, 1)
		go func() {
			c, _, err := n.tryOpen(token, nil)
			came[i] <- in{c, err}
		}()
		go func() {
			time.Sleep(time.Duration(i%8) * 200 * time.Microsecond)
			n.ban(room.ARN, user)
		}()
	}
	refused := 0
	for i := range users {
		in := <-came[i]
		if in.err != nil {
			refused++
			continue
		}
		if code, _, _ := in.c.closed(); code != websocket.StatusGoingAway {
			t.Errorf("user %d: got close %d, want 1001", i, code)
		}
	}
	t.Logf("%d of %d were refused, the others ended", refused, users)
}

// TestBanNotHeardOf: a node that did not hear of a ban, since what was said is lost,
// finds out by itself, even if the store does not answer at once; who was not banned
// stays.
func TestBanNotHeardOf(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	eve, ann := n.connect(room.ARN, "eve"), n.connect(room.ARN, "ann")
	deaf := chat.NewService(chat.ServiceConfig{Store: n.store, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	if _, err := deaf.BanUser(t.Context(), chat.BanSpec{Place: room.ARN, UserID: "eve", Reason: "spam"}); err != nil {
		t.Fatal(err)
	}
	eve.send(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"hello"}`)
	if f := eve.next(); f.Type != "MESSAGE" {
		t.Fatalf("before the node knows: got %s", f.raw)
	}
	n.store.away(2)
	n.gateway.Deliver(&chat.Publication{Room: chat.ControlLog, Kind: chat.PublishGap, Position: chat.Position{Epoch: 1, Number: 9}})
	if code, reason, _ := eve.closed(); code != websocket.StatusGoingAway || reason != "spam" {
		t.Errorf("got close %d %q, want 1001 \"spam\"", code, reason)
	}
	ann.next() // eve's message
	ann.send(`{"Action":"SEND_MESSAGE","Content":"still here"}`)
	if f := ann.next(); f.Type != "MESSAGE" {
		t.Errorf("somebody else: got %s", f.raw)
	}
}

// TestMuted: who may not speak is told so, and hears.
func TestMuted(t *testing.T) {
	n := startNode(t, nodeOptions{})
	hearing(t, n)
	room := n.room(chat.RoomSpec{})
	eve, ann := n.connect(room.ARN, "eve"), n.connect(room.ARN, "ann")
	if _, err := n.service.MuteUser(t.Context(), chat.BanSpec{Place: room.ARN, UserID: "eve"}); err != nil {
		t.Fatal(err)
	}
	eve.send(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"hello"}`)
	if f := eve.wantError("r", 403); f.ErrorMessage != "You are muted." {
		t.Errorf("got %q", f.ErrorMessage)
	}
	ann.send(`{"Action":"SEND_MESSAGE","Content":"for eve"}`)
	if f := eve.next(); f.Content != "for eve" {
		t.Errorf("got %s", f.raw)
	}
}
