package chat

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Capability is a set of what a session may do besides watching.
type Capability uint8

const (
	MaySendMessage Capability = 1 << iota
	MayDeleteMessage
	MayDisconnectUser
)

// Claims is what a token grants. It is sealed into the token and never stored.
type Claims struct {
	ID             TokenID
	Room           ARN
	UserID         string
	Capabilities   Capability
	Attributes     map[string]string
	TokenExpires   time.Time // until when the token opens a connection
	SessionExpires time.Time // until when that connection lives
}

// TokenID identifies a token; a token opens one connection.
type TokenID [12]byte

// String is the id in hexadecimal digits.
func (id TokenID) String() string { return hex.EncodeToString(id[:]) }

// TokenKey is one key of the ring that seals tokens.
type TokenKey struct {
	ID      uint32
	Created time.Time // UTC
	Secret  []byte    // 32 bytes
}

const (
	// MaxSessionDuration bounds a session, and with it a token's use.
	//
	// IVS-MODEL: SessionDurationInMinutes
	MaxSessionDuration     = 180 * time.Minute
	DefaultSessionDuration = 60 * time.Minute
	// MaxTokenLength is the most characters a token of ours has: the largest user id
	// and attributes there can be, and room to spare.
	MaxTokenLength = 8000

	tokenVersion = 1
	// keyRotation is how long a key seals new tokens.
	keyRotation = 24 * time.Hour
	// clockSlack is how far the clocks of nodes may differ: what is kept for tokens is
	// kept so much longer than they open.
	clockSlack = time.Hour
	// keyLife is how long a key is kept: it opens tokens sealed in its last moment.
	keyLife = keyRotation + MaxSessionDuration + clockSlack
	// reloadEvery bounds how often unknown key ids may send us to the store. Their tokens
	// wait so long: another node may have made the key a moment ago.
	reloadEvery = 250 * time.Millisecond
)

// errToken is all that is ever said of a token that does not open.
var errToken = &Error{Code: Unauthorized, Message: "The chat token is missing, invalid or expired, or was already used."}

// Sealer turns claims into tokens and back: AES-256-GCM under a ring of keys that is
// shared through the Store, so that any node opens any node's token. A key seals for
// a day and opens until its last token is over.
//
// A token is base64url without padding (only RFC 7230 token characters, since it
// travels as a WebSocket subprotocol) of version, key id, nonce and ciphertext; the
// nonce is the token's ID.
type Sealer struct {
	store Store

	ring atomic.Pointer[keyRing]

	mu       sync.Mutex // held while the ring is replaced, across store calls
	reloaded time.Time  // when an unknown key id last made us reload; under mu
	failed   error      // what came of that; under mu
}

type keyRing struct {
	keys   map[uint32]sealingKey
	newest sealingKey // zero when the ring is empty
}

type sealingKey struct {
	id      uint32
	created time.Time
	aead    cipher.AEAD
}

// NewSealer returns a Sealer over the key ring in store.
func NewSealer(store Store) *Sealer { return &Sealer{store: store} }

const tokenHeader = 1 + 4 + 12 // version, key id, nonce

// Seal sets claims.ID and returns the token that grants claims.
func (s *Sealer) Seal(ctx context.Context, claims *Claims) (string, error) {
	key, err := s.sealingKey(ctx)
	if err != nil {
		return "", err
	}
	rand.Read(claims.ID[:])
	buf := make([]byte, tokenHeader, 512)
	buf[0] = tokenVersion
	binary.BigEndian.PutUint32(buf[1:], key.id)
	copy(buf[5:], claims.ID[:])
	sealed := key.aead.Seal(buf, claims.ID[:], appendClaims(nil, claims), buf[:5])
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open returns the claims of a token that is genuine and not expired. Whatever is
// wrong with it, the error is the same Unauthorized; other errors are the store's.
func (s *Sealer) Open(ctx context.Context, token string) (Claims, error) {
	claims, err := s.Read(ctx, token)
	if err != nil {
		return Claims{}, err
	}
	now := time.Now()
	if !now.Before(claims.TokenExpires) || !now.Before(claims.SessionExpires) {
		return Claims{}, errToken
	}
	return claims, nil
}

// Read is Open for a token that may be expired. It reads one as long as its key is kept:
// four hours after it was made at least, a day longer at most.
func (s *Sealer) Read(ctx context.Context, token string) (Claims, error) {
	if len(token) > MaxTokenLength {
		return Claims{}, errToken
	}
	raw, ok := decodeBase64(token)
	if !ok || len(raw) < tokenHeader || raw[0] != tokenVersion {
		return Claims{}, errToken
	}
	key, err := s.openingKey(ctx, binary.BigEndian.Uint32(raw[1:]))
	if err != nil {
		return Claims{}, err
	}
	if key.aead == nil || time.Since(key.created) > keyLife {
		return Claims{}, errToken
	}
	nonce := raw[5:tokenHeader]
	plain, err := key.aead.Open(nil, nonce, raw[tokenHeader:], raw[:5])
	if err != nil {
		return Claims{}, errToken
	}
	claims, err := parseClaims(plain)
	if err != nil {
		return Claims{}, fmt.Errorf("parse the claims of a genuine token: %w", err)
	}
	claims.ID = TokenID(nonce)
	// A session longer than there are was not sealed by CreateChatToken, whoever has the key.
	if time.Until(claims.SessionExpires) > MaxSessionDuration+clockSlack {
		return Claims{}, errToken
	}
	return claims, nil
}

// decodeBase64 decodes base64url without padding. Bytes have one spelling: the line
// breaks and spare bits that encoding/base64 would pass over are refused.
func decodeBase64(s string) (raw []byte, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return raw, err == nil && base64.RawURLEncoding.EncodedLen(len(raw)) == len(s)
}

// sealingKey returns the newest key, after making one if that is too old.
func (s *Sealer) sealingKey(ctx context.Context) (sealingKey, error) {
	fresh := func(r *keyRing) bool { return r != nil && time.Since(r.newest.created) < keyRotation }
	if ring := s.ring.Load(); fresh(ring) {
		return ring.newest, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ring := s.ring.Load(); fresh(ring) {
		return ring.newest, nil
	}
	// Another node may have made one already.
	ring, err := s.reload(ctx)
	if err != nil {
		return sealingKey{}, err
	}
	if fresh(ring) {
		return ring.newest, nil
	}
	key := TokenKey{Created: time.Now().UTC(), Secret: make([]byte, 32)}
	rand.Read(key.Secret)
	var id [4]byte
	for taken := true; taken; _, taken = ring.keys[key.ID] {
		rand.Read(id[:])
		key.ID = binary.BigEndian.Uint32(id[:])
	}
	if err := s.store.AddTokenKey(ctx, key); err != nil {
		return sealingKey{}, fmt.Errorf("add a token key: %w", err)
	}
	if ring, err = s.reload(ctx); err != nil {
		return sealingKey{}, err
	}
	return ring.newest, nil
}

// openingKey returns the key with the given id, or a key without aead if there is none.
func (s *Sealer) openingKey(ctx context.Context, id uint32) (sealingKey, error) {
	if ring := s.ring.Load(); ring != nil {
		if key, ok := ring.keys[id]; ok {
			return key, nil
		}
	}
	begun := time.Now()
	for {
		key, due, err := s.lookAgain(ctx, id, begun)
		if due == 0 || err != nil {
			return key, err
		}
		timer := time.NewTimer(due)
		select {
		case <-ctx.Done():
			timer.Stop()
			return sealingKey{}, ctx.Err()
		case <-timer.C:
		}
	}
}

// lookAgain looks for a key that was not known at begun. What it says holds if due is 0;
// else it is to be called again after that time.
func (s *Sealer) lookAgain(ctx context.Context, id uint32, begun time.Time) (key sealingKey, due time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ring := s.ring.Load()
	switch {
	case ring != nil && ring.keys[id].aead != nil:
		return ring.keys[id], 0, nil
	case s.reloaded.After(begun): // with or without others that waited
		if s.failed != nil {
			return key, 0, s.failed
		}
		return ring.keys[id], 0, nil
	case !s.reloaded.IsZero() && time.Since(s.reloaded) < reloadEvery:
		return key, reloadEvery - time.Since(s.reloaded), nil
	}
	ring, s.failed = s.reload(context.WithoutCancel(ctx)) // for all who wait
	s.reloaded = time.Now()
	if s.failed != nil {
		return key, 0, s.failed
	}
	return ring.keys[id], 0, nil
}

// reload reads the ring from the store. s.mu is held.
func (s *Sealer) reload(ctx context.Context) (*keyRing, error) {
	keys, err := s.store.TokenKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the token keys: %w", err)
	}
	ring := &keyRing{keys: make(map[uint32]sealingKey, len(keys))}
	for _, k := range keys {
		block, err := aes.NewCipher(k.Secret)
		if err != nil {
			return nil, fmt.Errorf("token key %d: %w", k.ID, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("token key %d: %w", k.ID, err)
		}
		key := sealingKey{id: k.ID, created: k.Created, aead: aead}
		ring.keys[k.ID] = key
		if !key.created.Before(ring.newest.created) {
			ring.newest = key
		}
	}
	s.ring.Store(ring)
	return ring, nil
}

// appendClaims appends the binary form of everything but the ID.
func appendClaims(b []byte, c *Claims) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	str(c.Room.Region)
	str(c.Room.Account)
	str(c.Room.ID)
	str(c.UserID)
	b = append(b, byte(c.Capabilities))
	b = binary.AppendVarint(b, c.TokenExpires.Unix())
	b = binary.AppendVarint(b, c.SessionExpires.Unix())
	b = binary.AppendUvarint(b, uint64(len(c.Attributes)))
	for _, k := range slices.Sorted(maps.Keys(c.Attributes)) {
		str(k)
		str(c.Attributes[k])
	}
	return b
}

var errClaims = errors.New("malformed claims")

// parseClaims is the inverse of appendClaims.
func parseClaims(b []byte) (Claims, error) {
	bad := false
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	moment := func() time.Time {
		v, n := binary.Varint(b)
		if n <= 0 {
			bad = true
			return time.Time{}
		}
		b = b[n:]
		return time.Unix(v, 0).UTC()
	}
	str := func() string {
		n := uvarint()
		if bad || n > uint64(len(b)) {
			bad = true
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	var c Claims
	c.Room.Kind = KindRoom
	c.Room.Region = str()
	c.Room.Account = str()
	c.Room.ID = str()
	c.UserID = str()
	if len(b) > 0 {
		c.Capabilities = Capability(b[0])
		b = b[1:]
	} else {
		bad = true
	}
	c.TokenExpires = moment()
	c.SessionExpires = moment()
	c.Attributes = map[string]string{}
	for n := uvarint(); n > 0 && !bad; n-- {
		k := str()
		c.Attributes[k] = str()
	}
	if bad || len(b) > 0 {
		return Claims{}, errClaims
	}
	return c, nil
}
