package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

type chatCommand struct {
	apiFlags

	Room         string            `arg:"" optional:"" name:"room" help:"The room, by its ARN or name. Default: the only one that there is."`
	RoomFlag     string            `name:"room" placeholder:"ARN|NAME" help:"The room, too."`
	User         string            `name:"user" env:"USER" placeholder:"NAME" help:"Who you are in the room."`
	Capabilities []string          `name:"capabilities" default:"SEND_MESSAGE,DELETE_MESSAGE,DISCONNECT_USER" placeholder:"NAME" help:"What you may do, of SEND_MESSAGE, DELETE_MESSAGE and DISCONNECT_USER, or none."`
	Attributes   map[string]string `name:"attributes" mapsep:"none" placeholder:"KEY=VALUE" help:"An attribute of yours, which is in each of your messages; for several the flag is repeated."`
	JSON         bool              `name:"json" help:"Print every frame as it comes, one JSON object a line, and nothing else on standard output. Lines of standard input are sent as messages."`
	Commands     bool              `name:"commands" help:"Take lines of standard input that begin with a slash as commands when it is no terminal or with --json, too."`

	capabilities []types.ChatTokenCapability
}

// Help is more than a line about the command.
func (*chatCommand) Help() string {
	return "On a terminal, what is said stands above and you write below; /help lists the commands. " +
		"Elsewhere lines of standard input are messages, and what is said in the room is printed as lines. " +
		"When standard input ends and everything has been answered, the command ends, with exit code 1 if a line was refused. " +
		"How the connection is goes to standard error."
}

// Validate is called by kong.
func (c *chatCommand) Validate() error {
	if _, err := c.messagingURL(); err != nil {
		return err
	}
	if c.User == "" {
		return fmt.Errorf("--user: say who you are in the room")
	}
	if c.Room != "" && c.RoomFlag != "" {
		return fmt.Errorf("--room: the room is named twice")
	}
	c.capabilities = nil
	for _, name := range c.Capabilities {
		capability := types.ChatTokenCapability(strings.ToUpper(name))
		switch {
		case strings.EqualFold(name, "none") && len(c.Capabilities) == 1:
		case slices.Contains(capability.Values(), capability):
			c.capabilities = append(c.capabilities, capability)
		default:
			return fmt.Errorf("--capabilities: %q is none of SEND_MESSAGE, DELETE_MESSAGE and DISCONNECT_USER", name)
		}
	}
	return nil
}

// Run talks until the person or the room has had enough.
func (c *chatCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	s, only, err := c.seat(ctx, or(c.Room, c.RoomFlag), c.User)
	if err != nil {
		return unlessOver(ctx, err)
	}
	s.capabilities, s.attributes = c.capabilities, c.Attributes
	if only {
		fmt.Fprintf(line.Stderr, "The room is %s, the only one there is.\n", s.room)
	}
	if !c.JSON && isTerminal(os.Stdin) && isTerminal(line.Stdout) && os.Getenv("TERM") != "dumb" {
		err = talkOnTerminal(ctx, s)
	} else {
		p := &pipe{talk: talk{seat: s}, stdout: line.Stdout, stderr: line.Stderr, json: c.JSON, commands: c.Commands || !c.JSON && isTerminal(os.Stdin)}
		err = p.run(ctx, os.Stdin)
	}
	return unlessOver(ctx, err)
}

// unlessOver is an error, but not one of what a signal interrupted.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !isNull(info)
}

// isNull reports whether a file is /dev/null, which is a character device too.
func isNull(info os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// printLine writes a line at once.
func printLine(w io.Writer, text string) error {
	_, err := io.WriteString(w, text+"\n")
	return err
}
