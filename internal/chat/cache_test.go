package chat

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRoomIsReadOncePerChange(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{MaximumMessageLength: 5}).ARN
		session := w.session(t, TokenSpec{Room: room, UserID: "u", Capabilities: everything})
		send := func(content string) error {
			time.Sleep(time.Second)
			return w.service.Act(t.Context(), session, []byte(`{"Action":"SEND_MESSAGE","Content":"`+content+`"}`), true, time.Now()).Err
		}
		wantReads := func(what string, want int, f func()) {
			t.Helper()
			before, _ := w.store.counts()
			f()
			if after, _ := w.store.counts(); after-before != want {
				t.Errorf("%s: got %d reads of the room, want %d", what, after-before, want)
			}
		}
		wantReads("many messages", 0, func() {
			for range 5 {
				if err := send("12345"); err != nil {
					t.Error(err)
				}
			}
		})
		if _, err := w.service.UpdateRoom(t.Context(), room, RoomChange{MaximumMessageLength: ptr(4)}); err != nil {
			t.Fatal(err)
		}
		wantReads("after a change", 1, func() {
			for range 5 {
				if err := send("12345"); code(err) != BadRequest {
					t.Errorf("over the new limit: got %v", err)
				}
			}
		})
		if err := w.service.TagResource(t.Context(), room, map[string]string{"a": "b"}); err != nil {
			t.Fatal(err)
		}
		wantReads("after new tags", 1, func() { send("1"); send("1") })
		if err := w.service.DeleteRoom(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := send("1"); code(err) != NotFound {
				t.Errorf("after the end: got %v, want NotFound", err)
			}
		}
	})
}

// TestLoadRacingAChangeDoesNotStick reads a room, and has it change before the reader
// gets to keep what it read.
func TestLoadRacingAChangeDoesNotStick(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{MaximumMessageLength: 5}).ARN
	reading, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.onRead = func() {
		once.Do(func() {
			close(reading)
			<-resume
		})
	}
	loaded := make(chan *Room)
	go func() {
		r, err := w.service.rooms.get(context.Background(), room, w.store.Room)
		if err != nil {
			t.Error(err)
		}
		loaded <- r
	}()
	<-reading
	if _, err := w.service.UpdateRoom(t.Context(), room, RoomChange{MaximumMessageLength: ptr(4)}); err != nil {
		t.Fatal(err)
	}
	close(resume)
	// Whoever asked before the change may still see the room as it was.
	if got := (<-loaded).MaximumMessageLength; got != 5 {
		t.Errorf("the racing read: got %d, want 5", got)
	}
	for range 2 {
		got, err := w.service.rooms.get(t.Context(), room, w.store.Room)
		if err != nil || got.MaximumMessageLength != 4 {
			t.Errorf("afterwards: got %+v %v, want length 4", got, err)
		}
	}
	if reads, _ := w.store.counts(); reads != 2 {
		t.Errorf("reads: got %d, want 2", reads)
	}
}

// TestRoomCacheUnderFire changes a room while many read it: nobody who asks after a
// change has returned sees the room as it was before.
func TestRoomCacheUnderFire(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{MaximumMessageLength: 1}).ARN
	var done atomic.Bool
	var length atomic.Int64 // of the last change that returned
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				least := length.Load()
				r, err := w.service.rooms.get(t.Context(), room, w.store.Room)
				if err != nil || int64(r.MaximumMessageLength) < least {
					t.Errorf("got %v %v, want at least %d", r, err, least)
					return
				}
			}
		})
	}
	for n := 2; n <= 500; n++ {
		if _, err := w.service.UpdateRoom(t.Context(), room, RoomChange{MaximumMessageLength: &n}); err != nil {
			t.Error(err)
		}
		length.Store(int64(n))
	}
	done.Store(true)
	readers.Wait()
}
