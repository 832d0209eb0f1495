package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"parlor/internal/config"
)

// A proxy on the same link is known by an address with a zone; so may its client be.
func TestProxiesByLinkLocalAddresses(t *testing.T) {
	for _, test := range []struct{ from, forwarded, want string }{
		{"[fe80::1%eth0]:4711", "203.0.113.7", "203.0.113.7:0"},
		{"[fe80::1%eth0]:4711", "203.0.113.7, fe80::2%eth0", "203.0.113.7:0"},
		{"[fe80::1%eth0]:4711", "fe80::2%eth0", "[fe80::2%eth0]:0"},
		{"[fec0::1]:4711", "203.0.113.7", "[fec0::1]:4711"},
	} {
		got := ""
		handler := behindProxies([]netip.Prefix{netip.MustParsePrefix("fe80::/10")}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = r.RemoteAddr
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.from
		r.Header.Set("X-Forwarded-For", test.forwarded)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != test.want {
			t.Errorf("from %s, for %s: got %s, want %s", test.from, test.forwarded, got, test.want)
		}
	}
}

// Only the paths themselves are served without a signature: a proxy that hides /metrics
// compares the path as it was sent.
func TestEscapedPathsAreOtherPaths(t *testing.T) {
	c := config.Default(config.Dev)
	c.Listen, c.Data = "127.0.0.1:0", t.TempDir()
	s, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	defer s.store.Close()
	for _, target := range []string{"/%6detrics", "/metric%73", "/%68ealthz", "/%72eadyz", "/metrics%2F"} {
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+target, nil))
		if got, want := w.Code, http.StatusForbidden; got != want {
			t.Errorf("%s: got status %d, want %d", target, got, want)
		}
	}
}
