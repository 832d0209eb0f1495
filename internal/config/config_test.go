package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestDefaultsAreValid(t *testing.T) {
	dev, serve := Default(Dev), Default(Serve)
	if err := dev.Validate(); err != nil {
		t.Errorf("dev: got %v, want no fault", err)
	}
	serve.Credentials = present(t)
	if err := serve.Validate(); err != nil {
		t.Errorf("serve: got %v, want no fault", err)
	}
	serve.Credentials = ""
	if dev.Data != "" || serve.Data != "./parlor-data" {
		t.Errorf("got data %q and %q, want none for dev and ./parlor-data for serve", dev.Data, serve.Data)
	}
	if dev.DrainWindow != 0 || serve.DrainWindow != 10*time.Second {
		t.Errorf("got drain windows %s and %s, want 0s and 10s", dev.DrainWindow, serve.DrainWindow)
	}
	if dev.Destinations != "local" || serve.Destinations != "aws" {
		t.Errorf("got destinations %q and %q, want local for dev and aws for serve", dev.Destinations, serve.Destinations)
	}
	if dev.ChatlogInterval != time.Second || serve.ChatlogInterval != 10*time.Second || serve.ChatlogS3Interval != 5*time.Minute || serve.ChatlogSpoolLimit != 4096 {
		t.Errorf("got %s, %s, %s and %d, want 1s, 10s, 5m and 4096", dev.ChatlogInterval, serve.ChatlogInterval, serve.ChatlogS3Interval, serve.ChatlogSpoolLimit)
	}
}

// present is a file that can be read.
func present(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestValidateReportsEveryFault(t *testing.T) {
	c := Config{
		Mode: Serve, Listen: "4870", Account: "12345", TokenLifetime: 4 * time.Hour,
		PingInterval: time.Millisecond, DrainWindow: -1, LogLevel: "loud", LogFormat: "xml",
		Regions: []string{"us-east-1", "US"}, TLSCert: "none.pem", InsecureHTTP: true, ACMEHosts: []string{"10.0.0.1"},
		ACMEEmail: "ops", ACMEDir: "http://acme.example", Quotas: "none.yaml", AllowedOrigins: []string{"https://a.example/"},
		TrustedProxies: []string{"10.0.0.1"}, ConnectionsPerAddress: -1, HandshakesPerAddress: -2,
		Destinations: "mars", ChatlogInterval: time.Millisecond, ChatlogS3Interval: 2 * time.Hour, ChatlogSpoolLimit: 31,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		`listen: "4870" is not HOST:PORT, such as 127.0.0.1:4870`,
		`credentials: parlor serve lets nobody in without access keys: run parlor key create --credentials FILE, which makes a file with one, and give that FILE by --credentials`,
		`tls-key: is missing: --tls-cert needs the private key of the certificate`,
		`tls-cert: open none.pem: no such file or directory`,
		`insecure-http: asks for plain HTTP, other settings ask for TLS: leave one of them away`,
		`acme-hosts: certificates come either by ACME or from --tls-cert and --tls-key: leave one of them away`,
		`acme-hosts: "10.0.0.1" is not a host name such as chat.example.com`,
		`acme-email: "ops" is not an address such as ops@example.com`,
		`acme-directory: "http://acme.example" is not an https URL`,
		`data: is empty; name a directory`,
		`account: "12345" is not an account id of 12 digits`,
		`regions: "US" is not a region such as us-east-1`,
		`token-lifetime: 4h is not between 1s and 3h`,
		`ping-interval: 1ms is not between 1s and 10m`,
		`drain-window: -1ns is not between 0s and 1h`,
		`quotas: it is none, aws or a file: open none.yaml: no such file or directory`,
		`allowed-origins: "https://a.example/" is more than an origin: that would be https://a.example`,
		`trusted-proxies: "10.0.0.1" is not a network such as 10.0.0.0/8; one address is written 10.1.2.3/32`,
		`connections-per-address: -1 is less than 0, which is no limit`,
		`handshakes-per-address: -2 is less than 0, which is no limit`,
		`destinations: "mars" is not one of aws, local`,
		`chatlog-interval: 1ms is not between 100ms and 1h`,
		`chatlog-s3-interval: 2h is not between 100ms and 1h`,
		`chatlog-spool-limit: 31 is less than 32 megabytes`,
		`log-level: "loud" is not one of debug, info, warn, error`,
		`log-format: "xml" is not one of auto, text, json`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

// check compares what Validate says with what it should contain; "" is no fault.
func check(t *testing.T, what string, c Config, want string) {
	t.Helper()
	err := c.Validate()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: got %v, want no fault", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want a fault with %q", what, err, want)
	}
}

func TestListen(t *testing.T) {
	file := present(t)
	serve := func(set ...func(*Config)) Config {
		c := Default(Serve)
		c.Credentials = file
		for _, f := range set {
			f(&c)
		}
		return c
	}
	dev := func(set ...func(*Config)) Config {
		c := Default(Dev)
		for _, f := range set {
			f(&c)
		}
		return c
	}
	open := func(c *Config) { c.Open = true }
	certificate := func(c *Config) { c.TLSCert, c.TLSKey = file, file }
	acme := func(c *Config) { c.ACMEHosts = []string{"chat.example.com"} }
	insecure := func(c *Config) { c.InsecureHTTP = true }
	verified := func(c *Config) { c.Credentials = file }
	nobody := func(c *Config) { c.Credentials = "" }
	for _, tc := range []struct {
		listen string
		c      Config
		want   string // what the fault contains, or ""
	}{
		{"127.0.0.1:0", serve(), ""},
		{"[::1]:4870", serve(), ""},
		{"localhost:4870", serve(), ""},
		{"localhost:4870", serve(nobody), "parlor key create --credentials FILE"},
		{"0.0.0.0:4870", serve(insecure, nobody), "parlor key create --credentials FILE"},
		{"0.0.0.0:4870", serve(), "--insecure-http"},
		{":4870", serve(), "--acme-hosts"},
		{"chat.example.com:4870", serve(), "--tls-cert"},
		{"0.0.0.0:4870", serve(insecure), ""},
		{"0.0.0.0:4870", serve(certificate), ""},
		{"0.0.0.0:4870", serve(acme), ""},
		{"0.0.0.0:4870", serve(certificate, insecure), "insecure-http: asks for plain HTTP"},
		{"0.0.0.0:4870", dev(), "anybody could do everything: say --open"},
		{"0.0.0.0:4870", dev(certificate), "--open"},
		{"0.0.0.0:4870", dev(insecure), "--open"},
		{"0.0.0.0:4870", dev(verified), "other machines: say --open"},
		{"localhost.example.com:1", dev(), "--open"},
		{"0.0.0.0:4870", dev(open), ""},
		{"0.0.0.0:4870", dev(open, verified), ""},
		{"127.0.0.1:4870", dev(certificate), ""},
		{"127.0.0.1:http", dev(), "port number"},
		{"127.0.0.1:65536", dev(), "port number"},
		{"127.0.0.1:", dev(), "port number"},
		{"127.0.0.1", dev(), "HOST:PORT"},
		{"", dev(), "HOST:PORT"},
	} {
		tc.c.Listen = tc.listen
		check(t, string(tc.c.Mode)+" "+tc.listen, tc.c, tc.want)
	}
}

func TestSettings(t *testing.T) {
	file, dir := present(t), t.TempDir()
	missing := filepath.Join(dir, "none")
	for what, tc := range map[string]struct {
		set  func(*Config)
		want string
	}{
		"credentials":                {func(c *Config) { c.Credentials = file }, ""},
		"credentials that are not":   {func(c *Config) { c.Credentials = missing }, "does not exist: parlor key create --credentials " + missing + " makes it"},
		"credentials of a directory": {func(c *Config) { c.Credentials = dir }, "is a directory"},
		"certificate alone":          {func(c *Config) { c.TLSCert = file }, "tls-key: is missing"},
		"key alone":                  {func(c *Config) { c.TLSKey = file }, "tls-cert: is missing"},
		"both":                       {func(c *Config) { c.TLSCert, c.TLSKey = file, file }, ""},
		"a key that is not":          {func(c *Config) { c.TLSCert, c.TLSKey = file, missing }, "tls-key: open"},
		"ACME without a place":       {func(c *Config) { c.ACMEHosts = []string{"a.example"} }, "needs --data"},
		"ACME":                       {func(c *Config) { c.ACMEHosts, c.Data, c.ACMEEmail = []string{"a.example"}, dir, "a@b.example" }, ""},
		"ACME for a wildcard":        {func(c *Config) { c.ACMEHosts, c.Data = []string{"*.example.com"}, dir }, "not a host name"},
		"ACME for localhost":         {func(c *Config) { c.ACMEHosts, c.Data = []string{"localhost"}, dir }, "not a host name"},
		"ACME with a port":           {func(c *Config) { c.ACMEHosts, c.Data = []string{"a.example:443"}, dir }, "not a host name"},
		"a named address":            {func(c *Config) { c.ACMEHosts, c.Data, c.ACMEEmail = []string{"a.example"}, dir, "A <a@b.example>" }, "not an address"},
		"an address for nothing":     {func(c *Config) { c.ACMEEmail = "a@b.example" }, "without --acme-hosts"},
		"quotas of AWS":              {func(c *Config) { c.Quotas = "aws" }, ""},
		"quotas of a file":           {func(c *Config) { c.Quotas = file }, ""},
		"quotas of no file":          {func(c *Config) { c.Quotas = missing }, "quotas: it is none, aws or a file"},
		"quotas of a directory":      {func(c *Config) { c.Quotas = dir }, "is a directory"},
		"no quotas":                  {func(c *Config) { c.Quotas = "" }, "quotas: is empty"},
		"origins": {func(c *Config) {
			c.AllowedOrigins = []string{"https://a.example", "http://localhost:3000", "null", "capacitor://localhost"}
		}, ""},
		"origin with a path":        {func(c *Config) { c.AllowedOrigins = []string{"https://a.example/x"} }, "that would be https://a.example"},
		"host as origin":            {func(c *Config) { c.AllowedOrigins = []string{"a.example"} }, "not an origin"},
		"any origin":                {func(c *Config) { c.AllowedOrigins = []string{"*"} }, "any is allowed when none is named"},
		"origins by a pattern":      {func(c *Config) { c.AllowedOrigins = []string{"https://*.a.example"} }, "name each one"},
		"origin in upper case":      {func(c *Config) { c.AllowedOrigins = []string{"https://A.example"} }, "upper-case"},
		"origin with its port":      {func(c *Config) { c.AllowedOrigins = []string{"https://a.example:443"} }, "say https://a.example"},
		"proxies":                   {func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "::1/128", "fd00::/8"} }, ""},
		"proxy with bits beyond":    {func(c *Config) { c.TrustedProxies = []string{"10.1.2.3/8"} }, "the network is 10.0.0.0/8, the one address 10.1.2.3/32"},
		"proxy as a mapped address": {func(c *Config) { c.TrustedProxies = []string{"::ffff:10.0.0.0/104"} }, "write it as IPv4"},
		"local destinations":        {func(c *Config) { c.Destinations = "local" }, ""},
		"destinations nowhere":      {func(c *Config) { c.Destinations = "" }, "destinations: \"\" is not one of aws, local"},
		"the shortest intervals": {func(c *Config) {
			c.ChatlogInterval, c.ChatlogS3Interval, c.ChatlogSpoolLimit = 100*time.Millisecond, time.Hour, 32
		}, ""},
		"a spool limit below nothing": {func(c *Config) { c.ChatlogSpoolLimit = -1 }, "chatlog-spool-limit: -1 is less than"},
		"regions":                     {func(c *Config) { c.Regions = []string{"us-east-1", "eu-west-1"} }, ""},
		"another authority":           {func(c *Config) { c.ACMEDir = "https://localhost:14000/dir" }, ""},
		"an authority without a name": {func(c *Config) { c.ACMEDir = "https:///dir" }, "not an https URL"},
	} {
		c := Default(Dev)
		tc.set(&c)
		check(t, what, c, tc.want)
	}
}

func TestProxies(t *testing.T) {
	c := Config{TrustedProxies: []string{"10.0.0.0/8", "::1/128"}}
	got := fmt.Sprint(c.Proxies())
	if want := "[10.0.0.0/8 ::1/128]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadFile(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		mode       Mode
		want       map[string]string
		faults     string
	}{
		{name: "empty", file: "", mode: Serve},
		{name: "comments only", file: "# nothing\n", mode: Serve},
		{
			name: "values as they stand",
			file: "listen: 127.0.0.1:0\naccount: 000000000000\ncompression: true\ntoken-lifetime: 90s # short\ndata: \"/a b\"\n",
			mode: Serve,
			want: map[string]string{"listen": "127.0.0.1:0", "account": "000000000000", "compression": "true", "token-lifetime": "90s", "data": "/a b"},
		},
		{name: "one value", file: "data: x\n", mode: Serve, want: map[string]string{"data": "x"}},
		{
			name:   "every fault at once",
			file:   "lisen: x\ntoken_lifetime: 1m\ncompression: maybe\nping-interval: soon\n\ndata: [a]\naccount:\nzebra: 1\nopen: true\n",
			mode:   Serve,
			faults: "F:1: unknown key \"lisen\"; did you mean \"listen\"?\nF:2: unknown key \"token_lifetime\"; did you mean \"token-lifetime\"?\nF:3: compression: \"maybe\" is not true or false\nF:4: ping-interval: \"soon\" is not a duration such as 90s, 45m or 1h30m\nF:6: data: want a single value\nF:7: account has no value\nF:8: unknown key \"zebra\"; see docs/config.md, or parlor config print\nF:9: open is a setting of parlor dev only",
		},
		{
			name: "lists",
			file: "regions: [us-east-1, eu-west-1]\nallowed-origins:\n  - https://a.example # one\n  - \"null\"\ntrusted-proxies: 10.0.0.0/8, ::1/128\nacme-hosts: []\nhandshakes-per-address: 7\n",
			mode: Serve,
			want: map[string]string{"regions": "us-east-1,eu-west-1", "allowed-origins": "https://a.example,null", "trusted-proxies": "10.0.0.0/8, ::1/128", "acme-hosts": "", "handshakes-per-address": "7"},
		},
		{
			name:   "faults of lists",
			file:   "regions:\nacme-hosts: [[a]]\ntrusted-proxies: [\"a,b\"]\nallowed-origins: {a: b}\nconnections-per-address: many\n",
			mode:   Serve,
			faults: "F:1: regions has no value\nF:2: acme-hosts: want a list of single values\nF:3: trusted-proxies: want a list of single values\nF:4: allowed-origins: want a single value\nF:5: connections-per-address: \"many\" is not a whole number",
		},
		{name: "a setting of dev", file: "open: true\n", mode: Dev, want: map[string]string{"open": "true"}},
		{name: "set twice", file: "data: a\nlisten: b\ndata: c\n", mode: Serve, faults: "F:3:"},
		{name: "not YAML", file: "data: 'x\nlisten: }\n", mode: Serve, faults: "F:"},
		{name: "not a mapping", file: "- a\n", mode: Serve, faults: "F:1: the file is not a mapping"},
		{name: "two documents", file: "data: a\n---\ndata: b\n", mode: Serve, faults: "several YAML documents"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "parlor.yaml")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(path, tc.mode)
			if tc.faults != "" {
				if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), path, "F"), tc.faults) {
					t.Errorf("got %v, want faults with\n%s", err, tc.faults)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tc.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := ReadFile(filepath.Join(t.TempDir(), "none.yaml"), Serve)
	if _, ok := err.(Faults); !ok || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v, want a fault that names the file", err)
	}
}

// What is printed can be read back and says the same.
func TestPrintRoundTrip(t *testing.T) {
	for _, mode := range []Mode{Dev, Serve} {
		c := Default(mode)
		c.Regions, c.TrustedProxies = []string{"us-east-1", "eu-west-1"}, []string{"::1/128"}
		values, faults := parseFile([]byte(c.YAML()), mode)
		if faults != nil {
			t.Fatalf("%s: %v\n%s", mode, faults, c.YAML())
		}
		got := Default(mode)
		if err := got.Apply(values); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, c); diff != "" {
			t.Errorf("%s (-got +want)\n%s", mode, diff)
		}
	}
}

// A setting's variable and key follow from its flag.
func TestNames(t *testing.T) {
	for _, f := range Fields(Dev) {
		want := "PARLOR_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if f.Env != want {
			t.Errorf("%s: got variable %s, want %s", f.Name, f.Env, want)
		}
		if !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: help is not a sentence: %q", f.Name, f.Help)
		}
	}
}

func TestReference(t *testing.T) {
	const path = "../../docs/config.md"
	want := Reference()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/config.md is out of date; run go test ./internal/config -update\n%s", diff)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:0\n"))
	f.Add([]byte("- a\n---\n&x *y"))
	f.Add([]byte("? a\n: b\n<<: {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, faults := parseFile(data, Dev)
		if len(faults) == 0 {
			for k := range values {
				if k == "" {
					t.Error("a value without a setting")
				}
			}
		}
	})
}

func TestURLsOfNodes(t *testing.T) {
	for _, tc := range []struct{ database, redis, fault string }{
		{"postgres://u:p@db/parlor?sslmode=disable", "redis://:p@r:6379/1?addr=r2:6379", ""},
		{"postgresql:///parlor?host=/run/postgresql", "rediss://r:6379", ""},
		{"postgres://u@db/parlor", "", ""},
		{"mysql://db/secret", "", "database-url: is not a URL such as postgres://parlor@db.example.com:5432/parlor"},
		{"postgres://u:secret@[db/parlor", "", "database-url: is not a URL such as postgres://parlor@db.example.com:5432/parlor"},
		{"postgres://db/parlor", "secret:6379", "redis-url: is not a URL such as redis://redis.example.com:6379"},
		{"", "redis://r:6379", "redis-url: nodes that share a Redis share a database: give --database-url"},
	} {
		c := Default(Dev)
		c.DatabaseURL, c.RedisURL = tc.database, tc.redis
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tc.fault {
			t.Errorf("%s, %s: got %q, want %q", tc.database, tc.redis, got, tc.fault)
		}
	}
}

// TestPasswordsAreNotPrinted: a configuration may be shown.
func TestPasswordsAreNotPrinted(t *testing.T) {
	c := Default(Serve)
	c.DatabaseURL, c.RedisURL = "postgres://u:hush@db/parlor?sslpassword=hush&x=1", "redis://u:hush@r:6379"
	text := c.YAML()
	if strings.Contains(text, "hush") {
		t.Errorf("got %s", text)
	}
	for _, want := range []string{"database-url: postgres://u:xxxxx@db/parlor?sslpassword=xxxxx&x=1", "redis-url: redis://u:xxxxx@r:6379"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %s in it", text, want)
		}
	}
	c.RedisURL = "redis://u:hush@[r"
	if strings.Contains(c.YAML(), "hush") {
		t.Error("a password in what is not a URL is printed")
	}
}
