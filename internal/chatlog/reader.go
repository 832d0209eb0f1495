package chatlog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"parlor/internal/chat"
)

// entry is an entry as it was read.
type entry struct {
	place     place
	intent    uint64
	record    *record // of an intent
	published bool    // of a mark
	at        chat.Position
}

var errDamaged = errors.New("not a whole entry")

// parseEntry reads the body of an entry whose checksum holds, and keeps it.
func parseEntry(body []byte) (entry, error) {
	var e entry
	kind, rest := byte(0), body
	take := func() byte {
		if len(rest) == 0 {
			kind = 0xff
			return 0
		}
		c := rest[0]
		rest = rest[1:]
		return c
	}
	number := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			kind, rest = 0xff, nil
			return 0
		}
		rest = rest[n:]
		return v
	}
	text := func() []byte {
		n := number()
		if n > uint64(len(rest)) {
			kind, rest = 0xff, nil
			return nil
		}
		t := rest[:n]
		rest = rest[n:]
		return t
	}
	kind = take()
	e.intent = number()
	switch kind {
	case entryIntent:
		e.record = &record{accepted: int64(number()), kind: chat.PublicationKind(take()), room: string(text()), frame: text()}
	case entryMark:
		e.published = take() == 1
		e.at = chat.Position{Epoch: number(), Number: number()}
	default:
		return e, errDamaged
	}
	if kind == 0xff || len(rest) > 0 {
		return e, errDamaged
	}
	return e, nil
}

// reader reads a spool from a place on.
type reader struct {
	dir     string
	at      place
	process uint64   // that wrote the segment of the last entry: its first segment
	unread  []uint64 // segments that were left out, since they are of another version
	file    *os.File // of segment at.Segment; nil to open it
	window  window   // over file
}

// window reads a file by large parts of what is whole: an entry is small.
type window struct {
	at    int64
	bytes []byte
}

const windowSize = 32 << 10

// over is a reader of a file up to a limit, before which nothing changes any more.
func (w *window) over(file io.ReaderAt, limit int64) io.ReaderAt { return windowed{w, file, limit} }

type windowed struct {
	*window
	file  io.ReaderAt
	limit int64
}

func (w windowed) ReadAt(p []byte, at int64) (int, error) {
	if at < w.at || at+int64(len(p)) > w.at+int64(len(w.bytes)) {
		size := min(windowSize, w.limit-at)
		if int64(len(p)) > size { // also where it is asked for more than is whole
			return w.file.ReadAt(p, at)
		}
		if w.bytes == nil {
			w.window.bytes = make([]byte, windowSize)
		}
		n, err := w.file.ReadAt(w.bytes[:size], at)
		w.window.at, w.window.bytes = at, w.bytes[:n]
		if n < len(p) {
			return copy(p, w.bytes), err
		}
	}
	return copy(p, w.bytes[at-w.at:]), nil
}

// next reads the entry at the reader's place, or the next whole one behind it, if it is
// before end, the place up to which everything was written; else it is io.EOF. damaged
// reports that something was left out because it is not as it was written, such as the
// last entry of a killed process.
func (r *reader) next(end place) (e entry, damaged bool, err error) {
	for r.at.before(end) {
		if r.file == nil {
			if err := r.open(end); err != nil {
				return e, damaged, fmt.Errorf("read a spool: %w", err)
			}
			continue
		}
		limit := int64(math.MaxInt64)
		if r.at.Segment == end.Segment {
			limit = end.Offset
		}
		e, size, err := readEntry(r.window.over(r.file, limit), r.at.Offset, limit)
		if err == nil {
			e.place = r.at
			r.at.Offset += size
			return e, damaged, nil
		}
		if err == errDamaged {
			damaged = true
			r.at.Offset, err = resync(r.file, r.at.Offset+1, limit)
		}
		if err == io.EOF {
			r.skip(end)
		} else if err != nil {
			return e, damaged, fmt.Errorf("read a spool: %w", err)
		}
	}
	return e, damaged, io.EOF
}

// open opens the segment of the reader's place, or goes on to the next that there is.
func (r *reader) open(end place) error {
	file, err := os.Open(segmentPath(r.dir, r.at.Segment))
	if errors.Is(err, fs.ErrNotExist) {
		segments, err := segmentsOf(r.dir)
		if err != nil {
			return err
		}
		next := place{Segment: end.Segment}
		for _, segment := range segments {
			if segment.number > r.at.Segment {
				next.Segment = min(next.Segment, segment.number)
				break
			}
		}
		if r.at.Segment == end.Segment {
			next = end
		}
		r.at = next
		return nil
	}
	if err != nil {
		return err
	}
	header := make([]byte, segmentHeader)
	_, err = io.ReadFull(file, header)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF: // begun and not written
	case err != nil:
		file.Close()
		return err
	case string(header[:len(segmentMagic)]) == segmentMagic:
		r.file = file
		r.process = binary.BigEndian.Uint64(header[len(segmentMagic):])
		r.at.Offset = max(r.at.Offset, segmentHeader)
		return nil
	default:
		r.unread = append(r.unread, r.at.Segment)
	}
	file.Close()
	r.skip(end)
	return nil
}

// skip goes on to the next segment, or, in the last, to the end.
func (r *reader) skip(end place) {
	if r.at.Segment >= end.Segment {
		r.at = end
		return
	}
	r.close()
	r.at = place{Segment: r.at.Segment + 1}
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	r.window.bytes = r.window.bytes[:0]
}

// readEntry reads the entry at an offset. At the end of the file, or limit, it is
// io.EOF; anything that is no whole entry is errDamaged.
func readEntry(file io.ReaderAt, offset, limit int64) (entry, int64, error) {
	var head [8]byte
	if offset >= limit {
		return entry{}, 0, io.EOF
	}
	n, err := file.ReadAt(head[:], offset)
	if err == io.EOF && n == 0 {
		return entry{}, 0, io.EOF
	}
	if err != nil && err != io.EOF {
		return entry{}, 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if n < len(head) || size > maxEntry || int64(size)+8 > limit-offset {
		return entry{}, 0, errDamaged
	}
	body := make([]byte, size)
	if n, err := file.ReadAt(body, offset+8); n < len(body) {
		if err != nil && err != io.EOF {
			return entry{}, 0, err
		}
		return entry{}, 0, errDamaged
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return entry{}, 0, errDamaged
	}
	e, err := parseEntry(body)
	return e, 8 + int64(size), err
}

// resync finds the first whole entry from an offset on; if there is none it is io.EOF.
// It looks at what could be the head of one, which in frames, being text, is rare.
func resync(file io.ReaderAt, offset, limit int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	work := 64 << 20 // bytes to look at in entries that are none: more is not what we wrote
	for {
		n, err := file.ReadAt(buffer, offset)
		if err != nil && err != io.EOF {
			return 0, err
		}
		n = int(min(int64(n), limit-offset))
		for i := range n - 7 {
			size := binary.BigEndian.Uint32(buffer[i:])
			if size == 0 || size > maxEntry {
				continue
			}
			_, _, err := readEntry(file, offset+int64(i), limit)
			if err == nil {
				return offset + int64(i), nil
			}
			if err != errDamaged {
				return 0, err
			}
			if work -= int(size); work < 0 {
				return 0, io.EOF
			}
		}
		if err == io.EOF || n < len(buffer) {
			return 0, io.EOF
		}
		offset += int64(n - 7)
	}
}

// The cursor says how far a spool has been shipped. It is written after what it says
// is true, and may be older than that.

const cursorFile = "cursor"

// readCursor reads a cursor, if there is one. An error is a damaged one.
func readCursor(dir string) (at place, found bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, cursorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err == nil && (at.Segment > lastSegment || at.Offset < 0) {
		err = errors.New("it names no place")
	}
	if err != nil {
		return place{}, false, fmt.Errorf("read a spool's cursor: %w", err)
	}
	return at, true, nil
}

func writeCursor(dir string, p place) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, cursorFile), text)
}

// replaceFile writes a file whole or not at all. A power loss may take it.
func replaceFile(name string, text []byte) error {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// keepFile is replaceFile, and outlives a power loss.
func keepFile(name string, text []byte) error {
	file, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(name))
}

// syncDirectory has the names in a directory outlive a power loss.
func syncDirectory(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
