package awsapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

// memoryStore is a chat.Store that keeps its promises but durability.
type memoryStore struct {
	memoryBans

	mu    sync.Mutex
	rooms map[chat.ARN]chat.Room
	lcs   map[chat.ARN]chat.LoggingConfiguration
	spent map[chat.TokenID]uint64
	keys  []chat.TokenKey
	// err, if set, is what every read of a room answers: a store that is out of order.
	err error
	// panics, if set, is what every read of a room panics with.
	panics any
}

func newMemoryStore() *memoryStore {
	return &memoryStore{
		rooms: map[chat.ARN]chat.Room{},
		lcs:   map[chat.ARN]chat.LoggingConfiguration{},
		spent: map[chat.TokenID]uint64{},
	}
}

// referenced checks that a room's new logging configurations exist; mu is held.
func (m *memoryStore) referenced(old, new chat.Room) error {
	for _, arn := range new.LoggingConfigurations {
		if _, ok := m.lcs[arn]; !ok && !slices.Contains(old.LoggingConfigurations, arn) {
			return chat.NewNotFound(arn)
		}
	}
	return nil
}

func (m *memoryStore) CreateRoom(_ context.Context, room chat.Room, quota int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.referenced(chat.Room{}, room); err != nil {
		return err
	}
	if quota > 0 && len(m.rooms) >= quota {
		return chat.NewQuotaExceeded(room.ARN, quota)
	}
	m.rooms[room.ARN] = room
	return nil
}

func (m *memoryStore) Room(_ context.Context, arn chat.ARN) (chat.Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.panics != nil {
		panic(m.panics)
	}
	if m.err != nil {
		return chat.Room{}, m.err
	}
	room, ok := m.rooms[arn]
	if !ok {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	return room, nil
}

func (m *memoryStore) UpdateRoom(_ context.Context, arn chat.ARN, change func(chat.Room) (chat.Room, error)) (chat.Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.rooms[arn]
	if !ok {
		return chat.Room{}, chat.NewNotFound(arn)
	}
	room, err := change(old)
	if err == nil {
		err = m.referenced(old, room)
	}
	if err != nil {
		return chat.Room{}, err
	}
	m.rooms[arn] = room
	return room, nil
}

func (m *memoryStore) DeleteRoom(_ context.Context, arn chat.ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rooms[arn]; !ok {
		return chat.NewNotFound(arn)
	}
	delete(m.rooms, arn)
	return nil
}

// byUpdate orders as the lists do: latest first, then by id descending.
func byUpdate(at, bt time.Time, a, b string) int {
	return cmp.Or(bt.Compare(at), cmp.Compare(b, a))
}

func afterCursor(c chat.Cursor, t time.Time, id string) bool {
	return c == chat.Cursor{} || byUpdate(c.UpdateTime, t, c.ID, id) < 0
}

func (m *memoryStore) Rooms(_ context.Context, scope chat.Scope, filter chat.RoomFilter, after chat.Cursor, limit int) ([]chat.Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []chat.Room
	for arn, room := range m.rooms {
		if arn.Scope == scope &&
			(filter.Name == "" || filter.Name == room.Name) &&
			(filter.HandlerURI == "" || room.Handler != nil && filter.HandlerURI == room.Handler.URI) &&
			(filter.LoggingConfiguration == chat.ARN{} || slices.Contains(room.LoggingConfigurations, filter.LoggingConfiguration)) &&
			afterCursor(after, room.UpdateTime, arn.ID) {
			found = append(found, room)
		}
	}
	slices.SortFunc(found, func(a, b chat.Room) int {
		return byUpdate(a.UpdateTime, b.UpdateTime, a.ARN.ID, b.ARN.ID)
	})
	return found[:min(limit, len(found))], nil
}

func (m *memoryStore) CreateLoggingConfiguration(_ context.Context, lc chat.LoggingConfiguration, quota int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if quota > 0 && len(m.lcs) >= quota {
		return chat.NewQuotaExceeded(lc.ARN, quota)
	}
	m.lcs[lc.ARN] = lc
	return nil
}

func (m *memoryStore) LoggingConfiguration(_ context.Context, arn chat.ARN) (chat.LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lc, ok := m.lcs[arn]
	if !ok {
		return lc, chat.NewNotFound(arn)
	}
	return lc, nil
}

func (m *memoryStore) UpdateLoggingConfiguration(_ context.Context, arn chat.ARN, change func(chat.LoggingConfiguration) (chat.LoggingConfiguration, error)) (chat.LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.lcs[arn]
	if !ok {
		return old, chat.NewNotFound(arn)
	}
	lc, err := change(old)
	if err != nil {
		return chat.LoggingConfiguration{}, err
	}
	m.lcs[arn] = lc
	return lc, nil
}

func (m *memoryStore) DeleteLoggingConfiguration(_ context.Context, arn chat.ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.lcs[arn]; !ok {
		return chat.NewNotFound(arn)
	}
	for _, room := range m.rooms {
		if slices.Contains(room.LoggingConfigurations, arn) {
			return &chat.Error{Code: chat.Conflict, Message: "The logging configuration is in use.", Resource: arn}
		}
	}
	delete(m.lcs, arn)
	return nil
}

func (m *memoryStore) LoggingConfigurations(_ context.Context, scope chat.Scope, after chat.Cursor, limit int) ([]chat.LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []chat.LoggingConfiguration
	for arn, lc := range m.lcs {
		if arn.Scope == scope && afterCursor(after, lc.UpdateTime, arn.ID) {
			found = append(found, lc)
		}
	}
	slices.SortFunc(found, func(a, b chat.LoggingConfiguration) int {
		return byUpdate(a.UpdateTime, b.UpdateTime, a.ARN.ID, b.ARN.ID)
	})
	return found[:min(limit, len(found))], nil
}

func (m *memoryStore) SpendToken(_ context.Context, id chat.TokenID, by uint64, _ time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, spent := m.spent[id]; !spent {
		m.spent[id] = by
	}
	return m.spent[id] == by, nil
}

func (m *memoryStore) TokenSpent(_ context.Context, id chat.TokenID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, spent := m.spent[id]
	return spent, nil
}

func (m *memoryStore) TokenKeys(context.Context) ([]chat.TokenKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), nil
}

func (m *memoryStore) AddTokenKey(_ context.Context, key chat.TokenKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, key)
	return nil
}

func (m *memoryStore) PruneTokens(context.Context, time.Time, time.Time) error { return nil }
func (m *memoryStore) Ready(context.Context) error                             { return nil }

func (m *memoryStore) Beat(context.Context, chat.NodeBeat) ([]chat.NodeBeat, error) { return nil, nil }

// recordingBroker is a chat.Broker without sessions: it remembers what was published.
type recordingBroker struct {
	mu        sync.Mutex
	published []*chat.Publication
	err       error // if set, every Publish answers it
}

func (b *recordingBroker) Publish(_ context.Context, pub *chat.Publication, _ int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.published = append(b.published, pub)
	return nil
}

func (b *recordingBroker) Admit(context.Context, chat.ARN, int) error { return b.err }

func (b *recordingBroker) Subscribe(context.Context, chat.ARN) (chat.Position, func(), error) {
	return chat.Position{}, nil, errors.New("no sessions here")
}

func (b *recordingBroker) Borrow(context.Context, chat.Scope, string, int, int) (int, error) {
	return 1, b.err
}

func (b *recordingBroker) Reserve(_ context.Context, _ chat.Scope, n, quota int) (int, error) {
	return min(n, quota), b.err
}

func (b *recordingBroker) Ready(context.Context) error { return nil }

// last is the latest publication.
func (b *recordingBroker) last(t *testing.T) *chat.Publication {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.published) == 0 {
		t.Fatal("nothing was published")
	}
	return b.published[len(b.published)-1]
}

func (*recordingBroker) Claim(context.Context, chat.ARN, string, string, time.Duration) (time.Duration, error) {
	return 0, nil
}

func (*recordingBroker) Release(context.Context, chat.ARN, string, string) error { return nil }

func (*recordingBroker) Attend(context.Context, chat.ARN, chat.Share) (chat.Standing, error) {
	return chat.Standing{}, nil
}
