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
	rates chat.Rates[netip.Prefix]
	open  map[netip.Prefix]int
}

// enter counts a handshake and the connection it is for, unless that is over a limit.
func (a *addresses) enter(address netip.Prefix) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.handshakes > 0 && !a.rates.Allow(address, time.Now(), a.handshakes) {
		return false
	}
	if a.connections > 0 {
		if a.open[address] >= a.connections {
			return false
		}
		a.open[address]++
	}
	return true
}

// leave gives back what enter counted, but for the rate.
func (a *addresses) leave(address netip.Prefix) {
	if a.connections == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[address]--; a.open[address] == 0 {
		delete(a.open, address)
	}
}

// addressOf is where a request counts, by its RemoteAddr.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
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

// clientIP is the address that a request comes from; where there is none, the zero Addr.
func clientIP(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap().WithZone("")
}

// originAllowed reports whether a page of the request's origin may connect. What is
// not a browser sends none, and is not asked.
func (g *Gateway) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || len(g.origins) == 0 ||
		slices.ContainsFunc(g.origins, func(allowed string) bool { return strings.EqualFold(allowed, origin) })
}
