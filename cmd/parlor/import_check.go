package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parlor/internal/chat"
	"parlor/internal/store"
)

// strictly decodes a line of one type: a member that is not known, or twice there, is an
// error.
func strictly[L any](line []byte, thing func(*L) (any, error)) (any, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("it is not UTF-8")
	}
	if err := unique(line); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	var l L
	if err := decoder.Decode(&l); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("there is more than one value in the line")
	}
	return thing(&l)
}

// unique refuses an object that has a member twice, of which encoding/json would take
// one or the other.
func unique(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		members map[string]bool // nil in an array
		key     bool            // a member's name is next
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil // the end, or what the decoder says better
		}
		var top *level
		if len(levels) > 0 {
			top = &levels[len(levels)-1]
		}
		if name, ok := token.(string); ok && top != nil && top.key {
			if top.members[name] {
				return wrong(name, "it is there twice")
			}
			top.members[name], top.key = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{map[string]bool{}, true})
			continue
		case json.Delim('['):
			levels = append(levels, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
			if len(levels) > 0 {
				top = &levels[len(levels)-1]
			}
		}
		if top != nil {
			top.key = top.members != nil
		}
	}
}

func wrong(member, format string, args ...any) error {
	return fmt.Errorf("%s: %s", member, fmt.Sprintf(format, args...))
}

func parseARN(member, text string) (chat.ARN, error) {
	arn, err := chat.ParseARN(text)
	if err != nil {
		return arn, wrong(member, "%q is not the ARN of a room or a logging configuration", text)
	}
	return arn, nil
}

// parseARNs is nil for none.
func parseARNs(member string, texts []string) (arns []chat.ARN, err error) {
	for _, text := range texts {
		arn, err := parseARN(member, text)
		if err != nil {
			return nil, err
		}
		arns = append(arns, arn)
	}
	return arns, nil
}

// What the model has for what is stored, as awsapi has it for what is asked.
//
// IVS-MODEL: RoomName, LoggingConfigurationName, LambdaArn, BucketName, LogGroupName,
// DeliveryStreamName
var (
	namePattern         = regexp.MustCompile(`^[a-zA-Z0-9_-]{0,128}$`)
	lambdaPattern       = regexp.MustCompile(`^$|^arn:aws:lambda:[a-z0-9-]+:[0-9]{12}:function:[^\x00\n\r\x{85}\x{2028}\x{2029}]+$`)
	destinationPatterns = map[chat.DestinationKind]*regexp.Regexp{
		chat.DestinationS3:             regexp.MustCompile(`^[a-z0-9.-]{3,63}$`),
		chat.DestinationCloudWatchLogs: regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`),
		chat.DestinationFirehose:       regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`),
	}
)

// check returns the first thing that is wrong with what is to be imported.
func check(thing any) error {
	switch t := thing.(type) {
	case chat.LoggingConfiguration:
		pattern := destinationPatterns[t.Destination.Kind]
		switch {
		case t.ARN.Kind != chat.KindLoggingConfiguration:
			return wrong("arn", "%s is not the ARN of a logging configuration", t.ARN)
		case pattern == nil:
			return wrong("destination", "the kind must be s3, cloudWatchLogs or firehose")
		case !pattern.MatchString(t.Destination.Name):
			return wrong("destination", "the name must match %s", pattern)
		}
		return checkCommon(t.Name, t.Tags, t.CreateTime, t.UpdateTime)
	case chat.Room:
		if err := checkRoom(t); err != nil {
			return err
		}
		return checkCommon(t.Name, t.Tags, t.CreateTime, t.UpdateTime)
	case chat.Ban:
		return checkBan(t)
	case chat.TokenKey:
		if len(t.Secret) != 32 {
			return wrong("secret", "it must have 32 bytes")
		}
		return checkTime("created", t.Created)
	case store.SpentToken:
		return checkTime("until", t.Until)
	}
	return fmt.Errorf("a %T cannot be imported", thing)
}

func checkBan(b chat.Ban) error {
	switch {
	case b.Place.Kind != chat.KindRoom && b.Place.Kind != "":
		return wrong("arn", "%s is not the ARN of a room", b.Place)
	case !chat.ValidID(b.ID):
		return wrong("id", "it must have 12 letters and digits")
	case b.UserID == "" || utf8.RuneCountInString(b.UserID) > chat.MaxUserIDLength || strings.ContainsRune(b.UserID, 0):
		return wrong("userId", "the length must be between 1 and %d, without a NUL character", chat.MaxUserIDLength)
	case b.Kind != chat.KindBan && b.Kind != chat.KindMute:
		return wrong("kind", "it must be BAN or MUTE")
	case utf8.RuneCountInString(b.Reason) > chat.MaxReasonLength || strings.ContainsRune(b.Reason, 0):
		return wrong("reason", "the length must be at most %d, without a NUL character", chat.MaxReasonLength)
	case len(b.CreatedBy) > 2048 || strings.ContainsRune(b.CreatedBy, 0):
		return wrong("createdBy", "the length must be at most 2048, without a NUL character")
	}
	if !b.ExpireTime.IsZero() {
		if err := checkTime("expireTime", b.ExpireTime); err != nil {
			return err
		}
	}
	return checkTime("createTime", b.CreateTime)
}

// IVS-MODEL: RoomMaxMessageRatePerSecond, RoomMaxMessageLength,
// LoggingConfigurationIdentifierList, MessageReviewHandler
func checkRoom(r chat.Room) error {
	switch {
	case r.ARN.Kind != chat.KindRoom:
		return wrong("arn", "%s is not the ARN of a room", r.ARN)
	case r.MaximumMessageRatePerSecond < 1 || r.MaximumMessageRatePerSecond > 100:
		return wrong("maximumMessageRatePerSecond", "it must be between 1 and 100")
	case r.MaximumMessageLength < 1 || r.MaximumMessageLength > 500:
		return wrong("maximumMessageLength", "it must be between 1 and 500")
	case len(r.LoggingConfigurations) > chat.MaxLoggingConfigurationsPerRoom:
		return wrong("loggingConfigurationIdentifiers", "there must be at most %d", chat.MaxLoggingConfigurationsPerRoom)
	}
	for i, lc := range r.LoggingConfigurations {
		switch {
		case lc.Kind != chat.KindLoggingConfiguration:
			return wrong("loggingConfigurationIdentifiers", "%s is not the ARN of a logging configuration", lc)
		case lc.Scope != r.ARN.Scope:
			return wrong("loggingConfigurationIdentifiers", "%s is not of the room's account and region", lc)
		case slices.Contains(r.LoggingConfigurations[:i], lc):
			return wrong("loggingConfigurationIdentifiers", "%s is there twice", lc)
		}
	}
	if h := r.Handler; h != nil {
		switch {
		case len(h.URI) > 170*utf8.UTFMax || utf8.RuneCountInString(h.URI) > 170 || !lambdaPattern.MatchString(h.URI):
			return wrong("messageReviewHandler", "the uri must be empty or the ARN of a Lambda function")
		case h.Fallback != chat.FallbackAllow && h.Fallback != chat.FallbackDeny:
			return wrong("messageReviewHandler", "the fallbackResult must be ALLOW or DENY")
		}
	}
	return nil
}

// checkCommon checks what all resources have. Tags that begin with aws: are Amazon's,
// which its resources may have beside the 50 of their owner.
//
// IVS-MODEL: Tags
func checkCommon(name string, tags map[string]string, created, updated time.Time) error {
	if !namePattern.MatchString(name) {
		return wrong("name", "it must match %s", namePattern)
	}
	own := 0
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128:
			return wrong("tags", "the length of a key must be between 1 and 128")
		case utf8.RuneCountInString(value) > 256:
			return wrong("tags", "the length of a value must be between 0 and 256")
		case strings.ContainsRune(key, 0) || strings.ContainsRune(value, 0):
			return wrong("tags", "keys and values must not have a NUL character")
		case !utf8.ValidString(key) || !utf8.ValidString(value):
			return wrong("tags", "keys and values must be UTF-8")
		case !strings.HasPrefix(strings.ToLower(key), "aws:"):
			own++
		}
	}
	if own > chat.MaxTags {
		return wrong("tags", "there must be at most %d", chat.MaxTags)
	}
	if err := checkTime("createTime", created); err != nil {
		return err
	}
	return checkTime("updateTime", updated)
}

func checkTime(member string, t time.Time) error {
	if t.Year() < 1970 || t.Year() > 9999 {
		return wrong(member, "it must be a time from 1970 on")
	}
	return nil
}
