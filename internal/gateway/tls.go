package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// TLSListener is a listener of TLS connections that sessions can write to without
// ever blocking: crypto/tls writes into memory, and the session sends that as it
// sends anything.
func TLSListener(l net.Listener, config *tls.Config) net.Listener {
	return &tlsListener{Listener: l, config: config}
}

type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&heldConn{Conn: conn}, l.config), nil
}

const (
	// maxHeld is how much plaintext TLS is given at once: one record.
	maxHeld = 16 << 10
	// maxOut bounds what is held: a record of ours, and the answers that TLS gives by
	// itself (key updates) until the next write of ours takes them along.
	maxOut = 2*maxHeld + 4<<10
)

var errHeld = errors.New("the client makes TLS answer more than is sent")

// tlsConn is a TLS connection over one whose writes can be held.
type tlsConn struct {
	*tls.Conn
	held *heldConn
}

// tlsOf returns the connection as one of TLSListener's, or nil.
func tlsOf(conn net.Conn) *tlsConn {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	held, ok := c.NetConn().(*heldConn)
	if !ok {
		return nil
	}
	return &tlsConn{Conn: c, held: held}
}

// heldConn is the connection below TLS. Once it holds, what is written to it stays in
// memory until somebody takes it: crypto/tls neither blocks nor fails in the middle
// of a record, which it would not forgive.
type heldConn struct {
	net.Conn

	mu    sync.Mutex
	holds bool
	out   []byte // what is held
	gone  int    // how much of it was sent
}

// Write implements net.Conn. Of the session's bytes it is given one record at a time,
// when nothing is held but answers of TLS; more of those than maxOut has room for fail
// the connection.
func (c *heldConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.holds {
		defer c.mu.Unlock()
		if len(c.out)-c.gone+len(b) > maxOut {
			return 0, errHeld
		}
		if c.out == nil {
			c.out = newMessage()
		}
		c.out = append(c.out, b...)
		return len(b), nil
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn. With its goodbye crypto/tls wants all writes that
// follow to fail, which would be ours of what is held.
func (c *heldConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// hold begins to hold what is written.
func (c *tlsConn) hold() {
	c.held.mu.Lock()
	defer c.held.mu.Unlock()
	c.held.holds = true
}

// pending is what is held.
func (c *heldConn) pending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out[c.gone:]
}

// sent gives up n bytes of what is held.
func (c *heldConn) sent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone += n; c.gone == len(c.out) {
		releaseMessage(c.out)
		c.out, c.gone = nil, 0
	}
}

// flush sends what TLS wrote. The writer flag is the caller's.
func (s *session) flush(patient bool) (n int, err error) {
	if s.tls == nil {
		return 0, nil
	}
	for {
		out := s.tls.held.pending()
		if len(out) == 0 {
			return n, nil
		}
		var sent int
		if s.raw != nil {
			sent, err = sendRaw(s.raw, out, patient)
		} else if sent, err = 0, syscall.EAGAIN; patient {
			sent, err = s.tls.held.Conn.Write(out)
		}
		s.tls.held.sent(sent)
		n += sent
		if err != nil {
			return n, err
		}
	}
}
