// Package config is Parlor's configuration: one struct whose tags are the flags of
// the command line, the PARLOR_* variables, the keys of the configuration file, the
// defaults and the reference page docs/config.md, so that these cannot disagree.
//
// Invariants:
//
//   - A key, flag or value that is not understood is refused, never ignored.
//   - Whatever is wrong is reported at once, not one fault per attempt.
//   - A Config that passed [Config.Validate] can be used without further checks.
//   - Nothing of a Config is secret: it may be printed.
//
// The package reads the one file it is told to and nothing else: flags and variables
// are read by cmd/parlor, which takes their names and defaults from here.
package config

import (
	"log/slog"
	"reflect"
	"time"
)

// Mode is what a server may trust: the verb it was started with.
type Mode string

const (
	// Dev is a server for one developer or one test run: any credentials, throw-away
	// data.
	Dev Mode = "dev"
	// Serve is a server for others.
	Serve Mode = "serve"
)

// Config is the configuration of a server. Beside the tags of
// github.com/alecthomas/kong there are two of ours: dev is the default under
// [Dev] where it differs, only names the one mode that has the setting.
type Config struct {
	Mode Mode `kong:"-"`

	Listen        string        `name:"listen" env:"PARLOR_LISTEN" default:"127.0.0.1:4870" placeholder:"HOST:PORT" help:"Where the API, messaging, health and metrics are served, on one port. Port 0 picks a free one."`
	Open          bool          `name:"open" env:"PARLOR_OPEN" default:"false" only:"dev" help:"Allow --listen beyond loopback and answer to any host name. Everybody who can reach the port may then do everything."`
	Data          string        `name:"data" env:"PARLOR_DATA" default:"./parlor-data" dev:"" placeholder:"DIR" help:"Directory of the embedded store and the token keys. Without it, parlor dev uses a temporary one and removes it at exit."`
	Account       string        `name:"account" env:"PARLOR_ACCOUNT" default:"000000000000" placeholder:"ID" help:"The account of requests whose access key is not itself a 12-digit account id."`
	TokenLifetime time.Duration `name:"token-lifetime" env:"PARLOR_TOKEN_LIFETIME" default:"60m" placeholder:"DURATION" help:"How long a chat token may open a connection; never longer than the session it grants."`
	PingInterval  time.Duration `name:"ping-interval" env:"PARLOR_PING_INTERVAL" default:"45s" placeholder:"DURATION" help:"How often messaging connections are pinged; one that does not answer is dropped."`
	Compression   bool          `name:"compression" env:"PARLOR_COMPRESSION" default:"false" help:"Offer permessage-deflate to messaging clients. On a fast network it costs more than it saves."`
	DrainWindow   time.Duration `name:"drain-window" env:"PARLOR_DRAIN_WINDOW" default:"10s" dev:"0s" placeholder:"DURATION" help:"Over how long a stopping server ends its sessions, so that clients do not all reconnect elsewhere at once."`
	LogLevel      string        `name:"log-level" env:"PARLOR_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"Least severity that is logged: debug, info, warn or error."`
	LogFormat     string        `name:"log-format" env:"PARLOR_LOG_FORMAT" default:"auto" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else json."`
}

// Field is one setting.
type Field struct {
	Name    string // its flag without dashes, and its key in the file
	Env     string
	Default string
	Help    string
	Only    Mode // the one mode that has it, or ""

	index int
	kind  reflect.Type
}

// Fields are the settings of a mode, in the order of the struct.
func Fields(mode Mode) []Field {
	t := reflect.TypeFor[Config]()
	var fields []Field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := Field{
			Name:    tag.Get("name"),
			Env:     tag.Get("env"),
			Default: tag.Get("default"),
			Help:    tag.Get("help"),
			Only:    Mode(tag.Get("only")),
			index:   i,
			kind:    t.Field(i).Type,
		}
		if f.Name == "" || f.Only != "" && f.Only != mode {
			continue
		}
		if other, ok := tag.Lookup(string(mode)); ok {
			f.Default = other
		}
		fields = append(fields, f)
	}
	return fields
}

// Default is the configuration of a mode to which nothing was said.
func Default(mode Mode) Config {
	c := Config{Mode: mode}
	for _, f := range Fields(mode) {
		v, err := f.parse(f.Default)
		if err != nil {
			panic("config: default of " + f.Name + ": " + err.Error()) // a tag is wrong: every test finds it
		}
		reflect.ValueOf(&c).Elem().Field(f.index).Set(v)
	}
	return c
}

// Level is LogLevel as slog has it.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel)) // Validate accepts only names of levels
	return l
}
