package cloudwatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parlor/internal/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	patience   = 30 * time.Second
)

// datum is a point as CloudWatch has it.
type datum struct {
	Name, Dimension, Unit string
	Value                 float64 // of a gauge, the sum
	Samples, Min, Max     float64
}

// put is a request that CloudWatch took.
type put struct {
	Namespace, Region string
	At                time.Time
	Data              []datum
}

// fake is an HTTP server that stands for CloudWatch. It verifies signatures, and holds
// requests to what the API says of PutMetricData.
type fake struct {
	*httptest.Server
	answer func(w http.ResponseWriter, n int) bool // instead of taking the nth; nil takes all

	mu      sync.Mutex
	asked   int
	taken   []put
	refused []error
}

// startFake starts one, and lets AWS's SDKs find it by their variables alone.
func startFake(t *testing.T, answer func(w http.ResponseWriter, n int) bool) *fake {
	t.Helper()
	f := &fake{answer: answer}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_CLOUDWATCH": f.URL, "AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret,
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.answer != nil && f.answer(w, f.asked) {
		return
	}
	p, err := read(r, body)
	if err != nil {
		f.refused = append(f.refused, err)
		refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", err.Error())
		return
	}
	f.taken = append(f.taken, p)
	io.WriteString(w, `<PutMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></PutMetricDataResponse>`)
}

// refuse answers as CloudWatch does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, message)
}

func read(r *http.Request, body []byte) (put, error) {
	s, err := sigv4.Parse(r)
	if err != nil {
		return put{}, err
	}
	if err := s.Check("monitoring", func(string) bool { return true }, time.Now()); err != nil {
		return put{}, err
	}
	if s.AccessKey != testKey || r.Method != http.MethodPost || r.URL.Path != "/" {
		return put{}, errors.New("not a request of ours")
	}
	if err := new(sigv4.Verifier).Verify(s, testSecret, body); err != nil {
		return put{}, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return put{}, err
	}
	if form.Get("Action") != "PutMetricData" || form.Get("Version") != "2010-08-01" {
		return put{}, fmt.Errorf("another action: %s", body)
	}
	p := put{Namespace: form.Get("Namespace"), Region: s.Region}
	read := map[string]bool{"Action": true, "Version": true, "Namespace": true}
	for i := 1; form.Has(fmt.Sprintf("MetricData.member.%d.MetricName", i)); i++ {
		get := func(name string) string {
			name = fmt.Sprintf("MetricData.member.%d.%s", i, name)
			read[name] = true
			return form.Get(name)
		}
		number := func(name string) float64 {
			text := get(name)
			if text == "" {
				return 0
			}
			n, failed := strconv.ParseFloat(text, 64)
			err = errors.Join(err, failed)
			return n
		}
		d := datum{Name: get("MetricName"), Unit: get("Unit"), Value: number("Value") + number("StatisticValues.Sum"),
			Samples: number("StatisticValues.SampleCount"), Min: number("StatisticValues.Minimum"), Max: number("StatisticValues.Maximum")}
		if name := get("Dimensions.member.1.Name"); name != "" {
			d.Dimension = name + "=" + get("Dimensions.member.1.Value")
		}
		at, failed := time.Parse(time.RFC3339, get("Timestamp"))
		err = errors.Join(err, failed)
		p.At = at
		p.Data = append(p.Data, d)
	}
	for name := range form {
		if !read[name] {
			err = errors.Join(err, fmt.Errorf("unknown parameter %s", name))
		}
	}
	if len(p.Data) == 0 || len(p.Data) > 1000 {
		err = errors.Join(err, fmt.Errorf("%d points", len(p.Data)))
	}
	return p, err
}

// all are the requests that were taken; none may have been refused.
func (f *fake) all(t *testing.T) []put {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, err := range f.refused {
		t.Errorf("refused: %v", err)
	}
	return slices.Clone(f.taken)
}

func (f *fake) tries() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// process is something that counts as the other packages do.
type process struct {
	registry    *prometheus.Registry
	connections prometheus.Gauge
	counters    map[string]*prometheus.CounterVec
}

func newProcess() *process {
	p := &process{registry: prometheus.NewRegistry(), counters: map[string]*prometheus.CounterVec{}}
	p.connections = prometheus.NewGauge(prometheus.GaugeOpts{Name: connectionsName})
	p.registry.MustRegister(p.connections)
	for name, from := range sources {
		labels := []string{from.label}
		if name == "parlor_review_invocation_errors_total" {
			labels = append(labels, "reason")
		}
		p.counters[name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: name}, labels)
		p.registry.MustRegister(p.counters[name])
	}
	return p
}

func (p *process) add(name string, n float64, labels ...string) {
	p.counters[name].WithLabelValues(labels...).Add(n)
}

// publisher is one of what a process counts, over a log.
func (p *process) publisher(log io.Writer, period time.Duration) *Publisher {
	return New(Config{Namespace: "AWS/IVSChat", Figures: p.registry, Metrics: p.registry, Logger: slog.New(slog.NewTextHandler(log, nil)), Period: period})
}

const (
	handler       = "arn:aws:lambda:us-west-2:123456789012:function:calm"
	configuration = "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/abc"
)

// TestPublish has what a process counts in a minute be what CloudWatch gets, and the next
// minute's be what was added since.
func TestPublish(t *testing.T) {
	cloud := startFake(t, nil)
	process := newProcess()
	var log bytes.Buffer
	p := process.publisher(&log, 0)
	defer p.aws.close()

	process.connections.Set(3)
	p.look()
	process.connections.Set(10)
	p.look()
	process.connections.Set(5)
	process.add("parlor_requests_total", 7, "SEND_MESSAGE")
	process.add("parlor_requests_total", 2, "DELETE_MESSAGE")
	process.add("parlor_requests_total", 1, "UNKNOWN")
	process.add("parlor_deliveries_total", 1e7, "SEND_MESSAGE")
	process.add("parlor_deliveries_total", 0, "SEND_EVENT")
	process.add("parlor_review_invocation_errors_total", 2, handler, "timeout")
	process.add("parlor_review_invocation_errors_total", 3, handler, "refused")
	process.add("parlor_review_invocation_errors_total", 9, "other", "refused")
	process.add("parlor_review_response_validation_errors_total", 4, handler)
	process.add("parlor_log_destination_access_denied_total", 1, configuration)
	process.add("parlor_log_destination_not_found_total", 2, configuration)
	process.add("parlor_log_destination_errors_total", 4, configuration)
	at := time.Date(2026, 1, 5, 14, 33, 0, 0, time.UTC)
	p.publish(t.Context(), at, patience, 1)

	process.add("parlor_requests_total", 1, "DELETE_MESSAGE")
	process.connections.Set(0)
	p.publish(t.Context(), at.Add(time.Minute), patience, 1)

	count := func(name, dimension string, n float64) datum {
		return datum{Name: name, Dimension: dimension, Unit: "Count", Value: n}
	}
	want := []put{
		{Namespace: "AWS/IVSChat", Region: "eu-west-1", At: at, Data: []datum{
			{Name: "ConcurrentChatConnections", Unit: "Count", Samples: 3, Value: 18, Min: 3, Max: 10},
			count("Deliveries", "Action=SEND_MESSAGE", 1e7),
			count("InvocationErrors", "Uri="+handler, 5),
			count("LogDestinationAccessDeniedError", "LoggingConfiguration="+configuration, 1),
			count("LogDestinationErrors", "LoggingConfiguration="+configuration, 7),
			count("LogDestinationResourceNotFoundErrors", "LoggingConfiguration="+configuration, 2),
			count("MessagingDeliveries", "", 1e7),
			count("MessagingRequests", "", 10),
			count("Requests", "Action=DELETE_MESSAGE", 2),
			count("Requests", "Action=SEND_MESSAGE", 7),
			count("ResponseValidationErrors", "Uri="+handler, 4),
		}},
		{Namespace: "AWS/IVSChat", Region: "eu-west-1", At: at.Add(time.Minute), Data: []datum{
			{Name: "ConcurrentChatConnections", Unit: "Count", Samples: 1},
			count("MessagingDeliveries", "", 0),
			count("MessagingRequests", "", 1),
			count("Requests", "Action=DELETE_MESSAGE", 1),
		}},
	}
	if diff := cmp.Diff(cloud.all(t), want); diff != "" {
		t.Errorf("got - want +:\n%s", diff)
	}
	if got := testutil.ToFloat64(p.points.WithLabelValues("put")); got != 15 {
		t.Errorf("got %v points counted, want 15", got)
	}
	if log.Len() > 0 {
		t.Errorf("the log says: %s", &log)
	}
}

// TestManyPoints has more than a request takes be in several.
func TestManyPoints(t *testing.T) {
	cloud := startFake(t, nil)
	process := newProcess()
	p := process.publisher(io.Discard, 0)
	defer p.aws.close()
	for i := range 2*maxPoints + 10 {
		process.add("parlor_review_response_validation_errors_total", 1, fmt.Sprint(handler, i))
	}
	p.publish(t.Context(), time.Now(), patience, 1)
	names := map[string]bool{}
	puts := cloud.all(t)
	for _, put := range puts {
		for _, d := range put.Data {
			names[d.Name+d.Dimension] = true
		}
	}
	if len(puts) != 3 || len(names) != 2*maxPoints+13 {
		t.Errorf("got %d points in %d requests, want %d in 3", len(names), len(puts), 2*maxPoints+13)
	}
}

// TestTries has what may do better be tried again, a few times, and what cannot not.
func TestTries(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter, n int) bool
		tries  int
		says   string // "" is success
	}{
		"an error, once": {func(w http.ResponseWriter, n int) bool {
			if n == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return n == 1
		}, 2, ""},
		"throttled, once": {func(w http.ResponseWriter, n int) bool {
			if n == 1 {
				refuse(w, http.StatusBadRequest, "Throttling", "Rate exceeded")
			}
			return n == 1
		}, 2, ""},
		"errors": {func(w http.ResponseWriter, n int) bool { w.WriteHeader(http.StatusBadGateway); return true }, maxTries, "status 502"},
		"the namespace of AWS": {func(w http.ResponseWriter, n int) bool {
			refuse(w, http.StatusBadRequest, "InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
			return true
		}, 1, "InvalidParameterValue"},
		"sent elsewhere": {func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, 1, "status 307"},
		"hangs up": {func(w http.ResponseWriter, n int) bool { panic(http.ErrAbortHandler) }, maxTries, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := startFake(t, test.answer)
			process := newProcess()
			var log bytes.Buffer
			p := process.publisher(&log, 0)
			defer p.aws.close()
			p.publish(t.Context(), time.Now(), patience, maxTries)
			if got := cloud.tries(); got != test.tries {
				t.Errorf("got %d tries, want %d", got, test.tries)
			}
			lost := testutil.ToFloat64(p.points.WithLabelValues("failed"))
			if failed := test.says != ""; failed != (lost == 3) || failed != (log.Len() > 0) || !strings.Contains(log.String(), test.says) ||
				strings.Count(log.String(), "\n") > 1 || strings.Contains(log.String(), testSecret) {
				t.Errorf("got %v points lost, and the log %q", lost, &log)
			}
		})
	}
}

// TestSilence has CloudWatch not answer: a minute is given up in time.
func TestSilence(t *testing.T) {
	over := make(chan struct{})
	startFake(t, func(http.ResponseWriter, int) bool { <-over; return true })
	defer close(over)
	process := newProcess()
	var log bytes.Buffer
	p := process.publisher(&log, 0)
	defer p.aws.close()
	begun := time.Now()
	p.publish(t.Context(), begun, 300*time.Millisecond, maxTries)
	if took := time.Since(begun); took > 5*time.Second || !strings.Contains(log.String(), "deadline exceeded") {
		t.Errorf("it took %v: %s", took, &log)
	}
}

// TestRun has each period be published when it is over, the last when it is stopped.
func TestRun(t *testing.T) {
	cloud := startFake(t, nil)
	process := newProcess()
	p := process.publisher(io.Discard, time.Second)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	process.connections.Set(2)
	go func() { done <- p.Run(ctx) }()
	for deadline := time.Now().Add(patience); len(cloud.all(t)) < 3 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	process.add("parlor_requests_total", 5, "SEND_MESSAGE")
	before := len(cloud.all(t))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	puts := cloud.all(t)
	if len(puts) <= before {
		t.Errorf("got %d periods before the stop and %d after it", before, len(puts))
	}
	at, sent := map[time.Time]bool{}, 0.0
	for _, put := range puts {
		at[put.At] = true
		for _, d := range put.Data {
			if d.Name == "ConcurrentChatConnections" && (d.Max != 2 || d.Min != 2 || d.Samples < 1) {
				t.Errorf("connections: got %+v", d)
			}
			if d.Name == "MessagingRequests" {
				sent += d.Value
			}
		}
	}
	if len(at) != len(puts) || sent != 5 {
		t.Errorf("got %d periods for %d requests, and %v messages, want 5", len(at), len(puts), sent)
	}
}

// TestEndpoint finds CloudWatch as the clients of AWS's SDKs do.
func TestEndpoint(t *testing.T) {
	for name, test := range map[string]struct {
		variables map[string]string
		want      string // "" is an error
	}{
		"nothing said":         {map[string]string{"AWS_REGION": ""}, "https://monitoring.us-east-1.amazonaws.com/"},
		"a region":             {map[string]string{"AWS_REGION": "eu-central-1"}, "https://monitoring.eu-central-1.amazonaws.com/"},
		"China":                {map[string]string{"AWS_REGION": "cn-north-1"}, "https://monitoring.cn-north-1.amazonaws.com.cn/"},
		"for all services":     {map[string]string{"AWS_ENDPOINT_URL": "http://localhost:4566"}, "http://localhost:4566/"},
		"for CloudWatch alone": {map[string]string{"AWS_ENDPOINT_URL": "http://localhost:4566", "AWS_ENDPOINT_URL_CLOUDWATCH": "http://localhost:1234"}, "http://localhost:1234/"},
		"ignored": {map[string]string{"AWS_ENDPOINT_URL_CLOUDWATCH": "http://localhost:1234", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
			"https://monitoring.eu-west-1.amazonaws.com/"},
		"no URL": {map[string]string{"AWS_ENDPOINT_URL_CLOUDWATCH": "localhost"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			startFake(t, nil)
			t.Setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "")
			for name, value := range test.variables {
				t.Setenv(name, value)
			}
			var e endpoint
			err := e.find(t.Context())
			if e.url != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v, want %q", e.url, err, test.want)
			}
		})
	}
}

// TestNamesAreThoseOfIVS holds the metrics to the list of Amazon IVS Chat.
//
// https://docs.aws.amazon.com/ivs/latest/ChatUserGuide/chat-health.html
func TestNamesAreThoseOfIVS(t *testing.T) {
	got := map[string]string{connectionsMetric: ""}
	for _, from := range sources {
		got[from.metric] = from.dimension
		if from.total != "" {
			got[from.total] = ""
		}
	}
	want := map[string]string{
		"ConcurrentChatConnections": "", "MessagingDeliveries": "", "MessagingRequests": "", "Deliveries": "Action", "Requests": "Action",
		"InvocationErrors": "Uri", "ResponseValidationErrors": "Uri",
		"LogDestinationAccessDeniedError": "LoggingConfiguration", "LogDestinationErrors": "LoggingConfiguration", "LogDestinationResourceNotFoundErrors": "LoggingConfiguration",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got - want +:\n%s", cmp.Diff(got, want))
	}
}
