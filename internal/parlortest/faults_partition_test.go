package parlortest_test

import (
	"encoding/binary"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"parlor/internal/redistest"
)

// cutOff is a rig whose nodes can be parted from Redis one by one, and from nothing else.
type cutOff struct {
	*rig
	cut, heal []func()
}

// newCutOff starts one. Nodes that are asked for, and can be, get a network of their own
// with a cable to Redis that is pulled; for others a relay stops passing on.
func newCutOff(t *testing.T, database string, networks bool) *cutOff {
	t.Helper()
	redis := redistest.Start(t)
	c := &cutOff{cut: make([]func(), rigNodes), heal: make([]func(), rigNodes)}
	c.rig = newRig(t, database, redis, func(i int, n *rigNode) {
		if networks && i == rigNodes-1 {
			if network := newNetwork(t); network != nil {
				t.Logf("node %d is in the network namespace %s", i, network.name)
				network.move(t, n, database, redis.Address())
				c.cut[i], c.heal[i] = network.pull, network.plug
				return
			}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		between := newRelay(t, l, dialTo(redis.Address()))
		n.set("--redis-url", "redis://"+l.Addr().String())
		c.cut[i], c.heal[i] = between.cut, between.heal
	})
	return c
}

// A node that is alone without Redis for 10 s sends its clients to the others, spread over
// 5 s, lets nobody in, and is one of the nodes again when it has Redis again.
func oneWithoutRedis(t *testing.T, database string, longer time.Duration) {
	c := newCutOff(t, database, true)
	alone := c.nodes[rigNodes-1]
	var refused, told, gone, back time.Duration
	o := c.under(t, usual, func() {
		begun := time.Now()
		c.cut[rigNodes-1]()
		refused = until(t, func() bool { return alone.readyz() == http.StatusServiceUnavailable })
		time.Sleep(time.Until(begun.Add(5 * time.Second))) // the link is asked each second, and may take 3 s
		if status := c.knockFor(time.Second, alone.address); status == http.StatusSwitchingProtocols {
			t.Error("a node that does not hear lets somebody in")
		}
		until(t, func() bool { return c.expiredAt(alone.address) > 0 })
		told = time.Since(begun)
		until(t, func() bool { return c.expiredAt(alone.address) >= usual.rooms*usual.clients/rigNodes })
		gone = time.Since(begun)
		time.Sleep(longer)
		c.heal[rigNodes-1]()
		back = until(t, func() bool { return alone.readyz() == http.StatusOK })
	}, nil)
	o.clean(t)
	t.Logf("/readyz said no after %v; the first session was told after %v, the last after %v; ready %v after it was healed", refused, told, gone, back)
	for address, n := range o.expired {
		if want := usual.rooms * usual.clients / rigNodes; address != alone.address || n != want {
			t.Errorf("%d sessions at %s were ended, want %d at %s", n, address, want, alone.address)
		}
	}
	if told < 9*time.Second {
		t.Errorf("sessions were ended after %v, want 10 s", told)
	}
	if gone-told < time.Second {
		t.Errorf("all sessions were ended within %v, want them spread", gone-told)
	}
}

// Where no node has Redis none is better off elsewhere: no session is ended.
func allWithoutRedis(t *testing.T, database string, d time.Duration) {
	c := newCutOff(t, database, false)
	o := c.under(t, usual, func() {
		for _, cut := range c.cut {
			cut()
		}
		time.Sleep(d)
		for _, n := range c.nodes {
			if status := n.readyz(); status != http.StatusServiceUnavailable {
				t.Errorf("/readyz of a node without Redis: got %d", status)
			}
		}
		for _, heal := range c.heal {
			heal()
		}
	}, nil)
	o.clean(t)
	if o.broken > 0 {
		t.Errorf("%d sessions were ended (%v by 401), want none", o.broken, o.expired)
	}
}

// clocks has the clock of Redis be 2 s before those of the nodes, which changes nothing.
// Then it goes 4 s back, and before again: messages wait or are refused for their rate,
// and none is lost.
func clocks(t *testing.T, database string) {
	redis, set := redisWithClock(t)
	set(2 * time.Second)
	r := newRig(t, database, redis, nil)
	if ahead := brokerAhead(redis); ahead < time.Second || ahead > 3*time.Second {
		t.Fatalf("the clock of Redis is %v ahead, want 2 s", ahead)
	}
	t.Run("clocks 2 s apart", func(t *testing.T) {
		o := r.under(t, usual, func() { time.Sleep(time.Second) }, nil)
		o.clean(t)
		o.quiet(t)
	})
	t.Run("clock of Redis set back 4 s", func(t *testing.T) {
		o := r.under(t, usual, func() {
			set(-2 * time.Second)
			time.Sleep(time.Second)
			set(2 * time.Second)
			time.Sleep(500 * time.Millisecond)
		}, nil)
		o.clean(t)
		if n := o.told() - o.errors[http.StatusTooManyRequests]; n+o.ghosts+o.cut+o.broken > 0 {
			t.Errorf("told ERROR %s (shown all the same: %d), not answered %d, connections broken %d: want no ERROR but 429",
				o.codes(), o.ghosts, o.cut, o.broken)
		}
	})
}

// redisWithClock is a redis-server with a clock of its own, and what sets that.
func redisWithClock(t *testing.T) (redis *redistest.Server, set func(ahead time.Duration)) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		missing(t, "gcc")
	}
	dir := t.TempDir()
	library, offset := filepath.Join(dir, "clock.so"), filepath.Join(dir, "offset")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, "testdata/clock/clock.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	set = func(ahead time.Duration) { // in place: the file is mapped
		file, err := os.OpenFile(offset, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := binary.Write(file, binary.NativeEndian, ahead.Microseconds()); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	t.Setenv("LD_PRELOAD", library)
	t.Setenv("CLOCK_OFFSET", offset)
	redis = redistest.Start(t)
	os.Unsetenv("LD_PRELOAD") // t.Setenv puts back what was there
	return redis, set
}

// brokerAhead is by how much the clock of Redis is before ours.
func brokerAhead(redis *redistest.Server) time.Duration {
	seconds, _ := strconv.ParseInt(strings.TrimPrefix(redis.Do("EVAL", "return tonumber(redis.call('TIME')[1])", "0"), ":"), 10, 64)
	return time.Until(time.Unix(seconds, 0))
}

// expiredAt is how many sessions of a node were ended by ERROR 401.
func (r *rig) expiredAt(address string) int {
	r.run.mu.Lock()
	defer r.run.mu.Unlock()
	return r.run.expired[address]
}

// knockFor is the status of a handshake at a node; 0 when it is still being held after a
// while.
func (r *rig) knockFor(d time.Duration, address string) int {
	api := newAPI(r.t, "")
	api.url = "http://" + r.pick()
	token, err := r.run.token(api, r.run.rooms[0], "early")
	if err != nil {
		r.t.Error(err)
		return 0
	}
	answer := make(chan int, 1)
	go func() { // bounded by patience
		conn, _, status, err := knock(address, token)
		if err == nil {
			conn.Close()
		}
		answer <- status
	}()
	select {
	case status := <-answer:
		return status
	case <-time.After(d):
		return 0
	}
}

// until waits until something holds, and says how long that took.
func until(t testing.TB, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for time.Since(begun) < 2*patience {
		if holds() {
			return time.Since(begun)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("it did not come to that")
	return 0
}
