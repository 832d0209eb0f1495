package server_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/config"
	"parlor/internal/parlortest"
	"parlor/internal/pgtest"
	"parlor/internal/redistest"
	"parlor/internal/server"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// ofAmazon are the metrics of Amazon IVS Chat in CloudWatch that count the same.
//
// IVS: chat-health (CloudWatch metrics: IVS Chat)
var ofAmazon = map[string]string{
	"parlor_connections":                             "ConcurrentChatConnections",
	"parlor_requests_total":                          "MessagingRequests; Requests by Action",
	"parlor_deliveries_total":                        "MessagingDeliveries; Deliveries by Action",
	"parlor_review_invocation_errors_total":          "InvocationErrors",
	"parlor_review_response_validation_errors_total": "ResponseValidationErrors",
	"parlor_log_destination_access_denied_total":     "LogDestinationAccessDeniedError; LogDestinationErrors",
	"parlor_log_destination_not_found_total":         "LogDestinationResourceNotFoundErrors; LogDestinationErrors",
	"parlor_log_destination_errors_total":            "LogDestinationErrors",
}

// sections are the parts of the page, by what the names of their metrics begin with. What is
// of none is of the first.
var sections = []struct {
	title, intro string
	prefixes     []string
}{
	{"Messaging", "What passes over the WebSockets of this node.", nil},
	{"API", "The control plane.", []string{"parlor_api_"}},
	{"Message review", "The handlers of rooms that have one ([review.md](review.md)).", []string{"parlor_review_"}},
	{"Chat logs", "What comes to destinations, and what waits for them ([logging.md](logging.md)). A configuration is here once it had something to record.", []string{"parlor_log_"}},
	{"Broker", "The link to Redis. A node without `--redis-url` has none of these.", []string{"parlor_broker_"}},
	{"Audit log and webhooks", "What others are told ([notices.md](notices.md)).", []string{"parlor_audit_", "parlor_webhook_"}},
	{"Traces and CloudWatch", "A node that is not told to send them does not have these ([observability.md](observability.md)).", []string{"parlor_trace_", "parlor_cloudwatch_"}},
	{"The node", "", []string{"parlor_build_", "parlor_clock_", "parlor_http_", "parlor_ready", "parlor_tls_"}},
}

// metric is what is known of one.
type metric struct {
	name, kind, help string
	labels           []string
}

// everything is configurations that have, between them, every metric there is.
func everything(t *testing.T) []func(*config.Config) {
	encryption, _, _, _ := newAuthority(t).files("127.0.0.1")
	database, redis := pgtest.Start(t).CreateDatabase(t), redistest.Start(t).URL()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL_CLOUDWATCH": "http://127.0.0.1:9", "AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"} {
		t.Setenv(name, value) // nothing is published to anybody
	}
	return []func(*config.Config){
		func(c *config.Config) {
			encryption(c)
			c.AuditLog = filepath.Join(t.TempDir(), "audit.log")
			c.EventWebhooks = []string{"http://127.0.0.1:9/"}
		},
		func(c *config.Config) {
			c.DatabaseURL, c.RedisURL = database, redis
			c.CloudWatchMetrics, c.Tracing.Log = "IVSChat", true
		},
	}
}

// running starts a server and returns it and where it is.
func running(t *testing.T, option func(*config.Config)) (s *server.Server, address string) {
	t.Helper()
	c := config.Default(config.Dev)
	c.Listen, c.Data = "127.0.0.1:0", t.TempDir()
	option(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, s.Addr().String()
}

var descriptor = regexp.MustCompile(`^Desc{fqName: "([^"]*)", help: ("(?:[^"\\]|\\.)*")(?:, unit: "[^"]*")?, constLabels: {(.*)}, variableLabels: {(.*)}}$`)

// registered are the metrics of a registry, also those that have no value yet.
func registered(t *testing.T, registry *prometheus.Registry, all map[string]metric) {
	t.Helper()
	descriptors := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descriptors)
		close(descriptors)
	}()
	for d := range descriptors {
		found := descriptor.FindStringSubmatch(d.String())
		if found == nil {
			t.Errorf("got a descriptor of another form: %s", d)
			continue
		}
		m := metric{name: found[1]}
		if !strings.HasPrefix(m.name, "parlor_") {
			continue
		}
		var err error
		if m.help, err = strconv.Unquote(found[2]); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for label := range strings.SplitSeq(found[3]+","+found[4], ",") {
			if name, _, _ := strings.Cut(label, "="); name != "" {
				m.labels = append(m.labels, name)
			}
		}
		slices.Sort(m.labels)
		if before, twice := all[m.name]; twice {
			m.kind = before.kind
		}
		all[m.name] = m
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if m, found := all[family.GetName()]; found {
			m.kind = strings.ToLower(family.GetType().String())
			all[m.name] = m
		}
	}
	for name, m := range all {
		if m.kind == "" && strings.HasSuffix(name, "_total") {
			m.kind = "counter"
			all[name] = m
		}
	}
}

// TestMetricsPage holds docs/metrics.md to what servers register.
func TestMetricsPage(t *testing.T) {
	all := map[string]metric{}
	for _, option := range everything(t) {
		s, address := running(t, option)
		use(t, address)
		registered(t, s.Metrics(), all)
	}
	for name, m := range all {
		switch {
		case m.kind == "":
			t.Errorf("%s: its type is not known: use it in this test", name)
		case (m.kind == "counter") != strings.HasSuffix(name, "_total"):
			t.Errorf("%s is a %s", name, m.kind)
		case !strings.HasSuffix(m.help, "."):
			t.Errorf("%s: its help is no sentence: %s", name, m.help)
		}
	}
	published, err := os.ReadFile("../cloudwatch/figures.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, amazon := range ofAmazon {
		if _, found := all[name]; !found {
			t.Errorf("no server has %s", name)
		}
		for metric := range strings.SplitSeq(strings.ReplaceAll(amazon, " by Action", ""), "; ") {
			if !strings.Contains(string(published), `"`+metric+`"`) {
				t.Errorf("%s is published to CloudWatch under another name than %s", name, metric)
			}
		}
	}
	for _, found := range regexp.MustCompile(`"(parlor_[a-z_]+)"`).FindAllStringSubmatch(string(published), -1) {
		if ofAmazon[found[1]] == "" {
			t.Errorf("%s is published to CloudWatch, and the page does not say so", found[1])
		}
	}
	for _, name := range inSource(t) {
		if _, found := all[name]; !found {
			t.Errorf("%s is in the source, and no server of this test has it: change its configurations", name)
		}
	}
	text := page(slices.SortedFunc(maps.Values(all), func(a, b metric) int { return cmp.Compare(a.name, b.name) }))
	const golden = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(strings.Split(string(written), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("docs/metrics.md is out of date; run go test ./internal/server -run TestMetricsPage -update\n%s", diff)
	}
}

// use has a server that speaks plain HTTP carry out a request of each kind.
func use(t *testing.T, address string) {
	t.Helper()
	s := &parlortest.Server{URL: "http://" + address, WebSocketURL: "ws://" + address}
	control := s.Client(t, func(o *ivschat.Options) {
		o.Credentials = awscredentials.NewStaticCredentialsProvider(parlortest.Account, "secret", "")
		o.RetryMaxAttempts = 1
	})
	configuration, err := control.CreateLoggingConfiguration(t.Context(), &ivschat.CreateLoggingConfigurationInput{
		DestinationConfiguration: &types.DestinationConfigurationMemberCloudWatchLogs{Value: types.CloudWatchLogsDestinationConfiguration{LogGroupName: aws.String("logs")}},
	})
	if err != nil {
		return // it speaks TLS
	}
	say(t, dialAs(t, s, control, createRoom(t, control, *configuration.Arn), "alice"), "hello")
}

// inSource are the names of metrics in the source that are there whole.
func inSource(t *testing.T) (names []string) {
	t.Helper()
	quoted := regexp.MustCompile(`"(parlor_[a-z_]*[a-z])"`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range quoted.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unit is what a metric's numbers are.
func unit(name string) string {
	for _, u := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(name, "_"+u) {
			return u
		}
	}
	return "–"
}

// page is docs/metrics.md.
func page(all []metric) string {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Generated: go test ./internal/server -run TestMetricsPage -update -->

` + "`GET /metrics`" + ` of each node says these, in Prometheus's text format. A node has those of what it is set to do; a metric with labels is there once there
is something to say. Where a label has a fixed set of values the text names them. A counter begins at 0 when the node starts. Nothing is labelled by room or user.
The last column is the metric of Amazon IVS Chat in CloudWatch that counts the same. Beside these there are ` + "`process_*`" + ` (processor time, memory,
descriptors) and ` + "`go_*`" + ` (the Go runtime), as every Go program with Prometheus's client has them.

What to make of them is in [operations.md](operations.md#what-to-watch). [deploy/grafana/parlor.json](../deploy/grafana/parlor.json) is a dashboard of
them, [deploy/prometheus/parlor.rules.yaml](../deploy/prometheus/parlor.rules.yaml) has alerts.
`)
	section := func(name string) int {
		for i, s := range sections {
			if slices.ContainsFunc(s.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				return i
			}
		}
		return 0
	}
	for i, s := range sections {
		of := slices.DeleteFunc(slices.Clone(all), func(m metric) bool { return section(m.name) != i })
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.intro != "" {
			fmt.Fprintf(&b, "%s\n\n", s.intro)
		}
		b.WriteString("| metric | type | unit | labels | | AWS/IVSChat |\n|---|---|---|---|---|---|\n")
		for _, m := range of {
			labels := make([]string, len(m.labels))
			for i, label := range m.labels {
				labels[i] = "`" + label + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.name, m.kind, unit(m.name), strings.Join(labels, ", "), strings.ReplaceAll(m.help, "|", `\|`), ofAmazon[m.name])
		}
	}
	return b.String()
}

// value is what a server says of a metric without labels.
func value(t *testing.T, registry *prometheus.Registry, name string) (v float64, found bool) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.Metric[0].Gauge.GetValue(), true
		}
	}
	return 0, false
}

// TestCertificateExpiry: how long the certificate in use is good for, also after another
// has taken its place, and that of hosts whose certificates come by ACME.
func TestCertificateExpiry(t *testing.T) {
	const name = "parlor_tls_certificate_expiry_seconds"
	near := func(got float64, want time.Duration) bool {
		return time.Duration(got*float64(time.Second)) > want-time.Minute && got <= want.Seconds()
	}
	t.Run("files", func(t *testing.T) {
		a := newAuthority(t)
		option, certFile, keyFile, _ := a.files("127.0.0.1")
		s, _ := running(t, option)
		if got, _ := value(t, s.Metrics(), name); !near(got, 90*24*time.Hour) {
			t.Errorf("got %v s, want 90 days", got)
		}
		a.life = -30 * time.Minute
		cert, key, _ := a.issue("127.0.0.1")
		put(t, keyFile, key)
		put(t, certFile, cert)
		eventually(t, "the new one has ended", func() bool {
			got, _ := value(t, s.Metrics(), name)
			return near(got, -30*time.Minute)
		})
	})
	t.Run("ACME", func(t *testing.T) {
		a, data := newAuthority(t), t.TempDir()
		s, _ := running(t, func(c *config.Config) {
			c.Data, c.ACMEHosts = data, []string{"Late.example.com", "soon.example.com", "never.example.com"}
		})
		if got, found := value(t, s.Metrics(), name); found {
			t.Errorf("got %v s of a certificate that is not there", got)
		}
		if err := os.MkdirAll(filepath.Join(data, "acme"), 0o700); err != nil {
			t.Fatal(err)
		}
		for host, life := range map[string]time.Duration{"late.example.com": 60 * 24 * time.Hour, "soon.example.com": 20 * 24 * time.Hour, "other.example.com": time.Hour} {
			a.life = life
			cert, key, _ := a.issue(host)
			put(t, filepath.Join(data, "acme", host), key+cert)
		}
		if got, _ := value(t, s.Metrics(), name); !near(got, 20*24*time.Hour) {
			t.Errorf("got %v s, want 20 days, of the one that ends first", got)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		s, _ := running(t, func(*config.Config) {})
		if got, found := value(t, s.Metrics(), name); found {
			t.Errorf("got %v s without a certificate", got)
		}
		if got, found := value(t, s.Metrics(), "parlor_clock_offset_seconds"); found {
			t.Errorf("got a clock offset of %v s without a shared database", got)
		}
	})
}

// TestClockOffset: a node that shares its database says how far its clock is from there, and
// that it is not ready while the database does not answer.
func TestClockOffset(t *testing.T) {
	postgres := pgtest.Start(t)
	database := postgres.CreateDatabase(t)
	s, _ := running(t, func(c *config.Config) { c.DatabaseURL = database })
	eventually(t, "it is ready", func() bool {
		got, _ := value(t, s.Metrics(), "parlor_ready")
		return got == 1
	})
	eventually(t, "the offset is known, and small", func() bool {
		got, found := value(t, s.Metrics(), "parlor_clock_offset_seconds")
		return found && got > -0.2 && got < 0.2
	})
	postgres.Freeze()
	defer postgres.Thaw() // before the server stops
	eventually(t, "it is not ready without its database", func() bool {
		got, found := value(t, s.Metrics(), "parlor_ready")
		return found && got == 0
	})
	eventually(t, "nor is the offset known", func() bool {
		_, found := value(t, s.Metrics(), "parlor_clock_offset_seconds")
		return !found
	})
}
