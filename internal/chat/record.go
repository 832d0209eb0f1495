package chat

import (
	"context"
	"errors"
	"fmt"
)

// show publishes what clients see, and has it kept where the room has a history.
func (s *Service) show(ctx context.Context, pub *Publication, room *Room, rate int) error {
	if x := room.Extensions; x != nil && x.History.Count > 0 && s.history != nil {
		return s.history.publish(pub, x.History, func() error { return s.record(ctx, pub, room, rate) })
	}
	return s.record(ctx, pub, room, rate)
}

// record publishes what clients see, and has it recorded where the room logs: noted
// before, so that nothing is seen that is not recorded, and marked after.
func (s *Service) record(ctx context.Context, pub *Publication, room *Room, rate int) error {
	if len(room.LoggingConfigurations) == 0 || s.recorder == nil {
		return s.publish(ctx, pub, rate)
	}
	to := make([]*LoggingConfiguration, 0, len(room.LoggingConfigurations))
	for _, arn := range room.LoggingConfigurations {
		lc, err := s.logs.get(ctx, arn, s.store.LoggingConfiguration)
		if err != nil && AsError(err).Code == NotFound {
			continue // deleted since the room was looked up: it is attached no longer
		}
		if err != nil {
			return fmt.Errorf("find where to log: %v", err) // not the client's business, whatever it is
		}
		to = append(to, lc)
	}
	mark := s.recorder.Intend(pub, to)
	published := true // if Publish panics: rather one record too many
	defer func() { mark(published) }()
	err := s.publish(ctx, pub, rate)
	published = err == nil || errors.Is(err, ErrUnknownOutcome) // rather one record too many
	return err
}
