package broker

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"parlor/internal/chat"
)

// What nodes say to each other by way of the broker. An entry of a room's log is
//
//	VERSION SP EPOCH SP NUMBER SP ID SP AGAIN SP PUBLICATION
//
// where VERSION is 1, numbers are decimal, ID is the publication's Id and AGAIN is 1 for
// one that its node did not know to be published and offered once more, else 0. The
// broker writes the head, in which it looks for an Id; nodes write PUBLICATION: a byte
// for its kind, the moment it was accepted in microseconds since 1970 (a varint), user
// id, reason and subject (each a uvarint and as many bytes), and then the frame.
// A later version must read what this one writes: testdata/v0/wire.

const (
	wireVersion = "1"
	// maxNumber is the highest number that Lua counts exactly.
	maxNumber = 1<<53 - 1
)

// entry is one publication of a room's log, as it is on the wire.
type entry struct {
	at    chat.Position
	again bool
	pub   *chat.Publication
}

var errWire = errors.New("not an entry of a room's log that this version knows")

// appendPublication appends what a node says of a publication.
func appendPublication(b []byte, pub *chat.Publication) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = append(b, byte(pub.Kind))
	b = binary.AppendVarint(b, pub.Accepted.UnixMicro())
	str(pub.UserID)
	str(pub.Reason)
	subject := ""
	if pub.Subject != (chat.ARN{}) {
		subject = pub.Subject.String()
	}
	str(subject)
	if pub.Frame != nil {
		b = append(append(b, 1), pub.Frame...)
	}
	return b
}

// parsePublication is the inverse of appendPublication.
func parsePublication(b string) (*chat.Publication, error) {
	bad := false
	str := func() string {
		n, size := uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			bad = true
			return ""
		}
		s := b[size : size+int(n)]
		b = b[size+int(n):]
		return s
	}
	if b == "" {
		return nil, errWire
	}
	pub := &chat.Publication{Kind: chat.PublicationKind(b[0])}
	b = b[1:]
	n, size := uvarint(b)
	if size <= 0 {
		return nil, errWire
	}
	b = b[size:]
	pub.Accepted = time.UnixMicro(int64(n>>1) ^ -int64(n&1))
	pub.UserID, pub.Reason = str(), str()
	subject := str()
	if bad {
		return nil, errWire
	}
	if subject != "" {
		var err error
		if pub.Subject, err = parseSubject(subject); err != nil {
			return nil, errWire
		}
	}
	if b != "" {
		if b[0] != 1 {
			return nil, errWire
		}
		pub.Frame = []byte(b[1:])
	}
	return pub, nil
}

// parseSubject parses an ARN, or one of a scope that says nothing else: a version that does
// not know those takes what has one for unreadable.
func parseSubject(s string) (chat.ARN, error) {
	scope, whole := strings.CutSuffix(s, ":/")
	if !whole {
		return chat.ParseARN(s)
	}
	arn, err := chat.ParseARN(scope + ":room/x")
	return chat.ARN{Scope: arn.Scope}, err
}

// uvarint is binary.Uvarint of a string.
func uvarint(s string) (uint64, int) {
	var b [binary.MaxVarintLen64]byte
	return binary.Uvarint(b[:copy(b[:], s)])
}

// parseHead parses an entry up to its publication, which is left in rest.
func parseHead(text string) (e entry, id, rest string, err error) {
	version, rest, _ := strings.Cut(text, " ")
	epoch, rest, _ := strings.Cut(rest, " ")
	number, rest, _ := strings.Cut(rest, " ")
	id, rest, _ = strings.Cut(rest, " ")
	again, rest, found := strings.Cut(rest, " ")
	if version != wireVersion || !found {
		return entry{}, "", "", errWire
	}
	var err1, err2 error
	e.at.Epoch, err1 = strconv.ParseUint(epoch, 10, 64)
	e.at.Number, err2 = strconv.ParseUint(number, 10, 64)
	if err1 != nil || err2 != nil || e.at.Epoch > maxNumber || e.at.Number == 0 || e.at.Number > maxNumber {
		return entry{}, "", "", errWire
	}
	e.again = again == "1"
	return e, id, rest, nil
}

// parseEntry parses an entry of the log of a room.
func parseEntry(room chat.ARN, text string) (entry, error) {
	e, id, rest, err := parseHead(text)
	if err != nil {
		return entry{}, err
	}
	if e.pub, err = parsePublication(rest); err != nil {
		return entry{}, err
	}
	e.pub.Room, e.pub.ID, e.pub.Position = room, id, e.at
	return e, nil
}
