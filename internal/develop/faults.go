package develop

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parlor/internal/chat"
)

// Targets of faults beside the operations of the control plane.
const (
	onAPI       = "api"       // every operation
	onActions   = "actions"   // every action of the messaging API
	onHandshake = "handshake" // of the messaging API
	onReview    = "review"    // questions to message review handlers
	onDelivery  = "delivery"  // messages and events on their way to sessions
)

var actions = []string{chat.ActionSendMessage, chat.ActionDeleteMessage, chat.ActionDisconnectUser}

// maxDelay bounds what a fault may take, over all that meet in one request.
const maxDelay = 20 * time.Second

// Fault is one fault, as it is asked for and listed.
type Fault struct {
	ID    string `json:"id,omitempty"`
	Fault string `json:"fault"`

	// Which requests or connections it is about; empty members are any.
	On   names  `json:"on,omitempty"`
	Room string `json:"room,omitempty"` // ARN or id
	User string `json:"user,omitempty"`

	Status       int    `json:"status,omitempty"`  // error
	Message      string `json:"message,omitempty"` // error
	Milliseconds int    `json:"milliseconds,omitempty"`
	Token        string `json:"token,omitempty"` // revoke

	// How long it lasts: as many requests, as long, each with this probability; without
	// them until it is cleared.
	Times       int     `json:"times,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
	Probability float64 `json:"probability,omitempty"`

	Met int `json:"met"` // how many requests met it
}

// names is a name, or a list of names.
type names []string

func (n *names) UnmarshalJSON(text []byte) error {
	var one string
	if err := json.Unmarshal(text, &one); err == nil {
		*n = names{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(text, &many)
	*n = many
	return err
}

// picks reports whether a fault is about a room and a user.
func (f *Fault) picks(room chat.ARN, user string) bool {
	return (f.Room == "" || f.Room == room.ID || f.Room == room.String()) && (f.User == "" || f.User == user)
}

// about reports whether a fault is about one of the targets.
func (f *Fault) about(targets ...string) bool {
	return slices.ContainsFunc(targets, func(t string) bool { return slices.Contains(f.On, t) })
}

// armed is a fault that waits for requests.
type armed struct {
	Fault
	left  int       // requests, of Times; owned by faults.mu
	until time.Time // zero: for ever
}

// faults are those that wait.
type faults struct {
	some atomic.Bool // whether there are any

	mu      sync.Mutex
	armed   []*armed
	cleared chan struct{} // closed when those of now are cleared: who waits goes on
	closed  bool
}

func newFaults() *faults { return &faults{cleared: make(chan struct{})} }

// add arms a fault, unless all is over.
func (f *faults) add(fault Fault) (listed Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &armed{Fault: fault, left: fault.Times}
	a.ID = chat.NewID()
	if fault.Seconds > 0 {
		a.until = time.Now().Add(time.Duration(fault.Seconds * float64(time.Second)))
	}
	if !f.closed {
		f.armed = append(f.armed, a)
		f.some.Store(true)
	}
	return a.Fault
}

// list is what is armed.
func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prune()
	all := make([]Fault, len(f.armed))
	for i, a := range f.armed {
		all[i] = a.Fault
		if a.Times > 0 {
			all[i].Times = a.left
		}
	}
	return all
}

// clear disarms all and ends all waiting. It returns how many there were.
func (f *faults) clear(last bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.armed)
	f.armed = nil
	f.some.Store(false)
	f.closed = f.closed || last
	close(f.cleared)
	f.cleared = make(chan struct{})
	return n
}

// prune drops those that are over. f.mu is held.
func (f *faults) prune() {
	now := time.Now()
	f.armed = slices.DeleteFunc(f.armed, func(a *armed) bool {
		return a.Times > 0 && a.left == 0 || !a.until.IsZero() && now.After(a.until)
	})
	f.some.Store(len(f.armed) > 0)
}

// about reports whether any fault is about one of the targets, and whether one of those
// asks for the room or the user.
func (f *faults) about(targets ...string) (some, picky bool) {
	if !f.some.Load() {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.armed {
		if a.about(targets...) {
			some = true
			picky = picky || a.Room != "" || a.User != ""
		}
	}
	return some, picky
}

// met is what becomes of a request.
type met struct {
	delay   time.Duration
	failure *Fault // nil: it does not fail
	cleared <-chan struct{}
}

// meet takes the faults that a request meets: all delays, and the first error.
func (f *faults) meet(room chat.ARN, user string, targets ...string) (m met) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prune()
	m.cleared = f.cleared
	for _, a := range f.armed {
		if !a.about(targets...) || !a.picks(room, user) || a.Fault.Fault == faultError && m.failure != nil {
			continue
		}
		if a.Probability > 0 && rand.Float64() >= a.Probability {
			continue
		}
		a.Met++
		if a.Times > 0 {
			a.left--
		}
		if a.Fault.Fault == faultDelay {
			m.delay += time.Duration(a.Milliseconds) * time.Millisecond
		} else {
			failure := a.Fault
			m.failure = &failure
		}
	}
	m.delay = min(m.delay, maxDelay)
	return m
}

// wait waits as long as the delay, but not beyond ctx or the end of the faults.
func (m met) wait(ctx context.Context) {
	if m.delay <= 0 {
		return
	}
	timer := time.NewTimer(m.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-m.cleared:
	}
}

// apiErrors are the errors that the control plane can be made to answer.
var apiErrors = map[int]string{
	http.StatusBadRequest:          "ValidationException",
	http.StatusPaymentRequired:     "ServiceQuotaExceededException",
	http.StatusForbidden:           "AccessDeniedException",
	http.StatusNotFound:            "ResourceNotFoundException",
	http.StatusConflict:            "ConflictException",
	http.StatusTooManyRequests:     "ThrottlingException",
	http.StatusInternalServerError: "InternalServerException",
	http.StatusServiceUnavailable:  "ServiceUnavailableException",
}

// actionErrors are those that an action can be made to fail with. 401 ends the session, as
// when its time is over.
var actionErrors = map[int]chat.Code{
	http.StatusBadRequest:            chat.BadRequest,
	http.StatusForbidden:             chat.Forbidden,
	http.StatusUnauthorized:          chat.Unauthorized,
	http.StatusNotFound:              chat.NotFound,
	http.StatusNotAcceptable:         chat.NotAcceptable,
	http.StatusRequestEntityTooLarge: chat.TooLarge,
	http.StatusTooManyRequests:       chat.TooManyRequests,
	http.StatusInternalServerError:   chat.Internal,
}

// handshakeErrors are the statuses that a handshake can be refused with.
var handshakeErrors = map[int]string{
	http.StatusBadRequest: "", http.StatusUnauthorized: "", http.StatusForbidden: "", http.StatusNotFound: "",
	http.StatusTooManyRequests: "", http.StatusInternalServerError: "", http.StatusServiceUnavailable: "",
}

// words is what a failure says.
func (f *Fault) words() string {
	if f.Message != "" {
		return f.Message
	}
	return "This error was asked for: " + http.StatusText(f.Status) + "."
}

// isAction reports whether a target is an action of the messaging API.
func isAction(target string) bool {
	return target == onActions || slices.Contains(actions, target)
}

// isOperation reports whether a target is of the control plane: an operation is named like
// CreateRoom.
func (t *Tools) isOperation(target string) bool {
	return target == onAPI || slices.Contains(t.operations, target)
}

// targets lists what there is, for people.
func (t *Tools) targets() string {
	return strings.Join(slices.Concat([]string{onAPI}, t.operations, []string{onActions}, actions, []string{onHandshake, onReview, onDelivery}), ", ")
}
