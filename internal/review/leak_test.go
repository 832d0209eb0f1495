package review

import (
	"io"
	"net"
	"strings"
	"testing"
)

// What a handler says is not logged, not where it is no HTTP either: net/http's errors
// quote it.
func TestAnswersAreNotLogged(t *testing.T) {
	for _, answer := range []string{
		"hush hush\r\n\r\n",
		"HTTP/1.1 hush OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nhush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: hush\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: hush\r\n\r\n",
	} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := server.Accept()
				if err != nil {
					return
				}
				go func() {
					buf := make([]byte, 4096)
					conn.Read(buf)
					io.WriteString(conn, answer)
					conn.Close()
				}()
			}
		}()
		r := newRig(t, func(c *Config) {
			c.Webhooks, c.Secret = map[string]string{testARN: "http://" + server.Addr().String()}, webhookSecret
		})
		r.ask()
		server.Close()
		if strings.Contains(r.log.String(), "hush") {
			t.Errorf("%q: in the log: %s", answer, r.log.String())
		}
	}
}
