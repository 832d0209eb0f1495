package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

const (
	// attendTick is how often is looked who came and went, in rooms that want that known.
	attendTick = 250 * time.Millisecond
	// attendRenewal is how often a share that did not change is told again.
	attendRenewal = chat.AttendanceLife / 3
	// attendBatch is how many sessions the broker is told of at once.
	attendBatch = 500
	// attendTime bounds what is done for a room at once.
	attendTime = 3 * time.Second
	// attendRooms is for how many rooms something is done at once.
	attendRooms = 8
)

// attendGrace is how old a session is, in rooms that bound those of a user, when it begins
// to count: a client whose connection broke is back before that is known at its node, and
// would have another one ended.
const attendGrace = time.Second

// tooManyReason is what the oldest connection of a user is ended with.
const tooManyReason = "The user has newer connections, as many as the room allows."

// attendance tells the broker who is in the rooms whose tags want that known, and does
// what then follows. Other rooms are in none of its maps, and cost nothing.
type attendance struct {
	gateway *Gateway
	wake    chan struct{}

	mu      sync.Mutex
	changed map[*room]bool // whose tags are to be read

	rooms map[chat.ARN]*attended // owned by run
}

// attended is a room that wants to know who is there. All but stirred is owned by whoever
// attends to it.
type attended struct {
	arn     chat.ARN
	wanted  chat.Attendance
	stirred atomic.Bool // somebody came or went, or something else is to be looked at

	places map[*room]bool    // of this ARN: after a reset one ends while another begins
	known  map[*session]bool // who the broker was told of
	anew   bool              // the broker is to be told of everybody
	told   uint64            // what was shown since the last call
	owed   bool              // something is to be shown soon, by whoever calls first
	due    time.Time         // of the next call, though nothing happens
}

func newAttendance(g *Gateway) *attendance {
	return &attendance{gateway: g, wake: make(chan struct{}, 1), changed: map[*room]bool{}, rooms: map[chat.ARN]*attended{}}
}

// note has the tags of a room read.
func (a *attendance) note(r *room) {
	a.mu.Lock()
	a.changed[r] = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// came says that somebody came to a room that wants that known.
func (a *attendance) came(r *room) {
	if r.attended.Load() == nil {
		a.note(r)
	}
}

// stir says that somebody came to a room or left it, if that is to be known.
func (r *room) stir() {
	if f := r.attended.Load(); f != nil {
		f.stirred.Store(true)
	}
}

// run attends to the rooms until ctx ends, and then gives up what the broker was told.
func (a *attendance) run(ctx context.Context) {
	ticker := time.NewTicker(attendTick)
	ticker.Stop()
	defer ticker.Stop()
	for ticking := false; ; {
		select {
		case <-ctx.Done():
			a.giveUp()
			return
		case <-a.wake:
		case <-ticker.C:
		}
		failed := a.readTags(ctx)
		a.attendAll(ctx)
		if wanted := failed || len(a.rooms) > 0; wanted != ticking {
			if ticking = wanted; ticking {
				ticker.Reset(attendTick)
			} else {
				ticker.Stop()
			}
		}
	}
}

// readTags reads the tags of the rooms where they may have changed. It reports whether
// some could not be read.
func (a *attendance) readTags(ctx context.Context) (failed bool) {
	a.mu.Lock()
	changed := a.changed
	a.changed = map[*room]bool{}
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, attendTime)
	defer cancel()
	for r := range changed {
		wanted, err := a.gateway.service.Attendance(ctx, r.arn)
		if err != nil && chat.AsError(err).Code != chat.NotFound {
			break // the store is away
		}
		a.want(r, wanted)
		delete(changed, r)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.changed, changed)
	return len(changed) > 0
}

// want attends to a room as its tags want.
func (a *attendance) want(r *room, wanted chat.Attendance) {
	f := a.rooms[r.arn]
	if f == nil {
		if !wanted.Wanted() {
			return
		}
		f = &attended{arn: r.arn, places: map[*room]bool{}, known: map[*session]bool{}, anew: true}
		a.rooms[r.arn] = f
	}
	f.places[r] = true
	if f.wanted != wanted {
		f.wanted, f.anew = wanted, true
	}
	r.attended.Store(f)
	f.stirred.Store(true)
}

// attendAll attends to the rooms where something is to be done.
func (a *attendance) attendAll(ctx context.Context) {
	if a.gateway.deaf.Load() { // the broker is away, and may come back as another
		for _, f := range a.rooms {
			f.anew, f.due = true, time.Time{}
		}
		return
	}
	now := time.Now()
	var attending sync.WaitGroup
	slots := make(chan struct{}, attendRooms)
	for arn, f := range a.rooms {
		if !f.stirred.Swap(false) && now.Before(f.due) {
			continue
		}
		if f.over() {
			delete(a.rooms, arn)
			continue
		}
		slots <- struct{}{}
		attending.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, attendTime)
			defer cancel()
			a.attend(ctx, f)
		})
	}
	attending.Wait()
}

// over reports whether there is nothing more to attend to, and then lets go of the room.
func (f *attended) over() bool {
	if f.wanted.Wanted() && len(f.places) > 0 || len(f.known) > 0 || f.told != 0 || f.owed {
		return false
	}
	for r := range f.places {
		r.attended.Store(nil)
	}
	return true
}

// attend tells the broker who came to a room and went, and does what it answers.
func (a *attendance) attend(ctx context.Context, f *attended) {
	s, err := a.tell(ctx, f)
	if err == nil && (s.Unknown || s.Own != len(f.known)) {
		f.anew = true
		s, err = a.tell(ctx, f)
	}
	if f.anew = err != nil || s.Unknown; f.anew {
		f.due = time.Now().Add(attendTick) // the broker is away, or forgets
		return
	}
	f.due, f.owed = time.Now().Add(attendRenewal), s.Wait > 0
	if f.owed {
		f.due = time.Now().Add(s.Wait)
	}
	f.end(s.Ended)
	if s.Elsewhere {
		a.gateway.service.StirAttendance(ctx, f.arn) // else they find out when they call next
	}
	if s.Version == 0 {
		return
	}
	err = a.gateway.service.ShowPresence(ctx, f.arn, f.wanted.Presence, s)
	if err == nil || errors.Is(err, chat.ErrUnknownOutcome) {
		f.told = s.Version
		f.stirred.Store(true) // that it was shown is said with the next call
	} else {
		f.owed, f.due = true, time.Now().Add(chat.PresencePause)
	}
}

// tell tells the broker what changed.
func (a *attendance) tell(ctx context.Context, f *attended) (s chat.Standing, err error) {
	there := a.sessions(f)
	share := chat.Share{Attendance: f.wanted, Anew: f.anew, Told: f.told}
	var came []chat.Attendee
	var went []string
	now := time.Now().UnixNano()
	for session := range there {
		if f.anew || !f.known[session] {
			age := time.Duration(max(now-session.opened, 0))
			came = append(came, chat.Attendee{Session: session.core.Token.String(), User: session.core.UserID, Age: age})
		}
	}
	for session := range f.known {
		if !f.anew && !there[session] {
			went = append(went, session.core.Token.String())
		}
	}
	elsewhere := false
	for more := true; more; {
		n, m := min(attendBatch, len(came)), min(attendBatch, len(went))
		share.Came, share.Went = came[:n], went[:m]
		came, went = came[n:], went[m:]
		more = len(came)+len(went) > 0
		share.Partial = more
		if s, err = a.gateway.service.Attend(ctx, f.arn, share); err != nil || s.Unknown {
			return s, err
		}
		elsewhere = elsewhere || s.Elsewhere
		share.Anew, share.Told = false, 0
	}
	s.Elsewhere = elsewhere
	f.known, f.told = there, 0
	return s, nil
}

// sessions are those that the broker is to know of.
func (a *attendance) sessions(f *attended) map[*session]bool {
	there := make(map[*session]bool, len(f.known))
	if !f.wanted.Wanted() {
		return there
	}
	now := time.Now().UnixNano()
	for r := range f.places {
		if !a.holds(r) {
			delete(f.places, r) // nobody comes there any more
		}
		r.each(func(s *session) {
			if f.wanted.Most > 0 && time.Duration(now-s.opened) < attendGrace && s.opened <= now {
				f.stirred.Store(true)
				return
			}
			there[s] = true
		})
	}
	return there
}

// holds reports whether the room is there for who comes, or has sessions yet.
func (a *attendance) holds(r *room) bool {
	g := a.gateway
	g.mu.Lock()
	defer g.mu.Unlock()
	return r.users > 0
}

// end ends sessions whose users have newer ones.
func (f *attended) end(names []string) {
	if len(names) == 0 {
		return
	}
	last := appendClose(nil, ws.StatusGoingAway, tooManyReason)
	for s := range f.known {
		if s.ending.Load() == nil && slices.Contains(names, s.core.Token.String()) {
			s.end(&ending{at: s.log.end.Load(), last: last, waits: true, cause: causeTooMany})
		}
	}
}

// giveUp takes this node's shares back: its sessions are over.
func (a *attendance) giveUp() {
	ctx, cancel := context.WithTimeout(context.Background(), attendTime)
	defer cancel()
	for _, f := range a.rooms {
		if len(f.known) > 0 && !a.gateway.deaf.Load() {
			f.wanted, f.anew = chat.Attendance{}, true
			if _, err := a.tell(ctx, f); err != nil {
				return // they end by themselves
			}
		}
	}
}
