// Package brokertest is the contract of [chat.Broker] as a test suite, so that every
// implementation promises the same.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

// patience is how long a delivery may take before it counts as lost.
const patience = 5 * time.Second

// Run runs the suite. open returns a new broker, with no rooms known, of a node whose
// deliver function is given, and registers its own clean-up.
func Run(t *testing.T, open func(t *testing.T, deliver func(*chat.Publication)) chat.Broker) {
	start := func(t *testing.T) (chat.Broker, *inbox) {
		in := &inbox{}
		return open(t, in.deliver), in
	}
	t.Run("numbers follow each other", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		at := subscribe(t, b, room)
		for i := range 5 {
			publish(t, b, room, fmt.Sprint(i))
		}
		pubs := in.wait(t, 5)
		at = begun(at, pubs[0].Position)
		for i, pub := range pubs {
			want := chat.Position{Epoch: at.Epoch, Number: at.Number + uint64(i) + 1}
			if pub.Position != want || string(pub.Frame) != fmt.Sprint(i) {
				t.Errorf("publication %d: got %s at %v, want it at %v", i, pub.Frame, pub.Position, want)
			}
		}
	})
	t.Run("delivered before Publish returns", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		subscribe(t, b, room)
		publish(t, b, room, "x")
		if got := in.count(); got != 1 {
			t.Errorf("deliveries: got %d, want 1", got)
		}
	})
	t.Run("who publishes knows the number", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		subscribe(t, b, room)
		pub := &chat.Publication{Room: room}
		if err := b.Publish(t.Context(), pub, 0); err != nil {
			t.Fatal(err)
		}
		if got, want := pub.Position, in.wait(t, 1)[0].Position; got != want || got.Number == 0 {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("what was published is what is delivered", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		subscribe(t, b, room)
		sent := chat.Publication{
			Room: room, Kind: chat.PublishDisconnect, Frame: []byte(`{"a":"é"}`),
			Accepted: time.Now().Truncate(time.Microsecond), UserID: "user", Reason: "because",
		}
		p := sent
		if err := b.Publish(t.Context(), &p, 0); err != nil {
			t.Fatal(err)
		}
		got := in.wait(t, 1)[0]
		if got.Room != sent.Room || got.Kind != sent.Kind || string(got.Frame) != string(sent.Frame) ||
			!got.Accepted.Equal(sent.Accepted) || got.UserID != sent.UserID || got.Reason != sent.Reason {
			t.Errorf("got %+v, want %+v", got, sent)
		}
	})
	t.Run("concurrent publishers share one order without gaps", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		at := subscribe(t, b, room)
		const publishers, each = 8, 50
		var wg sync.WaitGroup
		for range publishers {
			wg.Go(func() {
				for range each {
					publish(t, b, room, "x")
				}
			})
		}
		wg.Wait()
		var numbers []uint64
		for _, pub := range in.wait(t, publishers*each) {
			at = begun(at, chat.Position{Epoch: pub.Position.Epoch, Number: 1})
			if pub.Position.Epoch != at.Epoch {
				t.Fatalf("epoch: got %d, want %d", pub.Position.Epoch, at.Epoch)
			}
			numbers = append(numbers, pub.Position.Number)
		}
		slices.Sort(numbers)
		for i, got := range numbers {
			if want := at.Number + uint64(i) + 1; got != want {
				t.Fatalf("number %d: got %d, want %d", i, got, want)
			}
		}
	})
	t.Run("a subscription is live when Subscribe returns, from its position on", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					publish(t, b, room, "x")
				}
			}
		})
		time.Sleep(time.Millisecond)
		at := subscribe(t, b, room)
		publish(t, b, room, "mine")
		close(stop)
		wg.Wait()
		numbers := map[uint64]bool{}
		last := uint64(0)
		for _, pub := range in.all() {
			at = begun(at, chat.Position{Epoch: pub.Position.Epoch, Number: 1}) // it may have come before the first
			if pub.Position.Epoch == at.Epoch {
				numbers[pub.Position.Number] = true
				last = max(last, pub.Position.Number)
			}
		}
		for n := at.Number + 1; n <= last; n++ {
			if !numbers[n] {
				t.Fatalf("publication %d after position %d was not delivered", n, at.Number)
			}
		}
		if last == at.Number {
			t.Error("nothing was delivered")
		}
	})
	t.Run("nothing arrives without a subscription", func(t *testing.T) {
		b, in := start(t)
		room, other := newRoom(), newRoom()
		publish(t, b, room, "before")
		_, cancel, err := b.Subscribe(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, other, "elsewhere")
		cancel()
		publish(t, b, room, "after")
		for _, pub := range in.all() {
			t.Errorf("delivered %s", pub.Frame)
		}
	})
	t.Run("subscriptions are counted", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		_, cancel1, err1 := b.Subscribe(t.Context(), room)
		_, cancel2, err2 := b.Subscribe(t.Context(), room)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		publish(t, b, room, "once")
		cancel1()
		publish(t, b, room, "still")
		cancel2()
		publish(t, b, room, "never")
		var got []string
		for _, pub := range in.all() {
			got = append(got, string(pub.Frame))
		}
		if want := []string{"once", "still"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("the count never goes back within an epoch", func(t *testing.T) {
		b, _ := start(t)
		room := newRoom()
		last := map[uint64]uint64{}
		for range 5 {
			at, cancel, err := b.Subscribe(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			if at.Number < last[at.Epoch] {
				t.Errorf("position %v after number %d", at, last[at.Epoch])
			}
			publish(t, b, room, "x")
			last[at.Epoch] = at.Number + 1
			cancel()
		}
	})
	t.Run("the rate admits one second's worth at once, and no more", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		subscribe(t, b, room)
		const rate = 2 // slow enough that no machine refills the bucket meanwhile
		for i := range rate {
			if err := b.Publish(t.Context(), &chat.Publication{Room: room}, rate); err != nil {
				t.Fatalf("publication %d: %v", i, err)
			}
		}
		var refusal *chat.Error
		err := b.Publish(t.Context(), &chat.Publication{Room: room}, rate)
		if !errors.As(err, &refusal) || refusal.Code != chat.TooManyRequests {
			t.Errorf("over the rate: got %v, want TooManyRequests", err)
		}
		publish(t, b, room, "events are not rated")
		if err := b.Publish(t.Context(), &chat.Publication{Room: newRoom()}, rate); err != nil {
			t.Errorf("another room: %v", err)
		}
		pubs := in.wait(t, rate+1)
		if got, want := pubs[rate].Position.Number, pubs[rate-1].Position.Number+1; got != want {
			t.Errorf("number after a refusal: got %d, want %d", got, want)
		}
	})
	t.Run("a changed rate holds at once", func(t *testing.T) {
		b, _ := start(t)
		room := newRoom()
		subscribe(t, b, room)
		admitted := func(rate int) (n int) {
			for b.Publish(t.Context(), &chat.Publication{Room: room}, rate) == nil {
				n++
				if n > rate {
					break
				}
			}
			return n
		}
		if got := admitted(1); got != 1 {
			t.Errorf("at 1/s: got %d, want 1", got)
		}
		if got := admitted(2); got != 0 {
			t.Errorf("at 2/s with a second's worth taken: got %d, want 0", got)
		}
	})
	t.Run("Admit takes one of the rate that Publish takes from", func(t *testing.T) {
		b, _ := start(t)
		room := newRoom()
		subscribe(t, b, room)
		const rate = 2
		over := func(what string, err error) {
			t.Helper()
			var refusal *chat.Error
			if !errors.As(err, &refusal) || refusal.Code != chat.TooManyRequests || refusal.Limit != rate || refusal.Resource != room {
				t.Errorf("%s over the rate: got %v, want TooManyRequests at %d of the room", what, err, rate)
			}
		}
		if err := b.Admit(t.Context(), room, rate); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), &chat.Publication{Room: room}, rate); err != nil {
			t.Fatal(err)
		}
		over("Admit", b.Admit(t.Context(), room, rate))
		over("Publish", b.Publish(t.Context(), &chat.Publication{Room: room}, rate))
		publish(t, b, room, "what was admitted before")
		if err := b.Admit(t.Context(), newRoom(), rate); err != nil {
			t.Errorf("another room: %v", err)
		}
	})
	t.Run("Admit delivers nothing and takes no number", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		at := subscribe(t, b, room)
		for _, rate := range []int{0, 10, 10} {
			if err := b.Admit(t.Context(), room, rate); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, b, room, "first")
		pubs := in.wait(t, 1)
		at = begun(at, pubs[0].Position)
		if want := (chat.Position{Epoch: at.Epoch, Number: at.Number + 1}); len(pubs) != 1 || pubs[0].Position != want {
			t.Errorf("got %d deliveries, the first at %v, want one at %v", len(pubs), pubs[0].Position, want)
		}
	})
	t.Run("Admit at rate 0 is free", func(t *testing.T) {
		b, _ := start(t)
		room := newRoom()
		for range 100 {
			if err := b.Admit(t.Context(), room, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Admit(t.Context(), room, 1); err != nil {
			t.Errorf("it cost something: %v", err)
		}
	})
	t.Run("Admit holds for a room without subscribers, and after they left", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		if err := b.Admit(t.Context(), room, 1); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, cancel, err := b.Subscribe(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			if b.Admit(t.Context(), room, 1) == nil {
				t.Error("coming and going filled the bucket")
			}
			cancel()
		}
		if b.Admit(t.Context(), room, 1) == nil || b.Publish(t.Context(), &chat.Publication{Room: room}, 1) == nil {
			t.Error("leaving filled the bucket")
		}
		if got := in.count(); got != 0 {
			t.Errorf("deliveries: got %d, want 0", got)
		}
	})
	t.Run("a context that has ended publishes nothing", func(t *testing.T) {
		b, in := start(t)
		room := newRoom()
		subscribe(t, b, room)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Publish(ctx, &chat.Publication{Room: room}, 0); err == nil {
			t.Error("Publish: got nil, want an error")
		}
		for _, rate := range []int{0, 1} {
			if err := b.Admit(ctx, room, rate); err == nil {
				t.Errorf("Admit at rate %d: got nil, want an error", rate)
			}
		}
		if err := b.Admit(t.Context(), room, 1); err != nil {
			t.Errorf("what was not admitted cost something: %v", err)
		}
		for range 20 { // also in a room whose subscription stands already
			for _, arn := range []chat.ARN{room, newRoom()} {
				if _, _, err := b.Subscribe(ctx, arn); err == nil {
					t.Fatal("Subscribe: got nil, want an error")
				}
			}
		}
		if got := in.count(); got != 0 {
			t.Errorf("deliveries: got %d, want 0", got)
		}
	})
	t.Run("a name is one's until it is given up or the time is over", func(t *testing.T) {
		b, _ := start(t)
		room, other := newRoom(), newRoom()
		claim := func(room chat.ARN, name, by string, hold time.Duration) time.Duration {
			t.Helper()
			wait, err := b.Claim(t.Context(), room, name, by, hold)
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		if got := claim(room, "n", "ann", time.Minute); got != 0 {
			t.Errorf("nobody had it: got %s, want 0", got)
		}
		if got := claim(room, "n", "ann", time.Minute); got != 0 {
			t.Errorf("ann has it: got %s, want 0", got)
		}
		if got := claim(room, "n", "bob", time.Minute); got <= 50*time.Second || got > time.Minute {
			t.Errorf("ann has it for a minute: got %s", got)
		}
		if got := claim(room, "m", "bob", time.Minute) + claim(other, "n", "bob", time.Minute); got != 0 {
			t.Errorf("another name, another room: got %s, want 0", got)
		}
		if err := b.Release(t.Context(), room, "n", "bob"); err != nil {
			t.Fatal(err)
		}
		if got := claim(room, "n", "bob", time.Minute); got == 0 {
			t.Error("bob gave up what ann has")
		}
		if err := b.Release(t.Context(), room, "n", "ann"); err != nil {
			t.Fatal(err)
		}
		if got := claim(room, "n", "bob", 20*time.Millisecond); got != 0 {
			t.Errorf("ann gave it up: got %s, want 0", got)
		}
		time.Sleep(40 * time.Millisecond)
		if got := claim(room, "n", "ann", time.Minute); got != 0 {
			t.Errorf("bob's time is over: got %s, want 0", got)
		}
	})
	t.Run("a rate of a scope is borrowed by the slice", func(t *testing.T) {
		b, _ := start(t)
		scope := chat.Scope{Region: "us-west-2", Account: chat.NewID()}
		const rate = 20
		given := 0
		for range rate + 1 {
			n, err := b.Borrow(t.Context(), scope, "things", rate, 3)
			if err != nil || n < 0 || n > 3 {
				t.Fatalf("got %d, %v", n, err)
			}
			if given += n; n == 0 {
				break
			}
		}
		if given < rate || given > rate+rate/4 { // what a slow machine refills meanwhile
			t.Errorf("given: got %d, want %d", given, rate)
		}
		for _, other := range []struct {
			scope chat.Scope
			what  string
		}{{scope, "others"}, {chat.Scope{Region: "eu-west-1", Account: scope.Account}, "things"}} {
			if n, err := b.Borrow(t.Context(), other.scope, other.what, rate, 1); n != 1 || err != nil {
				t.Errorf("%v: got %d, %v, want 1", other, n, err)
			}
		}
		time.Sleep(time.Second / rate * 3)
		if n, err := b.Borrow(t.Context(), scope, "things", rate, 1); n != 1 || err != nil {
			t.Errorf("a while later: got %d, %v, want 1", n, err)
		}
	})
	t.Run("a share is as large as the quota has it", func(t *testing.T) {
		b, _ := start(t)
		scope := chat.Scope{Region: "us-west-2", Account: chat.NewID()}
		for _, step := range []struct{ n, quota, want int }{{3, 10, 3}, {10, 10, 10}, {11, 10, 10}, {2, 10, 2}, {5, 3, 3}, {0, 10, 0}, {4, 10, 4}} {
			if got, err := b.Reserve(t.Context(), scope, step.n, step.quota); got != step.want || err != nil {
				t.Errorf("%d of %d: got %d, %v, want %d", step.n, step.quota, got, err, step.want)
			}
		}
	})
	runAttend(t, func(t *testing.T) chat.Broker { b, _ := start(t); return b })
	t.Run("ready", func(t *testing.T) {
		b, _ := start(t)
		if err := b.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func newRoom() chat.ARN {
	return chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: chat.NewID()}
}

func subscribe(t *testing.T, b chat.Broker, room chat.ARN) chat.Position {
	t.Helper()
	at, cancel, err := b.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return at
}

// begun is the position before the first publication, of which nothing may have been
// known when there was none: the room's epoch began with it.
func begun(at, first chat.Position) chat.Position {
	if at == (chat.Position{}) && first.Number == 1 {
		at.Epoch = first.Epoch
	}
	return at
}

func publish(t *testing.T, b chat.Broker, room chat.ARN, frame string) {
	if err := b.Publish(t.Context(), &chat.Publication{Room: room, Frame: []byte(frame), Accepted: time.Now()}, 0); err != nil {
		t.Errorf("publish: %v", err)
	}
}

// inbox collects what a node is delivered.
type inbox struct {
	mu   sync.Mutex
	pubs []*chat.Publication
}

func (in *inbox) deliver(pub *chat.Publication) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pubs = append(in.pubs, pub)
}

func (in *inbox) all() []*chat.Publication {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.pubs)
}

func (in *inbox) count() int { return len(in.all()) }

// wait returns the deliveries once there are n.
func (in *inbox) wait(t *testing.T, n int) []*chat.Publication {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pubs := in.all()
		if len(pubs) >= n {
			return pubs
		}
		if time.Now().After(deadline) {
			t.Fatalf("deliveries: got %d, want %d", len(pubs), n)
		}
	}
}
