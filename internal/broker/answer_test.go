package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

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

// asUser returns a broker that runs with the permissions of an ACL, and has a connection,
// whatever it may do with it.
func asUser(t *testing.T, server *redistest.Server, rules ...string) *Redis {
	t.Helper()
	server.Do(append([]string{"ACL", "SETUSER", "u", "reset", "on", ">secret"}, rules...)...)
	b := start(t, strings.Replace(server.URL(), "redis://", "redis://u:secret@", 1), "u", func(*chat.Publication) {}, func(bool) {})
	for deadline := time.Now().Add(10 * time.Second); b.links.client() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is no connection")
		}
	}
	return b
}

// Who may not tell the others publishes nothing: the log must not have what was refused.
func TestNotPermittedToTell(t *testing.T) {
	server := redistest.Start(t)
	b := asUser(t, server, "~*", "+@all", "resetchannels")
	room := testRoom()
	if err := b.Publish(t.Context(), &chat.Publication{Room: room, ID: "x"}, 0); err == nil || errors.Is(err, chat.ErrUnknownOutcome) {
		t.Errorf("got %v, want an error that says what is the matter", err)
	}
	if got := server.Do("LLEN", keysOf(room).log); got != ":0" {
		t.Errorf("the log has %s", got)
	}
}

// What may have been published is not said to have failed, whatever is said of the next try.
func TestRefusedWhenAskedAgain(t *testing.T) {
	server := redistest.Start(t)
	b := asUser(t, server, "~*", "&*", "+@all", "-evalsha", "-eval")
	room := testRoom()
	f := offer{room: room, keys: keysOf(room), id: "x"}
	if _, err := b.publish(f, time.Now().Add(publishTime), 0, true); !errors.Is(err, chat.ErrUnknownOutcome) {
		t.Errorf("asked again: got %v, want ErrUnknownOutcome", err)
	}
	if _, err := b.publish(f, time.Now().Add(publishTime), 0, false); err == nil || errors.Is(err, chat.ErrUnknownOutcome) {
		t.Errorf("asked once: got %v, want that it failed", err)
	}
}

// What the link brought and the broker then forgot is asked for now and then, not all
// the time.
func TestForgottenIsAskedForInPeace(t *testing.T) {
	v := &viewer{}
	b := open(t, redistest.Start(t).URL(), "a", v.deliver)
	room := testRoom()
	_, cancel, err := b.Subscribe(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	first := &chat.Publication{Room: room, ID: "first"}
	if err := b.Publish(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	at, _ := b.room(room).position()
	lost := entry{at: chat.Position{Epoch: at.Epoch, Number: at.Number + 5}}
	b.heardEntry(keysOf(room).channel, "1 "+strings.Join([]string{where(lost.at, false)[0], where(lost.at, false)[1]}, " ")+" lost 0 "+string(appendPublication(nil, first)))
	time.Sleep(time.Second)
	if got := testutil.ToFloat64(b.metrics.catchUps); got == 0 || got > 30 {
		t.Errorf("asked %v times in a second, want some", got)
	}
}

// A server that answers and takes nothing is not one to be ready with.
func TestReadyToWrite(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.URL(), "a", func(*chat.Publication) {})
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if err := b.Ready(t.Context()); err == nil {
		t.Error("without memory: got ready")
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("with memory again: got %v", err)
	}
	server.Do("REPLICAOF", "127.0.0.1", "1")
	if err := b.Ready(t.Context()); err == nil {
		t.Error("a replica: got ready")
	}
}
