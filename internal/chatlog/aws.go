package chatlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// clients are those of AWS. Endpoints and credentials are what the variables and files
// of AWS's SDKs say; the region is that of the logging configuration.
type clients struct {
	mu     sync.Mutex
	loaded bool
	config aws.Config
}

func (c *clients) in(region string) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		var err error
		if c.config, err = config.LoadDefaultConfig(context.Background()); err != nil {
			return aws.Config{}, fmt.Errorf("read the AWS configuration: %w", err) // perhaps it is mended the next time
		}
		c.loaded = true
		// A client that may still be built is built for each client of a service anew,
		// with connections of its own.
		if b, ok := c.config.HTTPClient.(*awshttp.BuildableClient); ok {
			c.config.HTTPClient = b.Freeze()
		} else if c.config.HTTPClient == nil {
			c.config.HTTPClient = awshttp.NewBuildableClient().Freeze()
		}
		c.config.HTTPClient = plainBodies{c.config.HTTPClient}
	}
	cfg := c.config.Copy()
	cfg.Region = region
	return cfg, nil
}

// plainBodies is a client whose requests' bodies can only be read. Those of the SDK,
// which it closes as soon as there is an answer, fail to be written after that, and
// net/http, which looks whether there is more, then closes the connection with the
// answer in it.
type plainBodies struct{ aws.HTTPClient }

func (c plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

func (c *clients) s3(region string) (*s3.Client, error) {
	cfg, err := c.in(region)
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		if o.BaseEndpoint != nil {
			// Servers that stand for S3 are seldom found by names of buckets below theirs,
			// and not all of them know the newer checksums; gzip has one.
			o.UsePathStyle = true
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}
	}), nil
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

// atOnce is how many parts of a batch are on their way to a destination at once.
const atOnce = 8

// putParts puts the parts of a batch, each of which is of one room, and returns what put leaves
// of them. A part that fails stops no other, unless its failure is one of the whole
// destination: what was not begun then is left.
func putParts(records []*record, parts [][]*record, put func(part []*record) (rest []*record, err error)) (rest []*record, err error) {
	var (
		mu       sync.Mutex // guards what follows
		next     int
		over     bool
		failures int
		first    error
		left     = map[*record]bool{}
	)
	take := func() (part []*record) {
		mu.Lock()
		defer mu.Unlock()
		for ; over && next < len(parts); next++ {
			leave(left, parts[next])
		}
		if next < len(parts) {
			part = parts[next]
			next++
		}
		return part
	}
	var putting sync.WaitGroup
	for range min(atOnce, len(parts)) {
		putting.Go(func() {
			for part := take(); part != nil; part = take() {
				rest, err := put(part)
				if err == nil {
					continue
				}
				mu.Lock()
				leave(left, rest)
				failures++
				if first == nil {
					first = err
				}
				over = over || general(err)
				mu.Unlock()
			}
		})
	}
	putting.Wait()
	for _, r := range records {
		if left[r] {
			rest = append(rest, r)
		}
	}
	if failures > 1 {
		first = fmt.Errorf("%d failures, the first: %w", failures, first)
	}
	return rest, first
}

func leave(left map[*record]bool, records []*record) {
	for _, r := range records {
		left[r] = true
	}
}

// general reports whether a failure says something of the whole destination, and not
// perhaps of one room only.
func general(err error) bool {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return false
	}
	answer, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok {
		return true // nobody answered
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		if _, throttled := retry.DefaultThrottleErrorCodes[e.ErrorCode()]; throttled || e.ErrorCode() == "ResourceNotFoundException" {
			return true
		}
	}
	status := answer.HTTPStatusCode()
	return status != http.StatusBadRequest && status != http.StatusForbidden
}
