package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/chatlog"
)

type spoolCommand struct {
	List  spoolListCommand  `cmd:"" name:"ls" help:"Show what of the chat log waits for its destinations."`
	Adopt spoolAdoptCommand `cmd:"" help:"Take over the chat log's spool of a node that never returns."`
}

// spoolDirectory is where a server has its spools in its data directory.
const spoolDirectory = "chatlog"

type spoolListCommand struct {
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`

	Data string `name:"data" env:"PARLOR_DATA" default:"./parlor-data" placeholder:"DIR" help:"The server's data directory. The server may be running."`
}

func (s *spoolListCommand) Run(line *kong.Context) error {
	if err := isData(s.Data); err != nil {
		return err
	}
	all, err := chatlog.Backlogs(filepath.Join(s.Data, spoolDirectory))
	if err != nil {
		return err
	}
	if s.Output == outputJSON {
		if all == nil {
			all = []chatlog.Backlog{}
		}
		return printJSON(line.Stdout, all)
	}
	table := tabwriter.NewWriter(line.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DESTINATION\tRECORDS\tKILOBYTES\tOLDEST\tLOGGING CONFIGURATION")
	for _, b := range all {
		oldest := "-"
		if !b.Oldest.IsZero() {
			oldest = time.Since(b.Oldest).Round(time.Second).String() + " ago"
		}
		adopted := ""
		if b.Adopted {
			adopted = " (adopted)"
		}
		fmt.Fprintf(table, "%s:%s\t%d\t%d\t%s\t%s%s\n", b.Kind, b.Name, b.Records, b.Bytes>>10, oldest, b.Configuration, adopted)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, b := range all {
		if b.Unread > 0 {
			fmt.Fprintf(line.Stderr, "%s keeps %d segments (%d KB) that could not be read and are not shipped: *.seg.unread.\n", b.Spool, b.Unread, b.UnreadBytes>>10)
		}
	}
	return nil
}

// isData fails where there is no directory of --data.
func isData(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("--data: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("--data: %s is not a directory", dir)
	}
	return nil
}

type spoolAdoptCommand struct {
	From string `arg:"" name:"dir" help:"Data directory of the node that never returns, or the chatlog directory in it."`
	Data string `name:"data" env:"PARLOR_DATA" default:"./parlor-data" placeholder:"DIR" help:"Data directory of the server that takes over. It may be running."`
}

// Run moves the spools. The server takes it from there.
func (s *spoolAdoptCommand) Run(line *kong.Context) error {
	if err := isData(s.Data); err != nil {
		return err
	}
	all, err := chatlog.Adopt(s.From, filepath.Join(s.Data, spoolDirectory))
	for _, b := range all {
		fmt.Fprintf(line.Stdout, "%s:%s\t%d records\t%d KB\t%s\n", b.Kind, b.Name, b.Records, b.Bytes>>10, b.Configuration)
	}
	switch {
	case errors.Is(err, chatlog.ErrInUse):
		return &hintedError{err, "The records of a server that runs are shipped by it. Stop it first; what it cannot ship before it ends can be adopted then."}
	case err != nil:
		return err
	case len(all) == 0:
		fmt.Fprintf(line.Stderr, "Nothing waits in %s.\n", s.From)
	default:
		fmt.Fprintf(line.Stderr, "Adopted %d spools. The server on %s ships them: within seconds if it runs, else when it starts.\n", len(all), s.Data)
	}
	return nil
}
