package review

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go/logging"
)

// lambdas invokes AWS Lambda functions, in any region. Endpoint and credentials are
// what the variables and files of AWS's SDKs say. The request is written here: the
// client of the SDK takes as long over it as the rest of a review.
type lambdas struct {
	mu        sync.Mutex
	config    aws.Config
	http      *http.Client
	signer    *v4.Signer
	endpoints map[string]*place // by region; nil before the configuration was read
}

// place is where the functions of a region are.
type place struct {
	url    string // ends in a slash
	region string
}

// maxRegions is more than AWS has: whoever names rooms' handlers can make some up.
const maxRegions = 100

// endpoint returns that of a region; without one, of the region that is configured.
func (l *lambdas) endpoint(region string) (*place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.endpoints == nil {
		// Not the caller's context: its end must not be everybody's.
		if err := l.load(context.Background()); err != nil {
			return nil, fmt.Errorf("read the AWS configuration: %w", err)
		}
	}
	e := l.endpoints[region]
	if e == nil {
		var err error
		if e, err = l.resolve(region); err != nil {
			return nil, fmt.Errorf("find the endpoint of AWS Lambda in %q: %w", region, err)
		}
		if len(l.endpoints) >= maxRegions {
			clear(l.endpoints)
		}
		l.endpoints[region] = e
	}
	return e, nil
}

// load reads the configuration of AWS's SDKs. mu is held.
func (l *lambdas) load(ctx context.Context) error {
	// As many connections are kept as may be in use at one handler.
	client := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = connectTimeout
	}).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns, t.TLSHandshakeTimeout = maxUnderWay, 0, connectTimeout
	})
	c, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithDefaultRegion("us-east-1"), config.WithLogger(logging.Nop{}))
	if err != nil {
		return err
	}
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok {
		client = b // it has the certificates of AWS_CA_BUNDLE by now
	}
	l.config, l.signer = c, v4.NewSigner()
	l.http = &http.Client{Transport: client.GetTransport(), CheckRedirect: stay}
	l.endpoints = map[string]*place{}
	return nil
}

// resolve finds a region's endpoint as the client of the SDK does. mu is held.
func (l *lambdas) resolve(region string) (*place, error) {
	o := lambda.NewFromConfig(l.config).Options() // with what the variables say of Lambda's endpoint
	if region == "" {
		region = o.Region
	}
	found, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), lambda.EndpointParameters{
		Region: &region, Endpoint: o.BaseEndpoint,
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
	})
	if err != nil {
		return nil, err
	}
	return &place{url: strings.TrimSuffix(found.URI.String(), "/") + "/", region: region}, nil
}

// post sends an Invoke of a kind and returns its answer.
func (l *lambdas) post(ctx context.Context, uri, kind string, payload []byte) (*http.Response, error) {
	e, err := l.endpoint(region(uri))
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"2015-03-31/functions/"+escape(uri)+"/invocations", bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	r.Header["Content-Type"] = octetStream
	r.Header["X-Amz-Invocation-Type"] = []string{kind}
	keys, err := l.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("get credentials: %w", err)
	}
	hash := sha256.Sum256(payload)
	if err := l.signer.SignHTTP(ctx, keys, r, hex.EncodeToString(hash[:]), "lambda", e.region, time.Now()); err != nil {
		return nil, err
	}
	return send(l.http, r)
}

var octetStream = []string{"application/octet-stream"}

// escape writes a function's ARN as one segment of a path.
func escape(uri string) string { return strings.ReplaceAll(url.PathEscape(uri), ":", "%3A") }

// invoke asks a function and returns its answer.
func (l *lambdas) invoke(ctx context.Context, uri string, payload []byte) ([]byte, error) {
	response, err := l.post(ctx, uri, "RequestResponse", payload)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := readAll(response.Body) // all, for the sake of the connection
	if failed := failureOf(response); failed != nil {
		return nil, failed
	}
	return answer, err
}

// verify asks whether a function may be invoked, without invoking it.
func (l *lambdas) verify(ctx context.Context, uri string) error {
	response, err := l.post(ctx, uri, "DryRun", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	readAll(response.Body)
	return failureOf(response)
}

// failureOf says what AWS Lambda, or the function, failed with.
func failureOf(r *http.Response) error {
	name := r.Header.Get("X-Amzn-Errortype")
	if name == "" {
		name = "no name"
	}
	switch failed := r.Header.Get("X-Amz-Function-Error"); {
	case r.StatusCode/100 != 2:
		return fmt.Errorf("AWS Lambda answered with status %d: %.100q", r.StatusCode, name)
	case failed != "":
		return fmt.Errorf("the function failed: %.100q", failed)
	}
	return nil
}
