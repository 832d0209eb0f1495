package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"parlor/internal/awsapi"
	"parlor/internal/broker"
	"parlor/internal/chat"
	"parlor/internal/config"
	"parlor/internal/develop"
	"parlor/internal/review"
	"parlor/internal/seed"
)

// resetTimeout bounds a reset. It takes milliseconds.
const resetTimeout = 10 * time.Second

// brokerTimeout is how long a seed waits for the broker. What goes wrong then is said.
const brokerTimeout = 15 * time.Second

// development is what a server of parlor dev has beside the service.
type development struct {
	config config.Config
	tools  *develop.Tools
	asked  *review.Reviewer // whom the seed may give webhooks

	resetting sync.Mutex // held across a reset: one after the other
	seed      seed.Seed  // as it was read last; under resetting once Run runs
}

// newDevelopment returns the tools of a server of parlor dev, nil in any other.
func (s *Server) newDevelopment(c config.Config, declared seed.Seed) *development {
	if c.Mode != config.Dev {
		return nil
	}
	return &development{config: c, seed: declared, tools: develop.New(develop.Config{
		Logger:     s.logger,
		Keys:       s.keys != nil,
		Operations: awsapi.Operations(),
		Reset:      s.reset,
		Break:      func(pick func(chat.ARN, string) bool) int { return s.gateway.Break(pick) },
		Expire:     func(pick func(chat.ARN, string) bool) int { return s.gateway.Expire(pick) },
		OpenToken:  func(ctx context.Context, token string) (chat.Claims, error) { return s.service.OpenToken(ctx, token) },
		SpendToken: func(ctx context.Context, token string) error { return s.service.SpendToken(ctx, token) },
		RevokeTokens: func(ctx context.Context) error {
			return s.service.RevokeTokens(ctx)
		},
	})}
}

// readSeed reads the file that a configuration names, if it names one.
func readSeed(c config.Config) (seed.Seed, error) {
	if c.Seed == "" {
		return seed.Seed{}, nil
	}
	return seed.Read(c.Seed, seed.Scope(&c))
}

// webhooksWith are the webhooks of the settings and of the seed. The settings win.
func webhooksWith(c config.Config, s seed.Seed) map[string]string {
	webhooks := maps.Clone(s.Webhooks)
	if webhooks == nil {
		webhooks = map[string]string{}
	}
	maps.Copy(webhooks, c.Webhooks())
	return webhooks
}

// Seeded is what the seed declares.
func (s *Server) Seeded() []develop.Seeded {
	seeded := []develop.Seeded{}
	if s.dev == nil {
		return seeded
	}
	for _, lc := range s.dev.seed.LoggingConfigurations {
		seeded = append(seeded, develop.Seeded{ARN: lc.ARN.String(), Name: lc.Spec.Name})
	}
	for _, room := range s.dev.seed.Rooms {
		seeded = append(seeded, develop.Seeded{ARN: room.ARN.String(), Name: room.Spec.Name})
	}
	return seeded
}

// plant makes what the seed declares, and says in the log what came of it.
func (s *Server) plant(ctx context.Context) error {
	if s.dev == nil || len(s.dev.seed.Rooms)+len(s.dev.seed.LoggingConfigurations) == 0 {
		return nil
	}
	// Other nodes hear of what is changed.
	for until := time.Now().Add(brokerTimeout); s.broker.Ready(ctx) != nil && time.Now().Before(until) && wait(ctx, 20*time.Millisecond); {
	}
	made, err := s.dev.seed.Apply(ctx, s.service)
	for _, m := range made {
		s.logger.Info("seed", "arn", m.ARN.String(), "name", m.Name, "outcome", string(m.Outcome))
	}
	return err
}

// reset empties the server and seeds it again. The order is such that nobody of before is
// let in after: the store, what is remembered of it, then the sessions.
func (s *Server) reset(ctx context.Context) (done develop.Reset, err error) {
	d := s.dev
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resetTimeout)
	defer cancel()
	d.resetting.Lock()
	defer d.resetting.Unlock()
	if s.shared {
		return done, &develop.Refused{Err: errors.New("This server keeps its rooms in PostgreSQL (--database-url), where others may have theirs, too: only the embedded store is emptied.")} //lint:ignore ST1005 clients see it
	}
	declared, err := readSeed(d.config)
	if err != nil {
		return done, &develop.Refused{Err: fmt.Errorf("The seed is not usable, so nothing was reset:\n%w", err)} //lint:ignore ST1005 clients see it
	}
	var secret []byte
	webhooks := webhooksWith(d.config, declared)
	if len(webhooks) > 0 {
		if secret, err = webhookSecret(d.config, s.logger); err != nil {
			return done, err
		}
	}
	begun := time.Now()
	if err := s.store.Clear(ctx); err != nil {
		return done, err
	}
	s.service.ForgetAll()
	done.Connections = s.gateway.EndRooms(ctx)
	if local, ok := s.broker.(*broker.Local); ok {
		local.Refill()
	}
	if err := s.recorder.Discard(ctx); err != nil {
		return done, err
	}
	d.asked.Redirect(webhooks, secret)
	d.seed = declared
	if err := s.plant(ctx); err != nil {
		return done, err
	}
	done.Seeded = s.Seeded()
	s.logger.Info("reset", "connections", done.Connections, "seeded", len(done.Seeded), "duration", time.Since(begun))
	return done, nil
}
