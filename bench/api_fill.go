package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"parlor/internal/chat"
	"parlor/internal/store"
)

// The rooms of the store: which has which name, handler and logging configuration.
// One in namedEvery has the name that is asked for, and so on.
const (
	namedEvery   = 1000
	handledEvery = 100
	loggedEvery  = 100
)

var apiScope = chat.Scope{Region: apiRegion, Account: "000000000000"} // parlor serve's own account

func apiName(n int) string { return fmt.Sprintf("stream-%d", n%namedEvery) }

func apiHandler(n int) string {
	return fmt.Sprintf("arn:aws:lambda:%s:123456789012:function:review-%d", apiRegion, n%handledEvery)
}

// apiRoom is a room of about 600 bytes, as a streaming site would make it.
func apiRoom(n int, at time.Time) chat.Room {
	room := chat.Room{
		ARN:                         chat.ARN{Scope: apiScope, Kind: chat.KindRoom, ID: chat.NewID()},
		Name:                        apiName(n),
		CreateTime:                  at,
		UpdateTime:                  at,
		MaximumMessageRatePerSecond: 10,
		MaximumMessageLength:        500,
		Handler:                     &chat.ReviewHandler{URI: apiHandler(n), Fallback: chat.FallbackAllow},
		Tags:                        map[string]string{},
	}
	for i := range 4 {
		room.Tags[fmt.Sprintf("department-of-video-%d", i)] = fmt.Sprintf("a value as somebody would write it who has something to say about the room that is number %d", n)
	}
	return room
}

// fillStore makes the rooms in a data directory that no server has open, by the
// server's own store: a tenth of the time that it takes through the API.
func fillStore(ctx context.Context, dir string, rooms int) (err error) {
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begin := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Duration(rooms) * time.Millisecond)
	lc := chat.LoggingConfiguration{
		ARN:         chat.ARN{Scope: apiScope, Kind: chat.KindLoggingConfiguration, ID: chat.NewID()},
		CreateTime:  begin,
		UpdateTime:  begin,
		Destination: chat.Destination{Kind: chat.DestinationS3, Name: "bench-chat-logs"},
	}
	if err := s.CreateLoggingConfiguration(ctx, lc, 0); err != nil {
		return err
	}
	var next atomic.Int64
	var writers sync.WaitGroup
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for range 256 { // two commits' worth
		writers.Go(func() {
			for n := int(next.Add(1)); n <= rooms && ctx.Err() == nil; n = int(next.Add(1)) {
				room := apiRoom(n, begin.Add(time.Duration(n)*time.Millisecond))
				if n%loggedEvery == 0 {
					room.LoggingConfigurations = []chat.ARN{lc.ARN}
				}
				if err := s.CreateRoom(ctx, room, 0); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	writers.Wait()
	return context.Cause(ctx)
}
