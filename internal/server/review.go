package server

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/config"
	"parlor/internal/notices"
	"parlor/internal/review"
)

// newReviewer returns what asks message review handlers.
func newReviewer(c config.Config, logger *slog.Logger, registry *prometheus.Registry) (*review.Reviewer, error) {
	r := review.Config{Webhooks: c.Webhooks(), Verify: c.VerifyHandlers, Logger: logger, Metrics: registry}
	if len(r.Webhooks) > 0 {
		var err error
		if r.Secret, err = webhookSecret(c, logger); err != nil {
			return nil, err
		}
	}
	return review.New(r), nil
}

// newNotices opens the audit log and the queues of webhooks.
func newNotices(c config.Config, node string, logger *slog.Logger, registry *prometheus.Registry) (*notices.Notices, error) {
	n := notices.Config{
		AuditLog: c.AuditLog, Webhooks: c.EventWebhooks, Groups: c.WebhookEvents,
		Dir: filepath.Join(c.Data, "webhooks"), Node: node, Logger: logger, Metrics: registry,
	}
	if len(n.Webhooks) > 0 {
		var err error
		if n.Secret, err = webhookSecret(c, logger); err != nil {
			return nil, err
		}
	}
	return notices.New(n)
}

// webhookSecret reads the secret of webhooks, without the white space around it. The
// one in the data directory is made when there is none.
func webhookSecret(c config.Config, logger *slog.Logger) ([]byte, error) {
	name := c.WebhookSecret
	if name == "" {
		name = filepath.Join(c.Data, "webhook-secret")
		err := makeSecret(name)
		if err == nil {
			logger.Info("made a secret to sign webhook requests with", "file", name)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the webhooks' secret: %w", err)
		}
	}
	secret, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the webhooks' secret: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the webhooks' secret in %s is shorter than %d bytes", name, minSecret)
	}
	return secret, nil
}

const minSecret = 16

// makeSecret makes a file with a secret, whole or not at all, unless there is one.
func makeSecret(name string) error {
	if _, err := os.Stat(name); err == nil {
		return fs.ErrExist
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintln(file, rand.Text())
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Link(file.Name(), name)
}
