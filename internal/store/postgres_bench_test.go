package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"parlor/internal/chat"
	"parlor/internal/pgtest"
)

// BenchmarkPostgres is what the operations of the hot paths cost on a server of this
// machine, fsync and all.
func BenchmarkPostgres(b *testing.B) {
	server := pgtest.Start(b)
	for _, callers := range []int{1, 32} {
		s := openPostgresStore(b, server.CreateDatabase(b))
		run := func(name string, f func(n int) error) {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) { parallel(b, callers, f) })
		}
		run("CreateRoom", func(n int) error {
			room := benchRoom(n)
			room.ARN.ID = fmt.Sprintf("%012d", rand.Int64N(1e12))
			return s.CreateRoom(context.Background(), room, 0)
		})
		const made = 1000
		for n := range made {
			if err := s.CreateRoom(context.Background(), benchRoom(n), 0); err != nil {
				b.Fatal(err)
			}
		}
		run("Room", func(int) error {
			_, err := s.Room(context.Background(), chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: benchID(rand.IntN(made))})
			return err
		})
		run("SpendToken", func(int) error {
			id := chat.TokenID([]byte(fmt.Sprintf("%012d", rand.Int64N(1e12))))
			_, err := s.SpendToken(context.Background(), id, rand.Uint64(), epoch)
			return err
		})
		run("UpdateRoom", func(n int) error {
			_, err := s.UpdateRoom(context.Background(), chat.ARN{Scope: scope, Kind: chat.KindRoom, ID: benchID(n % made)}, func(r chat.Room) (chat.Room, error) {
				r.MaximumMessageLength = n
				return r, nil
			})
			return err
		})
	}
}
