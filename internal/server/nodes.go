package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/broker"
	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/store"
)

const (
	// beatInterval is how often a node says that it is there, and looks who else is.
	beatInterval = time.Second
	// beatTimeout bounds that.
	beatTimeout = 2 * time.Second
	// aloneTime is how long a node may be without its broker while another has one: then
	// its clients are better off there.
	aloneTime = 10 * time.Second
	// evictWindow is over how long it sends them away.
	evictWindow = 5 * time.Second
	// shareInterval is how often shares of quotas are renewed.
	shareInterval = chat.ShareLife / 3
)

func openStore(c config.Config) (*store.Store, error) {
	if c.DatabaseURL != "" {
		return store.OpenPostgres(context.Background(), c.DatabaseURL)
	}
	return store.OpenSQLite(context.Background(), c.Data)
}

func (s *Server) newBroker(c config.Config, registry *prometheus.Registry) (broker.Running, error) {
	deliver := func(pub *chat.Publication) { s.gateway.Deliver(pub) }
	if s.dev != nil {
		deliver = s.dev.tools.Deliver(deliver)
	}
	if c.RedisURL == "" {
		return broker.NewLocal(deliver), nil
	}
	return broker.NewRedis(broker.RedisConfig{
		URL:     c.RedisURL,
		Node:    s.node,
		Deliver: deliver,
		Hears:   func(does bool) { s.gateway.Hears(does) },
		Logger:  s.logger,
		Metrics: registry,
	})
}

// hearControl subscribes to what is no room's.
func (s *Server) hearControl(ctx context.Context) {
	for ctx.Err() == nil {
		_, cancel, err := s.broker.Subscribe(ctx, chat.ControlLog)
		if err == nil {
			// What was said before nobody heard here.
			s.gateway.Deliver(&chat.Publication{Room: chat.ControlLog, Kind: chat.PublishGap})
			<-ctx.Done()
			cancel()
			return
		}
		wait(ctx, time.Second)
	}
}

// renewShares renews what this node has of quotas that nodes share.
func (s *Server) renewShares(ctx context.Context) {
	for wait(ctx, shareInterval) {
		if err := s.service.Renew(ctx); err != nil && ctx.Err() == nil {
			s.logger.Warn("shares of quotas could not be renewed", "error", err)
		}
	}
}

// giveUpShares gives up what this node had of quotas: its sessions are over.
func (s *Server) giveUpShares(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if err := s.service.Renew(ctx); err != nil {
		s.logger.Warn("shares of quotas could not be given up; they end by themselves", "error", err, "after", chat.ShareLife)
	}
}

// watchNodes says that this node is there, and sends its sessions to the others when it is
// alone without a broker. A node with a store of its own has no others.
func (s *Server) watchNodes(ctx context.Context) {
	if !s.shared {
		return
	}
	var alone solitude
	var evicting sync.WaitGroup
	stop := func() {}
	defer func() {
		stop()
		evicting.Wait()
	}()
	evicted := false
	for ; ctx.Err() == nil; wait(ctx, beatInterval) {
		well := s.broker.Up()
		if well {
			stop() // who has not been told may stay
			alone, evicted = solitude{}, false
		}
		others, err := s.beat(ctx, well)
		if err != nil || !alone.lasts(well, anyWell(others), time.Now()) || evicted {
			continue
		}
		s.logger.Error("the broker cannot be reached, and other nodes reach it: sessions are sent to them", "for", aloneTime)
		evicted = true
		telling, cancel := context.WithCancel(ctx)
		stop = cancel
		evicting.Go(func() { s.gateway.Evict(telling, evictWindow) })
	}
}

func (s *Server) beat(ctx context.Context, well bool) ([]chat.NodeBeat, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	others, err := s.store.Beat(ctx, chat.NodeBeat{ID: s.node, Well: well, Alone: s.alone})
	if err == nil {
		s.others.Store(&others)
		s.beaten.Store(time.Now().UnixNano())
	}
	return others, err
}

// company refuses to start where nodes would not hear each other: they share a database,
// and this one or another has no Redis.
func (s *Server) company(ctx context.Context) error {
	if !s.shared {
		return nil
	}
	others, err := s.beat(ctx, false)
	if err != nil || !s.clashes(others, chat.NodeSilence) {
		return err
	}
	wait(ctx, 3*beatInterval) // it may be what ran here before
	if others, err = s.beat(ctx, false); err != nil || !s.clashes(others, 2*beatInterval) {
		return err
	}
	if s.alone {
		return errors.New("another node uses the database: nodes need a Redis to share, give --redis-url to each of them")
	}
	return errors.New("another node, without --redis-url, uses the database: stop it, or give it the Redis of this one")
}

// clashes reports whether a node was seen not longer than so long ago that must be alone,
// or beside which this one must be.
func (s *Server) clashes(others []chat.NodeBeat, within time.Duration) bool {
	for _, n := range others {
		if (n.Alone || s.alone) && time.Since(n.Seen) < within {
			return true
		}
	}
	return false
}

func anyWell(nodes []chat.NodeBeat) bool {
	for _, n := range nodes {
		if n.Well {
			return true
		}
	}
	return false
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
