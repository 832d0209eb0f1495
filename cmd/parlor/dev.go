package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
)

type devCommand struct{ settings }

// Run serves until a signal. Without a data directory it uses a temporary one.
func (d *devCommand) Run(line *kong.Context) error {
	c, err := d.resolve(config.Dev, line)
	if err != nil {
		return err
	}
	temporary := c.Data == ""
	if temporary {
		dir, err := os.MkdirTemp("", "parlor-dev-")
		if err != nil {
			return fmt.Errorf("make a temporary data directory: %w", err)
		}
		defer os.RemoveAll(dir) // what cannot be removed from there is the system's to clean
		c.Data = dir
	}
	return runServer(c, temporary, misspelt(line))
}
