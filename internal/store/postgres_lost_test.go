package store_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
)

// lossy is a way to the database that loses answers: a request that is armed for
// arrives there, is carried out and answered, and then the connection breaks.
type lossy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	armed []byte // what the request has in it; nil: nothing is lost
	lost  int
}

func startLossy(t *testing.T, to string) *lossy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{listener: listener, to: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.relay(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return l
}

// relay passes on a request at a time, and its answer.
func (l *lossy) relay(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex
	losing := false
	var wg sync.WaitGroup
	wg.Go(func() { // answers
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			lose := losing
			mu.Unlock()
			if err != nil || lose {
				server.Close()
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				server.Close()
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			server.Close()
			break
		}
		l.mu.Lock()
		if l.armed != nil && bytes.Contains(buf[:n], l.armed) {
			l.armed = nil
			l.lost++
			mu.Lock()
			losing = true
			mu.Unlock()
		}
		l.mu.Unlock()
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	wg.Wait()
}

// lose arms for one request.
func (l *lossy) lose(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = []byte(what)
}

// TestPostgresLostAnswers: a change that was made, but whose acknowledgement was lost on
// the way, is reported as made, and made once.
func TestPostgresLostAnswers(t *testing.T) {
	server := pgtest.Start(t)
	direct, err := url.Parse(server.CreateDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	l := startLossy(t, direct.Host)
	through := *direct
	through.Host = l.listener.Addr().String()
	s := openPostgres(t, through.String()+"&pool_max_conns=1")
	other := openPostgres(t, direct.String())

	// In a prepared statement's request its text is not to be seen: what is armed for is
	// an argument.
	const commit = "COMMIT"
	n := 0
	check := func(name, lose string, call func() error, holds func() bool) {
		t.Helper()
		n++
		l.lose(lose)
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.lost != n {
			t.Fatalf("%s: got %d answers lost, want %d", name, l.lost, n)
		}
		if !holds() {
			t.Errorf("%s: it did not happen, or twice", name)
		}
	}
	ctx := t.Context()
	exists := func(arn chat.ARN) bool {
		_, err := other.Room(ctx, arn)
		return err == nil
	}

	plain, counted, logged := newRoom(1), newRoom(2), newRoom(3)
	check("CreateRoom", plain.ARN.ID, func() error { return s.CreateRoom(ctx, plain, 0) }, func() bool { return exists(plain.ARN) })
	check("CreateRoom in the last place of a quota", commit, func() error { return s.CreateRoom(ctx, counted, 2) }, func() bool { return exists(counted.ARN) })
	lc := newLogging(1)
	check("CreateLoggingConfiguration", lc.ARN.ID, func() error { return s.CreateLoggingConfiguration(ctx, lc, 0) }, func() bool {
		_, err := other.LoggingConfiguration(ctx, lc.ARN)
		return err == nil
	})
	logged.LoggingConfigurations = []chat.ARN{lc.ARN}
	check("CreateRoom that logs", commit, func() error { return s.CreateRoom(ctx, logged, 0) }, func() bool { return exists(logged.ARN) })
	for range 3 {
		length := 0
		check("UpdateRoom", commit, func() error {
			room, err := s.UpdateRoom(ctx, logged.ARN, func(r chat.Room) (chat.Room, error) {
				r.MaximumMessageLength++
				r.Tags = map[string]string{"a": "b"}
				return r, nil
			})
			length = room.MaximumMessageLength
			return err
		}, func() bool {
			logged.MaximumMessageLength++
			room, err := other.Room(ctx, logged.ARN)
			return err == nil && room.MaximumMessageLength == logged.MaximumMessageLength && length == logged.MaximumMessageLength
		})
	}
	check("UpdateLoggingConfiguration", commit, func() error {
		_, err := s.UpdateLoggingConfiguration(ctx, lc.ARN, func(lc chat.LoggingConfiguration) (chat.LoggingConfiguration, error) {
			lc.Name += "x"
			return lc, nil
		})
		return err
	}, func() bool {
		got, err := other.LoggingConfiguration(ctx, lc.ARN)
		return err == nil && got.Name == lc.Name+"x"
	})
	for _, room := range []chat.Room{plain, logged} {
		check("DeleteRoom", room.ARN.ID, func() error { return s.DeleteRoom(ctx, room.ARN) }, func() bool { return !exists(room.ARN) })
	}
	check("DeleteLoggingConfiguration", commit, func() error { return s.DeleteLoggingConfiguration(ctx, lc.ARN) }, func() bool {
		_, err := other.LoggingConfiguration(ctx, lc.ARN)
		return err != nil
	})
	first := false
	token := chat.TokenID([]byte("twelve bytes"))
	check("SpendToken", string(token[:]), func() (err error) {
		first, err = s.SpendToken(ctx, token, 5, noon)
		return err
	}, func() bool {
		others, err := other.SpendToken(ctx, token, 6, noon)
		return first && !others && err == nil
	})
	key := chat.TokenKey{ID: 7, Created: noon, Secret: []byte("0123456789abcdef0123456789abcdef")}
	check("AddTokenKey", string(key.Secret), func() error { return s.AddTokenKey(ctx, key) }, func() bool {
		keys, err := other.TokenKeys(ctx)
		return err == nil && len(keys) == 1
	})
	check("Beat", commit, func() error {
		_, err := s.Beat(ctx, chat.NodeBeat{ID: "a"})
		return err
	}, func() bool { return true })
}
