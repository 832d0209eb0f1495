// Package messaging is the client's side of the Chat Messaging API: a connection to a
// room that is kept. It hides the handshake, when a connection is opened again and when
// not, and which frame answers which request.
//
// The rule is that of the official SDKs, with pauses between the tries:
//
//   - A connection that breaks, or whose session is over (an ERROR 401, or a close with
//     one in its reason), is opened again with a new token.
//   - After a close that the server asked for, the client stays away: a user who was
//     disconnected, a room that was deleted.
//   - A handshake that is refused with a status that says to stop is the end, one that
//     fails otherwise is tried again.
//
// Nothing is kept for later: what is asked for while there is no connection is refused,
// and what was not answered when the connection broke may or may not have been done.
package messaging

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Actions of the API.
//
// IVS: chat-messaging-api/SendMessage, DeleteMessage, DisconnectUser
const (
	actionSendMessage    = "SEND_MESSAGE"
	actionDeleteMessage  = "DELETE_MESSAGE"
	actionDisconnectUser = "DISCONNECT_USER"
)

const (
	tokenPatience = 30 * time.Second // for a token
	dialPatience  = 15 * time.Second // for a handshake
	writePatience = 10 * time.Second // for a frame to go out
	closePatience = time.Second      // for the server to answer our close
	pingInterval  = 30 * time.Second // between pings
	pongPatience  = 15 * time.Second // for the answer to a ping
	maxFrame      = 1 << 20          // bytes; a server's frame is far smaller

	minPause = 250 * time.Millisecond // before the first new try
	maxPause = 15 * time.Second       // before any

	// steady is how long a connection holds before the pauses are short again: one that
	// is taken and broken at once is not asked for without end.
	steady = 10 * time.Second
)

// Config says where to connect, and who is told of what comes.
type Config struct {
	URL string // of the messaging API, ws or wss

	// Transport is what is used to connect, with its proxies and certificates; nil is
	// that of net/http. A client uses a copy.
	Transport *http.Transport

	// Token returns a new token; each opens one connection. A [FinalError] ends Run,
	// another error is tried again.
	Token func(context.Context) (string, error)

	// Frame is told of every frame, in order, before who waits for it has its answer.
	// State is told how the connection is. Run calls both, one at a time; they may not
	// call the client's actions. Either may be nil.
	Frame func(Frame)
	State func(State)
}

// State is how a connection is.
type State struct {
	Connected bool

	Err   error         // why there is no connection; nil while one is first tried for
	Retry time.Duration // how long until the next try; 0 is now
}

// Client keeps a connection while Run runs. Its actions may be called from anywhere.
type Client struct {
	config    Config
	transport *http.Transport

	pingInterval, pongPatience time.Duration // shorter in tests

	mu      sync.Mutex
	conn    *websocket.Conn        // nil while there is none
	waiting map[string]chan answer // for the answer to a request, by its id
}

type answer struct {
	frame Frame
	err   error
}

// New returns a client; Run connects it.
func New(c Config) *Client {
	if c.Frame == nil {
		c.Frame = func(Frame) {}
	}
	if c.State == nil {
		c.State = func(State) {}
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport)
	}
	return &Client{
		config: c, transport: c.Transport.Clone(),
		pingInterval: pingInterval, pongPatience: pongPatience,
		waiting: map[string]chan answer{},
	}
}

// Run connects, and keeps the connection until ctx ends, which is no error, or until it
// is not to be opened again: a [ClosedError], a [RefusedError], or what a [FinalError]
// of Config.Token held.
func (c *Client) Run(ctx context.Context) error {
	defer c.transport.CloseIdleConnections()
	c.config.State(State{})
	pause := minPause
	for {
		held, err := c.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if final, yes := isFinal(err); yes {
			return final
		}
		if held >= steady {
			pause = minPause
		}
		wait := pause/2 + mathrand.N(pause/2)
		pause = min(2*pause, maxPause)
		c.config.State(State{Err: err, Retry: wait})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		c.config.State(State{Err: err})
	}
}

// connect opens a connection and reads it to its end. It returns how long it held, and
// why it holds no longer.
func (c *Client) connect(ctx context.Context) (held time.Duration, err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.CloseNow()
	begun := time.Now()
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	others.Go(func() { c.ping(alive, conn) })
	// leave closes as a client does that wants no more of the connection. The reader
	// hears the server's answer, or has heard enough after a while.
	leave := sync.OnceFunc(func() {
		others.Go(func() {
			enough := time.AfterFunc(closePatience, end)
			defer enough.Stop()
			conn.Close(websocket.StatusNormalClosure, "")
		})
	})
	left := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(left)
		leave()
	})
	defer func() {
		if !stop() {
			<-left
		}
		c.mu.Lock()
		c.conn = nil
		for id, w := range c.waiting {
			w <- answer{err: ErrLost}
			delete(c.waiting, id)
		}
		c.mu.Unlock()
		end()
		others.Wait()
	}()
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.config.State(State{Connected: true})
	err = c.read(alive, conn, leave)
	return time.Since(begun), err
}

// dial opens a connection with a new token.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	asking, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	token, err := c.config.Token(asking)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, response, err := websocket.Dial(dialing, c.config.URL, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: c.transport},
		Subprotocols: []string{token},
	})
	switch {
	case err != nil && response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		return nil, refused(response)
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", c.config.URL, cause(err))
	case conn.Subprotocol() == "": // no browser would go on
		conn.CloseNow()
		return nil, &RefusedError{Status: http.StatusSwitchingProtocols, Message: "the answer to the handshake does not name the token"}
	}
	conn.SetReadLimit(maxFrame)
	return conn, nil
}

// read reads frames until there are no more. The error says why.
func (c *Client) read(ctx context.Context, conn *websocket.Conn, leave func()) error {
	over := false
	for {
		_, raw, err := conn.Read(ctx)
		switch {
		case err != nil && over:
			return errSessionOver
		case err != nil:
			return closed(err)
		case over:
			continue
		}
		f := parse(raw)
		c.config.Frame(f)
		c.answer(f)
		if over = f.Type == TypeError && f.ErrorCode == http.StatusUnauthorized; over {
			leave()
		}
	}
}

// answer gives a frame to who waits for it.
func (c *Client) answer(f Frame) {
	if f.RequestID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waiting[f.RequestID]
	if w == nil {
		return
	}
	delete(c.waiting, f.RequestID)
	if f.Type == TypeError {
		w <- answer{err: &Error{Code: f.ErrorCode, Message: f.ErrorMessage}}
		return
	}
	w <- answer{frame: f}
}

// ping finds out about a connection whose other end is gone without a word.
func (c *Client) ping(ctx context.Context, conn *websocket.Conn) {
	ticks := time.NewTicker(c.pingInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		pinging, cancel := context.WithTimeout(ctx, c.pongPatience)
		err := conn.Ping(pinging)
		cancel()
		if err != nil {
			conn.CloseNow()
			return
		}
	}
}

// request is an action as it is sent.
type request struct {
	Action     string
	RequestID  string            `json:"RequestId"`
	Content    string            `json:",omitempty"`
	Attributes map[string]string `json:",omitempty"`
	ID         string            `json:"Id,omitempty"`
	UserID     string            `json:"UserId,omitempty"`
	Reason     string            `json:",omitempty"`
}

// SendMessage says something in the room. It returns the MESSAGE that everybody gets.
//
// Errors of this and the other actions: an [*Error] is the server's, [ErrNotConnected]
// says that nothing was sent, [ErrLost] that nobody knows.
func (c *Client) SendMessage(ctx context.Context, content string, attributes map[string]string) (Frame, error) {
	return c.act(ctx, request{Action: actionSendMessage, Content: content, Attributes: attributes})
}

// DeleteMessage tells everybody in the room to show a message no longer. It returns the
// EVENT that says so.
func (c *Client) DeleteMessage(ctx context.Context, id, reason string) (Frame, error) {
	return c.act(ctx, request{Action: actionDeleteMessage, ID: id, Reason: reason})
}

// DisconnectUser ends the connections of a user to the room. It returns the EVENT that
// says so.
func (c *Client) DisconnectUser(ctx context.Context, user, reason string) (Frame, error) {
	return c.act(ctx, request{Action: actionDisconnectUser, UserID: user, Reason: reason})
}

func (c *Client) act(ctx context.Context, r request) (Frame, error) {
	r.RequestID = rand.Text()
	text, err := json.Marshal(r)
	if err != nil {
		return Frame{}, err
	}
	w := make(chan answer, 1)
	c.mu.Lock()
	conn := c.conn
	if conn == nil {
		c.mu.Unlock()
		return Frame{}, ErrNotConnected
	}
	c.waiting[r.RequestID] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, r.RequestID)
		c.mu.Unlock()
	}()
	// A frame that is cut off breaks the connection: who does not wait does not cut it.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writePatience)
	defer cancel()
	if err := conn.Write(writing, websocket.MessageText, text); err != nil {
		return Frame{}, ErrLost
	}
	select {
	case a := <-w:
		return a.frame, a.err
	case <-ctx.Done():
		return Frame{}, fmt.Errorf("wait for the server's answer: %w", context.Cause(ctx))
	}
}
