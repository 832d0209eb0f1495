package awsapi

import (
	"context"
	"strings"
	"time"

	"parlor/internal/chat"
)

// The operations of Parlor's own for moderation that lasts. docs/moderation.md says what
// they do, docs/openapi.yaml has their shapes.

type banInput struct {
	UserID            *string `json:"userId"`
	RoomIdentifier    *string `json:"roomIdentifier"`
	DurationInSeconds *int32  `json:"durationInSeconds"`
	Reason            *string `json:"reason"`
}

type unbanInput struct {
	UserID         *string `json:"userId"`
	RoomIdentifier *string `json:"roomIdentifier"`
}

// banOutput is a ban or a mute.
type banOutput struct {
	UserID     string `json:"userId"`
	RoomARN    string `json:"roomArn,omitempty"` // absent: all rooms of the region
	Kind       string `json:"kind"`
	Reason     string `json:"reason,omitempty"`
	CreateTime string `json:"createTime"`
	ExpireTime string `json:"expireTime,omitempty"` // absent: until it is taken back
	CreatedBy  string `json:"createdBy"`
}

type listBansInput struct {
	RoomIdentifier *string `json:"roomIdentifier"`
	UserID         *string `json:"userId"`
	Kind           *string `json:"kind"`
	MaxResults     *int32  `json:"maxResults"`
	NextToken      *string `json:"nextToken"`
}

type listBansOutput struct {
	Bans      []banOutput `json:"bans"`
	NextToken string      `json:"nextToken,omitempty"`
}

type purgeUserInput struct {
	RoomIdentifier *string `json:"roomIdentifier"`
	UserID         *string `json:"userId"`
}

type purgeUserOutput struct {
	Deleted int `json:"deleted"`
}

func banUser(ctx context.Context, c *call, in *banInput) (*banOutput, error) {
	return restrict(ctx, c, in, c.BanUser)
}

func muteUser(ctx context.Context, c *call, in *banInput) (*banOutput, error) {
	return restrict(ctx, c, in, c.MuteUser)
}

func restrict(ctx context.Context, c *call, in *banInput, do func(context.Context, chat.BanSpec) (chat.Ban, error)) (*banOutput, error) {
	var f faults
	spec := chat.BanSpec{UserID: f.bannedUser("userId", in.UserID), By: chat.Actor{Principal: c.caller.arn()}}
	room := f.optionalRoom("roomIdentifier", in.RoomIdentifier)
	if n := f.integer("durationInSeconds", in.DurationInSeconds, 1, int(chat.MaxBanDuration/time.Second)); n != nil {
		spec.Duration = time.Duration(*n) * time.Second
	}
	spec.Reason = f.optionalText("reason", in.Reason, 1, chat.MaxReasonLength)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.UserID = spec.UserID
	var err error
	if spec.Place, err = c.mayAt(ctx, room); err != nil {
		return nil, err
	}
	ban, err := do(ctx, spec)
	if err != nil {
		return nil, err
	}
	c.noted.Until = ban.ExpireTime
	out := banOf(ban)
	return &out, nil
}

func unbanUser(ctx context.Context, c *call, in *unbanInput) (*emptyOutput, error) {
	return relent(ctx, c, in, c.UnbanUser)
}

func unmuteUser(ctx context.Context, c *call, in *unbanInput) (*emptyOutput, error) {
	return relent(ctx, c, in, c.UnmuteUser)
}

func relent(ctx context.Context, c *call, in *unbanInput, do func(context.Context, chat.ARN, string) error) (*emptyOutput, error) {
	var f faults
	user := f.bannedUser("userId", in.UserID)
	room := f.optionalRoom("roomIdentifier", in.RoomIdentifier)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.UserID = user
	place, err := c.mayAt(ctx, room)
	if err != nil {
		return nil, err
	}
	return &emptyOutput{}, do(ctx, place, user)
}

func listBans(ctx context.Context, c *call, in *listBansInput) (*listBansOutput, error) {
	var f faults
	filter := chat.BanFilter{Room: f.optionalRoom("roomIdentifier", in.RoomIdentifier), UserID: f.optionalText("userId", in.UserID, 1, chat.MaxUserIDLength)}
	if in.Kind != nil {
		f.oneOf("kind", *in.Kind, string(chat.KindBan), string(chat.KindMute))
		filter.Kind = chat.BanKind(*in.Kind)
	}
	token, limit := f.page(in.NextToken, in.MaxResults)
	if err := f.err(); err != nil {
		return nil, err
	}
	if _, err := c.mayAt(ctx, filter.Room); err != nil {
		return nil, err
	}
	bans, next, err := c.ListBans(ctx, c.caller.Scope, filter, token, limit)
	if err != nil {
		return nil, err
	}
	out := &listBansOutput{Bans: make([]banOutput, len(bans)), NextToken: next}
	for i, ban := range bans {
		out.Bans[i] = banOf(ban)
	}
	return out, nil
}

func purgeUser(ctx context.Context, c *call, in *purgeUserInput) (*purgeUserOutput, error) {
	var f faults
	room := f.arn("roomIdentifier", in.RoomIdentifier, chat.KindRoom)
	user := f.text("userId", in.UserID, 1, chat.MaxUserIDLength)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.UserID = user
	if err := c.may(ctx, room, tagging{}); err != nil {
		return nil, err
	}
	n, err := c.PurgeUser(ctx, room, user)
	return &purgeUserOutput{Deleted: n}, err
}

// mayAt is may for a room, or, without one, for all rooms of the caller's account and
// region. It returns the place that bans have then.
func (c *call) mayAt(ctx context.Context, room chat.ARN) (place chat.ARN, err error) {
	if room != (chat.ARN{}) {
		return room, c.may(ctx, room, tagging{})
	}
	c.noted.Resource = chat.AnyRoom(c.caller.Scope)
	return chat.ARN{Scope: c.caller.Scope}, c.mayAny(chat.KindRoom, tagging{})
}

// optionalRoom checks the ARN of a room that may be absent.
func (f *faults) optionalRoom(member string, s *string) chat.ARN {
	if s == nil {
		return chat.ARN{}
	}
	return f.arn(member, s, chat.KindRoom)
}

// bannedUser checks the ID of a user who is to be stored.
func (f *faults) bannedUser(member string, s *string) string {
	user := f.text(member, s, 1, chat.MaxUserIDLength)
	if strings.ContainsRune(user, 0) {
		f.add(member, "the value must not have a NUL character")
	}
	return user
}

func banOf(b chat.Ban) banOutput {
	out := banOutput{UserID: b.UserID, Kind: string(b.Kind), Reason: b.Reason, CreateTime: milliseconds(b.CreateTime), CreatedBy: b.CreatedBy}
	if b.Place.Kind == chat.KindRoom {
		out.RoomARN = b.Place.String()
	}
	if !b.ExpireTime.IsZero() {
		out.ExpireTime = milliseconds(b.ExpireTime)
	}
	return out
}
