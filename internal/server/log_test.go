package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What net/http says of the server's own trouble is seen; what clients do wrong in
// their TLS handshakes is not worth a line.
func TestHTTPServerTrouble(t *testing.T) {
	var out bytes.Buffer
	log := httpLog(slog.New(slog.NewTextHandler(&out, nil)))
	log.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	if out.Len() > 0 {
		t.Errorf("a client's fault is in the log: %s", &out)
	}
	log.Print("http: Accept error: accept tcp 127.0.0.1:4870: accept4: too many open files; retrying in 5ms")
	log.Print("http: panic serving 127.0.0.1:1: oops\ngoroutine 7 [running]:")
	for _, want := range []string{"level=WARN", "too many open files", "panic serving"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not in the log: %q\n%s", want, &out)
		}
	}
}
