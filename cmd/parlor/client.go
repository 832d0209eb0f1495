package main

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
)

// apiFlags say which server a verb talks to, and as whom. Keys and region are what
// AWS's own variables and files say.
type apiFlags struct {
	Endpoint  string `name:"endpoint" env:"AWS_ENDPOINT_URL_IVSCHAT" default:"http://127.0.0.1:4870" placeholder:"URL" help:"Where the API is; aws is Amazon IVS Chat itself."`
	Messaging string `name:"messaging" placeholder:"URL" help:"Where the messaging API is. Default: where the API is."`
}

const keyHint = "The access key is for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to say, or AWS_PROFILE; parlor key new makes one for parlor serve."

// requestPatience is how long a request of the API may take, each time it is tried.
const requestPatience = 10 * time.Second

// amazon is the endpoint that stands for Amazon's own.
const amazon = "aws"

// client returns a client of the control plane.
func (a *apiFlags) client(ctx context.Context) (*ivschat.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultRegion("us-east-1"),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(requestPatience)))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	var base *string // nil is Amazon's
	if a.Endpoint != amazon {
		base = &a.Endpoint
	}
	if u, err := url.Parse(a.Endpoint); err == nil && isLoopback(u.Hostname()) {
		// A server for development takes any key: one need not be set up for it, nor
		// waited for at the address where EC2 would have it.
		if c, err := config.NewEnvConfig(); err == nil && !c.Credentials.HasKeys() && c.SharedConfigProfile == "" {
			cfg.Credentials = credentials.NewStaticCredentialsProvider("000000000000", "parlor", "")
		}
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, &hintedError{fmt.Errorf("find an access key: %w", err), keyHint}
	}
	// Set here, it has the last word over AWS's variables.
	return ivschat.NewFromConfig(cfg, func(o *ivschat.Options) { o.BaseEndpoint = base }), nil
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
