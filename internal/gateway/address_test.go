package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"parlor/internal/chat"
)

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"203.0.113.7:1234":                "203.0.113.7/32",
		"[::ffff:203.0.113.7]:1234":       "203.0.113.7/32",
		"[2001:db8:1:2:3:4:5:6]:1":        "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:65535":    "2001:db8:1:2::/64",
		"[2001:db8:1:3::1]:1":             "2001:db8:1:3::/64",
		"[fe80::1%eth0]:1":                "fe80::/64",
		"[::1]:1":                         "::/64",
		"pipe":                            "invalid Prefix",
		"203.0.113.7":                     "invalid Prefix",
		"@":                               "invalid Prefix",
		"":                                "invalid Prefix",
		"chat.example.com:443":            "invalid Prefix",
		"[2001:db8:1:2:3:4:5:6%2f64]:123": "2001:db8:1:2::/64",
	} {
		if got := addressOf(remote).String(); got != want {
			t.Errorf("%q: got %s, want %s", remote, got, want)
		}
	}
}

func newAddresses(connections, handshakes int) *addresses {
	return &addresses{connections: connections, handshakes: handshakes, open: map[netip.Prefix]int{}}
}

func from(address string) netip.Prefix {
	return addressOf(netip.AddrPortFrom(netip.MustParseAddr(address), 1).String())
}

func TestConnectionsPerAddress(t *testing.T) {
	a := newAddresses(2, 0)
	one, two := from("2001:db8::1"), from("2001:db8:0:1::1")
	for i, want := range []bool{true, true, false, false} {
		if got := a.enter(one); got != want {
			t.Errorf("connection %d: got %t, want %t", i, got, want)
		}
	}
	if a.enter(from("2001:db8::ffff:0:0:2")) {
		t.Error("another address of the same /64 got one more")
	}
	if !a.enter(two) {
		t.Error("the next /64 pays for its neighbour")
	}
	a.leave(one)
	if !a.enter(one) {
		t.Error("one that left counts on")
	}
	if a.enter(one) {
		t.Error("a refusal gave something back")
	}
}

func TestHandshakesPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAddresses(0, 10)
		one, two := from("203.0.113.1"), from("203.0.113.2")
		for i := range 10 {
			if !a.enter(one) {
				t.Fatalf("handshake %d was refused", i)
			}
			a.leave(one) // what fails was made all the same
		}
		if a.enter(one) {
			t.Error("an eleventh handshake within a second")
		}
		if !a.enter(two) {
			t.Error("another address was refused")
		}
		time.Sleep(100*time.Millisecond - 1)
		if a.enter(one) {
			t.Error("a handshake before its time")
		}
		time.Sleep(time.Nanosecond)
		if !a.enter(one) {
			t.Error("refused a tenth of a second later, though refusals cost nothing")
		}
	})
}

// An address that has nothing open and made no handshake for a second is forgotten;
// one that has is not, however long it is silent.
func TestAddressesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAddresses(1, 5)
		stays := from("203.0.113.1")
		a.enter(stays)
		for i := range 10_000 {
			address := from(fmt.Sprintf("10.0.%d.%d", i/256, i%256))
			if !a.enter(address) {
				t.Fatalf("%s was refused", address)
			}
			a.leave(address)
		}
		time.Sleep(time.Hour)
		a.enter(from("203.0.113.2"))
		if got := len(a.open); got != 2 {
			t.Errorf("remembered: got %d, want 2", got)
		}
		if got := a.rates.Len(); got != 1 {
			t.Errorf("rates remembered: got %d, want 1", got)
		}
		if a.enter(stays) {
			t.Error("a connection was forgotten while it is open")
		}
	})
}

func TestNoLimitsRememberNobody(t *testing.T) {
	a := newAddresses(0, 0)
	for range 1000 {
		if !a.enter(from("203.0.113.1")) {
			t.Fatal("refused without a limit")
		}
	}
	a.leave(from("203.0.113.1"))
	if got := len(a.open) + a.rates.Len(); got != 0 {
		t.Errorf("remembered: got %d, want 0", got)
	}
}

// Connections count until their sessions end, however they end; handshakes that are
// refused for any reason count as handshakes alone.
func TestConnectionsPerAddressAreFreed(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		n.gateway.addresses.connections = 2
		a, b := n.connect(room, "a"), n.connect(room, "b")
		unspent := n.token(chat.TokenSpec{Room: room, UserID: "late"})
		if _, response, err := n.tryOpen(unspent, nil); err == nil || response.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a third: got %v %v, want 429", response, err)
		}
		a.conn.Close(websocket.StatusNormalClosure, "")
		synctest.Wait()
		late := n.open(unspent, nil) // a refusal spends no token
		late.conn.CloseNow()
		synctest.Wait()
		go b.discard()
		if err := n.service.DisconnectUser(t.Context(), chat.Actor{}, room, "b", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(closeTimeout + time.Second)
		for i := range 1000 {
			if _, response, err := n.tryOpen("no token", nil); err == nil || response.StatusCode != http.StatusUnauthorized {
				t.Fatalf("try %d: got %v %v, want 401", i, response, err)
			}
		}
		n.connect(room, "c")
		n.connect(room, "d")
	})
}

func TestHandshakeRatePerAddress(t *testing.T) {
	virtually(t, func(t *testing.T, n *node, room chat.ARN) {
		n.gateway.addresses.handshakes = 5
		for i := range 12 {
			want := http.StatusUnauthorized
			if i >= 5 {
				want = http.StatusTooManyRequests
			}
			if _, response, err := n.tryOpen("no token", nil); err == nil || response.StatusCode != want {
				t.Errorf("try %d: got %v %v, want %d", i, response, err, want)
			}
		}
		time.Sleep(200 * time.Millisecond)
		n.connect(room, "user")
		if _, response, err := n.tryOpen("no token", nil); err == nil || response.StatusCode != http.StatusTooManyRequests {
			t.Errorf("the next: got %v %v, want 429", response, err)
		}
	})
}

func TestAllowedOrigins(t *testing.T) {
	listed := []string{"https://live.example.com", "http://localhost:3000"}
	for _, tc := range []struct {
		name    string
		allowed []string
		origin  string
		want    int
	}{
		{"any, by default", nil, "https://elsewhere.example", 101},
		{"no origin, by default", nil, "", 101},
		{"listed", listed, "https://live.example.com", 101},
		{"listed, with a port", listed, "http://localhost:3000", 101},
		{"listed, in another case", listed, "HTTPS://Live.Example.com", 101},
		{"no origin: not a browser", listed, "", 101},
		{"not listed", listed, "https://elsewhere.example", 403},
		{"of another scheme", listed, "http://live.example.com", 403},
		{"of another port", listed, "https://live.example.com:8443", 403},
		{"of a name below", listed, "https://a.live.example.com", 403},
		{"of a name that begins so", listed, "https://live.example.com.evil.example", 403},
		{"null", listed, "null", 403},
		{"null, listed", []string{"null"}, "null", 101},
		{"two in one", listed, "https://live.example.com, https://elsewhere.example", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, n *node, room chat.ARN) {
				n.gateway.origins = tc.allowed
				token := n.token(chat.TokenSpec{Room: room, UserID: "user"})
				header := http.Header{}
				if tc.origin != "" {
					header.Set("Origin", tc.origin)
				}
				_, response, err := n.tryOpen(token, &websocket.DialOptions{HTTPHeader: header})
				if response == nil {
					t.Fatal(err)
				}
				if got := response.StatusCode; got != tc.want {
					t.Errorf("got %d, want %d", got, tc.want)
				}
				if tc.want != http.StatusForbidden {
					return
				}
				n.open(token, nil).conn.CloseNow() // a refusal spends no token
			})
		})
	}
}
