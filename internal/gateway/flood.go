package gateway

import (
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chat"
)

// A client pays for its requests by a rate (chat.RequestsPerSecond). What else it can
// send is paid for here, each kind by a budget that refills evenly; a client that
// overdraws one is ended with close 1008.
//
// Nobody who means no harm comes near. A client pings once in seconds, and those that
// piled up while a network stood still are dozens. What a program sends in one go
// over its rate is refused, with an ERROR for each, and leaves the connection as it
// was: hundreds at once, or twice the rate for ever. To be refused more often a
// client must go on without listening for many times as long as it would have taken
// to be heard.
const (
	// lightPerSecond is for control frames and for fragments of less than shortFragment
	// bytes: they belong to no request, or a request has thousands.
	lightPerSecond = 100
	// refusedPerSecond is for requests over a rate, which are read and parsed for their
	// RequestId all the same, and for those after the end; large ones cost more.
	refusedPerSecond = chat.RequestsPerSecond
	// floodBurst is how much of either may come at once.
	floodBurst = 500
	// shortFragment is a payload whose length takes the longer form of a header.
	shortFragment = 126
)

var errFlood = &protocolError{code: ws.StatusPolicyViolation, reason: "too many frames", cause: causeFlood}

// budget is a bucket of floodBurst that refills evenly. The zero budget is full.
type budget struct {
	free int64 // when it is full again, Unix nanoseconds
}

// spend takes n at now, and reports whether there were so many.
func (b *budget) spend(now, perSecond int64, n int) bool {
	interval := int64(time.Second) / perSecond
	if b.free-now > floodBurst*interval { // the clock was set back
		b.free = now
	}
	free := max(b.free, now) + int64(n)*interval
	if free-now > floodBurst*interval {
		return false
	}
	b.free = free
	return true
}

// bearRefused spends what a refused message of the given size costs: one for each
// read of it, which is one for any that was meant to be shown.
func (s *session) bearRefused(size int) bool {
	return s.refused.spend(s.heard.Load(), refusedPerSecond, 1+size/readBuffer)
}

// isLight reports whether a frame is paid for by the budget of light frames.
func isLight(h ws.Header) bool {
	return h.OpCode.IsControl() || h.Length < shortFragment && (!h.Fin || h.OpCode == ws.OpContinuation)
}
