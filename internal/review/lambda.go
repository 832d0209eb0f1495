package review

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// lambdas invokes AWS Lambda functions, in any region. Endpoint and credentials are
// what the variables and files of AWS's SDKs say.
type lambdas struct {
	load func(context.Context) (aws.Config, error)

	mu      sync.Mutex
	loaded  bool
	config  aws.Config
	err     error
	clients map[string]*lambda.Client // by region
}

// client returns the client of a region.
func (l *lambdas) client(region string) (*lambda.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded {
		// Not the caller's context: its end must not be everybody's.
		l.config, l.err = l.load(context.Background())
		l.loaded, l.clients = true, map[string]*lambda.Client{}
		// As many connections are kept as may be in use at one handler.
		l.config.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost, t.MaxIdleConns = maxUnderWay, 0
		})
	}
	if l.err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", l.err)
	}
	c := l.clients[region]
	if c == nil {
		c = lambda.NewFromConfig(l.config, func(o *lambda.Options) {
			if region != "" {
				o.Region = region
			}
		})
		l.clients[region] = c
	}
	return c, nil
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
	case len(out.Payload) > maxAnswer:
		return nil, errTooLong
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
