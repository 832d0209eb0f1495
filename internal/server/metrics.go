package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/config"
	"parlor/internal/store"
)

// found is a gauge that is looked up when it is asked for, and may not be known.
type found struct {
	desc *prometheus.Desc
	look func() (value float64, known bool)
}

// Describe implements prometheus.Collector.
func (f *found) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements prometheus.Collector.
func (f *found) Collect(ch chan<- prometheus.Metric) {
	if value, known := f.look(); known {
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, value)
	}
}

// storeSilence is how long a shared store may take no beat before a node counts as without it.
const storeSilence = beatInterval + 2*beatTimeout

// registerReady adds what is known of the node's readiness without asking anybody.
func registerReady(r prometheus.Registerer, s *Server) {
	r.MustRegister(&found{
		desc: prometheus.NewDesc("parlor_ready",
			"1 while this node should get traffic, as far as it knows: it does not drain, has its link to the broker, and a shared database took what it wrote within the last 5 s; else 0. /readyz says which of them is in the way.", nil, nil),
		look: func() (float64, bool) {
			stored := !s.shared || time.Since(time.Unix(0, s.beaten.Load())) < storeSilence
			if stored && s.broker.Up() && !s.draining.Load() {
				return 1, true
			}
			return 0, true
		},
	})
}

// registerClock adds how far this node's clock is from the one that nodes share.
func registerClock(r prometheus.Registerer, s *store.Store) {
	r.MustRegister(&found{
		desc: prometheus.NewDesc("parlor_clock_offset_seconds",
			"How far this node's clock is ahead of the database's, to within 0.1 s; negative: behind. Only nodes that share a database have it, and only while the database answers.", nil, nil),
		look: func() (float64, bool) {
			ahead, known := s.ClockOffset()
			return ahead.Seconds(), known
		},
	})
}

// registerCertificate adds for how long the certificate that clients are shown is good.
func registerCertificate(r prometheus.Registerer, c config.Config, encryption *tls.Config) {
	ends := func() (time.Time, bool) {
		certificate, err := encryption.GetCertificate(nil) // the files' is the same for all
		if err != nil {
			return time.Time{}, false
		}
		return certificate.Leaf.NotAfter, true
	}
	if c.TLSCert == "" {
		ends = func() (time.Time, bool) { return acmeEnds(filepath.Join(c.Data, "acme"), c.ACMEHosts) }
	}
	r.MustRegister(&found{
		desc: prometheus.NewDesc("parlor_tls_certificate_expiry_seconds",
			"Time until the TLS certificate that clients are shown ends; negative: it is over. With --acme-hosts, of the one that ends first; a host for which there was none yet does not count. Only where Parlor speaks TLS itself.", nil, nil),
		look: func() (float64, bool) {
			at, known := ends()
			return time.Until(at).Seconds(), known
		},
	})
}

// acmeEnds is when the first of the certificates ends that ACME has brought for hosts. They
// are where autocert keeps them, whose own memory nobody can look at; it reads a small file
// for each host.
func acmeEnds(dir string, hosts []string) (first time.Time, known bool) {
	for _, host := range hosts {
		text, err := os.ReadFile(filepath.Join(dir, strings.ToLower(host)))
		if err != nil {
			continue // there is none yet
		}
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err == nil && (!known || leaf.NotAfter.Before(first)) {
				first, known = leaf.NotAfter, true
			}
			break // those after it are the authority's
		}
	}
	return first, known
}
