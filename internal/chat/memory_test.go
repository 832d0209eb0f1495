package chat

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var testScope = Scope{Region: "us-west-2", Account: "123456789012"}

const everything = MaySendMessage | MayDeleteMessage | MayDisconnectUser

// world is a service over ports in memory. It hears of its own publications as a node
// does.
type world struct {
	store   *memoryStore
	broker  *memoryBroker
	service *Service
}

func newWorld() *world {
	w := &world{store: newMemoryStore(), broker: &memoryBroker{rooms: map[ARN]*memoryRoom{}}}
	w.service = w.newService(time.Hour)
	return w
}

// newService is another node over the same store and broker.
func (w *world) newService(tokenLifetime time.Duration) *Service {
	s := NewService(ServiceConfig{Store: w.store, Broker: w.broker, TokenLifetime: tokenLifetime})
	w.broker.deliver = append(w.broker.deliver, func(pub *Publication) {
		if pub.Kind == PublishRoomChanged || pub.Kind == PublishRoomDeleted {
			s.ForgetRoom(pub.Room)
		}
	})
	return s
}

// virtually runs a test in virtual time.
func virtually(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld()) })
}

func (w *world) room(t testing.TB, spec RoomSpec) Room {
	t.Helper()
	room, err := w.service.CreateRoom(t.Context(), testScope, spec)
	if err != nil {
		t.Fatal(err)
	}
	return room
}

func (w *world) loggingConfiguration(t testing.TB) LoggingConfiguration {
	t.Helper()
	lc, err := w.service.CreateLoggingConfiguration(t.Context(), testScope, LoggingConfigurationSpec{
		Destination: Destination{Kind: DestinationS3, Name: "bucket"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return lc
}

// session opens a session by a token, as the gateway does.
func (w *world) session(t testing.TB, spec TokenSpec) *Session {
	t.Helper()
	token, _, err := w.service.CreateChatToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := w.service.OpenToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	session, err := w.service.Admit(t.Context(), claims, rand.Uint64())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// memoryStore is a Store without the durability.
type memoryStore struct {
	memoryBans

	mu      sync.Mutex
	rooms   map[ARN]Room
	configs map[ARN]LoggingConfiguration
	spent   map[TokenID]spentToken
	beats   map[string]NodeBeat
	keys    []TokenKey

	fails     error  // of every method
	roomReads int    // calls of Room
	keyReads  int    // calls of TokenKeys
	onRead    func() // called by Room between reading and returning
	onAddKey  func() // called by AddTokenKey before it adds
}

type spentToken struct {
	by    uint64
	until time.Time
}

func newMemoryStore() *memoryStore {
	return &memoryStore{rooms: map[ARN]Room{}, configs: map[ARN]LoggingConfiguration{}, spent: map[TokenID]spentToken{}, beats: map[string]NodeBeat{}}
}

// counts are how often rooms and keys were read.
func (m *memoryStore) counts() (rooms, keys int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roomReads, m.keyReads
}

// exist returns NotFound for the first configuration that is neither stored nor known.
func (m *memoryStore) exist(configurations, known []ARN) error {
	for _, arn := range configurations {
		if _, ok := m.configs[arn]; !ok && !slices.Contains(known, arn) {
			return NewNotFound(arn)
		}
	}
	return nil
}

func (m *memoryStore) CreateRoom(_ context.Context, room Room, _ int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	if err := m.exist(room.LoggingConfigurations, nil); err != nil {
		return err
	}
	m.rooms[room.ARN] = room
	return nil
}

func (m *memoryStore) Room(_ context.Context, arn ARN) (Room, error) {
	m.mu.Lock()
	m.roomReads++
	room, ok := m.rooms[arn]
	fails, onRead := m.fails, m.onRead
	m.mu.Unlock()
	if onRead != nil {
		onRead()
	}
	switch {
	case fails != nil:
		return Room{}, fails
	case !ok:
		return Room{}, NewNotFound(arn)
	}
	return room, nil
}

func (m *memoryStore) UpdateRoom(_ context.Context, arn ARN, change func(Room) (Room, error)) (Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return Room{}, m.fails
	}
	old, ok := m.rooms[arn]
	if !ok {
		return Room{}, NewNotFound(arn)
	}
	room, err := change(old)
	if err == nil {
		err = m.exist(room.LoggingConfigurations, old.LoggingConfigurations)
	}
	if err != nil {
		return Room{}, err
	}
	m.rooms[arn] = room
	return room, nil
}

func (m *memoryStore) DeleteRoom(_ context.Context, arn ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	if _, ok := m.rooms[arn]; !ok {
		return NewNotFound(arn)
	}
	delete(m.rooms, arn)
	return nil
}

// page is the part of a list after the cursor. place is an element's place.
func page[T any](all []T, place func(T) Cursor, after Cursor, limit int) []T {
	compare := func(a, b Cursor) int {
		return cmp.Or(b.UpdateTime.Compare(a.UpdateTime), cmp.Compare(b.ID, a.ID))
	}
	slices.SortFunc(all, func(a, b T) int { return compare(place(a), place(b)) })
	if after != (Cursor{}) {
		all = slices.DeleteFunc(all, func(e T) bool { return compare(place(e), after) <= 0 })
	}
	return all[:min(limit, len(all))]
}

func (m *memoryStore) Rooms(_ context.Context, scope Scope, filter RoomFilter, after Cursor, limit int) ([]Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return nil, m.fails
	}
	var all []Room
	for arn, r := range m.rooms {
		switch {
		case arn.Scope != scope,
			filter.Name != "" && r.Name != filter.Name,
			filter.HandlerURI != "" && (r.Handler == nil || r.Handler.URI != filter.HandlerURI),
			filter.LoggingConfiguration != ARN{} && !slices.Contains(r.LoggingConfigurations, filter.LoggingConfiguration):
			continue
		}
		all = append(all, r)
	}
	return page(all, func(r Room) Cursor { return Cursor{r.UpdateTime, r.ARN.ID} }, after, limit), nil
}

func (m *memoryStore) CreateLoggingConfiguration(_ context.Context, lc LoggingConfiguration, _ int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	m.configs[lc.ARN] = lc
	return nil
}

func (m *memoryStore) LoggingConfiguration(_ context.Context, arn ARN) (LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return LoggingConfiguration{}, m.fails
	}
	lc, ok := m.configs[arn]
	if !ok {
		return LoggingConfiguration{}, NewNotFound(arn)
	}
	return lc, nil
}

func (m *memoryStore) UpdateLoggingConfiguration(_ context.Context, arn ARN, change func(LoggingConfiguration) (LoggingConfiguration, error)) (LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return LoggingConfiguration{}, m.fails
	}
	old, ok := m.configs[arn]
	if !ok {
		return LoggingConfiguration{}, NewNotFound(arn)
	}
	lc, err := change(old)
	if err != nil {
		return LoggingConfiguration{}, err
	}
	m.configs[arn] = lc
	return lc, nil
}

func (m *memoryStore) DeleteLoggingConfiguration(_ context.Context, arn ARN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	if _, ok := m.configs[arn]; !ok {
		return NewNotFound(arn)
	}
	for _, r := range m.rooms {
		if slices.Contains(r.LoggingConfigurations, arn) {
			return &Error{Code: Conflict, Message: "in use", Resource: arn}
		}
	}
	delete(m.configs, arn)
	return nil
}

func (m *memoryStore) LoggingConfigurations(_ context.Context, scope Scope, after Cursor, limit int) ([]LoggingConfiguration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return nil, m.fails
	}
	var all []LoggingConfiguration
	for arn, lc := range m.configs {
		if arn.Scope == scope {
			all = append(all, lc)
		}
	}
	return page(all, func(lc LoggingConfiguration) Cursor { return Cursor{lc.UpdateTime, lc.ARN.ID} }, after, limit), nil
}

func (m *memoryStore) SpendToken(_ context.Context, id TokenID, by uint64, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return false, m.fails
	}
	mark, spent := m.spent[id]
	if !spent {
		mark = spentToken{by: by, until: until}
		m.spent[id] = mark
	}
	return mark.by == by, nil
}

func (m *memoryStore) TokenSpent(_ context.Context, id TokenID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return false, m.fails
	}
	_, spent := m.spent[id]
	return spent, nil
}

func (m *memoryStore) TokenKeys(context.Context) ([]TokenKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keyReads++
	return slices.Clone(m.keys), m.fails
}

func (m *memoryStore) AddTokenKey(_ context.Context, key TokenKey) error {
	m.mu.Lock()
	onAddKey := m.onAddKey
	m.mu.Unlock()
	if onAddKey != nil {
		onAddKey()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	m.keys = append(m.keys, key)
	slices.SortStableFunc(m.keys, func(a, b TokenKey) int { return a.Created.Compare(b.Created) })
	return nil
}

func (m *memoryStore) PruneTokens(_ context.Context, keysBefore, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	m.keys = slices.DeleteFunc(m.keys, func(k TokenKey) bool { return k.Created.Before(keysBefore) })
	for id, mark := range m.spent {
		if mark.until.Before(now) {
			delete(m.spent, id)
		}
	}
	return nil
}

func (m *memoryStore) Beat(_ context.Context, node NodeBeat) (others []NodeBeat, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return nil, m.fails
	}
	now := time.Now()
	for id, other := range m.beats {
		if age := now.Sub(other.Seen); age > 24*time.Hour {
			delete(m.beats, id)
		} else if age <= NodeSilence && id != node.ID {
			others = append(others, other)
		}
	}
	node.Seen = now
	m.beats[node.ID] = node
	slices.SortFunc(others, func(a, b NodeBeat) int { return cmp.Compare(a.ID, b.ID) })
	return others, nil
}

func (m *memoryStore) Ready(context.Context) error { return m.fails }

// memoryBroker is a Broker of which every service is a node, subscribed to all rooms.
type memoryBroker struct {
	rates   Rates[rateKey]
	deliver []func(*Publication) // set before use

	mu        sync.Mutex
	rooms     map[ARN]*memoryRoom
	published []*Publication
	forgetful bool  // published is not kept
	fails     error // of every method
	claims    map[string]memoryClaim
}

type memoryClaim struct {
	by    string
	until time.Time
}

type memoryRoom struct {
	number uint64
	rate   Rate
}

func (b *memoryBroker) Admit(_ context.Context, arn ARN, rate int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.admit(arn, rate)
	return err
}

// admit takes one of a room's rate. b.mu is held.
func (b *memoryBroker) admit(arn ARN, rate int) (*memoryRoom, error) {
	if b.fails != nil {
		return nil, b.fails
	}
	room := b.rooms[arn]
	if room == nil {
		room = &memoryRoom{}
		b.rooms[arn] = room
	}
	if rate > 0 && !room.rate.Allow(time.Now(), rate) {
		return nil, RateLimitExceeded(arn, rate)
	}
	return room, nil
}

func (b *memoryBroker) Publish(_ context.Context, pub *Publication, rate int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	room, err := b.admit(pub.Room, rate)
	if err != nil {
		return err
	}
	room.number++
	pub.Position = Position{Epoch: 1, Number: room.number}
	if !b.forgetful {
		b.published = append(b.published, pub)
	}
	for _, deliver := range b.deliver {
		deliver(pub)
	}
	return nil
}

// taken returns what was published since it was last called.
func (b *memoryBroker) taken() []*Publication {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.published
	b.published = nil
	return out
}

// one returns the only publication since the last that was taken.
func (b *memoryBroker) one(t testing.TB) *Publication {
	t.Helper()
	all := b.taken()
	if len(all) != 1 {
		t.Fatalf("publications: got %d, want 1", len(all))
	}
	return all[0]
}

func (b *memoryBroker) Subscribe(_ context.Context, arn ARN) (Position, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails != nil {
		return Position{}, nil, b.fails
	}
	at := Position{Epoch: 1}
	if room := b.rooms[arn]; room != nil {
		at.Number = room.number
	}
	return at, func() {}, nil
}

func (b *memoryBroker) Borrow(_ context.Context, scope Scope, what string, perSecond, _ int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails != nil {
		return 0, b.fails
	}
	if !b.rates.Allow(rateKey{scope, what}, time.Now(), perSecond) {
		return 0, nil
	}
	return 1, nil
}

func (b *memoryBroker) Reserve(_ context.Context, _ Scope, n, quota int) (int, error) {
	return min(n, quota), b.fails
}

func (b *memoryBroker) Claim(_ context.Context, room ARN, name, by string, hold time.Duration) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name = room.ID + name
	if had := b.claims[name]; had.by != "" && had.by != by && time.Until(had.until) > 0 {
		return time.Until(had.until), b.fails
	}
	if b.claims == nil {
		b.claims = map[string]memoryClaim{}
	}
	b.claims[name] = memoryClaim{by, time.Now().Add(hold)}
	return 0, b.fails
}

func (b *memoryBroker) Release(_ context.Context, room ARN, name, by string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name = room.ID + name; b.claims[name].by == by {
		delete(b.claims, name)
	}
	return b.fails
}

func (b *memoryBroker) Ready(context.Context) error { return b.fails }

func (b *memoryBroker) Attend(context.Context, ARN, Share) (Standing, error) {
	return Standing{}, b.fails
}
