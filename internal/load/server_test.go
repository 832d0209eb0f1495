package load_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"parlor/internal/load"
)

// server sends on to the whole room what one of it says, and misbehaves as told. Its
// functions are called with its lock held, one at a time.
type server struct {
	*httptest.Server

	admit   func(conn int) (status int)                       // of a handshake; 0 or nil lets it in
	refuse  func(message int) (code string)                   // "" or nil accepts
	deliver func(conn, message int, text []byte) (_ [][]byte) // what the connection gets for it; nil is the text
	after   func(message int, members map[int]*member)        // everybody has it

	mu      sync.Mutex
	rooms   map[string]map[int]*member
	said    map[string]int // accepted messages
	arrived int            // messages of all rooms
}

type member struct {
	*websocket.Conn
	net net.Conn
}

func newServer(t *testing.T) *server {
	s := &server{rooms: map[string]map[int]*member{}, said: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, s, c) }
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	room := r.URL.Path
	i, _ := strconv.Atoi(r.URL.Query().Get("conn"))
	if s.admit != nil {
		if status := s.admit(i); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	s.mu.Lock() // nobody hears less than all that comes after the handshake
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		s.mu.Unlock()
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	if s.rooms[room] == nil {
		s.rooms[room] = map[int]*member{}
	}
	s.rooms[room][i] = &member{conn, r.Context().Value(s).(net.Conn)}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.rooms[room], i)
	}()
	for {
		_, text, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		s.hear(room, i, text)
	}
}

// request is a message on its way in, as target writes it.
type request struct{ ID, Content string }

func (s *server) hear(room string, from int, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background()
	var in request
	if err := json.Unmarshal(text, &in); err != nil {
		panic(err) // the client under test wrote it
	}
	s.arrived++
	if s.refuse != nil {
		if code := s.refuse(s.arrived - 1); code != "" {
			s.rooms[room][from].Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"Refused":%q,"ID":%q}`, code, in.ID))
			return
		}
	}
	n := s.said[room]
	s.said[room]++
	for i, m := range s.rooms[room] {
		texts := [][]byte{text}
		if s.deliver != nil {
			if instead := s.deliver(i, n, text); instead != nil {
				texts = instead
			}
		}
		for _, text := range texts {
			m.Write(ctx, websocket.MessageText, text)
		}
	}
	if s.after != nil {
		s.after(n, s.rooms[room])
	}
}

// target speaks to a server.
type target struct{ url string }

func (t target) Dial(ctx context.Context, room, i int) (load.Conn, error) {
	return load.Dial(ctx, fmt.Sprintf("ws%s/%d?conn=%d", strings.TrimPrefix(t.url, "http"), room, i), "")
}

func (target) AppendMessage(b []byte, _ int, id string, content []byte) []byte {
	return fmt.Appendf(b, `{"ID":%q,"Content":%q}`, id, content)
}

func (target) Refusal(frame []byte) (code string, refused bool) {
	var e struct{ Refused string }
	json.Unmarshal(frame, &e)
	return e.Refused, e.Refused != ""
}

// accept answers a handshake's key.
//
// RFC 6455 4.2.2
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
