package chat

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Presence says which events tell who is in a room.
type Presence uint8

const (
	PresenceNone  Presence = iota // none
	PresenceCount                 // how many
	PresenceList                  // and who came and went
)

const (
	// eventPresence is shown when somebody came or went, at most once a second.
	eventPresence = "parlor:PRESENCE"
	// PresenceNames is how many user ids of who came, and of who went, an event has at most.
	PresenceNames = 50
	// presenceBytes is how long each of these two lists is at most, as JSON.
	presenceBytes = 2 << 10
	// PresencePause is the least time between two such events of a room.
	PresencePause = time.Second
	// AttendanceLife is how long a node's share of who is in a room counts after it was last
	// told: so long are the sessions of a dead node remembered.
	AttendanceLife = NodeSilence
	// MaxConnectionsPerUser is the highest value of the tag.
	MaxConnectionsPerUser = 100
)

// Attendance is what a room's tags want to be known of who is there.
type Attendance struct {
	Presence Presence
	Most     int // connections that a user may have; 0: any number
}

// Wanted reports whether anything is to be known.
func (a Attendance) Wanted() bool { return a != Attendance{} }

// Attendee is a session in a room.
type Attendee struct {
	Session string // its name
	User    string
	Age     time.Duration // since it came
}

// Share is what changed in a node's share of who is in a room.
type Share struct {
	Attendance
	Anew bool // what was told before does not count: Came are all there are
	Came []Attendee
	Went []string // sessions
	Told uint64   // the version of what this node has shown meanwhile, if it was asked to
	// Partial says that more follows at once: nothing is to be shown before.
	Partial bool
}

// Standing is who is in a room, over all nodes.
type Standing struct {
	// Unknown says that the broker has no share of this node, and took no change of it: it
	// must be told anew.
	Unknown bool
	// Version, unless 0, is to be shown by this node: nobody else does, for some seconds
	// or until it is Told.
	Version            uint64
	Users, Connections int
	// Own are the connections at this node, as the broker knows them: not those there are, if
	// it lost what it was told.
	Own int
	// With PresenceList: some of who came and went since what was shown before, and how
	// many did beside these. Who did both is in neither.
	Joined, Left []string
	More         int
	// Wait is when to ask again, since something is to be shown by then; 0: nothing is.
	Wait time.Duration
	// Ended are the sessions of this node that are to end: their users have newer ones, as
	// many as they may. They are named until they have gone.
	Ended []string
	// Elsewhere says that other nodes have got such sessions by this call.
	Elsewhere bool
}

func presenceOf(value string) (Presence, error) {
	switch value {
	case "count":
		return PresenceCount, nil
	case "list":
		return PresenceList, nil
	}
	return PresenceNone, fmt.Errorf("count or list")
}

func connectionsPerUser(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > MaxConnectionsPerUser || value != strconv.Itoa(n) {
		return 0, fmt.Errorf("a whole number between 1 and %d", MaxConnectionsPerUser)
	}
	return n, nil
}

// Attendance returns what a room's tags want to be known of who is there. It reads the
// store. The error is NotFound, or the store's.
func (s *Service) Attendance(ctx context.Context, arn ARN) (Attendance, error) {
	room, err := s.loadRoom(ctx, arn)
	return room.attendance(), err
}

func (r *Room) attendance() Attendance {
	if r.Extensions == nil {
		return Attendance{}
	}
	return r.Extensions.Attendance
}

// ShowPresence shows who is in a room. That is no record of what people did, so that it
// is not logged, and costs the account nothing of its quotas.
func (s *Service) ShowPresence(ctx context.Context, arn ARN, p Presence, now Standing) error {
	attributes := map[string]string{"Users": strconv.Itoa(now.Users), "Connections": strconv.Itoa(now.Connections)}
	if p == PresenceList {
		joined, unnamed := nameSome(now.Joined)
		left, unnamedLeft := nameSome(now.Left)
		attributes["Joined"], attributes["Left"] = joined, left
		if more := now.More + unnamed + unnamedLeft; more > 0 {
			attributes["More"] = strconv.Itoa(more)
		}
	}
	pub := &Publication{Room: arn, Kind: PublishEvent, ID: NewID(), Accepted: time.Now()}
	pub.Frame = appendEvent(nil, pub.ID, "", eventPresence, attributes, pub.Accepted)
	return s.publish(ctx, pub, 0)
}

// nameSome encodes as many user ids as an event has room for, and says how many are left.
func nameSome(users []string) (text string, left int) {
	b := []byte{'['}
	for i, user := range users {
		name := appendString(nil, user)
		if i == PresenceNames || len(b)+len(name)+2 > presenceBytes {
			return string(append(b, ']')), len(users) - i
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	return string(append(b, ']')), 0
}

// StirAttendance has the nodes look which of their sessions are to end.
func (s *Service) StirAttendance(ctx context.Context, arn ARN) error {
	return s.broker.Publish(ctx, &Publication{Room: arn, Kind: PublishAttendance, ID: NewID(), Accepted: time.Now()}, 0)
}

// Attend tells the broker of this node's share of who is in a room.
func (s *Service) Attend(ctx context.Context, arn ARN, share Share) (Standing, error) {
	return s.broker.Attend(ctx, arn, share)
}
