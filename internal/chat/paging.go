package chat

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// listing is one list that pages are taken from. A page token is a place in it: the
// sort key of the last element shown. It keeps no state on the server, so it does not
// expire, and a resource that does not change is shown exactly once, whatever happens
// to the others meanwhile.
type listing struct {
	scope  Scope
	what   Kind
	filter RoomFilter
}

const maxPageToken = 1024

var errPageToken = &Error{Code: BadRequest, Message: "The nextToken is not valid for this request."}

// checksum ties a token to its list, and catches tokens that were cut or garbled. It
// is no secret: a token says nothing that its owner could not read anyway.
func (l listing) checksum(key []byte) uint32 {
	crc := crc32.NewIEEE()
	for _, part := range []string{
		l.scope.Region, l.scope.Account, string(l.what),
		l.filter.Name, l.filter.HandlerURI, l.filter.LoggingConfiguration.String(), string(key),
	} {
		crc.Write([]byte(part))
		crc.Write([]byte{0})
	}
	return crc.Sum32()
}

// token encodes a place in the list.
func (l listing) token(c Cursor) string {
	key := binary.BigEndian.AppendUint64(nil, uint64(c.UpdateTime.UnixMicro()))
	key = append(key, c.ID...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(key, l.checksum(key)))
}

// parseToken decodes a place in the list; the empty token is its beginning.
func (l listing) parseToken(token string) (Cursor, error) {
	if token == "" {
		return Cursor{}, nil
	}
	if len(token) > maxPageToken {
		return Cursor{}, errPageToken
	}
	raw, ok := decodeBase64(token)
	if !ok || len(raw) < 8+1+4 {
		return Cursor{}, errPageToken
	}
	key, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if binary.BigEndian.Uint32(sum) != l.checksum(key) {
		return Cursor{}, errPageToken
	}
	return Cursor{
		UpdateTime: time.UnixMicro(int64(binary.BigEndian.Uint64(key))).UTC(),
		ID:         string(key[8:]),
	}, nil
}
