package cloudwatch

import (
	"cmp"
	"slices"
)

// series is a metric of Amazon IVS Chat with its dimension, if it has one.
//
// IVS: chat-health (CloudWatch metrics: IVS Chat)
type series struct {
	metric, dimension, value string
}

// point is what a series has to say of a period. All are counts of things.
type point struct {
	series
	sum float64
	// Of a gauge, beside the sum of its samples.
	samples  int
	min, max float64
}

// gauge is what was seen of something that goes up and down.
type gauge struct {
	samples       int
	sum, min, max float64
}

func (g *gauge) saw(n float64) {
	if g.samples == 0 {
		g.min, g.max = n, n
	}
	g.samples++
	g.sum += n
	g.min, g.max = min(g.min, n), max(g.max, n)
}

// source is what one of our own counters is in CloudWatch.
type source struct {
	metric    string // with the dimension
	dimension string
	label     string // of ours
	total     string // metric without a dimension, or ""
	also      string // another metric that this is part of
}

// sources are our counters by name.
var sources = map[string]source{
	"parlor_requests_total":                          {metric: "Requests", dimension: "Action", label: "action", total: "MessagingRequests"},
	"parlor_deliveries_total":                        {metric: "Deliveries", dimension: "Action", label: "action", total: "MessagingDeliveries"},
	"parlor_review_invocation_errors_total":          {metric: "InvocationErrors", dimension: "Uri", label: "uri"},
	"parlor_review_response_validation_errors_total": {metric: "ResponseValidationErrors", dimension: "Uri", label: "uri"},
	"parlor_log_destination_access_denied_total":     {metric: "LogDestinationAccessDeniedError", dimension: "LoggingConfiguration", label: "logging_configuration", also: "LogDestinationErrors"},
	"parlor_log_destination_not_found_total":         {metric: "LogDestinationResourceNotFoundErrors", dimension: "LoggingConfiguration", label: "logging_configuration", also: "LogDestinationErrors"},
	"parlor_log_destination_errors_total":            {metric: "LogDestinationErrors", dimension: "LoggingConfiguration", label: "logging_configuration"},
}

const (
	connectionsName   = "parlor_connections"
	connectionsMetric = "ConcurrentChatConnections"
)

// notActions are labels that are no action, handler or configuration by themselves: they
// count in the total alone.
var notActions = []string{"UNKNOWN", "other", ""}

// read returns what our counters say, and how many connections there are.
func (p *Publisher) read() (counted map[series]float64, connections float64, err error) {
	families, err := p.config.Figures.Gather()
	if err != nil {
		return nil, 0, err
	}
	counted = map[series]float64{}
	for _, family := range families {
		if family.GetName() == connectionsName {
			for _, m := range family.GetMetric() {
				connections += m.GetGauge().GetValue()
			}
		}
		from, ok := sources[family.GetName()]
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			n, label := m.GetCounter().GetValue(), ""
			for _, pair := range m.GetLabel() {
				if pair.GetName() == from.label {
					label = pair.GetValue()
				}
			}
			if from.total != "" {
				counted[series{metric: from.total}] += n
			}
			if slices.Contains(notActions, label) {
				continue
			}
			counted[series{from.metric, from.dimension, label}] += n
			if from.also != "" {
				counted[series{from.also, from.dimension, label}] += n
			}
		}
	}
	return counted, connections, nil
}

// look takes a sample of what goes up and down.
func (p *Publisher) look() {
	if _, n, err := p.read(); err == nil { // else take says it
		p.connections.saw(n)
	}
}

// take returns what happened since it was last called, in the order of names. What has a
// dimension and did not happen is not in it.
func (p *Publisher) take() ([]point, error) {
	counted, n, err := p.read()
	if err != nil {
		return nil, err
	}
	p.connections.saw(n)
	g := p.connections
	points := []point{{series: series{metric: connectionsMetric}, samples: g.samples, sum: g.sum, min: g.min, max: g.max}}
	for s, now := range counted {
		if grown := now - p.counted[s]; grown > 0 || s.dimension == "" {
			points = append(points, point{series: s, sum: max(grown, 0)})
		}
	}
	for _, name := range totals {
		if _, ok := counted[series{metric: name}]; !ok {
			points = append(points, point{series: series{metric: name}})
		}
	}
	p.counted, p.connections = counted, gauge{}
	slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.value, b.value)) })
	return points, nil
}

// totals are the metrics without a dimension that are counted from the start, and so are
// zero where nothing was counted yet.
var totals = []string{"MessagingRequests", "MessagingDeliveries"}
