package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"parlor/internal/awsapi"
	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/console"
)

// newConsole returns the console's pages, which are told of the server what every client
// of it knows.
func newConsole(c config.Config) http.Handler {
	region := "us-east-1"
	if len(c.Regions) > 0 {
		region = c.Regions[0]
	}
	return console.New(console.Config{
		Mode: string(c.Mode), Version: Build().Version, Region: region, Account: c.Account, Regions: c.Regions,
		AnyKey: c.Credentials == "",
	})
}

// describe says how this node is, to a caller of one scope. It is asked again every few
// seconds by whoever looks on, so nothing in it is dear.
func (s *Server) describe(_ context.Context, scope chat.Scope, question awsapi.NodeQuestion) (awsapi.Node, error) {
	node := awsapi.Node{
		ID: s.node, Version: Build().Version, Mode: string(s.mode), StartTime: awsapi.Time{Time: s.started}, Time: awsapi.Time{Time: time.Now()},
		Nodes: []awsapi.NodePeer{}, Rooms: []awsapi.NodeRoom{}, Backlogs: []awsapi.NodeBacklog{},
	}
	if others := s.others.Load(); others != nil {
		for _, n := range *others {
			node.Nodes = append(node.Nodes, awsapi.NodePeer{ID: n.ID, Well: n.Well, LastSeenTime: awsapi.Time{Time: n.Seen}})
		}
	}
	for _, state := range s.gateway.Describe(scope, question.Rooms, question.Users) {
		room := awsapi.NodeRoom{ARN: state.ARN.String(), Connections: state.Connections, Messages: state.Messages}
		if question.Users {
			room.Users = make([]awsapi.NodeUser, len(state.Users))
			for i, user := range state.Users {
				room.Users[i] = awsapi.NodeUser(user)
			}
		}
		node.Rooms = append(node.Rooms, room)
	}
	for _, b := range s.recorder.Backlogs(scope) {
		node.Backlogs = append(node.Backlogs, awsapi.NodeBacklog{
			LoggingConfiguration: b.Configuration, Kind: b.Kind, Name: b.Name,
			Records: b.Records, Bytes: b.Bytes, OldestTime: awsapi.Time{Time: b.Oldest}, Adopted: b.Adopted, Partial: b.Partial,
		})
	}
	metrics, err := s.measured(scope.Account)
	node.Metrics = metrics
	return node, err
}

// runtimeMetrics are what is told of the Go runtime; of the rest there is too much.
var runtimeMetrics = []string{
	"go_goroutines", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_sys_bytes", "go_threads",
}

// labelConfiguration is the label of metrics that are one account's.
const labelConfiguration = "logging_configuration"

// measured are the metrics that an account may see: all but what is of another's logging
// configurations.
func (s *Server) measured(account string) ([]awsapi.NodeMetric, error) {
	families, err := s.metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather the metrics: %w", err)
	}
	metrics := []awsapi.NodeMetric{}
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "parlor_") && !strings.HasPrefix(name, "process_") && !slices.Contains(runtimeMetrics, name) {
			continue
		}
		metric := awsapi.NodeMetric{Name: name, Type: strings.ToLower(family.GetType().String()), Samples: []awsapi.NodeSample{}}
		for _, m := range family.GetMetric() {
			labels, foreign := make(map[string]string, len(m.GetLabel())), false
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
				if pair.GetName() == labelConfiguration {
					arn, err := chat.ParseARN(pair.GetValue())
					foreign = foreign || err != nil || arn.Account != account
				}
			}
			if foreign {
				continue
			}
			sample := awsapi.NodeSample{Labels: labels}
			switch {
			case m.GetCounter() != nil:
				sample.Value = m.GetCounter().Value
			case m.GetGauge() != nil:
				sample.Value = m.GetGauge().Value
			case m.GetHistogram() != nil:
				h := m.GetHistogram()
				sample.Count, sample.Sum = h.SampleCount, h.SampleSum
				for _, b := range h.GetBucket() {
					if bound := b.GetUpperBound(); !math.IsInf(bound, 0) {
						sample.Buckets = append(sample.Buckets, [2]float64{bound, float64(b.GetCumulativeCount())})
					}
				}
			default: // of a type that we have none of
				continue
			}
			if isNumber(sample.Value) && isNumber(sample.Sum) {
				metric.Samples = append(metric.Samples, sample)
			}
		}
		if len(metric.Samples) > 0 {
			metrics = append(metrics, metric)
		}
	}
	return metrics, nil
}

// isNumber reports whether a value is absent or has a form in JSON.
func isNumber(v *float64) bool { return v == nil || !math.IsNaN(*v) && !math.IsInf(*v, 0) }
