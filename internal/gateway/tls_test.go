package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// crypto/tls answers key updates by itself, while nobody may be writing to the
// session: what it makes of them is bounded.
func TestHeldBytesAreBounded(t *testing.T) {
	c := &heldConn{holds: true}
	answer := make([]byte, 1<<10)
	for range 1 << 10 {
		if _, err := c.Write(answer); err != nil {
			if len(c.pending()) < maxHeld+1<<10 {
				t.Errorf("refused with %d bytes held: a record must fit", len(c.pending()))
			}
			return
		}
	}
	t.Errorf("%d bytes are held", len(c.pending()))
}

// recorded keeps what is read.
type recorded struct {
	net.Conn
	read bytes.Buffer
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read.Write(b[:n])
	return n, err
}

// TestTLSSaysGoodbye: the last record is the alert that nothing was cut off.
//
// RFC 8446 6.1
func TestTLSSaysGoodbye(t *testing.T) {
	n := startNode(t, nodeOptions{tls: true})
	_, config := certificate(t)
	config.InsecureSkipVerify = true // it is another's
	var below *recorded
	n.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		below = &recorded{Conn: conn}
		return tls.Client(below, config), err
	}
	c := n.connectRaw(n.room(chat.RoomSpec{}).ARN, "user")
	c.write(masked(closing, closeBody(1000, "")))
	if h, _, ok := c.next(); !ok || h.OpCode != ws.OpClose {
		t.Fatal("no close frame")
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	// Before its encryption an alert has two bytes and the byte that says so, after it a tag too.
	const alert = 2 + 1 + 16
	last := 0
	for b := below.read.Bytes(); len(b) > 5; b = b[min(len(b), 5+last):] {
		last = int(b[3])<<8 | int(b[4])
	}
	if last != alert {
		t.Errorf("the last record has %d bytes, want an alert's %d", last, alert)
	}
}
