package main

import (
	"crypto/tls"
	"fmt"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
	"parlor/internal/credentials"
	"parlor/internal/seed"
)

type configCommand struct {
	Check checkCommand `cmd:"" help:"Say everything that is wrong with the configuration."`
	Print printCommand `cmd:"" help:"Print the configuration as it would be used, as a file for --config."`
}

// inspected is the configuration that a verb looks at but does not use.
type inspected struct {
	ForDev bool `name:"dev" help:"As parlor dev would use it, not parlor serve."`

	settings
}

func (i *inspected) resolve(line *kong.Context) (config.Config, error) {
	if i.ForDev {
		return i.settings.resolve(config.Dev, line)
	}
	return i.settings.resolve(config.Serve, line)
}

// checkCommand looks into the files that the configuration names, too.
type checkCommand struct{ inspected }

func (c *checkCommand) Run(line *kong.Context) error {
	resolved, err := c.resolve(line)
	if err != nil {
		return err
	}
	if resolved.Credentials != "" {
		if _, err := credentials.Load(resolved.Credentials, resolved.Account); err != nil {
			return err
		}
	}
	if _, err := resolved.LoadQuotas(); err != nil {
		return err
	}
	if _, err := resolved.LoadFilters(); err != nil {
		return err
	}
	if resolved.Seed != "" {
		if _, err := seed.Read(resolved.Seed, seed.Scope(&resolved)); err != nil {
			return err
		}
	}
	if resolved.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(resolved.TLSCert, resolved.TLSKey); err != nil {
			return fmt.Errorf("load the TLS certificate %s with the key %s: %w", resolved.TLSCert, resolved.TLSKey, err)
		}
	}
	_, err = fmt.Fprintln(line.Stdout, "The configuration is good.")
	return err
}

type printCommand struct{ inspected }

func (p *printCommand) Run(line *kong.Context) error {
	c, err := p.resolve(line)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(line.Stdout, c.YAML())
	return err
}
