package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"parlor/internal/chat"
)

const (
	quotaNames    = "the quotas are rooms, logging-configurations, connections, send-message, delete-message, disconnect-user and requests"
	quotasForm    = "the file is not a mapping of quotas to numbers, such as\n  rooms: 50000"
	operationForm = "requests: want numbers by operation, such as\n  CreateRoom: 5"
)

// LoadQuotas returns the quotas that the setting names: none, those of AWS, or those
// of a file, a YAML mapping of names to whole numbers. What a file leaves out, or sets
// to 0, is not limited. What is not understood is refused: the error is [Faults] and
// names every line that is wrong, unless the file could not be read.
func (c *Config) LoadQuotas() (chat.Quotas, error) {
	switch c.Quotas {
	case "", "none":
		return chat.Quotas{}, nil
	case "aws":
		return chat.AWSQuotas(), nil
	}
	text, err := os.ReadFile(c.Quotas)
	if err != nil {
		return chat.Quotas{}, fmt.Errorf("read the quotas: %w", err)
	}
	q, faults := parseQuotas(text)
	for i, f := range faults {
		faults[i].Where = c.Quotas
		if f.Where != "" {
			faults[i].Where += ":" + f.Where
		}
	}
	if len(faults) > 0 {
		return chat.Quotas{}, faults
	}
	return q, nil
}

// parseQuotas returns the quotas of a file, or its faults with the line in Where.
func parseQuotas(text []byte) (q chat.Quotas, faults Faults) {
	body, faults := Document(text)
	if body == nil {
		return q, faults // an empty file limits nothing
	}
	entries, ok := Mapping(body)
	if !ok {
		return q, Faults{{Where: Line(body), Message: quotasForm}}
	}
	fault := func(at ast.Node, format string, args ...any) {
		faults = append(faults, Fault{Where: Line(at), Message: fmt.Sprintf(format, args...)})
	}
	numbers := map[string]*int{
		"rooms": &q.Rooms, "logging-configurations": &q.LoggingConfigurations, "connections": &q.Connections,
		"send-message": &q.SendMessage, "delete-message": &q.DeleteMessage, "disconnect-user": &q.DisconnectUser,
	}
	operations := chat.AWSQuotas().Requests
	var err error
	for _, entry := range entries {
		name := entry.Key.GetToken().Value
		number, found := numbers[name]
		_, null := entry.Value.(*ast.NullNode)
		switch {
		case !found && name != "requests":
			fault(entry.Key, "unknown quota %q; %s", name, quotaNames)
		case null:
			fault(entry.Key, "%s has no value", name)
		case found:
			if *number, err = quota(entry.Value); err != nil {
				fault(entry.Key, "%s: %v", name, err)
			}
		default:
			of, ok := Mapping(entry.Value)
			if !ok {
				fault(entry.Key, "%s", operationForm)
				continue
			}
			q.Requests = map[string]int{}
			for _, entry := range of {
				operation := entry.Key.GetToken().Value
				if _, found := operations[operation]; !found {
					fault(entry.Key, "requests: there is no operation %q", operation)
				} else if q.Requests[operation], err = quota(entry.Value); err != nil {
					fault(entry.Key, "requests: %s: %v", operation, err)
				}
			}
		}
	}
	return q, faults
}

// quota reads a number, as it stands in the file: the YAML library would make 1 of 1.5.
func quota(node ast.Node) (int, error) {
	if !IsScalar(node) {
		return 0, errors.New("want a whole number")
	}
	text := node.GetToken().Value
	n, err := strconv.Atoi(text)
	if _, isNumber := node.(*ast.IntegerNode); !isNumber || err != nil {
		return 0, fmt.Errorf("%q is not a whole number", strings.TrimSpace(text))
	}
	if n < 0 {
		return 0, fmt.Errorf("%d is less than 0, which is no limit", n)
	}
	return n, nil
}
