package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// YAML is the configuration as a file that says all of it.
func (c *Config) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The configuration as parlor %s uses it.\n", c.Mode)
	for _, f := range Fields(c.Mode) {
		value := reflect.ValueOf(c).Elem().Field(f.index).Interface()
		switch v := value.(type) {
		case time.Duration:
			value = short(v)
		case []string:
			v = slices.Clone(v)
			quoted := make([]string, len(v))
			for i := range v {
				if f.Hides {
					v[i] = withoutQuery(v[i])
				}
				quoted[i] = strconv.Quote(v[i])
			}
			fmt.Fprintf(&b, "%s: [%s]\n", f.Name, strings.Join(quoted, ", "))
			continue
		}
		if f.Hides {
			value = WithoutPassword(value.(string))
		}
		fmt.Fprintf(&b, "%s: %s\n", f.Name, scalar(value))
	}
	return b.String()
}

// withoutQuery is the URL of a webhook as it may be shown: its query may be a key.
func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "not a URL"
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.Redacted()
}

// WithoutPassword is a URL as it may be shown. One that cannot be read is not.
func WithoutPassword(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return "not a URL"
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "pass") {
			query.Set(name, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

// scalar is a value as YAML. Digits are quoted: an account is not a number to other
// readers either.
func scalar(value any) string {
	if s, ok := value.(string); ok && strings.Trim(s, "0123456789") == "" {
		return strconv.Quote(s)
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		panic("config: print: " + err.Error()) // strings and booleans always can be
	}
	return strings.TrimSpace(string(text))
}

// Reference is the text of docs/config.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from internal/config by go test ./internal/config -update. -->

A setting is a flag, a variable or a key of the YAML file named by ` + "`--config`" + ` or
` + "`PARLOR_CONFIG`" + `; a flag wins over a variable, a variable over the file, the file over the default.
` + "`parlor config print`" + ` shows what results, ` + "`parlor config check`" + ` says everything that is wrong with it; both take the flags of ` + "`parlor serve`" + `, and
with ` + "`--dev`" + ` those of ` + "`parlor dev`" + `. A key that is not in this table is refused.

| flag | variable | file | default of serve | default of dev |
|---|---|---|---|---|
`)
	serve := map[string]Field{}
	for _, f := range Fields(Serve) {
		serve[f.Name] = f
	}
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	all := Fields(Dev) // nothing is a setting of serve alone
	for _, f := range all {
		other := code(serve[f.Name].Default)
		if _, ok := serve[f.Name]; !ok {
			other = "not a setting"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | `%s` | %s | %s |\n", f.Name, f.Env, f.Name, other, code(f.Default))
	}
	for _, f := range all {
		fmt.Fprintf(&b, "\n**%s.** %s\n", f.Name, f.Help)
	}
	b.WriteString(`
Durations are written as ` + "`90s`, `45m` or `1h30m`" + `. Several values are separated by commas (a flag may also be repeated); in the file they may
be a YAML list. Nothing in the configuration is secret: secrets are in the files that it names.

` + "`parlor serve`" + ` starts only with ` + "`--credentials`" + `. Beyond loopback it speaks TLS (` + "`--tls-cert` and `--tls-key`, or `--acme-hosts`" + `), or plain HTTP when
` + "`--insecure-http`" + ` says that a proxy in front of it speaks TLS. ` + "`parlor dev`" + ` goes beyond loopback only with ` + "`--open`" + `; with ` + "`--credentials`" + ` it verifies
signatures as ` + "`parlor serve`" + ` does.

A configuration file:

<!-- tried: TestReferenceExample -->
` + "```yaml\n" + `listen: :443
credentials: /etc/parlor/credentials
acme-hosts: [chat.example.com]
data: /var/lib/parlor
token-lifetime: 30m
` + "```\n" + credentialsReference)
	return b.String()
}

const credentialsReference = `
## The credentials file

The access keys that are let in, in the format of AWS's shared credentials file. ` + "`parlor key create`, `list`, `show` and `disable`" + ` write and show it; by hand it
may be edited too. A change is noticed within a second; a file with a fault is refused as a whole, at start with every line and
reason, later so that the keys in use stay and the log says why. Only its owner may be able to read it (mode 0600);
a file of root's may be for the group of the server's user too (0640), as Kubernetes mounts secrets.

` + "```ini" + `
[alice]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
aws_account_id = 123456789012
policy = policies/moderator.json
` + "```" + `

| setting | meaning |
|---|---|
| ` + "`[name]`" + ` | The user's name: 1 to 64 letters, digits and ` + "`_+=,.@-`" + `, once in the file. |
| ` + "`aws_access_key_id`" + ` | 16 to 128 letters, digits and ` + "`_`" + `, once in the file. |
| ` + "`aws_secret_access_key`" + ` | 16 to 128 printable characters of ASCII, without white space and quotes. |
| ` + "`aws_account_id`" + ` | 12 digits; default: ` + "`--account`" + `. |
| ` + "`aws_session_token`, `expires`" + ` | Both together make a temporary key: the token that its requests carry, and when it ends (` + "`2030-01-31T12:00:00Z`" + `). |
| ` + "`policy`" + ` | File of an IAM policy document, relative to the credentials file. Without it, the key may do everything in its account. |
| ` + "`disabled`" + ` | ` + "`true`" + `: the key is no longer let in. |

Lines that begin with ` + "`#` or `;`" + `, and what follows white space and one of these, are comments.
`
