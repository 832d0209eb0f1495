package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// BanKind says what a [Ban] keeps a user from.
type BanKind string

const (
	// KindBan keeps a user out: no token is made, no token lets in, and what sessions
	// there are end.
	KindBan BanKind = "BAN"
	// KindMute lets a user read and not speak.
	KindMute BanKind = "MUTE"
)

const (
	// MaxBans is how many bans and mutes a room may have, and how many an account in a
	// region: rooms with sessions keep theirs in memory.
	MaxBans = 10_000
	// MaxBanDuration is the longest time that one may be for; without a time it is until
	// it is taken back.
	MaxBanDuration = 10 * 365 * 24 * time.Hour
)

// Ban is a ban or a mute of a user, of which there is one of each kind in a place.
type Ban struct {
	ID string // made by [NewID]
	// Place is where it holds: a room's ARN, or, for a whole region of an account, the
	// ARN of its Scope and nothing else.
	Place      ARN
	UserID     string
	Kind       BanKind
	Reason     string // may be empty
	CreateTime time.Time
	ExpireTime time.Time // the zero Time: it holds until it is taken back
	CreatedBy  string    // the ARN of a caller of the API, or the ID of a user in the room
}

// AnyRoom is how the place of a ban that is not of one room is written: as policies
// write all rooms.
func AnyRoom(scope Scope) ARN { return ARN{Scope: scope, Kind: KindRoom, ID: "*"} }

// BanFilter narrows a list of bans; zero members do not filter.
type BanFilter struct {
	Room   ARN // those of this room; those of the account are not
	UserID string
	Kind   BanKind
}

// Bans are the bans and mutes that hold in a room, those of the account among them. A nil
// *Bans has none. They are never changed.
type Bans struct {
	here, everywhere map[string]restriction // by user ID
}

// restriction is what is kept of the bans and mutes of a user in one place.
type restriction struct {
	banned, muted int64  // until when, in microseconds since 1970; 0: not at all
	reason        string // of the ban
}

// forever is the end of what has none.
const forever = 1<<63 - 1

// restrictions are those of a place, by user ID.
func restrictions(bans []Ban) map[string]restriction {
	all := make(map[string]restriction, len(bans))
	for _, b := range bans {
		until := int64(forever)
		if !b.ExpireTime.IsZero() {
			until = b.ExpireTime.UnixMicro()
		}
		r := all[b.UserID]
		switch b.Kind {
		case KindBan:
			r.banned, r.reason = until, b.Reason
		case KindMute:
			r.muted = until
		}
		all[b.UserID] = r
	}
	return all
}

// of is what keeps a user from something: what lasts longer, in the room or everywhere.
func (b *Bans) of(userID string) restriction {
	r, e := b.here[userID], b.everywhere[userID]
	if e.banned > r.banned {
		r.banned, r.reason = e.banned, e.reason
	}
	r.muted = max(r.muted, e.muted)
	return r
}

// banned is the error for a user who may not be in the room, nil for any other.
func (b *Bans) banned(userID string, now time.Time) error {
	if b == nil {
		return nil
	}
	if r := b.of(userID); r.banned > now.UnixMicro() {
		return &Error{Code: Forbidden, Message: "You are banned from the room" + untilText(r.banned) + "."}
	}
	return nil
}

// silenced is the error for a user who may not speak in the room, nil for any other.
func (b *Bans) silenced(userID string, now time.Time) error {
	if b == nil {
		return nil
	}
	switch r := b.of(userID); {
	case r.banned > now.UnixMicro(): // the session is about to end
		return b.banned(userID, now)
	case r.muted > now.UnixMicro():
		return &Error{Code: Forbidden, Message: "You are muted" + untilText(r.muted) + "."}
	}
	return nil
}

// untilText is the end of a restriction as the end of a sentence. It is rounded up: who
// tries again then is not refused.
func untilText(us int64) string {
	if us == forever {
		return ""
	}
	return " until " + time.UnixMicro(us).Add(time.Second-time.Microsecond).UTC().Truncate(time.Second).Format(time.RFC3339)
}

// scopeBans is what is kept of the bans of a scope. Most have none.
type scopeBans struct {
	any        bool                   // there are some, be it in rooms
	everywhere map[string]restriction // those that are not of one room; nil: none
}

func (s *Service) loadScopeBans(ctx context.Context, arn ARN) (scopeBans, error) {
	now := time.Now()
	some, err := s.store.Bans(ctx, arn.Scope, BanFilter{}, Cursor{}, 1, now)
	if err != nil || len(some) == 0 {
		return scopeBans{}, err
	}
	out := scopeBans{any: true}
	bans, err := s.store.BansOf(ctx, ARN{Scope: arn.Scope}, now)
	if len(bans) > 0 {
		out.everywhere = restrictions(bans)
	}
	return out, err
}

// loadBans reads the bans that hold in a room; nil: none.
func (s *Service) loadBans(ctx context.Context, room ARN) (*Bans, error) {
	of, err := s.scopes.get(ctx, ARN{Scope: room.Scope}, s.loadScopeBans)
	if err != nil || !of.any {
		return nil, err
	}
	here, err := s.store.BansOf(ctx, room, time.Now())
	if err != nil || len(here) == 0 && of.everywhere == nil {
		return nil, err
	}
	return &Bans{here: restrictions(here), everywhere: of.everywhere}, nil
}

// Banned reports whether a user may not be in a room, and for what reason, by what is
// stored now.
func (s *Service) Banned(ctx context.Context, room ARN, userID string) (reason string, banned bool, err error) {
	bans, err := s.loadBans(ctx, room)
	if err != nil || bans.banned(userID, time.Now()) == nil {
		return "", false, err
	}
	return bans.of(userID).reason, true, nil
}

// BannedAmong returns those of some users who may not be in a room, with the reasons, by
// what is stored now.
func (s *Service) BannedAmong(ctx context.Context, room ARN, users func(yield func(userID string) bool)) (map[string]string, error) {
	bans, err := s.loadBans(ctx, room)
	if err != nil || bans == nil {
		return nil, err
	}
	var banned map[string]string
	now := time.Now()
	for user := range users {
		if bans.banned(user, now) == nil {
			continue
		}
		if banned == nil {
			banned = map[string]string{}
		}
		banned[user] = bans.of(user).reason
	}
	return banned, nil
}

// mayHaveToken is the error for a user who is banned from a room, nil for any other.
func (s *Service) mayHaveToken(ctx context.Context, room ARN, userID string) error {
	bans, err := s.loadBans(ctx, room)
	if err != nil || bans.banned(userID, time.Now()) == nil {
		return err
	}
	return &Error{Code: Forbidden, Message: fmt.Sprintf("The user %s is banned from %s%s.", userID, room, untilText(bans.of(userID).banned))}
}

// BanSpec is the input of BanUser and MuteUser.
type BanSpec struct {
	Place    ARN // as that of a Ban
	UserID   string
	Duration time.Duration // 0: until it is taken back
	Reason   string
	By       Actor
}

// BanUser keeps a user out of a room, or of all rooms of a region of an account; a ban
// that there is already is replaced. The user's sessions there end, on every node. A room
// that does not exist is NotFound, one ban more than MaxBans QuotaExceeded.
func (s *Service) BanUser(ctx context.Context, spec BanSpec) (Ban, error) {
	return s.restrict(ctx, spec, KindBan)
}

// MuteUser keeps a user from speaking as BanUser keeps one out.
func (s *Service) MuteUser(ctx context.Context, spec BanSpec) (Ban, error) {
	return s.restrict(ctx, spec, KindMute)
}

func (s *Service) restrict(ctx context.Context, spec BanSpec, kind BanKind) (Ban, error) {
	ban, err := s.putBan(ctx, spec, kind)
	if err != nil {
		return Ban{}, err
	}
	ends := ""
	if kind == KindBan {
		ends = ban.UserID
	}
	return ban, s.publishBans(ctx, ban.Place, ends, ban.Reason)
}

// putBan stores a ban; publishBans must follow.
func (s *Service) putBan(ctx context.Context, spec BanSpec, kind BanKind) (Ban, error) {
	if strings.ContainsRune(spec.UserID, 0) {
		return Ban{}, NewInvalid("userId", "the value must not have a NUL character") // which no store keeps
	}
	reason := strings.ReplaceAll(spec.Reason, "\x00", "")
	ban := Ban{ID: NewID(), Place: spec.Place, UserID: spec.UserID, Kind: kind, Reason: reason, CreateTime: storedNow(), CreatedBy: spec.By.Principal}
	if ban.CreatedBy == "" {
		ban.CreatedBy = spec.By.UserID
	}
	if spec.Duration > 0 {
		ban.ExpireTime = ban.CreateTime.Add(spec.Duration)
	}
	return ban, s.store.PutBan(context.WithoutCancel(ctx), ban, MaxBans)
}

// UnbanUser takes a ban back. One that is not there is no error; one of the whole account
// is not taken back for a room.
func (s *Service) UnbanUser(ctx context.Context, place ARN, userID string) error {
	return s.relent(ctx, place, userID, KindBan)
}

// UnmuteUser takes a mute back as UnbanUser does a ban.
func (s *Service) UnmuteUser(ctx context.Context, place ARN, userID string) error {
	return s.relent(ctx, place, userID, KindMute)
}

func (s *Service) relent(ctx context.Context, place ARN, userID string, kind BanKind) error {
	if place.Kind == KindRoom {
		if _, err := s.store.Room(ctx, place); err != nil {
			return err
		}
	}
	if err := s.store.RemoveBan(context.WithoutCancel(ctx), place, userID, kind); err != nil {
		return err
	}
	return s.publishBans(ctx, place, "", "")
}

// publishBans tells every node that the bans of a place changed, and that a user's
// sessions there end, unless ends is "".
func (s *Service) publishBans(ctx context.Context, place ARN, ends, reason string) error {
	s.forgetBans(place)
	err := s.broker.Publish(context.WithoutCancel(ctx), &Publication{
		Room: ControlLog, Kind: PublishBansChanged, ID: NewID(), Accepted: time.Now(), Subject: place, UserID: ends, Reason: reason,
	}, 0)
	if err != nil {
		return fmt.Errorf("publish a change of the bans of %s: %w", place, err)
	}
	return nil
}

// forgetBans drops what is remembered of the bans of a place: first of the scope, of which
// rooms take theirs.
func (s *Service) forgetBans(place ARN) {
	s.scopes.forget(ARN{Scope: place.Scope})
	if place.Kind == KindRoom {
		s.rooms.forget(place)
	} else {
		s.rooms.forgetAll()
	}
}

// ListBans returns a page of the bans and mutes of a scope that are not over, those made
// last first, as ListRooms does. A room that does not exist has none.
func (s *Service) ListBans(ctx context.Context, scope Scope, filter BanFilter, pageToken string, limit int) ([]Ban, string, error) {
	list := listing{scope: scope, what: "ban", filter: RoomFilter{Name: filter.UserID, HandlerURI: string(filter.Kind), LoggingConfiguration: filter.Room}}
	cursor, err := list.parseToken(pageToken)
	if err != nil {
		return nil, "", err
	}
	bans, err := s.store.Bans(ctx, scope, filter, cursor, limit+1, time.Now())
	if err != nil || len(bans) <= limit {
		return bans, "", err
	}
	bans = bans[:limit]
	last := bans[limit-1]
	return bans, list.token(Cursor{UpdateTime: last.CreateTime, ID: last.ID}), nil
}

// PurgeUser takes a user's messages out of a room's history, and asks every client in the
// room to un-render them. It returns how many there were.
func (s *Service) PurgeUser(ctx context.Context, arn ARN, userID string) (int, error) {
	room, err := s.loadRoom(ctx, arn)
	if err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx) // nobody could ask for the rest again
	ids, err := s.PurgeHistory(ctx, arn, userID)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, id := range ids {
		pub := &Publication{Room: arn, Kind: PublishDelete, ID: NewID(), Accepted: time.Now()}
		pub.Frame = appendEvent(nil, pub.ID, "", eventDeleteMessage, deleteAttributes(id, ""), pub.Accepted)
		errs = append(errs, s.show(ctx, pub, &room, 0))
	}
	return len(ids), errors.Join(errs...)
}

// disconnect shows the event that ends a user's sessions, and where the room says so bans
// the user, whom the event comes to first.
func (s *Service) disconnect(ctx context.Context, pub *Publication, room *Room, by Actor) error {
	x := room.Extensions
	if x == nil || x.BanOnDisconnect == 0 {
		return s.show(ctx, pub, room, 0)
	}
	ban, err := s.putBan(ctx, BanSpec{Place: room.ARN, UserID: pub.UserID, Duration: x.BanOnDisconnect, Reason: pub.Reason, By: by}, KindBan)
	if err != nil {
		return err
	}
	s.forgetBans(ban.Place)
	err = errors.Join(s.show(ctx, pub, room, 0), s.publishBans(ctx, ban.Place, ban.UserID, ban.Reason))
	if s.notice != nil && err == nil {
		s.notice(Notice{
			ID: NewID(), Time: pub.Accepted, Action: NoticeBanUser, By: by, Scope: room.ARN.Scope, Resource: room.ARN, UserID: ban.UserID, Until: ban.ExpireTime,
		})
	}
	return err
}
