package broker

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// claims are the names that somebody has hold of on this node.
type claims struct {
	mu   sync.Mutex
	held map[claimKey]claim
	// sweep is how many there may be before those that are over are looked for: twice as
	// many as were left the last time, so that it costs little for each claim.
	sweep int
}

type claimKey struct {
	room chat.ARN
	name string
}

type claim struct {
	by    string
	until time.Time
}

const leastSweep = 1024

func (c *claims) claim(key claimKey, by string, hold time.Duration) (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if had, ok := c.held[key]; ok && now.Before(had.until) {
		if had.by == by {
			return 0
		}
		return had.until.Sub(now)
	}
	if c.held == nil {
		c.held = map[claimKey]claim{}
	}
	if len(c.held) >= max(c.sweep, leastSweep) {
		for key, had := range c.held {
			if !now.Before(had.until) {
				delete(c.held, key)
			}
		}
		c.sweep = 2 * len(c.held)
	}
	c.held[key] = claim{by: by, until: now.Add(hold)}
	return 0
}

func (c *claims) release(key claimKey, by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[key].by == by {
		delete(c.held, key)
	}
}

// Claim implements [chat.Broker].
func (l *Local) Claim(ctx context.Context, room chat.ARN, name, by string, hold time.Duration) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return l.claims.claim(claimKey{room, name}, by, hold), nil
}

// Release implements [chat.Broker].
func (l *Local) Release(ctx context.Context, room chat.ARN, name, by string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.claims.release(claimKey{room, name}, by)
	return nil
}

// claimScript takes hold of a key. Arguments: who, for how many milliseconds. It answers
// with how many milliseconds another still has hold of it.
var claimScript = rueidis.NewLuaScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
return math.max(redis.call('PTTL', KEYS[1]), 1)
`)

// releaseScript gives up a key. Argument: who.
var releaseScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

// Claim implements [chat.Broker]. A Redis that forgot gives everything free.
func (b *Redis) Claim(ctx context.Context, room chat.ARN, name, by string, hold time.Duration) (time.Duration, error) {
	ms, err := b.number(ctx, claimScript, claimName(room, name), by, strconv.FormatInt(max(hold.Milliseconds(), 1), 10))
	return time.Duration(ms) * time.Millisecond, err
}

// Release implements [chat.Broker].
func (b *Redis) Release(ctx context.Context, room chat.ARN, name, by string) error {
	_, err := b.number(ctx, releaseScript, claimName(room, name), by)
	return err
}

func claimName(room chat.ARN, name string) string { return keysOf(room).state + ":claim:" + name }
