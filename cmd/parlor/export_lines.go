package main

import (
	"encoding/json"
	"strings"
	"time"

	"parlor/internal/chat"
	"parlor/internal/store"
)

// An export is JSON Lines: a header, then a line for each thing, what is referred to
// first, then a line that says how many there were: a file without it was cut short.
// Members are named as the API names them. docs/operations.md has the format; a change
// that an older Parlor would misread is a new exportVersion. Version 2 has bans.
const (
	exportFormat  = "parlor-export"
	exportVersion = 2
	maxLine       = 1 << 20 // bytes; the largest room has half of that
)

type headerLine struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Exported time.Time `json:"exported"`
	Keys     bool      `json:"keys"` // whether token keys are in it
}

const (
	typeLoggingConfiguration = "loggingConfiguration"
	typeRoom                 = "room"
	typeBan                  = "ban"
	typeTokenKey             = "tokenKey"
	typeSpentToken           = "spentToken"
	typeEnd                  = "end"
)

type loggingConfigurationLine struct {
	Type        string            `json:"type"`
	ARN         string            `json:"arn"`
	Name        string            `json:"name"`
	Destination destinationLine   `json:"destination"`
	Tags        map[string]string `json:"tags"`
	CreateTime  time.Time         `json:"createTime"`
	UpdateTime  time.Time         `json:"updateTime"`
}

type destinationLine struct {
	Kind string `json:"kind"` // s3, cloudWatchLogs or firehose
	Name string `json:"name"`
}

type roomLine struct {
	Type                  string            `json:"type"`
	ARN                   string            `json:"arn"`
	Name                  string            `json:"name"`
	MaximumMessageRate    int               `json:"maximumMessageRatePerSecond"`
	MaximumMessageLength  int               `json:"maximumMessageLength"`
	Handler               *handlerLine      `json:"messageReviewHandler,omitempty"`
	LoggingConfigurations []string          `json:"loggingConfigurationIdentifiers"`
	Tags                  map[string]string `json:"tags"`
	CreateTime            time.Time         `json:"createTime"`
	UpdateTime            time.Time         `json:"updateTime"`
}

type handlerLine struct {
	URI            string `json:"uri"`
	FallbackResult string `json:"fallbackResult"`
}

type banLine struct {
	Type       string    `json:"type"`
	ID         string    `json:"id"`
	ARN        string    `json:"arn"` // the room's; room/* is all of an account and region
	UserID     string    `json:"userId"`
	Kind       string    `json:"kind"` // BAN or MUTE
	Reason     string    `json:"reason,omitempty"`
	CreateTime time.Time `json:"createTime"`
	ExpireTime time.Time `json:"expireTime,omitzero"`
	CreatedBy  string    `json:"createdBy"`
}

type tokenKeyLine struct {
	Type    string    `json:"type"`
	ID      uint32    `json:"id"`
	Created time.Time `json:"created"`
	Secret  []byte    `json:"secret"` // base64
}

type spentTokenLine struct {
	Type  string    `json:"type"`
	ID    []byte    `json:"id"` // base64
	Until time.Time `json:"until"`
}

type endLine struct {
	Type   string      `json:"type"`
	Counts *lineCounts `json:"counts,omitempty"`
}

// lineCounts say how many lines of a type there are.
type lineCounts struct {
	LoggingConfigurations int `json:"loggingConfigurations"`
	Rooms                 int `json:"rooms"`
	Bans                  int `json:"bans"`
	TokenKeys             int `json:"tokenKeys"`
	SpentTokens           int `json:"spentTokens"`
}

func (c *lineCounts) count(thing any) {
	switch thing.(type) {
	case chat.LoggingConfiguration:
		c.LoggingConfigurations++
	case chat.Room:
		c.Rooms++
	case chat.Ban:
		c.Bans++
	case chat.TokenKey:
		c.TokenKeys++
	case store.SpentToken:
		c.SpentTokens++
	}
}

// lineOf is the line for a thing.
func lineOf(thing any) any {
	switch t := thing.(type) {
	case chat.LoggingConfiguration:
		return loggingConfigurationLine{typeLoggingConfiguration, t.ARN.String(), t.Name, destinationLine{string(t.Destination.Kind), t.Destination.Name},
			t.Tags, t.CreateTime, t.UpdateTime}
	case chat.Room:
		line := roomLine{typeRoom, t.ARN.String(), t.Name, t.MaximumMessageRatePerSecond, t.MaximumMessageLength, nil,
			make([]string, len(t.LoggingConfigurations)), t.Tags, t.CreateTime, t.UpdateTime}
		if t.Handler != nil {
			line.Handler = &handlerLine{t.Handler.URI, string(t.Handler.Fallback)}
		}
		for i, lc := range t.LoggingConfigurations {
			line.LoggingConfigurations[i] = lc.String()
		}
		return line
	case chat.Ban:
		at := t.Place
		if at.Kind == "" {
			at = chat.AnyRoom(at.Scope)
		}
		return banLine{typeBan, t.ID, at.String(), t.UserID, string(t.Kind), t.Reason, t.CreateTime, t.ExpireTime, t.CreatedBy}
	case chat.TokenKey:
		return tokenKeyLine{typeTokenKey, t.ID, t.Created, t.Secret}
	case store.SpentToken:
		return spentTokenLine{typeSpentToken, t.ID[:], t.Until}
	}
	return thing
}

// thingOf is the inverse of lineOf, for a line that is no header. The thing of an end is
// its *endLine. An error says what is wrong with the line.
func thingOf(line []byte) (any, error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return nil, err
	}
	switch kind.Type {
	case typeLoggingConfiguration:
		return strictly(line, func(l *loggingConfigurationLine) (any, error) {
			arn, err := parseARN("arn", l.ARN)
			return chat.LoggingConfiguration{ARN: arn, Name: l.Name, CreateTime: stored(l.CreateTime), UpdateTime: stored(l.UpdateTime),
				Destination: chat.Destination{Kind: chat.DestinationKind(l.Destination.Kind), Name: l.Destination.Name}, Tags: notNil(l.Tags)}, err
		})
	case typeRoom:
		return strictly(line, func(l *roomLine) (any, error) {
			arn, err := parseARN("arn", l.ARN)
			if err != nil {
				return nil, err
			}
			room := chat.Room{ARN: arn, Name: l.Name, CreateTime: stored(l.CreateTime), UpdateTime: stored(l.UpdateTime), Tags: notNil(l.Tags),
				MaximumMessageRatePerSecond: l.MaximumMessageRate, MaximumMessageLength: l.MaximumMessageLength}
			if h := l.Handler; h != nil {
				room.Handler = &chat.ReviewHandler{URI: h.URI, Fallback: chat.FallbackResult(h.FallbackResult)}
			}
			room.LoggingConfigurations, err = parseARNs("loggingConfigurationIdentifiers", l.LoggingConfigurations)
			return room, err
		})
	case typeBan:
		return strictly(line, func(l *banLine) (any, error) {
			room, everywhere := strings.CutSuffix(l.ARN, "*")
			if everywhere {
				room += "any"
			}
			arn, err := parseARN("arn", room)
			if everywhere {
				arn = chat.ARN{Scope: arn.Scope}
			}
			ban := chat.Ban{ID: l.ID, Place: arn, UserID: l.UserID, Kind: chat.BanKind(l.Kind), Reason: l.Reason, CreateTime: stored(l.CreateTime), CreatedBy: l.CreatedBy}
			if !l.ExpireTime.IsZero() {
				ban.ExpireTime = stored(l.ExpireTime)
			}
			return ban, err
		})
	case typeTokenKey:
		return strictly(line, func(l *tokenKeyLine) (any, error) {
			return chat.TokenKey{ID: l.ID, Created: stored(l.Created), Secret: l.Secret}, nil
		})
	case typeSpentToken:
		return strictly(line, func(l *spentTokenLine) (any, error) {
			var id chat.TokenID
			if len(l.ID) != len(id) {
				return nil, wrong("id", "it must have %d bytes", len(id))
			}
			return store.SpentToken{ID: chat.TokenID(l.ID), Until: stored(l.Until)}, nil
		})
	case typeEnd:
		return strictly(line, func(l *endLine) (any, error) { return l, nil })
	case "":
		return nil, wrong("type", "it is missing")
	}
	return nil, wrong("type", "%q is not known", kind.Type)
}

// stored is a time as a store keeps it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func notNil(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}
