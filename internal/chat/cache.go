package chat

import (
	"context"
	"sync"
)

// cache keeps resources that messages need, so that a message costs no read of the
// store. Whoever looks one up sees to it that it is forgotten when it changes.
//
// Rooms are kept while they have sessions on this node, and forgotten by ForgetRoom,
// which the node's deliver function calls for every change of a room it is subscribed
// to; a room without a subscription must not be looked up here. Logging configurations
// are kept from their first record on, and forgotten when they are changed, here or by another
// node (ControlLog); so are the bans of a scope, and with them the rooms that they hold in.
type cache[V any] struct {
	mu   sync.RWMutex
	kept map[ARN]*V
	deaf bool // nobody would say that something changed: nothing is kept
	// forgotten counts calls of forget: what was read from the store while it moved may
	// be out of date already and is not kept.
	forgotten uint64
}

// get returns a resource, read by load unless it is kept.
func (c *cache[V]) get(ctx context.Context, arn ARN, load func(context.Context, ARN) (V, error)) (*V, error) {
	c.mu.RLock()
	kept, forgotten := c.kept[arn], c.forgotten
	c.mu.RUnlock()
	if kept != nil {
		return kept, nil
	}
	loaded, err := load(ctx, arn)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten == forgotten && !c.deaf {
		c.kept[arn] = &loaded
	}
	return &loaded, nil
}

func (c *cache[V]) forget(arn ARN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	delete(c.kept, arn)
}

func (c *cache[V]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	clear(c.kept)
}

func (c *cache[V]) trust(hears bool) {
	c.mu.Lock()
	c.deaf = !hears
	c.mu.Unlock()
	c.forgetAll()
}
