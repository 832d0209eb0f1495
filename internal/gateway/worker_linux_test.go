package gateway

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"testing"
	"time"
	"weak"

	"parlor/internal/chat"
)

// hooked is a socket that has something done before each write.
type hooked struct {
	syscall.RawConn
	before func()
}

func (h hooked) Write(f func(fd uintptr) bool) error {
	h.before()
	return h.RawConn.Write(f)
}

// TestWorkerStops has a worker whose queue is never empty: what it writes to one room
// makes another's news.
func TestWorkerStops(t *testing.T) {
	w := newWorker(testWriter(io.Discard, sliceSize))
	rooms := &room{gateway: &Gateway{workers: []*worker{w}}}
	shards := [2]shard{{room: rooms}, {room: rooms}}
	var logs [2]*roomLog
	publish := func(i int) {
		logs[i].append(&chat.Publication{}, nil, []byte("x"))
		shards[i].push()
	}
	for i := range shards {
		s, theirs := sockets(t)
		go io.Copy(io.Discard, theirs)
		logs[i] = newRoomLog()
		s.log, s.cursor = logs[i], logs[i].cursorAtEnd()
		s.fd, s.raw = notPlain, hooked{s.raw, func() { publish(1 - i) }}
		shards[i].add(s)
	}
	publish(0)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		w.run(ctx)
		close(ended)
	}()
	time.Sleep(10 * time.Millisecond)
	stop()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the worker goes on")
	}
}

// TestWorkerForgetsRooms whose turn is over: they may be gone.
func TestWorkerForgetsRooms(t *testing.T) {
	w := newWorker(testWriter(io.Discard, sliceSize))
	var rooms []weak.Pointer[room]
	for range 4 {
		r := &room{gateway: &Gateway{workers: []*worker{w}}}
		rooms = append(rooms, weak.Make(r))
		(&shard{room: r}).push()
	}
	for w.pop() != nil {
	}
	runtime.GC()
	for i, r := range rooms {
		if r.Value() != nil {
			t.Errorf("room %d is kept", i)
		}
	}
	runtime.KeepAlive(w)
}

// TestPace: a room that does not keep up has half the workers, until it does again.
func TestPace(t *testing.T) {
	workers := make([]*worker, 4)
	for i := range workers {
		workers[i] = newWorker(nil)
	}
	r := newRoom(&Gateway{workers: workers}, chat.ARN{})
	count := func() int {
		used := map[*worker]bool{}
		for i := range r.shards {
			used[r.shards[i].worker()] = true
		}
		return len(used)
	}
	for _, step := range []struct {
		notes  int
		behind bool
		want   int
	}{
		{0, false, 4},
		{paceSpan - 1, true, 4}, // a burst
		{paceSpan, false, 4},
		{paceSpan, true, 2},
		{paceSpan - 1, false, 2}, // a lull
		{paceSpan, true, 2},
		{paceSpan, false, 4},
	} {
		for range step.notes {
			r.pace.note(step.behind)
		}
		if got := count(); got != step.want {
			t.Errorf("after %d × %v: got %d workers, want %d", step.notes, step.behind, got, step.want)
		}
	}
}
