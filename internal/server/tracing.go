package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/config"
	"parlor/internal/tracing"
)

// newTracer returns what keeps the times of requests, or nil.
func newTracer(c config.Tracing, node string, logger *slog.Logger, registry *prometheus.Registry) (*tracing.Tracer, error) {
	if !c.On() {
		return nil, nil
	}
	encryption, err := collectorTLS(c)
	if err != nil {
		return nil, err
	}
	resource := []slog.Attr{
		slog.String("service.name", c.Service),
		slog.String("service.version", Build().Version),
		slog.String("service.instance.id", node),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Resource)) {
		resource = slices.DeleteFunc(resource, func(a slog.Attr) bool { return a.Key == name })
		resource = append(resource, slog.String(name, c.Resource[name]))
	}
	return tracing.New(tracing.Config{
		URL:      c.URL,
		Headers:  c.Headers,
		Timeout:  c.Timeout,
		Gzip:     c.Gzip,
		TLS:      encryption,
		Sampler:  sampler(c),
		Resource: resource,
		Version:  Build().Version,
		Logger:   logger,
		Metrics:  registry,
	}), nil
}

// sampler is OTEL_TRACES_SAMPLER as the tracer has it.
func sampler(c config.Tracing) tracing.Sampler {
	switch c.Sampler {
	case "always_on":
		return tracing.Sampler{Rule: tracing.RuleAll}
	case "always_off":
		return tracing.Sampler{Rule: tracing.RuleNone}
	case "traceidratio":
		return tracing.Sampler{Rule: tracing.RuleRatio, Ratio: c.Ratio}
	case "parentbased_always_on":
		return tracing.Sampler{Rule: tracing.RuleAll, Parents: true}
	case "parentbased_always_off":
		return tracing.Sampler{Rule: tracing.RuleNone, Parents: true}
	case "parentbased_traceidratio":
		return tracing.Sampler{Rule: tracing.RuleRatio, Ratio: c.Ratio, Parents: true}
	}
	return tracing.Sampler{}
}

// collectorTLS is how the collector is known, and known to it.
func collectorTLS(c config.Tracing) (*tls.Config, error) {
	encryption := &tls.Config{}
	if c.Certificate != "" {
		pem, err := os.ReadFile(c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("read the collector's certificate: %w", err)
		}
		encryption.RootCAs = x509.NewCertPool()
		if !encryption.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate for the collector in %s", c.Certificate)
		}
	}
	if c.ClientCertificate != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertificate, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("load the certificate for the collector %s: %w", c.ClientCertificate, err)
		}
		encryption.Certificates = []tls.Certificate{pair}
	}
	return encryption, nil
}
