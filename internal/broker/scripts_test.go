package broker

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

// A broker whose clock has gone back, as after a failover, refuses nobody for that.
func TestClockGoesBack(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.URL(), "a", func(*chat.Publication) {})
	later := strconv.FormatInt(time.Now().Add(time.Hour).UnixMicro(), 10)
	inAnHour := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	room := testRoom()
	server.Do("HSET", keysOf(room).state, "f", later)
	time.Sleep(50 * time.Millisecond)
	admitted := 0
	for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(10 * time.Millisecond) {
		if b.Publish(t.Context(), &chat.Publication{Room: room}, 20) == nil {
			admitted++
		}
	}
	if admitted < 5 || admitted > 21 {
		t.Errorf("of a room's rate: got %d, want what a second gives, and no second's worth at once", admitted)
	}
	scope := chat.Scope{Region: "us-west-2", Account: "123456789012"}
	server.Do("SET", "parlor:{us-west-2:123456789012}:rate:things", later)
	lent := 0
	for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(10 * time.Millisecond) {
		n, err := b.Borrow(t.Context(), scope, "things", 20, 2)
		if err != nil {
			t.Fatal(err)
		}
		lent += n
	}
	if lent < 5 || lent > 21 {
		t.Errorf("of a scope's rate: got %d, want what a second gives", lent)
	}
	server.Do("HSET", "parlor:{us-west-2:123456789012}:connections", "dead", "7 "+inAnHour)
	if n, err := b.Reserve(t.Context(), scope, 10, 10); n != 3 || err != nil {
		t.Errorf("beside a share of just now: got %d, %v, want 3", n, err)
	}
	at := server.Do("HGET", "parlor:{us-west-2:123456789012}:connections", "dead")
	if at != "$"+strconv.Itoa(len("7 "+inAnHour)) {
		t.Fatal(at)
	}
	if got := server.Eval(`return redis.call('HGET', 'parlor:{us-west-2:123456789012}:connections', 'dead')`); got >= "7 "+inAnHour {
		t.Errorf("a share that ends when the clock has come there: got %q", got)
	}
}

// What a broker no longer knows the count of is not shown to who comes new.
func TestStateIsEvictedAlone(t *testing.T) {
	server := redistest.Start(t)
	v := &viewer{}
	a, b := open(t, server.URL(), "a", func(*chat.Publication) {}), open(t, server.URL(), "b", v.deliver)
	const rooms = 50 // the link may be first, or the answer
	for range rooms {
		room := testRoom()
		for i := range 3 {
			if err := a.Publish(t.Context(), &chat.Publication{Room: room, ID: fmt.Sprint("old-", i)}, 0); err != nil {
				t.Fatal(err)
			}
		}
		server.Do("DEL", keysOf(room).state)
		_, cancel, err := b.Subscribe(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		if err := b.Publish(t.Context(), &chat.Publication{Room: room, ID: "new"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := v.shown(); len(got) != rooms {
		t.Errorf("got %q, want the new ones alone", got)
	}
}

// The first try of a publication may come after the second.
func TestFirstTryComesLast(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.URL(), "a", func(*chat.Publication) {})
	room := testRoom()
	offered := func(id string) offer { return offer{room: room, keys: keysOf(room), id: id} }
	deadline := time.Now().Add(time.Minute)
	for i, step := range []struct {
		id     string
		again  bool
		number uint64
	}{{"a", true, 1}, {"b", false, 2}, {"c", true, 3}, {"a", false, 3}, {"c", false, 3}, {"a", true, 3}, {"b", true, 3}, {"d", false, 4}} {
		a, err := b.tryPublish(t.Context(), nil, offered(step.id), deadline, 0, step.again)
		if err != nil || a.how != "published" && a.how != "known" || a.at.Number != step.number {
			t.Errorf("step %d: got %+v, %v, want number %d", i, a, err, step.number)
		}
	}
	server.Do("HSET", keysOf(room).state, "g", "1") // long ago
	if _, err := b.tryPublish(t.Context(), nil, offered("e"), deadline, 0, false); err != nil {
		t.Fatal(err)
	}
	if got := server.Do("HEXISTS", keysOf(room).state, "a"); got != ":0" {
		t.Errorf("Ids are kept for ever: got %s", got)
	}
}

// What is offered again is not published twice where the log has gone past it.
func TestOfferedAfterTheLogWasCut(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.URL(), "a", func(*chat.Publication) {})
	room := testRoom()
	for i := range maxLog + 2*logSlack {
		if err := b.Publish(t.Context(), &chat.Publication{Room: room, ID: fmt.Sprint("id-", i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	first := b.offers.since(time.Time{})[0]
	before := server.Do("HGET", keysOf(room).state, "n")
	a, err := b.publish(first, time.Now().Add(publishTime), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if a.at.Number != maxLog+2*logSlack {
		t.Errorf("number: got %d, want %d: %s was published before (%s)", a.at.Number, maxLog+2*logSlack, first.id, before)
	}
}

// Numbers that Lua cannot count are nobody's.
func TestNumbersBeyondLua(t *testing.T) {
	for _, head := range []string{"1 9007199254740992 1 x 0 ", "1 1 9007199254740992 x 0 ", "1 9223372036854775807 1 x 0 ", "1 1 0 x 0 "} {
		if _, err := parseEntry(testRoom(), head+string(appendPublication(nil, &chat.Publication{}))); !errors.Is(err, errWire) {
			t.Errorf("%q: got %v, want errWire", head, err)
		}
	}
}
