package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestRecent(t *testing.T) {
	server := redistest.Start(t)
	a, b := open(t, server.URL(), "a", func(*chat.Publication) {}), open(t, server.URL(), "b", func(*chat.Publication) {})
	arn := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: "room"}
	if pubs, at, err := a.Recent(t.Context(), arn, 10); len(pubs) > 0 || at != (chat.Position{}) || err != nil {
		t.Errorf("nothing: got %v at %v, %v", pubs, at, err)
	}
	var last chat.Position
	for i := range 20 {
		pub := &chat.Publication{Room: arn, ID: fmt.Sprint(i), Kind: chat.PublishEvent, Frame: []byte("{}"), Accepted: time.UnixMicro(7)}
		if err := []*Redis{a, b}[i%2].Publish(t.Context(), pub, 0); err != nil {
			t.Fatal(err)
		}
		last = pub.Position
	}
	for _, want := range []int{5, 20, 3000} {
		pubs, at, err := b.Recent(t.Context(), arn, want)
		want = min(want, 20)
		if err != nil || at != last || len(pubs) != want {
			t.Fatalf("got %d at %v, %v, want %d at %v", len(pubs), at, err, want, last)
		}
		for i, pub := range pubs {
			number := 20 - want + i
			if pub.ID != fmt.Sprint(number) || pub.Position.Number != uint64(number+1) || pub.Room != arn || pub.Kind != chat.PublishEvent || string(pub.Frame) != "{}" {
				t.Errorf("publication %d: got %+v", number, pub)
			}
		}
	}
}

// Positions are in one order over restarts, also of what is published while nobody is
// there, and of rooms that come and go within a millisecond.
func TestLocalPositionsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arn := chat.ARN{Kind: chat.KindRoom, ID: "room"}
		var before chat.Position
		for range 3 {
			l := NewLocal(func(*chat.Publication) {})
			publish := func(n int) {
				t.Helper()
				for range n {
					pub := &chat.Publication{Room: arn}
					if err := l.Publish(t.Context(), pub, 0); err != nil {
						t.Fatal(err)
					}
					if pub.Position.Compare(before) <= 0 {
						t.Errorf("got %v after %v", pub.Position, before)
					}
					before = pub.Position
				}
			}
			for i := range 20 {
				publish(i % 3)
				at, leave, err := l.Subscribe(t.Context(), arn)
				if err != nil || at.Compare(before) < 0 || at.Number > 0 {
					t.Fatalf("subscribed at %v after %v, %v", at, before, err)
				}
				publish(i % 4)
				leave()
				if i%5 == 4 {
					time.Sleep(time.Millisecond)
				}
			}
			time.Sleep(50 * time.Millisecond) // a restart
			if now := uint64(time.Now().UnixMilli()); before.Epoch >= now {
				t.Errorf("at %d the epoch is %d", now, before.Epoch)
			}
			l.Subscribe(t.Context(), chat.ARN{ID: "another"})
			if len(l.given) > 0 {
				t.Errorf("%d rooms are remembered that need not be", len(l.given))
			}
		}
	})
}
