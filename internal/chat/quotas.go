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

// loan is what is left of a slice of a rate. It is owned by limits.mu.
type loan struct {
	asking *question // nil: nobody asks
	left   int
	until  time.Time
}

// share is this node's part of a quota of connections. It is owned by limits.mu.
type share struct {
	asking         *question // nil: nobody asks
	used, reserved int
	pins           int // those who look at it
}

// question is put to the broker by one for all who wait for the answer: while the broker
// is away they fail together, and not each after the other. It is not taken back when who
// put it goes away; the broker bounds how long it takes.
type question struct {
	answered chan struct{}
	none     bool  // then there was nothing left
	err      error // or nobody answered
}

// wait waits for the answer to somebody else's question.
func (q *question) wait(ctx context.Context) error {
	select {
	case <-q.answered:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask puts a question, with nobody else asking the same (*slot, owned by l.mu, which is
// held when ask is called and not when it returns).
func (l *limits) ask(slot **question, put func() (none bool, err error)) (none bool, err error) {
	q := &question{answered: make(chan struct{}), err: errUnanswered}
	*slot = q
	l.mu.Unlock()
	defer func() { // also where the broker panics
		l.mu.Lock()
		*slot = nil
		l.mu.Unlock()
		close(q.answered)
	}()
	q.none, q.err = put()
	return q.none, q.err
}

var errUnanswered = errors.New("the broker gave no answer")

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
	for {
		l.mu.Lock()
		loan := l.loan(rateKey{scope, what})
		if loan.use() {
			l.mu.Unlock()
			return nil
		}
		var none bool
		var err error
		if other := loan.asking; other != nil {
			l.mu.Unlock()
			err = other.wait(ctx)
			none = err == nil && other.none
		} else {
			var took bool
			none, err = l.ask(&loan.asking, func() (bool, error) {
				asked := time.Now()
				n, err := l.broker.Borrow(context.WithoutCancel(ctx), scope, what, perSecond, max(1, perSecond/loansPerSecond))
				if took = n > 0; took {
					l.mu.Lock()
					defer l.mu.Unlock()
					loan.left, loan.until = n-1, asked.Add(loanLife)
				}
				return n == 0, err
			})
			if took && err == nil {
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("ask for %s of %s: %w", what, scope.Account, err)
		}
		if none {
			return RateLimitExceeded(about, perSecond)
		}
	}
}

// loan returns a loan, which l.mu keeps.
func (l *limits) loan(key rateKey) *loan {
	if now := time.Now(); now.Sub(l.swept) > time.Second {
		l.swept = now
		maps.DeleteFunc(l.rates, func(_ rateKey, l *loan) bool { return l.asking == nil && l.until.Before(now) })
	}
	found := l.rates[key]
	if found == nil {
		found = &loan{}
		l.rates[key] = found
	}
	return found
}

// use takes one of a loan, if there is one.
func (l *loan) use() bool {
	if l.left == 0 || time.Now().After(l.until) {
		return false
	}
	l.left--
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
	l.mu.Lock()
	defer l.mu.Unlock()
	loan := l.loan(rateKey{room.Scope, messages})
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
	for {
		l.mu.Lock()
		if s.seat() {
			l.mu.Unlock()
			return nil
		}
		var none bool
		var err error
		if other := s.asking; other != nil {
			l.mu.Unlock()
			err = other.wait(ctx)
			none = err == nil && other.none
		} else {
			none, err = l.reserve(context.WithoutCancel(ctx), scope, s, l.slice())
		}
		if err != nil {
			return fmt.Errorf("ask for connections of %s: %w", scope.Account, err)
		}
		if none {
			return &Error{Code: TooManyRequests, Message: "The quota of concurrent connections is exceeded.", Limit: l.quotas.Connections}
		}
	}
}

// reserve asks for as many connections as there are and some more, and reports whether
// there is none for another. l.mu is held when it is called, not when it returns.
func (l *limits) reserve(ctx context.Context, scope Scope, s *share, more int) (none bool, err error) {
	n := s.used + more
	s.reserved = min(s.reserved, n) // what is given up is not used meanwhile
	return l.ask(&s.asking, func() (bool, error) {
		got, err := l.broker.Reserve(ctx, scope, n, l.quotas.Connections)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			s.reserved = got
		}
		return more > 0 && s.used >= s.reserved, err // who asked for none more says nothing of that
	})
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

// seat takes a connection of a share, if there is one.
func (s *share) seat() bool {
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
		errs = append(errs, l.renew(ctx, scope, s))
	}
	return errors.Join(errs...)
}

// renew renews one share, and forgets one that is not used. One that somebody asks about
// is renewed by that.
func (l *limits) renew(ctx context.Context, scope Scope, s *share) error {
	l.mu.Lock()
	if s.asking != nil {
		l.mu.Unlock()
		return nil
	}
	if s.used+s.pins > 0 {
		_, err := l.reserve(ctx, scope, s, l.slice()-1) // of a small quota nothing is kept back
		return err
	}
	s.reserved = 0
	_, err := l.ask(&s.asking, func() (bool, error) {
		_, err := l.broker.Reserve(ctx, scope, 0, l.quotas.Connections)
		return false, err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.used+s.pins == 0 {
		delete(l.connections, scope)
	}
	return err
}
