package credentials

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// File is a credentials file in use: its keys as they were when it was last good.
type File struct {
	path    string
	account string
	logger  *slog.Logger
	set     atomic.Pointer[Set] // never nil

	sources []*source // owned by Run: what was last read
}

// lookInterval is half of what a change must stand still for, so that it counts within
// a second.
const lookInterval = 300 * time.Millisecond

// Open loads a file, see [Load], and starts nothing.
func Open(path, defaultAccount string, logger *slog.Logger) (*File, error) {
	set, sources, err := load(path, defaultAccount)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, account: defaultAccount, logger: logger, sources: sources}
	f.set.Store(set)
	return f, nil
}

// Lookup finds a key by its access key, also one that is disabled or expired. It never
// waits.
func (f *File) Lookup(accessKey string) (Key, bool) { return f.set.Load().Lookup(accessKey) }

// Set is the keys in use.
func (f *File) Set() *Set { return f.set.Load() }

// Run takes up changes of the file and of its policy files, until ctx ends. It logs
// each: what counts now, or why the keys in use stay.
func (f *File) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	seen := f.sources // at the last look
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, still := look(seen)
		seen = now
		if !still || same(now, f.sources) {
			continue
		}
		if f.reload(now) {
			seen = f.sources
		}
	}
}

// reload takes up what the files have now, good or not, and reports whether they were
// still as they were when looked at.
func (f *File) reload(seen []*source) bool {
	set, sources, err := load(f.path, f.account)
	for _, s := range seen {
		i := slices.IndexFunc(sources, func(now *source) bool { return now.path == s.path })
		if i >= 0 && !sources[i].equal(s) {
			return false
		}
	}
	f.sources = sources
	if err != nil {
		f.logger.Error("credentials not reloaded: the keys in use stay", "path", f.path, "error", err)
		return true
	}
	f.set.Store(set)
	n := set.count(time.Now())
	f.logger.Info("credentials reloaded", "path", f.path,
		"keys", n.keys, "temporary", n.temporary, "disabled", n.disabled, "expired", n.expired)
	return true
}

// look returns files as they are now, and whether they are as they were.
func look(before []*source) (now []*source, still bool) {
	now = make([]*source, len(before))
	still = true
	for i, s := range before {
		now[i] = s.look()
		still = still && now[i] == s
	}
	return now, still
}

func same(a, b []*source) bool {
	for i := range a {
		if !a[i].equal(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}
