package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parlor/internal/chat"
)

// model is what a store should be: maps, and loops over all of them.
type model struct {
	store  chat.Store
	scope  chat.Scope
	rooms  map[chat.ARN]chat.Room
	lcs    map[chat.ARN]chat.LoggingConfiguration
	tokens map[chat.TokenID]bool
}

// testModel compares the store with the model over random sequences of operations.
// Each sequence has a scope, and so a part of the store, of its own.
func testModel(t *testing.T, store chat.Store) {
	sequence := 0
	rapid.Check(t, func(rt *rapid.T) {
		sequence++
		m := &model{
			store:  store,
			scope:  chat.Scope{Region: "eu-west-1", Account: fmt.Sprint(sequence)},
			rooms:  map[chat.ARN]chat.Room{},
			lcs:    map[chat.ARN]chat.LoggingConfiguration{},
			tokens: map[chat.TokenID]bool{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"CreateRoom":                 m.createRoom,
			"UpdateRoom":                 m.updateRoom,
			"DeleteRoom":                 m.deleteRoom,
			"CreateLoggingConfiguration": m.createLogging,
			"UpdateLoggingConfiguration": m.updateLogging,
			"DeleteLoggingConfiguration": m.deleteLogging,
			"SpendToken":                 func(rt *rapid.T) { m.spendToken(rt, sequence) },
			"Rooms":                      m.list,
			"LoggingConfigurations":      m.listLogging,
		})
	})
}

// arn draws one of a few names, so that operations meet each other.
func (m *model) arn(rt *rapid.T, kind chat.Kind) chat.ARN {
	id := rapid.SampledFrom([]string{"a", "A", "b", "B", "c", "d"}).Draw(rt, string(kind))
	return chat.ARN{Scope: m.scope, Kind: kind, ID: id}
}

// room draws a room with this name.
func (m *model) room(rt *rapid.T, arn chat.ARN) chat.Room {
	room := chat.Room{
		ARN:                         arn,
		Name:                        rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "name"),
		CreateTime:                  noon,
		UpdateTime:                  noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "time")) * time.Microsecond),
		MaximumMessageRatePerSecond: rapid.IntRange(1, 100).Draw(rt, "rate"),
		MaximumMessageLength:        rapid.IntRange(1, 500).Draw(rt, "length"),
		Tags:                        rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(rt, "tags"),
	}
	if uri := rapid.SampledFrom([]string{"none", "", "u", "v"}).Draw(rt, "handler"); uri != "none" {
		room.Handler = &chat.ReviewHandler{URI: uri, Fallback: chat.FallbackDeny}
	}
	for range rapid.IntRange(0, 3).Draw(rt, "logging") {
		room.LoggingConfigurations = append(room.LoggingConfigurations, m.arn(rt, chat.KindLoggingConfiguration))
	}
	return room
}

// missing returns the first logging configuration of the room that does not exist.
func (m *model) missing(room chat.Room) (chat.ARN, bool) {
	for _, lc := range room.LoggingConfigurations {
		if _, ok := m.lcs[lc]; !ok {
			return lc, true
		}
	}
	return chat.ARN{}, false
}

func (m *model) used(lc chat.ARN) bool {
	for _, room := range m.rooms {
		if slices.Contains(room.LoggingConfigurations, lc) {
			return true
		}
	}
	return false
}

// expect checks the outcome of an operation: success, or an error about a resource.
func expect(rt *rapid.T, err error, fails bool, code chat.Code, resource chat.ARN) {
	rt.Helper()
	if !fails {
		if err != nil {
			rt.Fatalf("got error %v, want none", err)
		}
	} else if problem := checkError(err, code, resource); problem != "" {
		rt.Fatal(problem)
	}
}

func (m *model) createRoom(rt *rapid.T) {
	room := m.room(rt, m.arn(rt, chat.KindRoom))
	if _, taken := m.rooms[room.ARN]; taken {
		return
	}
	err := m.store.CreateRoom(rt.Context(), room, 0)
	missing, fails := m.missing(room)
	expect(rt, err, fails, chat.NotFound, missing)
	if !fails {
		m.rooms[room.ARN] = room
	}
}

func (m *model) updateRoom(rt *rapid.T) {
	room := m.room(rt, m.arn(rt, chat.KindRoom))
	_, err := m.store.UpdateRoom(rt.Context(), room.ARN, func(before chat.Room) (chat.Room, error) {
		if diff := cmp.Diff(before, m.rooms[room.ARN], same); diff != "" {
			rt.Errorf("the room to change: got -, want +\n%s", diff)
		}
		return room, nil
	})
	if _, ok := m.rooms[room.ARN]; !ok {
		expect(rt, err, true, chat.NotFound, room.ARN)
		return
	}
	missing, fails := m.missing(room)
	expect(rt, err, fails, chat.NotFound, missing)
	if !fails {
		m.rooms[room.ARN] = room
	}
}

func (m *model) deleteRoom(rt *rapid.T) {
	arn := m.arn(rt, chat.KindRoom)
	_, ok := m.rooms[arn]
	expect(rt, m.store.DeleteRoom(rt.Context(), arn), !ok, chat.NotFound, arn)
	delete(m.rooms, arn)
}

func (m *model) loggingConfiguration(rt *rapid.T) chat.LoggingConfiguration {
	return chat.LoggingConfiguration{
		ARN:         m.arn(rt, chat.KindLoggingConfiguration),
		Name:        rapid.StringMatching(`[\w-]*`).Draw(rt, "name"),
		CreateTime:  noon,
		UpdateTime:  noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "time")) * time.Microsecond),
		Destination: chat.Destination{Kind: chat.DestinationFirehose, Name: rapid.StringMatching(`[\w./-]+`).Draw(rt, "destination")},
	}
}

func (m *model) createLogging(rt *rapid.T) {
	lc := m.loggingConfiguration(rt)
	if _, taken := m.lcs[lc.ARN]; taken {
		return
	}
	expect(rt, m.store.CreateLoggingConfiguration(rt.Context(), lc, 0), false, 0, chat.ARN{})
	m.lcs[lc.ARN] = lc
}

func (m *model) updateLogging(rt *rapid.T) {
	lc := m.loggingConfiguration(rt)
	_, err := m.store.UpdateLoggingConfiguration(rt.Context(), lc.ARN, func(chat.LoggingConfiguration) (chat.LoggingConfiguration, error) { return lc, nil })
	_, ok := m.lcs[lc.ARN]
	expect(rt, err, !ok, chat.NotFound, lc.ARN)
	if ok {
		m.lcs[lc.ARN] = lc
	}
}

func (m *model) deleteLogging(rt *rapid.T) {
	arn := m.arn(rt, chat.KindLoggingConfiguration)
	err := m.store.DeleteLoggingConfiguration(rt.Context(), arn)
	_, ok := m.lcs[arn]
	switch {
	case !ok:
		expect(rt, err, true, chat.NotFound, arn)
	case m.used(arn):
		expect(rt, err, true, chat.Conflict, arn)
	default:
		expect(rt, err, false, 0, chat.ARN{})
		delete(m.lcs, arn)
	}
}

func (m *model) spendToken(rt *rapid.T, sequence int) {
	id := tokenID(sequence<<8 | rapid.IntRange(0, 3).Draw(rt, "token"))
	first, err := m.store.SpendToken(rt.Context(), id, nobody(), noon)
	if err != nil || first == m.tokens[id] {
		rt.Fatalf("SpendToken: got first %v, error %v, want first %v", first, err, !m.tokens[id])
	}
	m.tokens[id] = true
	if spent, err := m.store.TokenSpent(rt.Context(), id); err != nil || !spent {
		rt.Fatalf("TokenSpent of a spent token: got %v, error %v", spent, err)
	}
}

func (m *model) list(rt *rapid.T) {
	filter := chat.RoomFilter{
		Name:       rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(rt, "name"),
		HandlerURI: rapid.SampledFrom([]string{"", "", "u", "v"}).Draw(rt, "handler"),
	}
	if rapid.Bool().Draw(rt, "by logging configuration") {
		filter.LoggingConfiguration = m.arn(rt, chat.KindLoggingConfiguration)
	}
	want := []chat.Room{}
	for _, room := range m.rooms {
		if matches(filter, room) {
			want = append(want, room)
		}
	}
	slices.SortFunc(want, before)
	got, err := readAll(roomPages(rt.Context(), m.store, m.scope, filter), rapid.IntRange(1, 4).Draw(rt, "limit"))
	if err != nil {
		rt.Fatalf("Rooms: %v", err)
	}
	if diff := cmp.Diff(got, want, same); diff != "" {
		rt.Fatalf("Rooms: got -, want +\n%s", diff)
	}
}

func (m *model) listLogging(rt *rapid.T) {
	want := []string{}
	for _, lc := range m.lcs {
		want = append(want, fmt.Sprint(lc.UpdateTime.UnixMicro(), lc.ARN.ID, lc.Name, lc.Destination))
	}
	slices.Sort(want)
	slices.Reverse(want)
	list, err := m.store.LoggingConfigurations(rt.Context(), m.scope, chat.Cursor{}, 100)
	if err != nil {
		rt.Fatalf("LoggingConfigurations: %v", err)
	}
	got := []string{}
	for _, lc := range list {
		got = append(got, fmt.Sprint(lc.UpdateTime.UnixMicro(), lc.ARN.ID, lc.Name, lc.Destination))
	}
	if diff := cmp.Diff(got, want); diff != "" {
		rt.Fatalf("LoggingConfigurations: got -, want +\n%s", diff)
	}
}
