package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"parlor/internal/chat"
)

// addresses counts what comes from each client address. An IPv6 client counts by its
// /64, which one client has whole.
type addresses struct {
	connections int // most that one may have open; 0 is no limit
	handshakes  int // most that one may make a second; 0 is no limit

	mu    sync.Mutex
	uses  map[netip.Prefix]*addressUse
	swept time.Time // when idle ones were last forgotten
}

type addressUse struct {
	connections int
	handshakes  chat.Rate
}

// enter counts a handshake and the connection it is for, unless that is over a limit.
func (a *addresses) enter(address netip.Prefix) bool {
	if a.connections == 0 && a.handshakes == 0 {
		return true
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) > time.Second {
		a.swept = now
		for address, use := range a.uses {
			if use.connections == 0 && use.handshakes.Idle(now) {
				delete(a.uses, address)
			}
		}
	}
	use := a.uses[address]
	if use == nil {
		use = new(addressUse)
		a.uses[address] = use
	}
	if a.handshakes > 0 && !use.handshakes.Allow(now, a.handshakes) {
		return false
	}
	if a.connections > 0 && use.connections >= a.connections {
		return false
	}
	use.connections++
	return true
}

// leave gives back what enter counted, but for the rate.
func (a *addresses) leave(address netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if use := a.uses[address]; use != nil {
		use.connections--
	}
}

// addressOf is where a request comes from.
func addressOf(r *http.Request) netip.Prefix {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // a conn without an address; all such are one
	}
	address, bits := ap.Addr().Unmap(), 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.WithZone("").Prefix(bits) // bits fit the address
	return prefix
}

// originAllowed reports whether a page of the request's origin may connect. What is
// not a browser sends none, and is not asked.
func (g *Gateway) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || len(g.origins) == 0 ||
		slices.ContainsFunc(g.origins, func(allowed string) bool { return strings.EqualFold(allowed, origin) })
}
