package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// engine runs operations on a database. An operation may run more than once. It may
// also run on after the call returned because ctx ended, so a caller that got an error
// leaves alone what the operation writes to.
type engine interface {
	// read runs f on a connection. f sees one state of the database per statement.
	read(ctx context.Context, f func(*session) error) error
	// write runs f in a transaction and returns once that is on disk, or what f
	// returned. f answers errors of its own before its first change.
	write(ctx context.Context, f func(*session) error) error
	// statement is write for an f that changes things by one statement alone: where a
	// statement can be a transaction by itself, it is.
	statement(ctx context.Context, f func(*session) error) error
	// ready returns nil when the database answers and takes writes.
	ready(ctx context.Context) error
	close() error
}

// gate lets operations in until it is shut.
type gate struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // operations; Add only under mu and while not closed
}

// enter counts an operation in, or refuses it because the store is closed. Each enter
// is followed by one running.Done.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.running.Add(1)
	return nil
}

// shut keeps new operations out and waits for those that run. It reports whether this
// call was the first.
func (g *gate) shut() (first bool) {
	g.mu.Lock()
	first = !g.closed
	g.closed = true
	g.mu.Unlock()
	if first {
		g.running.Wait()
	}
	return first
}

// panicked is what becomes of an operation that panics on a goroutine of somebody
// else's: its owner shall panic.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func runRecovered(run func(*session) error, s *session) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{value: p, stack: debug.Stack()}
		}
	}()
	return run(s)
}
