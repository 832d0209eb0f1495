package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "p@ss")
	subscribes(t, "redis://:p%40ss@"+server.Address())
}

// A user who may do what Parlor needs and nothing more.
func TestACL(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if got := server.Do(append([]string{"ACL", "SETUSER", "parlor", "on", ">secret"}, strings.Fields(needs)...)...); got != "+OK" {
		t.Fatal(got)
	}
	server.Do("ACL", "SETUSER", "default", "off")
	text := "redis://parlor:secret@" + server.Address()
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, text, t.Name(), deliver)
	})
}

// needs is what a user of Redis needs to be allowed, as docs/operations.md has it.
const needs = "~parlor:* &parlor:* +@read +@write +@scripting +@pubsub +@connection -@dangerous +time +info +cluster|slots +cluster|shards"

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right")
	b := unready(t, "redis://:wrong@"+server.Address())
	if err := b.Ready(t.Context()); err == nil {
		t.Error("ready: got nil, want an error")
	}
}

// The password of the servers is not that of the Sentinels, and both are asked for.
func TestSentinelPassword(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t, "--requirepass", "data", "--masterauth", "data")
	text := strings.Replace(watched.URL(), "redis://", "redis://:data@", 1) + "&sentinel_password=" + redistest.SentinelPassword
	subscribes(t, text)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	files := newCertificates(t)
	port := redistest.FreePort(t)
	redistest.Start(t, files.Arguments(port)...)
	address, query := fmt.Sprint("127.0.0.1:", port), files.Query().Encode()
	t.Run("with a CA and a certificate", func(t *testing.T) { subscribes(t, "rediss://"+address+"?"+query) })
	for name, text := range map[string]string{
		"a CA that the system does not know": "rediss://" + address,
		"no certificate for the server":      "rediss://" + address + "?cacert=" + files.CA,
		"another host's certificate":         "rediss://localhost:" + fmt.Sprint(port) + "?" + query,
	} {
		t.Run(name, func(t *testing.T) {
			if err := unready(t, text).Ready(t.Context()); err == nil {
				t.Error("ready: got nil, want an error")
			}
		})
	}
}

func TestTLSCluster(t *testing.T) {
	t.Parallel()
	subscribes(t, redistest.StartTLSCluster(t, newCertificates(t)).URL())
}

func TestURLs(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ url, want string }{
		"not a URL":             {"redis://u:hush@[x", "not one that is understood"},
		"another scheme":        {"http://u:hush@x", "not one that is understood"},
		"a CA without TLS":      {"redis://u:hush@x?cacert=" + garbage, "is not rediss://"},
		"a CA that is not":      {"rediss://u:hush@x?cacert=" + garbage, "no certificate in"},
		"a CA that is not here": {"rediss://u:hush@x?cacert=/nowhere", "read the CA"},
		"a key alone":           {"rediss://u:hush@x?key=" + garbage, "read the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseURL(tc.url)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v, want it to say %q and no password", err, tc.want)
			}
		})
	}
}

// subscribes has a node publish what another one hears.
func subscribes(t *testing.T, text string) {
	t.Helper()
	v := &viewer{}
	one, other := open(t, text, "one", v.deliver), open(t, text, "other", func(*chat.Publication) {})
	room := newRoom()
	_, cancel, err := one.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	pub := &chat.Publication{Room: room, ID: chat.NewID(), Frame: []byte("x"), Accepted: time.Now()}
	if err := other.Publish(t.Context(), pub, 10); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(v.shown()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is heard")
		}
	}
}

// unready returns a broker that runs, and had some time to get ready.
func unready(t *testing.T, text string) *Redis {
	t.Helper()
	b := start(t, text, "node", func(*chat.Publication) {}, func(bool) {})
	time.Sleep(500 * time.Millisecond)
	return b
}

// newCertificates makes a CA and a certificate by it, for 127.0.0.1.
func newCertificates(t *testing.T) redistest.Certificates {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	caDER, err3 := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	leafDER, err4 := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	keyDER, err5 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	return redistest.Certificates{
		CA: write("ca.pem", "CERTIFICATE", caDER), Cert: write("cert.pem", "CERTIFICATE", leafDER), Key: write("key.pem", "PRIVATE KEY", keyDER),
	}
}

// A server that took over, and refused a publication, has not begun its epoch by that.
func TestRefusedByAnotherServer(t *testing.T) {
	server := redistest.Start(t)
	server.Do(append([]string{"ACL", "SETUSER", "parlor", "on", ">secret"}, strings.Fields(needs)...)...)
	b := open(t, "redis://parlor:secret@"+server.Address(), "node", func(*chat.Publication) {})
	pub := func() *chat.Publication {
		return &chat.Publication{Room: chat.ControlLog, ID: chat.NewID(), Frame: []byte("x")}
	}
	first := pub()
	if err := b.Publish(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	server.Do("HSET", keysOf(chat.ControlLog).state, "p", "another")
	server.Do("ACL", "SETUSER", "parlor", "resetchannels")
	if err := b.Publish(t.Context(), pub(), 0); err == nil {
		t.Fatal("it may publish to no channel: got nil, want an error")
	}
	server.Do("ACL", "SETUSER", "parlor", "&parlor:*")
	last := pub()
	if err := b.Publish(t.Context(), last, 0); err != nil {
		t.Fatal(err)
	}
	if last.Position.Epoch <= first.Position.Epoch || last.Position.Number != 1 {
		t.Errorf("got %v after %v, want the first of another epoch", last.Position, first.Position)
	}
}
