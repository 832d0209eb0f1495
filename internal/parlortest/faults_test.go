package parlortest_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"parlor/internal/pgtest"
	"parlor/internal/redistest"
)

// TestFaults has three nodes on one PostgreSQL and one Redis suffer, each fault while 200
// messages flow each second, and holds them to what docs/operations.md says. Each run
// logs its row of the table there. With PARLOR_SOAK the faults have their full lengths.
func TestFaults(t *testing.T) {
	pg := pgtest.Start(t)
	length := func(inCI, full time.Duration) time.Duration {
		if soaking() {
			return full
		}
		return inCI
	}
	redis := redistest.Start(t)
	r := newRig(t, pg.CreateDatabase(t), redis, nil)
	pause := func(d time.Duration) { time.Sleep(d) }

	for _, test := range []struct {
		name  string
		fault func()
		holds func(*testing.T, outcome)
	}{
		{"nothing happens", func() {}, func(t *testing.T, o outcome) { o.quiet(t) }},
		{"Redis frozen", func() {
			redis.Freeze()
			pause(2 * time.Second)
			redis.Thaw()
		}, func(t *testing.T, o outcome) { o.quiet(t) }},
		{"Redis connections killed", func() {
			for range length(3, 10) {
				redis.KillConnections()
				pause(300 * time.Millisecond)
			}
		}, func(t *testing.T, o outcome) { o.quiet(t) }},
		{"Redis restarted empty", redis.Restart, nil},
		{"Redis away", func() {
			redis.Stop()
			pause(5 * time.Second)
			redis.Up()
		}, nil},
		{"PostgreSQL restarted", pg.Restart, func(t *testing.T, o outcome) { o.quiet(t) }},
		{"PostgreSQL frozen", func() {
			pg.Freeze()
			pause(length(4*time.Second, 30*time.Second))
			pg.Thaw()
		}, func(t *testing.T, o outcome) { o.quiet(t) }},
		{"a node killed", func() {
			r.nodes[1].process.kill()
			pause(time.Second)
			r.nodes[1].start()
			r.allReady()
		}, nil},
		{"a node drained", func() {
			r.nodes[2].term()
			r.nodes[2].start()
			r.allReady()
		}, nil},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			o := r.under(t, usual, test.fault, nil)
			o.clean(t)
			if test.holds != nil {
				test.holds(t, o)
			}
			r.allReady()
		})
	}
}

// partition cuts one node of a rig off from Redis, or all.
type partition struct {
	*rig
	relays []*relay
}

// newPartition is a rig whose nodes reach Redis each by a relay of its own.
func newPartition(t *testing.T, database string) *partition {
	redis := redistest.Start(t)
	p := &partition{}
	p.rig = newRig(t, database, redis, func(i int, n *rigNode) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.relays = append(p.relays, newRelay(t, l, dialTo(redis.Address())))
		n.set("--redis-url", "redis://"+l.Addr().String())
	})
	return p
}

func (p *partition) cut(nodes ...int) {
	for _, i := range nodes {
		p.relays[i].cut()
	}
}

func (p *partition) heal(nodes ...int) {
	for _, i := range nodes {
		p.relays[i].heal()
	}
}

var _ = http.StatusOK
