package review

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var webhookSecret = []byte("0123456789abcdef")

// startWebhook starts a webhook that verifies what it is asked as its author would, by
// what the documentation says.
func startWebhook(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (server *httptest.Server, set func(*Config), connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		timestamp := r.Header.Get("Parlor-Timestamp")
		seconds, err := strconv.ParseInt(timestamp, 10, 64)
		if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > time.Minute {
			t.Errorf("timestamp %q is not of now", timestamp)
		}
		mac := hmac.New(sha256.New, webhookSecret)
		fmt.Fprintf(mac, "%s.%s", timestamp, body)
		if got, want := r.Header.Get("Parlor-Signature"), "v1="+hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("signature: got %q, want %q", got, want)
		}
		if r.Method != http.MethodPost || r.RequestURI != "/review?a=b" || string(body) != payload ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "" {
			t.Errorf("got %s %s %s with %s", r.Method, r.RequestURI, body, r.Header)
		}
		answer(w, r)
	}))
	server.Config.ErrorLog = quiet
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	setAWS(t, "http://127.0.0.1:1") // nobody is to ask it
	set = func(c *Config) {
		c.Webhooks, c.Secret = map[string]string{testARN: server.URL + "/review?a=b"}, webhookSecret
	}
	return server, set, connections
}

func TestWebhook(t *testing.T) {
	for _, test := range outcomes {
		if test.lambda {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int32
			_, set, _ := startWebhook(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				test.answer(w, r)
			})
			r := newRig(t, set)
			r.expect(t, test.want, test.why)
			if got := asked.Load(); got != 1 {
				t.Errorf("asked %d times, want 1", got)
			}
			if strings.Contains(r.log.String(), "a=b") {
				t.Errorf("the URL, whose query may be a secret, is in the log: %s", r.log.String())
			}
		})
	}
}

// Only 200 is an answer.
func TestWebhookStatus(t *testing.T) {
	for _, status := range []int{201, 202, 204, 301, 302, 308, 400, 401, 404, 429, 500, 503} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			_, set, _ := startWebhook(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/review?a=b")
				says(status, allowed)(w, r)
			})
			newRig(t, set).expect(t, "", whyError)
		})
	}
}

// A redirect is not followed, not to another server either: the payload is not for it.
func TestWebhookRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		_, set, _ := startWebhook(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		newRig(t, set).expect(t, "", whyError)
	}
}

func TestWebhookConnectionsArePooled(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"answers": says(200, allowed), "denials": says(200, `{"ReviewResult":"DENY"}`),
	} {
		t.Run(name, func(t *testing.T) {
			const at, rounds = 20, 10
			var under sync.WaitGroup
			_, set, connections := startWebhook(t, func(w http.ResponseWriter, r *http.Request) {
				under.Done()
				under.Wait()
				answer(w, r)
			})
			pooled(t, newRig(t, set), &under, at, rounds)
			if got := connections.Load(); got > 2*at {
				t.Errorf("got %d connections for %d questions of which %d at once", got, at*rounds, at)
			}
		})
	}
	t.Run("errors", func(t *testing.T) {
		_, set, connections := startWebhook(t, says(500, "no"))
		r := newRig(t, set)
		for range 20 {
			r.ask()
		}
		if got := connections.Load(); got > 2 {
			t.Errorf("got %d connections for questions one after the other", got)
		}
	})
}

func TestWebhookRefusesConnections(t *testing.T) {
	server, set, _ := startWebhook(t, says(200, allowed))
	server.Close()
	r := newRig(t, set)
	r.expect(t, "", whyRefused)
	if strings.Contains(r.log.String(), "a=b") {
		t.Errorf("the URL, whose query may be a secret, is in the log: %s", r.log.String())
	}
}
