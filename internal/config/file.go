package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// ReadFile reads a configuration file: a YAML mapping of settings to values, as the
// flags write them, or for several values also a YAML list. It returns the values by setting. An error is [Faults] and names
// every line that is wrong; the values of the others are returned with it, nil where the file as a whole is not usable.
func ReadFile(path string, mode Mode) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Faults{{Where: "--config", Message: err.Error()}}
	}
	values, faults := parseFile(data, mode)
	for i := range faults {
		if line := faults[i].Where; line != "" {
			faults[i].Where = path + ":" + line
		} else {
			faults[i].Where = path
		}
	}
	if len(faults) > 0 {
		return values, faults
	}
	return values, nil
}

// parseFile returns the values of a file, or its faults with the line in Where.
func parseFile(data []byte, mode Mode) (map[string]string, Faults) {
	body, faults := Document(data)
	if body == nil {
		return nil, faults // an empty file says nothing
	}
	entries, ok := Mapping(body)
	if !ok {
		return nil, Faults{{Where: Line(body), Message: "the file is not a mapping of settings to values, such as\n  listen: 127.0.0.1:4870"}}
	}
	values := map[string]string{}
	for _, entry := range entries {
		text, err := readEntry(entry, values, mode)
		if err != nil {
			faults = append(faults, Fault{Where: Line(entry.Key), Message: err.Error()})
			continue
		}
		values[entry.Key.GetToken().Value] = text
	}
	return values, faults
}

// readEntry returns the text of an entry's value, as it stands in the file: an
// account of twelve zeros is not the number 0.
func readEntry(entry *ast.MappingValueNode, seen map[string]string, mode Mode) (string, error) {
	key := entry.Key.GetToken().Value
	fields := Fields(mode)
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == key })
	if i < 0 {
		return "", unknown(key, mode)
	}
	if _, twice := seen[key]; twice {
		return "", fmt.Errorf("%s is set twice", key)
	}
	text := ""
	switch value := entry.Value.(type) {
	case *ast.NullNode:
		return "", fmt.Errorf("%s has no value", key)
	case *ast.SequenceNode:
		if fields[i].kind != list {
			return "", fmt.Errorf("%s: want a single value", key)
		}
		var items []string
		for _, node := range value.Values {
			if !IsScalar(node) || strings.Contains(node.GetToken().Value, ",") {
				return "", fmt.Errorf("%s: want a list of single values", key)
			}
			items = append(items, node.GetToken().Value)
		}
		text = strings.Join(items, ",")
	default:
		if !IsScalar(value) {
			return "", fmt.Errorf("%s: want a single value", key)
		}
		text = value.GetToken().Value
	}
	if _, err := fields[i].parse(text); err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return text, nil
}

// unknown says that a key is not a setting, and which one may have been meant.
func unknown(key string, mode Mode) error {
	for _, other := range []Mode{Dev, Serve} {
		if slices.ContainsFunc(Fields(other), func(f Field) bool { return f.Name == key }) {
			return fmt.Errorf("%s is a setting of parlor %s only", key, other)
		}
	}
	var names []string
	for _, f := range Fields(mode) {
		names = append(names, f.Name)
	}
	best := Closest(strings.ReplaceAll(key, "_", "-"), names)
	if best == "" {
		return fmt.Errorf("unknown key %q; see docs/config.md, or parlor config print", key)
	}
	return fmt.Errorf("unknown key %q; did you mean %q?", key, best)
}

// Apply sets what a file says; see [ReadFile].
func (c *Config) Apply(values map[string]string) error {
	for _, f := range Fields(c.Mode) {
		text, ok := values[f.Name]
		if !ok {
			continue
		}
		v, err := f.parse(text)
		if err != nil {
			return Faults{{Where: f.Name, Message: err.Error()}}
		}
		reflect.ValueOf(c).Elem().Field(f.index).Set(v)
	}
	return nil
}

// Take sets one setting to what it is in other.
func (c *Config) Take(other *Config, f Field) {
	v := reflect.ValueOf(other).Elem().Field(f.index)
	if f.kind == list {
		v = reflect.ValueOf(tidy(v.Interface().([]string)))
	}
	reflect.ValueOf(c).Elem().Field(f.index).Set(v)
}

// parse reads a value as the command line does.
func (f *Field) parse(text string) (reflect.Value, error) {
	switch f.kind {
	case reflect.TypeFor[bool]():
		b, err := strconv.ParseBool(text)
		if err != nil {
			return reflect.Value{}, fmt.Errorf("%q is not true or false", text)
		}
		return reflect.ValueOf(b), nil
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return reflect.Value{}, fmt.Errorf("%q is not a duration such as 90s, 45m or 1h30m", text)
		}
		return reflect.ValueOf(d), nil
	case reflect.TypeFor[int]():
		n, err := strconv.Atoi(text)
		if err != nil {
			return reflect.Value{}, fmt.Errorf("%q is not a whole number", text)
		}
		return reflect.ValueOf(n), nil
	case list:
		return reflect.ValueOf(tidy(strings.Split(text, ","))), nil
	}
	return reflect.ValueOf(text), nil
}

// list is the type of settings with several values. As text they are separated by
// commas; in the file they may be a YAML list.
var list = reflect.TypeFor[[]string]()

// tidy removes the white space around the values of a list, and what is then empty.
func tidy(values []string) []string {
	var kept []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}
