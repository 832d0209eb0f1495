package gateway

// sender writes to many sockets at once. It is for one caller at a time.
type sender interface {
	// send does what it can of each send without waiting for a client, and says in n
	// how much that was. It reports whether the sender can be used again; if so, nothing
	// is under way when it returns.
	send([]send) bool
	// close returns when nothing is under way.
	close()
}

// send is what is to be written to one session. It holds the session's writer flag,
// keeps its descriptor pinned, and keeps the chunk alive.
type send struct {
	session *session
	b       []byte
	n       int // bytes that the socket took: all, a part, or none where it is full or the connection over; or outcomeUnknown
}

// outcomeUnknown is of a send of which nobody can say what the socket took.
const outcomeUnknown = -1

// settle accounts for a send that is over, and goes on where that was not all that
// there is to write.
func (o *send) settle(t *tally, now int64) {
	s := o.session
	s.unpin()
	if o.n == outcomeUnknown { // nothing that could be written now would be right
		s.drop(causeClient)
		return
	}
	s.wrote(t, o.n, now)
	// Nearly always that is all. Whoever has more for the session from now on either
	// finds the writer flag taken, and says so in it, or has the worker come again.
	if s.log.since(s.cursor.position()) == 0 && s.ending.Load() == nil && s.writing.CompareAndSwap(busy, idle) {
		return
	}
	s.write(t, false)
}
