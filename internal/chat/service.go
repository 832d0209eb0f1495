package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Service is the use cases of Parlor: the operations of the control plane, and
// what a messaging connection asks for. Its methods are safe for concurrent use. The
// errors they return are *[Error] where a client may know, else anything.
type Service struct {
	store         Store
	broker        Broker
	sealer        *Sealer
	tokenLifetime time.Duration
	rooms         cache[Room]
	logs          cache[LoggingConfiguration]
	scopes        cache[scopeBans] // by the ARN of the Scope alone
	limits        *limits
	reviewer      Reviewer
	recorder      Recorder
	faults        Faults
	notice        func(Notice)
	filters       map[string]Filter
	tracer        Tracer
	traced        traced
	history       *historian // nil: none is kept
}

// ServiceConfig is what a Service works with. All members are required but Reviewer,
// Recorder, Tracer, Quotas, Faults and History.
type ServiceConfig struct {
	Store  Store
	Broker Broker
	// Reviewer is asked about messages in rooms that have a handler. Without one no
	// handler gives an answer.
	Reviewer Reviewer
	// Recorder keeps what is shown in rooms that log. Without one nothing is kept.
	Recorder Recorder
	// Tracer keeps the times of what is done. Without one none are kept.
	Tracer Tracer
	// TokenLifetime is how long a token may open a connection, never longer than the
	// session it grants.
	TokenLifetime time.Duration
	// Quotas hold for every account and region by itself.
	Quotas Quotas
	// Filters are sets of rules that rooms may name.
	Filters map[string]Filter
	// Faults are injected into requests of sessions; nil but in development.
	Faults Faults
	// Notice, unless nil, is told of what moderators in rooms do.
	Notice func(Notice)
	// History is what histories of rooms need. Without it rooms have none.
	History *HistoryConfig
}

func NewService(c ServiceConfig) *Service {
	return &Service{
		store:         c.Store,
		broker:        c.Broker,
		sealer:        NewSealer(c.Store),
		tokenLifetime: c.TokenLifetime,
		rooms:         cache[Room]{kept: map[ARN]*Room{}},
		logs:          cache[LoggingConfiguration]{kept: map[ARN]*LoggingConfiguration{}},
		scopes:        cache[scopeBans]{kept: map[ARN]*scopeBans{}},
		limits:        newLimits(c.Quotas, c.Broker),
		reviewer:      c.Reviewer,
		recorder:      c.Recorder,
		faults:        c.Faults,
		notice:        c.Notice,
		filters:       c.Filters,
		tracer:        c.Tracer,
		history:       newHistorian(c.History),
	}
}

// Ready returns nil when what the Service works with can serve.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.store.Ready(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.broker.Ready(ctx); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// Prune forgets used tokens, retired keys, bans and histories that no longer matter. It
// is meant to be called every few minutes.
func (s *Service) Prune(ctx context.Context) error {
	now := time.Now().UTC()
	return errors.Join(s.store.PruneTokens(ctx, now.Add(-keyLife), now), s.store.PruneBans(ctx, now), s.pruneHistory(ctx))
}

// storedNow is the present at the precision that is stored.
func storedNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// after is now, or the least later than previous if the clock did not advance: an
// update always moves a resource to the head of its list.
func after(previous time.Time) time.Time {
	now := storedNow()
	if !now.After(previous) {
		now = previous.Add(time.Microsecond)
	}
	return now
}

// RoomSpec is the input of CreateRoom. Zero numbers take their defaults.
type RoomSpec struct {
	Name                        string
	MaximumMessageRatePerSecond int
	MaximumMessageLength        int
	Handler                     *HandlerChange
	LoggingConfigurations       []ARN
	Tags                        map[string]string
}

// HandlerChange is what a request says of a room's message review handler; nil
// members say nothing.
type HandlerChange struct {
	URI      *string
	Fallback *FallbackResult
}

// apply returns the handler after the change.
func (c *HandlerChange) apply(old *ReviewHandler) *ReviewHandler {
	if c == nil {
		return old
	}
	h := ReviewHandler{Fallback: FallbackAllow}
	if old != nil {
		h = *old
	}
	if c.URI != nil {
		h.URI = *c.URI
	}
	if c.Fallback != nil {
		h.Fallback = *c.Fallback
	}
	return &h
}

// CreateRoom makes a room. A logging configuration that does not exist in the scope
// is NotFound, a review handler that may not be invoked BadRequest.
//
// IVS: CreateRoom
func (s *Service) CreateRoom(ctx context.Context, scope Scope, spec RoomSpec) (Room, error) {
	if err := inScope(scope, spec.LoggingConfigurations); err != nil {
		return Room{}, err
	}
	if err := s.verifyHandler(ctx, spec.Handler); err != nil {
		return Room{}, err
	}
	room := newRoom(ARN{Scope: scope, Kind: KindRoom, ID: NewID()}, spec)
	return room, s.store.CreateRoom(ctx, room, s.limits.quotas.Rooms)
}

// newRoom is the room of a spec, made now.
func newRoom(arn ARN, spec RoomSpec) Room {
	now := storedNow()
	return Room{
		ARN:                         arn,
		Name:                        spec.Name,
		CreateTime:                  now,
		UpdateTime:                  now,
		MaximumMessageRatePerSecond: cmp.Or(spec.MaximumMessageRatePerSecond, DefaultMaximumMessageRatePerSecond),
		MaximumMessageLength:        cmp.Or(spec.MaximumMessageLength, DefaultMaximumMessageLength),
		Handler:                     spec.Handler.apply(nil),
		LoggingConfigurations:       spec.LoggingConfigurations,
		Tags:                        withTags(nil, spec.Tags),
	}
}

// inScope checks that logging configurations are of the room's own region and
// account: any other does not exist for it.
func inScope(scope Scope, configurations []ARN) error {
	for _, arn := range configurations {
		if arn.Scope != scope {
			return NewNotFound(arn)
		}
	}
	return nil
}

// GetRoom returns a room.
//
// IVS: GetRoom
func (s *Service) GetRoom(ctx context.Context, arn ARN) (Room, error) {
	return s.store.Room(ctx, arn)
}

// RoomChange is the input of UpdateRoom; nil members leave things as they are.
type RoomChange struct {
	Name                        *string
	MaximumMessageRatePerSecond *int
	MaximumMessageLength        *int
	Handler                     *HandlerChange
	LoggingConfigurations       *[]ARN // replaces the list
}

// UpdateRoom changes a room. When it returns, the change holds for the next message
// of every session.
//
// IVS: UpdateRoom
func (s *Service) UpdateRoom(ctx context.Context, arn ARN, change RoomChange) (Room, error) {
	if change.LoggingConfigurations != nil {
		if err := inScope(arn.Scope, *change.LoggingConfigurations); err != nil {
			return Room{}, err
		}
	}
	if err := s.verifyHandler(ctx, change.Handler); err != nil {
		return Room{}, err
	}
	room, err := s.store.UpdateRoom(context.WithoutCancel(ctx), arn, func(r Room) (Room, error) {
		if change.Name != nil {
			r.Name = *change.Name
		}
		if change.MaximumMessageRatePerSecond != nil {
			r.MaximumMessageRatePerSecond = *change.MaximumMessageRatePerSecond
		}
		if change.MaximumMessageLength != nil {
			r.MaximumMessageLength = *change.MaximumMessageLength
		}
		r.Handler = change.Handler.apply(r.Handler)
		if change.LoggingConfigurations != nil {
			r.LoggingConfigurations = *change.LoggingConfigurations
		}
		r.UpdateTime = after(r.UpdateTime)
		return r, nil
	})
	if err != nil {
		return Room{}, err
	}
	_, err = s.publishControl(ctx, arn, PublishRoomChanged)
	return room, err
}

// DeleteRoom deletes a room and ends its sessions.
//
// IVS: DeleteRoom
func (s *Service) DeleteRoom(ctx context.Context, arn ARN) error {
	if err := s.store.DeleteRoom(context.WithoutCancel(ctx), arn); err != nil {
		return err
	}
	_, err := s.publishControl(ctx, arn, PublishRoomDeleted)
	if s.history != nil {
		s.history.forget(arn) // and if not, pruneHistory does
	}
	return err
}

// publishControl tells every node what happened to a room. The caller's going away
// must stop neither this nor the write before it, which might happen all the same:
// nobody would hear of it.
func (s *Service) publishControl(ctx context.Context, arn ARN, kind PublicationKind) (Position, error) {
	ctx = context.WithoutCancel(ctx)
	pub := &Publication{Room: arn, Kind: kind, ID: NewID(), Accepted: time.Now()}
	if err := s.broker.Publish(ctx, pub, 0); err != nil {
		return Position{}, fmt.Errorf("publish a change of room %s: %w", arn, err)
	}
	return pub.Position, nil
}

// ListRooms returns a page of the scope's rooms, most recently updated first, and the
// token of the next page, empty at the end. An unknown page token is BadRequest.
//
// IVS: ListRooms
func (s *Service) ListRooms(ctx context.Context, scope Scope, filter RoomFilter, pageToken string, limit int) ([]Room, string, error) {
	list := listing{scope: scope, what: KindRoom, filter: filter}
	cursor, err := list.parseToken(pageToken)
	if err != nil {
		return nil, "", err
	}
	rooms, err := s.store.Rooms(ctx, scope, filter, cursor, limit+1)
	if err != nil || len(rooms) <= limit {
		return rooms, "", err
	}
	rooms = rooms[:limit]
	last := rooms[limit-1]
	return rooms, list.token(Cursor{UpdateTime: last.UpdateTime, ID: last.ARN.ID}), nil
}

// LoggingConfigurationSpec is the input of CreateLoggingConfiguration.
type LoggingConfigurationSpec struct {
	Name        string
	Destination Destination
	Tags        map[string]string
}

// CreateLoggingConfiguration makes a logging configuration, ACTIVE at once.
//
// IVS: CreateLoggingConfiguration
func (s *Service) CreateLoggingConfiguration(ctx context.Context, scope Scope, spec LoggingConfigurationSpec) (LoggingConfiguration, error) {
	lc := newLoggingConfiguration(ARN{Scope: scope, Kind: KindLoggingConfiguration, ID: NewID()}, spec)
	return lc, s.store.CreateLoggingConfiguration(ctx, lc, s.limits.quotas.LoggingConfigurations)
}

// newLoggingConfiguration is the logging configuration of a spec, made now.
func newLoggingConfiguration(arn ARN, spec LoggingConfigurationSpec) LoggingConfiguration {
	now := storedNow()
	return LoggingConfiguration{
		ARN:         arn,
		Name:        spec.Name,
		CreateTime:  now,
		UpdateTime:  now,
		Destination: spec.Destination,
		Tags:        withTags(nil, spec.Tags),
	}
}

// GetLoggingConfiguration returns a logging configuration.
//
// IVS: GetLoggingConfiguration
func (s *Service) GetLoggingConfiguration(ctx context.Context, arn ARN) (LoggingConfiguration, error) {
	return s.store.LoggingConfiguration(ctx, arn)
}

// LoggingConfigurationChange is the input of UpdateLoggingConfiguration; nil members
// leave things as they are.
type LoggingConfigurationChange struct {
	Name        *string
	Destination *Destination
}

// UpdateLoggingConfiguration changes a logging configuration. When it returns, the
// change holds for the next message.
//
// IVS: UpdateLoggingConfiguration
func (s *Service) UpdateLoggingConfiguration(ctx context.Context, arn ARN, change LoggingConfigurationChange) (LoggingConfiguration, error) {
	lc, err := s.store.UpdateLoggingConfiguration(context.WithoutCancel(ctx), arn, func(lc LoggingConfiguration) (LoggingConfiguration, error) {
		if change.Name != nil {
			lc.Name = *change.Name
		}
		if change.Destination != nil {
			lc.Destination = *change.Destination
		}
		lc.UpdateTime = after(lc.UpdateTime)
		return lc, nil
	})
	if err != nil {
		return LoggingConfiguration{}, err
	}
	return lc, s.publishLogsChanged(ctx, arn)
}

// publishLogsChanged tells every node that a logging configuration changed.
func (s *Service) publishLogsChanged(ctx context.Context, arn ARN) error {
	s.logs.forget(arn)
	err := s.broker.Publish(context.WithoutCancel(ctx), &Publication{Room: ControlLog, Kind: PublishLogsChanged, ID: NewID(), Accepted: time.Now(), Subject: arn}, 0)
	if err != nil {
		return fmt.Errorf("publish a change of logging configuration %s: %w", arn, err)
	}
	return nil
}

// DeleteLoggingConfiguration deletes a logging configuration that no room refers to;
// one in use is a Conflict.
//
// IVS: DeleteLoggingConfiguration
func (s *Service) DeleteLoggingConfiguration(ctx context.Context, arn ARN) error {
	if err := s.store.DeleteLoggingConfiguration(context.WithoutCancel(ctx), arn); err != nil {
		return err
	}
	return s.publishLogsChanged(ctx, arn)
}

// ListLoggingConfigurations lists as ListRooms does.
//
// IVS: ListLoggingConfigurations
func (s *Service) ListLoggingConfigurations(ctx context.Context, scope Scope, pageToken string, limit int) ([]LoggingConfiguration, string, error) {
	list := listing{scope: scope, what: KindLoggingConfiguration}
	cursor, err := list.parseToken(pageToken)
	if err != nil {
		return nil, "", err
	}
	lcs, err := s.store.LoggingConfigurations(ctx, scope, cursor, limit+1)
	if err != nil || len(lcs) <= limit {
		return lcs, "", err
	}
	lcs = lcs[:limit]
	last := lcs[limit-1]
	return lcs, list.token(Cursor{UpdateTime: last.UpdateTime, ID: last.ARN.ID}), nil
}

// ListTagsForResource returns the tags of a room or logging configuration.
//
// IVS: ListTagsForResource
func (s *Service) ListTagsForResource(ctx context.Context, arn ARN) (map[string]string, error) {
	if arn.Kind == KindLoggingConfiguration {
		lc, err := s.store.LoggingConfiguration(ctx, arn)
		return lc.Tags, err
	}
	room, err := s.store.Room(ctx, arn)
	return room.Tags, err
}

// TagResource adds or overwrites tags. More than MaxTags in all is BadRequest. The
// resource's UpdateTime stays.
//
// IVS: TagResource
func (s *Service) TagResource(ctx context.Context, arn ARN, tags map[string]string) error {
	return s.changeTags(ctx, arn, func(old map[string]string) (map[string]string, error) {
		merged := withTags(old, tags)
		if len(merged) > MaxTags {
			return nil, NewInvalid("tags", fmt.Sprintf("a resource has at most %d tags", MaxTags))
		}
		return merged, nil
	})
}

// UntagResource removes tags; keys that are not there are no error.
//
// IVS: UntagResource
func (s *Service) UntagResource(ctx context.Context, arn ARN, keys []string) error {
	return s.changeTags(ctx, arn, func(old map[string]string) (map[string]string, error) {
		return withoutTags(old, keys), nil
	})
}

func (s *Service) changeTags(ctx context.Context, arn ARN, change func(map[string]string) (map[string]string, error)) error {
	if arn.Kind == KindLoggingConfiguration {
		_, err := s.store.UpdateLoggingConfiguration(ctx, arn, func(lc LoggingConfiguration) (_ LoggingConfiguration, err error) {
			lc.Tags, err = change(lc.Tags)
			return lc, err
		})
		return err
	}
	var before map[string]string
	room, err := s.store.UpdateRoom(context.WithoutCancel(ctx), arn, func(r Room) (_ Room, err error) {
		before = r.Tags
		r.Tags, err = change(r.Tags)
		return r, err
	})
	if err != nil {
		return err
	}
	at, err := s.publishControl(ctx, arn, PublishRoomChanged)
	if err != nil {
		return err
	}
	return s.historyChanged(context.WithoutCancel(ctx), arn, historyOf(before), historyOf(room.Tags), at)
}

// TokenSpec is the input of CreateChatToken.
type TokenSpec struct {
	Room            ARN
	UserID          string
	Capabilities    Capability
	SessionDuration time.Duration // 0: DefaultSessionDuration
	Attributes      map[string]string
}

// CreateChatToken returns a token that opens one connection, and the claims sealed in
// it. Times are whole seconds. For a user who is banned it is Forbidden.
//
// IVS: CreateChatToken
func (s *Service) CreateChatToken(ctx context.Context, spec TokenSpec) (string, Claims, error) {
	if _, err := s.store.Room(ctx, spec.Room); err != nil {
		return "", Claims{}, err
	}
	if err := s.mayHaveToken(ctx, spec.Room, spec.UserID); err != nil {
		return "", Claims{}, err
	}
	if spec.SessionDuration == 0 {
		spec.SessionDuration = DefaultSessionDuration
	}
	now := time.Now().UTC().Truncate(time.Second)
	claims := Claims{
		Room:           spec.Room,
		UserID:         spec.UserID,
		Capabilities:   spec.Capabilities,
		Attributes:     withTags(nil, spec.Attributes),
		TokenExpires:   now.Add(min(s.tokenLifetime, spec.SessionDuration)),
		SessionExpires: now.Add(spec.SessionDuration),
	}
	token, err := s.sealer.Seal(ctx, &claims)
	return token, claims, err
}

// SendEvent shows an event to everybody in the room and returns its Id.
//
// IVS: SendEvent
func (s *Service) SendEvent(ctx context.Context, room ARN, name string, attributes map[string]string) (string, error) {
	return s.moderate(ctx, Actor{}, &Publication{Room: room, Kind: PublishEvent}, name, attributes)
}

// DeleteMessage asks every client in the room to un-render a message, and returns the
// Id of the event that does so. Whether there was such a message is not known: only
// rooms with a history keep some.
//
// IVS: DeleteMessage
func (s *Service) DeleteMessage(ctx context.Context, room ARN, messageID, reason string) (string, error) {
	return s.moderate(ctx, Actor{}, &Publication{Room: room, Kind: PublishDelete}, eventDeleteMessage, deleteAttributes(messageID, reason))
}

// DisconnectUser ends every session of a user in the room. A user who is not there is
// no error; the event is shown all the same.
//
// IVS: DisconnectUser
func (s *Service) DisconnectUser(ctx context.Context, by Actor, room ARN, userID, reason string) error {
	_, err := s.moderate(ctx, by, &Publication{Room: room, Kind: PublishDisconnect, UserID: userID, Reason: reason},
		eventDisconnectUser, disconnectAttributes(userID, reason))
	return err
}

// moderate publishes an event that the control plane asked for.
func (s *Service) moderate(ctx context.Context, by Actor, pub *Publication, name string, attributes map[string]string) (string, error) {
	pub.Accepted = time.Now()
	room, err := s.loadRoom(ctx, pub.Room)
	if err != nil {
		return "", err
	}
	if err := s.limits.publish(ctx, pub.Kind, pub.Room); err != nil {
		return "", err
	}
	pub.ID = NewID()
	pub.Frame = appendEvent(nil, pub.ID, "", name, attributes, pub.Accepted)
	if pub.Kind == PublishDisconnect {
		return pub.ID, s.disconnect(ctx, pub, &room, by)
	}
	return pub.ID, s.show(ctx, pub, &room, 0)
}

const (
	eventDeleteMessage  = "aws:DELETE_MESSAGE"
	eventDisconnectUser = "aws:DISCONNECT_USER"
)

// deleteAttributes spells the message's id both ways: the SDKs read MessageID, the
// documentation says MessageId.
func deleteAttributes(messageID, reason string) map[string]string {
	return withReason(map[string]string{"MessageID": messageID, "MessageId": messageID}, reason)
}

func disconnectAttributes(userID, reason string) map[string]string {
	return withReason(map[string]string{"UserId": userID}, reason)
}

func withReason(attributes map[string]string, reason string) map[string]string {
	if reason != "" {
		attributes["Reason"] = reason
	}
	return attributes
}

// CapabilityNames are the capabilities as the API spells them, by their bit.
var CapabilityNames = map[string]Capability{
	ActionSendMessage:    MaySendMessage,
	ActionDeleteMessage:  MayDeleteMessage,
	ActionDisconnectUser: MayDisconnectUser,
}
