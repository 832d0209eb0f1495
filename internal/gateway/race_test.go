package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"parlor/internal/chat"
)

// slowSpending is a store that lets something happen while a token is being spent.
type slowSpending struct {
	chat.Store
	meanwhile func()
}

func (s *slowSpending) SpendToken(ctx context.Context, id chat.TokenID, by uint64, until time.Time) (bool, error) {
	first, err := s.Store.SpendToken(ctx, id, by, until)
	s.meanwhile()
	return first, err
}

// A room that is deleted while somebody is on their way in keeps nobody.
func TestDeleteRoomDuringHandshake(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	slow := &slowSpending{Store: n.store, meanwhile: func() {
		if err := n.service.DeleteRoom(context.Background(), room.ARN); err != nil {
			t.Error(err)
		}
	}}
	token := n.token(chat.TokenSpec{Room: room.ARN, UserID: "a", Capabilities: everything})
	n.gateway.service = chat.NewService(chat.ServiceConfig{Store: slow, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	c, response, err := n.tryOpen(token, nil)
	if err != nil {
		if response == nil || response.StatusCode != 404 {
			t.Fatal(err)
		}
		return
	}
	_, err = c.read(2 * time.Second)
	if websocket.CloseStatus(err) != websocket.StatusGoingAway || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want a close frame 1001 with a 404", err)
	}
}

// A session may be due at the wheel as soon as it is there: its time may be over.
func TestWheelMeetsOnlySeatedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nodeOptions{pipes: true})
		room := n.room(chat.RoomSpec{})
		r, err := n.gateway.enter(t.Context(), room.ARN)
		if err != nil {
			t.Fatal(err)
		}
		defer n.gateway.leave(r)
		ours, theirs := net.Pipe()
		defer theirs.Close()
		s := newSession(n.gateway, r, &chat.Session{Room: &room.ARN, Expires: time.Now().Unix()}, ours)
		time.Sleep(time.Second) // before it is seated
		s.close(causeClient)
		n.gateway.wheel.remove(s)
	})
}

// Nothing goes out after a close frame.
func TestNothingAfterTheCloseFrame(t *testing.T) {
	l := newRoomLog()
	s := &session{log: l, cursor: l.cursorAtEnd()}
	s.ending.Store(&ending{last: []byte("close"), waits: true})
	s.writing.Store(busy)
	b, _ := s.pending()
	s.say([]byte("pong")) // the reader, while the close frame is being written
	s.wrote(new(tally), len(b), 0)
	if more, _ := s.pending(); string(b) != "close" || len(more) > 0 {
		t.Errorf("wrote %q, then %q", b, more)
	}
}

// hastyStore carries out what it is asked, while the caller goes away: then it answers
// as the contract has it for a context that ended.
type hastyStore struct {
	*memoryStore
	leave func()
}

func (s *hastyStore) DeleteRoom(ctx context.Context, arn chat.ARN) error {
	s.leave()
	s.memoryStore.DeleteRoom(ctx, arn)
	return ctx.Err()
}

func (s *hastyStore) UpdateRoom(ctx context.Context, arn chat.ARN, change func(chat.Room) (chat.Room, error)) (chat.Room, error) {
	s.leave()
	room, err := s.memoryStore.UpdateRoom(ctx, arn, change)
	if err == nil {
		err = ctx.Err()
	}
	return room, err
}

// A room that was changed or deleted is so for its live sessions, whether or not the
// caller waited for it.
func TestCallerGoesAwayDuringRoomChange(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	c := n.connect(room.ARN, "a")
	c.send(`{"Action":"SEND_MESSAGE","Content":"four"}`)
	c.next()

	ctx, leave := context.WithCancel(t.Context())
	n.gateway.service.ForgetRoom(room.ARN)
	service := chat.NewService(chat.ServiceConfig{Store: &hastyStore{n.store, leave}, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	c.send(`{"Action":"SEND_MESSAGE","Content":"four"}`)
	c.next()
	one := 1
	service.UpdateRoom(ctx, room.ARN, chat.RoomChange{MaximumMessageLength: &one})
	c.send(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"four"}`)
	c.wantError("r", 400)

	ctx, leave = context.WithCancel(t.Context())
	service = chat.NewService(chat.ServiceConfig{Store: &hastyStore{n.store, leave}, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	service.DeleteRoom(ctx, room.ARN)
	if _, err := c.read(2 * time.Second); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("got %v, want a close frame 1001", err)
	}
}

// A handshake that panics, as it does when the store does, leaves its room all the
// same: else nothing would ever stop.
func TestHandshakeThatPanics(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	token := n.token(chat.TokenSpec{Room: room.ARN, UserID: "a"})
	broken := &slowSpending{Store: n.store, meanwhile: func() { panic(http.ErrAbortHandler) }}
	n.gateway.service = chat.NewService(chat.ServiceConfig{Store: broken, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	if _, _, err := n.tryOpen(token, nil); err == nil {
		t.Fatal("connected")
	}
	stopped := make(chan struct{})
	go func() { n.stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		n.gateway.running.Done() // for the others' sake
		t.Fatal("the gateway does not stop")
	}
}

// failingStore fails to spend tokens, as often as is said.
type failingStore struct {
	chat.Store
	fails atomic.Int32
}

func (s *failingStore) SpendToken(ctx context.Context, id chat.TokenID, by uint64, until time.Time) (bool, error) {
	if s.fails.Add(-1) >= 0 {
		return false, errors.New("the database is away")
	}
	return s.Store.SpendToken(ctx, id, by, until)
}

// TestHandshakeWaits: while the store, or the broker, is away for a moment, a handshake
// takes longer and succeeds.
func TestHandshakeWaits(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	store := &failingStore{Store: n.store}
	n.gateway.service = chat.NewService(chat.ServiceConfig{Store: store, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	store.fails.Store(3)
	c := n.connect(room.ARN, "a")
	c.send(`{"Action":"SEND_MESSAGE","RequestId":"r","Content":"x"}`)
	c.next()

	n.gateway.Hears(false)
	time.AfterFunc(300*time.Millisecond, func() { n.gateway.Hears(true) })
	begun := time.Now()
	n.connect(room.ARN, "b")
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("let in after %s, by a node that hears nothing", took)
	}
}

// TestEvict ends all sessions so that clients come back with a fresh token.
func TestEvict(t *testing.T) {
	n := startNode(t, nodeOptions{})
	room := n.room(chat.RoomSpec{})
	clients := []*client{n.connect(room.ARN, "a"), n.connect(room.ARN, "b")}
	n.gateway.Evict(t.Context(), 100*time.Millisecond)
	for _, c := range clients {
		c.wantError("", 401)
		if _, err := c.read(2 * time.Second); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("got %v, want a close frame 1001", err)
		}
	}
}
