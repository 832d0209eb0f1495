package awsapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"parlor/internal/chat"
)

// The operations of Parlor's own for what the API does not tell: they only read.

// mostDescribedRooms is how many rooms one DescribeNode may ask for.
const mostDescribedRooms = 100

type describeNodeInput struct {
	Rooms []string `json:"rooms"`
	Users *bool    `json:"users"`
}

// NodeQuestion is what a DescribeNode asks for.
type NodeQuestion struct {
	Rooms []chat.ARN // of the scope; nil: those with the most connections
	Users bool       // also who is there
}

// Node is the output of DescribeNode: one node's view, for a caller of one scope. Lists
// are never nil.
type Node struct {
	ID        string        `json:"id"`
	Version   string        `json:"version"`
	StartTime Time          `json:"startTime"`
	Time      Time          `json:"time"` // now
	Mode      string        `json:"mode"`
	Nodes     []NodePeer    `json:"nodes"`
	Rooms     []NodeRoom    `json:"rooms"`
	Backlogs  []NodeBacklog `json:"backlogs"`
	Metrics   []NodeMetric  `json:"metrics"`
}

// Time is a time, written in milliseconds as those of resources are.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + milliseconds(t.Time) + `"`), nil }

// NodePeer is another node.
type NodePeer struct {
	ID           string `json:"id"`
	Well         bool   `json:"well"` // it reaches the broker
	LastSeenTime Time   `json:"lastSeenTime"`
}

// NodeRoom is what a room has on this node.
type NodeRoom struct {
	ARN         string     `json:"arn"`
	Connections int        `json:"connections"`
	Messages    uint64     `json:"messages"`       // a counter, which begins anew when the room's last session left
	Users       []NodeUser `json:"users,omitzero"` // nil unless asked for
}

// NodeUser is a user in a room.
type NodeUser struct {
	UserID      string `json:"userId"`
	Connections int    `json:"connections"`
}

// NodeBacklog is what of the chat log waits on this node for one destination.
type NodeBacklog struct {
	LoggingConfiguration string `json:"loggingConfiguration"` // ARN
	Kind                 string `json:"kind"`
	Name                 string `json:"name"`
	Records              int    `json:"records"`
	Bytes                int64  `json:"bytes"`
	OldestTime           Time   `json:"oldestTime,omitzero"`
	Adopted              bool   `json:"adopted,omitempty"`
	Partial              bool   `json:"partial,omitempty"` // there are more records than were counted
}

// NodeMetric is a metric with its samples.
type NodeMetric struct {
	Name    string       `json:"name"`
	Type    string       `json:"type"` // counter, gauge or histogram
	Samples []NodeSample `json:"samples"`
}

// NodeSample has a Value, or if it is of a histogram the other members. A bucket is its
// upper bound and how many observations were not above it; that without a bound is left out.
type NodeSample struct {
	Labels  map[string]string `json:"labels"`
	Value   *float64          `json:"value,omitempty"`
	Count   *uint64           `json:"count,omitempty"`
	Sum     *float64          `json:"sum,omitempty"`
	Buckets [][2]float64      `json:"buckets,omitempty"`
}

// describeNode tells of the rooms that the caller may see: a policy that keeps this
// operation from one, by its ARN or its tags, is heeded for each.
func describeNode(ctx context.Context, c *call, in *describeNodeInput) (*Node, error) {
	var f faults
	question := NodeQuestion{Rooms: f.rooms("rooms", in.Rooms), Users: in.Users != nil && *in.Users}
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := c.mayAny(chat.KindRoom, tagging{}); err != nil {
		return nil, err
	}
	var failed error
	hidden := func(arn chat.ARN) bool {
		if arn.Scope != c.caller.Scope || failed != nil {
			return true
		}
		err := c.may(ctx, arn, tagging{})
		if err != nil && chat.AsError(err).Code != chat.Forbidden {
			failed = err
		}
		return err != nil
	}
	picked := question.Rooms == nil
	question.Rooms = slices.DeleteFunc(question.Rooms, hidden)
	if failed != nil {
		return nil, failed
	}
	node, err := c.node(ctx, c.caller.Scope, question)
	if err == nil && picked && c.caller.Policy != nil {
		node.Rooms = slices.DeleteFunc(node.Rooms, func(room NodeRoom) bool {
			arn, err := chat.ParseARN(room.ARN)
			return err != nil || hidden(arn)
		})
	}
	if err := cmp.Or(err, failed); err != nil {
		return nil, err
	}
	return &node, nil
}

// rooms checks a list of rooms, which may be absent or empty (nil); a room named twice is
// named.
func (f *faults) rooms(member string, list []string) (arns []chat.ARN) {
	if len(list) > mostDescribedRooms {
		f.add(member, "the list must have between 0 and %d members", mostDescribedRooms)
		return nil
	}
	for _, s := range list {
		before := len(f.fields)
		arn := f.arn(member, &s, chat.KindRoom)
		if len(f.fields) > before {
			return nil // one fault per member
		}
		if !slices.Contains(arns, arn) {
			arns = append(arns, arn)
		}
	}
	return arns
}

type describeTokenInput struct {
	Token *string `json:"token"`
}

// describeTokenOutput is what a token grants. Spent is whether it opened its connection,
// as far as that is still known.
type describeTokenOutput struct {
	ID                    string            `json:"id"`
	RoomARN               string            `json:"roomArn"`
	UserID                string            `json:"userId"`
	Capabilities          []string          `json:"capabilities"`
	Attributes            map[string]string `json:"attributes"`
	TokenExpirationTime   string            `json:"tokenExpirationTime"`
	SessionExpirationTime string            `json:"sessionExpirationTime"`
	Spent                 bool              `json:"spent"`
}

func describeToken(ctx context.Context, c *call, in *describeTokenInput) (*describeTokenOutput, error) {
	var f faults
	token := f.text("token", in.Token, 1, chat.MaxTokenLength)
	if err := f.err(); err != nil {
		return nil, err
	}
	claims, spent, err := c.DescribeToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if err := c.may(ctx, claims.Room, tagging{}); err != nil {
		return nil, err
	}
	out := &describeTokenOutput{
		ID:                    claims.ID.String(),
		RoomARN:               claims.Room.String(),
		UserID:                claims.UserID,
		Capabilities:          []string{},
		Attributes:            claims.Attributes,
		TokenExpirationTime:   seconds(claims.TokenExpires),
		SessionExpirationTime: seconds(claims.SessionExpires),
		Spent:                 spent,
	}
	for name, capability := range chat.CapabilityNames {
		if claims.Capabilities&capability != 0 {
			out.Capabilities = append(out.Capabilities, name)
		}
	}
	slices.Sort(out.Capabilities)
	return out, nil
}
