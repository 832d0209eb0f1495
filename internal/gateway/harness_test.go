package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// node is a gateway with a service, a store and a broker in memory behind an HTTP
// server, over TCP or, for virtual time, over pipes.
type node struct {
	t        *testing.T
	service  *chat.Service
	gateway  *Gateway
	registry *prometheus.Registry
	store    *memoryStore
	broker   *memoryBroker
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	address  string
	stop     func()
	options  nodeOptions
}

type nodeOptions struct {
	pipes         bool
	compression   bool   // offered, and wanted by clients of connect
	oneByOne      bool   // nothing is sent to many at once
	sender        sender // of all that is sent to many at once
	tokenLifetime time.Duration
	log           io.Writer
	sendBuffer    int // bytes that the server's sockets hold
	tls           bool
	reviewer      chat.Reviewer
	tracer        chat.Tracer
	history       *memoryHistory
}

var scope = chat.Scope{Region: "us-west-2", Account: "123456789012"}

// sendOneByOne has a gateway that does not run yet send as where the kernel does not
// take many sends at once.
func (g *Gateway) sendOneByOne() {
	for _, w := range g.workers {
		w.writer.alone = true
	}
	g.eachWriter(func(w *writer) { w.alone = true })
	g.singly.Store(true)
}

func startNode(t *testing.T, o nodeOptions) *node {
	t.Helper()
	if o.tokenLifetime == 0 {
		o.tokenLifetime = time.Hour
	}
	if o.log == nil {
		o.log = t.Output()
	}
	n := &node{t: t, options: o, store: &memoryStore{rooms: map[chat.ARN]chat.Room{}, spent: map[chat.TokenID]uint64{}}, registry: prometheus.NewRegistry()}
	b := &memoryBroker{deliver: func(pub *chat.Publication) { n.gateway.Deliver(pub) }, rooms: map[chat.ARN]*memoryRoom{}}
	n.broker = b
	n.service = chat.NewService(chat.ServiceConfig{Store: n.store, Broker: b, Reviewer: o.reviewer, Tracer: o.tracer, TokenLifetime: o.tokenLifetime, History: o.history.config(t)})
	n.gateway = New(Config{
		Service:      n.service,
		Broker:       b,
		Logger:       slog.New(slog.NewTextHandler(o.log, nil)),
		Metrics:      n.registry,
		Compression:  o.compression,
		PingInterval: 45 * time.Second,
	})
	if o.oneByOne {
		n.gateway.sendOneByOne()
	}
	if o.sender != nil {
		for _, w := range n.gateway.workers {
			w.writer.sender = o.sender
		}
		n.gateway.eachWriter(func(w *writer) { w.sender = o.sender })
	}
	var listener net.Listener
	if o.pipes {
		pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		listener, n.address = pipes, "parlor.test"
		n.dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return pipes.dial(ctx) }
	} else {
		var err error
		if o.sendBuffer > 0 {
			n.gateway.sendBuffer = o.sendBuffer
		}
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		n.address = listener.Addr().String()
		n.dial = new(net.Dialer).DialContext
		if o.tls {
			server, client := certificate(t)
			listener = TLSListener(listener, server)
			n.dial = (&tls.Dialer{Config: client}).DialContext
		}
	}
	server := &http.Server{Handler: n.gateway}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(listener) })
	wg.Go(func() { n.gateway.Run(ctx) })
	wg.Go(func() { n.service.KeepHistory(ctx) })
	n.stop = sync.OnceFunc(func() {
		server.Close()
		cancel()
		wg.Wait()
	})
	t.Cleanup(n.stop)
	return n
}

// room makes a room.
func (n *node) room(spec chat.RoomSpec) chat.Room {
	n.t.Helper()
	room, err := n.service.CreateRoom(n.t.Context(), scope, spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return room
}

// certificate makes a certificate for 127.0.0.1, and what makes a client trust it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

const everything = chat.MaySendMessage | chat.MayDeleteMessage | chat.MayDisconnectUser

func (n *node) token(spec chat.TokenSpec) string {
	n.t.Helper()
	token, _, err := n.service.CreateChatToken(n.t.Context(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// client is one connection, through a WebSocket library that is not the server's.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

// connect opens a connection with a fresh token that grants everything.
func (n *node) connect(room chat.ARN, user string) *client {
	n.t.Helper()
	o := &websocket.DialOptions{}
	if n.options.compression {
		o.CompressionMode = websocket.CompressionNoContextTakeover
	}
	return n.open(n.token(chat.TokenSpec{Room: room, UserID: user, Capabilities: everything}), o)
}

func (n *node) open(token string, o *websocket.DialOptions) *client {
	n.t.Helper()
	c, response, err := n.tryOpen(token, o)
	if err != nil {
		body := ""
		if response != nil {
			b, _ := io.ReadAll(response.Body)
			body = string(b)
		}
		n.t.Fatalf("connect: %v %s", err, body)
	}
	return c
}

func (n *node) tryOpen(token string, o *websocket.DialOptions) (*client, *http.Response, error) {
	if o == nil {
		o = &websocket.DialOptions{}
	}
	if token != "" {
		o.Subprotocols = []string{token}
	}
	transport := &http.Transport{DialContext: n.dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	o.HTTPClient = &http.Client{Transport: transport}
	conn, response, err := websocket.Dial(n.t.Context(), "ws://"+n.address+"/", o)
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(1 << 20)
	n.t.Cleanup(func() { conn.CloseNow() })
	return &client{t: n.t, conn: conn}, response, nil
}

func (c *client) send(message string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// frame is a frame of any type.
type frame struct {
	Type, ID, RequestID    string
	Attributes             map[string]string
	Content                string
	EventName              string
	Sender                 struct{ UserID string }
	ErrorCode              int
	ErrorMessage, SendTime string
	raw                    string
}

func (c *client) next() frame {
	c.t.Helper()
	f, err := c.read(5 * time.Second)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return f
}

func (c *client) read(patience time.Duration) (frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	if kind != websocket.MessageText {
		return frame{}, errors.New("not a text frame")
	}
	f := frame{raw: string(data)}
	return f, json.Unmarshal(data, &f)
}

// closed reads until the connection ends, and returns how it did: the close frame's
// code and reason, or code -1 for a broken connection, and the frames before.
func (c *client) closed() (websocket.StatusCode, string, []frame) {
	c.t.Helper()
	var frames []frame
	for {
		f, err := c.read(time.Minute)
		if err == nil {
			frames = append(frames, f)
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Fatal("the connection is still open")
		}
		var closing websocket.CloseError
		if errors.As(err, &closing) {
			return closing.Code, closing.Reason, frames
		}
		return -1, "", frames
	}
}

// discard reads until the connection ends, so that nothing written to it waits.
func (c *client) discard() {
	for {
		if _, err := c.read(time.Hour); err != nil {
			return
		}
	}
}

// wantError reads an ERROR frame.
func (c *client) wantError(requestID string, code int) frame {
	c.t.Helper()
	f := c.next()
	if f.Type != "ERROR" || f.ErrorCode != code || f.RequestID != requestID || f.ErrorMessage == "" || !chat.ValidID(f.ID) {
		c.t.Errorf("got %s, want an ERROR %d for request %q", f.raw, code, requestID)
	}
	return f
}

// otherStore is what of a store messaging does not need.
type otherStore struct{ chat.Store }

// memoryStore is as much of a store as messaging needs.
type memoryStore struct {
	otherStore
	memoryBans

	mu    sync.Mutex
	rooms map[chat.ARN]chat.Room
	spent map[chat.TokenID]uint64
	keys  []chat.TokenKey
	reads int
}

func (m *memoryStore) CreateRoom(_ context.Context, room chat.Room, _ int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rooms[room.ARN] = room
	return nil
}

func (m *memoryStore) Room(_ context.Context, arn chat.ARN) (chat.Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	room, ok := m.rooms[arn]
	if !ok {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	return room, nil
}

func (m *memoryStore) UpdateRoom(_ context.Context, arn chat.ARN, change func(chat.Room) (chat.Room, error)) (chat.Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	room, ok := m.rooms[arn]
	if !ok {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	room, err := change(room)
	if err == nil {
		m.rooms[arn] = room
	}
	return room, err
}

func (m *memoryStore) DeleteRoom(_ context.Context, arn chat.ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rooms, arn)
	return nil
}

func (m *memoryStore) SpendToken(_ context.Context, id chat.TokenID, by uint64, _ time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, spent := m.spent[id]; !spent {
		m.spent[id] = by
	}
	return m.spent[id] == by, nil
}

func (m *memoryStore) TokenSpent(_ context.Context, id chat.TokenID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, spent := m.spent[id]
	return spent, nil
}

func (m *memoryStore) TokenKeys(context.Context) ([]chat.TokenKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), nil
}

func (m *memoryStore) AddTokenKey(_ context.Context, key chat.TokenKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, key)
	return nil
}

// memoryBroker numbers and delivers. Its deliveries may be made to come out of order.
type memoryBroker struct {
	deliver func(*chat.Publication)

	mu     sync.Mutex
	rooms  map[chat.ARN]*memoryRoom
	panics bool // the next Publish does

	messages int // were published

	slow time.Duration // what a Publish takes

	attends func(chat.ARN, chat.Share) (chat.Standing, error)
	calls   int // of Attend
}

type memoryRoom struct {
	number      uint64
	rate        chat.Rate
	subscribers int
}

func (b *memoryBroker) room(arn chat.ARN) *memoryRoom {
	if b.rooms[arn] == nil {
		b.rooms[arn] = &memoryRoom{}
	}
	return b.rooms[arn]
}

func (b *memoryBroker) Admit(_ context.Context, arn chat.ARN, rate int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if rate > 0 && !b.room(arn).rate.Allow(time.Now(), rate) {
		return chat.RateLimitExceeded(arn, rate)
	}
	return nil
}

func (b *memoryBroker) Publish(_ context.Context, pub *chat.Publication, rate int) error {
	b.mu.Lock()
	if b.panics {
		b.panics = false
		b.mu.Unlock()
		panic("broken")
	}
	room := b.room(pub.Room)
	if rate > 0 && !room.rate.Allow(time.Now(), rate) {
		b.mu.Unlock()
		return chat.RateLimitExceeded(pub.Room, rate)
	}
	room.number++
	if pub.Kind == chat.PublishMessage {
		b.messages++
	}
	pub.Position = chat.Position{Epoch: 1, Number: room.number}
	subscribed := room.subscribers > 0
	b.mu.Unlock()
	time.Sleep(b.slow)
	if subscribed {
		b.deliver(pub)
	}
	return nil
}

func (b *memoryBroker) Subscribe(_ context.Context, arn chat.ARN) (chat.Position, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := b.room(arn)
	room.subscribers++
	return chat.Position{Epoch: 1, Number: room.number}, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		room.subscribers--
	}, nil
}

func (*memoryBroker) Borrow(context.Context, chat.Scope, string, int, int) (int, error) {
	return 1, nil
}

func (*memoryBroker) Reserve(_ context.Context, _ chat.Scope, n, quota int) (int, error) {
	return min(n, quota), nil
}

func (b *memoryBroker) Ready(context.Context) error { return nil }

// pipeListener is a listener whose connections are pipes in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (*memoryBroker) Claim(context.Context, chat.ARN, string, string, time.Duration) (time.Duration, error) {
	return 0, nil
}

func (*memoryBroker) Release(context.Context, chat.ARN, string, string) error { return nil }

func (b *memoryBroker) Attend(_ context.Context, room chat.ARN, share chat.Share) (chat.Standing, error) {
	b.mu.Lock()
	attends := b.attends
	b.calls++
	b.mu.Unlock()
	if attends == nil {
		return chat.Standing{}, errors.New("nobody attends")
	}
	return attends(room, share)
}
