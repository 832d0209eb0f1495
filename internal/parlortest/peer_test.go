package parlortest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"parlor/internal/parlortest"
)

// patience bounds every wait for something that has to happen.
const patience = 20 * time.Second

// must is the output of a call that has to succeed.
func must[T any](t testing.TB) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

var everything = types.ChatTokenCapability("").Values()

// newToken returns a token for a user who may do everything.
func newToken(t testing.TB, client *ivschat.Client, room, user string) string {
	t.Helper()
	out := must[*ivschat.CreateChatTokenOutput](t)(client.CreateChatToken(context.Background(), &ivschat.CreateChatTokenInput{
		RoomIdentifier: &room, UserId: &user, Capabilities: everything,
	}))
	return *out.Token
}

// peer is a messaging connection without any SDK.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
}

type frame struct {
	Type, ID, RequestID, EventName, Content string

	Attributes map[string]string
	Sender     struct {
		UserID     string
		Attributes map[string]string
	}
	SendTime     time.Time
	ErrorCode    int
	ErrorMessage string
}

// dial tries to open a connection. The status is that of the handshake.
func dial(t testing.TB, s *parlortest.Server, token string) (*peer, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, s.WebSocketURL, &websocket.DialOptions{Subprotocols: []string{token}})
	if err != nil {
		if response == nil {
			t.Fatalf("dial: %v", err)
		}
		return nil, response.StatusCode
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &peer{t: t, conn: conn}, response.StatusCode
}

// enter opens a connection of a user who may do everything.
func enter(t testing.TB, s *parlortest.Server, client *ivschat.Client, room, user string) *peer {
	t.Helper()
	p, status := dial(t, s, newToken(t, client, room, user))
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %d", status)
	}
	return p
}

func (p *peer) send(request map[string]any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := wsjson.Write(ctx, p.conn, request); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// next reads a frame.
func (p *peer) next() frame {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, text, err := p.conn.Read(ctx)
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		p.t.Fatalf("frame %s: %v", text, err)
	}
	return f
}

// closed reads to the close frame; there must be nothing before it.
func (p *peer) closed() websocket.CloseError {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, text, err := p.conn.Read(ctx)
	e, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		p.t.Fatalf("got %s %v, want a close frame", text, err)
	}
	return e
}

// say sends a message and returns it as it came back.
func (p *peer) say(content string) frame {
	p.t.Helper()
	p.send(map[string]any{"Action": "SEND_MESSAGE", "Content": content})
	return p.next()
}

// sayUntilHeard sends a message until the room's rate has room for it.
func (p *peer) sayUntilHeard(content string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := p.say(content)
		if got.Type == "MESSAGE" {
			return
		}
		if got.ErrorCode != http.StatusTooManyRequests || time.Now().After(deadline) {
			p.t.Fatalf("got %+v", got)
		}
	}
}

func newRoom(t testing.TB, client *ivschat.Client, name string) string {
	t.Helper()
	out := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{
		Name: &name, MaximumMessageRatePerSecond: aws.Int32(100),
	}))
	return *out.Arn
}
