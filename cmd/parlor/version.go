package main

import (
	"encoding/json"
	"fmt"

	"github.com/alecthomas/kong"

	"parlor/internal/server"
)

type versionCommand struct {
	JSON bool `name:"json" help:"Print it as JSON."`
}

func (v *versionCommand) Run(line *kong.Context) error {
	b := server.Build()
	if v.JSON {
		encoder := json.NewEncoder(line.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(b)
	}
	_, err := fmt.Fprintf(line.Stdout, "parlor %s %s %s %s\n", b.Version, b.Revision, b.Go, b.Platform)
	return err
}
