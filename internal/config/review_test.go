package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReviewWebhooks(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-1:123456789012:function:review"
	set := func(webhooks ...string) Config {
		c := Default(Dev)
		c.ReviewWebhooks = webhooks
		return c
	}
	check(t, "http", set(arn+"=http://127.0.0.1:8080/review?a=b"), "")
	check(t, "https, several", set(arn+"=https://a.example", arn+":live=https://a.example"), "")
	check(t, "no URL", set(arn), "is not ARN=URL")
	check(t, "no ARN", set("https://a.example/"), "is not ARN=URL")
	check(t, "another service's ARN", set("arn:aws:s3:::bucket=https://a.example"), "is not ARN=URL")
	check(t, "a path", set(arn+"=/review"), "is not the URL of an HTTP endpoint")
	check(t, "another scheme", set(arn+"=ftp://a.example"), "is not the URL of an HTTP endpoint")
	check(t, "no host", set(arn+"=https:///review"), "is not the URL of an HTTP endpoint")
	check(t, "a port alone", set(arn+"=http://:80/review"), "is not the URL of an HTTP endpoint")
	check(t, "a password", set(arn+"=https://u:secret@a.example"), "https://u:xxxxx@a.example has a user or password in it")
	check(t, "twice", set(arn+"=https://a.example", arn+"=https://b.example"), arn+" is given twice")

	c := set(arn+"=https://a.example/?b=c", arn+":live=https://d.example")
	want := map[string]string{arn: "https://a.example/?b=c", arn + ":live": "https://d.example"}
	if diff := cmp.Diff(c.Webhooks(), want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}

	c = set()
	c.WebhookSecret = present(t)
	check(t, "a secret", c, "")
	c.WebhookSecret = filepath.Join(t.TempDir(), "none")
	check(t, "no such file", c, "webhook-secret: open "+c.WebhookSecret)
	c.WebhookSecret = t.TempDir()
	check(t, "a directory", c, "is a directory")
	if dev, serve := Default(Dev), Default(Serve); dev.VerifyHandlers || !serve.VerifyHandlers {
		t.Errorf("verify-handlers: got %v and %v, want it of serve alone", dev.VerifyHandlers, serve.VerifyHandlers)
	}
}

// The query of a webhook may be a key: it is shown neither by config print nor in faults.
func TestWebhookQueriesAreHidden(t *testing.T) {
	c := Default(Dev)
	c.EventWebhooks = []string{"https://hooks.example.com/a?token=hidden"}
	if text := c.YAML(); strings.Contains(text, "hidden") || !strings.Contains(text, "https://hooks.example.com/a?xxxxx") {
		t.Errorf("printed: %s", text)
	}
	if c.EventWebhooks[0] != "https://hooks.example.com/a?token=hidden" {
		t.Error("printing changed the setting")
	}
	c.EventWebhooks = []string{"https://u:p@hooks.example.com/?token=hidden", "ftp://hooks.example.com/?token=hidden", "https://h.example.com/?token=hidden", "https://h.example.com/?token=hidden"}
	err := c.Validate()
	if err == nil || strings.Contains(err.Error(), "hidden") || strings.Count(err.Error(), "?xxxxx") != 3 {
		t.Errorf("got %v", err)
	}
}
