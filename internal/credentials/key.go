package credentials

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"time"

	"parlor/internal/iam"
)

// Key is an access key. However it is formatted, logged or encoded, it shows neither
// its secret nor its session token.
type Key struct {
	Name         string // the user's
	AccessKey    string
	Secret       string
	SessionToken string // "" but for a temporary key
	Account      string
	Expires      time.Time // zero but for a temporary key
	Disabled     bool

	Policy     *iam.Policy // nil: everything in its account
	PolicyFile string      // as the file names it, or ""
}

// Temporary reports whether a key has a session token and an end.
func (k Key) Temporary() bool { return k.SessionToken != "" }

// Expired reports whether a temporary key is over.
func (k Key) Expired(now time.Time) bool { return k.Temporary() && !now.Before(k.Expires) }

func (k Key) String() string {
	return fmt.Sprintf("access key %s of %s in %s, secret redacted", k.AccessKey, k.Name, k.Account)
}

// GoString is [Key.String].
func (k Key) GoString() string { return k.String() }

// Format writes [Key.String], whatever the verb.
func (k Key) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// MarshalText is [Key.String], so that no encoder writes the fields.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue is a key as the log may have it.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("name", k.Name),
		slog.String("accessKey", k.AccessKey),
		slog.String("account", k.Account),
	)
}

// New makes a key without name and account, of crypto/rand and in the shape of AWS's:
// permanent, or temporary when it has a lifetime. Its expiry is a whole second.
func New(lifetime time.Duration) Key {
	k := Key{
		AccessKey: "AKIA" + base32.StdEncoding.EncodeToString(random(10)), // 20 characters
		Secret:    base64.StdEncoding.EncodeToString(random(30)),          // 40 characters
	}
	if lifetime > 0 {
		k.AccessKey = "ASIA" + k.AccessKey[len("AKIA"):]
		k.SessionToken = base64.StdEncoding.EncodeToString(random(96))
		k.Expires = time.Now().Add(lifetime).UTC().Truncate(time.Second)
	}
	return k
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// Set is the keys of one reading of a file. It never changes.
type Set struct {
	keys        []Key // in the file's order
	byAccessKey map[string]int
}

func newSet(keys []Key) *Set {
	s := &Set{keys: keys, byAccessKey: make(map[string]int, len(keys))}
	for i := range keys {
		s.byAccessKey[keys[i].AccessKey] = i
	}
	return s
}

// Lookup finds a key by its access key, also one that is disabled or expired.
func (s *Set) Lookup(accessKey string) (Key, bool) {
	i, ok := s.byAccessKey[accessKey]
	if !ok {
		return Key{}, false
	}
	return s.keys[i], true
}

// Keys is every key, in the file's order; not to be changed.
func (s *Set) Keys() []Key { return s.keys }

func (s Set) String() string {
	n := s.count(time.Now())
	return fmt.Sprintf("%d access keys: %d temporary, %d disabled, %d expired", n.keys, n.temporary, n.disabled, n.expired)
}

// GoString is [Set.String].
func (s Set) GoString() string { return s.String() }

// Format writes [Set.String], whatever the verb: fmt shows a struct's own fields
// without asking them.
func (s Set) Format(state fmt.State, _ rune) { io.WriteString(state, s.String()) }

type counts struct{ keys, temporary, disabled, expired int }

func (s Set) count(now time.Time) counts {
	n := counts{keys: len(s.keys)}
	for _, k := range s.keys {
		if k.Temporary() {
			n.temporary++
		}
		if k.Disabled {
			n.disabled++
		}
		if k.Expired(now) {
			n.expired++
		}
	}
	return n
}
