package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
)

// healthcheckCommand asks a server of this machine, for what has no shell and no curl to
// ask with: an image made from scratch.
type healthcheckCommand struct {
	URL     string        `name:"url" placeholder:"URL" help:"Ask the server there. Default: the one of this machine that the settings describe: --listen, --tls-cert and the others, their variables and file, as for parlor serve."`
	Live    bool          `name:"live" help:"Ask whether it answers at all (/healthz), not whether it may be given traffic (/readyz)."`
	Wait    time.Duration `name:"wait" placeholder:"DURATION" help:"Ask again until the answer is yes, for so long."`
	Timeout time.Duration `name:"timeout" default:"3s" placeholder:"DURATION" help:"How long one answer may take. The server itself needs up to 2s to find out that something is not ready."`

	settings
}

// askAgain is how long --wait lets pass after an answer that was no.
const askAgain = 100 * time.Millisecond

// maxHealth bounds the answer that is read.
const maxHealth = 64 << 10

// Help is called by kong.
func (h *healthcheckCommand) Help() string {
	return `Exits with 0 if the server is ready, with 1 if it is not or does not answer.

An address that is said as all of this machine's is asked at its loopback. Over TLS a certificate is for names, so at the loopback, where no other machine can answer, it is not verified. At another address of --listen the certificate must be the one of --tls-cert, or verify for the first name of --acme-hosts. With --url it must verify, unless that is a loopback address.`
}

// Run asks once, or until --wait is over.
func (h *healthcheckCommand) Run(line *kong.Context) error {
	at, client, err := h.server(line)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	client.Timeout = h.Timeout
	ctx, cancel := context.WithTimeout(context.Background(), h.Wait)
	defer cancel()
	for {
		err := ask(client, at)
		if err == nil {
			_, err := fmt.Fprintln(line.Stdout, "ok")
			return err
		}
		select {
		case <-ctx.Done(): // at once without --wait
			return err
		case <-time.After(askAgain):
		}
	}
}

// ask returns nil if the answer at a URL is yes, else why not.
func ask(client *http.Client, at string) error {
	response, err := client.Get(at)
	if err != nil {
		return err // names the URL
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHealth))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", at, err)
	}
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var health struct {
		Status   string   `json:"status"`
		NotReady []string `json:"notReady"`
	}
	if json.Unmarshal(body, &health) == nil && len(health.NotReady) > 0 {
		return fmt.Errorf("%s: %s: %s", at, health.Status, strings.Join(health.NotReady, ", "))
	}
	return fmt.Errorf("%s: %s", at, response.Status)
}

// server returns what is asked, and the client to ask it with.
func (h *healthcheckCommand) server(line *kong.Context) (string, *http.Client, error) {
	path := "/readyz"
	if h.Live {
		path = "/healthz"
	}
	transport := &http.Transport{Proxy: nil} // HTTP_PROXY is for other machines
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if h.URL != "" {
		u, err := parseURL("--url", h.URL, "http")
		if err != nil {
			return "", nil, err
		}
		if isLoopback(u.Hostname()) {
			transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		} else {
			transport.Proxy = http.ProxyFromEnvironment
		}
		return u.JoinPath(path).String(), client, nil
	}
	// All that dev and serve have: which of them runs is not known here. Nor is the rest of
	// the settings judged: the server that runs has flags that this command was not given.
	c, faults, err := h.gather(config.Dev, line)
	if err != nil {
		return "", nil, err
	}
	if len(faults) > 0 {
		return "", nil, faults
	}
	address, err := ownAddress(c.Listen)
	if err != nil {
		return "", nil, err
	}
	if !c.TLS() {
		return "http://" + address + path, client, nil
	}
	transport.TLSClientConfig, err = ownTLS(&c, address)
	return "https://" + address + path, client, err
}

// ownAddress is where this machine reaches a server that listens there.
func ownAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil || port == "":
		return "", config.Faults{{Where: "listen", Message: fmt.Sprintf("%q is not HOST:PORT, such as 127.0.0.1:4870", listen)}}
	case port == "0":
		return "", config.Faults{{Where: "listen", Message: "with port 0 the server took any: say --url, as its banner has it"}}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // a socket of [::] has it too
	}
	return net.JoinHostPort(host, port), nil
}

// ownTLS is how a server of this machine is spoken to. See Help for what is verified.
func ownTLS(c *config.Config, address string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{ServerName: host}
	if len(c.ACMEHosts) > 0 {
		t.ServerName = c.ACMEHosts[0] // without a name there is no certificate
	}
	if isLoopback(host) {
		t.InsecureSkipVerify = true
		return t, nil
	}
	if len(c.ACMEHosts) > 0 {
		return t, nil
	}
	own, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate %s with the key %s: %w", c.TLSCert, c.TLSKey, err)
	}
	t.InsecureSkipVerify = true // by its names; it is compared instead
	t.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, own.Certificate[0]) {
			return errors.New("it has another certificate than " + c.TLSCert)
		}
		return nil
	}
	return t, nil
}
