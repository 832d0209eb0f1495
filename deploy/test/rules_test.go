package deploytest

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

const rulesFile = "deploy/prometheus/parlor.rules.yaml"

// rules reads the rules as Prometheus does.
func rules(t testing.TB) (alerts, records []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(file(t, rulesFile)), false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				alerts = append(alerts, rule)
			} else {
				records = append(records, rule)
			}
		}
	}
	return alerts, records
}

// anchor is what a heading's link ends with.
func anchor(heading string) string {
	heading = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// Each alert says what it is, and leads to a heading that there is. The table of the page names
// the rules, as they are.
func TestAlertsAreDescribed(t *testing.T) {
	page := file(t, operations)
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		anchors[anchor(m[1])] = true
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(Parlor[A-Za-z]+)` \\| [^|]+ \\| ([^|]+ \\| [^|]+) \\|$").FindAllStringSubmatch(page, -1) {
		rows[m[1]] = m[2]
	}
	alerts, _ := rules(t)
	for _, rule := range alerts {
		for _, name := range []string{"summary", "description", "runbook"} {
			if rule.Annotations[name] == "" {
				t.Errorf("%s has no %s", rule.Alert, name)
			}
		}
		link, heading, _ := strings.Cut(rule.Annotations["runbook"], "#")
		if link != operations || !anchors[heading] {
			t.Errorf("%s: there is no %s", rule.Alert, rule.Annotations["runbook"])
		}
		if s := rule.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s has the severity %q", rule.Alert, s)
		}
		wait := "–"
		if rule.For > 0 {
			wait = rule.For.String()
		}
		if got, want := rows[rule.Alert], wait+" | "+rule.Labels["severity"]; got != want {
			t.Errorf("%s says of %s %q, the rule is %q", operations, rule.Alert, got, want)
		}
		delete(rows, rule.Alert)
	}
	for name := range rows {
		t.Errorf("%s has %s, and there is no such rule", operations, name)
	}
}

// firing is after how long an alert fires over what is known; -1: it never does.
func firing(t testing.TB, m *memory, rule rulefmt.Rule, until time.Duration) time.Duration {
	t.Helper()
	const step = 15 * time.Second
	first := time.Duration(-1)
	for _, s := range m.evaluate(t, rule.Expr, 0, until, step) {
		for i, since := 0, -1; i < len(s.Floats); i++ {
			if since < 0 || s.Floats[i].T-s.Floats[i-1].T > step.Milliseconds() {
				since = i
			}
			held := time.Duration(s.Floats[i].T-s.Floats[since].T) * time.Millisecond
			at := time.Duration(s.Floats[i].T) * time.Millisecond
			if held >= time.Duration(rule.For) && (first < 0 || at < first) {
				first = at
			}
		}
	}
	return first
}

// TestAlerts has each alert fire over an hour that is as it says, and not over one that is well.
// Series are in steps of 15 s, of which four are a minute.
func TestAlerts(t *testing.T) {
	const (
		node    = `job="parlor", instance="a"`
		another = `job="parlor", instance="b"`
		handler = `uri="arn:aws:lambda:us-east-1:123456789012:function:review"`
		logging = `logging_configuration="arn:aws:ivschat:us-east-1:123456789012:logging-configuration/AbCdEfGhIjKl"`
	)
	// both are two nodes of which the first has one series and the second another.
	both := func(name, extra, first, second string) string {
		if extra != "" {
			extra = ", " + extra
		}
		return fmt.Sprintf("%s{%s%s} %s\n%s{%s%s} %s\n", name, node, extra, first, name, another, extra, second)
	}
	delivered := func(slow string) string {
		return both("parlor_delivery_seconds_bucket", `le="0.26"`, "0+1000x240", "0+1000x240") +
			both("parlor_delivery_seconds_bucket", `le="1.05"`, "0+1000x240", slow) + both("parlor_delivery_seconds_bucket", `le="+Inf"`, "0+1000x240", slow)
	}
	for _, c := range []struct {
		alert       string
		fires, well string
		before      time.Duration // by when it has to fire
	}{
		{"ParlorNodeDown", both("up", "", "1x240", "1x40 0x200"), both("up", "", "1x240", "1x40 0x2 1x200"), 15 * time.Minute},
		{"ParlorHalfOfNodesDown", `up{` + node + `} 0x240`, both("up", "", "1x240", "0x240"), 5 * time.Minute},
		{"ParlorNotReady", both("parlor_ready", "", "1x240", "0x240"), both("parlor_ready", "", "1x240", "1x20 0x6 1x200"), 5 * time.Minute},
		{"ParlorNobodyReady", both("parlor_ready", "", "0x240", "0x240"), both("parlor_ready", "", "1x240", "0x240"), 2 * time.Minute},
		{"ParlorBrokerDown", both("parlor_broker_up", "", "1x240", "0x240"), both("parlor_broker_up", "", "1x240", "1x20 0x1 1x200"), 2 * time.Minute},
		{"ParlorVersionsApart", both("parlor_broker_unreadable_total", "", "0x240", "0x40 7x200"), both("parlor_broker_unreadable_total", "", "0x240", "7x240"), 12 * time.Minute},
		{"ParlorClockOff", both("parlor_clock_offset_seconds", "", "0x240", "-1.5x240"), both("parlor_clock_offset_seconds", "", "0.2x240", "-0.9x240"), 5 * time.Minute},
		{"ParlorFileDescriptors", both("process_open_fds", "", "10x240", "850x240") + both("process_max_fds", "", "1000x240", "1000x240") + both("parlor_build_info", `version="1"`, "1x240", "1x240"),
			both("process_open_fds", "", "10x240", "700x240") + both("process_max_fds", "", "1000x240", "1000x240") + both("parlor_build_info", `version="1"`, "1x240", "1x240") +
				`process_open_fds{job="another", instance="a"} 99x240` + "\n" + `process_max_fds{job="another", instance="a"} 100x240`, 8 * time.Minute},
		{"ParlorCertificateEnds", both("parlor_tls_certificate_expiry_seconds", "", "7776000x300", "1000000-15x300"), both("parlor_tls_certificate_expiry_seconds", "", "7776000x300", "1300000-15x300"), 62 * time.Minute},
		{"ParlorCertificateEndsSoon", both("parlor_tls_certificate_expiry_seconds", "", "7776000x240", "100000-15x240"), both("parlor_tls_certificate_expiry_seconds", "", "7776000x240", "200000-15x240"), 8 * time.Minute},
		{"ParlorHandshakesFail", both("parlor_handshakes_total", `code="503"`, "0+15x240", "0+15x240"), both("parlor_handshakes_total", `code="503"`, "0+2x240", "0+2x240") + both("parlor_handshakes_total", `code="401"`, "0+500x240", "0+500x240"), 5 * time.Minute},
		{"ParlorMessagesFail", both("parlor_errors_total", `code="500"`, "0+15x240", "0+15x240"), both("parlor_errors_total", `code="500"`, "0x240", "0+1x240") + both("parlor_errors_total", `code="429"`, "0+500x240", "0+500x240"), 5 * time.Minute},
		{"ParlorDeliveriesSlow", delivered("0+1300x240"), delivered("0+1005x240"), 10 * time.Minute},
		{"ParlorSlowSessionsDropped", both("parlor_sessions_ended_total", `cause="slow"`, "0x240", "0+5x240") + both("parlor_connections", "", "1000x240", "1000x240"),
			both("parlor_sessions_ended_total", `cause="client"`, "0+500x240", "0+500x240") + both("parlor_sessions_ended_total", `cause="slow"`, "0x240", "0+0.2x240") + both("parlor_connections", "", "5x240", "1000x240"), 20 * time.Minute},
		{"ParlorPublicationsMissed", both("parlor_publications_missed_total", "", "0x240", "0x40 3x200"), both("parlor_publications_missed_total", "", "0x240", "3x240"), 12 * time.Minute},
		{"ParlorMessagesLost", both("parlor_broker_lost_total", "", "0x240", "0x40 3x200") + both("parlor_broker_not_offered_total", "", "0x240", "0x240"),
			both("parlor_broker_lost_total", "", "0x240", "3x240") + both("parlor_broker_not_offered_total", "", "0x240", "0x240"), 12 * time.Minute},
		{"ParlorApiFails", both("parlor_api_requests_total", `operation="GetRoom", code="200"`, "0+100x240", "0+100x240") + both("parlor_api_requests_total", `operation="GetRoom", code="500"`, "0x240", "0+5x240"),
			both("parlor_api_requests_total", `operation="GetRoom", code="200"`, "0+100x240", "0+100x240") + both("parlor_api_requests_total", `operation="GetRoom", code="404"`, "0x240", "0+50x240") + both("parlor_api_requests_total", `operation="GetRoom", code="500"`, "0x240", "0+1x240"), 10 * time.Minute},
		{"ParlorReviewFails", both("parlor_review_invocation_errors_total", handler+`, reason="timeout"`, "0+10x240", "0+10x240"), both("parlor_review_invocation_errors_total", handler+`, reason="timeout"`, "0+1x240", "0+1x240"), 10 * time.Minute},
		{"ParlorReviewRests", both("parlor_review_invocation_errors_total", handler+`, reason="resting"`, "0x240", "0+1x240"), both("parlor_review_invocation_errors_total", handler+`, reason="timeout"`, "0x240", "0+1x240"), 10 * time.Minute},
		{"ParlorReviewAnswersInvalid", both("parlor_review_response_validation_errors_total", handler, "0x240", "0+1x240"), both("parlor_review_response_validation_errors_total", handler, "0x240", "4x240"), 10 * time.Minute},
		{"ParlorLogRecordsLost", both("parlor_log_records_refused_total", logging, "0x240", "0x100 1x140"), both("parlor_log_records_refused_total", logging, "0x240", "2x240"), 26 * time.Minute},
		{"ParlorLogRecordsUnwanted", both("parlor_log_records_unwanted_total", logging, "0x240", "1x100 3x140"), both("parlor_log_records_unwanted_total", logging, "0x240", "2x240"), 26 * time.Minute},
		// As a destination that is down is tried: often at first, then every five minutes at most.
		{"ParlorLogDestinationFails", `parlor_log_destination_errors_total{` + node + `, ` + logging + `} 0x10 3 5 6x8 7x20 8x20 9x20 10x20 11x20 12x20 13x20 14x20 15x20 16x20`,
			`parlor_log_destination_errors_total{` + node + `, ` + logging + `} 0x60 1x60 2x60 2x60` + "\n" + `parlor_log_destination_access_denied_total{` + node + `, ` + logging + `} 3x240`, 25 * time.Minute},
		{"ParlorLogBacklogOld", both("parlor_log_backlog_age_seconds", logging, "0x240", "0+15x240"), both("parlor_log_backlog_age_seconds", logging, "300x240", "900x240"), 40 * time.Minute},
		{"ParlorLogSpoolFills", both("parlor_log_backlog_bytes", logging, "0x240", "3500000000x240"), both("parlor_log_backlog_bytes", logging, "3000000000x240", "3000000000x240"), 10 * time.Minute},
		{"ParlorAuditRecordsLost", both("parlor_audit_records_lost_total", "", "0x240", "0x40 1x200"), both("parlor_audit_records_lost_total", "", "0x240", "1x240"), 12 * time.Minute},
		{"ParlorWebhookEventsLost", both("parlor_webhook_events_lost_total", "", "0x240", "0x40 1x200"), both("parlor_webhook_events_lost_total", "", "0x240", "1x240"), 12 * time.Minute},
		{"ParlorWebhookFails", both("parlor_webhook_requests_total", `code="0"`, "0x240", "0 1 2 3x18 4x20 5x20 6x20 7x20 8x20 9x20 10x20 11x20 12x20 13x20") + both("parlor_webhook_queue_bytes", "", "0x240", "500+10x240"),
			both("parlor_webhook_requests_total", `code="500"`, "0x240", "0+1x240") + both("parlor_webhook_requests_total", `code="200"`, "0x240", "0+9x240") + both("parlor_webhook_queue_bytes", "", "0x240", "0 500 0x20 800 0x200"), 25 * time.Minute},
		{"ParlorTracesLost", both("parlor_trace_spans_total", `outcome="failed"`, "0x300", "0+5x300"), both("parlor_trace_spans_total", `outcome="delivered"`, "0+50x300", "0+50x300") + both("parlor_trace_spans_total", `outcome="overflow"`, "7x300", "0x20 90x280"), 25 * time.Minute},
		{"ParlorCloudWatchFails", both("parlor_cloudwatch_points_total", `outcome="failed"`, "0x300", "0x20 8x4 16x4 24x4 32x4 40x4 48x4 56x4 64x4 72x4 80x4 88x4 96x4 104x4 112x4 120x4 128x4 136x4 144x4 152x4 160x4 168x4 176x4"), both("parlor_cloudwatch_points_total", `outcome="put"`, "0+8x300", "0+8x300") + both("parlor_cloudwatch_points_total", `outcome="failed"`, "7x300", "0x20 90x280"), 25 * time.Minute},
	} {
		t.Run(c.alert, func(t *testing.T) {
			alerts, _ := rules(t)
			for _, rule := range alerts {
				if rule.Alert != c.alert {
					continue
				}
				var ill, well memory
				ill.load(t, 15*time.Second, c.fires)
				well.load(t, 15*time.Second, c.well)
				if got := firing(t, &ill, rule, 75*time.Minute); got < 0 || got > c.before {
					t.Errorf("it fires after %v, want until %v", got, c.before)
				}
				if got := firing(t, &well, rule, 75*time.Minute); got >= 0 {
					t.Errorf("it fires after %v though all is well", got)
				}
				return
			}
			t.Error("there is no such rule")
		})
	}
}

// Every alert is tried.
func TestAlertsAreTried(t *testing.T) {
	source := file(t, "deploy/test/rules_test.go")
	alerts, _ := rules(t)
	for _, rule := range alerts {
		if !strings.Contains(source, `{"`+rule.Alert+`", `) {
			t.Errorf("TestAlerts does not try %s", rule.Alert)
		}
	}
}
