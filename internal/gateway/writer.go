package gateway

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// writer writes to many sessions at once: what is next for each of them goes to the
// kernel together. It is for one caller at a time.
type writer struct {
	tally  tally
	logger *slog.Logger
	said   *sync.Once // that there is no sender for many; shared
	size   int        // the most sends at once
	sender sender     // nil until there is something to send
	batch  []send     // what flush sends
}

// write writes to the sessions in seats, at the latest with the next flush.
func (w *writer) write(seats []atomic.Pointer[session]) {
	for i := range seats {
		s := seats[i].Load()
		if s == nil || !s.seize() {
			continue
		}
		b := s.prepare()
		if b == nil { // not simply the next frames of the log
			s.write(&w.tally, false)
			continue
		}
		if w.batch = append(w.batch, send{session: s, b: b}); len(w.batch) == w.size {
			w.flush()
		}
	}
}

// flush sends the batch. What a socket does not take whole is for the session's own
// write to see to.
func (w *writer) flush() {
	if len(w.batch) == 0 {
		return
	}
	if w.sender == nil {
		w.sender = w.newSender()
	}
	usable := w.sender.send(w.batch)
	now := time.Now().UnixNano()
	for i := range w.batch {
		w.batch[i].settle(&w.tally, now)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	if !usable {
		w.logger.Error("sending to many sockets at once failed; each gets a system call of its own from now on")
		w.sender.close()
		w.sender = oneByOne{}
	}
}

// newSender makes the best sender that there is here: containers may forbid what it
// takes to send to many at once.
func (w *writer) newSender() sender {
	s, err := newAIO(w.size)
	if err == nil {
		return s
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		w.said.Do(func() {
			w.logger.Warn("cannot send to many sockets at once, so that each gets a system call of its own; that is slower, and all", "error", err)
		})
	}
	return oneByOne{}
}

func (w *writer) close() {
	if w.sender != nil {
		w.sender.close()
		w.sender = nil
	}
}
