package deploytest

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// language is PromQL without what has to be switched on.
var language = parser.NewParser(parser.Options{})

// memory is series for Prometheus's engine to look at.
type memory struct {
	series map[string]*series // by their labels
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

type sample struct {
	at    int64 // milliseconds
	value float64
}

// The parts of a chunks.Sample; these are none of histograms'.
func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

func (m *memory) add(set labels.Labels, at time.Duration, value float64) {
	if m.series == nil {
		m.series = map[string]*series{}
	}
	s := m.series[set.String()]
	if s == nil {
		s = &series{labels: set}
		m.series[set.String()] = s
	}
	s.samples = append(s.samples, sample{at.Milliseconds(), value})
}

// scrape adds what a node says at /metrics, as Prometheus would of a target.
func (m *memory) scrape(t testing.TB, text string, at time.Duration, job, instance string) {
	t.Helper()
	p := textparse.NewPromParser([]byte(text), labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if err != nil {
			break // its end; what could not be read is missed by who looks for it
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var set labels.Labels
		p.Labels(&set)
		_, _, value := p.Series()
		m.add(labels.NewBuilder(set).Set("job", job).Set("instance", instance).Labels(), at, value)
	}
	m.add(labels.FromStrings("__name__", "up", "job", job, "instance", instance), at, 1)
}

// load adds series in the form of promtool's tests, one value for each step.
func (m *memory) load(t testing.TB, step time.Duration, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		set, values, err := language.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for i, v := range values {
			if !v.Omitted {
				m.add(set, time.Duration(i)*step, v.Value)
			}
		}
	}
}

// Querier implements storage.Queryable.
func (m *memory) Querier(_, _ int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		var found []storage.Series
		for _, key := range slices.Sorted(maps.Keys(m.series)) {
			s := m.series[key]
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
				found = append(found, storage.NewListSeries(s.labels, s.samples))
			}
		}
		return &set{found: found, at: -1}
	}}, nil
}

// set implements storage.SeriesSet.
type set struct {
	found []storage.Series
	at    int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *set) At() storage.Series                { return s.found[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// evaluate is what an expression comes to from one time to another, at each step.
func (m *memory) evaluate(t testing.TB, expression string, from, to, step time.Duration) promql.Matrix {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: patience, LookbackDelta: 5 * time.Minute, Parser: language})
	defer engine.Close()
	zero := time.Unix(0, 0)
	query, err := engine.NewRangeQuery(context.Background(), m, nil, expression, zero.Add(from), zero.Add(to), step)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		t.Fatalf("%s: %v", expression, result.Err)
	}
	matrix, err := result.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	// The engine takes it back.
	kept := make(promql.Matrix, len(matrix))
	for i, s := range matrix {
		kept[i] = promql.Series{Metric: s.Metric.Copy(), Floats: slices.Clone(s.Floats)}
	}
	return kept
}

// numbers is how many series of an expression have a number at a time.
func (m *memory) numbers(t testing.TB, expression string, at time.Duration) (count int) {
	t.Helper()
	for _, s := range m.evaluate(t, expression, at, at, time.Minute) {
		if len(s.Floats) > 0 && !math.IsNaN(s.Floats[0].F) {
			count++
		}
	}
	return count
}
