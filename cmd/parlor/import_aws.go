package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/chat"
)

// amazonFlags say which account's rooms are read.
type amazonFlags struct {
	Region      string `name:"region" placeholder:"REGION" help:"With --from-aws: the region to read, such as us-east-1."`
	EndpointURL string `name:"endpoint-url" placeholder:"URL" help:"With --from-aws: another server than Amazon's. AWS's own variables for this are not looked at: they may name this Parlor."`
	Rate        int    `name:"requests-per-second" default:"4" placeholder:"N" help:"With --from-aws: how much of the account's quota to use, which is 5 requests a second unless Amazon has raised it."`
}

// check is for the Validate of the verb.
func (f *amazonFlags) check(fromAWS bool, line *kong.Context) error {
	if !fromAWS {
		for _, name := range []string{"region", "endpoint-url", "requests-per-second"} {
			if onLine(line, name) {
				return fmt.Errorf("--%s: only --from-aws has it", name)
			}
		}
		return nil
	}
	if f.EndpointURL != "" {
		if _, err := parseURL("--endpoint-url", f.EndpointURL, "http"); err != nil {
			return err
		}
	}
	switch {
	case f.Region == "":
		return errors.New("--region: --from-aws needs it; what is in other regions is imported by another call")
	case !chat.ValidRegion(f.Region):
		return fmt.Errorf("--region: %q is not a region", f.Region)
	case f.Rate < 1 || f.Rate > 1000:
		return errors.New("--requests-per-second: it must be between 1 and 1000")
	}
	return nil
}

const (
	// loggingRate is Amazon's quota of requests about logging configurations, of which
	// an account has few, a second.
	loggingRate = 3
	// maxTries and longestWait are of a request that is throttled, or fails otherwise:
	// some minutes.
	maxTries    = 15
	longestWait = 20 * time.Second
	sayInterval = 10 * time.Second // between words on how far it is
)

// read imports an account's logging configurations and rooms of a region.
//
// All rooms are listed first, for a list's token does not live long; then each is got,
// since a list does not have all of a room. Those that are in the store already are not,
// unless they are to be replaced: so an import that was ended goes on where it was.
func (f *amazonFlags) read(ctx context.Context, in *importing, said io.Writer) error {
	client, err := f.client(ctx)
	if err != nil {
		return err
	}
	a := &account{client: client, in: in, rate: f.Rate, said: said, known: map[string]bool{}}
	if err := a.loggingConfigurations(ctx); err != nil {
		return err
	}
	rooms, err := a.list(ctx)
	if err != nil {
		return err
	}
	return a.rooms(ctx, rooms)
}

// client is one of the account that is read.
func (f *amazonFlags) client(ctx context.Context) (*ivschat.Client, error) {
	api := endpointFlag{Endpoint: f.EndpointURL}
	if api.Endpoint == "" {
		api.Endpoint = amazon
	}
	client, err := api.client(ctx)
	if err != nil {
		return nil, err
	}
	return ivschat.New(client.Options(), func(o *ivschat.Options) {
		o.Region = f.Region
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = maxTries, longestWait
			o.RateLimiter = ratelimit.None // it would give up when much is throttled
		})
	}), nil
}

// account is one that is read.
type account struct {
	client *ivschat.Client
	in     *importing
	rate   int // requests a second
	said   io.Writer

	next  time.Time       // when the next request may be made
	known map[string]bool // ARNs of the logging configurations that were taken in
}

// pace waits until another request may be made.
func (a *account) pace(ctx context.Context, rate int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(a.next)):
	}
	a.next = time.Now().Add(time.Second / time.Duration(rate))
	return nil
}

func (a *account) loggingConfigurations(ctx context.Context) error {
	pages := ivschat.NewListLoggingConfigurationsPaginator(a.client, &ivschat.ListLoggingConfigurationsInput{})
	for pages.HasMorePages() {
		if err := a.pace(ctx, min(a.rate, loggingRate)); err != nil {
			return err
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, lc := range page.LoggingConfigurations {
			if err := a.take(ctx, lc); err != nil {
				return err
			}
		}
	}
	return nil
}

// take imports one logging configuration. One that was never made, or is being
// deleted, is refused, which keeps back nothing but the rooms that have it.
func (a *account) take(ctx context.Context, lc types.LoggingConfigurationSummary) error {
	name := aws.ToString(lc.Arn)
	a.known[name] = true
	if lc.State == types.LoggingConfigurationStateCreateFailed || lc.State == types.LoggingConfigurationStateDeleting {
		fmt.Fprintf(a.said, "%s is %s, and left out.\n", name, lc.State)
		return nil
	}
	arn, err := parseARN("arn", name)
	if err != nil {
		a.in.refuse(name, err)
		return nil
	}
	destination := chat.Destination{} // one of another kind is refused
	switch d := lc.DestinationConfiguration.(type) {
	case *types.DestinationConfigurationMemberS3:
		destination = chat.Destination{Kind: chat.DestinationS3, Name: aws.ToString(d.Value.BucketName)}
	case *types.DestinationConfigurationMemberCloudWatchLogs:
		destination = chat.Destination{Kind: chat.DestinationCloudWatchLogs, Name: aws.ToString(d.Value.LogGroupName)}
	case *types.DestinationConfigurationMemberFirehose:
		destination = chat.Destination{Kind: chat.DestinationFirehose, Name: aws.ToString(d.Value.DeliveryStreamName)}
	}
	return a.in.add(ctx, name, chat.LoggingConfiguration{
		ARN: arn, Name: aws.ToString(lc.Name), Destination: destination, Tags: notNil(lc.Tags),
		CreateTime: stored(aws.ToTime(lc.CreateTime)), UpdateTime: stored(aws.ToTime(lc.UpdateTime)),
	})
}

// list returns the ARNs of the rooms that are to be got.
func (a *account) list(ctx context.Context) (arns []string, err error) {
	pages := ivschat.NewListRoomsPaginator(a.client, &ivschat.ListRoomsInput{MaxResults: aws.Int32(50)})
	seen := map[string]bool{} // a room that is changed meanwhile may come twice
	for pages.HasMorePages() {
		if err := a.pace(ctx, a.rate); err != nil {
			return nil, err
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, room := range page.Rooms {
			name := aws.ToString(room.Arn)
			if seen[name] {
				continue
			}
			seen[name] = true
			there, err := a.in.has(ctx, name)
			if err != nil {
				return nil, err
			}
			if !there {
				arns = append(arns, name)
			}
		}
	}
	return arns, nil
}

// rooms gets and imports rooms.
func (a *account) rooms(ctx context.Context, arns []string) error {
	begun, gone := time.Now(), 0
	for n, name := range arns {
		if time.Since(begun) > sayInterval {
			fmt.Fprintf(a.said, "%d of %d rooms.\n", n, len(arns))
			begun = time.Now()
		}
		if err := a.pace(ctx, a.rate); err != nil {
			return err
		}
		out, err := a.client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &name})
		if _, deleted := errors.AsType[*types.ResourceNotFoundException](err); deleted {
			gone++
			continue
		}
		if err != nil {
			return err
		}
		for _, lc := range out.LoggingConfigurationIdentifiers {
			if err := a.late(ctx, lc); err != nil {
				return err
			}
		}
		room, err := roomOf(out)
		if err != nil {
			a.in.refuse(name, err)
			continue
		}
		if err := a.in.add(ctx, name, room); err != nil {
			return err
		}
	}
	if gone > 0 {
		fmt.Fprintf(a.said, "%d rooms were deleted while they were listed.\n", gone)
	}
	return nil
}

// late imports a logging configuration that was made after they were listed.
func (a *account) late(ctx context.Context, name string) error {
	if a.known[name] {
		return nil
	}
	a.known[name] = true
	if err := a.pace(ctx, min(a.rate, loggingRate)); err != nil {
		return err
	}
	out, err := a.client.GetLoggingConfiguration(ctx, &ivschat.GetLoggingConfigurationInput{Identifier: &name})
	if _, deleted := errors.AsType[*types.ResourceNotFoundException](err); deleted {
		return nil // the room is refused
	}
	if err != nil {
		return err
	}
	return a.take(ctx, types.LoggingConfigurationSummary{Arn: out.Arn, Name: out.Name, DestinationConfiguration: out.DestinationConfiguration,
		State: types.LoggingConfigurationState(out.State), Tags: out.Tags, CreateTime: out.CreateTime, UpdateTime: out.UpdateTime})
}

func roomOf(out *ivschat.GetRoomOutput) (room chat.Room, err error) {
	room = chat.Room{
		Name: aws.ToString(out.Name), Tags: notNil(out.Tags),
		CreateTime: stored(aws.ToTime(out.CreateTime)), UpdateTime: stored(aws.ToTime(out.UpdateTime)),
		MaximumMessageRatePerSecond: int(aws.ToInt32(out.MaximumMessageRatePerSecond)), MaximumMessageLength: int(aws.ToInt32(out.MaximumMessageLength)),
	}
	if h := out.MessageReviewHandler; h != nil {
		room.Handler = &chat.ReviewHandler{URI: aws.ToString(h.Uri), Fallback: chat.FallbackResult(h.FallbackResult)}
		if h.FallbackResult == "" {
			room.Handler.Fallback = chat.FallbackAllow
		}
	}
	if room.ARN, err = parseARN("arn", aws.ToString(out.Arn)); err != nil {
		return room, err
	}
	room.LoggingConfigurations, err = parseARNs("loggingConfigurationIdentifiers", out.LoggingConfigurationIdentifiers)
	return room, err
}
