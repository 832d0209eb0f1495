package gateway

import (
	"context"
	"io"
	"log/slog"
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
	w := newWorker(slog.New(slog.DiscardHandler), false)
	var shards [2]shard
	var logs [2]*roomLog
	publish := func(i int) {
		logs[i].append(&chat.Publication{}, nil, []byte("x"))
		w.push(&shards[i])
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
	w := newWorker(slog.New(slog.DiscardHandler), false)
	var rooms []weak.Pointer[room]
	for range 4 {
		r := &room{}
		rooms = append(rooms, weak.Make(r))
		w.push(&shard{room: r})
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
