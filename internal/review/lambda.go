package review

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go/logging"
)

// lambdas invokes AWS Lambda functions, in any region. Endpoint and credentials are
// what the variables and files of AWS's SDKs say.
type lambdas struct {
	mu      sync.Mutex
	config  aws.Config
	clients map[string]*lambda.Client // by region; nil before the configuration was read
}

// maxRegions is more than AWS has: whoever names rooms' handlers can make some up.
const maxRegions = 100

// client returns the client of a region.
func (l *lambdas) client(region string) (*lambda.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients == nil {
		// Not the caller's context: its end must not be everybody's.
		c, err := loadAWS(context.Background())
		if err != nil {
			return nil, fmt.Errorf("read the AWS configuration: %w", err)
		}
		l.config, l.clients = c, map[string]*lambda.Client{}
	}
	c := l.clients[region]
	if c == nil {
		if len(l.clients) >= maxRegions {
			clear(l.clients)
		}
		c = lambda.NewFromConfig(l.config, func(o *lambda.Options) {
			if region != "" {
				o.Region = region
			}
		})
		l.clients[region] = c
	}
	return c, nil
}

// loadAWS reads the configuration of AWS's SDKs. One attempt is all there is time for.
func loadAWS(ctx context.Context) (aws.Config, error) {
	// As many connections are kept as may be in use at one handler.
	client := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = connectTimeout
	}).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns, t.TLSHandshakeTimeout = maxUnderWay, 0, connectTimeout
	})
	c, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithDefaultRegion("us-east-1"),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), config.WithLogger(logging.Nop{}))
	if err != nil {
		return c, err
	}
	// It has the certificates of AWS_CA_BUNDLE by now. One for all regions.
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok {
		c.HTTPClient = bounded{&http.Client{Transport: b.GetTransport(), CheckRedirect: stay}}
	}
	return c, nil
}

// bounded is a client of answers that are no longer than maxAnswer.
type bounded struct{ *http.Client }

func (b bounded) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		// The SDK's body cannot be read again. Nor can it be written any more once it is
		// closed, as the SDK does as soon as there is an answer: net/http, which looks
		// whether there is more of it, then closes the connection with the answer in it.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	again(r)
	response, err := b.Client.Do(r)
	if err == nil {
		body := &boundedBody{ReadCloser: response.Body, over: errTooLong}
		if response.StatusCode != http.StatusOK || response.Header.Get("X-Amz-Function-Error") != "" {
			body.over = io.EOF // that it failed is what counts
		}
		response.Body = body
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	n    int   // was read
	over error // what is read instead of more
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.n > maxAnswer {
		return 0, b.over
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), maxAnswer+1-b.n)])
	if b.n += n; b.n > maxAnswer {
		err = b.over
	}
	return n, err
}

// invoke asks a function and returns its answer.
func (l *lambdas) invoke(ctx context.Context, uri string, payload []byte) ([]byte, error) {
	c, err := l.client(region(uri))
	if err != nil {
		return nil, err
	}
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &uri, Payload: payload, InvocationType: types.InvocationTypeRequestResponse})
	switch {
	case err != nil:
		return nil, err
	case out.FunctionError != nil:
		return nil, fmt.Errorf("the function failed: %s", *out.FunctionError)
	}
	return out.Payload, nil
}

// verify asks whether a function may be invoked, without invoking it.
func (l *lambdas) verify(ctx context.Context, uri string) error {
	c, err := l.client(region(uri))
	if err != nil {
		return err
	}
	_, err = c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &uri, InvocationType: types.InvocationTypeDryRun})
	return err
}
