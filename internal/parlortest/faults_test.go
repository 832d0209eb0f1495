package parlortest_test

import (
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
	length := func(inCI, full time.Duration) time.Duration { // also for counts
		if soaking() {
			return full
		}
		return inCI
	}
	redis := redistest.Start(t)
	r := newRig(t, pg.CreateDatabase(t), redis, nil)
	quiet := func(t *testing.T, o outcome) { o.quiet(t) }
	stays := func(t *testing.T, o outcome) {
		if o.broken > 0 {
			t.Errorf("%d connections were broken, want none", o.broken)
		}
	}
	leaves := func(t *testing.T, o outcome) {
		if want := usual.rooms * usual.clients / rigNodes; o.broken < want {
			t.Errorf("%d connections were broken, want the %d of a node", o.broken, want)
		}
		if o.told() > 0 {
			t.Errorf("told ERROR %s, want none", o.codes())
		}
	}

	const forgets = "Redis restarted empty"
	for _, test := range []struct {
		name  string
		fault func()
		holds func(*testing.T, outcome)
	}{
		{"nothing happens", func() {}, quiet},
		{"Redis frozen", func() {
			redis.Freeze()
			time.Sleep(2 * time.Second)
			redis.Thaw()
		}, quiet},
		{"Redis connections killed", func() {
			for range length(3, 10) {
				redis.KillConnections()
				time.Sleep(300 * time.Millisecond)
			}
		}, quiet},
		{forgets, func() {
			for range length(1, 10) {
				redis.Restart()
				time.Sleep(500 * time.Millisecond)
			}
		}, func(t *testing.T, o outcome) {
			stays(t, o)
			// What its echo never reached is offered again, and comes after what was said
			// meanwhile; and a node that dies just then offers nothing.
			if o.twice > 0 || o.missing+o.late > o.accepted/20 {
				t.Errorf("missing %d, twice %d, out of order %d of %d messages: want 0/0/0 or very few", o.missing, o.twice, o.late, o.accepted)
			}
		}},
		{"Redis away", func() {
			redis.Stop()
			time.Sleep(5 * time.Second)
			redis.Up()
		}, stays},
		{"PostgreSQL restarted", pg.Restart, quiet},
		{"PostgreSQL frozen", func() {
			pg.Freeze()
			time.Sleep(length(3*time.Second, 30*time.Second))
			pg.Thaw()
		}, quiet},
		{"a node killed", func() {
			r.nodes[1].process.kill()
			time.Sleep(time.Second)
			r.nodes[1].start()
			r.allReady()
		}, leaves},
		{"a node drained", func() {
			r.nodes[2].term()
			r.nodes[2].start()
			r.allReady()
		}, leaves},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := r.under(t, usual, test.fault, nil)
			if test.name != forgets {
				o.clean(t)
			}
			if test.holds != nil {
				test.holds(t, o)
			}
			r.allReady()
		})
	}
	t.Run("clocks", func(t *testing.T) { clocks(t, pg.CreateDatabase(t)) })
	t.Run("side by side", func(t *testing.T) { // these wait most of the time
		t.Run("one node without Redis", func(t *testing.T) {
			t.Parallel()
			oneWithoutRedis(t, pg.CreateDatabase(t), length(0, 15*time.Second))
		})
		t.Run("all nodes without Redis", func(t *testing.T) {
			t.Parallel()
			allWithoutRedis(t, pg.CreateDatabase(t), length(12*time.Second, 30*time.Second))
		})
		t.Run("rolling restart", func(t *testing.T) {
			t.Parallel()
			rollingRestart(t, pg.CreateDatabase(t))
		})
	})
}
