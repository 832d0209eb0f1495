package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func readTracing(variables map[string]string) (Tracing, error) {
	return ReadTracing(func(name string) string { return variables[name] })
}

func TestReadTracing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := func(url string) Tracing {
		return Tracing{URL: url, Headers: map[string]string{}, Timeout: 10 * time.Second, Service: "parlor", Resource: map[string]string{}, Ratio: 1}
	}
	type variables = map[string]string
	for name, test := range map[string]struct {
		variables variables
		want      func() Tracing
	}{
		"nothing said":          {variables{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, func() Tracing { return Tracing{} }},
		"an endpoint":           {variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, func() Tracing { return to("http://collector:4318/v1/traces") }},
		"an endpoint with path": {variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp/"}, func() Tracing { return to("https://collector/otlp/v1/traces") }},
		"that of traces": {variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/mine"},
			func() Tracing { return to("http://collector:4318/mine") }},
		"that of traces, bare":      {variables{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, func() Tracing { return to("http://collector:4318/") }},
		"an exporter":               {variables{"OTEL_TRACES_EXPORTER": "otlp"}, func() Tracing { return to("http://localhost:4318/v1/traces") }},
		"no exporter":               {variables{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, func() Tracing { return Tracing{} }},
		"disabled":                  {variables{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"}, func() Tracing { return Tracing{} }},
		"an empty variable is none": {variables{"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_EXPORTER": ""}, func() Tracing { return Tracing{} }},
		"the log": {variables{"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			func() Tracing { return Tracing{Log: true, Service: "parlor", Resource: map[string]string{}, Ratio: 1} }},
		"everything": {variables{
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
			"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20abc=, x-team = chat", "OTEL_EXPORTER_OTLP_TIMEOUT": "1500", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
			"OTEL_EXPORTER_OTLP_CERTIFICATE": file, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": file, "OTEL_EXPORTER_OTLP_CLIENT_KEY": file,
			"OTEL_SERVICE_NAME": "chat", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=prod,service.name=other",
			"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1",
		}, func() Tracing {
			return Tracing{URL: "https://collector/x", Headers: map[string]string{"Authorization": "Basic abc=", "x-team": "chat"}, Timeout: 1500 * time.Millisecond, Gzip: true,
				Certificate: file, ClientCertificate: file, ClientKey: file, Service: "chat", Resource: map[string]string{"deployment.environment": "prod"},
				Sampler: "parentbased_traceidratio", Ratio: 0.1}
		}},
		"the service among the attributes": {variables{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_RESOURCE_ATTRIBUTES": "service.name=chat%2Ceu"}, func() Tracing {
			want := to("http://localhost:4318/v1/traces")
			want.Service = "chat,eu"
			return want
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readTracing(test.variables)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, test.want()); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			if got.On() != (got.URL != "" || got.Log) {
				t.Error("it does not know whether it is on")
			}
		})
	}
}

func TestReadTracingFaults(t *testing.T) {
	const on = "http://collector:4318"
	for name, test := range map[string]struct {
		variable, value, says string
	}{
		"grpc":                     {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"},
		"json":                     {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "not spoken here"},
		"an exporter of others":    {"OTEL_TRACES_EXPORTER", "zipkin", "not one of otlp, console, none"},
		"no URL":                   {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "not the URL of a collector"},
		"another scheme":           {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://user:hunter2@collector", "not the URL of a collector"},
		"headers without a value":  {"OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "number 1 is not name=value"},
		"headers that are not":     {"OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2", "cannot be a header"},
		"headers over two lines":   {"OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0d%0ab: c", "cannot be a header"},
		"another compression":      {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "not one of gzip, none"},
		"no time":                  {"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "not a number of milliseconds"},
		"a file that is not there": {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem", "no such file"},
		"half a certificate":       {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "tracing_test.go", "named together"},
		"attributes that are not":  {"OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "number 2 is not name=value"},
		"another sampler":          {"OTEL_TRACES_SAMPLER", "jaeger_remote", "not one of always_on"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readTracing(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": on, test.variable: test.value})
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %+v and %v, want faults", got, err)
			}
			if text := err.Error(); !strings.Contains(text, test.says) || !strings.Contains(text, "OTEL_") || strings.Contains(text, "hunter2") {
				t.Errorf("got %q, want it to say %q and no secret", text, test.says)
			}
			if got.On() {
				t.Error("it is on")
			}
		})
	}
	if _, err := readTracing(map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}); err == nil {
		t.Error("NaN is a part of all")
	}
}
