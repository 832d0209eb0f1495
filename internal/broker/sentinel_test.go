package broker

import (
	"strings"
	"testing"
	"time"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestSentinel(t *testing.T) {
	watched := redistest.StartWatched(t)
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, watched.URL(), t.Name(), deliver)
	})
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	o := underFault(t, watched.URL(), 8*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		watched.Primary.Stop()
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
	watched.Sentinels[0].Stop()
	subscribes(t, watched.URL()) // a node that starts, and finds the first that it is told of dead
}

// A primary stops for long enough to be replaced, and then goes on, as a primary until
// the Sentinels find it.
func TestSentinelStalePrimary(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	o := underFault(t, watched.URL(), 15*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		watched.Primary.Freeze()
		watched.Until("the replica takes over", func() bool {
			return strings.Contains(watched.Replica.Ask("INFO", "replication"), "role:master")
		})
		watched.Primary.Thaw()
		watched.Until("the primary that was becomes a replica", func() bool {
			return strings.Contains(watched.Primary.Ask("INFO", "replication"), "role:slave")
		})
	})
	o.cleanButMoved(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}

// The replica lacks the last of what was published when it takes over: it is offered
// again, and shown once.
func TestSentinelLostTail(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	o := underFault(t, watched.URL(), 8*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		watched.Replica.Freeze() // for less than makes it unfit
		time.Sleep(300 * time.Millisecond)
		watched.Primary.Stop()
		watched.Replica.Thaw()
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}
