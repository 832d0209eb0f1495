// Package config is Parlor's configuration: one struct whose tags are the flags of
// the command line, the PARLOR_* variables, the keys of the configuration file, the
// defaults and the reference page docs/config.md, so that these cannot disagree.
//
// Invariants:
//
//   - A key, flag or value that is not understood is refused, never ignored.
//   - Whatever is wrong is reported at once, not one fault per attempt.
//   - A Config that passed [Config.Validate] can be used without further checks.
//   - Nothing of a Config is secret but the passwords that URLs may have, which are not
//     printed. Other secrets are in the files that it names.
//   - A server for others does not start open by oversight: without access keys not at
//     all, and in plain text beyond loopback only when told so.
//
// The package reads the one file it is told to; of the files that a configuration
// names it asks whether they can be read, and leaves what is in them to others. Flags
// and variables are read by cmd/parlor, which takes their names and defaults from here.
package config

import (
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
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

	Listen       string   `name:"listen" env:"PARLOR_LISTEN" default:"127.0.0.1:4870" placeholder:"HOST:PORT" help:"Where the API, messaging, health and metrics are served, on one port. Port 0 picks a free one."`
	Open         bool     `name:"open" env:"PARLOR_OPEN" default:"false" only:"dev" help:"Allow --listen beyond loopback and answer to any host name. Without --credentials, everybody who can reach the port may then do everything."`
	Credentials  string   `name:"credentials" env:"PARLOR_CREDENTIALS" default:"" placeholder:"FILE" help:"File of the access keys that are let in; parlor key create makes it, and it is reloaded when it changes. parlor serve needs one; parlor dev without it accepts any key."`
	Account      string   `name:"account" env:"PARLOR_ACCOUNT" default:"000000000000" placeholder:"ID" help:"The account of access keys that do not name theirs; where any key is accepted, one of 12 digits is its own account."`
	Regions      []string `name:"regions" env:"PARLOR_REGIONS" default:"" placeholder:"REGION,..." help:"The regions that are served; requests signed for another are refused. Default: any."`
	TLSCert      string   `name:"tls-cert" env:"PARLOR_TLS_CERT" default:"" placeholder:"FILE" help:"Certificate chain (PEM) to serve HTTPS and WSS with; reloaded when it changes. Needs --tls-key."`
	TLSKey       string   `name:"tls-key" env:"PARLOR_TLS_KEY" default:"" placeholder:"FILE" help:"Private key (PEM) of --tls-cert; reloaded when it changes."`
	ACMEHosts    []string `name:"acme-hosts" env:"PARLOR_ACME_HOSTS" default:"" placeholder:"HOST,..." help:"Host names to get certificates for by ACME, instead of --tls-cert. Port 443 of each must lead here."`
	ACMEEmail    string   `name:"acme-email" env:"PARLOR_ACME_EMAIL" default:"" placeholder:"ADDRESS" help:"Where the ACME authority may write about certificates."`
	ACMEDir      string   `name:"acme-directory" env:"PARLOR_ACME_DIRECTORY" default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" help:"Directory of the ACME authority. Getting certificates by it means agreeing to its terms."`
	InsecureHTTP bool     `name:"insecure-http" env:"PARLOR_INSECURE_HTTP" default:"false" help:"Let parlor serve speak plain HTTP beyond loopback, for where a proxy in front of it speaks TLS."`

	Data          string        `name:"data" env:"PARLOR_DATA" default:"./parlor-data" dev:"" placeholder:"DIR" help:"Directory of the embedded store, the token keys and what of the chat log is not shipped yet. Without it, parlor dev uses a temporary one and removes it at exit."`
	DatabaseURL   string        `name:"database-url" env:"PARLOR_DATABASE_URL" default:"" placeholder:"URL" url:"secret" help:"The PostgreSQL database (15 or newer) that nodes share: postgres://user@host:5432/parlor. Its password may be in the URL, in PGPASSWORD or in a file that PGPASSFILE names. Default: the embedded store in the data directory, for one node."`
	RedisURL      string        `name:"redis-url" env:"PARLOR_REDIS_URL" default:"" placeholder:"URL" url:"secret" help:"The Redis (7 or newer) or Valkey by which nodes reach each other: redis://host:6379, rediss:// over TLS; with ?addr=host:port for each further node of a cluster; with ?master_set=NAME where the hosts are Sentinels (sentinel_user, sentinel_password). Over TLS, cacert, cert and key name files. Needs --database-url. Default: this node is alone."`
	Seed          string        `name:"seed" env:"PARLOR_SEED" default:"" only:"dev" placeholder:"FILE" help:"YAML file of rooms and logging configurations that are made, or brought up to date, before the server is ready, and after each reset. docs/development.md says what may be in it."`
	TokenLifetime time.Duration `name:"token-lifetime" env:"PARLOR_TOKEN_LIFETIME" default:"60m" placeholder:"DURATION" help:"How long a chat token may open a connection; never longer than the session it grants."`
	PingInterval  time.Duration `name:"ping-interval" env:"PARLOR_PING_INTERVAL" default:"45s" placeholder:"DURATION" help:"How often messaging connections are pinged; one that does not answer is dropped."`
	Compression   bool          `name:"compression" env:"PARLOR_COMPRESSION" default:"false" help:"Offer permessage-deflate to messaging clients. On a fast network it costs more than it saves."`
	IOUring       bool          `name:"io-uring" env:"PARLOR_IO_URING" default:"false" help:"Without effect, and accepted because configurations have it: what io_uring once saved is saved without it now."`
	DrainWindow   time.Duration `name:"drain-window" env:"PARLOR_DRAIN_WINDOW" default:"10s" dev:"0s" placeholder:"DURATION" help:"Over how long a stopping server ends its sessions, so that clients do not all reconnect elsewhere at once."`

	Quotas                string   `name:"quotas" env:"PARLOR_QUOTAS" default:"none" placeholder:"QUOTAS" help:"none: only what the protocol itself limits; aws: the quotas that AWS sets by default; or a YAML file of numbers by name. They hold for each account in each region: without --regions, a key can have them anew in any region that it makes up."`
	AllowedOrigins        []string `name:"allowed-origins" env:"PARLOR_ALLOWED_ORIGINS" default:"" placeholder:"ORIGIN,..." help:"Web origins whose pages may open messaging connections, such as https://live.example.com. Default: any. What is not a browser sends no origin and is not asked."`
	TrustedProxies        []string `name:"trusted-proxies" env:"PARLOR_TRUSTED_PROXIES" default:"" placeholder:"CIDR,..." help:"Networks of the proxies in front of this server: they alone may say by X-Forwarded-For who the client is. Without it, all who come through one proxy share its address and the limits of that."`
	ConnectionsPerAddress int      `name:"connections-per-address" env:"PARLOR_CONNECTIONS_PER_ADDRESS" default:"1000" dev:"0" placeholder:"N" help:"How many messaging connections one client address may have open. 0: no limit."`
	HandshakesPerAddress  int      `name:"handshakes-per-address" env:"PARLOR_HANDSHAKES_PER_ADDRESS" default:"100" dev:"0" placeholder:"N" help:"How many messaging connections one client address may open each second. 0: no limit."`

	ReviewWebhooks []string `name:"review-webhook" env:"PARLOR_REVIEW_WEBHOOK" default:"" placeholder:"ARN=URL,..." help:"HTTP endpoints that stand for message review handlers: what AWS would ask the Lambda function of the ARN is posted to the URL, signed, and the answer has the same form. Other handlers are asked by AWS Lambda, which is found as by any AWS SDK (AWS_ENDPOINT_URL_LAMBDA, AWS_ACCESS_KEY_ID, AWS_PROFILE, ...)."`
	WebhookSecret  string   `name:"webhook-secret" env:"PARLOR_WEBHOOK_SECRET" default:"" placeholder:"FILE" help:"File of the secret that webhook requests are signed with. Default: webhook-secret in the data directory, which is made when it is needed."`
	VerifyHandlers bool     `name:"verify-handlers" env:"PARLOR_VERIFY_HANDLERS" default:"true" dev:"false" help:"When a room is given a review handler, ask AWS Lambda, by a dry run, whether it may be invoked, and refuse it if not."`

	Destinations      string        `name:"destinations" env:"PARLOR_DESTINATIONS" default:"aws" dev:"local" placeholder:"WHERE" help:"Where chat logs go. aws: to the S3 buckets, CloudWatch log groups and Firehose streams that logging configurations name, which are found as by any AWS SDK; local: to directories with the same layout, under logs in the data directory."`
	ChatlogInterval   time.Duration `name:"chatlog-interval" env:"PARLOR_CHATLOG_INTERVAL" default:"10s" dev:"1s" placeholder:"DURATION" help:"How long chat log records wait for others before they go to CloudWatch Logs, Firehose or a directory."`
	ChatlogS3Interval time.Duration `name:"chatlog-s3-interval" env:"PARLOR_CHATLOG_S3_INTERVAL" default:"5m" placeholder:"DURATION" help:"How long chat log records wait for others before they go to S3, as one object for each room. A directory that stands for it does not wait so long."`
	ChatlogSpoolLimit int           `name:"chatlog-spool-limit" env:"PARLOR_CHATLOG_SPOOL_LIMIT" default:"4096" placeholder:"MB" help:"Megabytes of chat log that wait on disk for one destination. What comes when there are as many is not logged, which is counted and said; the chat goes on."`

	Console bool `name:"console" env:"PARLOR_CONSOLE" default:"false" dev:"true" help:"Serve the web console under /console/: pages that work with this server as a client of its API, with an access key that is typed in and stays in the browser's tab."`

	Filters           string   `name:"filters" env:"PARLOR_FILTERS" default:"" placeholder:"FILE" help:"YAML file of rules that messages are judged by, in sets with names: a room names one with the tag parlor:filter. Read at the start."`
	AuditLog          string   `name:"audit-log" env:"PARLOR_AUDIT_LOG" default:"" placeholder:"FILE" help:"File that a line of JSON is added to for each operation that changes something or makes a token, and for what moderators in rooms do: who, what, when and from where, never content. Made anew when it is renamed, for logrotate. Default: none."`
	EventWebhooks     []string `name:"webhook" env:"PARLOR_WEBHOOK" default:"" placeholder:"URL,..." url:"secret" help:"HTTP endpoints that events of rooms, sessions and moderation are posted to, signed as review webhooks are, at least once, in order. What waits for them is kept in the data directory."`
	WebhookEvents     []string `name:"webhook-events" env:"PARLOR_WEBHOOK_EVENTS" default:"" placeholder:"GROUP,..." help:"The groups of events that webhooks get: room, session, moderation. Default: all."`
	CloudWatchMetrics string   `name:"cloudwatch-metrics" env:"PARLOR_CLOUDWATCH_METRICS" default:"" placeholder:"NAMESPACE" help:"Publish the metrics of Amazon IVS Chat under their names to Amazon CloudWatch each minute, in this namespace; CloudWatch is found as by any AWS SDK (AWS_ENDPOINT_URL_CLOUDWATCH, AWS_REGION, AWS_ACCESS_KEY_ID, ...). What stands for CloudWatch takes AWS/IVSChat; CloudWatch itself refuses names that begin with AWS/: use another there, such as IVSChat. Default: they are not published."`
	DebugListen       string   `name:"debug-listen" env:"PARLOR_DEBUG_LISTEN" default:"" placeholder:"HOST:PORT" help:"A loopback address where profiles of the process are served, under /debug/pprof/, to whoever is on this machine. Default: nowhere."`

	LogLevel  string `name:"log-level" env:"PARLOR_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"Least severity that is logged: debug, info, warn or error."`
	LogFormat string `name:"log-format" env:"PARLOR_LOG_FORMAT" default:"auto" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else json."`

	// Tracing is set from OpenTelemetry's variables.
	Tracing Tracing `kong:"-"`
}

// Field is one setting.
type Field struct {
	Name    string // its flag without dashes, and its key in the file
	Env     string
	Default string
	Help    string
	Only    Mode // the one mode that has it, or ""
	Hides   bool // it is a URL that may have a password

	index int
	kind  reflect.Type
}

// TakesEmpty reports whether an empty text is a value: a list of none, or no text at all.
func (f *Field) TakesEmpty() bool { return f.kind == list || f.kind == reflect.TypeFor[string]() }

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
			Hides:   tag.Get("url") == "secret",
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

// TLS reports whether the server speaks TLS itself.
func (c *Config) TLS() bool { return c.TLSCert != "" || len(c.ACMEHosts) > 0 }

// Proxies is TrustedProxies as net/netip has it.
func (c *Config) Proxies() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err == nil { // Validate accepts no other
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// Webhooks are ReviewWebhooks by ARN.
func (c *Config) Webhooks() map[string]string {
	webhooks := make(map[string]string, len(c.ReviewWebhooks))
	for _, text := range c.ReviewWebhooks {
		arn, to, _ := strings.Cut(text, "=") // Validate accepts no other
		webhooks[arn] = to
	}
	return webhooks
}

// Level is LogLevel as slog has it.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel)) // Validate accepts only names of levels
	return l
}
