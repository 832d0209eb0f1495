package deploytest

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is what the chart says of the Prometheus operator's kind.
type serviceMonitor struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Endpoints []struct {
			Port      string          `json:"port"`
			Path      string          `json:"path"`
			Interval  string          `json:"interval"`
			Scheme    string          `json:"scheme"`
			TLSConfig map[string]bool `json:"tlsConfig"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// prometheusRule is another kind of the Prometheus operator's. Its groups are as in a file.
type prometheusRule struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Groups []any `json:"groups"`
	} `json:"spec"`
}

// checkObserving holds the rules and the dashboard that the chart makes to the files.
func checkObserving(t *testing.T, r *release) {
	t.Helper()
	text, err := yaml.Marshal(r.rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	alerts, records := rules(t)
	count := 0
	for _, group := range groups.Groups {
		count += len(group.Rules)
		for _, rule := range group.Rules {
			if strings.Contains(rule.Expr, `job="parlor"`) {
				t.Errorf("%s is about nodes that the operator calls otherwise: %s", rule.Alert, rule.Expr)
			}
			for _, m := range regexp.MustCompile(`job="([^"]*)"`).FindAllStringSubmatch(rule.Expr, -1) {
				service := r.services[m[1]]
				if service == nil || !labels.SelectorFromSet(r.monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
					t.Errorf("%s is about %s, and the monitor finds no such service", rule.Alert, m[1])
				}
			}
		}
	}
	if count != len(alerts)+len(records) || r.rule.Metadata.Labels["release"] != "prometheus" {
		t.Errorf("got %d rules with the labels %v", count, r.rule.Metadata.Labels)
	}
	for _, config := range r.configs {
		if config.Data["parlor.json"] == strings.TrimSpace(file(t, dashboardFile)) && config.Labels["grafana_dashboard"] == "1" && config.Annotations["folder"] == "Chat" {
			return
		}
	}
	t.Errorf("no ConfigMap has the dashboard: %v", slices.Sorted(maps.Keys(r.configs)))
}
