package server

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chatlog"
	"parlor/internal/config"
)

// shipGrace is how long a server that stops goes on taking chat logs to their destinations,
// when its sessions are gone.
const shipGrace = 10 * time.Second

// newRecorder returns what records chat logs, over the spools in the data directory.
func newRecorder(c config.Config, logger *slog.Logger, registry *prometheus.Registry) (*chatlog.Recorder, error) {
	r := chatlog.Config{
		Dir:        filepath.Join(c.Data, "chatlog"),
		Limit:      int64(c.ChatlogSpoolLimit) << 20,
		Interval:   c.ChatlogInterval,
		S3Interval: c.ChatlogS3Interval,
		Logger:     logger,
		ShipGrace:  shipGrace,
		Metrics:    registry,
	}
	if c.Destinations == "local" {
		r.Local = filepath.Join(c.Data, "logs")
	}
	return chatlog.New(r)
}
