package chat

import (
	"context"
	"sync"
)

// roomCache keeps the rooms that have sessions on this node, so that a message costs
// no read of the store. It is kept true by ForgetRoom, which the node's deliver
// function calls for every change of a room it is subscribed to; a room without a
// subscription must not be looked up here.
type roomCache struct {
	mu    sync.RWMutex
	rooms map[ARN]*Room
	// forgotten counts calls of forget: a room read from the store while it moved may
	// be out of date already and is not kept.
	forgotten uint64
}

func (c *roomCache) room(ctx context.Context, store Store, arn ARN) (*Room, error) {
	c.mu.RLock()
	room, forgotten := c.rooms[arn], c.forgotten
	c.mu.RUnlock()
	if room != nil {
		return room, nil
	}
	loaded, err := store.Room(ctx, arn)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten == forgotten {
		c.rooms[arn] = &loaded
	}
	return &loaded, nil
}

func (c *roomCache) forget(arn ARN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	delete(c.rooms, arn)
}
