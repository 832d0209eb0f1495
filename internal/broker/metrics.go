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
		link:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "parlor_broker_up", Help: "1 while this node hears of every publication from the broker, else 0."}),
		lost:       counter("lost_total", "Publications that this node did not get and that the broker no longer has."),
		gaps:       counter("gaps_total", "Times that a room went on after a gap or in a new epoch of the broker's."),
		catchUps:   counter("catch_ups_total", "Times that a room was read again from the broker because something was missing."),
		retries:    counter("retries_total", "Calls of the broker that were repeated because they failed or were not answered."),
		offered:    counter("offered_again_total", "Publications offered again after the broker had been away; it took those that it had forgotten."),
		notOffered: counter("not_offered_total", "Publications that could not be offered again after the broker had been away."),
		unreadable: counter("unreadable_total", "Entries from other nodes that this version does not understand."),
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
