package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

type roomCommand struct {
	Create roomCreateCommand `cmd:"" help:"Make a room and print its ARN."`
	List   roomListCommand   `cmd:"" help:"List rooms."`
	Show   roomShowCommand   `cmd:"" help:"Show all of a room."`
	Tag    roomTagCommand    `cmd:"" help:"Set tags of a room."`
	Untag  roomUntagCommand  `cmd:"" help:"Take tags from a room."`
	Delete roomDeleteCommand `cmd:"" help:"Delete rooms, which ends their connections."`
}

// roomArg is the room that a verb is about.
type roomArg struct {
	Room string `arg:"" name:"room" help:"The room: its ARN, or its name if no other has it."`
}

// shownRoom is a room as GetRoom answers it.
type shownRoom struct {
	ARN                             string            `json:"arn"`
	ID                              string            `json:"id"`
	Name                            string            `json:"name"`
	CreateTime                      *time.Time        `json:"createTime,omitempty"`
	UpdateTime                      *time.Time        `json:"updateTime,omitempty"`
	MaximumMessageRatePerSecond     *int32            `json:"maximumMessageRatePerSecond,omitempty"` // not in a list
	MaximumMessageLength            *int32            `json:"maximumMessageLength,omitempty"`        // not in a list
	MessageReviewHandler            *shownHandler     `json:"messageReviewHandler,omitempty"`
	LoggingConfigurationIdentifiers []string          `json:"loggingConfigurationIdentifiers"`
	Tags                            map[string]string `json:"tags"`
}

type shownHandler struct {
	URI            string `json:"uri"`
	FallbackResult string `json:"fallbackResult"`
}

func showHandler(h *types.MessageReviewHandler) *shownHandler {
	if h == nil {
		return nil
	}
	return &shownHandler{aws.ToString(h.Uri), string(h.FallbackResult)}
}

func showRoom(r *ivschat.GetRoomOutput) shownRoom {
	return shownRoom{
		ARN: aws.ToString(r.Arn), ID: aws.ToString(r.Id), Name: aws.ToString(r.Name), CreateTime: r.CreateTime, UpdateTime: r.UpdateTime,
		MaximumMessageRatePerSecond: r.MaximumMessageRatePerSecond, MaximumMessageLength: r.MaximumMessageLength,
		MessageReviewHandler:            showHandler(r.MessageReviewHandler),
		LoggingConfigurationIdentifiers: append([]string{}, r.LoggingConfigurationIdentifiers...), Tags: notNil(r.Tags),
	}
}

// print prints the room in one of the forms of create and show.
func (r shownRoom) print(line *kong.Context, form string) error {
	switch form {
	case outputJSON:
		return printJSON(line.Stdout, r)
	case "arn":
		_, err := fmt.Fprintln(line.Stdout, printable(r.ARN))
		return err
	}
	t := newTable(line.Stdout)
	t.row("Name", or(r.Name, "-"))
	t.row("ARN", r.ARN)
	t.row("Messages", fmt.Sprintf("at most %d characters, at most %d a second", aws.ToInt32(r.MaximumMessageLength), aws.ToInt32(r.MaximumMessageRatePerSecond)))
	if h := r.MessageReviewHandler; h != nil && h.URI != "" {
		t.row("Review", h.URI)
		t.row("", h.FallbackResult+" if it does not answer")
	} else {
		t.row("Review", "none")
	}
	rows(t, "Logging", r.LoggingConfigurationIdentifiers, "none")
	rows(t, "Tags", pairs(r.Tags), "none")
	t.row("Created", timeText(r.CreateTime))
	t.row("Updated", timeText(r.UpdateTime))
	return t.end()
}

// rows adds one row for each text, the first of which is labelled.
func rows(t *table, label string, texts []string, none string) {
	if len(texts) == 0 {
		t.row(label, none)
	}
	for _, text := range texts {
		t.row(label, text)
		label = ""
	}
}

// pairs are a map's, in order.
func pairs(m map[string]string) (all []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, key+"="+m[key])
	}
	return all
}

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

type roomCreateCommand struct {
	endpointFlag
	outputFlag `kong:"set='outputs=arn, table, json',set='output=arn'"`

	Name     string            `name:"name" placeholder:"NAME" help:"Need not be the only one of its name."`
	Tags     map[string]string `name:"tag" mapsep:"none" placeholder:"KEY=VALUE" help:"A tag. May be given several times."`
	Length   *int32            `name:"max-message-length" placeholder:"N" help:"Characters of a message, 1 to 500. Default: 500."`
	Rate     *int32            `name:"max-messages-per-second" placeholder:"N" help:"Messages a second in the room, 1 to 100. Default: 10."`
	Handler  string            `name:"handler" placeholder:"ARN" help:"The AWS Lambda function that reviews messages."`
	Fallback string            `name:"fallback" enum:"ALLOW, DENY" default:"ALLOW" placeholder:"RESULT" help:"What becomes of a message that --handler does not answer for: ${enum}."`
	Logging  []string          `name:"logging" sep:"none" placeholder:"ARN" help:"A logging configuration. May be given several times."`
}

// Help is called by kong.
func (r *roomCreateCommand) Help() string {
	return `Examples:

    parlor room create --name lobby
    ROOM=$(parlor room create --name lobby --tag team=web)

What is said here can be changed later by aws ivschat update-room.`
}

// Validate is called by kong.
func (r *roomCreateCommand) Validate(line *kong.Context) error {
	if onLine(line, "fallback") && r.Handler == "" {
		return errors.New("--fallback: there is no --handler that it could stand in for")
	}
	return r.check()
}

func (r *roomCreateCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, err := r.client(ctx)
	if err != nil {
		return err
	}
	in := &ivschat.CreateRoomInput{
		MaximumMessageLength: r.Length, MaximumMessageRatePerSecond: r.Rate,
		LoggingConfigurationIdentifiers: r.Logging, Tags: r.Tags,
	}
	if r.Name != "" {
		in.Name = &r.Name
	}
	if r.Handler != "" {
		in.MessageReviewHandler = &types.MessageReviewHandler{Uri: &r.Handler, FallbackResult: types.FallbackResult(r.Fallback)}
	}
	out, err := api.CreateRoom(ctx, in)
	if err != nil {
		return err
	}
	return showRoom(&ivschat.GetRoomOutput{
		Arn: out.Arn, Id: out.Id, Name: out.Name, CreateTime: out.CreateTime, UpdateTime: out.UpdateTime,
		MaximumMessageRatePerSecond: out.MaximumMessageRatePerSecond, MaximumMessageLength: out.MaximumMessageLength,
		MessageReviewHandler: out.MessageReviewHandler, LoggingConfigurationIdentifiers: out.LoggingConfigurationIdentifiers, Tags: out.Tags,
	}).print(line, r.Output)
}

type roomListCommand struct {
	endpointFlag
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`

	Name    string `name:"name" placeholder:"NAME" help:"Only rooms of this name."`
	Handler string `name:"handler" placeholder:"ARN" help:"Only rooms that this AWS Lambda function reviews."`
	Logging string `name:"logging" placeholder:"ARN" help:"Only rooms with this logging configuration."`
	Limit   int    `name:"limit" placeholder:"N" help:"At most so many. Default: all."`
}

// Help is called by kong.
func (r *roomListCommand) Help() string {
	return `Examples:

    parlor room list
    parlor room list -o json | jq -r '.rooms[].arn'`
}

// Validate is called by kong.
func (r *roomListCommand) Validate(line *kong.Context) error {
	if r.Limit < 0 || r.Limit == 0 && onLine(line, "limit") {
		return fmt.Errorf("--limit: must be at least 1, not %d", r.Limit)
	}
	return r.check()
}

// maxPage is the longest page of a list that the API has.
const maxPage = 50

func (r *roomListCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, err := r.client(ctx)
	if err != nil {
		return err
	}
	rooms, more, err := r.rooms(ctx, api)
	if err != nil {
		return err
	}
	if r.Output == outputJSON {
		err = printJSON(line.Stdout, struct {
			Rooms []shownRoom `json:"rooms"`
		}{rooms})
	} else if len(rooms) > 0 {
		t := newTable(line.Stdout, "NAME", "ARN", "CREATED")
		for _, room := range rooms {
			t.row(or(room.Name, "-"), room.ARN, ago(aws.ToTime(room.CreateTime)))
		}
		err = t.end()
	}
	switch {
	case err != nil:
		return err
	case more:
		fmt.Fprintf(line.Stderr, "There are more rooms than --limit %d.\n", r.Limit)
	case len(rooms) == 0 && r.Name+r.Handler+r.Logging != "":
		fmt.Fprintf(line.Stderr, "No such rooms in %s.\n", api.Options().Region)
	case len(rooms) == 0:
		fmt.Fprintf(line.Stderr, "No rooms in %s. parlor room create --name lobby makes one; AWS_REGION names another region.\n", api.Options().Region)
	}
	return nil
}

// rooms are those asked for; more says that there are others.
func (r *roomListCommand) rooms(ctx context.Context, api *ivschat.Client) (rooms []shownRoom, more bool, err error) {
	in := &ivschat.ListRoomsInput{MaxResults: aws.Int32(maxPage)}
	for _, filter := range []struct {
		text string
		to   **string
	}{{r.Name, &in.Name}, {r.Handler, &in.MessageReviewHandlerUri}, {r.Logging, &in.LoggingConfigurationIdentifier}} {
		if filter.text != "" {
			*filter.to = &filter.text
		}
	}
	rooms = []shownRoom{}
	pages := ivschat.NewListRoomsPaginator(api, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, false, err
		}
		for _, room := range page.Rooms {
			if len(rooms) == r.Limit && r.Limit > 0 {
				return rooms, true, nil
			}
			rooms = append(rooms, showRoom(&ivschat.GetRoomOutput{
				Arn: room.Arn, Id: room.Id, Name: room.Name, CreateTime: room.CreateTime, UpdateTime: room.UpdateTime,
				MessageReviewHandler: room.MessageReviewHandler, LoggingConfigurationIdentifiers: room.LoggingConfigurationIdentifiers, Tags: room.Tags,
			}))
		}
	}
	return rooms, false, nil
}

type roomShowCommand struct {
	endpointFlag
	outputFlag `kong:"set='outputs=table, arn, json',set='output=table'"`
	roomArg
}

// Help is called by kong.
func (r *roomShowCommand) Help() string {
	return `Examples:

    parlor room show lobby
    parlor room show arn:aws:ivschat:us-east-1:000000000000:room/AbCdEfGhIjKl -o json | jq .tags
    aws ivschat send-event --event-name poll --room-identifier $(parlor room show lobby -o arn)`
}

// Validate is called by kong.
func (r *roomShowCommand) Validate() error { return r.check() }

func (r *roomShowCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, arn, err := r.room(ctx, r.Room)
	if err != nil {
		return err
	}
	out, err := api.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &arn})
	if err != nil {
		return err
	}
	return showRoom(out).print(line, r.Output)
}

type roomTagCommand struct {
	endpointFlag
	roomArg

	Tags map[string]string `arg:"" name:"key=value" mapsep:"none" help:"The tags. Others that the room has stay."`
}

// Validate is called by kong.
func (r *roomTagCommand) Validate() error { return r.check() }

func (r *roomTagCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, arn, err := r.room(ctx, r.Room)
	if err != nil {
		return err
	}
	if _, err := api.TagResource(ctx, &ivschat.TagResourceInput{ResourceArn: &arn, Tags: r.Tags}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(line.Stderr, "%s has %s.\n", arn, printable(strings.Join(pairs(r.Tags), ", ")))
	return err
}

type roomUntagCommand struct {
	endpointFlag
	roomArg

	Keys []string `arg:"" name:"key" help:"The keys of the tags. One that the room does not have is no error."`
}

// Validate is called by kong.
func (r *roomUntagCommand) Validate() error { return r.check() }

func (r *roomUntagCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, arn, err := r.room(ctx, r.Room)
	if err != nil {
		return err
	}
	if _, err := api.UntagResource(ctx, &ivschat.UntagResourceInput{ResourceArn: &arn, TagKeys: r.Keys}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(line.Stderr, "%s does not have %s.\n", arn, printable(strings.Join(r.Keys, ", ")))
	return err
}

type roomDeleteCommand struct {
	endpointFlag

	Rooms []string `arg:"" name:"room" help:"The rooms: each by its ARN, or its name if no other has it."`
}

// Validate is called by kong.
func (r *roomDeleteCommand) Validate() error { return r.check() }

// Run deletes all of the rooms, or none if one is not found by its name. One that cannot
// be deleted does not keep the others.
func (r *roomDeleteCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, err := r.client(ctx)
	if err != nil {
		return err
	}
	var arns []string
	for _, room := range r.Rooms {
		arn, err := findRoom(ctx, api, room)
		if err != nil {
			return err
		}
		if !slices.Contains(arns, arn) {
			arns = append(arns, arn)
		}
	}
	var failed []error
	for _, arn := range arns {
		_, err := inRegionOf(api, arn).DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &arn})
		switch {
		case err == nil:
			fmt.Fprintf(line.Stderr, "Deleted %s.\n", arn)
		case answered(err) == nil: // nor would the next be answered
			return err
		default:
			failed = append(failed, err)
		}
	}
	if len(failed) < 2 {
		return errors.Join(failed...)
	}
	text := fmt.Sprintf("%d rooms were not deleted:", len(failed))
	for _, err := range failed {
		text += "\n  " + plain(err)
	}
	return &hintedError{errors.New(text), hint(failed[0])}
}
