package main

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/chatlog"
)

type spoolCommand struct {
	List spoolListCommand `cmd:"" name:"ls" help:"Show what of the chat log waits for its destinations."`
}

type spoolListCommand struct {
	Data   string `name:"data" env:"PARLOR_DATA" default:"./parlor-data" placeholder:"DIR" help:"The server's data directory. The server may be running."`
	Output string `name:"output" enum:"table,json" default:"table" help:"table or json."`
}

func (s *spoolListCommand) Run(line *kong.Context) error {
	all, err := chatlog.Backlogs(filepath.Join(s.Data, "chatlog"))
	if err != nil {
		return err
	}
	if s.Output == "json" {
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
		fmt.Fprintf(table, "%s:%s\t%d\t%d\t%s\t%s\n", b.Kind, b.Name, b.Records, b.Bytes>>10, oldest, b.Configuration)
	}
	return table.Flush()
}
