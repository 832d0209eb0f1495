package server_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"parlor/internal/parlortest"
)

// TestUnservedConnectionsAreCounted closes connections without, and with, a request.
func TestUnservedConnectionsAreCounted(t *testing.T) {
	s := parlortest.Start(t)
	for _, head := range []string{"", "GET / HT", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(head, "\n\r\n") {
			conn.Read(make([]byte, 1)) // served
		}
		conn.Close()
	}
	const want = "parlor_http_connections_unserved_total 2\n"
	var got string
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(got, want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			i := strings.Index(got, "\nparlor_http_connections_unserved")
			t.Fatalf("got %.60q, want %q", got[max(i, 0):], want)
		}
		got = get(t, s.URL+"/metrics")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if err := response.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
