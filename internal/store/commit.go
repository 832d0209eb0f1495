package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// maxBatch bounds how many operations share a commit, and with it how long one waits
// for those before it.
const maxBatch = 128

// committer runs write operations on the one write connection, many to a commit:
// an fsync costs some hundred microseconds, an operation some ten.
//
// The first to come leads: it takes what is queued, runs it in one transaction,
// commits, wakes the owners, and hands on the lead to the first that queued meanwhile.
// So there is no goroutine to own, and a lone writer waits for nobody.
type committer struct {
	session *session // the leader's

	mu      sync.Mutex // never held while statements run
	queue   []*operation
	led     bool // somebody leads
	commits int  // transactions committed, for tests
}

// operation is one write. Once out of the queue it is the leader's until woken.
type operation struct {
	run  func(*session) error
	err  error
	wake chan bool // gets true: you lead; false: done, see err. Holds one, so that sending never blocks

	leads bool // was told to lead; under committer.mu
}

// do runs an operation and returns when it is on disk, failed, or ctx ended. In the
// last case it may still happen, on another goroutine and after do returned.
func (c *committer) do(ctx context.Context, run func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := &operation{run: run, wake: make(chan bool, 1)}
	c.mu.Lock()
	c.queue = append(c.queue, op)
	lead := !c.led
	c.led = true
	c.mu.Unlock()
	if !lead {
		select {
		case lead = <-op.wake:
		case <-ctx.Done():
			c.withdraw(op)
			return ctx.Err()
		}
	}
	if lead {
		c.lead()
	}
	if p, ok := op.err.(*panicked); ok {
		panic(p)
	}
	return op.err
}

// withdraw takes an operation out of the queue, if it is still there.
func (c *committer) withdraw(op *operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.queue, op); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	if op.leads {
		c.handOn()
	}
}

// handOn makes the first in the queue the leader, or nobody. c.mu is held.
func (c *committer) handOn() {
	c.led = len(c.queue) > 0
	if c.led {
		c.queue[0].leads = true
		c.queue[0].wake <- true
	}
}

// lead runs one batch, the caller's operation first in it.
func (c *committer) lead() {
	c.mu.Lock()
	n := min(len(c.queue), maxBatch)
	batch := slices.Clone(c.queue[:n])
	c.queue = slices.Delete(c.queue, 0, n)
	c.mu.Unlock()

	commits := 0
	if c.commit(batch) {
		commits++
	} else {
		// One of them failed half-way: give each a transaction of its own, so that it
		// fails alone.
		for i := range batch {
			c.commit(batch[i : i+1])
			commits++
		}
	}

	c.mu.Lock()
	c.commits += commits
	c.handOn()
	c.mu.Unlock()
	for _, op := range batch[1:] {
		op.wake <- false
	}
}

// commit runs a batch in one transaction and sets the result of each operation. It
// reports false, having changed nothing, when an operation spoiled the transaction for
// the others.
func (c *committer) commit(batch []*operation) bool {
	for _, op := range batch {
		op.err = nil
	}
	if err := c.control("BEGIN IMMEDIATE"); err != nil {
		c.rollback()
		fail(batch, err)
		return true
	}
	for _, op := range batch {
		c.session.spoiled = false
		op.err = runRecovered(op.run, c.session)
		if op.err != nil && c.session.spoiled {
			c.rollback()
			return len(batch) == 1
		}
	}
	if err := c.control("COMMIT"); err != nil {
		c.rollback()
		fail(batch, err)
	}
	return true
}

// fail gives err to the operations that believe they succeeded.
func fail(batch []*operation, err error) {
	for _, op := range batch {
		if op.err == nil {
			op.err = err
		}
	}
}

func (c *committer) control(word string) error {
	if _, err := c.session.exec(word); err != nil {
		return fmt.Errorf("%s: %w", word, err)
	}
	return nil
}

// rollback ends the transaction, if one is open, without effect. Its error says nothing
// new: the engine may have rolled back by itself, and else the next BEGIN fails.
func (c *committer) rollback() { _ = c.control("ROLLBACK") }
