package gateway

import "testing"

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
