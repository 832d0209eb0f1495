package server_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/acme"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// acmeDirectory is an ACME authority that issues to whoever answers its challenge. It
// does not verify who signs what it is asked.
//
// RFC 8555, RFC 8737
type acmeDirectory struct {
	*authority
	server string // where names lead, once it is known

	mu         sync.Mutex
	asked      []string // names that certificates were ordered for
	contacts   []string
	refuses    bool // to issue anything
	challenged bool // the challenge was answered
	cert       []byte
}

// acmeIdentifier is the extension that answers a challenge.
var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

func (d *acmeDirectory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	base := "https://" + r.Host
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	var envelope struct{ Payload string }
	json.NewDecoder(r.Body).Decode(&envelope) // GET and HEAD have none
	payload, _ := base64.RawURLEncoding.DecodeString(envelope.Payload)
	var in struct {
		Contact     []string
		Identifiers []map[string]string
		CSR         string
	}
	json.Unmarshal(payload, &in) // POST-as-GET has none
	name := ""
	if len(d.asked) > 0 {
		name = d.asked[len(d.asked)-1]
	}
	pending := func(now string) string {
		if d.challenged {
			return now
		}
		return "pending"
	}
	order := func() map[string]any {
		status := pending("ready")
		if d.cert != nil {
			status = "valid"
		}
		return map[string]any{
			"status": status, "identifiers": []map[string]string{{"type": "dns", "value": name}},
			"authorizations": []string{base + "/authorization"}, "finalize": base + "/finalize", "certificate": base + "/certificate",
		}
	}
	challenge := func() map[string]any {
		return map[string]any{"type": "tls-alpn-01", "url": base + "/challenge", "token": "token", "status": pending("valid")}
	}
	w.Header().Set("Replay-Nonce", "nonce")
	w.Header().Set("Location", base+r.URL.Path)
	switch r.URL.Path {
	case "/directory":
		answer(200, map[string]string{"newNonce": base + "/nonce", "newAccount": base + "/account", "newOrder": base + "/order"})
	case "/nonce":
	case "/account":
		d.contacts = append(d.contacts, in.Contact...)
		answer(201, map[string]string{"status": "valid"})
	case "/order":
		if d.refuses {
			answer(403, map[string]string{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this one"})
			return
		}
		if r.Method == http.MethodPost && in.Identifiers != nil {
			name = in.Identifiers[0]["value"]
			d.asked, d.challenged, d.cert = append(d.asked, name), false, nil
			answer(201, order())
			return
		}
		answer(200, order())
	case "/authorization":
		answer(200, map[string]any{"status": pending("valid"), "identifier": map[string]string{"type": "dns", "value": name}, "challenges": []any{challenge()}})
	case "/challenge":
		if err := d.challenge(name); err != nil {
			d.t.Errorf("the challenge for %s: %v", name, err)
		}
		d.challenged = true
		answer(200, challenge())
	case "/finalize":
		der, _ := base64.RawURLEncoding.DecodeString(in.CSR)
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || !slices.Equal(csr.DNSNames, []string{name}) {
			d.t.Errorf("a request to sign for %v, %v, want %s alone", csr, err, name)
			http.Error(w, "bad", 400)
			return
		}
		d.cert, _ = d.sign(crypto.PublicKey(csr.PublicKey), name)
		w.Header().Set("Location", base+"/order")
		answer(200, order())
	case "/certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(d.cert)
	default:
		http.NotFound(w, r)
	}
}

// challenge asks the server for the certificate that proves that the name is its own.
func (d *acmeDirectory) challenge(name string) error {
	conn, err := tls.Dial("tcp", d.server, &tls.Config{ServerName: name, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != acme.ALPNProto {
		return fmt.Errorf("got protocol %q", state.NegotiatedProtocol)
	}
	for _, extension := range state.PeerCertificates[0].Extensions {
		if extension.Id.Equal(acmeIdentifier) {
			return nil
		}
	}
	return fmt.Errorf("the certificate does not answer it")
}

// start returns where the directory is. The server trusts whom its system does; here,
// that is the directory as well.
func (d *acmeDirectory) start() (url string) {
	directory := httptest.NewTLSServer(d)
	d.t.Cleanup(directory.Close)
	transport := http.DefaultTransport.(*http.Transport)
	before := transport.TLSClientConfig
	trusted := x509.NewCertPool()
	trusted.AddCert(directory.Certificate())
	transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
	d.t.Cleanup(func() {
		transport.CloseIdleConnections()
		transport.TLSClientConfig = before
	})
	return directory.URL + "/directory"
}

// The authority is asked for the names of --acme-hosts and for no other, whatever
// name clients ask the server for.
func TestACME(t *testing.T) {
	d := &acmeDirectory{authority: newAuthority(t)}
	directory := d.start()
	data := filepath.Join(t.TempDir(), "data")
	start := func() *parlortest.Server {
		s := parlortest.Start(t, func(c *config.Config) {
			c.Data = data
			c.ACMEHosts, c.ACMEEmail, c.ACMEDir = []string{"chat.example.com"}, "ops@example.com", directory
		})
		d.mu.Lock()
		defer d.mu.Unlock()
		d.server = addressOf(s)
		return s
	}
	s := start()
	for name, ask := range map[string]func(*tls.Config){
		"another host":      func(c *tls.Config) { c.ServerName = "other.example.com" },
		"a host below":      func(c *tls.Config) { c.ServerName = "a.chat.example.com" },
		"a host of AWS":     func(c *tls.Config) { c.ServerName = "edge.ivschat.us-west-2.amazonaws.com" },
		"an address":        func(c *tls.Config) { c.ServerName = "127.0.0.1" },
		"a challenge":       func(c *tls.Config) { c.ServerName, c.NextProtos = "chat.example.com", []string{acme.ALPNProto} },
		"a foreign one too": func(c *tls.Config) { c.ServerName, c.NextProtos = "other.example.com", []string{acme.ALPNProto} },
	} {
		if _, err := d.serial(addressOf(s), ask, func(c *tls.Config) { c.InsecureSkipVerify = true }); err == nil {
			t.Errorf("%s: got a certificate, want none", name)
		}
	}
	d.mu.Lock()
	if got := len(d.asked); got != 0 {
		t.Errorf("ordered: got %q, want nothing", d.asked)
	}
	d.mu.Unlock()

	ask := func(c *tls.Config) { c.ServerName = "Chat.Example.com" }
	first, err := d.serial(addressOf(s), ask)
	if err != nil {
		t.Fatalf("the named host: %v", err)
	}
	if again, err := d.serial(addressOf(s), ask); err != nil || again != first {
		t.Errorf("once more: got %d, %v, want the same certificate %d", again, err, first)
	}
	s.Stop()
	s = start()
	if again, err := d.serial(addressOf(s), ask); err != nil || again != first {
		t.Errorf("after a restart: got %d, %v, want the same certificate %d", again, err, first)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if want := []string{"chat.example.com"}; !slices.Equal(d.asked, want) {
		t.Errorf("ordered: got %q, want %q", d.asked, want)
	}
	if want := []string{"mailto:ops@example.com"}; !slices.Equal(d.contacts, want) {
		t.Errorf("contacts: got %q, want %q", d.contacts, want)
	}
	kept := 0
	err = filepath.WalkDir(filepath.Join(data, "acme"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else if strings.Contains(path, "chat.example.com") {
			kept++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", e.Name(), got, want)
		}
		return err
	})
	if err != nil || kept == 0 {
		t.Errorf("kept: got %d files, %v, want the certificate", kept, err)
	}
}

// A certificate that the authority does not give is said in the log at its default
// level, once; what clients ask for that is not ours is not.
func TestACMETroubleIsSaid(t *testing.T) {
	d := &acmeDirectory{authority: newAuthority(t), refuses: true}
	directory := d.start()
	var log logged
	s := parlortest.StartLogging(t, &log, func(c *config.Config) {
		c.Data, c.LogLevel = filepath.Join(t.TempDir(), "data"), "info"
		c.ACMEHosts, c.ACMEDir = []string{"chat.example.com"}, directory
	})
	ask := func(name string, protocols ...string) {
		if _, err := d.serial(addressOf(s), func(c *tls.Config) { c.ServerName, c.NextProtos = name, protocols }); err == nil {
			t.Errorf("%s: got a certificate, want none", name)
		}
	}
	ask("other.example.com")
	ask("chat.example.com", acme.ALPNProto)
	if got := log.String(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
	for range 3 {
		ask("chat.example.com")
	}
	eventually(t, "it is in the log", func() bool { return log.String() != "" })
	got := log.String()
	if strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "chat.example.com") || !strings.Contains(got, "not this one") {
		t.Errorf("got %q, want one error with the name and the authority's reason", got)
	}
}
