package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	faults, _ := errors.AsType[config.Faults](err)
	if err != nil && len(faults) == 0 {
		return err
	}
	if faults = append(faults, filesFaults(&resolved)...); len(faults) > 0 {
		return faults
	}
	for _, text := range misspelt(line) {
		fmt.Fprintln(line.Stderr, "parlor: "+text)
	}
	_, err = fmt.Fprintln(line.Stdout, "The configuration is good.")
	return err
}

// filesFaults is what is wrong with the files that a configuration names.
func filesFaults(c *config.Config) (faults config.Faults) {
	check := func(setting string, named bool, look func() error) {
		if !named {
			return
		}
		if err := look(); err != nil {
			if more, ok := errors.AsType[config.Faults](err); ok {
				faults = append(faults, more...)
				return
			}
			faults = append(faults, config.Fault{Where: setting, Message: err.Error()})
		}
	}
	check("credentials", c.Credentials != "", func() error {
		_, err := credentials.Load(c.Credentials, c.Account)
		return err
	})
	check("quotas", c.Quotas != "", func() error {
		_, err := c.LoadQuotas()
		return err
	})
	check("filters", c.Filters != "", func() error {
		_, err := c.LoadFilters()
		return err
	})
	check("seed", c.Seed != "", func() error {
		_, err := seed.Read(c.Seed, seed.Scope(c))
		return err
	})
	check("tls-cert", c.TLSCert != "" && c.TLSKey != "", func() error {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			return fmt.Errorf("load the TLS certificate %s with the key %s: %w", c.TLSCert, c.TLSKey, err)
		}
		return nil
	})
	// What a server makes if it is not there yet.
	check("data", c.Data != "", func() error {
		if info, err := os.Stat(c.Data); err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a directory", c.Data)
		}
		return nil
	})
	check("audit-log", c.AuditLog != "", func() error {
		if info, err := os.Stat(c.AuditLog); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory", c.AuditLog)
		}
		_, err := os.Stat(filepath.Dir(c.AuditLog))
		return err
	})
	return faults
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
