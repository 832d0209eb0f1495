package gateway

import (
	"cmp"
	"maps"
	"slices"

	"parlor/internal/chat"
)

const (
	// mostRooms is how many rooms Describe picks where none are asked for.
	mostRooms = 100
	// mostUsers is how many users of a room it names.
	mostUsers = 1000
	// mostSeats bounds the sessions that it looks at, over all rooms.
	mostSeats = 100_000
)

// RoomState is what a room has on this node.
type RoomState struct {
	ARN         chat.ARN
	Connections int
	Messages    uint64 // since its first session of now came
	Users       []UserState
}

// UserState is a user in a room.
type UserState struct {
	UserID      string
	Connections int
}

// Describe returns the state of rooms of a scope: of those asked for, in their order and
// whether they exist or not, but for those of another scope; or if asked is nil, of the
// 100 that have the most connections, most first. With users, each has its users by UserID, at most 1,000. No more
// than 100,000 sessions are looked at for that: those beyond are left out.
//
// It may be called at any time, and keeps a room's publications waiting for no longer
// than two numbers take to read.
func (g *Gateway) Describe(scope chat.Scope, asked []chat.ARN, users bool) []RoomState {
	var states []RoomState
	if asked == nil {
		states = g.largest(scope)
	}
	for _, arn := range asked {
		if arn.Scope == scope {
			states = append(states, RoomState{ARN: arn})
		}
	}
	left := mostSeats
	for i := range states {
		g.mu.Lock()
		r := g.rooms[states[i].ARN]
		g.mu.Unlock()
		if r == nil {
			continue
		}
		states[i].Connections, states[i].Messages = r.counts()
		if users {
			states[i].Users = r.usersOf(&left)
		}
	}
	return states
}

// largest are the rooms of a scope that have the most connections.
func (g *Gateway) largest(scope chat.Scope) []RoomState {
	var rooms []*room
	g.mu.Lock()
	for arn, r := range g.rooms {
		if arn.Scope == scope {
			rooms = append(rooms, r)
		}
	}
	g.mu.Unlock()
	states := make([]RoomState, 0, len(rooms))
	for _, r := range rooms {
		connections, _ := r.counts()
		states = append(states, RoomState{ARN: r.arn, Connections: connections})
	}
	slices.SortFunc(states, func(a, b RoomState) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.ARN.ID, b.ARN.ID))
	})
	return states[:min(len(states), mostRooms)]
}

// counts are how many sessions there are, and how many messages there were.
func (r *room) counts() (sessions int, messages uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions, r.messages
}

// usersOf counts the sessions of each user, looking at no more than are left.
func (r *room) usersOf(left *int) []UserState {
	connections := map[string]int{}
	r.each(func(s *session) {
		if *left > 0 {
			*left--
			connections[s.core.UserID]++
		}
	})
	ids := slices.Sorted(maps.Keys(connections))
	users := make([]UserState, 0, min(len(ids), mostUsers))
	for _, id := range ids[:min(len(ids), mostUsers)] {
		users = append(users, UserState{UserID: id, Connections: connections[id]})
	}
	return users
}
