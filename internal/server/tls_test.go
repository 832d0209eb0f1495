package server_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// authority issues certificates that its clients trust.
type authority struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	roots *x509.CertPool

	mu     sync.Mutex
	issued int64

	life time.Duration // of what it issues; 0: 90 days
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newECKey(t), roots: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.root, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.root)
	return a
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign issues a certificate for names, which may be addresses.
func (a *authority) sign(public crypto.PublicKey, names ...string) (certPEM []byte, serial int64) {
	a.t.Helper()
	a.mu.Lock()
	a.issued++
	serial = 1000 + a.issued
	a.mu.Unlock()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(cmp.Or(a.life, 90*24*time.Hour)),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, public, a.key)
	if err != nil {
		a.t.Error(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), serial
}

// issue issues a certificate with its key.
func (a *authority) issue(names ...string) (certPEM, keyPEM string, serial int64) {
	a.t.Helper()
	key := newECKey(a.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, serial := a.sign(key.Public(), names...)
	return string(cert), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), serial
}

// files writes a certificate for names where a server finds it.
func (a *authority) files(names ...string) (option func(*config.Config), certFile, keyFile string, serial int64) {
	a.t.Helper()
	dir := a.t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key, serial := a.issue(names...)
	put(a.t, certFile, cert)
	put(a.t, keyFile, key)
	return func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile }, certFile, keyFile, serial
}

// client trusts the authority. Whatever a request's host, it dials the address.
func (a *authority) client(address string) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: a.roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func addressOf(s *parlortest.Server) string {
	_, address, _ := strings.Cut(s.URL, "://")
	return address
}

// serial shakes hands and returns the number of the certificate that the server shows.
func (a *authority) serial(address string, change ...func(*tls.Config)) (int64, error) {
	c := &tls.Config{RootCAs: a.roots, ServerName: "127.0.0.1"}
	for _, f := range change {
		f(c)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, c)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestTLSVersions(t *testing.T) {
	a := newAuthority(t)
	option, _, _, want := a.files("127.0.0.1")
	s := parlortest.Start(t, option)
	for _, tc := range []struct {
		name    string
		version uint16
		fault   string
	}{
		{"TLS 1.0", tls.VersionTLS10, "protocol version not supported"},
		{"TLS 1.1", tls.VersionTLS11, "protocol version not supported"},
		{"TLS 1.2", tls.VersionTLS12, ""},
		{"TLS 1.3", tls.VersionTLS13, ""},
	} {
		got, err := a.serial(addressOf(s), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tc.version, tc.version })
		switch {
		case tc.fault == "" && (err != nil || got != want):
			t.Errorf("%s: got %d, %v, want the certificate %d", tc.name, got, err, want)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.fault)
		}
	}
	response, err := client.Get("http://" + addressOf(s) + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got, want := response.StatusCode, http.StatusBadRequest; got != want {
		t.Errorf("plain HTTP: got %d, want %d", got, want)
	}
}

// A client of AWS, whose names are made to stand for this server, needs no setting:
// the SDK's own endpoint and the messaging endpoint both work.
func TestTLSForNamesOfAWS(t *testing.T) {
	a := newAuthority(t)
	option, _, _, _ := a.files("ivschat.us-west-2.amazonaws.com", "edge.ivschat.us-west-2.amazonaws.com")
	path := filepath.Join(t.TempDir(), "credentials")
	k := newKey("ann", 0)
	addKeys(t, path, k)
	for name, guard := range map[string]func(*config.Config){
		"any key":          func(*config.Config) {},
		"with access keys": withCredentials(path),
	} {
		t.Run(name, func(t *testing.T) {
			s := parlortest.Start(t, option, guard)
			hc := a.client(addressOf(s))
			control := s.Client(t, as(k), func(o *ivschat.Options) { o.BaseEndpoint, o.HTTPClient = nil, hc })
			room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
			if err != nil {
				t.Fatal(err)
			}
			conn, _, err := websocket.Dial(t.Context(), "wss://edge.ivschat.us-west-2.amazonaws.com/", &websocket.DialOptions{
				HTTPClient: hc, Subprotocols: []string{token(t, control, room.Arn, "ann")},
			})
			if err != nil {
				t.Fatal(err)
			}
			conn.CloseNow()
			if _, err := hc.Get("https://chat.example.com/"); err == nil {
				t.Error("a name that the certificate does not have was trusted")
			}
			hc.CloseIdleConnections()
		})
	}
}

// New connections get the new certificate and old ones live on; a pair that does not
// fit changes nothing and is said once.
func TestTLSReload(t *testing.T) {
	a := newAuthority(t)
	option, certFile, keyFile, first := a.files("127.0.0.1")
	var log logged
	s := parlortest.StartLogging(t, &log, option, func(c *config.Config) { c.LogLevel = "info" })
	hc := a.client(addressOf(s))
	control := s.Client(t, func(o *ivschat.Options) { o.HTTPClient = hc })
	room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{token(t, control, room.Arn, "ann")}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	keepAlive, err := tls.Dial("tcp", addressOf(s), &tls.Config{RootCAs: a.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer keepAlive.Close()
	alive := func(when string) {
		t.Helper()
		if _, err := control.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: room.Arn, EventName: aws.String("e")}); err != nil {
			t.Errorf("%s: an event: got %v", when, err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(got), `"EVENT"`) {
			t.Errorf("%s: the old session: got %s, %v, want an event", when, got, err)
		}
		fmt.Fprint(keepAlive, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		var answer [512]byte
		if n, err := keepAlive.Read(answer[:]); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") {
			t.Errorf("%s: the old connection: got %q, %v, want 200", when, answer[:n], err)
		}
	}
	shows := func(want int64) func() bool {
		return func() bool {
			got, err := a.serial(addressOf(s))
			if err != nil {
				t.Errorf("a handshake failed: %v", err)
			}
			return got == want
		}
	}
	said := func(what string) int { return strings.Count(log.String(), what) }
	if !shows(first)() {
		t.Error("the first certificate is not shown")
	}

	cert, key, second := a.issue("127.0.0.1")
	put(t, keyFile, key) // alone it does not fit
	eventually(t, "a broken pair is said", func() bool { return said("TLS certificate not reloaded") == 1 })
	time.Sleep(2500 * time.Millisecond) // two more looks
	if got := said("TLS certificate not reloaded"); got != 1 || !shows(first)() {
		t.Errorf("a broken pair: said %d times, want once, and the first certificate", got)
	}
	alive("with a broken pair")
	put(t, certFile, cert)
	eventually(t, "the second certificate", shows(second))
	if got := said("TLS certificate reloaded"); got != 1 {
		t.Errorf("said %d times that it was reloaded, want once", got)
	}
	alive("with the second certificate")

	for _, broken := range []func() error{
		func() error { return os.Remove(certFile) },
		func() error { return os.WriteFile(certFile, []byte("no PEM"), 0o600) },
		func() error { return os.Remove(certFile) }, // said anew: it was there in between
	} {
		before := said("TLS certificate not reloaded")
		if err := broken(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is said that the file is bad", func() bool { return said("TLS certificate not reloaded") == before+1 })
	}
	alive("without a certificate file")
	if !shows(second)() {
		t.Error("the certificate before does not go on serving")
	}
	cert, key, third := a.issue("127.0.0.1")
	put(t, certFile, cert)
	put(t, keyFile, key)
	eventually(t, "the third certificate", shows(third))
	before := said("TLS certificate not reloaded")
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "said", func() bool { return said("TLS certificate not reloaded") == before+1 })
	put(t, keyFile, key) // as it was: nothing to reload
	time.Sleep(1500 * time.Millisecond)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a fault that comes back is said again", func() bool { return said("TLS certificate not reloaded") == before+2 })
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("a private key is in the log")
	}
}

// Two hundred sessions of one room over WSS get every message in one order, and then
// a kick each.
func TestRoomOverTLS(t *testing.T) {
	const sessions, writers, messages = 200, 5, 20
	a := newAuthority(t)
	option, _, _, _ := a.files("127.0.0.1")
	s := parlortest.Start(t, option)
	hc := a.client(addressOf(s))
	control := s.Client(t, func(o *ivschat.Options) { o.HTTPClient = hc })
	room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{MaximumMessageRatePerSecond: aws.Int32(100)})
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*websocket.Conn, sessions)
	for i := range conns {
		out, err := control.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{
			RoomIdentifier: room.Arn, UserId: aws.String(fmt.Sprint("user-", i)), Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage},
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{*out.Token}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		conns[i] = conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	heard := make([][]string, sessions)
	ends := make([]websocket.CloseError, sessions)
	var readers, writing sync.WaitGroup
	all := make(chan struct{}, sessions)
	for i, conn := range conns {
		readers.Go(func() {
			for {
				_, text, err := conn.Read(ctx)
				if e, ok := errors.AsType[websocket.CloseError](err); ok {
					ends[i] = e
					return
				}
				var f struct{ Type, ID, Content string }
				if err == nil {
					err = json.Unmarshal(text, &f)
				}
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					all <- struct{}{}
					return
				}
				if f.Type != "MESSAGE" {
					continue // the kicks of others
				}
				if heard[i] = append(heard[i], f.ID+" "+f.Content); len(heard[i]) == writers*messages {
					all <- struct{}{}
				}
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			for n := range messages {
				text := fmt.Sprintf(`{"Action":"SEND_MESSAGE","Content":"%d of %d"}`, n, w)
				if err := conns[w].Write(ctx, websocket.MessageText, []byte(text)); err != nil {
					t.Error(err)
				}
				time.Sleep(110 * time.Millisecond) // 10 requests a second each
			}
		})
	}
	writing.Wait()
	for range sessions {
		<-all
	}
	for i := range sessions {
		if got, want := len(heard[i]), writers*messages; got != want {
			t.Fatalf("session %d: got %d messages, want %d", i, got, want)
		}
		for n := range heard[i] {
			if heard[i][n] != heard[0][n] {
				t.Fatalf("session %d, message %d: got %s, the first got %s", i, n, heard[i][n], heard[0][n])
			}
		}
	}
	for i := range sessions {
		if _, err := control.DisconnectUser(t.Context(), &ivschat.DisconnectUserInput{RoomIdentifier: room.Arn, UserId: aws.String(fmt.Sprint("user-", i)), Reason: aws.String("enough")}); err != nil {
			t.Fatal(err)
		}
	}
	readers.Wait()
	for i, e := range ends {
		if e.Code == 0 || !strings.Contains(e.Reason, "enough") {
			t.Errorf("session %d: closed with %d %q, want the reason of its kick", i, e.Code, e.Reason)
			break
		}
	}
	hc.CloseIdleConnections()
}
