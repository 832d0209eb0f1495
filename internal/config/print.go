package config

import (
	"fmt"
	"reflect"
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
		if d, ok := value.(time.Duration); ok {
			value = short(d)
		}
		fmt.Fprintf(&b, "%s: %s\n", f.Name, scalar(value))
	}
	return b.String()
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
Durations are written as ` + "`90s`, `45m` or `1h30m`" + `. Nothing in the configuration is secret.

A configuration file:

` + "```yaml\n" + `listen: 127.0.0.1:4870
data: /var/lib/parlor
token-lifetime: 30m
` + "```\n")
	return b.String()
}
