package chat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var otherScopes = map[string]Scope{
	"another region":  {Region: "eu-west-1", Account: testScope.Account},
	"another account": {Region: testScope.Region, Account: "999999999999"},
}

// limit gives the world's service quotas.
func (w *world) limit(q Quotas) { w.service.limits = newLimits(q, w.broker) }

// admit opens a session by a fresh token.
func (w *world) admit(t testing.TB, room ARN) (*Session, error) {
	t.Helper()
	_, claims := w.token(t, w.service, TokenSpec{Room: room, UserID: "u", Capabilities: everything})
	return w.service.Admit(t.Context(), claims, rand.Uint64())
}

// The table of AWS's page; every operation of the API is in it.
//
// IVS: service-quotas
func TestAWSQuotas(t *testing.T) {
	want := Quotas{Rooms: 50_000, LoggingConfigurations: 10, Connections: 50_000, SendMessage: 1_000, DeleteMessage: 100, DisconnectUser: 100, Requests: map[string]int{}}
	for rate, operations := range map[int][]string{
		200: {"CreateChatToken"},
		100: {"DeleteMessage", "DisconnectUser", "SendEvent"},
		10:  {"ListTagsForResource", "TagResource", "UntagResource"},
		5:   {"CreateRoom", "DeleteRoom", "GetRoom", "ListRooms", "UpdateRoom"},
		3: {"CreateLoggingConfiguration", "DeleteLoggingConfiguration", "GetLoggingConfiguration",
			"ListLoggingConfigurations", "UpdateLoggingConfiguration"},
	} {
		for _, operation := range operations {
			want.Requests[operation] = rate
		}
	}
	if got := len(want.Requests); got != 17 {
		t.Fatalf("got %d operations, want 17", got)
	}
	if diff := cmp.Diff(AWSQuotas(), want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

func TestRequestQuotas(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.limit(Quotas{Requests: map[string]int{"GetRoom": 5, "ListRooms": 5, "TagResource": 0}})
		take := func(scope Scope, operation string) error { return w.service.TakeRequest(t.Context(), scope, operation) }
		for i := range 5 {
			if err := take(testScope, "GetRoom"); err != nil {
				t.Fatalf("request %d: got %v", i, err)
			}
		}
		err := take(testScope, "GetRoom")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != TooManyRequests || e.Limit != 5 {
			t.Errorf("one too many: got %+v, want TooManyRequests with limit 5", err)
		}
		if err := take(testScope, "ListRooms"); err != nil {
			t.Errorf("another operation: got %v", err)
		}
		for name, scope := range otherScopes {
			if err := take(scope, "GetRoom"); err != nil {
				t.Errorf("%s: got %v", name, err)
			}
		}
		for range 1000 {
			if err := errors.Join(take(testScope, "TagResource"), take(testScope, "UntagResource")); err != nil {
				t.Fatalf("an operation without a quota: got %v", err)
			}
		}
		time.Sleep(200 * time.Millisecond)
		if err := take(testScope, "GetRoom"); err != nil {
			t.Errorf("a fifth of a second later, refusals having cost nothing: got %v", err)
		}
		if err := take(testScope, "GetRoom"); code(err) != TooManyRequests {
			t.Errorf("and again: got %v, want TooManyRequests", err)
		}
	})
}

// What callers of ever new accounts cost is forgotten a second later; what they used
// up before is not.
func TestQuotasOfCallersThatWentAwayAreForgotten(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.limit(Quotas{Requests: map[string]int{"GetRoom": 1}})
		for i := range 10_000 {
			if err := w.service.TakeRequest(t.Context(), Scope{Region: "us-west-2", Account: fmt.Sprintf("%012d", i)}, "GetRoom"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		if err := w.service.TakeRequest(t.Context(), testScope, "GetRoom"); err != nil {
			t.Fatal(err)
		}
		if got := len(w.service.limits.rates); got != 1 {
			t.Errorf("remembered: got %d, want 1", got)
		}
		time.Sleep(900 * time.Millisecond)
		if err := w.service.TakeRequest(t.Context(), testScope, "GetRoom"); code(err) != TooManyRequests {
			t.Errorf("got %v, want TooManyRequests", err)
		}
	})
}

// What the API and what connections ask for counts together, over all rooms of an
// account and region.
func TestPublicationQuotas(t *testing.T) {
	for _, tc := range []struct {
		name   string
		quotas Quotas
		action string                           // of a connection
		call   func(w *world, room ARN) error   // of the API; nil: it has none
		free   []func(w *world, room ARN) error // is not counted there
	}{
		{
			name: "messages", quotas: Quotas{SendMessage: 4},
			action: `{"Action":"SEND_MESSAGE","Content":"a"}`,
			free: []func(*world, ARN) error{
				func(w *world, room ARN) error {
					return second(w.service.DeleteMessage(context.Background(), room, "AbCdEfGh1234", ""))
				},
				func(w *world, room ARN) error {
					return w.service.DisconnectUser(context.Background(), Actor{}, room, "nobody", "")
				},
				func(w *world, room ARN) error {
					return second(w.service.SendEvent(context.Background(), room, "e", nil))
				},
			},
		},
		{
			name: "deletes", quotas: Quotas{DeleteMessage: 4},
			action: `{"Action":"DELETE_MESSAGE","Id":"AbCdEfGh1234"}`,
			call: func(w *world, room ARN) error {
				return second(w.service.DeleteMessage(context.Background(), room, "AbCdEfGh1234", ""))
			},
			free: []func(*world, ARN) error{
				func(w *world, room ARN) error {
					return w.service.DisconnectUser(context.Background(), Actor{}, room, "nobody", "")
				},
				func(w *world, room ARN) error {
					return second(w.service.SendEvent(context.Background(), room, "e", nil))
				},
			},
		},
		{
			name: "disconnects", quotas: Quotas{DisconnectUser: 4},
			action: `{"Action":"DISCONNECT_USER","UserId":"nobody"}`,
			call: func(w *world, room ARN) error {
				return w.service.DisconnectUser(context.Background(), Actor{}, room, "nobody", "")
			},
			free: []func(*world, ARN) error{
				func(w *world, room ARN) error {
					return second(w.service.DeleteMessage(context.Background(), room, "AbCdEfGh1234", ""))
				},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				w.limit(tc.quotas)
				rooms := [2]ARN{w.room(t, RoomSpec{}).ARN, w.room(t, RoomSpec{}).ARN}
				var sessions [2]*Session
				for i := range sessions {
					sessions[i] = w.session(t, TokenSpec{Room: rooms[i], UserID: "u", Capabilities: everything})
				}
				act := func(i int) error {
					return w.service.Act(t.Context(), sessions[i], []byte(tc.action), true, time.Now()).Err
				}
				call := func(i int) error {
					if tc.call == nil {
						return act(i)
					}
					return tc.call(w, rooms[i])
				}
				for i, err := range []error{act(0), call(1), act(1), call(0)} {
					if err != nil {
						t.Errorf("request %d: got %v", i, err)
					}
				}
				for what, err := range map[string]error{"over a connection": act(0), "over the API": call(1)} {
					e, ok := errors.AsType[*Error](err)
					if !ok || e.Code != TooManyRequests || e.Limit != 4 || e.Resource.Kind != KindRoom {
						t.Errorf("one too many %s: got %+v, want TooManyRequests about the room with limit 4", what, err)
					}
				}
				for i, free := range tc.free {
					if err := free(w, rooms[0]); err != nil {
						t.Errorf("what is not counted there, %d: got %v", i, err)
					}
				}
				for name, scope := range otherScopes {
					room, err := w.service.CreateRoom(t.Context(), scope, RoomSpec{})
					if err != nil {
						t.Fatal(err)
					}
					session, err := w.admit(t, room.ARN)
					if err != nil {
						t.Fatal(err)
					}
					if err := w.service.Act(t.Context(), session, []byte(tc.action), true, time.Now()).Err; err != nil {
						t.Errorf("%s: got %v", name, err)
					}
				}
				w.broker.taken()
				time.Sleep(250 * time.Millisecond)
				if err := call(0); err != nil {
					t.Errorf("a quarter of a second later: got %v", err)
				}
				if err := act(0); code(err) != TooManyRequests {
					t.Errorf("and again: got %v, want TooManyRequests", err)
				}
				if got := len(w.broker.taken()); got != 1 {
					t.Errorf("published: got %d, want 1", got)
				}
			})
		})
	}
}

func TestConnectionQuota(t *testing.T) {
	w := newWorld()
	w.limit(Quotas{Connections: 2})
	rooms := [2]ARN{w.room(t, RoomSpec{}).ARN, w.room(t, RoomSpec{}).ARN}
	var sessions []*Session
	for _, room := range rooms {
		session, err := w.admit(t, room)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	_, claims := w.token(t, w.service, TokenSpec{Room: rooms[0], UserID: "late"})
	_, err := w.service.Admit(t.Context(), claims, rand.Uint64())
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != TooManyRequests || e.Limit != 2 {
		t.Fatalf("one too many: got %+v, want TooManyRequests with limit 2", err)
	}
	for name, scope := range otherScopes {
		room, err := w.service.CreateRoom(t.Context(), scope, RoomSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.admit(t, room.ARN); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	w.service.Depart(sessions[0])
	if _, err := w.service.Admit(t.Context(), claims, rand.Uint64()); err != nil {
		t.Errorf("the token that was refused, when another left: got %v", err)
	}
	if _, err := w.admit(t, rooms[1]); code(err) != TooManyRequests {
		t.Errorf("and one more: got %v, want TooManyRequests", err)
	}
}

// An admission that fails after it was counted gives its count back.
func TestFailedAdmissionsCostNoConnection(t *testing.T) {
	w := newWorld()
	w.limit(Quotas{Connections: 1})
	room := w.room(t, RoomSpec{}).ARN
	_, used := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
	session, err := w.service.Admit(t.Context(), used, rand.Uint64())
	if err != nil {
		t.Fatal(err)
	}
	w.service.Depart(session)
	for i := range 1000 {
		if _, err := w.service.Admit(t.Context(), used, rand.Uint64()); code(err) != Unauthorized {
			t.Fatalf("try %d with a used token: got %v, want Unauthorized", i, err)
		}
	}
	_, claims := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
	w.store.fails = errors.New("the disk is full")
	if _, err := w.service.Admit(t.Context(), claims, rand.Uint64()); err == nil {
		t.Error("admitted by a store that fails")
	}
	w.store.fails = nil
	if err := w.service.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(w.service.limits.connections); got != 0 {
		t.Errorf("scopes with connections: got %d, want 0", got)
	}
	if _, err := w.admit(t, room); err != nil {
		t.Errorf("got %v", err)
	}
}

// shareBroker is a broker by which nodes share a quota of connections.
type shareBroker struct {
	*memoryBroker

	node   string
	shares map[string]int // of all nodes
	asked  func()         // called while it is asked
}

func (b *shareBroker) Reserve(_ context.Context, _ Scope, n, quota int) (int, error) {
	b.asked()
	for node, share := range b.shares {
		if node != b.node {
			quota -= share
		}
	}
	b.shares[b.node] = max(0, min(n, quota))
	return b.shares[b.node], nil
}

// TestSmallConnectionQuotaIsExact: a node keeps back nothing of a small quota that it does
// not use, so that another can have it; and what it gives back it does not use meanwhile.
func TestSmallConnectionQuotaIsExact(t *testing.T) {
	const quota = 5
	shares := map[string]int{}
	node := func(name string) (*Service, *shareBroker) {
		b := &shareBroker{memoryBroker: newWorld().broker, node: name, shares: shares, asked: func() {}}
		return &Service{limits: newLimits(Quotas{Connections: quota}, b)}, b
	}
	a, atA := node("a")
	b, _ := node("b")
	connect := func(s *Service) bool { return s.limits.connect(t.Context(), testScope) == nil }
	renew := func() {
		t.Helper()
		if err := errors.Join(a.Renew(t.Context()), b.Renew(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	for i := range quota {
		if !connect(a) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	a.limits.disconnect(testScope)
	renew()
	if !connect(b) {
		t.Error("the place of a connection that ended is not free at another node")
	}
	if connect(a) || connect(b) {
		t.Error("got one too many")
	}
	for range 3 {
		a.limits.disconnect(testScope)
	}
	// Others come while the share is made smaller: they have to ask for a place of their own.
	atA.asked = func() {
		atA.asked = func() {}
		s := a.limits.share(testScope)
		defer a.limits.unpin(s)
		a.limits.mu.Lock()
		defer a.limits.mu.Unlock()
		if s.seat() {
			t.Error("a place was taken while it was given back")
		}
	}
	renew()
	for range 3 {
		if !connect(b) {
			t.Error("what is left is not free at another node")
		}
	}
	if connect(a) || connect(b) {
		t.Error("got one too many")
	}
}

// TestConnectWhileSharesAreRenewed: who comes while a node renews its share is not told
// that there is no place because the node asked for none.
func TestConnectWhileSharesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &shareBroker{memoryBroker: newWorld().broker, node: "a", shares: map[string]int{}, asked: func() {}}
		a := &Service{limits: newLimits(Quotas{Connections: 5}, b)}
		if err := a.limits.connect(t.Context(), testScope); err != nil {
			t.Fatal(err)
		}
		came := make(chan error, 1)
		b.asked = func() {
			b.asked = func() {}
			go func() { came <- a.limits.connect(t.Context(), testScope) }()
			synctest.Wait() // it waits for what the broker says
		}
		if err := a.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-came; err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoQuotasLimitNothing(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{}).ARN
	for range 2000 {
		if _, err := w.service.DeleteMessage(t.Context(), room, "AbCdEfGh1234", ""); err != nil {
			t.Fatal(err)
		}
		if err := w.service.TakeRequest(t.Context(), testScope, "CreateRoom"); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.service.limits.rates); got != 0 {
		t.Errorf("rates remembered: got %d, want 0", got)
	}
}

// silentBroker does not answer for a while, and then says that it cannot.
type silentBroker struct {
	Broker
	share int // what Reserve was last asked for
	while func()
}

const silence = 5 * time.Second

func (b *silentBroker) Borrow(context.Context, Scope, string, int, int) (int, error) {
	time.Sleep(silence)
	return 0, errors.New("the broker is away")
}

func (b *silentBroker) Reserve(ctx context.Context, _ Scope, n, quota int) (int, error) {
	b.share = n
	if b.while != nil {
		b.while()
		return min(n, quota), nil
	}
	return b.Borrow(ctx, Scope{}, "", 0, 0)
}

// While the broker is away requests fail together, and not each after the other.
func TestQuotasOfABrokerThatIsAway(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		broker := &silentBroker{Broker: w.broker}
		l := newLimits(Quotas{Connections: 10}, broker)
		for name, ask := range map[string]func() error{
			"rates":       func() error { return l.take(t.Context(), testScope, "things", 10, ARN{}) },
			"connections": func() error { return l.connect(t.Context(), testScope) },
		} {
			begun := time.Now()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if ask() == nil {
						t.Errorf("%s: got nil, want an error", name)
					}
				})
			}
			all.Wait()
			if got := time.Since(begun); got > silence {
				t.Errorf("%s: all have failed after %v, want %v", name, got, silence)
			}
		}
	})
}

// What a node gives up of its share it does not use any more, also before the broker has
// said so.
func TestGivenUpConnectionsAreNotUsed(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		broker := &silentBroker{Broker: w.broker, while: func() {}}
		l := newLimits(Quotas{Connections: 10_000}, broker)
		w.service.limits = l
		if err := l.connect(t.Context(), testScope); err != nil {
			t.Fatal(err)
		}
		s := l.connections[testScope]
		s.reserved = 100
		broker.while = func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			for s.seat() {
			}
			if s.used > broker.share {
				t.Errorf("in use: got %d, want %d at most", s.used, broker.share)
			}
		}
		if err := w.service.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
