package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

type tokenCommand struct {
	Create tokenCreateCommand `cmd:"" help:"Make a chat token, which lets a user into a room once."`
	Show   tokenShowCommand   `cmd:"" help:"Show what a chat token allows, and whether it was used. Parlor only."`
}

type tokenCreateCommand struct {
	endpointFlag
	outputFlag `kong:"set='outputs=token, table, json',set='output=token'"`
	roomArg

	User         string            `name:"user" required:"" placeholder:"ID" help:"Who enters: the user's id."`
	Capabilities []string          `name:"capability" enum:"SEND_MESSAGE, DELETE_MESSAGE, DISCONNECT_USER" placeholder:"NAME" help:"What the user may do: ${enum}. May be given several times. Default: only read."`
	Attributes   map[string]string `name:"attribute" mapsep:"none" placeholder:"KEY=VALUE" help:"An attribute, shown to others with the user's messages. May be given several times."`
	Duration     time.Duration     `name:"duration" default:"60m" help:"How long the session may last, in whole minutes, 1m to 180m."`
}

// Help is called by kong.
func (t *tokenCreateCommand) Help() string {
	return `An example:

    TOKEN=$(parlor token create lobby --user alice --capability SEND_MESSAGE)

A token opens one connection: the next one needs another token.`
}

// longestSession is the longest that the API gives a session.
const longestSession = 180 * time.Minute

// Validate is called by kong.
func (t *tokenCreateCommand) Validate() error {
	if t.Duration < time.Minute || t.Duration > longestSession || t.Duration%time.Minute != 0 {
		return fmt.Errorf("--duration: %s is not whole minutes from 1m to 180m", t.Duration)
	}
	return t.check()
}

func (t *tokenCreateCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	api, arn, err := t.room(ctx, t.Room)
	if err != nil {
		return err
	}
	in := &ivschat.CreateChatTokenInput{
		RoomIdentifier: &arn, UserId: &t.User, Attributes: t.Attributes,
		SessionDurationInMinutes: aws.Int32(int32(t.Duration / time.Minute)),
	}
	for _, name := range t.Capabilities {
		in.Capabilities = append(in.Capabilities, types.ChatTokenCapability(name))
	}
	out, err := api.CreateChatToken(ctx, in)
	if err != nil {
		return err
	}
	made := struct {
		Token                 *string    `json:"token"`
		TokenExpirationTime   *time.Time `json:"tokenExpirationTime"`
		SessionExpirationTime *time.Time `json:"sessionExpirationTime"`
	}{out.Token, out.TokenExpirationTime, out.SessionExpirationTime}
	switch t.Output {
	case outputJSON:
		return printJSON(line.Stdout, made)
	case outputTable:
		table := newTable(line.Stdout)
		table.row("To be used by", timeText(made.TokenExpirationTime))
		table.row("Session until", timeText(made.SessionExpirationTime))
		table.row("Token", *made.Token)
		return table.end()
	}
	_, err = fmt.Fprintln(line.Stdout, printable(*made.Token))
	return err
}

type tokenShowCommand struct {
	endpointFlag
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`

	Token string `arg:"" name:"token" help:"The token; - reads it from standard input."`
}

// Help is called by kong.
func (t *tokenShowCommand) Help() string {
	return `An example:

    parlor token create lobby --user alice | parlor token show -

The server opens the token with its own keys, for the account that the token is of. To show a token does not use it up.`
}

// Validate is called by kong.
func (t *tokenShowCommand) Validate() error {
	if t.Endpoint == amazon {
		return errors.New("--endpoint: only a Parlor can say what is in a token; Amazon has no operation for it")
	}
	return t.check()
}

// claims are what DescribeToken answers.
type claims struct {
	ID                    string            `json:"id"`
	RoomARN               string            `json:"roomArn"`
	UserID                string            `json:"userId"`
	Capabilities          []string          `json:"capabilities"`
	Attributes            map[string]string `json:"attributes"`
	TokenExpirationTime   *time.Time        `json:"tokenExpirationTime"`
	SessionExpirationTime *time.Time        `json:"sessionExpirationTime"`
	Spent                 bool              `json:"spent"`
}

const maxToken = 64 << 10 // bytes that are read; tokens are far shorter

func (t *tokenShowCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	token := t.Token
	if token == "-" {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, maxToken))
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		token = string(text)
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return &hintedError{errors.New("there is no token"), "Is a variable empty, or did parlor token create fail?"}
	}
	api, err := t.client(ctx)
	if err != nil {
		return err
	}
	c, err := describeToken(ctx, api.Options(), t.Endpoint, token)
	if there := inRegionOf(api, missing(err)); there != api {
		c, err = describeToken(ctx, there.Options(), t.Endpoint, token)
	}
	if err != nil {
		return err
	}
	if t.Output == outputJSON {
		return printJSON(line.Stdout, c)
	}
	table := newTable(line.Stdout)
	table.row("Id", c.ID)
	table.row("Room", c.RoomARN)
	table.row("User", c.UserID)
	rows(table, "Capabilities", c.Capabilities, "none: only read")
	rows(table, "Attributes", pairs(c.Attributes), "none")
	table.row("To be used by", timeText(c.TokenExpirationTime))
	table.row("Session until", timeText(c.SessionExpirationTime))
	table.row("State", c.state(time.Now()))
	return table.end()
}

// state is what the token is good for.
func (c *claims) state(now time.Time) string {
	over := func(t *time.Time) bool { return t != nil && !now.Before(*t) }
	switch {
	case c.Spent:
		return "used: it opens no other connection"
	case over(c.TokenExpirationTime) || over(c.SessionExpirationTime):
		return "expired: it opens no connection any more"
	}
	return "unused: it opens one connection"
}

// missing is the ARN of the room that is not there, or not in the region that was asked.
func missing(err error) string {
	answer := answered(err)
	if answer == nil || answer.ErrorCode() != "ResourceNotFoundException" {
		return ""
	}
	return roomARN.FindString(answer.ErrorMessage())
}

var roomARN = regexp.MustCompile(`\barn:aws:ivschat:\S+:room/[A-Za-z0-9-]+`)

// describeToken asks a Parlor what is in a token. Its errors are of the SDK's form.
func describeToken(ctx context.Context, o ivschat.Options, endpoint, token string) (*claims, error) {
	var c claims
	if err := callOwn(ctx, o, endpoint, "DescribeToken", map[string]string{"token": token}, &c); err != nil {
		return nil, err
	}
	c.Attributes = notNil(c.Attributes)
	if c.Capabilities == nil {
		c.Capabilities = []string{}
	}
	return &c, nil
}
