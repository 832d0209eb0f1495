package awsapi

import (
	"context"
	"time"

	"parlor/internal/chat"
)

// The operations on rooms, logging configurations and their tags: each checks its
// input, asks whether the caller may, and calls the core.

// IVS: CreateRoom
func createRoom(ctx context.Context, c *call, in *createRoomInput) (*roomOutput, error) {
	var f faults
	spec := chat.RoomSpec{Tags: in.Tags}
	if name := f.name("name", in.Name); name != nil {
		spec.Name = *name
	}
	if rate := f.integer("maximumMessageRatePerSecond", in.MaximumMessageRatePerSecond, 1, 100); rate != nil {
		spec.MaximumMessageRatePerSecond = *rate
	}
	if length := f.integer("maximumMessageLength", in.MaximumMessageLength, 1, 500); length != nil {
		spec.MaximumMessageLength = *length
	}
	spec.Handler = f.handler(in.MessageReviewHandler)
	f.tags("tags", in.Tags)
	if lcs := f.loggingConfigurations("loggingConfigurationIdentifiers", in.LoggingConfigurationIdentifiers); lcs != nil {
		spec.LoggingConfigurations = *lcs
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.mayAny(chat.KindRoom, tagging{set: in.Tags}); err != nil {
		return nil, err
	}
	room, err := c.CreateRoom(ctx, c.caller.Scope, spec)
	c.noted.Resource = room.ARN
	return oneRoom(room, err)
}

// IVS: GetRoom
func getRoom(ctx context.Context, c *call, in *identifierInput) (*roomOutput, error) {
	arn, err := c.resource(ctx, "identifier", in.Identifier, chat.KindRoom)
	if err != nil {
		return nil, err
	}
	return oneRoom(c.GetRoom(ctx, arn))
}

// IVS: UpdateRoom
func updateRoom(ctx context.Context, c *call, in *updateRoomInput) (*roomOutput, error) {
	var f faults
	arn := f.arn("identifier", in.Identifier, chat.KindRoom)
	change := chat.RoomChange{
		Name:                        f.name("name", in.Name),
		MaximumMessageRatePerSecond: f.integer("maximumMessageRatePerSecond", in.MaximumMessageRatePerSecond, 1, 100),
		MaximumMessageLength:        f.integer("maximumMessageLength", in.MaximumMessageLength, 1, 500),
		Handler:                     f.handler(in.MessageReviewHandler),
		LoggingConfigurations:       f.loggingConfigurations("loggingConfigurationIdentifiers", in.LoggingConfigurationIdentifiers),
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.may(ctx, arn, tagging{}); err != nil {
		return nil, err
	}
	return oneRoom(c.UpdateRoom(ctx, arn, change))
}

// IVS: DeleteRoom
func deleteRoom(ctx context.Context, c *call, in *identifierInput) (*emptyOutput, error) {
	arn, err := c.resource(ctx, "identifier", in.Identifier, chat.KindRoom)
	if err != nil {
		return nil, err
	}
	return &emptyOutput{}, c.DeleteRoom(ctx, arn)
}

// IVS: ListRooms
func listRooms(ctx context.Context, c *call, in *listRoomsInput) (*listRoomsOutput, error) {
	var f faults
	var filter chat.RoomFilter
	if name := f.name("name", in.Name); name != nil {
		filter.Name = *name
	}
	token, limit := f.page(in.NextToken, in.MaxResults)
	if in.MessageReviewHandlerURI != nil {
		filter.HandlerURI = *in.MessageReviewHandlerURI
		f.lambda("messageReviewHandlerUri", filter.HandlerURI)
	}
	if id := in.LoggingConfigurationIdentifier; id != nil && *id != "" {
		filter.LoggingConfiguration = f.arn("loggingConfigurationIdentifier", id, chat.KindLoggingConfiguration)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.mayAny(chat.KindRoom, tagging{}); err != nil {
		return nil, err
	}
	rooms, next, err := c.ListRooms(ctx, c.caller.Scope, filter, token, limit)
	if err != nil {
		return nil, err
	}
	out := &listRoomsOutput{Rooms: make([]roomSummary, len(rooms)), NextToken: next}
	for i, room := range rooms {
		out.Rooms[i] = summary(room)
	}
	return out, nil
}

// IVS: CreateLoggingConfiguration
func createLoggingConfiguration(ctx context.Context, c *call, in *createLoggingConfigurationInput) (*loggingConfigurationOutput, error) {
	var f faults
	spec := chat.LoggingConfigurationSpec{Tags: in.Tags}
	if name := f.name("name", in.Name); name != nil {
		spec.Name = *name
	}
	if in.DestinationConfiguration == nil {
		f.add("destinationConfiguration", required)
	} else {
		spec.Destination = f.destination(in.DestinationConfiguration)
	}
	f.tags("tags", in.Tags)
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.mayAny(chat.KindLoggingConfiguration, tagging{set: in.Tags}); err != nil {
		return nil, err
	}
	lc, err := c.CreateLoggingConfiguration(ctx, c.caller.Scope, spec)
	c.noted.Resource = lc.ARN
	return oneLoggingConfiguration(lc, err)
}

// IVS: GetLoggingConfiguration
func getLoggingConfiguration(ctx context.Context, c *call, in *identifierInput) (*loggingConfigurationOutput, error) {
	arn, err := c.resource(ctx, "identifier", in.Identifier, chat.KindLoggingConfiguration)
	if err != nil {
		return nil, err
	}
	return oneLoggingConfiguration(c.GetLoggingConfiguration(ctx, arn))
}

// IVS: UpdateLoggingConfiguration
func updateLoggingConfiguration(ctx context.Context, c *call, in *updateLoggingConfigurationInput) (*loggingConfigurationOutput, error) {
	var f faults
	arn := f.arn("identifier", in.Identifier, chat.KindLoggingConfiguration)
	change := chat.LoggingConfigurationChange{Name: f.name("name", in.Name)}
	if in.DestinationConfiguration != nil {
		destination := f.destination(in.DestinationConfiguration)
		change.Destination = &destination
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.may(ctx, arn, tagging{}); err != nil {
		return nil, err
	}
	return oneLoggingConfiguration(c.UpdateLoggingConfiguration(ctx, arn, change))
}

// IVS: DeleteLoggingConfiguration
func deleteLoggingConfiguration(ctx context.Context, c *call, in *identifierInput) (*emptyOutput, error) {
	arn, err := c.resource(ctx, "identifier", in.Identifier, chat.KindLoggingConfiguration)
	if err != nil {
		return nil, err
	}
	return &emptyOutput{}, c.DeleteLoggingConfiguration(ctx, arn)
}

// IVS: ListLoggingConfigurations
func listLoggingConfigurations(ctx context.Context, c *call, in *listLoggingConfigurationsInput) (*listLoggingConfigurationsOutput, error) {
	var f faults
	token, limit := f.page(in.NextToken, in.MaxResults)
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.mayAny(chat.KindLoggingConfiguration, tagging{}); err != nil {
		return nil, err
	}
	lcs, next, err := c.ListLoggingConfigurations(ctx, c.caller.Scope, token, limit)
	if err != nil {
		return nil, err
	}
	out := &listLoggingConfigurationsOutput{LoggingConfigurations: make([]loggingConfigurationOutput, len(lcs)), NextToken: next}
	for i, lc := range lcs {
		out.LoggingConfigurations[i] = loggingConfiguration(lc)
	}
	return out, nil
}

// IVS: ListTagsForResource
func listTagsForResource(ctx context.Context, c *call, in *listTagsForResourceInput) (*listTagsForResourceOutput, error) {
	arn, err := c.resource(ctx, "resourceArn", in.ResourceARN, chat.KindRoom, chat.KindLoggingConfiguration)
	if err != nil {
		return nil, err
	}
	tags, err := c.ListTagsForResource(ctx, arn)
	return &listTagsForResourceOutput{Tags: present(tags)}, err
}

// IVS: TagResource
func tagResource(ctx context.Context, c *call, in *tagResourceInput) (*emptyOutput, error) {
	var f faults
	arn := f.arn("resourceArn", in.ResourceARN, chat.KindRoom, chat.KindLoggingConfiguration)
	if in.Tags == nil {
		f.add("tags", required)
	}
	f.tags("tags", in.Tags)
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.may(ctx, arn, tagging{set: in.Tags}); err != nil {
		return nil, err
	}
	return &emptyOutput{}, c.TagResource(ctx, arn, in.Tags)
}

// IVS: UntagResource
func untagResource(ctx context.Context, c *call, in *untagResourceInput) (*emptyOutput, error) {
	var f faults
	arn := f.arn("resourceArn", in.ResourceARN, chat.KindRoom, chat.KindLoggingConfiguration)
	f.tagKeys("tagKeys", in.TagKeys)
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.may(ctx, arn, tagging{keys: in.TagKeys}); err != nil {
		return nil, err
	}
	return &emptyOutput{}, c.UntagResource(ctx, arn, in.TagKeys)
}

// resource checks the only member of an input, and whether the caller may.
func (c *call) resource(ctx context.Context, member string, s *string, kinds ...chat.Kind) (chat.ARN, error) {
	var f faults
	arn := f.arn(member, s, kinds...)
	if err := f.err(); err != nil {
		return chat.ARN{}, err
	}
	return arn, c.may(ctx, arn, tagging{})
}

func oneRoom(room chat.Room, err error) (*roomOutput, error) {
	if err != nil {
		return nil, err
	}
	return &roomOutput{
		roomSummary:                 summary(room),
		MaximumMessageRatePerSecond: room.MaximumMessageRatePerSecond,
		MaximumMessageLength:        room.MaximumMessageLength,
	}, nil
}

func summary(room chat.Room) roomSummary {
	out := roomSummary{
		ARN:                             room.ARN.String(),
		ID:                              room.ARN.ID,
		Name:                            room.Name,
		CreateTime:                      milliseconds(room.CreateTime),
		UpdateTime:                      milliseconds(room.UpdateTime),
		Tags:                            present(room.Tags),
		LoggingConfigurationIdentifiers: make([]string, len(room.LoggingConfigurations)),
	}
	if h := room.Handler; h != nil {
		out.MessageReviewHandler = &messageReviewHandler{URI: &h.URI, FallbackResult: (*string)(&h.Fallback)}
	}
	for i, arn := range room.LoggingConfigurations {
		out.LoggingConfigurationIdentifiers[i] = arn.String()
	}
	return out
}

func oneLoggingConfiguration(lc chat.LoggingConfiguration, err error) (*loggingConfigurationOutput, error) {
	if err != nil {
		return nil, err
	}
	out := loggingConfiguration(lc)
	return &out, nil
}

func loggingConfiguration(lc chat.LoggingConfiguration) loggingConfigurationOutput {
	out := loggingConfigurationOutput{
		ARN:        lc.ARN.String(),
		ID:         lc.ARN.ID,
		CreateTime: milliseconds(lc.CreateTime),
		UpdateTime: milliseconds(lc.UpdateTime),
		Name:       lc.Name,
		State:      "ACTIVE", // IVS-MODEL: LoggingConfigurationState
		Tags:       present(lc.Tags),
	}
	name := &lc.Destination.Name
	switch lc.Destination.Kind {
	case chat.DestinationS3:
		out.DestinationConfiguration.S3 = &s3DestinationConfiguration{BucketName: name}
	case chat.DestinationCloudWatchLogs:
		out.DestinationConfiguration.CloudWatchLogs = &cloudWatchLogsDestinationConfiguration{LogGroupName: name}
	case chat.DestinationFirehose:
		out.DestinationConfiguration.Firehose = &firehoseDestinationConfiguration{DeliveryStreamName: name}
	}
	return out
}

// present is the map, {} rather than null.
func present(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}

// milliseconds writes the times of a resource.
func milliseconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// seconds writes the times of a token, which are whole seconds.
func seconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
