package cloudwatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

const (
	// maxPoints is how many points one request has; CloudWatch takes more, what stands
	// for it perhaps not.
	maxPoints  = 150
	maxTries   = 3
	tryTime    = 10 * time.Second
	firstPause = 500 * time.Millisecond // which doubles with each try
	maxAnswer  = 64 << 10
	// connectTimeout bounds what a connection takes, with its TLS.
	connectTimeout = 5 * time.Second
)

// endpoint is CloudWatch, where the variables and files of AWS's SDKs say that it is.
// One goroutine uses it.
type endpoint struct {
	url    string // "" before they were read
	config aws.Config
	http   *http.Client
	signer *v4.Signer
}

// find reads where CloudWatch is, once.
func (e *endpoint) find(ctx context.Context) error {
	if e.url != "" {
		return nil
	}
	client := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = connectTimeout
	}).WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout = connectTimeout })
	c, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithDefaultRegion("us-east-1"), config.WithLogger(logging.Nop{}))
	if err != nil {
		return fmt.Errorf("read the AWS configuration: %w", err)
	}
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok {
		client = b // it has the certificates of AWS_CA_BUNDLE by now
	}
	at, err := baseEndpoint(ctx, c)
	if err != nil {
		return err
	}
	e.config, e.signer, e.url = c, v4.NewSigner(), at
	e.http = &http.Client{Transport: client.GetTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return nil
}

// baseEndpoint is CloudWatch's URL as the clients of the SDK find it: for the service
// alone, for all services, or by the region.
func baseEndpoint(ctx context.Context, c aws.Config) (string, error) {
	at := "https://monitoring." + c.Region + ".amazonaws.com"
	if strings.HasPrefix(c.Region, "cn-") {
		at += ".cn"
	}
	if c.BaseEndpoint != nil {
		at = *c.BaseEndpoint
	}
	if own := ownEndpoint(ctx, c); own != "" {
		at = own
	}
	u, err := url.Parse(at)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("find the endpoint of CloudWatch: %q is not the URL of one", at)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// ownEndpoint is the endpoint that is named for CloudWatch alone, or "".
func ownEndpoint(ctx context.Context, c aws.Config) string {
	for _, from := range c.ConfigSources {
		if s, ok := from.(interface {
			GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error)
		}); ok {
			if ignored, found, err := s.GetIgnoreConfiguredEndpoints(ctx); err == nil && found && ignored {
				return ""
			}
		}
	}
	for _, from := range c.ConfigSources {
		if s, ok := from.(interface {
			GetServiceBaseEndpoint(context.Context, string) (string, bool, error)
		}); ok {
			if at, found, err := s.GetServiceBaseEndpoint(ctx, "CloudWatch"); err == nil && found {
				return at
			}
		}
	}
	return ""
}

func (e *endpoint) close() {
	if e.http != nil {
		e.http.CloseIdleConnections()
	}
}

// put publishes points of the period that began at a moment.
func (e *endpoint) put(ctx context.Context, namespace string, begun time.Time, points []point, tries int) error {
	if err := e.find(ctx); err != nil {
		return err
	}
	body := encode(namespace, begun, points)
	for try := 1; ; try++ {
		again, err := e.try(ctx, body)
		if err == nil || !again || try == tries || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(firstPause<<(try-1)/2 + rand.N(firstPause<<(try-1)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// encode writes a PutMetricData request in the AWS query protocol.
func encode(namespace string, begun time.Time, points []point) string {
	form := url.Values{"Action": {"PutMetricData"}, "Version": {"2010-08-01"}, "Namespace": {namespace}}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	for i, p := range points {
		set := func(name, value string) { form.Set("MetricData.member."+strconv.Itoa(i+1)+"."+name, value) }
		set("MetricName", p.metric)
		set("Timestamp", begun.UTC().Format(time.RFC3339))
		set("Unit", "Count")
		if p.dimension != "" {
			set("Dimensions.member.1.Name", p.dimension)
			set("Dimensions.member.1.Value", p.value)
		}
		if p.samples == 0 {
			set("Value", number(p.sum))
			continue
		}
		set("StatisticValues.SampleCount", strconv.Itoa(p.samples))
		set("StatisticValues.Sum", number(p.sum))
		set("StatisticValues.Minimum", number(p.min))
		set("StatisticValues.Maximum", number(p.max))
	}
	return form.Encode()
}

// try makes one try. With an error it reports whether another may do better.
func (e *endpoint) try(ctx context.Context, body string) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, strings.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	keys, err := e.config.Credentials.Retrieve(ctx)
	if err != nil {
		return true, fmt.Errorf("get credentials: %w", err)
	}
	hash := sha256.Sum256([]byte(body))
	if err := e.signer.SignHTTP(ctx, keys, r, hex.EncodeToString(hash[:]), "monitoring", e.config.Region, time.Now()); err != nil {
		return false, err
	}
	answer, err := e.http.Do(r)
	if of, ok := errors.AsType[*url.Error](err); ok {
		return true, of.Err // the URL may have a secret in it
	}
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode == http.StatusOK {
		return false, err
	}
	failed := failureOf(text)
	again = answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || strings.HasPrefix(failed.Code, "Throttling")
	return again, fmt.Errorf("CloudWatch answered with status %d: %.100s: %.200q", answer.StatusCode, failed.Code, failed.Message)
}

// failure is what CloudWatch says went wrong.
type failure struct{ Code, Message string }

func failureOf(text []byte) failure {
	var answer struct {
		Error failure
	}
	if err := xml.Unmarshal(text, &answer); err != nil || answer.Error.Code == "" {
		return failure{Code: "no reason that can be read"}
	}
	return answer.Error
}
