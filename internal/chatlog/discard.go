package chatlog

import (
	"context"
	"fmt"
	"os"
)

// Discard gives up what waits in the spools, and removes the directory that stands for
// the destinations, if there is one. What is being recorded at this moment may stay. It is
// for development, while Run runs: no record of it comes back. An error says that a
// destination kept its shipper busy until ctx ended.
func (r *Recorder) Discard(ctx context.Context) error {
	late := make(chan string, 1)
	r.each(func(s *shipper) {
		done := make(chan struct{})
		select {
		case s.discards <- done:
			<-done
		case <-s.ended:
		case <-ctx.Done():
			select {
			case late <- s.to.Configuration:
			default:
			}
		}
	})
	select {
	case configuration := <-late:
		return fmt.Errorf("discard the chat log of %s: %w", configuration, ctx.Err())
	default:
	}
	if r.config.Local == "" {
		return nil
	}
	appending.Lock()
	defer appending.Unlock()
	if err := os.RemoveAll(r.config.Local); err != nil {
		return fmt.Errorf("discard the chat logs: %w", err)
	}
	return nil
}

// discard takes everything that is ready for taken.
func (s *shipper) discard() {
	for s.due(true) {
		if err := s.queue.shipped(nil); err != nil {
			s.recorder.complain("the chat log's spool cannot be written", s.to, err)
			return
		}
		s.failures = 0
	}
}
