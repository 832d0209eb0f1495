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

type commands struct {
	Dev         devCommand         `cmd:"" help:"Run a server for development: any credentials are accepted, nothing is kept."`
	Serve       serveCommand       `cmd:"" help:"Run a server for others: access keys are required, signatures verified."`
	Bench       benchCommand       `cmd:"" help:"Put a load on a server, this or another that speaks the API, and measure it."`
	Key         keyCommand         `cmd:"" help:"Make, list and disable access keys."`
	Spool       spoolCommand       `cmd:"" help:"Look at the chat log's spool."`
	Export      exportCommand      `cmd:"" help:"Write everything that a server keeps into a file, to move it to another store."`
	Import      importCommand      `cmd:"" help:"Take in what parlor export wrote, or the rooms of an Amazon IVS Chat account."`
	Config      configCommand      `cmd:"" help:"Look at the configuration."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask the server of this machine whether it is ready; the exit code says."`
	Version     versionCommand     `cmd:"" help:"Say which build this is."`
}

func main() {
	// Nothing of ours writes to the standard logger. The clients of net/http do: what
	// an endpoint sends unasked for, in its own words.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:]))
}

// run carries out a command line and returns the exit code.
func run(args []string) int {
	parser, err := newParser(&commands{})
	if err != nil {
		panic(err) // a tag is wrong: every test finds it
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
		kong.Description("Parlor is a self-hosted Amazon IVS Chat: the AWS CLI, the AWS SDKs and the official chat SDKs work against it as they are. To try it, run parlor dev."),
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
		fmt.Fprintf(os.Stderr, "parlor: %v\n", err)
		command := "parlor"
		if usage.Context != nil && usage.Context.Selected() != nil {
			command = usage.Context.Selected().FullPath()
		}
		fmt.Fprintf(os.Stderr, "Run %s --help for what there is.\n", command)
	default:
		fmt.Fprintf(os.Stderr, "parlor: %v\n", err)
	}
	var hinted *hintedError
	if errors.As(err, &hinted) {
		fmt.Fprintln(os.Stderr, hinted.hint)
	}
}

// hintedError is an error that comes with what to do about it.
type hintedError struct {
	error
	hint string // one sentence
}

func (e *hintedError) Unwrap() error { return e.error }
