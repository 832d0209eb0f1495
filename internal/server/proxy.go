package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behindProxies has requests that come from a trusted proxy say where their client
// is: in X-Forwarded-For, the last address that is not a trusted proxy's, since every
// proxy appends the one it was reached from and what is before that anybody may have
// written. Whether the client spoke TLS is what X-Forwarded-Proto says. A request from
// anywhere else keeps its own address, and what it came by.
func behindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	isTrusted := func(a netip.Addr) bool {
		a = a.Unmap().WithZone("") // with a zone, of a link-local address, no network has it
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err == nil && isTrusted(from.Addr()) {
			if r.TLS == nil && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
				r.TLS = &tls.ConnectionState{} // all that is asked of it is whether it is there
			}
			hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
			for _, hop := range slices.Backward(hops) {
				client, ok := hopAddress(strings.TrimSpace(hop))
				if !ok {
					break // what a proxy did not write says nothing
				}
				r.RemoteAddr = net.JoinHostPort(client.String(), "0")
				if !isTrusted(client) {
					break
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// hopAddress reads an address of X-Forwarded-For; some proxies add the port.
func hopAddress(hop string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(hop); err == nil {
		return a, true
	}
	ap, err := netip.ParseAddrPort(hop)
	return ap.Addr(), err == nil
}
