package chatlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// sink is a destination.
type sink interface {
	// put takes records to the destination, in their order. rest are those that are not
	// there, in their order, which must be put again; an error says why, and is an
	// *[unwanted] where no try will ever help.
	put(ctx context.Context, records []*record) (rest []*record, err error)
}

// unwanted are records that a destination refuses for what they are.
type unwanted struct {
	count  int
	err    error
	failed error // beside them; nil: all others were taken
}

func (u *unwanted) Error() string { return u.err.Error() }

func (u *unwanted) Unwrap() error { return u.err }

// shipper takes the records of one spool to its destination.
type shipper struct {
	recorder *Recorder
	to       destination
	spool    *spool
	sink     sink
	interval time.Duration
	discards chan chan struct{} // asks run to give up what it has (discard.go)
	ended    chan struct{}      // closed when run has

	oldest atomic.Int64 // when the first record that waits was sent, Unix nanoseconds; 0: none waits

	// Owned by run.
	queue    *queue
	waiting  time.Time // since when there is something ready; zero when there is not
	failures int       // in a row
	seen     place     // up to which the spool was read
	used     time.Time // when that moved, or something waited
}

const (
	pollInterval = 200 * time.Millisecond
	putTimeout   = 30 * time.Second
	// After a failure it is tried again after firstPause, then twice as long each time
	// up to longestPause, each a random part shorter.
	firstPause   = time.Second
	longestPause = 5 * time.Minute
	// partPause is the pause after a try of which a part was taken, while the node stops.
	partPause = 100 * time.Millisecond
	// countFor is how long what stays in a spool is counted.
	countFor = 2 * time.Second
)

// run ships until ctx ends.
func (s *shipper) run(ctx context.Context) {
	defer close(s.ended)
	for ctx.Err() == nil {
		pause := pollInterval
		if s.due(false) {
			if err := s.ship(ctx); err != nil && ctx.Err() == nil {
				pause = s.pause()
			}
		}
		if s.idle() && s.retire() {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case done := <-s.discards:
			s.discard()
			close(done)
		}
	}
}

// due reads what there is, and reports whether it is to be shipped now.
func (s *shipper) due(now bool) bool {
	if err := s.spool.flush(); err != nil {
		s.recorder.complain("the chat log's spool cannot be written", s.to, err)
	}
	if err := s.queue.fill(); err != nil {
		s.recorder.complain("the chat log's spool cannot be read", s.to, err)
	}
	s.noteOldest()
	if len(s.queue.ready) == 0 {
		s.waiting = time.Time{}
		return false
	}
	if s.waiting.IsZero() {
		s.waiting = time.Now()
	}
	return now || s.queue.full() || s.failures > 0 || time.Since(s.waiting) >= s.interval
}

// ship takes what is ready to the destination.
func (s *shipper) ship(ctx context.Context) error {
	putting, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	m := s.recorder.metrics
	count := len(s.queue.ready)
	rest, err := s.sink.put(putting, s.queue.ready)
	taken := count - len(rest)
	if taken > 0 {
		s.failures = 0
	}
	var u *unwanted
	if errors.As(err, &u) {
		m.unwanted.WithLabelValues(s.to.Configuration).Add(float64(u.count))
		taken -= u.count
		s.recorder.complain("the chat log's destination refuses records for what they are; they are left out", s.to, u.err)
		err = u.failed
	}
	switch {
	case err == nil:
		s.failures = 0
	case ctx.Err() != nil: // the node stops: finish tries once more
	default:
		s.failures++
		m.failed(s.to.Configuration, err)
		s.recorder.complain("the chat log's destination takes no records; they wait in the spool", s.to, err)
	}
	if len(rest) < count {
		m.shipped.WithLabelValues(s.to.Configuration).Add(float64(max(taken, 0)))
		s.waiting = time.Time{}
		if cursorErr := s.queue.shipped(rest); cursorErr != nil {
			s.recorder.complain("the chat log's spool cannot be written", s.to, cursorErr)
		}
		s.noteOldest()
	}
	return err
}

// noteOldest notes for the metrics which record has waited longest: the first that is ready,
// since they are made ready in about the order in which they were sent.
func (s *shipper) noteOldest() {
	first := int64(0)
	if len(s.queue.ready) > 0 {
		first = s.queue.ready[0].accepted
	}
	s.oldest.Store(first)
}

// pause is how long to wait after failures in a row.
func (s *shipper) pause() time.Duration {
	d := min(firstPause<<min(s.failures-1, 20), longestPause)
	return d/2 + rand.N(d/2+1)
}

// finish ships what is left until ctx ends, says what stays, and closes the spool. One
// that is empty is removed: its destination may never be used again. A destination that
// failed before the stop is tried as long as it takes something.
func (s *shipper) finish(ctx context.Context) {
	down := s.failures > 0
	for ctx.Err() == nil && s.due(true) {
		count, pause := len(s.queue.ready), partPause
		err := s.ship(ctx)
		if err == nil {
			continue
		}
		if len(s.queue.ready) == count {
			if down || ctx.Err() != nil {
				break
			}
			pause = s.pause()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	// Nothing can be added from here on: what is empty stays so.
	err := errors.Join(s.spool.close(), s.queue.fill())
	s.queue.in.close()
	if err == nil && s.queue.empty() {
		if err = removeSpool(s.spool.dir); err == nil {
			return
		}
	}
	if err != nil {
		s.recorder.complain("the chat log's spool cannot be closed", s.to, err)
	}
	records, all := s.queue.left(time.Now().Add(countFor))
	s.recorder.logger.Warn("records of the chat log stay in the spool until this node runs again", "logging_configuration", s.to.Configuration,
		"destination", string(s.to.Kind)+":"+s.to.Name, "records", records, "all_counted", all, "bytes", s.spool.bytes(), "spool", s.spool.dir)
}
