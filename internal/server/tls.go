package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"parlor/internal/config"
)

// certificateCheck is how often certificate files are looked at.
const certificateCheck = time.Second

// acmeSilence is how long ACME trouble with a host is not said again; autocert itself
// tries again after about as long.
const acmeSilence = time.Minute

// tlsConfig returns how the server speaks TLS, or nil if it does not. The second
// result keeps it up to date until its context ends; it may be nil.
//
// With certificate files, whatever name a client asks for, it gets that one: a client
// that was pointed here under a name of AWS's needs a certificate with that name, and
// no setting.
func tlsConfig(c config.Config, logger *slog.Logger) (*tls.Config, func(context.Context), error) {
	switch {
	case c.TLSCert != "":
		files, err := loadCertificate(c.TLSCert, c.TLSKey, logger)
		if err != nil {
			return nil, nil, err
		}
		return &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"http/1.1"},
			GetCertificate: files.certificate,
		}, files.run, nil
	case len(c.ACMEHosts) > 0:
		manager := &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			Cache:      autocert.DirCache(filepath.Join(c.Data, "acme")),
			HostPolicy: autocert.HostWhitelist(c.ACMEHosts...),
			Email:      c.ACMEEmail,
			Client:     &acme.Client{DirectoryURL: c.ACMEDir},
		}
		return &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"http/1.1", acme.ALPNProto},
			GetCertificate: (&acmeCertificates{manager: manager, logger: logger}).certificate,
		}, nil, nil
	}
	return nil, nil, nil
}

// acmeCertificates are certificates by ACME, and what went wrong with them.
type acmeCertificates struct {
	manager *autocert.Manager
	logger  *slog.Logger

	mu   sync.Mutex
	said map[string]time.Time // by host: when its trouble was last in the log
}

// certificate returns the certificate for a client. That there is none for a host of
// ours is the server's trouble, and said once in acmeSilence, since every client meets
// it; what clients ask for beside that is their own.
func (a *acmeCertificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate, err := a.manager.GetCertificate(hello)
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if err == nil || slices.Contains(hello.SupportedProtos, acme.ALPNProto) || a.manager.HostPolicy(hello.Context(), host) != nil {
		return certificate, err
	}
	a.mu.Lock()
	silent := time.Since(a.said[host]) < acmeSilence
	if !silent {
		if a.said == nil {
			a.said = map[string]time.Time{}
		}
		a.said[host] = time.Now()
	}
	a.mu.Unlock()
	if !silent {
		a.logger.Error("no TLS certificate by ACME", "host", host, "error", err)
	}
	return nil, err
}

// certificateFiles is a certificate that follows its files.
type certificateFiles struct {
	certFile, keyFile string
	logger            *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	seen [2][]byte // what the files held when last looked at; owned by run
}

func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificateFiles, error) {
	f := &certificateFiles{certFile: certFile, keyFile: keyFile, logger: logger}
	if _, err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *certificateFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// load takes the files if they differ from those seen last.
func (f *certificateFiles) load() (changed bool, err error) {
	certPEM, err := os.ReadFile(f.certFile)
	if err != nil {
		return false, fmt.Errorf("read the TLS certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(f.keyFile)
	if err != nil {
		return false, fmt.Errorf("read the TLS key: %w", err)
	}
	if bytes.Equal(f.seen[0], certPEM) && bytes.Equal(f.seen[1], keyPEM) {
		return false, nil
	}
	f.seen = [2][]byte{certPEM, keyPEM}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return false, fmt.Errorf("load the TLS certificate %s with the key %s: %w", f.certFile, f.keyFile, err)
	}
	f.current.Store(&pair)
	return true, nil
}

// run follows the files until ctx ends. What cannot be used is said once, and the
// certificate before goes on serving: files are often replaced one after the other.
func (f *certificateFiles) run(ctx context.Context) {
	ticker := time.NewTicker(certificateCheck)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changed, err := f.load()
		switch {
		case err == nil:
			said = "" // the same again is news
			if changed {
				f.logger.Info("TLS certificate reloaded", "not_after", f.current.Load().Leaf.NotAfter)
			}
		case err.Error() != said:
			said = err.Error()
			f.logger.Error("TLS certificate not reloaded; the one before goes on serving", "error", err)
		}
	}
}
