package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// bans is what a gateway keeps of bans: who is banned is the service's to know.
type bans struct {
	// changes counts what was heard of. A handshake that finds another number once its
	// session is seated than before it was admitted looks again: whoever ended the sessions
	// of a user may have come by too early to find it, and the token been looked at before.
	changes atomic.Uint64
	// doubt asks that everybody who is here be looked at.
	doubt chan struct{}
}

// banPatience is how long one room may take to be looked at.
const banPatience = 5 * time.Second

// heardOfBans takes note of a publication to the control log, of which the service has
// heard before.
func (g *Gateway) heardOfBans(pub *chat.Publication) {
	switch pub.Kind {
	case chat.PublishGap:
		g.DoubtBans()
	case chat.PublishBansChanged:
		g.bans.changes.Add(1)
		if pub.UserID == "" {
			return
		}
		for _, r := range g.roomsOf(pub.Subject) {
			r.each(func(s *session) {
				if s.core.UserID == pub.UserID {
					s.ban(pub.Reason)
				}
			})
		}
	}
}

// roomsOf are the rooms that a ban is about: one, or those of a scope.
func (g *Gateway) roomsOf(place chat.ARN) []*room {
	g.mu.Lock()
	defer g.mu.Unlock()
	if place.Kind == chat.KindRoom {
		if r := g.rooms[place]; r != nil {
			return []*room{r}
		}
		return nil
	}
	var rooms []*room
	for arn, r := range g.rooms {
		if arn.Scope == place.Scope {
			rooms = append(rooms, r)
		}
	}
	return rooms
}

// ban ends a session cleanly, which keeps the SDKs away.
func (s *session) ban(reason string) {
	last := appendClose(nil, ws.StatusGoingAway, chat.TruncateReason(reason, maxCloseReason))
	s.end(&ending{at: s.log.end.Load(), last: last, waits: true, cause: causeBanned})
}

// bannedMeanwhile ends a session whose user was banned since its token was looked at.
// What cannot be found out is in doubt.
func (g *Gateway) bannedMeanwhile(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), banPatience)
	defer cancel()
	reason, banned, err := g.service.Banned(ctx, s.room.arn, s.core.UserID)
	if err != nil {
		g.DoubtBans()
	}
	if banned {
		s.ban(reason)
	}
}

// DoubtBans has everybody looked at who is here: this node may not have heard of a ban.
func (g *Gateway) DoubtBans() {
	g.bans.changes.Add(1)
	select {
	case g.bans.doubt <- struct{}{}:
	default: // it is asked for already
	}
}

// recheckBans ends, whenever that is in doubt, the sessions of users who are banned.
func (g *Gateway) recheckBans(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.bans.doubt:
		}
		g.mu.Lock()
		rooms := make([]*room, 0, len(g.rooms))
		for _, r := range g.rooms {
			rooms = append(rooms, r)
		}
		g.mu.Unlock()
		for _, r := range rooms {
			for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
				err := g.recheckBansOf(ctx, r)
				if err == nil {
					break
				}
				if pause == time.Second {
					g.logger.Error("look for sessions of banned users", "room", r.arn.String(), "error", err)
				}
				if !sleep(ctx, pause) {
					return
				}
			}
		}
	}
}

func (g *Gateway) recheckBansOf(ctx context.Context, r *room) error {
	ctx, cancel := context.WithTimeout(ctx, banPatience)
	defer cancel()
	banned, err := g.service.BannedAmong(ctx, r.arn, func(yield func(string) bool) {
		more := true
		r.each(func(s *session) { more = more && yield(s.core.UserID) })
	})
	if err != nil || len(banned) == 0 {
		return err
	}
	r.each(func(s *session) {
		if reason, is := banned[s.core.UserID]; is {
			s.ban(reason)
		}
	})
	return nil
}
