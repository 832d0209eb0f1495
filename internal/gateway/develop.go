package gateway

import (
	"context"
	"time"

	"parlor/internal/chat"
)

// What a server of development does to sessions, so that teams can try what their clients
// make of it. Nobody else calls it.

// Break breaks the connections of the sessions that are picked, as a network does, and
// returns how many those were: clients connect again.
func (g *Gateway) Break(pick func(room chat.ARN, user string) bool) int {
	return g.pick(pick, func(s *session) bool {
		ended := s.closed.Load() == nil
		s.drop(causeFault)
		return ended
	})
}

// Expire ends the sessions that are picked as if their time were over, and returns how many
// those were: clients fetch a new token and connect again.
func (g *Gateway) Expire(pick func(room chat.ARN, user string) bool) int {
	return g.pick(pick, func(s *session) bool {
		ended := s.ending.Load() == nil
		s.expire("")
		return ended
	})
}

// pick does something to the sessions that are picked, and counts for how many it did.
func (g *Gateway) pick(pick func(room chat.ARN, user string) bool, do func(*session) bool) (n int) {
	for _, s := range g.sessions() {
		if pick(*s.core.Room, s.core.UserID) && do(s) {
			n++
		}
	}
	return n
}

// actingGrace is how long EndRooms waits for requests of the sessions that it ends.
const actingGrace = 100 * time.Millisecond

// EndRooms ends the sessions of all rooms as if these had been deleted, and returns how
// many those were. The store was emptied, and what was remembered of it forgotten. Who
// comes from now on finds no room, or a new one of the same ARN; who was on the way in with
// a token from before is refused. Requests that were being carried out are through when it
// returns, or ctx ended, or they take more than 100 ms: what is under review then is
// not shown.
func (g *Gateway) EndRooms(ctx context.Context) (sessions int) {
	g.generation.Add(1)
	g.mu.Lock()
	rooms := g.rooms
	g.rooms = map[chat.ARN]*room{}
	for _, r := range rooms {
		g.former[r] = true
	}
	g.mu.Unlock()
	var ended []*session
	for _, r := range rooms {
		r.mu.Lock()
		r.markDeleted()
		r.mu.Unlock()
		r.each(func(s *session) {
			s.wake()
			sessions++
			ended = append(ended, s)
		})
	}
	until := time.Now().Add(actingGrace)
	for _, s := range ended {
		for s.has(acting) && time.Now().Before(until) && sleep(ctx, time.Millisecond) {
		}
	}
	return sessions
}
