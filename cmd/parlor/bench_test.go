package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeAPI makes and deletes rooms, and does before that what the test says.
type fakeAPI struct {
	create func(n int) (status int) // the nth request, from 0; 0 makes a room
	remove func(arn string) (status int)

	mu      sync.Mutex
	asked   int
	deleted []string
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(status int) {
		w.Header().Set("X-Amzn-ErrorType", map[int]string{http.StatusTooManyRequests: "ThrottlingException"}[status])
		w.WriteHeader(status)
	}
	switch r.URL.Path {
	case "/CreateRoom":
		n := a.asked
		a.asked++
		if a.create != nil {
			if status := a.create(n); status != 0 {
				fail(status)
				return
			}
		}
		fmt.Fprintf(w, `{"arn":"room-%d"}`, n)
	case "/DeleteRoom":
		var in struct{ Identifier string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			fail(http.StatusBadRequest)
			return
		}
		if a.remove != nil {
			if status := a.remove(in.Identifier); status != 0 {
				fail(status)
				return
			}
		}
		a.deleted = append(a.deleted, in.Identifier)
		w.WriteHeader(http.StatusNoContent)
	case "/CreateChatToken":
		fmt.Fprint(w, `{"token":"t"}`)
	}
}

// TestBenchLeavesNoRooms: every room that was made is deleted, whatever came between,
// and one that cannot be is named.
func TestBenchLeavesNoRooms(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "123456789012")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	for _, test := range []struct {
		name        string
		api         func(stop func()) *fakeAPI
		interrupted bool
		deleted     []string
		said        string
	}{
		{
			name:    "all went well",
			api:     func(func()) *fakeAPI { return &fakeAPI{} },
			deleted: []string{"room-0", "room-1", "room-2"},
		},
		{
			name: "interrupted while rooms are made",
			api: func(stop func()) *fakeAPI {
				return &fakeAPI{create: func(int) int {
					stop()
					time.Sleep(50 * time.Millisecond) // a request that were cancelled would be by now
					return 0
				}}
			},
			interrupted: true,
			deleted:     []string{"room-0", "room-1", "room-2"},
		},
		{
			name: "asked too often",
			api: func(func()) *fakeAPI {
				return &fakeAPI{create: func(n int) int {
					if n < 9 { // more than the SDK tries
						return http.StatusTooManyRequests
					}
					return 0
				}}
			},
			deleted: []string{"room-10", "room-11", "room-9"},
		},
		{
			name: "one cannot be deleted",
			api: func(func()) *fakeAPI {
				return &fakeAPI{remove: func(arn string) int {
					if arn == "room-0" {
						return http.StatusForbidden
					}
					return 0
				}}
			},
			deleted: []string{"room-1", "room-2"},
			said:    "parlor: room room-0 is left: ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			api := test.api(stop)
			s := httptest.NewServer(api)
			defer s.Close()
			b := &benchCommand{apiFlags: apiFlags{endpointFlag: endpointFlag{Endpoint: s.URL}}, Rooms: 3, Connections: 3}
			target, err := b.target(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			err = target.prepare(ctx, b)
			if test.interrupted != errors.Is(err, context.Canceled) || !test.interrupted && err != nil {
				t.Errorf("prepare: %v", err)
			}
			var said bytes.Buffer
			target.cleanUp(&said)
			slices.Sort(api.deleted)
			// An interrupt may come before all are asked for.
			if d := cmp.Diff(api.deleted, test.deleted[:min(len(test.deleted), max(1, api.asked))]); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
			if !strings.HasPrefix(said.String(), test.said) || test.said == "" && said.Len() > 0 || strings.Count(said.String(), "\n") > 1 {
				t.Errorf("said %q, want %q", &said, test.said)
			}
		})
	}
}
