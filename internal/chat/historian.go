package chat

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// HistoryConfig is what histories of rooms need beside the rest. All members are
// required.
type HistoryConfig struct {
	Store HistoryStore
	// Recent returns up to last publications of all nodes that the broker still has of a
	// room, in order, and the room's position there; nothing, where this node is alone.
	Recent func(ctx context.Context, room ARN, last int) ([]*Publication, Position, error)
	// Failed is told why what is to be stored could not be. It is kept, and tried again.
	Failed func(error)
}

const (
	// historyDelay is how long an entry waits for others at most, before it is stored: a
	// tenth of a second is left of what a killed process may lose, to store it.
	historyDelay = 100 * time.Millisecond
	// maxHistoryQueue bounds what waits to be stored, in bytes. Beyond it the oldest are
	// lost, and counted.
	maxHistoryQueue = 16 << 20
	// historyBatch is how many entries are stored at once: few enough not to keep other
	// writes waiting.
	historyBatch = 64
	// maxPruned is of how many rooms it is remembered when they were pruned.
	maxPruned = 10_000
	// historyWait bounds what waiting for the store and for publications takes.
	historyWait = 10 * time.Second
)

// historian stores the histories of rooms: entries of what this node published, in
// batches, so that no message waits for it.
type historian struct {
	config HistoryConfig
	wake   chan struct{}
	lost   atomic.Uint64
	// storing is held by who stores: it has one place.
	storing chan struct{}
	pruned  map[ARN]int // entries since a room was pruned; owned by who stores

	walked ARN // where the next walk begins; owned by who prunes

	mu       sync.Mutex
	queue    []historyWork
	bytes    int                                // of queue
	underWay map[ARN]map[chan struct{}]struct{} // publications, each closed when it is over
}

// historyWork is an entry to be stored or, with forget, a room to be forgotten.
type historyWork struct {
	entry  HistoryEntry
	spec   HistorySpec
	forget bool
}

func (w *historyWork) size() int { return 256 + len(w.entry.Frame) }

func newHistorian(c *HistoryConfig) *historian {
	if c == nil {
		return nil
	}
	return &historian{config: *c, wake: make(chan struct{}, 1), storing: make(chan struct{}, 1),
		underWay: map[ARN]map[chan struct{}]struct{}{}, pruned: map[ARN]int{}}
}

// publish has something published by do, and kept for the room's history.
func (h *historian) publish(pub *Publication, spec HistorySpec, do func() error) error {
	over := make(chan struct{})
	h.mu.Lock()
	here := h.underWay[pub.Room]
	if here == nil {
		here = map[chan struct{}]struct{}{}
		h.underWay[pub.Room] = here
	}
	here[over] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(here, over)
		if len(here) == 0 {
			delete(h.underWay, pub.Room)
		}
		h.mu.Unlock()
		close(over)
	}()
	if err := do(); err != nil {
		return err
	}
	if e, ok := NewHistoryEntry(pub); !ok {
		return nil
	} else if e.Position.Number == 0 {
		h.lost.Add(1) // the broker knows it, but not as what
	} else {
		h.add(e, spec)
	}
	return nil
}

// add has an entry stored soon.
func (h *historian) add(e HistoryEntry, spec HistorySpec) {
	h.enqueue(historyWork{entry: e, spec: spec})
}

// forget has a room's history forgotten soon.
func (h *historian) forget(room ARN) {
	h.enqueue(historyWork{entry: HistoryEntry{Room: room}, forget: true})
}

func (h *historian) enqueue(w historyWork) {
	h.mu.Lock()
	h.queue = append(h.queue, w)
	h.bytes += w.size()
	h.bound()
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// bound gives up the oldest entries of a queue that is too long. h.mu is held.
func (h *historian) bound() {
	n := 0
	for h.bytes > maxHistoryQueue {
		h.bytes -= h.queue[n].size()
		h.queue[n] = historyWork{}
		n++
	}
	h.queue = h.queue[n:]
	h.lost.Add(uint64(n))
}

// settle waits until what this node has published in a room by now is stored.
func (h *historian) settle(ctx context.Context, room ARN) error {
	ctx, cancel := context.WithTimeout(ctx, historyWait)
	defer cancel()
	h.mu.Lock()
	var underWay []chan struct{}
	for over := range h.underWay[room] {
		underWay = append(underWay, over)
	}
	h.mu.Unlock()
	for _, over := range underWay {
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return h.flush(ctx)
}

// flush stores what waits. What cannot be stored waits on.
func (h *historian) flush(ctx context.Context) error {
	select {
	case h.storing <- struct{}{}:
		defer func() { <-h.storing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	work := h.queue
	h.queue, h.bytes = nil, 0
	h.mu.Unlock()
	for len(work) > 0 {
		n, err := h.store(ctx, work)
		if err != nil {
			h.mu.Lock()
			h.queue, h.bytes = append(work, h.queue...), 0
			for i := range h.queue {
				h.bytes += h.queue[i].size()
			}
			h.bound()
			h.mu.Unlock()
			return err
		}
		work = work[n:]
	}
	return nil
}

// store stores the first of what waits, and returns how many those were.
func (h *historian) store(ctx context.Context, work []historyWork) (int, error) {
	if work[0].forget {
		delete(h.pruned, work[0].entry.Room)
		if err := h.config.Store.PruneHistory(ctx, work[0].entry.Room, 0, time.Time{}); err != nil {
			return 0, fmt.Errorf("forget a room's history: %w", err)
		}
		return 1, nil
	}
	var entries []HistoryEntry
	for _, w := range work {
		if w.forget || len(entries) == historyBatch {
			break
		}
		entries = append(entries, w.entry)
	}
	if err := h.config.Store.AppendHistory(ctx, entries); err != nil {
		return 0, fmt.Errorf("store %d entries of histories: %w", len(entries), err)
	}
	if len(h.pruned) > maxPruned {
		clear(h.pruned) // what they miss, pruneHistory does
	}
	for _, w := range work[:len(entries)] {
		room := w.entry.Room
		if h.pruned[room]++; h.pruned[room] < max(16, w.spec.Count/2) {
			continue
		}
		delete(h.pruned, room)
		if err := h.config.Store.PruneHistory(ctx, room, w.spec.Count, time.Now().Add(-w.spec.Age)); err != nil {
			return 0, fmt.Errorf("prune a room's history: %w", err)
		}
	}
	return len(entries), nil
}

// run stores until ctx ends, and then what is left. Nobody may publish any more by then.
func (h *historian) run(ctx context.Context) {
	pause := historyDelay
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-h.wake:
			sleep(ctx, pause)
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyWait)
		err := h.flush(one)
		cancel()
		pause = historyDelay
		if err != nil {
			h.config.Failed(err)
			pause = time.Second
			select {
			case h.wake <- struct{}{}:
			default:
			}
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// KeepHistory stores histories until ctx ends, and then what is left. Nobody may publish
// any more by then.
func (s *Service) KeepHistory(ctx context.Context) {
	if s.history != nil {
		s.history.run(ctx)
	}
}

// HistoryLost is how many messages and events are missing in histories, since too many
// waited to be stored.
func (s *Service) HistoryLost() uint64 {
	if s.history == nil {
		return 0
	}
	return s.history.lost.Load()
}

// ForgetHistory is called for a room that was deleted, here or at another node, which has
// its history forgotten: so is what this one has yet to store.
func (s *Service) ForgetHistory(arn ARN) {
	if s.history != nil && s.history.owes(arn) {
		s.history.forget(arn)
	}
}

// owes reports whether something of a room may be stored yet.
func (h *historian) owes(arn ARN) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.storing) > 0 || slices.ContainsFunc(h.queue, func(w historyWork) bool { return w.entry.Room == arn })
}

// historyWalk is how many rooms one call of pruneHistory looks at.
const historyWalk = 2000

// pruneHistory prunes the next rooms that have something in the store: what is too old,
// and all of rooms that have no history any more.
func (s *Service) pruneHistory(ctx context.Context) error {
	h := s.history
	if h == nil {
		return nil
	}
	rooms, err := h.config.Store.HistoryRooms(ctx, h.walked, historyWalk)
	if err != nil {
		return fmt.Errorf("find rooms with a history: %w", err)
	}
	h.walked = ARN{}
	if len(rooms) == historyWalk {
		h.walked = rooms[len(rooms)-1]
	}
	for _, arn := range rooms {
		var spec HistorySpec
		room, err := s.loadRoom(ctx, arn)
		if err != nil && AsError(err).Code != NotFound {
			return err
		}
		if err == nil && room.Extensions != nil {
			spec = room.Extensions.History
		}
		if err := h.config.Store.PruneHistory(ctx, arn, spec.Count, time.Now().Add(-spec.Age)); err != nil {
			return fmt.Errorf("prune the history of room %s: %w", arn, err)
		}
	}
	return nil
}

// historyChanged acts on a change of a room's tags, which was published at a position.
func (s *Service) historyChanged(ctx context.Context, arn ARN, before, after HistorySpec, at Position) error {
	h := s.history
	if h == nil || before == after {
		return nil
	}
	if after.Count == 0 {
		h.forget(arn)
		return h.flush(ctx)
	}
	// What was said before the tag was set, or was not to be seen any more before it was
	// changed, is no history now, though the broker may still have it.
	if before.Count > 0 {
		seen := HistorySpec{Count: min(before.Count, after.Count), Age: min(before.Age, after.Age)}
		all, _, err := s.readHistory(ctx, arn, seen, Position{Epoch: 1<<63 - 1})
		if err != nil {
			return err
		}
		if kept := all.window(seen.Count); len(kept) > 0 {
			at = kept[0].Position
			at.Number--
		}
		if err := h.config.Store.PruneHistory(ctx, arn, seen.Count, time.Now().Add(-seen.Age)); err != nil {
			return fmt.Errorf("prune the history of room %s: %w", arn, err)
		}
	}
	h.add(HistoryEntry{Room: arn, Position: at, Kind: PublishRoomChanged, Accepted: time.Now()}, after)
	return h.flush(ctx)
}
