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
	"time"
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
}

// Backlogs reads what waits in the spools of a directory, the fullest first. It only reads, and may be
// called while a server writes there.
func Backlogs(dir string) ([]Backlog, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Backlog
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		b, err := backlog(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // just made, or just shipped
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backlog) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Spool, b.Spool))
	})
	return all, nil
}

func backlog(dir string) (Backlog, error) {
	to, err := readDestination(dir)
	if err != nil {
		return Backlog{}, err
	}
	b := Backlog{Spool: dir, Configuration: to.Configuration, Kind: string(to.Kind), Name: to.Name}
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
	for {
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
