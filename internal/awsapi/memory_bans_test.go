package awsapi

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"parlor/internal/chat"
)

// memoryBans are the bans of a store.
type memoryBans struct {
	mu   sync.Mutex
	bans []chat.Ban
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

func (m *memoryBans) Bans(_ context.Context, scope chat.Scope, filter chat.BanFilter, after chat.Cursor, limit int, now time.Time) ([]chat.Ban, error) {
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

// PutBan is that of memoryBans, in rooms that exist.
func (m *memoryStore) PutBan(ctx context.Context, ban chat.Ban, quota int) error {
	if ban.Place.Kind == chat.KindRoom {
		if _, err := m.Room(ctx, ban.Place); err != nil {
			return err
		}
	}
	return m.memoryBans.PutBan(ctx, ban, quota)
}

// memoryHistory is what the history of a room has of a user.
type memoryHistory struct {
	chat.HistoryStore

	ids []string
}

func (m *memoryHistory) RoomHistory(context.Context, chat.ARN, int) ([]chat.HistoryEntry, error) {
	return nil, nil
}

func (m *memoryHistory) PurgeHistory(_ context.Context, _ chat.ARN, userID string) ([]string, error) {
	if userID != "eve" {
		return nil, nil
	}
	return m.ids, nil
}

func (m *memoryHistory) config() *chat.HistoryConfig {
	return &chat.HistoryConfig{Store: m, Failed: func(error) {}, Recent: func(context.Context, chat.ARN, int) ([]*chat.Publication, chat.Position, error) {
		return nil, chat.Position{}, nil
	}}
}
