package server

import (
	"fmt"

	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/filter"
)

// newFilters returns the sets of rules that the configuration has, by name.
func newFilters(c config.Config) (map[string]chat.Filter, error) {
	sets, err := c.LoadFilters()
	if err != nil {
		return nil, err
	}
	filters := map[string]chat.Filter{}
	for name, rules := range sets {
		var converted []filter.Rule
		for _, r := range rules {
			rule := filter.Rule{Action: filter.Action(r.Action), Reason: r.Reason, Label: r.Label, Words: r.Words, Pattern: r.Pattern, Repeats: r.Repeats, Capitals: r.Capitals}
			if r.Links {
				rule.Links = &filter.Links{Allow: r.Allow}
			}
			converted = append(converted, rule)
		}
		set, err := filter.New(converted)
		if err != nil {
			return nil, fmt.Errorf("the filter %s: %w", name, err)
		}
		filters[name] = set
	}
	return filters, nil
}
