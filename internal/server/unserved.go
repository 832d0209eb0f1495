package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// unserved counts connections that were closed before they made a whole request:
// stalled handshakes and headers, scans, health checks that only connect.
type unserved struct {
	count prometheus.Counter

	mu    sync.Mutex
	fresh map[net.Conn]struct{} // connections without a request so far
}

func newUnserved(r prometheus.Registerer) *unserved {
	u := &unserved{
		count: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parlor_http_connections_unserved_total",
			Help: "Connections that were closed before they made a whole HTTP request: stalled handshakes and headers, scans, health checks that only connect.",
		}),
		fresh: map[net.Conn]struct{}{},
	}
	r.MustRegister(u.count)
	return u
}

// freshGrace is what a connection without a request has to make one when the server stops.
const freshGrace = 50 * time.Millisecond

// hurry breaks off the connections without a request, for which a stop would wait for five
// seconds: browsers and SDKs open some in advance.
func (u *unserved) hurry() {
	time.Sleep(freshGrace)
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.fresh {
		c.SetReadDeadline(time.Now())
	}
}

type connKey struct{}

// watch has the HTTP server tell of its connections.
func (u *unserved) watch(s *http.Server) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		u.mu.Lock()
		defer u.mu.Unlock()
		switch state {
		case http.StateNew:
			u.fresh[c] = struct{}{}
		case http.StateClosed:
			if _, found := u.fresh[c]; found {
				delete(u.fresh, c)
				u.count.Inc()
			}
		}
	}
	s.RegisterOnShutdown(u.hurry)
	handler := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			u.mu.Lock()
			delete(u.fresh, c)
			u.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	})
}
