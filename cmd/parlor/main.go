// Parlor is a self-hosted, wire-compatible Amazon IVS Chat.
//
// The command has one file per verb. What it prints for people goes to standard
// error, what a script may want to read to standard output. It exits with 0 after
// doing what was asked (a server: after a stop that was asked for), with 1 when that
// failed, and with 2 when what was asked is not understood: a wrong flag, variable,
// configuration file, credentials file or setting.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
	"parlor/internal/credentials"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

const description = `Parlor is a self-hosted Amazon IVS Chat: the AWS CLI, the AWS SDKs and the official chat SDKs work against it as they are. To try it:

    parlor dev                               # in one terminal
    parlor room create --name lobby          # in another
    parlor chat --user alice
`

type commands struct {
	Dev   devCommand   `cmd:"" group:"Servers:" help:"Run a server for development: any credentials are accepted, nothing is kept."`
	Serve serveCommand `cmd:"" group:"Servers:" help:"Run a server for others: access keys are required, signatures verified."`

	Chat chatCommand `cmd:"" group:"Chat:" help:"Talk in a room, from a terminal or a pipe."`
	Tail tailCommand `cmd:"" group:"Chat:" help:"Print what is said in a room, as it comes."`

	Room  roomCommand  `cmd:"" group:"Rooms and tokens:" help:"Make, list, show, tag and delete rooms."`
	Token tokenCommand `cmd:"" group:"Rooms and tokens:" help:"Make chat tokens, and look into them."`

	Ban    banCommand    `cmd:"" group:"Moderation:" help:"Keep a user out of a room, or of every room. Parlor only."`
	Mute   muteCommand   `cmd:"" group:"Moderation:" help:"Keep a user from speaking in a room, or in every room. Parlor only."`
	Unban  unbanCommand  `cmd:"" group:"Moderation:" help:"Take a ban back. Parlor only."`
	Unmute unmuteCommand `cmd:"" group:"Moderation:" help:"Take a mute back. Parlor only."`
	Bans   bansCommand   `cmd:"" group:"Moderation:" help:"List bans and mutes. Parlor only."`
	Purge  purgeCommand  `cmd:"" group:"Moderation:" help:"Delete what a room's history has of a user. Parlor only."`

	Healthcheck healthcheckCommand `cmd:"" group:"Running a server:" help:"Ask the server of this machine whether it is ready; the exit code says."`
	Key         keyCommand         `cmd:"" group:"Running a server:" help:"Make, list, show and disable access keys."`
	Config      configCommand      `cmd:"" group:"Running a server:" help:"Look at the configuration."`
	Export      exportCommand      `cmd:"" group:"Running a server:" help:"Write everything that a server keeps into a file, to move it to another store."`
	Import      importCommand      `cmd:"" group:"Running a server:" help:"Take in what parlor export wrote, or the rooms of an Amazon IVS Chat account."`
	Spool       spoolCommand       `cmd:"" group:"Running a server:" help:"Look at the chat log's spool."`
	Bench       benchCommand       `cmd:"" group:"Running a server:" help:"Put a load on a server, this or another that speaks the API, and measure it."`

	Completion completionCommand `cmd:"" group:"This program:" help:"Print what makes a shell complete parlor's commands with the tab key."`
	Complete   completeCommand   `cmd:"" hidden:"" help:"Say how a line may go on."`
	Version    versionCommand    `cmd:"" group:"This program:" help:"Say which build this is."`
}

func main() {
	// Nothing of ours writes to the standard logger. The clients of net/http do: what
	// an endpoint sends unasked for, in its own words.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:]))
}

// run carries out a command line and returns the exit code.
func run(args []string) int {
	dropEmpty()
	parser, err := newParser(&commands{})
	if err != nil {
		panic(err) // a tag is wrong: every test finds it
	}
	switch {
	case len(args) > 0 && args[0] == "help":
		args = append(args[1:], "--help")
	case len(args) == 1 && args[0] == "--version":
		args = []string{"version"}
	}
	line, err := parser.Parse(args)
	if err == nil {
		err = line.Run()
	}
	if err == nil {
		return 0
	}
	explain(err)
	var faults config.Faults
	var keys credentials.Faults
	var usage *kong.ParseError
	if errors.As(err, &faults) || errors.As(err, &keys) || errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func newParser(c *commands) (*kong.Kong, error) {
	parser, err := kong.New(c,
		kong.Name("parlor"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(flagHelp),
	)
	if err != nil {
		return nil, err
	}
	for _, node := range parser.Model.Children {
		switch node.Name {
		case "dev":
			fit(node, config.Dev)
		case "serve":
			fit(node, config.Serve)
		}
	}
	return parser, nil
}

// flagHelp is a flag's help with its variable and default.
func flagHelp(v *kong.Value) string {
	var notes []string
	if v.HasDefault && v.Default != "" && !v.IsBool() {
		notes = append(notes, "default "+v.Default)
	}
	for _, name := range v.Tag.Envs {
		notes = append(notes, "$"+name)
	}
	if len(notes) == 0 {
		return v.Help
	}
	return v.Help + " (" + strings.Join(notes, ", ") + ")"
}

// path is the command as far as a line that is not understood names one: "parlor room" of "parlor room nosuch".
func path(usage *kong.ParseError) string {
	command := "parlor"
	if usage.Context == nil {
		return command
	}
	for _, p := range usage.Context.Path {
		if p.Command != nil {
			command += " " + p.Command.Name
		}
	}
	return command
}

// explain prints what went wrong and what to do about it.
func explain(err error) {
	var faults config.Faults
	var usage *kong.ParseError
	switch {
	case errors.As(err, &faults):
		fmt.Fprintln(os.Stderr, "parlor: the configuration is not usable:")
		for line := range strings.Lines(faults.Error()) {
			fmt.Fprintln(os.Stderr, "  "+strings.TrimRight(line, "\n"))
		}
	case errors.As(err, &usage):
		text := strings.ReplaceAll(err.Error(), `but got "EOL" (<EOL>)`, "but the line ends there")
		fmt.Fprintln(os.Stderr, printableLines("parlor: "+text))
		fmt.Fprintf(os.Stderr, "Run %s --help for what there is.\n", path(usage))
	default:
		fmt.Fprintln(os.Stderr, printableLines("parlor: "+plain(err)))
	}
	if text := hint(err); text != "" {
		fmt.Fprintln(os.Stderr, printable(text))
	}
}
