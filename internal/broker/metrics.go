package broker

import "github.com/prometheus/client_golang/prometheus"

// redisMetrics is what is counted of a Redis.
type redisMetrics struct {
	link                                                           prometheus.Gauge
	lost, gaps, catchUps, retries, offered, notOffered, unreadable prometheus.Counter
}

func newRedisMetrics(r prometheus.Registerer) *redisMetrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "parlor_broker_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &redisMetrics{
		link:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "parlor_broker_up", Help: "1 while this node has its link to Redis and hears of everything that is published there, else 0. A node without --redis-url does not have it."}),
		lost:       counter("lost_total", "Messages and events that this node did not get and Redis no longer has."),
		gaps:       counter("gaps_total", "Times that a room went on after a gap in its numbers, or counted anew since Redis had forgotten it."),
		catchUps:   counter("catch_ups_total", "Times that a room was read again from Redis because something was missing: what was missing is shown then."),
		retries:    counter("retries_total", "Calls of Redis that were repeated because they failed or were not answered."),
		offered:    counter("offered_again_total", "Messages and events of the last seconds that were offered to Redis again after it had been away; it took those that it had forgotten."),
		notOffered: counter("not_offered_total", "Messages and events of the last seconds that could not be offered to Redis again after it had been away; other nodes may not have shown them."),
		unreadable: counter("unreadable_total", "Entries from other nodes that this version of Parlor does not understand: versions are too far apart."),
	}
	r.MustRegister(m.link)
	return m
}

func (m *redisMetrics) up(is bool) {
	if is {
		m.link.Set(1)
	} else {
		m.link.Set(0)
	}
}
