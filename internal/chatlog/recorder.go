// Package chatlog records what is shown in rooms at the destinations of their logging
// configurations: S3, CloudWatch Logs, Firehose, or directories with the same layout.
// It implements [chat.Recorder].
//
// A record is in the spool of its destination (spool.go) as an intent before it is
// published, and marked after that. A shipper for each destination reads its spool
// and takes the records there, in batches.
//
// Invariants:
//
//   - What a client saw, and the room logs, is at the destination at some time, at
//     least once, also after a kill -9 between any two instructions. A power loss may
//     take what was recorded since the last sync, which begins each [syncInterval].
//   - At one destination a room's records of one node are in the order of their numbers.
//     Not so: what a dead process did not mark, whose number nobody knows; what is under
//     way while maxHeld others are marked; and what is taken once more after a crash.
//   - A destination that fails delays no other, and no message. Its spool has a limit;
//     at that, new records for it are refused, counted, and said in the log.
//   - Content is never written to the process log.
package chatlog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// syncInterval is how often what was written to the spools is synced.
const syncInterval = 200 * time.Millisecond

const defaultShipGrace = 10 * time.Second

// Config is what a Recorder works with. All members are required, but for those that say what they are else.
type Config struct {
	Dir   string // of the spools
	Limit int64  // bytes of one spool
	// Interval is how long records wait for others, to be taken to CloudWatch Logs,
	// Firehose or a directory; S3Interval, to be put into S3.
	Interval, S3Interval time.Duration
	// Local is a directory that stands for all destinations; empty: AWS does.
	Local string
	// ShipGrace is how long Run goes on shipping once its ctx ended; zero is defaultShipGrace.
	ShipGrace time.Duration

	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Recorder implements [chat.Recorder]. It works once Run is called.
type Recorder struct {
	config  Config
	logger  *slog.Logger
	metrics *metrics
	aws     *clients
	sinks   func(destination) sink
	lock    *os.File // of the directory, until Run ends

	opening sync.Mutex // held while a spool is opened, before mu

	counting sync.Mutex // held while backlogs are read; nobody who ships or records takes it
	counted  []Backlog  // what was read last; under counting
	countAt  time.Time  // when; under counting

	mu       sync.RWMutex
	shippers map[destination]*shipper
	running  context.Context // set by Run; nil before
	stopped  bool            // by Run: there are no new shippers any more
	own      sync.WaitGroup
}

// New returns a Recorder over the spools in a directory, which is this process's until Run
// ends. A spool that cannot be opened is left as it is, and said.
func New(c Config) (*Recorder, error) {
	r := &Recorder{config: c, logger: c.Logger, metrics: newMetrics(c.Metrics), aws: &clients{}, shippers: map[destination]*shipper{}}
	return r, r.load(r.sink)
}

// load opens the spools that are there.
func (r *Recorder) load(sinks func(destination) sink) error {
	c := r.config
	r.sinks = sinks
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make the chat log's spool: %w", err)
	}
	lock, err := lockSpools(c.Dir)
	if err != nil {
		return err
	}
	r.lock = lock
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		lock.Close()
		return fmt.Errorf("open the chat log's spool: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(c.Dir, e.Name())
		to, err := readDestination(dir)
		if errors.Is(err, os.ErrNotExist) && empty(dir) { // killed while it was made or removed
			os.RemoveAll(dir)
			continue
		}
		if err == nil {
			_, err = r.shipper(to, dir)
		}
		if err != nil {
			r.logger.Error("a spool of the chat log is left as it is", "spool", dir, "error", err)
		}
	}
	return nil
}

// empty reports whether a spool has no segments, not even such as were set aside.
func empty(dir string) bool {
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg*"))
	return err == nil && len(segments) == 0
}

func readDestination(dir string) (to destination, err error) {
	text, err := os.ReadFile(filepath.Join(dir, destinationFile))
	if err == nil {
		err = json.Unmarshal(text, &to)
	}
	if err != nil {
		return to, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	return to, nil
}

// spoolName is the directory of a destination's spool.
func spoolName(to destination, id string) string {
	sum := sha256.Sum256([]byte(to.Configuration + "\x00" + string(to.Kind) + "\x00" + to.Name))
	return id + "-" + hex.EncodeToString(sum[:4])
}

// shipper returns the shipper of a destination, whose spool is in dir if it is not open
// yet; "" is its usual place.
func (r *Recorder) shipper(to destination, dir string) (*shipper, error) {
	r.mu.RLock()
	s := r.shippers[to]
	r.mu.RUnlock()
	if s != nil && dir == "" {
		return s, nil
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	r.mu.RLock()
	s, stopped := r.shippers[to], r.stopped
	r.mu.RUnlock()
	switch {
	case s != nil && (dir == "" || dir == s.spool.dir):
		return s, nil
	case s != nil:
		return nil, fmt.Errorf("another spool, %s, is for the same destination", s.spool.dir)
	case stopped:
		return nil, errClosed
	}
	s, err := r.openShipper(to, dir)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, errors.Join(errClosed, s.spool.close())
	}
	r.shippers[to] = s
	if r.running != nil {
		r.own.Go(func() { s.run(r.running) })
	}
	return s, nil
}

// openShipper opens a destination's spool.
func (r *Recorder) openShipper(to destination, dir string) (*shipper, error) {
	arn, err := chat.ParseARN(to.Configuration)
	if err != nil {
		return nil, fmt.Errorf("a spool of %q: %w", to.Configuration, err)
	}
	if dir == "" {
		dir = filepath.Join(r.config.Dir, spoolName(to, arn.ID))
	}
	spool, err := openSpool(dir, r.config.Limit)
	if err != nil {
		return nil, err
	}
	if spool.doubt != nil {
		r.logger.Error("the chat log's spool is shipped from its beginning, what is at the destination already once more", "spool", dir, "error", spool.doubt)
	}
	if found, err := readDestination(dir); err != nil || found != to {
		text, err := to.marshal()
		if err == nil {
			err = keepFile(filepath.Join(dir, destinationFile), text)
		}
		if err == nil {
			err = syncDirectory(r.config.Dir)
		}
		if err != nil {
			return nil, fmt.Errorf("make a spool: %w", err)
		}
	}
	s := &shipper{recorder: r, to: to, spool: spool, queue: newQueue(spool), sink: r.sinks(to), interval: r.config.Interval}
	if to.Kind == chat.DestinationS3 && r.config.Local == "" {
		s.interval = r.config.S3Interval
	}
	return s, nil
}

// sink is where a destination's records go.
func (r *Recorder) sink(to destination) sink {
	switch {
	case r.config.Local != "":
		return &directory{root: r.config.Local, to: to}
	case to.Kind == chat.DestinationS3:
		return &bucket{aws: r.aws, to: to}
	case to.Kind == chat.DestinationCloudWatchLogs:
		return &logGroup{aws: r.aws, to: to}
	default:
		return &deliveryStream{aws: r.aws, to: to}
	}
}

// Intend implements [chat.Recorder].
func (r *Recorder) Intend(pub *chat.Publication, to []*chat.LoggingConfiguration) (mark func(published bool)) {
	type intent struct {
		spool  *spool
		number uint64
	}
	intents := make([]intent, 0, chat.MaxLoggingConfigurationsPerRoom)
	for _, lc := range to {
		d := destination{Configuration: lc.ARN.String(), Account: lc.ARN.Account, Region: lc.ARN.Region, Kind: lc.Destination.Kind, Name: lc.Destination.Name}
		s, err := r.shipper(d, "")
		if err == nil {
			var n uint64
			if n, err = s.spool.intend(pub); err == errClosed { // perhaps it retired just now
				if s, err = r.shipper(d, s.spool.dir); err == nil {
					n, err = s.spool.intend(pub)
				}
			}
			if err == nil {
				intents = append(intents, intent{s.spool, n})
				continue
			}
		}
		r.metrics.refused.WithLabelValues(d.Configuration).Inc()
		r.complain("a record is refused by the chat log's spool; the chat goes on without it", d, err)
	}
	return func(published bool) {
		for _, i := range intents {
			i.spool.mark(i.number, published, pub.Position)
		}
	}
}

// complain says what goes wrong with a destination.
func (r *Recorder) complain(what string, to destination, err error) {
	if r.metrics.said.allow(what + to.Configuration) {
		r.logger.Error(what+" (said once a minute)", "logging_configuration", to.Configuration, "destination", string(to.Kind)+":"+to.Name, "error", err)
	}
}

// Run takes records to their destinations until ctx ends, then what is left as far as
// ShipGrace allows, says what stays in the spools, and closes them. Nobody may publish
// any more by then.
func (r *Recorder) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = ctx
	for _, s := range r.shippers {
		r.own.Go(func() { s.run(ctx) })
	}
	r.mu.Unlock()
	r.own.Go(func() { r.watchAdopted(ctx) })
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			r.each(func(s *shipper) {
				if err := s.spool.sync(); err != nil {
					r.complain("the chat log's spool cannot be written", s.to, err)
				}
			})
		}
	}
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.own.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(r.config.ShipGrace, defaultShipGrace))
	defer cancel()
	r.each(func(s *shipper) { s.finish(ctx) })
	return r.lock.Close()
}

// each does something for all shippers at once.
func (r *Recorder) each(f func(*shipper)) {
	r.mu.RLock()
	all := slices.Collect(maps.Values(r.shippers))
	r.mu.RUnlock()
	var wait sync.WaitGroup
	for _, s := range all {
		wait.Go(func() { f(s) })
	}
	wait.Wait()
}
