package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
	"parlor/internal/store"
)

// longest is how long a call may take, whatever becomes of the database: the store's
// bound, and what a busy machine adds.
const longest = 7 * time.Second

// load writes to a store from several goroutines until it is ended, and remembers what
// was acknowledged.
type load struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	rooms   map[int]bool            // created
	updated map[int]int             // how many updates of a room were acknowledged
	failed  map[int]bool            // rooms of which an update failed: it may have happened
	spent   map[chat.TokenID]uint64 // and who was first
	errs    []error
	slowest time.Duration
	last    time.Time // when something was last acknowledged
}

func startLoad(t *testing.T, s *store.Store) *load {
	l := &load{stop: make(chan struct{}), rooms: map[int]bool{}, updated: map[int]int{}, failed: map[int]bool{}, spent: map[chat.TokenID]uint64{}}
	for w := range 12 {
		l.wg.Go(func() {
			for n := w; ; n += 12 {
				select {
				case <-l.stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				l.one(t, s, n)
			}
		})
	}
	return l
}

// one creates a room, updates it and spends a token.
func (l *load) one(t *testing.T, s *store.Store, n int) {
	room := newRoom(n)
	room.MaximumMessageLength = 0
	if l.call(func(ctx context.Context) error { return s.CreateRoom(ctx, room, 0) }) == nil {
		l.mu.Lock()
		l.rooms[n] = true
		l.mu.Unlock()
		err := l.call(func(ctx context.Context) error {
			_, err := s.UpdateRoom(ctx, room.ARN, func(r chat.Room) (chat.Room, error) {
				r.MaximumMessageLength++
				return r, nil
			})
			return err
		})
		l.mu.Lock()
		if err == nil {
			l.updated[n]++
		} else {
			l.failed[n] = true
		}
		l.mu.Unlock()
	}
	id, by := killToken(n), rand.Uint64()
	binary.BigEndian.PutUint32(id[8:], 7)
	for range 20 { // as a handshake does: it asks again
		var first bool
		err := l.call(func(ctx context.Context) (err error) {
			first, err = s.SpendToken(ctx, id, by, noon)
			return err
		})
		if err != nil {
			continue
		}
		if !first {
			t.Errorf("token %d: got not first, and nobody else knows it", n)
		}
		l.mu.Lock()
		l.spent[id] = by
		l.mu.Unlock()
		return
	}
}

// call makes a call and remembers how it went.
func (l *load) call(f func(context.Context) error) error {
	begun := time.Now()
	err := f(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, time.Since(begun))
	if err != nil {
		l.errs = append(l.errs, err)
	} else {
		l.last = time.Now()
	}
	return err
}

// serves waits until a call that begins after now is acknowledged.
func (l *load) serves(t *testing.T, within time.Duration) {
	t.Helper()
	from := time.Now()
	for time.Since(from) < within {
		l.mu.Lock()
		last := l.last
		l.mu.Unlock()
		if last.After(from) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("no write was acknowledged within %v", within)
}

// end ends the load and checks that what was acknowledged is there, that calls took no
// longer than they may, and that errors say nothing they should not.
func (l *load) end(t *testing.T, url string) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if l.slowest > longest {
		t.Errorf("the slowest call took %v, want at most %v", l.slowest, longest)
	}
	for _, err := range l.errs {
		var refusal *chat.Error
		if errors.As(err, &refusal) || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), pgtest.Password) {
			t.Errorf("got error %v, want an honest one", err)
		}
	}
	s := openPostgres(t, url)
	for n := range l.rooms {
		room, err := s.Room(t.Context(), newRoom(n).ARN)
		if err != nil {
			t.Errorf("room %d was acknowledged: %v", n, err)
		}
		if got, want := room.MaximumMessageLength, l.updated[n]; got != want && !(l.failed[n] && got == want+1) {
			t.Errorf("updates of room %d: got %d, want the %d that were acknowledged", n, got, want)
		}
	}
	for id, by := range l.spent {
		if first, err := s.SpendToken(t.Context(), id, by+1, noon); err != nil || first {
			t.Fatalf("an acknowledged token: got first %v, error %v", first, err)
		}
	}
	if len(l.spent) < 50 {
		t.Errorf("acknowledged tokens: got %d, want enough to mean something", len(l.spent))
	}
	t.Logf("%d rooms, %d tokens, %d errors, slowest call %v", len(l.rooms), len(l.spent), len(l.errs), l.slowest.Round(time.Millisecond))
	kinds := map[string]int{}
	for _, err := range l.errs {
		kinds[err.Error()]++
	}
	for _, text := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%d times: %s", kinds[text], text)
	}
}

// TestPostgresFaults: whatever happens to the database under load, calls end in bounded
// time, nothing acknowledged is lost, nothing that happened is refused, and service
// resumes by itself.
func TestPostgresFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault  func(t *testing.T, server *pgtest.Server)
		errors bool // there may be some
	}{
		"restarted": {func(t *testing.T, server *pgtest.Server) { server.Restart() }, false},
		"crashed": {func(t *testing.T, server *pgtest.Server) {
			for range 3 {
				server.Crash()
				server.Start()
				time.Sleep(200 * time.Millisecond)
			}
		}, true},
		"away": {func(t *testing.T, server *pgtest.Server) {
			server.Stop()
			time.Sleep(8 * time.Second)
			server.Start()
		}, true},
		"frozen": {func(t *testing.T, server *pgtest.Server) {
			server.Freeze()
			time.Sleep(8 * time.Second)
			server.Thaw()
		}, true},
		"frozen for a moment": {func(t *testing.T, server *pgtest.Server) {
			server.Freeze()
			time.Sleep(time.Second)
			server.Thaw()
		}, false},
		"connections killed": {func(t *testing.T, server *pgtest.Server) {
			for range 20 {
				server.Exec(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'parlor'`)
				time.Sleep(50 * time.Millisecond)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t)
			url := server.CreateDatabase(t)
			l := startLoad(t, openPostgres(t, url))
			time.Sleep(500 * time.Millisecond)
			begun := time.Now()
			test.fault(t, server)
			short := time.Since(begun) < 3*time.Second // a busy machine may take longer over it
			l.serves(t, 5*time.Second)
			time.Sleep(300 * time.Millisecond)
			l.end(t, url)
			if len(l.errs) > 0 && short && !test.errors {
				t.Errorf("got %d errors, want the calls to ride it out", len(l.errs))
			}
		})
	}
}

// TestPostgresCallersLeave: a call whose context ends returns at once, also while
// nothing answers, and costs no connection.
func TestPostgresCallersLeave(t *testing.T) {
	server := pgtest.Start(t)
	s := openPostgres(t, server.CreateDatabase(t))
	if err := s.CreateRoom(t.Context(), newRoom(1), 0); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	var wg sync.WaitGroup
	for range 40 { // more than there are connections
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			begun := time.Now()
			_, err := s.Room(ctx, newRoom(1).ARN)
			if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
				t.Errorf("Room: got error %v after %v, want DeadlineExceeded after 300ms", err, took)
			}
			if err := s.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Ready: got %v, want DeadlineExceeded", err)
			}
		})
	}
	wg.Wait()
	server.Thaw()
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready after the thaw: %v", err)
	}
	if _, err := s.Room(t.Context(), newRoom(1).ARN); err != nil {
		t.Errorf("Room after the thaw: %v", err)
	}
}
