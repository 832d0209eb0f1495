// Package cloudwatch publishes what Amazon IVS Chat publishes of itself in CloudWatch,
// under the same names, each minute.
//
// Invariants:
//
//   - What is published is what the process counts: a counter's growth in the minute. What
//     is not counted is not published, least of all as zero.
//   - A minute that CloudWatch did not take in a few tries is lost, which is logged and
//     counted. Nothing piles up.
//   - The figures are of the whole node: all accounts and regions that it serves. They go
//     to one account and region of AWS, that of the credentials.
//
// The request is written and signed here: the client of the SDK would add megabytes to
// the binary. It is in the oldest of CloudWatch's protocols (AWS query), since that is
// the one that everything which stands for CloudWatch takes.
package cloudwatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Publisher works with.
type Config struct {
	// Namespace is where the metrics are. AWS/IVSChat is taken by what stands for
	// CloudWatch; CloudWatch itself keeps names that begin with AWS/ to itself.
	Namespace string
	// Figures is what the process counts, and Metrics where this package does.
	Figures prometheus.Gatherer
	Metrics prometheus.Registerer
	Logger  *slog.Logger
	// Period is what a point stands for; 0 is a minute, as it should be but for tests.
	Period time.Duration
}

const (
	defaultPeriod = time.Minute
	// samples is how often a period's gauges are looked at.
	samples = 6
	// putTime is what the requests of a period may take, all together, and lastTime those
	// of a stop.
	putTime  = 30 * time.Second
	lastTime = 2 * time.Second
)

// Publisher publishes while Run does.
type Publisher struct {
	config Config
	points *prometheus.CounterVec
	aws    endpoint

	// Owned by Run.
	counted     map[series]float64 // when the last period ended
	connections gauge
}

// New returns a Publisher.
func New(c Config) *Publisher {
	if c.Period == 0 {
		c.Period = defaultPeriod
	}
	p := &Publisher{
		config: c,
		points: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parlor_cloudwatch_points_total",
			Help: "Points published to CloudWatch, by outcome: put, or failed, which are lost.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"put", "failed"} {
		p.points.WithLabelValues(outcome) // to be there from the start
	}
	c.Metrics.MustRegister(p.points)
	return p
}

// Run publishes each period until ctx ends, and then the one that is not over.
func (p *Publisher) Run(ctx context.Context) error {
	defer p.aws.close()
	begun := time.Now().Truncate(p.config.Period)
	sample := time.NewTicker(p.config.Period / samples)
	defer sample.Stop()
	for {
		p.look()
		timer := time.NewTimer(time.Until(begun.Add(p.config.Period)))
		for over := false; !over; {
			select {
			case <-sample.C:
				p.look()
			case <-timer.C:
				over = true
			case <-ctx.Done():
				timer.Stop()
				p.publish(context.WithoutCancel(ctx), begun, lastTime, 1)
				return nil
			}
		}
		p.publish(ctx, begun, min(putTime, p.config.Period), maxTries)
		begun = periodAfter(begun, time.Now(), p.config.Period)
	}
}

// periodAfter is when the period began that follows one that is over.
func periodAfter(begun, now time.Time, period time.Duration) time.Time {
	next, current := begun.Add(period), now.Truncate(period)
	if next.Before(current) || next.Sub(current) > period {
		return current // the machine slept, or its clock was set
	}
	return next // a timer may be early by a little
}

// publish publishes what happened in the period that began at a moment.
func (p *Publisher) publish(ctx context.Context, begun time.Time, within time.Duration, tries int) {
	points, err := p.take()
	if err != nil {
		p.config.Logger.Error("read what is to be published to CloudWatch", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	lost := 0
	for len(points) > 0 {
		batch := points[:min(len(points), maxPoints)]
		points = points[len(batch):]
		var failed error
		if err == nil {
			failed = p.aws.put(ctx, p.config.Namespace, begun, batch, tries)
		}
		if failed != nil {
			err = failed // the others would fail as well, and take as long
		}
		if err != nil {
			lost += len(batch)
			p.points.WithLabelValues("failed").Add(float64(len(batch)))
			continue
		}
		p.points.WithLabelValues("put").Add(float64(len(batch)))
	}
	if err != nil {
		p.config.Logger.Warn("metrics were not published to CloudWatch; those of this minute are lost", "points", lost, "namespace", p.config.Namespace, "error", fmt.Errorf("put metrics: %w", err))
	}
}
