package store

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"parlor/internal/chat"
)

// Store is a [chat.Store]. Make one with [OpenSQLite] or [OpenPostgres].
type Store struct {
	engine engine
	clock  atomic.Pointer[clockReading] // of the last beat; nil: there was none
}

var _ chat.Store = (*Store)(nil)

// ErrClosed is the cause of every failure after Close.
var ErrClosed = errors.New("the store is closed")

// Close waits for what is running, then gives up files, lock and connections. Calling
// it again does nothing.
func (s *Store) Close() error { return s.engine.close() }

// Ready implements [chat.Store].
func (s *Store) Ready(ctx context.Context) error { return s.engine.ready(ctx) }

// micros is a time as it is stored.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// place returns the cursor as the pair that a list goes on below. The list's beginning
// is above everything: no time of ours has the largest number of microseconds.
func place(after chat.Cursor) (us int64, id string) {
	if after == (chat.Cursor{}) {
		return 1<<63 - 1, ""
	}
	return micros(after.UpdateTime), after.ID
}

// encodeTags returns the JSON text of tags.
func encodeTags(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(tags)
	return string(text), err
}

// decodeTags is the inverse of encodeTags. The result is never nil.
func decodeTags(text string) (map[string]string, error) {
	if tags, ok := decodePlainTags(text); ok {
		return tags, nil
	}
	tags := map[string]string{}
	err := json.Unmarshal([]byte(text), &tags)
	return tags, err
}

// decodePlainTags decodes what encodeTags writes when no character needed an escape,
// as nearly always. It is here for lists: encoding/json would take most of their time.
func decodePlainTags(text string) (tags map[string]string, ok bool) {
	rest, ok := strings.CutPrefix(text, "{")
	if !ok || strings.IndexByte(text, '\\') >= 0 {
		return nil, false
	}
	tags = make(map[string]string, strings.Count(text, `":"`))
	for rest != "}" {
		var key, value string
		if key, rest, ok = strings.Cut(strings.TrimPrefix(rest, ","), `":"`); !ok || key == "" || key[0] != '"' {
			return nil, false
		}
		if value, rest, ok = strings.Cut(rest, `"`); !ok {
			return nil, false
		}
		tags[key[1:]] = value
	}
	return tags, true
}
