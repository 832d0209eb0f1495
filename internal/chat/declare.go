package chat

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// What is declared is wanted to be so, under an ARN that its owner chose: it is made where
// it is not there, and changed where it is not as declared. Development servers seed their
// rooms by that. No quota holds for it.

// Declared is what became of a declaration.
type Declared string

const (
	DeclaredNew       Declared = "created"
	DeclaredChanged   Declared = "updated"
	DeclaredUnchanged Declared = "unchanged"
)

// DeclareRoom sees to it that there is a room of that ARN which is what CreateRoom would
// make of the spec: what the spec leaves out has its default. Its errors are CreateRoom's.
func (s *Service) DeclareRoom(ctx context.Context, arn ARN, spec RoomSpec) (Declared, error) {
	if err := inScope(arn.Scope, spec.LoggingConfigurations); err != nil {
		return "", err
	}
	if err := s.verifyHandler(ctx, spec.Handler); err != nil {
		return "", err
	}
	wanted := newRoom(arn, spec)
	there, err := s.store.Room(ctx, arn)
	switch {
	case isNotFound(err):
		return DeclaredNew, s.store.CreateRoom(ctx, wanted, 0)
	case err != nil:
		return "", err
	case sameRoom(there, wanted):
		return DeclaredUnchanged, nil
	}
	_, err = s.store.UpdateRoom(context.WithoutCancel(ctx), arn, func(r Room) (Room, error) {
		changed := wanted
		changed.CreateTime, changed.UpdateTime = r.CreateTime, after(r.UpdateTime)
		return changed, nil
	})
	if err != nil {
		return "", err
	}
	_, err = s.publishControl(ctx, arn, PublishRoomChanged)
	return DeclaredChanged, err
}

// DeclareLoggingConfiguration is DeclareRoom for a logging configuration.
func (s *Service) DeclareLoggingConfiguration(ctx context.Context, arn ARN, spec LoggingConfigurationSpec) (Declared, error) {
	wanted := newLoggingConfiguration(arn, spec)
	there, err := s.store.LoggingConfiguration(ctx, arn)
	switch {
	case isNotFound(err):
		return DeclaredNew, s.store.CreateLoggingConfiguration(ctx, wanted, 0)
	case err != nil:
		return "", err
	case there.Name == wanted.Name && there.Destination == wanted.Destination && maps.Equal(there.Tags, wanted.Tags):
		return DeclaredUnchanged, nil
	}
	_, err = s.store.UpdateLoggingConfiguration(context.WithoutCancel(ctx), arn, func(lc LoggingConfiguration) (LoggingConfiguration, error) {
		changed := wanted
		changed.CreateTime, changed.UpdateTime = lc.CreateTime, after(lc.UpdateTime)
		return changed, nil
	})
	if err != nil {
		return "", err
	}
	return DeclaredChanged, s.publishLogsChanged(ctx, arn)
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == NotFound
}

// sameRoom reports whether two rooms of one ARN differ in their times at most.
func sameRoom(a, b Room) bool {
	return a.Name == b.Name && a.MaximumMessageRatePerSecond == b.MaximumMessageRatePerSecond && a.MaximumMessageLength == b.MaximumMessageLength &&
		(a.Handler == nil) == (b.Handler == nil) && *cmp.Or(a.Handler, &ReviewHandler{}) == *cmp.Or(b.Handler, &ReviewHandler{}) &&
		slices.Equal(a.LoggingConfigurations, b.LoggingConfigurations) && maps.Equal(a.Tags, b.Tags)
}

// RevokeTokens makes all tokens useless that were made up to now. Sessions go on.
func (s *Service) RevokeTokens(ctx context.Context) error {
	// No key is from the future; the moment is far from the marks of used tokens.
	if err := s.store.PruneTokens(ctx, time.Now().Add(keyLife), time.Time{}); err != nil {
		return err
	}
	s.sealer.forget()
	return nil
}

// SpendToken makes one token useless, as if it had opened its connection. A token that does
// not open is Unauthorized.
func (s *Service) SpendToken(ctx context.Context, token string) error {
	claims, err := s.sealer.Open(ctx, token)
	if err != nil {
		return err
	}
	_, err = s.store.SpendToken(ctx, claims.ID, 0, claims.TokenExpires.Add(clockSlack))
	return err
}

// ForgetAll drops what is remembered of the store, which was emptied, and of the rates of
// accounts.
func (s *Service) ForgetAll() {
	s.limits.mu.Lock()
	clear(s.limits.rates)
	s.limits.mu.Unlock()
	s.sealer.forget()
	s.rooms.forgetAll()
	s.logs.forgetAll()
}
