package config

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tracing is where the times of requests go. It comes from OpenTelemetry's own
// variables, which have no flags and no place in the file: see [ReadTracing].
type Tracing struct {
	// URL is where spans are posted to. Without it and Log none are kept.
	URL string
	// Log has spans written to the process's log instead.
	Log bool

	Headers map[string]string // of those posts; secrets may be among them
	Timeout time.Duration
	Gzip    bool
	// Files in PEM form: who may have signed the collector's certificate, and what this
	// server shows it.
	Certificate, ClientCertificate, ClientKey string

	Service  string
	Resource map[string]string

	// Sampler is OTEL_TRACES_SAMPLER; "" is Parlor's own choice.
	Sampler string
	// Ratio is what part of all a sampler by ratio keeps.
	Ratio float64
}

// On reports whether times are kept.
func (t *Tracing) On() bool { return t.URL != "" || t.Log }

const (
	defaultCollector    = "http://localhost:4318"
	defaultTraceTimeout = 10 * time.Second
	tracesPath          = "/v1/traces"
)

// Samplers are the values of OTEL_TRACES_SAMPLER that are understood.
var samplers = []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}

// ReadTracing reads OpenTelemetry's variables. Tracing is on where an endpoint or
// OTEL_TRACES_EXPORTER is named, and what is wrong with the others is then an error:
// [Faults]. An empty variable is none.
//
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/
func ReadTracing(variable func(name string) string) (Tracing, error) {
	var t Tracing
	var faults Faults
	fault := func(name, format string, args ...any) {
		faults = append(faults, Fault{Where: name, Message: fmt.Sprintf(format, args...)})
	}
	get := func(name string) string { return strings.TrimSpace(variable(name)) }
	// of returns a variable of the exporter, of traces alone or of all signals.
	of := func(what string) (name, value string) {
		for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
			if value := get(name); value != "" {
				return name, value
			}
		}
		return "", ""
	}
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return t, nil
	}
	_, endpoint := of("ENDPOINT")
	exporter := get("OTEL_TRACES_EXPORTER")
	switch exporter {
	case "none":
		return t, nil
	case "console":
		t.Log = true
	case "otlp":
		t.URL = cmp.Or(endpoint, defaultCollector)
	case "":
		if t.URL = endpoint; endpoint == "" {
			return t, nil
		}
	default:
		fault("OTEL_TRACES_EXPORTER", "%q is not one of otlp, console, none", exporter)
	}
	if t.URL != "" {
		name, value := of("PROTOCOL")
		if value != "" && value != "http/protobuf" {
			fault(name, "%q is not spoken here: name the collector's address for OTLP over HTTP, mostly that of port 4318, and say OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", value)
		}
		t.readEndpoint(of, fault)
		t.readExporter(of, fault)
	}
	t.Service = cmp.Or(get("OTEL_SERVICE_NAME"), "parlor")
	resource, err := pairs(get("OTEL_RESOURCE_ATTRIBUTES"))
	if err != nil {
		fault("OTEL_RESOURCE_ATTRIBUTES", "%v", err)
	}
	if named := resource["service.name"]; named != "" && get("OTEL_SERVICE_NAME") == "" {
		t.Service = named
	}
	delete(resource, "service.name")
	t.Resource = resource
	t.readSampler(get, fault)
	if len(faults) > 0 {
		return Tracing{}, faults
	}
	return t, nil
}

func (t *Tracing) readEndpoint(of func(string) (name, value string), fault func(name, format string, args ...any)) {
	name, _ := of("ENDPOINT")
	u, err := url.Parse(t.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		// It is not quoted: there may be a password in it.
		fault(name, "is not the URL of a collector such as %s", defaultCollector)
		return
	}
	// The endpoint of all signals is what their paths are added to.
	if name != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" {
		u.Path = strings.TrimSuffix(u.Path, "/") + tracesPath
	} else if u.Path == "" {
		u.Path = "/"
	}
	t.URL = u.String()
}

func (t *Tracing) readExporter(of func(string) (name, value string), fault func(name, format string, args ...any)) {
	name, value := of("HEADERS")
	headers, err := pairs(value)
	for h, v := range headers {
		if err == nil && !validHeader(h, v) {
			err = fmt.Errorf("one of them cannot be a header")
		}
	}
	if err != nil {
		fault(name, "are not name=value,name=value: %v", err) // and not quoted
	}
	t.Headers = headers
	t.Timeout = defaultTraceTimeout
	if name, value := of("TIMEOUT"); value != "" {
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n > int(time.Hour/time.Millisecond) {
			fault(name, "%q is not a number of milliseconds", value)
		}
		t.Timeout = time.Duration(n) * time.Millisecond
	}
	switch name, value := of("COMPRESSION"); value {
	case "gzip":
		t.Gzip = true
	case "", "none":
	default:
		fault(name, "%q is not one of gzip, none", value)
	}
	for _, f := range []struct {
		what string
		into *string
	}{{"CERTIFICATE", &t.Certificate}, {"CLIENT_CERTIFICATE", &t.ClientCertificate}, {"CLIENT_KEY", &t.ClientKey}} {
		name, value := of(f.what)
		if value == "" {
			continue
		}
		if err := readable(value); err != nil {
			fault(name, "%v", err)
		}
		*f.into = value
	}
	if (t.ClientCertificate == "") != (t.ClientKey == "") {
		fault("OTEL_EXPORTER_OTLP_CLIENT_KEY", "a client's certificate and its key are named together")
	}
}

func (t *Tracing) readSampler(get func(string) string, fault func(name, format string, args ...any)) {
	t.Sampler, t.Ratio = get("OTEL_TRACES_SAMPLER"), 1
	if t.Sampler != "" && !slices.Contains(samplers, t.Sampler) {
		fault("OTEL_TRACES_SAMPLER", "%q is not one of %s", t.Sampler, strings.Join(samplers, ", "))
	}
	if arg := get("OTEL_TRACES_SAMPLER_ARG"); arg != "" && strings.HasSuffix(t.Sampler, "traceidratio") {
		ratio, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			fault("OTEL_TRACES_SAMPLER_ARG", "%q is not a part from 0 to 1", arg)
		}
		t.Ratio = ratio
	}
}

// pairs reads name=value,name=value, with values escaped as in a URL. Its errors quote
// nothing.
func pairs(text string) (map[string]string, error) {
	found := map[string]string{}
	for i, pair := range strings.Split(text, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("number %d is not name=value", i+1)
		}
		found[name] = value
	}
	return found, nil
}

// validHeader reports whether net/http would send a header.
func validHeader(name, value string) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c) {
			return false
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return !slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding"}, http.CanonicalHeaderKey(name))
}
