package chat

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Store keeps what must survive a restart. Every write is durable (on disk, or as
// durable as the engine's commit) when the method returns nil, and is atomic.
//
// A resource that does not exist is a *[Error] with code NotFound; other errors carry
// causes for the log and are never shown. Methods are safe for concurrent use. A
// context that ends stops the waiting, not necessarily the write. The contract is
// executable: internal/store/storetest.
type Store interface {
	// CreateRoom stores a new room. Each of room.LoggingConfigurations must exist,
	// else NotFound, naming the first that does not. A quota over 0 is how many rooms
	// the scope may have; one more is QuotaExceeded.
	CreateRoom(ctx context.Context, room Room, quota int) error
	// Room returns one room.
	Room(ctx context.Context, arn ARN) (Room, error)
	// UpdateRoom replaces the room by change(room), in one transaction. change may be
	// called more than once, must not block and must not change its argument; its
	// error is returned as it is and leaves the room unchanged. The logging
	// configurations of the result must exist, as in CreateRoom, unless the room had
	// them already.
	UpdateRoom(ctx context.Context, arn ARN, change func(Room) (Room, error)) (Room, error)
	DeleteRoom(ctx context.Context, arn ARN) error
	// Rooms returns up to limit rooms of the scope that match the filter and come
	// after the cursor, by UpdateTime descending, then ID descending. Its cost does
	// not depend on how many rooms come before the cursor.
	Rooms(ctx context.Context, scope Scope, filter RoomFilter, after Cursor, limit int) ([]Room, error)

	// CreateLoggingConfiguration stores a new logging configuration, within a quota as
	// CreateRoom.
	CreateLoggingConfiguration(ctx context.Context, lc LoggingConfiguration, quota int) error
	LoggingConfiguration(ctx context.Context, arn ARN) (LoggingConfiguration, error)
	// UpdateLoggingConfiguration is to logging configurations what UpdateRoom is to rooms.
	UpdateLoggingConfiguration(ctx context.Context, arn ARN, change func(LoggingConfiguration) (LoggingConfiguration, error)) (LoggingConfiguration, error)
	// DeleteLoggingConfiguration is refused with Conflict while a room refers to it.
	DeleteLoggingConfiguration(ctx context.Context, arn ARN) error
	// LoggingConfigurations lists as Rooms does.
	LoggingConfigurations(ctx context.Context, scope Scope, after Cursor, limit int) ([]LoggingConfiguration, error)

	// SpendToken marks a token as used by a spender, a random number of one handshake,
	// and reports whether that spender was the first: also when asked again, so that a
	// handshake may repeat a call whose answer was lost. The mark is kept until the
	// given time at least.
	SpendToken(ctx context.Context, id TokenID, by uint64, until time.Time) (first bool, err error)

	// TokenSpent reports whether there is such a mark.
	TokenSpent(ctx context.Context, id TokenID) (bool, error)

	// PutBan stores a ban or mute, and replaces that of the same user, kind and place. A
	// place that is a room must exist, else NotFound. quota is how many a place may have; one
	// more is QuotaExceeded. Those of a room go with it.
	PutBan(ctx context.Context, ban Ban, quota int) error
	// RemoveBan takes one back, if it is there.
	RemoveBan(ctx context.Context, place ARN, userID string, kind BanKind) error
	// BansOf returns those of a place that are not over at now, in no order.
	BansOf(ctx context.Context, place ARN, now time.Time) ([]Ban, error)
	// Bans lists those of the scope that are not over at now as Rooms does, by CreateTime.
	Bans(ctx context.Context, scope Scope, filter BanFilter, after Cursor, limit int, now time.Time) ([]Ban, error)
	// PruneBans forgets those that are over at now, as PruneTokens does.
	PruneBans(ctx context.Context, now time.Time) error

	// TokenKeys returns the key ring, oldest first.
	TokenKeys(ctx context.Context) ([]TokenKey, error)
	// AddTokenKey adds a key to the ring.
	AddTokenKey(ctx context.Context, key TokenKey) error
	// PruneTokens forgets keys created before keysBefore and marks that may be
	// forgotten at now. It works in small steps that do not delay other writes.
	PruneTokens(ctx context.Context, keysBefore, now time.Time) error

	// Beat says that this node runs, by the clock of the database where it has one of
	// its own; node.Seen is not looked at. It returns the other nodes that said so
	// within the last NodeSilence, by ID, and forgets those silent for a day.
	Beat(ctx context.Context, node NodeBeat) (others []NodeBeat, err error)

	// Ready returns nil when the store can serve.
	Ready(ctx context.Context) error
}

// NodeBeat is a node's sign of life.
type NodeBeat struct {
	ID   string
	Well bool // its link to the broker works
	// Alone says that it has no broker that others could share.
	Alone bool
	// Seen is when the node was heard of, by the clock of who asks: its age by the
	// database's clock before the present. So nodes' clocks may differ.
	Seen time.Time
}

// NodeSilence is how long after its last beat a node still counts as running.
const NodeSilence = 10 * time.Second

// RoomFilter narrows a list of rooms; empty members do not filter.
type RoomFilter struct {
	Name                 string // exact
	HandlerURI           string // exact
	LoggingConfiguration ARN    // rooms that refer to it
}

// Cursor is a place in a list. The zero Cursor is before the first element.
type Cursor struct {
	UpdateTime time.Time
	ID         string
}

// Broker gives a room's publications one order and brings them to every node that
// has sessions in it. A room is a sequenced log: the broker numbers its publications
// 1, 2, 3 … within an epoch; a new, higher epoch says that the broker forgot the count.
//
// The node's deliver function, given to the broker when it is made, is called once
// for each publication of a subscribed room, with its Position set, possibly
// concurrently and so possibly out of order: the receiver applies by number. It does
// not block. What was lost on the way is a [PublishGap]. The contract is executable:
// internal/broker/brokertest.
type Broker interface {
	// Publish admits the publication against the room's rate (publications admitted
	// with a rate per second, bursts up to one second's worth; 0 is no limit), gives
	// it the next number and hands it to every subscribed node. When it returns nil,
	// this node's deliver has been called, if subscribed. Over the rate it is a *Error
	// with code TooManyRequests; after any error but [ErrUnknownOutcome], nothing was
	// published.
	Publish(ctx context.Context, pub *Publication, rate int) error
	// Admit is the first half of Publish: it takes one of the room's rate for a
	// publication that is published later, with rate 0, or not at all.
	Admit(ctx context.Context, room ARN, rate int) error
	// Subscribe asks for the room's publications. When it returns, the subscription is
	// live: every publication numbered after the returned position will be delivered.
	// cancel ends it; subscriptions are counted, cancel must be called once.
	Subscribe(ctx context.Context, room ARN) (at Position, cancel func(), err error)
	// Borrow takes up to n requests, one at least unless there is none, from a rate that
	// a scope has over all nodes: perSecond, bursts up to one second's worth.
	Borrow(ctx context.Context, scope Scope, what string, perSecond, n int) (int, error)
	// Reserve makes this node's share of a number that a scope may have over all nodes n,
	// or less where the quota does not have as much, and returns it. A share that is not
	// reserved anew within [ShareLife] is given up.
	Reserve(ctx context.Context, scope Scope, n, quota int) (int, error)
	// Claim takes hold of a name in a room for a time, over all nodes, unless another by
	// has hold of it; wait is how long it still has, 0 if by has it now. A by may claim
	// again what it has, which changes nothing.
	Claim(ctx context.Context, room ARN, name, by string, hold time.Duration) (wait time.Duration, err error)
	// Release gives up what by has claimed, and nothing else.
	Release(ctx context.Context, room ARN, name, by string) error
	// Attend tells of a change of this node's share of who is in a room, and returns how
	// that stands over all nodes. A share lives for [AttendanceLife] after it was last told
	// of, be it of no change. A call may be repeated without harm, an Anew one too. Which
	// sessions are one too many goes by when they came, by the broker's clock: never by how
	// calls happen to follow each other.
	Attend(ctx context.Context, room ARN, share Share) (Standing, error)
	// Ready returns nil when the broker can serve.
	Ready(ctx context.Context) error
}

// ShareLife is how long a node's share of a quota counts after it was last reserved: so
// long is a dead node remembered.
const ShareLife = 15 * time.Second

// ErrUnknownOutcome wraps the error of a publication that may have been shown, or not:
// the broker went away before it said.
var ErrUnknownOutcome = errors.New("the broker did not say whether it was published")

// Reviewer asks a room's message review handler what is to become of a message.
type Reviewer interface {
	// Review asks the handler of the given ARN. payload is what a handler is given, as
	// JSON. An answer that usable finds fault with is none. It takes 200 ms at most;
	// an error means that there is no usable answer, and the room's fallback decides.
	//
	// IVS: chat-message-review-handler
	Review(ctx context.Context, uri string, payload []byte, usable func(*Verdict) error) (Verdict, error)
	// Verify returns nil when the handler may be invoked, as far as is asked.
	Verify(ctx context.Context, uri string) error
}

// Verdict is a handler's answer.
type Verdict struct {
	Allow      bool
	Content    string            // when allowed: what is shown
	Attributes map[string]string // when allowed: those that are shown, nil for the sender's; when denied: perhaps with a Reason
}

// Recorder keeps what is shown in rooms that log.
type Recorder interface {
	// Intend notes, for each of the logging configurations, that a publication is about
	// to be made. When it returns, the notes outlive this process. mark must be called
	// once, after the publication was made or failed. Neither waits for a destination,
	// nor fails: a record that cannot be kept is counted.
	Intend(pub *Publication, to []*LoggingConfiguration) (mark func(published bool))
}

// Faults are what a server of development does to requests on purpose, so that clients
// can be tried. Other servers have none.
type Faults interface {
	// Act may take its time over a request that is about to be carried out, or have it
	// fail with the error that it returns.
	Act(ctx context.Context, session *Session, action string) error
}

// Position is a publication's place in its room's log. The zero Position is before
// everything: the first publication begins the first epoch.
type Position struct {
	Epoch, Number uint64
}

// Compare is negative where p is before q, positive where it is after it.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Number, q.Number))
}

// PublicationKind says what a publication does to the sessions of its room.
type PublicationKind uint8

const (
	// PublishMessage shows a MESSAGE.
	PublishMessage PublicationKind = iota
	// PublishEvent shows an EVENT made by SendEvent.
	PublishEvent
	// PublishDelete shows an aws:DELETE_MESSAGE EVENT.
	PublishDelete
	// PublishDisconnect shows an aws:DISCONNECT_USER EVENT, then ends the sessions of
	// UserID with Reason.
	PublishDisconnect
	// PublishRoomChanged shows nothing: copies of the room are out of date.
	PublishRoomChanged
	// PublishRoomDeleted shows nothing: the room is gone, its sessions end.
	PublishRoomDeleted
	// PublishLogsChanged shows nothing, and is published to [ControlLog]: copies of the
	// logging configuration Subject are out of date.
	PublishLogsChanged
	// PublishNothing has a number and is nothing: it was shown before.
	PublishNothing
	// PublishBansChanged shows nothing, and is published to [ControlLog]: copies of the bans
	// of the place Subject are out of date, and sessions of UserID there end with Reason.
	PublishBansChanged
	// PublishGap is the broker's alone: what comes after its After, up to its Position,
	// is lost. The log goes on after it. What comes up to After is not lost, though it
	// may come later. A new epoch begins with a gap, unless none was before.
	PublishGap
	// PublishAttendance shows nothing: sessions of some user may be too many.
	PublishAttendance
)

// ControlLog is a log that every node subscribes to, as if it were a room: it is about
// what is no room's.
var ControlLog = ARN{Kind: KindRoom, ID: "control"}

// Publication is the unit of fan-out. It is immutable once published, but for
// Position and Relayed, which the broker sets.
type Publication struct {
	Room     ARN
	Kind     PublicationKind
	ID       string    // of the message or event, or of the change; made by [NewID]
	Frame    []byte    // the JSON every client gets, byte for byte; nil for room changes
	Accepted time.Time // when the server took the request
	UserID   string    // PublishDisconnect, PublishBansChanged: whose sessions end; "": nobody's
	Reason   string    // PublishDisconnect, PublishBansChanged: the reason given, may be empty
	Subject  ARN       // PublishLogsChanged, PublishBansChanged: what changed
	Position Position
	After    Position // PublishGap: of the publication before, which may not be here yet
	Relayed  bool     // it came by way of other nodes: who delivers it has all rooms' to deliver
}
