package gateway

import (
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"
)

// writer writes to many sessions at once: what is next for each of them goes to the
// kernel together. Where that cannot be, each send is a system call of its own. It is for
// one caller at a time.
type writer struct {
	tally  tally
	logger *slog.Logger
	singly *atomic.Bool // the gateway's: set where a writer has no sender, which is said once
	size   int          // the most sends at once
	alone  bool         // there is no sender to be had
	sender sender       // nil until open
	batch  []send       // what flush sends; without a session: is done
	hand   *session     // the one that is being looked at
}

// open makes the writer ready; else the first write does. Containers may forbid what it
// takes to send to many at once.
func (w *writer) open() {
	if w.sender != nil || w.alone {
		return
	}
	made, err := newAIO(w.size)
	if err == nil {
		w.sender = made
		return
	}
	w.alone = true
	if !w.singly.Swap(true) && !errors.Is(err, errors.ErrUnsupported) {
		w.logger.Warn("cannot send to many sockets at once, so that each send is a system call of its own, which costs more", "error", err)
	}
}

func (w *writer) close() {
	if w.sender != nil {
		w.sender.close()
		w.sender = nil
	}
}

// write writes to the sessions in seats, at the latest with the next flush.
func (w *writer) write(seats []atomic.Pointer[session]) {
	w.open()
	written := 0
	for i := range seats {
		s := seats[i].Load()
		if s == nil || !s.seize() {
			continue
		}
		w.hand = s
		if !w.alone {
			if b := s.prepare(); b != nil {
				w.batch, w.hand = append(w.batch, send{session: s, b: b}), nil
				if len(w.batch) == w.size {
					w.flush()
				}
				continue
			}
		}
		s.write(&w.tally, false)
		w.hand = nil
		if written++; written%64 == 0 {
			// The scheduler does not see a send, so others are let run now and then.
			runtime.Gosched()
		}
	}
}

// flush sends the batch. What a socket does not take whole is for the session's own
// write to see to.
func (w *writer) flush() {
	if len(w.batch) == 0 {
		return
	}
	if !w.sender.send(w.batch) {
		w.close()
		w.alone = true
		w.singly.Store(true)
		w.logger.Error("sending to many sockets at once failed; each send is a system call of its own from now on")
	}
	now := time.Now().UnixNano()
	for i := range w.batch {
		w.batch[i].settle(&w.tally, now)
		w.batch[i] = send{}
	}
	w.batch = w.batch[:0]
}

// abandon gives up what a panic left undone: what those clients got is not known.
func (w *writer) abandon() {
	give := func(s *session) {
		if s != nil {
			s.drop(causeClient)
			s.unpin()
		}
	}
	give(w.hand)
	for i := range w.batch {
		give(w.batch[i].session)
	}
	clear(w.batch)
	w.batch, w.hand = w.batch[:0], nil
}
