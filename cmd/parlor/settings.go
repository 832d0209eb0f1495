package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

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

// resolve puts the configuration together and judges it. Its error is config.Faults: all
// there are.
func (s *settings) resolve(mode config.Mode, line *kong.Context) (config.Config, error) {
	c, faults, err := s.gather(mode, line)
	if err != nil {
		return c, err
	}
	c.Tracing, err = config.ReadTracing(os.Getenv)
	for _, err := range []error{c.Validate(), err} {
		more, _ := errors.AsType[config.Faults](err)
		faults = append(faults, more...)
	}
	if len(faults) > 0 {
		return c, faults
	}
	return c, nil
}

// gather puts the configuration together: what the flags say, else the variables,
// else the file, else the default. It returns what is wrong with single settings beside
// the others; with a file that is not usable at all it fails.
func (s *settings) gather(mode config.Mode, line *kong.Context) (c config.Config, faults config.Faults, err error) {
	c = config.Default(mode)
	if s.File != "" {
		values, err := config.ReadFile(s.File, mode)
		if values == nil && err != nil {
			return c, nil, err
		}
		faults, _ = errors.AsType[config.Faults](err)
		if err := c.Apply(values); err != nil {
			return c, nil, err
		}
	}
	for _, f := range config.Fields(mode) {
		if _, ok := os.LookupEnv(f.Env); ok || onLine(line, f.Name) {
			c.Take(&s.Flags, f)
		}
	}
	if mode != config.Dev && onLine(line, "open") {
		faults = append(faults, config.Fault{Where: "--open", Message: "is a setting of parlor dev only"})
	}
	return c, faults, nil
}

// variablePrefix is that of the program's own environment variables.
const variablePrefix = "PARLOR_"

// dropEmpty takes empty variables out of the environment where the setting is a number, a
// duration or a switch: they count as not set, as composed ones do that nobody filled in.
func dropEmpty() {
	for _, f := range config.Fields(config.Dev) { // nothing is a setting of serve alone
		if !f.TakesEmpty() && os.Getenv(f.Env) == "" {
			os.Unsetenv(f.Env)
		}
	}
}

// misspelt says of variables that nothing reads, but that are nearly one that something
// does, what they may have been meant to be. Others are somebody else's: Kubernetes makes
// some for a service of that name.
func misspelt(line *kong.Context) (said []string) {
	var known []string
	kong.Visit(line.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known = append(known, flag.Tag.Envs...)
		}
		return next(nil)
	})
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, variablePrefix) || slices.Contains(known, name) {
			continue
		}
		if meant := config.Closest(name, known); meant != "" {
			said = append(said, fmt.Sprintf("nothing reads the variable %s; did you mean %s?", name, meant))
		}
	}
	slices.Sort(said)
	return said
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
