package main

import (
	"errors"
	"os"
	"slices"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
)

// settings are the flags of a verb that needs the configuration of a server.
type settings struct {
	File string `name:"config" env:"PARLOR_CONFIG" placeholder:"FILE" help:"YAML file of settings; flags and variables win over it."`

	// Flags is not embedded: kong would call its Validate, on what the command line
	// alone says.
	Flags config.Config `embed:""`
}

// resolve puts the configuration together and judges it. Its error is config.Faults.
func (s *settings) resolve(mode config.Mode, line *kong.Context) (config.Config, error) {
	c, err := s.gather(mode, line)
	if err != nil {
		return c, err
	}
	if c.Tracing, err = config.ReadTracing(os.Getenv); err != nil {
		var faults config.Faults
		errors.As(c.Validate(), &faults)
		return c, append(faults, err.(config.Faults)...)
	}
	return c, c.Validate()
}

// gather puts the configuration together: what the flags say, else the variables,
// else the file, else the default. Its error is config.Faults.
func (s *settings) gather(mode config.Mode, line *kong.Context) (config.Config, error) {
	c := config.Default(mode)
	if s.File != "" {
		values, err := config.ReadFile(s.File, mode)
		if err != nil {
			return c, err
		}
		if err := c.Apply(values); err != nil {
			return c, err
		}
	}
	for _, f := range config.Fields(mode) {
		if _, ok := os.LookupEnv(f.Env); ok || onLine(line, f.Name) {
			c.Take(&s.Flags, f)
		}
	}
	if mode != config.Dev && onLine(line, "open") {
		return c, config.Faults{{Where: "--open", Message: "is a setting of parlor dev only"}}
	}
	return c, nil
}

// onLine reports whether the command line itself has the flag.
func onLine(line *kong.Context, flag string) bool {
	return slices.ContainsFunc(line.Path, func(p *kong.Path) bool {
		return p.Flag != nil && !p.Resolved && p.Flag.Name == flag
	})
}

// fit gives a verb the flags and defaults of its mode.
func fit(node *kong.Node, mode config.Mode) {
	fields := config.Fields(mode)
	all := config.Fields(config.Dev) // nothing is a setting of serve alone
	node.Flags = slices.DeleteFunc(node.Flags, func(flag *kong.Flag) bool {
		named := func(f config.Field) bool { return f.Name == flag.Name }
		i := slices.IndexFunc(fields, named)
		if i >= 0 {
			flag.Default, flag.HasDefault = fields[i].Default, true
		}
		return i < 0 && slices.ContainsFunc(all, named)
	})
}
