package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/smithy-go/logging"
)

// endpointFlag says which server a verb talks to. As whom, and in which region, is what
// AWS's own variables and files say.
type endpointFlag struct {
	Endpoint string `name:"endpoint" env:"AWS_ENDPOINT_URL_IVSCHAT" default:"http://127.0.0.1:4870" placeholder:"URL" help:"Where the API is; aws is Amazon IVS Chat itself."`
}

// check is for the Validate of a verb.
func (e *endpointFlag) check() error {
	if e.Endpoint == amazon {
		return nil
	}
	_, err := parseURL("--endpoint", e.Endpoint, "http")
	return err
}

// apiFlags are for a verb that also opens connections.
type apiFlags struct {
	endpointFlag

	Messaging string `name:"messaging" placeholder:"URL" help:"Where the messaging API is. Default: where the API is."`
}

// requestPatience is how long a request of the API may take, each time it is tried.
const requestPatience = 10 * time.Second

// amazon is the endpoint that stands for Amazon's own.
const amazon = "aws"

// client returns a client of the control plane.
func (e *endpointFlag) client(ctx context.Context) (*ivschat.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultRegion("us-east-1"), config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(requestPatience)))
	if err != nil {
		return nil, &hintedError{fmt.Errorf("read the AWS configuration: %w", err), "It is what the variables AWS_… and the files ~/.aws/config and ~/.aws/credentials say; AWS_PROFILE names a section of these."}
	}
	var base *string // nil is Amazon's
	if e.Endpoint != amazon {
		base = &e.Endpoint
	}
	if u, err := url.Parse(e.Endpoint); err == nil && isLoopback(u.Hostname()) {
		// A server for development takes any key: one need not be set up for it, nor
		// waited for at the address where EC2 would have it.
		if c, err := config.NewEnvConfig(); err == nil && !c.Credentials.HasKeys() && c.SharedConfigProfile == "" {
			cfg.Credentials = credentials.NewStaticCredentialsProvider("000000000000", "parlor", "")
		}
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if strings.Contains(err.Error(), "no EC2 IMDS role found") { // where the SDK looks last
			err = errors.New("there is none")
		}
		return nil, &hintedError{fmt.Errorf("find an access key: %w", err), keyHint}
	}
	// Set here, it has the last word over AWS's variables.
	return ivschat.NewFromConfig(cfg, func(o *ivschat.Options) {
		o.BaseEndpoint = base
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(refused)}, o.Retryables...)
		})
	}), nil
}

// refused finds errors that are not worth another try: nobody listens there. A person
// waits for the answer.
func refused(err error) aws.Ternary {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// messagingURL is where connections are opened. An error names the flag that is wrong.
func (a *apiFlags) messagingURL() (string, error) {
	switch {
	case a.Messaging != "":
		_, err := parseURL("--messaging", a.Messaging, "ws")
		return a.Messaging, err
	case a.Endpoint == amazon:
		return "", fmt.Errorf("--messaging: Amazon's has an address of its own in each region, like wss://edge.ivschat.us-east-1.amazonaws.com")
	}
	endpoint, err := parseURL("--endpoint", a.Endpoint, "http")
	if err != nil {
		return "", err
	}
	return "ws" + strings.TrimPrefix(endpoint.Scheme, "http") + "://" + endpoint.Host + "/", nil
}

// parseURL reads the URL that a flag has. Its scheme is the given one, or that with TLS.
func parseURL(flag, text, scheme string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != scheme && u.Scheme != scheme+"s" {
		return nil, fmt.Errorf("%s: %q is not a URL like %s://127.0.0.1:4870", flag, text, scheme)
	}
	return u, nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
