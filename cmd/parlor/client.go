package main

import (
	"context"
	"fmt"

	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
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

// amazon is the endpoint that stands for Amazon's own.
const amazon = "aws"

// client returns a client of the control plane.
func (a *apiFlags) client(ctx context.Context) (*ivschat.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultRegion("us-east-1"))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if a.Endpoint == amazon {
		return ivschat.NewFromConfig(cfg), nil
	}
	endpoint, err := parseEndpoint(a.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("--endpoint: %w", err)
	}
	if isLoopback(endpoint.Hostname()) {
		// A server for development takes any key: one need not be set up for it, nor
		// waited for at the address where EC2 would have it.
		if c, err := config.NewEnvConfig(); err == nil && !c.Credentials.HasKeys() && c.SharedConfigProfile == "" {
			cfg.Credentials = credentials.NewStaticCredentialsProvider("000000000000", "parlor", "")
		}
	}
	return ivschat.NewFromConfig(cfg, func(o *ivschat.Options) { o.BaseEndpoint = aws.String(a.Endpoint) }), nil
}

// messagingURL is where connections are opened.
func (a *apiFlags) messagingURL() (string, error) {
	switch {
	case a.Messaging != "":
		return a.Messaging, nil
	case a.Endpoint == amazon:
		return "", fmt.Errorf("--messaging: Amazon's has an address of its own in each region, like wss://edge.ivschat.us-east-1.amazonaws.com")
	}
	endpoint, err := parseEndpoint(a.Endpoint)
	if err != nil {
		return "", fmt.Errorf("--endpoint: %w", err)
	}
	return "ws" + strings.TrimPrefix(endpoint.Scheme, "http") + "://" + endpoint.Host + "/", nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
