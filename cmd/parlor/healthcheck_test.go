package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parlor/internal/config"
)

func TestHealthcheckSaysWhatIsNotReady(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte(`{"status":"not ready","notReady":["store","broker"]}`))
		case "/elsewhere/readyz":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		case "/silent/readyz":
			<-r.Context().Done()
		case "/healthz":
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	for _, test := range []struct {
		name string
		args []string
		want string // the error; "" is yes
	}{
		{"not ready", nil, s.URL + "/readyz: not ready: store, broker"},
		{"alive", []string{"--live"}, ""},
		{"not Parlor", []string{"--url", s.URL + "/nosuch"}, s.URL + "/nosuch/readyz: 404 Not Found"},
		{"sent elsewhere", []string{"--url", s.URL + "/elsewhere"}, s.URL + "/elsewhere/readyz: 302 Found"},
		{"silent", []string{"--url", s.URL + "/silent", "--timeout", "20ms"}, "Timeout exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := healthcheck(t, append([]string{"--listen", s.Listener.Addr().String()}, test.args...)...)
			switch {
			case test.want == "" && (err != nil || out != "ok\n"):
				t.Errorf("got %q and %v, want yes", out, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// healthcheck runs the verb and returns what it printed.
func healthcheck(t *testing.T, args ...string) (string, error) {
	t.Helper()
	parser, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	parser.Stdout = &out
	line, err := parser.Parse(append([]string{"healthcheck"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	err = line.Run()
	return out.String(), err
}

// At an address that others could have, the certificate is the file's or nobody's.
func TestHealthcheckComparesTheCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake that must fail
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	pair := func(name string, certificate, key []byte) {
		t.Helper()
		for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: certificate}, name + ".key": {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ownKey, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pair("own", s.Certificate().Raw, ownKey)
	certificate, key, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair("another", certificate, key)
	get := func(name string) error {
		c := config.Config{TLSCert: filepath.Join(dir, name+".pem"), TLSKey: filepath.Join(dir, name+".key")}
		tlsConfig, err := ownTLS(&c, "192.0.2.1:443")
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: tlsConfig}}
		defer client.CloseIdleConnections()
		response, err := client.Get(s.URL)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := get("own"); err != nil {
		t.Errorf("with its own certificate: %v", err)
	}
	if err := get("another"); err == nil || !strings.Contains(err.Error(), "another certificate than") {
		t.Errorf("with another certificate: %v", err)
	}
	// By ACME there is no file: a name is asked for, and verified but at the loopback.
	c := config.Config{ACMEHosts: []string{"chat.example.com"}}
	for address, skips := range map[string]bool{"127.0.0.1:443": true, "192.0.2.1:443": false} {
		got, err := ownTLS(&c, address)
		if err != nil || got.ServerName != "chat.example.com" || got.InsecureSkipVerify != skips {
			t.Errorf("%s: got %+v, %v", address, got, err)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	for listen, want := range map[string]string{
		":4870":           "127.0.0.1:4870",
		"0.0.0.0:80":      "127.0.0.1:80",
		"[::]:80":         "127.0.0.1:80",
		"[::1]:80":        "[::1]:80",
		"192.0.2.1:80":    "192.0.2.1:80",
		"chat.example:80": "chat.example:80",
	} {
		got, err := ownAddress(listen)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", listen, got, err, want)
		}
	}
	for _, listen := range []string{"", "80", "127.0.0.1:", ":0"} {
		if got, err := ownAddress(listen); err == nil {
			t.Errorf("%q: got %s, want an error", listen, got)
		}
	}
}
