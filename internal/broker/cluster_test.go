package broker

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, cluster.URL(), t.Name(), deliver)
	})
	t.Run("one of its servers is enough to find it", func(t *testing.T) { subscribes(t, cluster.Primaries[1].URL()) })
}

// roomsIn returns rooms with a slot from first to last.
func roomsIn(n, first, last int) (rooms []chat.ARN) {
	for len(rooms) < n {
		room := newRoom()
		if slot := slotOf(keysOf(room).channel); first <= slot && slot <= last {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

const (
	firstPrimary  = 16384/3 - 1 // its last slot
	secondPrimary = 16384*2/3 - 1
)

// A primary dies, and its replica takes over.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := append(roomsIn(1, 0, firstPrimary), roomsIn(1, firstPrimary+1, secondPrimary)...)
	o := underFaultIn(t, cluster.URL(), rooms, 8*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		cluster.Primaries[0].Stop()
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
	subscribes(t, cluster.URL()) // a node that starts, and finds the first that it is told of dead
}

// A primary stops for long enough to be replaced, and then goes on: it still takes itself
// for one, with what was sent to it meanwhile.
func TestClusterStalePrimary(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := append(roomsIn(1, 0, firstPrimary), roomsIn(1, firstPrimary+1, secondPrimary)...)
	o := underFaultIn(t, cluster.URL(), rooms, 9*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		cluster.Primaries[0].Freeze()
		cluster.Until("the replica takes over", func() bool {
			return strings.Contains(cluster.Replica.Ask("INFO", "replication"), "role:master")
		})
		cluster.Primaries[0].Thaw()
	})
	o.cleanButMoved(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}

// A slot is moved with a room in it that is written to and watched.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := roomsIn(2, 0, firstPrimary)
	o := underFaultIn(t, cluster.URL(), rooms, 5*time.Second, func(nodes []*Redis) {
		var watch sync.WaitGroup
		defer watch.Wait()
		done := make(chan struct{})
		defer close(done)
		watch.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				if !nodes[0].Up() {
					t.Error("up: got false, want that a slot on the move ends no link")
					return
				}
			}
		})
		for range 2 { // there and back
			time.Sleep(time.Second)
			cluster.Move(slotOf(keysOf(rooms[0]).channel), cluster.Primaries[0], cluster.Primaries[1], func() { time.Sleep(200 * time.Millisecond) })
			time.Sleep(time.Second)
			cluster.Move(slotOf(keysOf(rooms[0]).channel), cluster.Primaries[1], cluster.Primaries[0], func() {})
		}
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v", o)
	}
}

// A server is added, and gets a slot with a room in it.
func TestClusterGrows(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := roomsIn(2, 0, firstPrimary)
	o := underFaultIn(t, cluster.URL(), rooms, 6*time.Second, func([]*Redis) {
		time.Sleep(500 * time.Millisecond)
		added := cluster.Add()
		for _, room := range rooms {
			time.Sleep(500 * time.Millisecond)
			cluster.Move(slotOf(keysOf(room).channel), cluster.Primaries[0], added, func() {})
		}
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v", o)
	}
}

// The replica lacks the last of what was published when it takes over: it is offered
// again, and shown once.
func TestClusterLostTail(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := append(roomsIn(1, 0, firstPrimary), roomsIn(1, firstPrimary+1, secondPrimary)...)
	o := underFaultIn(t, cluster.URL(), rooms, 8*time.Second, func([]*Redis) {
		time.Sleep(time.Second)
		cluster.Replica.Freeze() // for less than makes it unfit
		time.Sleep(300 * time.Millisecond)
		cluster.Primaries[0].Stop()
		cluster.Replica.Thaw()
	})
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}

// What a script touches is in one slot, and it is the one that links go by.
func TestSlots(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	for _, arn := range []chat.ARN{newRoom(), newRoom(), chat.ControlLog} {
		k := keysOf(arn)
		want := fmt.Sprint(":", slotOf(k.channel))
		for _, key := range []string{k.state, k.log, k.channel} {
			if got := server.Do("CLUSTER", "KEYSLOT", key); got != want {
				t.Errorf("%s: got %s, want %s", key, got, want)
			}
		}
	}
}

// A server that rooms do not need does not matter when it is silent.
func TestClusterReplicaFrozen(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	b := open(t, cluster.URL(), "node", func(*chat.Publication) {})
	cluster.Replica.Freeze()
	defer cluster.Replica.Thaw()
	begun := time.Now()
	for _, room := range append(roomsIn(1, 0, firstPrimary), roomsIn(1, firstPrimary+1, secondPrimary)...) {
		_, cancel, err := b.Subscribe(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	if took := time.Since(begun); took > tryTime/2 || !b.Up() {
		t.Errorf("subscribed after %v, up %v", took, b.Up())
	}
}

// While a primary is away that nobody replaces, the rooms of the others are talked in as
// before; new sessions wait. It comes back, and so does the node.
func TestClusterPrimaryAway(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-require-full-coverage", "no", "--appendonly", "yes")
	var deaf time.Duration
	o := underFaultIn(t, cluster.URL(), roomsIn(2, 0, firstPrimary), 8*time.Second, func(nodes []*Redis) {
		time.Sleep(500 * time.Millisecond)
		cluster.Primaries[1].Stop()
		begun := time.Now()
		cluster.Until("the node does not hear of everything", func() bool { return !nodes[0].Up() })
		time.Sleep(3 * time.Second)
		if nodes[0].Up() {
			t.Error("up: got true while a primary is away")
		}
		cluster.Primaries[1].Up()
		cluster.Until("the node hears again", nodes[0].Up)
		deaf = time.Since(begun)
	})
	o.clean(t)
	if o.refused+o.unknown > 0 || o.longest > time.Second {
		t.Errorf("refused: got %+v, want that nobody waits", o)
	}
	t.Log("deaf for", deaf)
}

// Each server of a cluster has a clock of its own.
func TestClocks(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	b := open(t, cluster.URL(), "node", func(*chat.Publication) {})
	k1, k2 := keysOf(roomsIn(1, 0, firstPrimary)[0]), keysOf(roomsIn(1, firstPrimary+1, secondPrimary)[0])
	now := time.Now()
	b.clockOf(k1.state).saw(now.Add(time.Hour).UnixMicro(), now, now)
	b.clockOf(k2.state).saw(now.Add(-time.Hour).UnixMicro(), now, now)
	at := func(k keys) time.Time {
		us, err := strconv.ParseInt(b.clockOf(k.state).at(now), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMicro(us)
	}
	if got := at(k1).Sub(at(k2)); got < 2*time.Hour-time.Minute {
		t.Errorf("apart: got %v, want two hours", got)
	}
}
