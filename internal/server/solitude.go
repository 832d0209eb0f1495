package server

import "time"

// solitude is how long a node has been without its broker while another has one. When all
// are without, nobody's clients are better off elsewhere; and when it comes back to them,
// some are a moment later than others.
type solitude struct{ since time.Time } // zero: the node is not alone

// lasts takes what there is to see now, and reports whether the node has been alone for
// longer than aloneTime.
func (s *solitude) lasts(well, othersWell bool, now time.Time) bool {
	switch {
	case well || !othersWell:
		s.since = time.Time{}
		return false
	case s.since.IsZero():
		s.since = now
	}
	return now.Sub(s.since) > aloneTime
}
