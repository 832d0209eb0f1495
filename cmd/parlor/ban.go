package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/chat"
)

// ownFlag is for a verb that only a Parlor can carry out.
type ownFlag struct{ endpointFlag }

// Validate is called by kong.
func (o *ownFlag) Validate() error {
	if o.Endpoint == amazon {
		return errors.New("--endpoint: only a Parlor keeps bans and mutes; Amazon has no operation for it")
	}
	return o.check()
}

// placeFlags say who is meant, and where.
type placeFlags struct {
	ownFlag

	User string `arg:"" name:"user" help:"The user's ID."`
	Room string `name:"room" placeholder:"ROOM" help:"The room: its ARN, or its name if no other has it. Default: every room of the account in the region."`
}

// place finds the room, if one is meant.
func (p *placeFlags) place(ctx context.Context) (api *ivschat.Client, room *string, err error) {
	return placeOf(ctx, &p.endpointFlag, p.Room)
}

func placeOf(ctx context.Context, at *endpointFlag, room string) (api *ivschat.Client, found *string, err error) {
	if room == "" {
		api, err = at.client(ctx)
		return api, nil, err
	}
	api, arn, err := at.room(ctx, room)
	return api, &arn, err
}

// restrictFlags are those of ban and mute.
type restrictFlags struct {
	placeFlags

	For    span   `name:"for" placeholder:"TIME" help:"For how long, such as 90s, 10m, 12h or 30d. Default: until it is taken back."`
	Reason string `name:"reason" placeholder:"TEXT" help:"Why. Who is banned from a room reads it as the reason of the disconnect."`
}

// span is a time in whole seconds, which may be given in days.
type span time.Duration

// UnmarshalText is called by kong.
func (s *span) UnmarshalText(text []byte) error {
	d, err := chat.ParseSpan(string(text))
	if err != nil || d < time.Second || d > chat.MaxBanDuration || d%time.Second != 0 {
		return fmt.Errorf("%q is not whole seconds, minutes, hours or days from 1s to %dd", text, chat.MaxBanDuration/(24*time.Hour))
	}
	*s = span(d)
	return nil
}

type banRequest struct {
	UserID            string  `json:"userId"`
	RoomIdentifier    *string `json:"roomIdentifier,omitempty"`
	DurationInSeconds *int32  `json:"durationInSeconds,omitempty"`
	Reason            *string `json:"reason,omitempty"`
}

// shownBan is a ban or mute as the API has it.
type shownBan struct {
	UserID     string     `json:"userId"`
	RoomARN    string     `json:"roomArn,omitempty"`
	Kind       string     `json:"kind"`
	Reason     string     `json:"reason,omitempty"`
	CreateTime *time.Time `json:"createTime"`
	ExpireTime *time.Time `json:"expireTime,omitempty"`
	CreatedBy  string     `json:"createdBy"`
}

// where is where it holds, for people.
func where(room string) string { return or(room, "every room") }

// do calls BanUser or MuteUser, and says what came of it.
func (r *restrictFlags) do(line *kong.Context, operation, done string) error {
	ctx, stop := untilSignal()
	defer stop()
	api, room, err := r.place(ctx)
	if err != nil {
		return err
	}
	in := banRequest{UserID: r.User, RoomIdentifier: room}
	if r.For > 0 {
		in.DurationInSeconds = aws.Int32(int32(time.Duration(r.For) / time.Second))
	}
	if r.Reason != "" {
		in.Reason = &r.Reason
	}
	var ban shownBan
	if err := callOwn(ctx, api.Options(), r.Endpoint, operation, in, &ban); err != nil {
		return err
	}
	until := "until it is taken back"
	if ban.ExpireTime != nil {
		until = "until " + timeText(ban.ExpireTime)
	}
	_, err = fmt.Fprintf(line.Stderr, "%s is %s %s, %s.\n", printable(r.User), done, where(aws.ToString(room)), until)
	return err
}

// undo calls UnbanUser or UnmuteUser, and says what holds then: a ban of the whole account
// and one of a room are taken back each by itself.
func (p *placeFlags) undo(line *kong.Context, operation, kind, done string) error {
	ctx, stop := untilSignal()
	defer stop()
	api, room, err := p.place(ctx)
	if err != nil {
		return err
	}
	if err := callOwn(ctx, api.Options(), p.Endpoint, operation, banRequest{UserID: p.User, RoomIdentifier: room}, &struct{}{}); err != nil {
		return err
	}
	user, place := printable(p.User), aws.ToString(room)
	left, err := listBans(ctx, api, p.Endpoint, map[string]any{"userId": p.User, "kind": kind})
	if err != nil { // the key may do the one and not the other
		_, err = fmt.Fprintf(line.Stderr, "If %s was %s %s, that is taken back.\n", user, done, where(place))
		return err
	}
	everywhere := slices.ContainsFunc(left, func(b shownBan) bool { return b.RoomARN == "" })
	switch {
	case everywhere:
		_, err = fmt.Fprintf(line.Stderr, "%s is still %s every room: without --room that is taken back.\n", user, done)
	case place == "" && len(left) > 0:
		_, err = fmt.Fprintf(line.Stderr, "%s is still %s %d of the rooms; parlor bans --user shows which.\n", user, done, len(left))
	default:
		_, err = fmt.Fprintf(line.Stderr, "%s is not %s %s.\n", user, done, or(place, "any room"))
	}
	return err
}

type banCommand struct{ restrictFlags }

// Help is called by kong.
func (b *banCommand) Help() string {
	return `Examples:

    parlor ban mallory --room lobby --for 7d --reason spam
    parlor ban mallory

Sessions of the user end at once, on every node, and no chat token is made until the ban is over or taken back.`
}

func (b *banCommand) Run(line *kong.Context) error { return b.do(line, "BanUser", "banned from") }

type muteCommand struct{ restrictFlags }

// Help is called by kong.
func (m *muteCommand) Help() string {
	return `An example:

    parlor mute mallory --room lobby --for 10m

Who is muted reads on, and is told until when if they try to speak.`
}

func (m *muteCommand) Run(line *kong.Context) error { return m.do(line, "MuteUser", "muted in") }

type unbanCommand struct{ placeFlags }

func (u *unbanCommand) Run(line *kong.Context) error {
	return u.undo(line, "UnbanUser", "BAN", "banned from")
}

type unmuteCommand struct{ placeFlags }

func (u *unmuteCommand) Run(line *kong.Context) error {
	return u.undo(line, "UnmuteUser", "MUTE", "muted in")
}

type bansCommand struct {
	ownFlag
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`

	Room string `name:"room" placeholder:"ROOM" help:"Only those of a room: its ARN, or its name if no other has it."`
	User string `name:"user" placeholder:"ID" help:"Only those of a user."`
	Kind string `name:"kind" enum:"BAN, MUTE, " default:"" placeholder:"KIND" help:"Only bans or only mutes: BAN or MUTE."`
}

// Help is called by kong.
func (b *bansCommand) Help() string {
	return `Examples:

    parlor bans
    parlor bans --room lobby --kind MUTE -o json`
}

func (b *bansCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, room, err := placeOf(ctx, &b.endpointFlag, b.Room)
	if err != nil {
		return err
	}
	in := map[string]any{}
	for name, value := range map[string]string{"roomIdentifier": aws.ToString(room), "userId": b.User, "kind": b.Kind} {
		if value != "" {
			in[name] = value
		}
	}
	bans, err := listBans(ctx, api, b.Endpoint, in)
	if err != nil {
		return err
	}
	if b.Output == outputJSON {
		return printJSON(line.Stdout, struct {
			Bans []shownBan `json:"bans"`
		}{bans})
	}
	if len(bans) == 0 {
		fmt.Fprintf(line.Stderr, "No such bans or mutes in %s.\n", api.Options().Region)
		return nil
	}
	t := newTable(line.Stdout, "USER", "KIND", "WHERE", "UNTIL", "BY", "REASON")
	for _, ban := range bans {
		t.row(ban.UserID, ban.Kind, where(ban.RoomARN), timeText(ban.ExpireTime), ban.CreatedBy, or(ban.Reason, "-"))
	}
	return t.end()
}

// listBans calls ListBans for all pages. in is what to ask for.
func listBans(ctx context.Context, api *ivschat.Client, endpoint string, in map[string]any) ([]shownBan, error) {
	in["maxResults"] = maxPage
	bans := []shownBan{}
	for {
		var page struct {
			Bans      []shownBan `json:"bans"`
			NextToken string     `json:"nextToken"`
		}
		if err := callOwn(ctx, api.Options(), endpoint, "ListBans", in, &page); err != nil {
			return nil, err
		}
		bans = append(bans, page.Bans...)
		if page.NextToken == "" {
			return bans, nil
		}
		in["nextToken"] = page.NextToken
	}
}

type purgeCommand struct {
	ownFlag

	User string `arg:"" name:"user" help:"The user's ID."`
	Room string `name:"room" required:"" placeholder:"ROOM" help:"The room: its ARN, or its name if no other has it."`
}

// Help is called by kong.
func (p *purgeCommand) Help() string {
	return `An example:

    parlor purge mallory --room lobby

Deletes what the room's history has of the user, and asks every client in the room to remove it.`
}

func (p *purgeCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, arn, err := p.room(ctx, p.Room)
	if err != nil {
		return err
	}
	var out struct {
		Deleted int `json:"deleted"`
	}
	if err := callOwn(ctx, api.Options(), p.Endpoint, "PurgeUser", banRequest{UserID: p.User, RoomIdentifier: &arn}, &out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(line.Stderr, "Deleted %d messages of %s in %s.\n", out.Deleted, printable(p.User), arn)
	return err
}
