package deploytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

const (
	dashboardFile = "deploy/grafana/parlor.json"
	metricsFile   = "docs/metrics.md"
)

// dashboard is what a Grafana dashboard has that is looked at here.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		RefID, Expr, LegendFormat string
		Datasource                source
	}
}

type source struct{ Type, UID string }

// UnmarshalJSON takes the query of a variable whether it is a text or an object.
func (d *dashboard) UnmarshalJSON(text []byte) error {
	type plain dashboard
	var with struct {
		plain
		Templating struct {
			List []struct {
				Name, Type string
				Query      json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(text, &with); err != nil {
		return err
	}
	*d = dashboard(with.plain)
	d.Templating.List = nil
	for _, v := range with.Templating.List {
		d.Templating.List = append(d.Templating.List, struct{ Name, Type, Query string }{v.Name, v.Type, string(v.Query)})
	}
	return nil
}

func readDashboard(t testing.TB) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(file(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// known is a metric as docs/metrics.md has it.
type known struct {
	kind, text string
	labels     []string
}

// metricsPage reads docs/metrics.md.
func metricsPage(t testing.TB) map[string]known {
	t.Helper()
	all := map[string]known{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(parlor_[a-z_]+)` \\| ([a-z]+) \\| [^|]+ \\| ([^|]*) \\| (.*) \\| [^|]* \\|$").FindAllStringSubmatch(file(t, metricsFile), -1) {
		k := known{kind: m[2], text: m[4]}
		for _, label := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[3], -1) {
			k.labels = append(k.labels, label[1])
		}
		all[m[1]] = k
	}
	if len(all) < 40 {
		t.Fatalf("%s has only %d metrics", metricsFile, len(all))
	}
	return all
}

// family is the metric that a series is of.
func family(page map[string]known, name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, found := strings.CutSuffix(name, suffix); found && page[base].kind == "histogram" {
			return base
		}
	}
	return name
}

// filled is an expression of the dashboard as Grafana fills it in.
func filled(expression string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*").Replace(expression)
}

// expression is one of the dashboard or the rules.
type expression struct {
	where, text string
	legend      string
}

func expressions(t testing.TB) (all []expression) {
	t.Helper()
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, expression{fmt.Sprintf("panel %q", p.Title), filled(target.Expr), target.LegendFormat})
		}
	}
	alerts, records := rules(t)
	for _, rule := range alerts {
		legend := rule.Annotations["summary"] + rule.Annotations["description"]
		all = append(all, expression{"alert " + rule.Alert, rule.Expr, regexp.MustCompile(`\$labels\.`).ReplaceAllString(legend, "")})
	}
	for _, rule := range records {
		all = append(all, expression{"record " + rule.Record, rule.Expr, ""})
	}
	return all
}

// Every expression of dashboard and rules names metrics that docs/metrics.md has, by labels that
// they have, with values that it names.
func TestExpressionsNameWhatThereIs(t *testing.T) {
	page := metricsPage(t)
	shown := map[string]bool{}
	for _, e := range expressions(t) {
		if strings.Contains(e.text, "$") {
			t.Errorf("%s: %s has a variable that is not known", e.where, e.text)
		}
		parsed, err := language.ParseExpr(e.text)
		if err != nil {
			t.Errorf("%s: %v", e.where, err)
			continue
		}
		has := map[string]bool{"job": true, "instance": true}
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			own := map[string]bool{"job": true, "instance": true, "__name__": true}
			name := family(page, selector.Name)
			shown[name] = true
			k, found := page[name]
			if !found && selector.Name != "up" && !regexp.MustCompile(`^(process|go)_`).MatchString(selector.Name) {
				t.Errorf("%s: there is no metric %q", e.where, selector.Name)
			}
			if (name == selector.Name) == (k.kind == "histogram") {
				t.Errorf("%s: %s is a histogram itself, or has no parts", e.where, selector.Name)
			}
			for _, label := range k.labels {
				own[label] = true
			}
			if strings.HasSuffix(selector.Name, "_bucket") {
				own["le"] = true
			}
			for _, m := range selector.LabelMatchers {
				if !own[m.Name] {
					t.Errorf("%s: %s has no label %s", e.where, selector.Name, m.Name)
				}
				if own[m.Name] && slices.Contains(k.labels, m.Name) {
					for value := range strings.SplitSeq(m.Value, "|") {
						if value != "5.." && value != "2.." && !regexp.MustCompile(`\b`+regexp.QuoteMeta(value)+`\b`).MatchString(k.text) {
							t.Errorf("%s: %s says nothing of %s %q", e.where, selector.Name, m.Name, value)
						}
					}
				}
			}
			maps.Copy(has, own)
			return nil
		})
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			var used []string
			switch n := node.(type) {
			case *parser.AggregateExpr:
				used = n.Grouping
			case *parser.BinaryExpr:
				if n.VectorMatching != nil {
					used = append(n.VectorMatching.MatchingLabels, n.VectorMatching.Include...)
				}
			}
			for _, label := range used {
				if !has[label] {
					t.Errorf("%s: nothing in it has the label %s", e.where, label)
				}
			}
			return nil
		})
		for _, m := range regexp.MustCompile(`\{\{ ?([a-z_]+) ?\}\}`).FindAllStringSubmatch(e.legend, -1) {
			if !has[m[1]] {
				t.Errorf("%s: nothing in it has the label %s of its text", e.where, m[1])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(page)) {
		if !shown[name] {
			t.Errorf("neither dashboard nor rules show %s", name)
		}
	}
}

// The dashboard can be imported anywhere: its data source is a variable, and each panel says what
// it shows and in what unit.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("got uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type + " " + v.Query
	}
	page := metricsPage(t)
	for name, want := range map[string]string{"datasource": `datasource "prometheus"`, "job": "query ", "instance": "query "} {
		if !strings.HasPrefix(variables[name], want) {
			t.Errorf("the variable %s is %q", name, variables[name])
		}
		for _, m := range regexp.MustCompile(`parlor_[a-z_]+`).FindAllString(variables[name], -1) {
			if _, found := page[m]; !found {
				t.Errorf("the variable %s names %s", name, m)
			}
		}
	}
	var rows []string
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q has no title, or another its number", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if before := places[[2]int{x, y}]; before != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the page", p.Title, before)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q says too little", p.Title)
		}
		references := map[string]bool{}
		for _, target := range p.Targets {
			if want := (source{"prometheus", "${datasource}"}); target.Datasource != want || p.Datasource != want {
				t.Errorf("panel %q asks %v", p.Title, target.Datasource)
			}
			if references[target.RefID] {
				t.Errorf("panel %q has %s twice", p.Title, target.RefID)
			}
			references[target.RefID] = true
			if strings.Count(target.Expr, `job=~"$job", instance=~"$instance"`) != strings.Count(target.Expr, "{") {
				t.Errorf("panel %q shows all nodes, whichever are chosen: %s", p.Title, target.Expr)
			}
		}
	}
	want := []string{"Overview", "Messaging", "Latency", "API", "Message review", "Chat logs", "Broker, store, nodes", "Audit log and webhooks", "Traces and CloudWatch", "Process"}
	if !slices.Equal(rows, want) {
		t.Errorf("rows: got %q, want %q", rows, want)
	}
}
