package chatlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// retireAfter is how long nothing comes for a destination before its shipper ends and its spool is
// removed: configurations that change their destination leave the old one behind.
const retireAfter = 10 * time.Minute

// idle reports whether nothing waited for the destination for retireAfter.
func (s *shipper) idle() bool {
	if at := s.queue.in.at; s.used.IsZero() || at != s.seen || !s.queue.empty() {
		s.seen, s.used = at, time.Now()
	}
	return time.Since(s.used) >= retireAfter
}

// retire closes and removes the spool, unless something comes at this very moment. Who
// has the shipper still, and is told errClosed, finds another one when opening is free.
func (s *shipper) retire() bool {
	r := s.recorder
	r.opening.Lock()
	defer r.opening.Unlock()
	if !s.queue.empty() || !s.spool.closeAt(s.queue.in.at) {
		return false
	}
	s.queue.in.close()
	err := s.spool.sync()
	if err == nil {
		err = removeSpool(s.spool.dir)
	}
	if err != nil {
		r.complain("the chat log's spool cannot be closed", s.to, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.shippers, s.to)
	return true
}

const asideSuffix = ".unread" // of segments that were set aside

// removeSpool removes a spool of which everything is at its destination, but for what was
// set aside.
func removeSpool(dir string) error {
	names, err := removal(dir)
	for _, name := range names {
		if err = os.Remove(name); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remove a spool: %w", err)
	}
	return nil
}

// removal is what removeSpool removes, in this order: what a process leaves that is
// killed meanwhile has a cursor behind all segments, and a destination as long as it has anything.
func removal(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var others []string
	aside := false
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasSuffix(name, asideSuffix):
			aside = true
		case strings.HasSuffix(name, ".seg"):
			names = append(names, name)
		case e.Name() != destinationFile:
			others = append(others, name)
		}
	}
	if aside { // whose it is, and the number that comes next, stay as well
		return names, nil
	}
	return append(append(names, others...), filepath.Join(dir, destinationFile), dir), nil
}
