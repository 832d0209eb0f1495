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

// TestHalfTheWorkers write to a room, each room from another on, and any number of
// processors will do.
func TestHalfTheWorkers(t *testing.T) {
	for _, test := range []struct{ processors, want int }{{1, 1}, {2, 1}, {3, 1 /* the smaller half */}, {4, 2}, {8, 4}} {
		g := &Gateway{workers: make([]*worker, test.processors)}
		for i := range g.workers {
			g.workers[i] = newWorker(nil)
		}
		all := map[*worker]bool{}
		for range test.processors {
			r, used := newRoom(g, chat.ARN{}), map[*worker]bool{}
			for i := range r.shards {
				used[r.shards[i].worker()] = true
				all[r.shards[i].worker()] = true
			}
			if len(used) != test.want {
				t.Errorf("%d processors: %d workers write to a room, want %d", test.processors, len(used), test.want)
			}
		}
		if len(all) != test.processors {
			t.Errorf("%d processors: %d workers write to all rooms", test.processors, len(all))
		}
	}
}
