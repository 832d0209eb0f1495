package chat

import (
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

// limits are the quotas and what is used of them on this node.
type limits struct {
	quotas Quotas

	mu          sync.Mutex
	rates       Rates[rateKey]
	connections map[Scope]int
}

type rateKey struct {
	scope Scope
	what  string
}

func newLimits(q Quotas) *limits {
	return &limits{quotas: q, connections: map[Scope]int{}}
}

// take takes one of perSecond in the scope, unless that is over the limit.
func (l *limits) take(scope Scope, what string, perSecond int, about ARN) error {
	if perSecond == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.rates.Allow(rateKey{scope, what}, time.Now(), perSecond) {
		return RateLimitExceeded(about, perSecond)
	}
	return nil
}

// messages are the publications that rooms have a rate for.
const messages = "messages"

// publish takes what a publication costs.
func (l *limits) publish(kind PublicationKind, room ARN) error {
	switch kind {
	case PublishMessage:
		return l.take(room.Scope, messages, l.quotas.SendMessage, room)
	case PublishDelete:
		return l.take(room.Scope, "deletes", l.quotas.DeleteMessage, room)
	case PublishDisconnect:
		return l.take(room.Scope, "disconnects", l.quotas.DisconnectUser, room)
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
	l.rates.Return(rateKey{room.Scope, messages}, l.quotas.SendMessage)
}

// TakeRequest counts a control-plane request; one over the rate of its operation is
// TooManyRequests.
func (s *Service) TakeRequest(scope Scope, operation string) error {
	return s.limits.take(scope, operation, s.limits.quotas.Requests[operation], ARN{})
}

// connect counts a connection, unless that is over the quota.
func (l *limits) connect(scope Scope) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.quotas.Connections; q > 0 && l.connections[scope] >= q {
		return &Error{Code: TooManyRequests, Message: "The quota of concurrent connections is exceeded.", Limit: q}
	}
	l.connections[scope]++
	return nil
}

// disconnect gives a connection back.
func (l *limits) disconnect(scope Scope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connections[scope]--; l.connections[scope] == 0 {
		delete(l.connections, scope)
	}
}
