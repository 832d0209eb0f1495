package gateway

import "parlor/internal/chat"

// maxFirst bounds the sessions that are tried for the first delivery.
const maxFirst = 64

// first sees to the first delivery of a publication of which times are kept: it writes
// to one session after the other until one has it whole, before the others get it, in
// whichever way they do. One whose socket takes nothing, or that is being written to,
// has it later; where all are so, when the first had it is not known.
func (r *room) first(pub *chat.Publication) {
	span := r.gateway.service.FirstDelivery(pub)
	if span == nil || pub.Frame == nil {
		return
	}
	r.mu.Lock()
	applied := byPosition(pub.Position, r.at) <= 0
	r.mu.Unlock()
	if !applied {
		return // something before it is missing: it is shown later, and not by us
	}
	tried := 0
	for i := range r.shards {
		seats := r.shards[i].all()
		for j := range seats {
			s := seats[j].Load()
			if s == nil {
				continue
			}
			if s.gets(pub) {
				span.End(nil)
				return
			}
			if tried++; tried == maxFirst {
				return
			}
		}
	}
}

// gets writes to a session and reports whether it has a publication that was applied.
func (s *session) gets(pub *chat.Publication) bool {
	end := s.log.end.Load() // that of the publication, or of one after it
	s.wake()
	return s.sent.Load() >= end && s.opened < pub.Accepted.UnixNano() // who came since need not have it
}
