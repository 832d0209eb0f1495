package broker

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parlor/internal/chat"
)

const (
	// maxEarly bounds what a room holds back while it is brought up to date.
	maxEarly = 4 * maxLog
	// maxRecent is how many Ids of what was delivered last are remembered, to know again
	// what is offered once more.
	maxRecent = maxLog
)

// room is what this node knows of a room that it is subscribed to: it puts what comes
// from the link, and in answers, into one order, and delivers each publication once.
type room struct {
	arn  chat.ARN
	keys keys

	subscribers int           // owned by Redis.mu
	ready       chan struct{} // closed when live

	catching atomic.Bool // somebody asks what is lacking

	mu     sync.Mutex
	live   bool          // at is known
	over   bool          // nobody is subscribed any more: nothing is delivered
	at     chat.Position // of what was delivered last
	early  []entry       // what came before its turn
	recent []string      // Ids of what was delivered, a circle
	next   int           // in recent
	lost   uint64        // what is known to be missing
}

// position is where the room is, for scripts: epoch and number, and whether this node
// wants what it lacks.
func (r *room) position() (at chat.Position, there bool) {
	if r == nil {
		return chat.Position{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.live
}

// goLive begins at a position, unless the room is live already.
func (r *room) goLive(at chat.Position) (deliver []*chat.Publication, behind bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.live {
		r.live, r.at = true, at
		close(r.ready)
	}
	if r.over {
		return nil, false
	}
	return r.takeEarly(nil)
}

// take takes entries in the order of the log, and returns those whose turn has come. With
// behind, something is missing that the log may have.
func (r *room) take(entries []entry) (deliver []*chat.Publication, behind bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, false
	}
	for _, e := range entries {
		deliver = r.one(deliver, e)
	}
	return r.takeEarly(deliver)
}

// end has the room deliver nothing more: what is still to come is for the one after it, if
// there is one, which began at another position.
func (r *room) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.early = true, nil
}

// catchUp takes an answer about what this node lacks, up to a position. What is neither in
// it nor was brought by the link is lost: there is nobody else to ask.
func (r *room) catchUp(at chat.Position, entries []entry) (deliver []*chat.Publication, behind bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.live || r.over {
		return nil, false // it will be live from a later position on
	}
	if len(r.early) > 0 {
		entries = append(slices.Clip(entries), r.early...)
		r.early = nil
		slices.SortStableFunc(entries, func(a, b entry) int { return byPosition(a.at, b.at) })
	}
	for _, e := range entries {
		if byPosition(e.at, at) > 0 && r.after(at) {
			deliver = r.gap(deliver, at)
		}
		if byPosition(e.at, at) <= 0 && r.after(e.at) && !r.follows(e.at) {
			deliver = r.gap(deliver, chat.Position{Epoch: e.at.Epoch, Number: e.at.Number - 1})
		}
		deliver = r.one(deliver, e)
	}
	if r.after(at) {
		deliver = r.gap(deliver, at)
	}
	return r.takeEarly(deliver)
}

// byPosition orders positions.
func byPosition(a, b chat.Position) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Number, b.Number))
}

// after reports whether a position is after that of what was delivered last.
func (r *room) after(at chat.Position) bool {
	return byPosition(at, r.at) > 0
}

// follows reports whether nothing can be between. The end of an epoch is not known to
// who was not told, and there may have been one before that nothing else is known of.
func (r *room) follows(at chat.Position) bool {
	if r.at.Epoch == 0 {
		return at.Number == 1 && !slices.ContainsFunc(r.early, func(e entry) bool { return e.at.Epoch < at.Epoch })
	}
	return at.Number == r.at.Number+1 && at.Epoch == r.at.Epoch
}

// one takes an entry: it is delivered, held back, or was here before.
func (r *room) one(deliver []*chat.Publication, e entry) []*chat.Publication {
	switch {
	case r.live && !r.after(e.at):
		return deliver
	case !r.live || !r.follows(e.at):
		if len(r.early) < maxEarly {
			r.early = append(r.early, e)
		}
		return deliver
	}
	r.at = e.at
	if e.again && r.knows(e.pub.ID) {
		return append(deliver, &chat.Publication{Room: r.arn, Kind: chat.PublishNothing, Position: e.at})
	}
	r.remember(e.pub.ID)
	return append(deliver, e.pub)
}

// gap goes on after what is lost.
func (r *room) gap(deliver []*chat.Publication, at chat.Position) []*chat.Publication {
	if at.Epoch == r.at.Epoch {
		r.lost += at.Number - r.at.Number
	} else {
		r.lost += at.Number
	}
	deliver = append(deliver, &chat.Publication{Room: r.arn, Kind: chat.PublishGap, After: r.at, Position: at})
	r.at = at
	return deliver
}

// takeEarly takes of what was held back what has its turn.
func (r *room) takeEarly(deliver []*chat.Publication) (_ []*chat.Publication, behind bool) {
	for again := true; again && len(r.early) > 0; {
		again = false
		early := r.early
		r.early = nil
		for _, e := range early {
			before := len(deliver)
			deliver = r.one(deliver, e)
			again = again || len(deliver) > before
		}
	}
	return deliver, r.live && len(r.early) > 0
}

// had reports whether a position is not after that of what was delivered last.
func (r *room) had(at chat.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live && !r.after(at)
}

// takeLost returns how many publications have been found missing since it was last asked.
func (r *room) takeLost() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := r.lost
	r.lost = 0
	return lost
}

func (r *room) knows(id string) bool {
	for _, known := range r.recent {
		if known == id {
			return true
		}
	}
	return false
}

func (r *room) remember(id string) {
	if len(r.recent) < maxRecent {
		r.recent = append(r.recent, id)
		return
	}
	r.recent[r.next] = id
	r.next = (r.next + 1) % maxRecent
}

// offer is a publication of this node's of which the broker may have lost the memory.
type offer struct {
	room      chat.ARN
	at        chat.Position
	keys      keys
	id        string
	payload   string
	published time.Time
}

// offers are the publications of the last offersKept.
type offers struct {
	mu    sync.Mutex
	queue []offer
	first int // those before are over
	bytes int
	from  time.Time // those from then on are kept; zero: those of the last offersKept are
}

const (
	// offerTime is how far back a node offers again what it published, when the broker
	// has been away.
	offerTime = 5 * time.Second
	// offersKept is how long a publication may be offered again: as far back, from when
	// at the latest it is noticed that the broker was away.
	offersKept = offerTime + linkCheck + tryTime
	// maxOffers bounds their memory, in bytes.
	maxOffers = 32 << 20
)

func (o *offers) add(f offer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.first < len(o.queue) && (o.over(o.queue[o.first], f.published) || o.bytes > maxOffers) {
		o.bytes -= len(o.queue[o.first].payload)
		o.queue[o.first] = offer{}
		o.first++
	}
	if o.first > len(o.queue)/2 {
		kept := copy(o.queue, o.queue[o.first:])
		clear(o.queue[kept:])
		o.queue, o.first = o.queue[:kept], 0
	}
	o.queue = append(o.queue, f)
	o.bytes += len(f.payload)
}

// over reports whether an offer need not be kept.
func (o *offers) over(f offer, now time.Time) bool {
	if !o.from.IsZero() {
		return f.published.Before(o.from)
	}
	return now.Sub(f.published) > offersKept
}

// hold keeps what was published from a moment on until it is asked for: of a cluster, some
// servers may be away for long while others take more.
func (o *offers) hold(from time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from = from
}

// since returns those that were published after a moment, and holds none any more.
func (o *offers) since(moment time.Time) []offer {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from = time.Time{}
	var found []offer
	for _, f := range o.queue[o.first:] {
		if f.published.After(moment) {
			found = append(found, f)
		}
	}
	return found
}
