package chatlog

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parlor/internal/chat"
)

// Backlog is what waits in one spool.
type Backlog struct {
	Spool         string    `json:"spool"`                // its directory
	Configuration string    `json:"loggingConfiguration"` // ARN
	Kind          string    `json:"kind"`
	Name          string    `json:"name"` // of the bucket, log group or stream
	Records       int       `json:"records"`
	Bytes         int64     `json:"bytes"` // on disk, with what waits to be removed
	Oldest        time.Time `json:"oldest,omitzero"`
	Adopted       bool      `json:"adopted,omitempty"` // from a node that never returns

	// Partial says that Records and Oldest are of what was counted in the time there was.
	Partial bool `json:"partial,omitempty"`

	// Segments that this version cannot read, which are kept and not shipped.
	Unread      int   `json:"unreadSegments,omitempty"`
	UnreadBytes int64 `json:"unreadBytes,omitempty"`
}

// Backlogs reads what waits in the spools of a directory, and in those that were adopted beside it, the
// fullest first. It only reads, and may be called while a server writes there. An error is
// about those that could not be read, which are not among what is returned.
func Backlogs(dir string) ([]Backlog, error) { return backlogs(dir, math.MaxInt64) }

// backlogs is Backlogs in no more than the given time, each spool having an equal part of
// what those before it left.
func backlogs(dir string, within time.Duration) (all []Backlog, faults error) {
	var spools []string
	for _, place := range []string{dir, adoptedDir(dir)} {
		entries, err := os.ReadDir(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			faults = errors.Join(faults, err)
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), unfinished) {
				spools = append(spools, filepath.Join(place, e.Name()))
			}
		}
	}
	begun := time.Now()
	for i, spool := range spools {
		b, err := backlog(spool, (within-time.Since(begun))/time.Duration(len(spools)-i))
		if errors.Is(err, fs.ErrNotExist) { // just made, or just shipped
			continue
		}
		if err != nil {
			faults = errors.Join(faults, err)
			continue
		}
		b.Adopted = filepath.Dir(spool) != filepath.Clean(dir)
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backlog) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Spool, b.Spool))
	})
	return all, faults
}

const (
	// backlogLife is how old the answer of Recorder.Backlogs may be.
	backlogLife = 2 * time.Second
	// backlogTime is how long it counts for.
	backlogTime = 250 * time.Millisecond
)

// Backlogs is what waits in the spools for logging configurations of a scope, as it was up
// to two seconds ago. It counts for a quarter of a second at most: where more waits than
// can be counted by then, the backlog says that it is partial. It neither waits for those
// who record and ship nor keeps them waiting. A spool that cannot be read is left out, which
// the log says.
func (r *Recorder) Backlogs(scope chat.Scope) []Backlog {
	r.counting.Lock()
	defer r.counting.Unlock()
	if r.countAt.IsZero() || time.Since(r.countAt) > backlogLife {
		all, err := backlogs(r.config.Dir, backlogTime)
		if err != nil {
			r.complain("what waits in the chat log's spool cannot be counted", destination{}, err)
		}
		r.counted, r.countAt = all, time.Now()
	}
	var own []Backlog
	for _, b := range r.counted {
		if arn, err := chat.ParseARN(b.Configuration); err == nil && arn.Scope == scope {
			own = append(own, b)
		}
	}
	return own
}

// backlog reads what waits in a spool, and counts its records for no more than the given
// time.
func backlog(dir string, within time.Duration) (Backlog, error) {
	begun := time.Now()
	to, err := readDestination(dir)
	if err != nil {
		return Backlog{}, err
	}
	b := Backlog{Spool: dir, Configuration: to.Configuration, Kind: string(to.Kind), Name: to.Name}
	b.Unread, b.UnreadBytes = unreadOf(dir)
	at, _, _ := readCursor(dir) // a damaged one is none, as it is for the server
	segments, err := segmentsOf(dir)
	if err != nil || len(segments) == 0 {
		return b, err
	}
	for _, segment := range segments {
		b.Bytes += segment.size
	}
	in := reader{dir: dir, at: at}
	defer in.close()
	process, first, void := uint64(0), uint64(math.MaxUint64), 0
	for entries := 1; ; entries++ {
		if entries%256 == 0 && time.Since(begun) > within {
			b.Partial = true
			break
		}
		// What is being written now looks damaged; it is not counted.
		e, _, err := in.next(place{Segment: segments[len(segments)-1].number, Offset: math.MaxInt64})
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
		if in.process != process {
			process, first = in.process, math.MaxUint64
		}
		switch {
		case e.record == nil && !e.published && e.intent >= first: // of an intent behind the cursor
			void++
		case e.record != nil:
			b.Records++
			first = min(first, e.intent)
			if at := e.record.time(); b.Oldest.IsZero() || at.Before(b.Oldest) {
				b.Oldest = at
			}
		}
	}
	b.Records = max(b.Records-void, 0)
	return b, nil
}
