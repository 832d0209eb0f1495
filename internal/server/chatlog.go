package server

import (
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chatlog"
	"parlor/internal/config"
)

// newRecorder returns what records chat logs, over the spools in the data directory.
func newRecorder(c config.Config, logger *slog.Logger, registry *prometheus.Registry) (*chatlog.Recorder, error) {
	r := chatlog.Config{
		Dir:        filepath.Join(c.Data, "chatlog"),
		Limit:      int64(c.ChatlogSpoolLimit) << 20,
		Interval:   c.ChatlogInterval,
		S3Interval: c.ChatlogS3Interval,
		Logger:     logger,
		Metrics:    registry,
	}
	if c.Destinations == "local" {
		r.Local = filepath.Join(c.Data, "logs")
	}
	return chatlog.New(r)
}
