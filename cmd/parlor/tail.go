package main

import (
	"fmt"

	"github.com/alecthomas/kong"
)

type tailCommand struct {
	apiFlags

	Room   string `arg:"" optional:"" name:"room" help:"The room, by its ARN or name. Default: the only one that there is."`
	User   string `name:"user" default:"parlor-tail" placeholder:"NAME" help:"Whose connection it is."`
	Output string `name:"output" short:"o" enum:"json,text" default:"json" help:"json: every frame as it comes, one object a line; text: lines for people."`
	Count  int    `name:"count" short:"n" default:"0" placeholder:"N" help:"End after so many frames. Default: when interrupted."`
}

// Help is more than a line about the command.
func (*tailCommand) Help() string {
	return "Nothing is kept of a room: it prints what comes from now on. How the connection is goes to standard error; " +
		"when it breaks, it is opened again. An interrupt ends the command with exit code 0, a deleted room with 1."
}

// Validate is called by kong.
func (t *tailCommand) Validate() error {
	if _, err := t.messagingURL(); err != nil {
		return err
	}
	if t.Count < 0 {
		return fmt.Errorf("--count: must not be negative, but is %d", t.Count)
	}
	return nil
}

// Run prints what comes until it is enough.
func (t *tailCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	s, only, err := t.seat(ctx, t.Room, t.User)
	if err != nil {
		return unlessOver(ctx, err)
	}
	if only {
		fmt.Fprintf(line.Stderr, "The room is %s, the only one there is.\n", s.room)
	}
	p := &pipe{talk: talk{seat: s}, stdout: line.Stdout, stderr: line.Stderr, json: t.Output == "json", count: t.Count}
	return unlessOver(ctx, p.run(ctx, nil))
}
