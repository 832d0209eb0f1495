package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"parlor/internal/chat"
)

const (
	// mostNews is how many users' coming and going is remembered until it is shown; of
	// others it is only known how many there were.
	mostNews = 1000
	// mostNamed is how many of them an answer names, each way.
	mostNamed = 2 * chat.PresenceNames
	// tellTime is how long who is asked to show something has for that.
	tellTime = 5 * time.Second
)

// attendances are who is in the rooms of a node that is alone.
type attendances struct {
	mu    sync.Mutex
	rooms map[chat.ARN]*attendance
}

// attendance is who is in a room. It is owned by attendances.mu.
type attendance struct {
	sessions map[string]attendee
	users    map[string][]string // their sessions
	ended    map[string]bool     // sessions that are one too many, and have not gone
	news     map[string]bool     // users who came (true) and went since what was shown
	more     int                 // and how many beside these
	version  uint64              // of who is there; of an earlier time, a lower one
	told     uint64              // the version that was shown last
	changed  bool                // since version
	last     time.Time           // when something was last shown
}

type attendee struct {
	user string
	at   time.Time
}

// Attend implements [chat.Broker].
func (l *Local) Attend(ctx context.Context, room chat.ARN, share chat.Share) (chat.Standing, error) {
	if err := ctx.Err(); err != nil {
		return chat.Standing{}, err
	}
	return l.attendances.attend(room, share), nil
}

func (as *attendances) attend(room chat.ARN, share chat.Share) chat.Standing {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.rooms[room]
	if a == nil && !share.Anew {
		return chat.Standing{Unknown: true}
	}
	if a == nil {
		a = &attendance{sessions: map[string]attendee{}, users: map[string][]string{}, ended: map[string]bool{}, news: map[string]bool{}}
	}
	now := time.Now()
	if share.Anew {
		for session := range a.sessions {
			a.remove(session, share.Presence)
		}
	}
	for _, session := range share.Went {
		a.remove(session, share.Presence)
	}
	for _, who := range share.Came {
		a.add(who, now, share.Attendance)
	}
	if a.changed {
		a.version, a.changed = max(a.version+1, uint64(now.UnixMicro())), false
	}
	if len(a.sessions) == 0 {
		delete(as.rooms, room)
		return chat.Standing{}
	}
	if as.rooms == nil {
		as.rooms = map[chat.ARN]*attendance{}
	}
	as.rooms[room] = a
	a.told = max(a.told, share.Told)
	s := chat.Standing{Users: len(a.users), Connections: len(a.sessions), Own: len(a.sessions), Ended: slices.Sorted(maps.Keys(a.ended))}
	if share.Presence != chat.PresenceNone && !share.Partial && a.version != a.told {
		a.tell(&s, now)
	}
	return s
}

// tell has the caller show what there is, unless something has just been shown.
func (a *attendance) tell(s *chat.Standing, now time.Time) {
	if s.Wait = a.last.Add(chat.PresencePause).Sub(now); s.Wait > 0 {
		return
	}
	s.Wait, s.Version, s.More, a.more, a.last = 0, a.version, a.more, 0, now
	for _, user := range slices.Sorted(maps.Keys(a.news)) {
		list := &s.Left
		if a.news[user] {
			list = &s.Joined
		}
		if len(*list) == mostNamed {
			s.More++
			continue
		}
		*list = append(*list, user)
	}
	clear(a.news)
}

func (a *attendance) add(who chat.Attendee, now time.Time, wanted chat.Attendance) {
	if _, there := a.sessions[who.Session]; there {
		return
	}
	a.changed = true
	a.sessions[who.Session] = attendee{who.User, now.Add(-who.Age)}
	a.users[who.User] = append(a.users[who.User], who.Session)
	if len(a.users[who.User]) == 1 {
		a.note(who.User, true, wanted.Presence)
	}
	if wanted.Most > 0 {
		a.trim(who.User, wanted.Most)
	}
}

// trim marks the oldest sessions of a user, but for as many as there may be.
func (a *attendance) trim(user string, most int) {
	stay := slices.DeleteFunc(slices.Clone(a.users[user]), func(session string) bool { return a.ended[session] })
	if len(stay) <= most {
		return
	}
	slices.SortFunc(stay, func(x, y string) int {
		return cmp.Or(a.sessions[x].at.Compare(a.sessions[y].at), cmp.Compare(x, y))
	})
	for _, session := range stay[:len(stay)-most] {
		a.ended[session] = true
	}
}

func (a *attendance) remove(session string, p chat.Presence) {
	who, there := a.sessions[session]
	if !there {
		return
	}
	a.changed = true
	delete(a.sessions, session)
	delete(a.ended, session)
	left := a.users[who.user]
	left = slices.Delete(left, slices.Index(left, session), slices.Index(left, session)+1)
	if a.users[who.user] = left; len(left) == 0 {
		delete(a.users, who.user)
		a.note(who.user, false, p)
	}
}

// note remembers who came or went. Who does both has done nothing.
func (a *attendance) note(user string, came bool, p chat.Presence) {
	had, noted := a.news[user]
	switch {
	case p != chat.PresenceList:
	case noted && had != came:
		delete(a.news, user)
	case noted:
	case len(a.news) < mostNews:
		a.news[user] = came
	default:
		a.more++
	}
}
