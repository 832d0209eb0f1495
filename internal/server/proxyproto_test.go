package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestForwardedProto asks whether a request counts as having come by TLS.
func TestForwardedProto(t *testing.T) {
	for _, test := range []struct {
		name, from, proto string
		secure            bool
	}{
		{"a trusted proxy says https", "10.0.0.1:1", "https", true},
		{"in another case", "10.0.0.1:1", "HTTPS", true},
		{"a trusted proxy says http", "10.0.0.1:1", "http", false},
		{"a trusted proxy says nothing", "10.0.0.1:1", "", false},
		{"anybody else says https", "192.0.2.1:1", "https", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			secure := false
			handler := behindProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { secure = r.TLS != nil }))
			r := httptest.NewRequest("POST", "/CreateRoom", nil)
			r.RemoteAddr = test.from
			r.Header.Set("X-Forwarded-Proto", test.proto)
			handler.ServeHTTP(httptest.NewRecorder(), r)
			if secure != test.secure {
				t.Errorf("got %v, want %v", secure, test.secure)
			}
		})
	}
}
