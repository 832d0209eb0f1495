package awsapi

// The shapes of the wire, one struct each, members tagged as the API spells them.
// Pointers, nil slices and nil maps are absent members. Members tagged label come
// from the path and members tagged query from the query, as the model says; they are
// not read from the body.

type createChatTokenInput struct {
	RoomIdentifier           *string           `json:"roomIdentifier"`
	UserID                   *string           `json:"userId"`
	Capabilities             []string          `json:"capabilities"`
	SessionDurationInMinutes *int32            `json:"sessionDurationInMinutes"`
	Attributes               map[string]string `json:"attributes"`
}

type createChatTokenOutput struct {
	Token                 string `json:"token"`
	TokenExpirationTime   string `json:"tokenExpirationTime"`
	SessionExpirationTime string `json:"sessionExpirationTime"`
}

type createRoomInput struct {
	Name                            *string               `json:"name"`
	MaximumMessageRatePerSecond     *int32                `json:"maximumMessageRatePerSecond"`
	MaximumMessageLength            *int32                `json:"maximumMessageLength"`
	MessageReviewHandler            *messageReviewHandler `json:"messageReviewHandler"`
	Tags                            map[string]string     `json:"tags"`
	LoggingConfigurationIdentifiers []string              `json:"loggingConfigurationIdentifiers"`
}

// messageReviewHandler is both input and output; in an output both members are set.
type messageReviewHandler struct {
	URI            *string `json:"uri"`
	FallbackResult *string `json:"fallbackResult"`
}

type updateRoomInput struct {
	Identifier                      *string               `json:"identifier"`
	Name                            *string               `json:"name"`
	MaximumMessageRatePerSecond     *int32                `json:"maximumMessageRatePerSecond"`
	MaximumMessageLength            *int32                `json:"maximumMessageLength"`
	MessageReviewHandler            *messageReviewHandler `json:"messageReviewHandler"`
	LoggingConfigurationIdentifiers []string              `json:"loggingConfigurationIdentifiers"`
}

// roomOutput is the output of CreateRoom, GetRoom and UpdateRoom: always the whole
// room. Only the handler of a room that was never given one is left out (Terraform
// tells the two apart).
type roomOutput struct {
	roomSummary
	MaximumMessageRatePerSecond int `json:"maximumMessageRatePerSecond"`
	MaximumMessageLength        int `json:"maximumMessageLength"`
}

type roomSummary struct {
	ARN                             string                `json:"arn"`
	ID                              string                `json:"id"`
	Name                            string                `json:"name"`
	CreateTime                      string                `json:"createTime"`
	UpdateTime                      string                `json:"updateTime"`
	MessageReviewHandler            *messageReviewHandler `json:"messageReviewHandler,omitempty"`
	Tags                            map[string]string     `json:"tags"`
	LoggingConfigurationIdentifiers []string              `json:"loggingConfigurationIdentifiers"`
}

// identifierInput is the input of GetRoom, DeleteRoom, GetLoggingConfiguration and
// DeleteLoggingConfiguration.
type identifierInput struct {
	Identifier *string `json:"identifier"`
}

type listRoomsInput struct {
	Name                           *string `json:"name"`
	NextToken                      *string `json:"nextToken"`
	MaxResults                     *int32  `json:"maxResults"`
	MessageReviewHandlerURI        *string `json:"messageReviewHandlerUri"`
	LoggingConfigurationIdentifier *string `json:"loggingConfigurationIdentifier"`
}

type listRoomsOutput struct {
	Rooms     []roomSummary `json:"rooms"`
	NextToken string        `json:"nextToken,omitempty"`
}

type sendEventInput struct {
	RoomIdentifier *string           `json:"roomIdentifier"`
	EventName      *string           `json:"eventName"`
	Attributes     map[string]string `json:"attributes"`
}

type deleteMessageInput struct {
	RoomIdentifier *string `json:"roomIdentifier"`
	ID             *string `json:"id"`
	Reason         *string `json:"reason"`
}

// idOutput is the output of SendEvent and DeleteMessage: the Id of the event shown.
type idOutput struct {
	ID string `json:"id"`
}

type disconnectUserInput struct {
	RoomIdentifier *string `json:"roomIdentifier"`
	UserID         *string `json:"userId"`
	Reason         *string `json:"reason"`
}

// emptyOutput is an output without members. It is sent as {}, which every client
// parses.
type emptyOutput struct{}

// destinationConfiguration says where a logging configuration sends its records.
//
// IVS-MODEL: DestinationConfiguration
type destinationConfiguration struct {
	S3             *s3DestinationConfiguration             `json:"s3,omitempty"`
	CloudWatchLogs *cloudWatchLogsDestinationConfiguration `json:"cloudWatchLogs,omitempty"`
	Firehose       *firehoseDestinationConfiguration       `json:"firehose,omitempty"`
}

func (destinationConfiguration) isUnion() {}

type s3DestinationConfiguration struct {
	BucketName *string `json:"bucketName"`
}

type cloudWatchLogsDestinationConfiguration struct {
	LogGroupName *string `json:"logGroupName"`
}

type firehoseDestinationConfiguration struct {
	DeliveryStreamName *string `json:"deliveryStreamName"`
}

type createLoggingConfigurationInput struct {
	Name                     *string                   `json:"name"`
	DestinationConfiguration *destinationConfiguration `json:"destinationConfiguration"`
	Tags                     map[string]string         `json:"tags"`
}

type updateLoggingConfigurationInput struct {
	Identifier               *string                   `json:"identifier"`
	Name                     *string                   `json:"name"`
	DestinationConfiguration *destinationConfiguration `json:"destinationConfiguration"`
}

// loggingConfigurationOutput is the output of CreateLoggingConfiguration,
// GetLoggingConfiguration and UpdateLoggingConfiguration, and the summary of
// ListLoggingConfigurations: they have the same members.
type loggingConfigurationOutput struct {
	ARN                      string                   `json:"arn"`
	ID                       string                   `json:"id"`
	CreateTime               string                   `json:"createTime"`
	UpdateTime               string                   `json:"updateTime"`
	Name                     string                   `json:"name"`
	DestinationConfiguration destinationConfiguration `json:"destinationConfiguration"`
	State                    string                   `json:"state"`
	Tags                     map[string]string        `json:"tags"`
}

type listLoggingConfigurationsInput struct {
	NextToken  *string `json:"nextToken"`
	MaxResults *int32  `json:"maxResults"`
}

type listLoggingConfigurationsOutput struct {
	LoggingConfigurations []loggingConfigurationOutput `json:"loggingConfigurations"`
	NextToken             string                       `json:"nextToken,omitempty"`
}

type listTagsForResourceInput struct {
	ResourceARN *string `label:"resourceArn"`
}

type listTagsForResourceOutput struct {
	Tags map[string]string `json:"tags"`
}

type tagResourceInput struct {
	ResourceARN *string           `label:"resourceArn"`
	Tags        map[string]string `json:"tags"`
}

type untagResourceInput struct {
	ResourceARN *string  `label:"resourceArn"`
	TagKeys     []string `query:"tagKeys"`
}
