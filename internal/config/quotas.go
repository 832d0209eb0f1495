package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"

	"parlor/internal/chat"
)

// quotasFile is the form of a file of quotas. What is left out is not limited.
type quotasFile struct {
	Rooms                 int            `yaml:"rooms"`
	LoggingConfigurations int            `yaml:"logging-configurations"`
	Connections           int            `yaml:"connections"`
	SendMessage           int            `yaml:"send-message"`
	DeleteMessage         int            `yaml:"delete-message"`
	DisconnectUser        int            `yaml:"disconnect-user"`
	Requests              map[string]int `yaml:"requests"`
}

// LoadQuotas returns the quotas that the setting names: none, those of AWS, or those
// of a file. A file with a name that is not known, or a number below zero, is refused.
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
	var f quotasFile
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField()).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return chat.Quotas{}, fmt.Errorf("quotas %s: %s", c.Quotas, yaml.FormatError(err, false, false))
	}
	q := chat.Quotas{
		Rooms: f.Rooms, LoggingConfigurations: f.LoggingConfigurations, Connections: f.Connections,
		SendMessage: f.SendMessage, DeleteMessage: f.DeleteMessage, DisconnectUser: f.DisconnectUser,
		Requests: f.Requests,
	}
	var faults []error
	for _, n := range []int{q.Rooms, q.LoggingConfigurations, q.Connections, q.SendMessage, q.DeleteMessage, q.DisconnectUser} {
		if n < 0 {
			faults = append(faults, fmt.Errorf("quotas %s: a quota is %d; 0 is no limit", c.Quotas, n))
		}
	}
	known := chat.AWSQuotas().Requests
	for operation, n := range q.Requests {
		if _, found := known[operation]; !found {
			faults = append(faults, fmt.Errorf("quotas %s: requests: there is no operation %q", c.Quotas, operation))
		}
		if n < 0 {
			faults = append(faults, fmt.Errorf("quotas %s: requests: %s is %d; 0 is no limit", c.Quotas, operation, n))
		}
	}
	return q, errors.Join(faults...)
}
