package review

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// A connection that a handler's server closes because it was idle, just when the next
// question goes out on it, is no handler that failed: the question goes out on another.
// Node.js closes after 5 seconds.
func TestHandlerClosesIdleConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var answered atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				answered.Add(1)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n"+allowed)
				in.Peek(1) // the next question is on its way when the connection is closed
			}()
		}
	}()
	setAWS(t, "http://"+listener.Addr().String())
	for name, set := range map[string]func(*Config){
		"webhook": func(c *Config) {
			c.Webhooks, c.Secret = map[string]string{testARN: "http://" + listener.Addr().String()}, webhookSecret
		},
		"AWS Lambda": func(*Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			answered.Store(0)
			r := newRig(t, set)
			const questions = 5
			for range questions {
				if v, why := r.ask(); why != "" || !v.Allow {
					t.Errorf("got %q, want an answer: %s", why, r.log.String())
				}
				time.Sleep(5 * time.Millisecond) // the connection is kept
			}
			if got := answered.Load(); got != questions {
				t.Errorf("answered %d questions, want %d", got, questions)
			}
		})
	}
}
