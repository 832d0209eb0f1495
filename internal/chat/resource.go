package chat

import (
	"maps"
	"slices"
	"time"
)

// Limits and defaults of rooms.
//
// IVS-MODEL: RoomMaxMessageRatePerSecond, RoomMaxMessageLength,
// LoggingConfigurationIdentifierList, Tags
const (
	DefaultMaximumMessageRatePerSecond = 10
	DefaultMaximumMessageLength        = 500 // code points
	MaxLoggingConfigurationsPerRoom    = 3
	MaxTags                            = 50
)

// FallbackResult is what happens to a message whose review gave no answer.
type FallbackResult string

const (
	FallbackAllow FallbackResult = "ALLOW"
	FallbackDeny  FallbackResult = "DENY"
)

// ReviewHandler is a room's message review handler. An empty URI is a handler that
// was detached: nothing is reviewed, yet the room goes on showing the member.
type ReviewHandler struct {
	URI      string // a Lambda ARN
	Fallback FallbackResult
}

// Room is a stored room. Values are shared: a Room is never changed once it has been
// returned; a change makes a new one.
type Room struct {
	ARN                         ARN
	Name                        string
	CreateTime, UpdateTime      time.Time // UTC, microseconds
	MaximumMessageRatePerSecond int
	MaximumMessageLength        int            // code points
	Handler                     *ReviewHandler // nil: never given one
	LoggingConfigurations       []ARN          // in the order given
	Tags                        map[string]string

	// Extensions are what the Tags switch on, in a room that was read for its messages.
	// The store does not know them.
	Extensions *Extensions
	// Bans are those that hold in a room that was read for its messages. The store keeps
	// them apart.
	Bans *Bans
}

// DestinationKind says which member of the destinationConfiguration union is set.
type DestinationKind string

const (
	DestinationS3             DestinationKind = "s3"
	DestinationCloudWatchLogs DestinationKind = "cloudWatchLogs"
	DestinationFirehose       DestinationKind = "firehose"
)

// Destination is where a logging configuration sends its records: exactly one kind
// and the name of the bucket, log group or delivery stream.
type Destination struct {
	Kind DestinationKind
	Name string
}

// LoggingConfiguration is a stored logging configuration. It is ACTIVE from the
// moment it is stored. Like a Room, a value is never changed once returned.
type LoggingConfiguration struct {
	ARN                    ARN
	Name                   string
	CreateTime, UpdateTime time.Time // UTC, microseconds
	Destination            Destination
	Tags                   map[string]string
}

// withTags returns tags with add merged in.
func withTags(tags, add map[string]string) map[string]string {
	out := make(map[string]string, len(tags)+len(add))
	maps.Copy(out, tags)
	maps.Copy(out, add)
	return out
}

// withoutTags returns tags without keys.
func withoutTags(tags map[string]string, keys []string) map[string]string {
	out := maps.Clone(tags)
	maps.DeleteFunc(out, func(k, _ string) bool { return slices.Contains(keys, k) })
	return out
}
