package chatlog

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// clients are those of AWS. Endpoints and credentials are what the variables and files
// of AWS's SDKs say; the region is that of the logging configuration.
type clients struct {
	mu     sync.Mutex
	loaded bool
	config aws.Config
	err    error
}

func (c *clients) in(region string) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		c.config, c.err = config.LoadDefaultConfig(context.Background())
		c.loaded = true
	}
	if c.err != nil {
		return aws.Config{}, fmt.Errorf("read the AWS configuration: %w", c.err)
	}
	cfg := c.config.Copy()
	cfg.Region = region
	return cfg, nil
}

func (c *clients) s3(region string) (*s3.Client, error) {
	cfg, err := c.in(region)
	if err != nil {
		return nil, err
	}
	// Servers that stand for S3 are seldom found by names of buckets below theirs.
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }), nil
}

func (c *clients) logs(region string) (*cloudwatchlogs.Client, error) {
	cfg, err := c.in(region)
	if err != nil {
		return nil, err
	}
	return cloudwatchlogs.NewFromConfig(cfg), nil
}

func (c *clients) firehose(region string) (*firehose.Client, error) {
	cfg, err := c.in(region)
	if err != nil {
		return nil, err
	}
	return firehose.NewFromConfig(cfg), nil
}
