package awsapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parlor/internal/chat"
)

// faults collects what is wrong with an input: the first fault of each member, in
// the order in which the members are looked at. Its methods check one member against
// the model and return what the core wants of it; absent members that may be absent
// are no fault. Nested members go by their own name ("uri"), as in the one literal
// known from AWS.
type faults struct{ fields []chat.FieldError }

func (f *faults) add(member, format string, args ...any) {
	message := chat.MemberMessage(member, fmt.Sprintf(format, args...))
	f.fields = append(f.fields, chat.FieldError{Name: member, Message: message})
}

// err is everything that was found, or nil.
func (f *faults) err() error {
	if f.fields == nil {
		return nil
	}
	messages := make([]string, len(f.fields))
	for i, field := range f.fields {
		messages[i] = field.Message
	}
	return &chat.Error{Code: chat.BadRequest, Message: strings.Join(messages, "; "), Fields: f.fields}
}

const required = "a value is required"

// Patterns of the model, as full matches.
var (
	// IVS-MODEL: RoomName, LoggingConfigurationName
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]*$`)
	// A line break is no character of a "." pattern; a NUL no store keeps.
	// IVS-MODEL: LambdaArn
	lambdaPattern = regexp.MustCompile(`^arn:aws:lambda:[a-z0-9-]+:[0-9]{12}:function:[^\x00\n\r\x{85}\x{2028}\x{2029}]+$`)
	// IVS-MODEL: MessageID
	messageIDPattern = regexp.MustCompile(`^[a-zA-Z0-9]{12}$`)
	// IVS-MODEL: BucketName
	bucketPattern = regexp.MustCompile(`^[a-z0-9.-]{3,63}$`)
	// IVS-MODEL: LogGroupName
	logGroupPattern = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)
	// IVS-MODEL: DeliveryStreamName
	streamPattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
)

// length checks a length in code points and returns whether it is right.
func (f *faults) length(member, s string, least, most int) bool {
	// Code points are counted only where the bytes may be too many.
	n := len(s)
	if n > most {
		n = utf8.RuneCountInString(s)
	}
	if n < least || n > most {
		f.add(member, "the length must be between %d and %d", least, most)
		return false
	}
	return true
}

// text checks a string that must be there.
func (f *faults) text(member string, s *string, least, most int) string {
	if s == nil {
		f.add(member, required)
		return ""
	}
	f.length(member, *s, least, most)
	return *s
}

// optionalText checks a string that may be absent, which is "".
func (f *faults) optionalText(member string, s *string, least, most int) string {
	if s == nil {
		return ""
	}
	return f.text(member, s, least, most)
}

// matching checks a string that must be there and whose pattern says its length.
func (f *faults) matching(member string, s *string, pattern *regexp.Regexp) string {
	switch {
	case s == nil:
		f.add(member, required)
		return ""
	case !pattern.MatchString(*s):
		f.add(member, "the value must match %s", pattern)
	}
	return *s
}

// name checks the name of a resource.
//
// IVS-MODEL: RoomName, LoggingConfigurationName
func (f *faults) name(member string, s *string) *string {
	if s != nil && f.length(member, *s, 0, 128) && !namePattern.MatchString(*s) {
		f.add(member, "the value must match %s", namePattern)
	}
	return s
}

// integer checks a number that may be absent.
func (f *faults) integer(member string, n *int32, least, most int) *int {
	if n == nil {
		return nil
	}
	value := int(*n)
	if value < least || value > most {
		f.add(member, "the value must be between %d and %d", least, most)
	}
	return &value
}

// oneOf checks an enumeration.
func (f *faults) oneOf(member, s string, values ...string) {
	if !slices.Contains(values, s) {
		f.add(member, "the value must be one of %s", strings.Join(values, ", "))
	}
}

// arn checks the ARN of a resource of one of the kinds.
//
// IVS-MODEL: RoomIdentifier, LoggingConfigurationIdentifier, ResourceArn
func (f *faults) arn(member string, s *string, kinds ...chat.Kind) chat.ARN {
	if s == nil {
		f.add(member, required)
		return chat.ARN{}
	}
	if !f.length(member, *s, 1, chat.MaxARNLength) {
		return chat.ARN{}
	}
	arn, err := chat.ParseARN(*s)
	if err != nil || !slices.Contains(kinds, arn.Kind) {
		names := make([]string, len(kinds))
		for i, kind := range kinds {
			names[i] = string(kind)
		}
		f.add(member, "the value must be the ARN of a %s", strings.Join(names, " or "))
		return chat.ARN{}
	}
	return arn
}

// loggingConfigurations checks a room's list, which may be absent (nil).
//
// IVS-MODEL: LoggingConfigurationIdentifierList
func (f *faults) loggingConfigurations(member string, list []string) *[]chat.ARN {
	if list == nil {
		return nil
	}
	if len(list) > chat.MaxLoggingConfigurationsPerRoom {
		f.add(member, "the list must have between 0 and %d members", chat.MaxLoggingConfigurationsPerRoom)
		return nil
	}
	arns := make([]chat.ARN, 0, len(list))
	for _, s := range list {
		before := len(f.fields)
		arn := f.arn(member, &s, chat.KindLoggingConfiguration)
		if len(f.fields) > before {
			return nil // one fault per member
		}
		if slices.Contains(arns, arn) {
			f.add(member, "the members must be unique")
			return nil
		}
		arns = append(arns, arn)
	}
	return &arns
}

// handler checks a room's message review handler, which may be absent.
//
// IVS-MODEL: MessageReviewHandler
func (f *faults) handler(h *messageReviewHandler) *chat.HandlerChange {
	if h == nil {
		return nil
	}
	change := chat.HandlerChange{URI: h.URI}
	if h.URI != nil {
		f.lambda("uri", *h.URI)
	}
	if h.FallbackResult != nil {
		f.oneOf("fallbackResult", *h.FallbackResult, string(chat.FallbackAllow), string(chat.FallbackDeny))
		fallback := chat.FallbackResult(*h.FallbackResult)
		change.Fallback = &fallback
	}
	return &change
}

// lambda checks the ARN of a Lambda function, or no function.
//
// IVS-MODEL: LambdaArn
func (f *faults) lambda(member, s string) {
	if f.length(member, s, 0, 170) && s != "" && !lambdaPattern.MatchString(s) {
		f.add(member, "the value must be empty or the ARN of a Lambda function")
	}
}

// tags checks tags, which may be absent.
//
// IVS-MODEL: Tags
func (f *faults) tags(member string, tags map[string]string) {
	if len(tags) > chat.MaxTags {
		f.add(member, "the map must have between 0 and %d entries", chat.MaxTags)
		return
	}
	for key, value := range tags {
		switch {
		case !lengthBetween(key, 1, 128):
			f.add(member, "the length of a key must be between 1 and 128")
		case len(key) >= 4 && strings.EqualFold(key[:4], "aws:"):
			f.add(member, "keys that begin with aws: are reserved")
		case !lengthBetween(value, 0, 256):
			f.add(member, "the length of a value must be between 0 and 256")
		case strings.ContainsRune(key, 0) || strings.ContainsRune(value, 0):
			f.add(member, "keys and values must not have a NUL character")
		default:
			continue
		}
		return // one fault per member
	}
}

// extensions checks what the tags of a room switch on.
func (f *faults) extensions(member string, tags map[string]string, check func(map[string]string) error) {
	if err := check(tags); err != nil {
		f.add(member, "%s", err)
	}
}

func lengthBetween(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return n >= least && n <= most
}

// tagKeys checks a list of tag keys that must be there.
//
// IVS-MODEL: TagKeyList
func (f *faults) tagKeys(member string, keys []string) {
	switch {
	case keys == nil:
		f.add(member, required)
	case len(keys) > chat.MaxTags:
		f.add(member, "the list must have between 0 and %d members", chat.MaxTags)
	case slices.ContainsFunc(keys, func(key string) bool { return !lengthBetween(key, 1, 128) }):
		f.add(member, "the length of a key must be between 1 and 128")
	}
}

// attributes checks the attributes of a token or an event, which may be absent.
//
// IVS-MODEL: ChatTokenAttributes, EventAttributes
func (f *faults) attributes(member string, attributes map[string]string) {
	if chat.AttributesSize(attributes) > chat.MaxAttributesSize {
		f.add(member, "keys and values must have at most %d bytes in all", chat.MaxAttributesSize)
	}
}

// eventName checks the name of an event.
//
// IVS-MODEL: EventName
func (f *faults) eventName(member string, s *string) string {
	name := f.text(member, s, 1, 100)
	// Clients act on aws: events; only the service sends them.
	if strings.HasPrefix(name, "aws:") {
		f.add(member, "names that begin with aws: are reserved")
	}
	return name
}

// capabilities checks what a token grants; a capability given twice is given.
//
// IVS-MODEL: ChatTokenCapabilities
func (f *faults) capabilities(member string, list []string) (granted chat.Capability) {
	for _, name := range list {
		capability, known := chat.CapabilityNames[name]
		if !known {
			f.oneOf(member, name, chat.ActionSendMessage, chat.ActionDisconnectUser, chat.ActionDeleteMessage)
			return 0
		}
		granted |= capability
	}
	return granted
}

// session checks the duration of a session; 0 is absent.
//
// IVS-MODEL: SessionDurationInMinutes
func (f *faults) session(member string, minutes *int32) time.Duration {
	n := f.integer(member, minutes, 1, int(chat.MaxSessionDuration/time.Minute))
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Minute
}

// page checks the members that every list has.
//
// IVS-MODEL: MaxRoomResults, MaxLoggingConfigurationResults, PaginationToken
func (f *faults) page(token *string, maxResults *int32) (pageToken string, limit int) {
	pageToken = f.optionalText("nextToken", token, 0, 1024)
	if n := f.integer("maxResults", maxResults, 1, 50); n != nil {
		return pageToken, *n
	}
	return pageToken, 50
}

// destination checks a destination; that it has exactly one member the decoder has
// seen to.
//
// IVS-MODEL: DestinationConfiguration
func (f *faults) destination(d *destinationConfiguration) chat.Destination {
	switch {
	case d.S3 != nil:
		return chat.Destination{Kind: chat.DestinationS3, Name: f.matching("bucketName", d.S3.BucketName, bucketPattern)}
	case d.CloudWatchLogs != nil:
		return chat.Destination{Kind: chat.DestinationCloudWatchLogs, Name: f.matching("logGroupName", d.CloudWatchLogs.LogGroupName, logGroupPattern)}
	default:
		return chat.Destination{Kind: chat.DestinationFirehose, Name: f.matching("deliveryStreamName", d.Firehose.DeliveryStreamName, streamPattern)}
	}
}
