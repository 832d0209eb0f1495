package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"parlor/internal/config"
	"parlor/internal/server"
)

type serveCommand struct{ settings }

// Run serves until a signal.
func (s *serveCommand) Run(line *kong.Context) error {
	c, err := s.resolve(config.Serve, line)
	if err != nil {
		return err
	}
	return runServer(c, false, misspelt(line))
}

// runServer serves until SIGINT, SIGTERM or SIGHUP, which drain the server; a second one ends
// it at once.
func runServer(c config.Config, temporary bool, warnings []string) error {
	// From here on a signal is a stop, also while the store opens.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP) // the terminal was closed
	}
	defer signal.Stop(signals)

	logger := newLogger(&c)
	for _, text := range warnings {
		logger.Warn(text)
	}
	s, err := server.New(c, logger)
	if err != nil {
		return startHint(err)
	}
	fmt.Fprint(os.Stderr, banner(&c, s.Addr(), temporary, s.Seeded()...))

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case received := <-signals:
		logger.Info("stopping; a second signal exits at once", "signal", received.String())
		stop()
	}
	select {
	case err := <-done:
		return err
	case <-signals:
		// The goroutine of Run goes with the process.
		return errors.New("stopped by a second signal, before the sessions were ended")
	}
}

func newLogger(c *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level()}
	text := c.LogFormat == "text"
	if c.LogFormat == "auto" {
		info, err := os.Stderr.Stat()
		text = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if text {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}
