package chatlog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// adoptedInterval is how often a recorder looks for spools that were adopted.
const adoptedInterval = 5 * time.Second

// watchAdopted ships the spools that were taken over from other nodes, and those that
// come while it runs, until ctx ends.
func (r *Recorder) watchAdopted(ctx context.Context) {
	known := map[string]bool{}
	for ctx.Err() == nil {
		for _, dir := range r.adopted() {
			if known[dir] {
				continue
			}
			known[dir] = true
			to, err := readDestination(dir)
			var s *shipper
			if err == nil {
				s, err = r.openShipper(to, dir)
			}
			if err != nil {
				r.logger.Error("an adopted spool of the chat log is left as it is", "spool", dir, "error", err)
				continue
			}
			r.logger.Info("an adopted spool of the chat log is shipped", "spool", dir, "logging_configuration", to.Configuration, "bytes", s.spool.bytes())
			r.adopt(s, true)
			r.own.Go(func() {
				defer r.adopt(s, false)
				s.runAdopted(ctx)
			})
		}
		select {
		case <-ctx.Done():
		case <-time.After(adoptedInterval):
		}
	}
}

// adopt has the shipper of an adopted spool be among what is measured, or no longer.
func (r *Recorder) adopt(s *shipper, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !is {
		delete(r.adopters, s)
		return
	}
	if r.adopters == nil {
		r.adopters = map[*shipper]bool{}
	}
	r.adopters[s] = true
}

// adopted lists the spools that were taken over.
func (r *Recorder) adopted() (dirs []string) {
	root := adoptedDir(r.config.Dir)
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.complain("the adopted spools of the chat log cannot be listed", destination{}, err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), unfinished) {
			dirs = append(dirs, filepath.Join(root, e.Name()))
		}
	}
	return dirs
}

// runAdopted ships a spool that nobody writes to until it is empty, and removes it; or
// until ctx ends: then the next process goes on.
func (s *shipper) runAdopted(ctx context.Context) {
	logger := s.recorder.logger.With("spool", s.spool.dir, "logging_configuration", s.to.Configuration)
	for ctx.Err() == nil {
		pause := pollInterval
		if s.due(true) {
			if err := s.ship(ctx); err != nil && ctx.Err() == nil {
				pause = s.pause()
			}
		} else if s.queue.empty() {
			s.queue.in.close()
			if n, _ := unreadOf(s.spool.dir); n > 0 {
				logger.Warn("an adopted spool of the chat log is shipped, but for what cannot be read", "unread_segments", n)
				return
			}
			if err := os.RemoveAll(s.spool.dir); err != nil {
				s.recorder.complain("an adopted spool of the chat log is shipped, and cannot be removed", s.to, err)
				return
			}
			logger.Info("an adopted spool of the chat log is shipped and removed")
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	s.queue.in.close()
	logger.Warn("records of an adopted spool of the chat log stay there until this node runs again", "bytes", s.spool.bytes())
}
