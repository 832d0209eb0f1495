package chat

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// memoryBans are the bans of a store.
type memoryBans struct {
	mu   sync.Mutex
	bans []Ban
}

func (m *memoryBans) PutBan(_ context.Context, ban Ban, quota int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(ban.Place, ban.UserID, ban.Kind)
	if quota > 0 && len(m.bans) >= quota {
		return NewQuotaExceeded(ban.Place, quota)
	}
	m.bans = append(m.bans, ban)
	return nil
}

func (m *memoryBans) RemoveBan(_ context.Context, place ARN, userID string, kind BanKind) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(place, userID, kind)
	return nil
}

// remove takes a ban away; mu is held.
func (m *memoryBans) remove(place ARN, userID string, kind BanKind) {
	m.bans = slices.DeleteFunc(m.bans, func(b Ban) bool { return b.Place == place && b.UserID == userID && b.Kind == kind })
}

func (m *memoryBans) BansOf(_ context.Context, place ARN, now time.Time) ([]Ban, error) {
	return m.those(func(b Ban) bool { return b.Place == place }, now), nil
}

func (m *memoryBans) Bans(_ context.Context, scope Scope, filter BanFilter, after Cursor, limit int, now time.Time) ([]Ban, error) {
	list := m.those(func(b Ban) bool {
		at := cmp.Or(b.CreateTime.Compare(after.UpdateTime), cmp.Compare(b.ID, after.ID))
		return b.Place.Scope == scope && (filter.Room == ARN{} || filter.Room == b.Place) && (filter.UserID == "" || filter.UserID == b.UserID) &&
			(filter.Kind == "" || filter.Kind == b.Kind) && (after == Cursor{} || at < 0)
	}, now)
	slices.SortFunc(list, func(a, b Ban) int { return -cmp.Or(a.CreateTime.Compare(b.CreateTime), cmp.Compare(a.ID, b.ID)) })
	return list[:min(limit, len(list))], nil
}

// those are the bans that are wanted and not over.
func (m *memoryBans) those(wanted func(Ban) bool, now time.Time) (list []Ban) {
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
