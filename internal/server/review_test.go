package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parlor/internal/config"
)

func TestWebhookSecret(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	c := config.Default(config.Dev)
	c.Data = t.TempDir()
	made, err := webhookSecret(c, quiet)
	if err != nil || len(made) < minSecret {
		t.Fatalf("got a secret of %d bytes, %v", len(made), err)
	}
	name := filepath.Join(c.Data, "webhook-secret")
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info, err)
	}
	if again, err := webhookSecret(c, quiet); err != nil || string(again) != string(made) {
		t.Errorf("the second time: got another secret, %v", err)
	}
	c.Data = t.TempDir()
	if other, err := webhookSecret(c, quiet); err != nil || string(other) == string(made) {
		t.Errorf("another server has the same secret, %v", err)
	}

	c.WebhookSecret = filepath.Join(t.TempDir(), "secret")
	if _, err := webhookSecret(c, quiet); err == nil || !strings.Contains(err.Error(), c.WebhookSecret) {
		t.Errorf("one that is not there: got %v", err)
	}
	if _, err := os.Stat(c.WebhookSecret); err == nil {
		t.Error("a file that the operator named was made")
	}
	for _, test := range []struct{ content, want string }{
		{" 0123456789abcdef\n", "0123456789abcdef"}, {"0123456789abcde\n", ""}, {"", ""}, {strings.Repeat(" \n", 20), ""},
	} {
		if err := os.WriteFile(c.WebhookSecret, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := webhookSecret(c, quiet)
		if string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: got %q, %v", test.content, got, err)
		}
		if err != nil && strings.TrimSpace(test.content) != "" && strings.Contains(err.Error(), strings.TrimSpace(test.content)) {
			t.Errorf("the error has the secret: %v", err)
		}
	}
	c.WebhookSecret = t.TempDir()
	if _, err := webhookSecret(c, quiet); err == nil {
		t.Error("a directory is no secret")
	}
}
