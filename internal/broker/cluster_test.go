package broker

import (
	"strings"
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
	o.clean(t)
	if o.refused+o.unknown > 0 {
		t.Errorf("refused: got %+v, want that they wait", o)
	}
}

// A slot is moved with a room in it that is written to and watched.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rooms := roomsIn(2, 0, firstPrimary)
	o := underFaultIn(t, cluster.URL(), rooms, 5*time.Second, func([]*Redis) {
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
