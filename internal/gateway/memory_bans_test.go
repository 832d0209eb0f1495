package gateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"parlor/internal/chat"
)

// memoryBans are the bans of a store.
type memoryBans struct {
	mu    sync.Mutex
	bans  []chat.Ban
	fails int // how many more calls of Bans do
}

func (m *memoryBans) PutBan(_ context.Context, ban chat.Ban, quota int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(ban.Place, ban.UserID, ban.Kind)
	if quota > 0 && len(m.bans) >= quota {
		return chat.NewQuotaExceeded(ban.Place, quota)
	}
	m.bans = append(m.bans, ban)
	return nil
}

func (m *memoryBans) RemoveBan(_ context.Context, place chat.ARN, userID string, kind chat.BanKind) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(place, userID, kind)
	return nil
}

// remove takes a ban away; mu is held.
func (m *memoryBans) remove(place chat.ARN, userID string, kind chat.BanKind) {
	m.bans = slices.DeleteFunc(m.bans, func(b chat.Ban) bool { return b.Place == place && b.UserID == userID && b.Kind == kind })
}

func (m *memoryBans) BansOf(_ context.Context, place chat.ARN, now time.Time) ([]chat.Ban, error) {
	return m.those(func(b chat.Ban) bool { return b.Place == place }, now), nil
}

// away has the next calls of Bans fail.
func (m *memoryBans) away(calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = calls
}

func (m *memoryBans) Bans(_ context.Context, scope chat.Scope, filter chat.BanFilter, after chat.Cursor, limit int, now time.Time) ([]chat.Ban, error) {
	m.mu.Lock()
	m.fails--
	failed := m.fails >= 0
	m.mu.Unlock()
	if failed {
		return nil, errors.New("the store is away")
	}
	list := m.those(func(b chat.Ban) bool {
		at := cmp.Or(b.CreateTime.Compare(after.UpdateTime), cmp.Compare(b.ID, after.ID))
		return b.Place.Scope == scope && (filter.Room == chat.ARN{} || filter.Room == b.Place) && (filter.UserID == "" || filter.UserID == b.UserID) &&
			(filter.Kind == "" || filter.Kind == b.Kind) && (after == chat.Cursor{} || at < 0)
	}, now)
	slices.SortFunc(list, func(a, b chat.Ban) int { return -cmp.Or(a.CreateTime.Compare(b.CreateTime), cmp.Compare(a.ID, b.ID)) })
	return list[:min(limit, len(list))], nil
}

// those are the bans that are wanted and not over.
func (m *memoryBans) those(wanted func(chat.Ban) bool, now time.Time) (list []chat.Ban) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.bans {
		if wanted(b) && (b.ExpireTime.IsZero() || now.Before(b.ExpireTime)) {
			list = append(list, b)
		}
	}
	return list
}

func (m *memoryBans) PruneBans(context.Context, time.Time) error { return nil }
