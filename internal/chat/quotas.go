package chat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Quotas bound what one account may use in one region. A zero is no limit.
//
// IVS: service-quotas
type Quotas struct {
	Rooms                 int
	LoggingConfigurations int
	Connections           int // concurrent

	// A second, over all rooms; requests of the API and of connections together.
	SendMessage    int
	DeleteMessage  int
	DisconnectUser int

	// Requests are control-plane requests a second, by operation.
	Requests map[string]int
}

// AWSQuotas are the quotas that an AWS account has by default.
func AWSQuotas() Quotas {
	return Quotas{
		Rooms:                 50_000,
		LoggingConfigurations: 10,
		Connections:           50_000,
		SendMessage:           1_000,
		DeleteMessage:         100,
		DisconnectUser:        100,
		Requests: map[string]int{
			"CreateChatToken": 200,
			"DeleteMessage":   100, "DisconnectUser": 100, "SendEvent": 100,
			"CreateLoggingConfiguration": 3, "DeleteLoggingConfiguration": 3, "GetLoggingConfiguration": 3,
			"ListLoggingConfigurations": 3, "UpdateLoggingConfiguration": 3,
			"CreateRoom": 5, "DeleteRoom": 5, "GetRoom": 5, "ListRooms": 5, "UpdateRoom": 5,
			"ListTagsForResource": 10, "TagResource": 10, "UntagResource": 10,
		},
	}
}

// limits are the quotas, and what this node has of them: it borrows requests from the
// broker some at a time, and reserves connections. So nothing is above a quota that all
// nodes share, and what another node has and does not use is at most a slice.
type limits struct {
	quotas Quotas
	broker Broker

	mu          sync.Mutex
	rates       map[rateKey]*loan
	swept       time.Time // when loans that are over were last forgotten
	connections map[Scope]*share
}

type rateKey struct {
	scope Scope
	what  string
}

// loan is what is left of a slice of a rate.
type loan struct {
	asking sync.Mutex // held while the broker is asked, before limits.mu

	// Owned by limits.mu.
	left  int
	until time.Time
}

// share is this node's part of a quota of connections.
type share struct {
	asking sync.Mutex // held while the broker is asked, before limits.mu

	// Owned by limits.mu.
	used, reserved int
	pins           int // those who look at it
}

const (
	// loanLife is how long what was borrowed may be used.
	loanLife = 100 * time.Millisecond
	// loansPerSecond divides a rate into slices.
	loansPerSecond = 10
)

func newLimits(q Quotas, b Broker) *limits {
	return &limits{quotas: q, broker: b, rates: map[rateKey]*loan{}, connections: map[Scope]*share{}}
}

// take takes one of perSecond in the scope, unless that is over the limit.
func (l *limits) take(ctx context.Context, scope Scope, what string, perSecond int, about ARN) error {
	if perSecond == 0 {
		return nil
	}
	loan := l.loan(rateKey{scope, what})
	if l.use(loan) {
		return nil
	}
	loan.asking.Lock()
	defer loan.asking.Unlock()
	if l.use(loan) { // somebody else asked meanwhile
		return nil
	}
	asked := time.Now()
	n, err := l.broker.Borrow(ctx, scope, what, perSecond, max(1, perSecond/loansPerSecond))
	if err != nil {
		return fmt.Errorf("ask for %s of %s: %w", what, scope.Account, err)
	}
	if n == 0 {
		return RateLimitExceeded(about, perSecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	loan.left, loan.until = n-1, asked.Add(loanLife)
	return nil
}

func (l *limits) loan(key rateKey) *loan {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.swept) > time.Second {
		l.swept = now
		maps.DeleteFunc(l.rates, func(_ rateKey, l *loan) bool { return l.until.Before(now) })
	}
	found := l.rates[key]
	if found == nil {
		found = &loan{}
		l.rates[key] = found
	}
	return found
}

// use takes one of a loan, if there is one.
func (l *limits) use(loan *loan) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if loan.left == 0 || time.Now().After(loan.until) {
		return false
	}
	loan.left--
	return true
}

// messages are the publications that rooms have a rate for.
const messages = "messages"

// publish takes what a publication costs.
func (l *limits) publish(ctx context.Context, kind PublicationKind, room ARN) error {
	switch kind {
	case PublishMessage:
		return l.take(ctx, room.Scope, messages, l.quotas.SendMessage, room)
	case PublishDelete:
		return l.take(ctx, room.Scope, "deletes", l.quotas.DeleteMessage, room)
	case PublishDisconnect:
		return l.take(ctx, room.Scope, "disconnects", l.quotas.DisconnectUser, room)
	}
	return nil
}

// refused gives back what publish took for a message over its room's rate: who floods one
// room takes nothing from the others.
func (l *limits) refused(room ARN) {
	if l.quotas.SendMessage == 0 {
		return
	}
	loan := l.loan(rateKey{room.Scope, messages})
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); loan.until.Before(now) {
		loan.left, loan.until = 0, now.Add(time.Second) // as long as a bucket takes to fill
	}
	loan.left++
}

// TakeRequest counts a control-plane request; one over the rate of its operation is
// TooManyRequests.
func (s *Service) TakeRequest(ctx context.Context, scope Scope, operation string) error {
	return s.limits.take(ctx, scope, operation, s.limits.quotas.Requests[operation], ARN{})
}

// slice is how many connections are reserved beyond those there are. A small quota is
// exact.
func (l *limits) slice() int { return min(max(1, l.quotas.Connections/1000), 64) }

// connect counts a connection, unless that is over the quota.
func (l *limits) connect(ctx context.Context, scope Scope) error {
	if l.quotas.Connections == 0 {
		return nil
	}
	s := l.share(scope)
	defer l.unpin(s)
	if l.seat(s) {
		return nil
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	if l.seat(s) {
		return nil
	}
	if err := l.reserve(ctx, scope, s, l.slice()); err != nil {
		return err
	}
	if !l.seat(s) {
		return &Error{Code: TooManyRequests, Message: "The quota of concurrent connections is exceeded.", Limit: l.quotas.Connections}
	}
	return nil
}

// reserve asks for as many connections as there are and some more. s.asking is held.
func (l *limits) reserve(ctx context.Context, scope Scope, s *share, more int) error {
	l.mu.Lock()
	n := s.used + more
	s.reserved = min(s.reserved, n) // what is about to be given back is not used meanwhile
	l.mu.Unlock()
	got, err := l.broker.Reserve(ctx, scope, n, l.quotas.Connections)
	if err != nil {
		return fmt.Errorf("ask for connections of %s: %w", scope.Account, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.reserved = got
	return nil
}

// share returns the share of a scope, which stays until unpin.
func (l *limits) share(scope Scope) *share {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.connections[scope]
	if s == nil {
		s = &share{}
		l.connections[scope] = s
	}
	s.pins++
	return s
}

func (l *limits) unpin(s *share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.pins--
}

func (l *limits) seat(s *share) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.used >= s.reserved {
		return false
	}
	s.used++
	return true
}

// disconnect gives a connection back.
func (l *limits) disconnect(scope Scope) {
	if l.quotas.Connections == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connections[scope].used--
}

// Renew reserves anew what this node has of the quotas of connections, and gives up what
// it does not use. It is to be called a few times within [ShareLife].
func (s *Service) Renew(ctx context.Context) error {
	l := s.limits
	l.mu.Lock()
	shares := maps.Clone(l.connections)
	l.mu.Unlock()
	var errs []error
	for scope, s := range shares {
		s.asking.Lock()
		errs = append(errs, l.renew(ctx, scope, s))
		s.asking.Unlock()
	}
	return errors.Join(errs...)
}

// renew renews one share, and forgets one that is not used. s.asking is held.
func (l *limits) renew(ctx context.Context, scope Scope, s *share) error {
	l.mu.Lock()
	unused := s.used+s.pins == 0
	if unused {
		delete(l.connections, scope)
	}
	l.mu.Unlock()
	if !unused {
		return l.reserve(ctx, scope, s, l.slice()-1) // of a small quota nothing is kept back
	}
	_, err := l.broker.Reserve(ctx, scope, 0, l.quotas.Connections)
	return err
}
