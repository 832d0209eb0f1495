package broker

import (
	"context"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func testRoom() chat.ARN {
	return chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: chat.NewID()}
}

// gaps are how often a viewer was told that something is lost.
func (v *viewer) gaps() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, pub := range v.pubs {
		if pub.Kind == chat.PublishGap {
			n++
		}
	}
	return n
}

// A refusal says where the room is, and not what this node lacks: that is on its way.
func TestRefusalLosesNothing(t *testing.T) {
	server := redistest.Start(t)
	here, there := &viewer{}, &viewer{}
	a, b := open(t, server.URL(), "a", here.deliver), open(t, server.URL(), "b", there.deliver)
	room := testRoom()
	for _, node := range []*Redis{a, b} {
		_, cancel, err := node.Subscribe(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			b.Publish(ctx, &chat.Publication{Room: room, ID: chat.NewID()}, 1) // most are refused
		}
	})
	published := 0
	for ctx.Err() == nil {
		if a.Publish(ctx, &chat.Publication{Room: room, ID: chat.NewID()}, 0) == nil {
			published++
		}
	}
	both.Wait()
	for deadline := time.Now().Add(5 * time.Second); len(there.shown()) < published && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if got := len(there.shown()); got < published || there.gaps() > 0 {
		t.Errorf("got %d shown with %d gaps, want %d and none", got, there.gaps(), published)
	}
}

// What is published while a room is being subscribed to is not lost where it was
// numbered after the subscription's position.
func TestPublishedWhileSubscribing(t *testing.T) {
	server := redistest.Start(t)
	v := &viewer{}
	b := open(t, server.URL(), "a", v.deliver)
	for range 300 {
		room := testRoom()
		var publisher sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			publisher.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						b.Publish(t.Context(), &chat.Publication{Room: room, ID: chat.NewID()}, 0)
					}
				}
			})
		}
		_, cancel, err := b.Subscribe(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		close(stop)
		publisher.Wait()
		cancel()
	}
	if n := v.gaps(); n > 0 {
		t.Errorf("got %d gaps, want none", n)
	}
}
