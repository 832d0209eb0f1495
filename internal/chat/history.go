package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HistorySpec says what of a room is shown to who connects: the last Count messages and
// events, as far as they are not older than Age. A Count of 0 is nothing.
//
// What was deleted meanwhile is not shown, and yet counts: so all nodes show the same,
// whether they were there or read it.
type HistorySpec struct {
	Count int
	Age   time.Duration
}

const (
	maxHistoryCount = 500
	maxHistoryAge   = 7 * 24 * time.Hour
)

var errHistory = errors.New("a number of messages from 1 to 500, such as 50, and perhaps how old they may be, from 1s to 168h, such as 50/2h")

// parseHistory reads the value of parlor:history. Without an age it is the longest.
func parseHistory(value string) (HistorySpec, error) {
	count, age, aged := strings.Cut(value, "/")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxHistoryCount || strconv.Itoa(n) != count {
		return HistorySpec{}, errHistory
	}
	spec := HistorySpec{Count: n, Age: maxHistoryAge}
	if aged {
		if spec.Age, err = durationBetween(age, time.Second, maxHistoryAge); err != nil {
			return HistorySpec{}, errHistory
		}
	}
	return spec, nil
}

// historyOf is what tags say.
func historyOf(tags map[string]string) HistorySpec {
	if x, _ := ParseExtensions(tags); x != nil {
		return x.History
	}
	return HistorySpec{}
}

// HistoryEntry is what is kept of a publication for a room's history.
type HistoryEntry struct {
	Room     ARN
	Position Position
	// Kind is PublishMessage or PublishEvent; PublishDelete, which deletes ID; or
	// PublishRoomChanged, before which nothing is history any more: the tag was set, or
	// changed.
	Kind     PublicationKind
	ID       string    // of the message or event; of a deletion: of what it deletes
	UserID   string    // of a message: its sender
	Accepted time.Time // microseconds where it was stored
	Frame    []byte    // as it was shown, but for the RequestId, which is empty; none for what was deleted
}

// shown reports whether the entry is of a message or event, which count in a history.
func (e *HistoryEntry) shown() bool { return e.Kind == PublishMessage || e.Kind == PublishEvent }

// HistoryStore keeps the histories of rooms. Errors and contexts are as with [Store],
// and so is the suite that has its contract.
type HistoryStore interface {
	// AppendHistory adds entries, in any order. One whose position is taken is there
	// already. A deletion empties what it deletes, where that is there; it stays, for
	// what comes late.
	AppendHistory(ctx context.Context, entries []HistoryEntry) error
	// RoomHistory returns, in the order of positions, the last count messages and events
	// of a room, without a Frame those that were deleted, and the deletions and
	// beginnings that there are.
	RoomHistory(ctx context.Context, room ARN, count int) ([]HistoryEntry, error)
	// PurgeHistory empties a user's messages, as if each had been deleted, and returns
	// the Ids of those that were not before, in order.
	PurgeHistory(ctx context.Context, room ARN, userID string) (ids []string, err error)
	// PruneHistory forgets what is before the last keep messages and events of a room or
	// was accepted before a moment. A keep of 0 forgets all.
	PruneHistory(ctx context.Context, room ARN, keep int, before time.Time) error
	// HistoryRooms returns up to limit rooms that have something there, in an order of
	// the store's, after one that need not be among them.
	HistoryRooms(ctx context.Context, after ARN, limit int) ([]ARN, error)
}

// NewHistoryEntry is what is kept of a publication, if anything is: not of what ends
// sessions, nor of Parlor's own events, which are about the present.
func NewHistoryEntry(pub *Publication) (HistoryEntry, bool) {
	e := HistoryEntry{Room: pub.Room, Position: pub.Position, Kind: pub.Kind, ID: pub.ID, Accepted: pub.Accepted}
	switch pub.Kind {
	case PublishMessage:
		e.Frame, e.UserID = withoutRequestID(pub.Frame), senderOf(pub.Frame)
	case PublishEvent:
		if bytes.HasPrefix(afterFirst(pub.Frame, `,"EventName":"`), []byte(extensionPrefix)) {
			return HistoryEntry{}, false
		}
		e.Frame = withoutRequestID(pub.Frame)
	case PublishDelete:
		var event struct{ Attributes struct{ MessageID string } }
		if json.Unmarshal(pub.Frame, &event) != nil {
			return HistoryEntry{}, false
		}
		e.ID = event.Attributes.MessageID
	default:
		return HistoryEntry{}, false
	}
	return e, true
}

// In a frame a member's name with its quotes, after a comma, is the member itself or a
// member of an object in it, and never within a string, where quotes have a backslash.
// The encoders (frame.go) put RequestId and EventName before all attributes, and Sender
// is an object, which no attribute can be.

// afterFirst is what of a frame follows the first occurrence of a text; nil if there is
// none.
func afterFirst(frame []byte, text string) []byte {
	_, rest, _ := bytes.Cut(frame, []byte(text))
	return rest
}

// withoutRequestID is the frame with an empty RequestId: to who connects later it is the
// answer to nothing.
func withoutRequestID(frame []byte) []byte {
	const member = `,"RequestId":"`
	at := bytes.Index(frame, []byte(member))
	if at < 0 {
		return frame
	}
	at += len(member)
	length := stringEnd(frame[at:])
	if length == 0 {
		return frame
	}
	b := make([]byte, 0, len(frame)-length)
	return append(append(b, frame[:at]...), frame[at+length:]...)
}

// stringEnd is how long a JSON string is whose opening quote came before b.
func stringEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(b)
}

// senderOf is the user id in a MESSAGE.
func senderOf(frame []byte) string {
	const member = `,"Sender":{"UserId":"`
	at := bytes.LastIndex(frame, []byte(member))
	if at < 0 {
		return ""
	}
	b := frame[at+len(member):]
	b = b[:stringEnd(b)]
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	var user string
	_ = json.Unmarshal(append(append([]byte{'"'}, b...), '"'), &user) // of our own making
	return user
}

// HistorySpec says what of a room is history, by its tag as it is now. Its room must be
// subscribed to, as with Admit.
func (s *Service) HistorySpec(ctx context.Context, arn ARN) (HistorySpec, error) {
	if s.history == nil {
		return HistorySpec{}, nil
	}
	room, err := s.rooms.get(ctx, arn, s.loadRoom)
	if err != nil || room.Extensions == nil {
		return HistorySpec{}, err
	}
	return room.Extensions.History, nil
}

// RoomHistory returns the last messages and events of a room up to a position, in order;
// those that were deleted have no Frame. What is published after the position reaches
// this node, which must be subscribed. The zero position is where no epoch has begun.
func (s *Service) RoomHistory(ctx context.Context, arn ARN, spec HistorySpec, upTo Position) ([]HistoryEntry, error) {
	all, unstored, err := s.readHistory(ctx, arn, spec, upTo)
	if err != nil {
		return nil, err
	}
	window := all.window(spec.Count)
	for _, e := range unstored {
		// Its node is dead, perhaps. If it is stored meanwhile, it stays as it is.
		if len(window) > 0 && e.Position.Compare(window[0].Position) >= 0 && time.Since(e.Accepted) > lostAfter {
			s.history.add(e, spec)
		}
	}
	return window, nil
}

// lostAfter is when an entry counts as lost that its node should have stored.
const lostAfter = 5 * time.Second

// PurgeHistory empties a user's messages in a room's history, and returns the Ids of
// those that had not been deleted. Each is owed a PublishDelete, by which nodes drop
// them from what they remember.
func (s *Service) PurgeHistory(ctx context.Context, arn ARN, userID string) ([]string, error) {
	if s.history == nil {
		return nil, nil
	}
	room, err := s.loadRoom(ctx, arn)
	if err != nil || room.Extensions == nil || room.Extensions.History.Count == 0 {
		return nil, err
	}
	spec := room.Extensions.History
	// What nodes have not stored yet is the user's, too.
	all, _, err := s.readHistory(ctx, arn, spec, Position{Epoch: 1<<63 - 1})
	if err != nil {
		return nil, err
	}
	ids, err := s.history.config.Store.PurgeHistory(ctx, arn, userID)
	if err != nil {
		return nil, err
	}
	purged := map[string]bool{}
	for _, id := range ids {
		purged[id] = true
	}
	for _, e := range all.window(spec.Count) {
		if e.Kind == PublishMessage && e.UserID == userID && len(e.Frame) > 0 && !purged[e.ID] {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

// pastEntries are entries of one room, in order.
type pastEntries []HistoryEntry

// window is the last count messages and events, without the frames of those that are
// deleted, from the last beginning on.
func (all pastEntries) window(count int) []HistoryEntry {
	deleted, known := map[string]bool{}, map[string]bool{}
	var window []HistoryEntry
	for _, e := range all {
		switch {
		case e.Kind == PublishRoomChanged:
			window = nil
		case e.Kind == PublishDelete:
			deleted[e.ID] = true
		case e.shown() && !known[e.ID]: // one that was offered again has two positions
			known[e.ID] = true
			window = append(window, e)
		}
	}
	window = window[max(0, len(window)-count):]
	for i := range window {
		if deleted[window[i].ID] {
			window[i].Frame = nil
		}
	}
	return window
}

// How many publications the broker is asked for: first as many as nodes usually have not
// stored yet, and if none of those is, for all that it may have.
const (
	someRecent = 128
	allRecent  = 2048
)

// readHistory reads what is stored of a room's history, and what the broker still has,
// of which other nodes may not have stored everything yet (unstored): the store first, so
// that what is stored in between is in one of them.
func (s *Service) readHistory(ctx context.Context, arn ARN, spec HistorySpec, upTo Position) (all pastEntries, unstored []HistoryEntry, err error) {
	h := s.history
	if err := h.settle(ctx, arn); err != nil {
		return nil, nil, err
	}
	stored, err := h.config.Store.RoomHistory(ctx, arn, spec.Count)
	if err != nil {
		return nil, nil, err
	}
	var begins Position
	there := make(map[Position]bool, len(stored))
	for _, e := range stored {
		there[e.Position] = true
		if e.Kind == PublishRoomChanged {
			begins = e.Position
		}
	}
	var at Position
	for _, last := range []int{someRecent, allRecent} {
		var recent []*Publication
		if recent, at, err = h.config.Recent(ctx, arn, last); err != nil {
			return nil, nil, err
		}
		unstored = unstored[:0]
		known := len(recent) < last // what is before those is stored
		for _, pub := range recent {
			if there[pub.Position] || pub.Position.Compare(begins) <= 0 {
				known = known || len(unstored) == 0
				continue
			}
			if e, ok := NewHistoryEntry(pub); ok && time.Since(e.Accepted) < spec.Age {
				unstored = append(unstored, e)
			}
		}
		if known {
			break
		}
	}
	all = slices.DeleteFunc(append(stored, unstored...), func(e HistoryEntry) bool {
		if upTo == (Position{}) {
			return at.Epoch > 0 && e.Position.Epoch >= at.Epoch // an epoch that began since
		}
		return e.Position.Compare(upTo) > 0
	})
	slices.SortFunc(all, func(a, b HistoryEntry) int { return a.Position.Compare(b.Position) })
	return all, unstored, nil
}
