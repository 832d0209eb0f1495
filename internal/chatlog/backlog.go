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
	at, err := readCursor(dir)
	if err != nil {
		return b, err
	}
	segments, size, err := segmentsOf(dir)
	if err != nil || len(segments) == 0 {
		return b, err
	}
	b.Bytes = size
	in := reader{dir: dir, at: at}
	defer in.close()
	void := 0
	for {
		// What is being written now looks torn; it is not counted.
		e, _, err := in.next(place{Segment: segments[len(segments)-1], Offset: math.MaxInt64})
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
		switch {
		case e.record == nil && !e.published:
			void++
		case e.record != nil:
			b.Records++
			if at := e.record.time(); b.Oldest.IsZero() || at.Before(b.Oldest) {
				b.Oldest = at
			}
		}
	}
	b.Records = max(b.Records-void, 0)
	return b, nil
}
