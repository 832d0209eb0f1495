package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
	"parlor/internal/store"
	"parlor/internal/store/storetest"
)

// openPostgres opens a store until the test ends.
func openPostgres(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatalf("OpenPostgres: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestPostgresContract(t *testing.T) {
	server := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) chat.Store { return openPostgres(t, server.CreateDatabase(t)) })
}

// TestPostgresNodes: what several nodes do to one database at once.
func TestPostgresNodes(t *testing.T) {
	server := pgtest.Start(t)
	nodes := func(t *testing.T, n int) []*store.Store {
		url := server.CreateDatabase(t)
		stores := make([]*store.Store, n)
		for i := range stores {
			stores[i] = openPostgres(t, url)
		}
		return stores
	}

	t.Run("open an empty database together", func(t *testing.T) {
		url := server.CreateDatabase(t)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				s, err := store.OpenPostgres(t.Context(), url)
				if err != nil {
					t.Errorf("OpenPostgres: %v", err)
					return
				}
				defer s.Close()
				if err := s.CreateRoom(t.Context(), newRoom(i), 0); err != nil {
					t.Errorf("CreateRoom: %v", err)
				}
			})
		}
		wg.Wait()
		rooms, err := openPostgres(t, url).Rooms(t.Context(), home, chat.RoomFilter{}, chat.Cursor{}, 100)
		if err != nil || len(rooms) != 6 {
			t.Errorf("got %d rooms, error %v, want 6", len(rooms), err)
		}
	})

	t.Run("spend a token once", func(t *testing.T) {
		stores := nodes(t, 3)
		const tokens = 60
		var winners [tokens]atomic.Int32
		var wg sync.WaitGroup
		for _, s := range stores {
			for range 4 {
				wg.Go(func() {
					for i := range winners {
						first, err := s.SpendToken(t.Context(), killToken(i), rand.Uint64(), noon)
						if err != nil {
							t.Errorf("SpendToken: %v", err)
						}
						if first {
							winners[i].Add(1)
						}
					}
				})
			}
		}
		wg.Wait()
		for i := range winners {
			if n := winners[i].Load(); n != 1 {
				t.Errorf("token %d: got %d winners, want 1", i, n)
			}
		}
	})

	t.Run("update a room and lose nothing", func(t *testing.T) {
		stores := nodes(t, 3)
		room := newRoom(0)
		room.MaximumMessageLength = 0
		if err := stores[0].CreateRoom(t.Context(), room, 0); err != nil {
			t.Fatal(err)
		}
		const updates = 30
		var wg sync.WaitGroup
		for _, s := range stores {
			for range 4 {
				wg.Go(func() {
					for range updates {
						if _, err := s.UpdateRoom(t.Context(), room.ARN, func(r chat.Room) (chat.Room, error) {
							r.MaximumMessageLength++
							return r, nil
						}); err != nil {
							t.Errorf("UpdateRoom: %v", err)
						}
					}
				})
			}
		}
		wg.Wait()
		got, err := stores[0].Room(t.Context(), room.ARN)
		if want := len(stores) * 4 * updates; err != nil || got.MaximumMessageLength != want {
			t.Errorf("after %d updates: got %d, error %v", want, got.MaximumMessageLength, err)
		}
	})

	t.Run("stay within a quota", func(t *testing.T) {
		stores := nodes(t, 3)
		const quota = 20
		var created, refused atomic.Int32
		var wg sync.WaitGroup
		for i, s := range stores {
			for n := range 16 {
				wg.Go(func() {
					err := s.CreateRoom(t.Context(), newRoom(100*i+n), quota)
					var refusal *chat.Error
					switch {
					case err == nil:
						created.Add(1)
					case errors.As(err, &refusal) && refusal.Code == chat.QuotaExceeded:
						refused.Add(1)
					default:
						t.Errorf("CreateRoom: %v", err)
					}
				})
			}
		}
		wg.Wait()
		if created.Load() != quota || refused.Load() != int32(len(stores)*16-quota) {
			t.Errorf("got %d created and %d refused, want exactly %d created", created.Load(), refused.Load(), quota)
		}
	})

	// A room is created, given and rid of a logging configuration while another node
	// deletes that: nobody refers to what is gone, and every answer is one of ours.
	t.Run("refer to a logging configuration or delete it", func(t *testing.T) {
		stores := nodes(t, 2)
		domain := func(what string, err error, code chat.Code) {
			t.Helper()
			var e *chat.Error
			if err != nil && (!errors.As(err, &e) || e.Code != code) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for i := range 60 {
			lc := newLogging(i)
			bare := newRoom(2 * i)
			if err := errors.Join(stores[0].CreateLoggingConfiguration(t.Context(), lc, 0), stores[0].CreateRoom(t.Context(), bare, 0)); err != nil {
				t.Fatal(err)
			}
			room := newRoom(2*i + 1)
			room.LoggingConfigurations = []chat.ARN{lc.ARN}
			var created, updated, deleted error
			var wg sync.WaitGroup
			wg.Go(func() { created = stores[0].CreateRoom(t.Context(), room, 0) })
			wg.Go(func() {
				_, updated = stores[0].UpdateRoom(t.Context(), bare.ARN, func(r chat.Room) (chat.Room, error) {
					r.LoggingConfigurations = []chat.ARN{lc.ARN}
					return r, nil
				})
			})
			wg.Go(func() { deleted = stores[1].DeleteLoggingConfiguration(t.Context(), lc.ARN) })
			wg.Wait()
			domain("CreateRoom", created, chat.NotFound)
			domain("UpdateRoom", updated, chat.NotFound)
			domain("DeleteLoggingConfiguration", deleted, chat.Conflict)
			if (deleted == nil) == (created == nil || updated == nil) {
				t.Errorf("created %v, updated %v, deleted %v: a reference without its configuration, or neither", created, updated, deleted)
			}
		}
	})

	t.Run("hear of each other", func(t *testing.T) {
		stores := nodes(t, 2)
		if _, err := stores[0].Beat(t.Context(), chat.NodeBeat{ID: "a", Well: true}); err != nil {
			t.Fatal(err)
		}
		others, err := stores[1].Beat(t.Context(), chat.NodeBeat{ID: "b"})
		if err != nil || len(others) != 1 || others[0].ID != "a" || !others[0].Well {
			t.Errorf("Beat: got %v, error %v, want node a", others, err)
		}
	})
}

func TestPostgresIsRefused(t *testing.T) {
	server := pgtest.Start(t)
	t.Run("newer schema", func(t *testing.T) {
		url := server.CreateDatabase(t)
		database := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
		s, err := store.OpenPostgres(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		server.Exec(t, database, `INSERT INTO schema_versions (version_id, is_applied) VALUES (77, true)`)
		_, err = store.OpenPostgres(t.Context(), url)
		for _, want := range []string{database, "schema version 77", "knows versions up to "} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("OpenPostgres: got error %v, want it to say %q", err, want)
			}
		}
	})
	t.Run("not UTF-8", func(t *testing.T) {
		server.Exec(t, "postgres", `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0`)
		if _, err := store.OpenPostgres(t.Context(), server.URL("latin")); err == nil || !strings.Contains(err.Error(), "UTF8") {
			t.Errorf("OpenPostgres: got error %v, want one about the encoding", err)
		}
	})

	// Whatever is wrong with a URL or a server, the password is not in the error.
	good := server.URL("postgres")
	for name, url := range map[string]string{
		"no database":      server.URL("nowhere"),
		"wrong password":   strings.Replace(good, pgtest.Password, pgtest.Password+"x", 1),
		"unescaped slash":  strings.Replace(good, pgtest.Password, "/"+pgtest.Password, 1),
		"unescaped query":  strings.Replace(good, pgtest.Password, "?"+pgtest.Password, 1),
		"unescaped sign":   strings.Replace(good, pgtest.Password, "#"+pgtest.Password+"@", 1),
		"bad escape":       strings.Replace(good, pgtest.Password, "%zz"+pgtest.Password, 1),
		"bad port":         strings.Replace(good, "127.0.0.1:", "127.0.0.1:x", 1),
		"nobody there":     fmt.Sprintf("postgres://parlor:%s@127.0.0.1:1/db", pgtest.Password),
		"not a URL":        "host=127.0.0.1 password=" + pgtest.Password,
		"other scheme":     strings.Replace(good, "postgres:", "mysql:", 1),
		"unknown mode":     good + "&sslmode=" + pgtest.Password,
		"no pool":          good + "&pool_max_conns=0",
		"unknown setting":  good + "&no_such_setting=1",
		"password in host": "postgres://" + pgtest.Password + ":5432:5432/x",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.OpenPostgres(t.Context(), url)
			if err == nil {
				s.Close()
				t.Fatal("OpenPostgres: got no error")
			}
			if strings.Contains(err.Error(), pgtest.Password) {
				t.Errorf("the error has the password in it: %v", err)
			}
		})
	}
}

func TestPostgresCloseLeavesNothing(t *testing.T) {
	server := pgtest.Start(t)
	url := server.CreateDatabase(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := store.OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for n := w; ; n += 16 {
				if err := s.CreateRoom(t.Context(), newRoom(n), 0); err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Errorf("while closing: %v", err)
					}
					return
				}
				if n == 320 {
					go s.Close()
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Ready of a closed store: got error %v, want ErrClosed", err)
	}
}
