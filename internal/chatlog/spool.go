package chatlog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"parlor/internal/chat"
)

// A spool is a directory of segments, files that are only ever appended to. A segment
// begins with segmentMagic; entries follow, each a length, a checksum and a body.
// What a process killed in the middle of a write left behind fails its checksum and
// ends its segment; every process begins a segment of its own.
//
// A body is its kind, the number of the intent in its spool, and
//
//	intent: time (Unix ns) · publication kind · room id, frame (each with its length)
//	mark:   published (0 or 1) · epoch · number
const (
	segmentMagic = "PARLOR\x00\x01" // the last byte is the version
	segmentSize  = 8 << 20
	maxEntry     = 1 << 20

	entryIntent = 1
	entryMark   = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where an entry begins in a spool.
type place struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

func (p place) before(q place) bool {
	return p.Segment < q.Segment || p.Segment == q.Segment && p.Offset < q.Offset
}

// spool keeps the records of one destination until they are there.
type spool struct {
	dir   string
	limit int64  // bytes
	first uint64 // segment of this process

	mu      sync.Mutex
	file    *os.File // nil until something is written
	at      place    // where the next entry goes: what is before is whole
	size    int64    // of all segments
	intents uint64   // made by this process
	marks   []byte   // to be written before the next intent, or by flush
	dirty   bool     // written since the last sync
	failed  error    // the last write
}

// openSpool opens the spool in a directory, which is made if it is not there.
func openSpool(dir string, limit int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open a spool: %w", err)
	}
	segments, size, err := segmentsOf(dir)
	if err != nil {
		return nil, err
	}
	s := &spool{dir: dir, limit: limit, size: size}
	if n := len(segments); n > 0 {
		s.first = segments[n-1] + 1
	}
	s.at = place{Segment: s.first}
	return s, nil
}

// segmentsOf lists a spool's segments, oldest first, and their size in all.
func segmentsOf(dir string) (segments []uint64, size int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("list a spool: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		n, err := strconv.ParseUint(name, 10, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // shipped meanwhile
		}
		if err != nil {
			return nil, 0, fmt.Errorf("list a spool: %w", err)
		}
		segments, size = append(segments, n), size+info.Size()
	}
	slices.Sort(segments)
	return segments, size, nil
}

func segmentPath(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.seg", n))
}

var errFull = errors.New("the spool is full")

// intend writes an intent. When it returns nil, the intent outlives this process.
func (s *spool) intend(pub *chat.Publication) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make([]byte, 0, len(s.marks)+len(pub.Frame)+64)
	b = append(b, s.marks...)
	b = appendEntry(b, func(b []byte) []byte {
		b = append(b, entryIntent)
		b = binary.AppendUvarint(b, s.intents)
		b = binary.AppendUvarint(b, uint64(pub.Accepted.UnixNano()))
		b = append(b, byte(pub.Kind))
		b = binary.AppendUvarint(b, uint64(len(pub.Room.ID)))
		b = append(b, pub.Room.ID...)
		b = binary.AppendUvarint(b, uint64(len(pub.Frame)))
		return append(b, pub.Frame...)
	})
	if s.size+int64(len(b)) > s.limit {
		return 0, errFull
	}
	if err := s.write(b); err != nil {
		return 0, err
	}
	s.marks = s.marks[:0]
	s.intents++
	return s.intents - 1, nil
}

// mark notes what became of an intent. Until flush, or the next intent, that may be
// lost with the process.
func (s *spool) mark(intent uint64, published bool, at chat.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks = appendEntry(s.marks, func(b []byte) []byte {
		b = append(b, entryMark)
		b = binary.AppendUvarint(b, intent)
		b = append(b, map[bool]byte{false: 0, true: 1}[published])
		b = binary.AppendUvarint(b, at.Epoch)
		return binary.AppendUvarint(b, at.Number)
	})
}

// flush writes the marks, and syncs what was written since the last time if sync is
// set.
func (s *spool) flush(sync bool) error {
	s.mu.Lock()
	if len(s.marks) > 0 { // also over the limit: without them nothing can be shipped
		if err := s.write(s.marks); err != nil {
			s.mu.Unlock()
			return err
		}
		s.marks = s.marks[:0]
	}
	file, dirty := s.file, s.dirty
	if sync {
		s.dirty = false
	}
	s.mu.Unlock()
	if !sync || !dirty || file == nil {
		return nil
	}
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // a closed one was synced
		return fmt.Errorf("sync a spool: %w", err)
	}
	return nil
}

// write appends whole entries. s.mu is held.
func (s *spool) write(b []byte) error {
	if s.file == nil || s.at.Offset+int64(len(b)) > segmentSize {
		if err := s.begin(); err != nil {
			return err
		}
	}
	n, err := s.file.Write(b)
	if err != nil {
		// What was written in part must not stand before what comes: another segment.
		s.size += int64(n)
		s.file.Close()
		s.file = nil
		return fmt.Errorf("write a spool: %w", err)
	}
	s.at.Offset += int64(n)
	s.size += int64(n)
	s.dirty = true
	return nil
}

// begin begins a segment. s.mu is held.
func (s *spool) begin() error {
	next := s.at.Segment
	if s.at.Offset > 0 {
		next++
	}
	if s.file != nil {
		s.file.Sync() // best effort: a fault shows at the next write, too
		s.file.Close()
		s.file = nil
	}
	var file *os.File
	var err error
	for { // a segment that could not be begun may be there in part
		file, err = os.OpenFile(segmentPath(s.dir, next), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		next++
	}
	if err == nil {
		if _, err = file.WriteString(segmentMagic); err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("begin a segment: %w", err)
	}
	s.file = file
	s.at = place{Segment: next, Offset: int64(len(segmentMagic))}
	s.size += int64(len(segmentMagic))
	return nil
}

// end is where what was written ends.
func (s *spool) end() place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// release removes the segments that are before a place.
func (s *spool) release(before place) {
	segments, _, err := segmentsOf(s.dir)
	if err != nil {
		return // the next release does it
	}
	for _, n := range segments {
		if n < before.Segment {
			os.Remove(segmentPath(s.dir, n))
		}
	}
	if _, size, err := segmentsOf(s.dir); err == nil {
		s.mu.Lock()
		s.size = size
		s.mu.Unlock()
	}
}

func (s *spool) close() error {
	err := s.flush(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
		s.file = nil
	}
	return err
}

// appendEntry appends an entry whose body is what f appends.
func appendEntry(b []byte, f func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = f(b)
	body := b[start+8:]
	binary.BigEndian.PutUint32(b[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

// entry is an entry as it was read.
type entry struct {
	intent    uint64
	record    *record // of an intent
	published bool    // of a mark
	at        chat.Position
}

var errTorn = errors.New("not a whole entry")

// parseEntry reads the body of an entry whose checksum holds.
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
		e.record = &record{accepted: int64(number()), kind: chat.PublicationKind(take()), room: string(text()), frame: slices.Clone(text())}
	case entryMark:
		e.published = take() == 1
		e.at = chat.Position{Epoch: number(), Number: number()}
	default:
		return e, errTorn
	}
	if kind == 0xff || len(rest) > 0 {
		return e, errTorn
	}
	return e, nil
}

// reader reads a spool from a place on.
type reader struct {
	dir  string
	at   place
	file *os.File // of segment at.Segment; nil to open it
}

// next reads the entry at the reader's place, if it is before end, the place up to which
// everything was written; else it is io.EOF. A segment that ends in the middle of an entry, or in
// one that fails its checksum, is over there: torn reports that.
func (r *reader) next(end place) (e entry, torn bool, err error) {
	for {
		if !r.at.before(end) {
			return e, torn, io.EOF
		}
		if r.file == nil {
			err := r.open(end)
			if err != nil {
				return e, torn, err
			}
			continue
		}
		e, size, err := readEntry(r.file, r.at.Offset)
		if err == nil {
			r.at.Offset += size
			return e, torn, nil
		}
		if err != io.EOF && !errors.Is(err, errTorn) {
			return e, torn, fmt.Errorf("read a spool: %w", err)
		}
		torn = torn || err != io.EOF
		r.skip()
	}
}

// open opens the segment of the reader's place, or the next that there is.
func (r *reader) open(end place) error {
	file, err := os.Open(segmentPath(r.dir, r.at.Segment))
	if errors.Is(err, fs.ErrNotExist) {
		if r.at.Segment >= end.Segment {
			return io.EOF
		}
		r.at = place{Segment: r.at.Segment + 1}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read a spool: %w", err)
	}
	magic := make([]byte, len(segmentMagic))
	if _, err := io.ReadFull(file, magic); err != nil || string(magic) != segmentMagic {
		file.Close()
		if r.at.Segment >= end.Segment {
			return io.EOF
		}
		r.at = place{Segment: r.at.Segment + 1} // begun and not written, or of another version
		return nil
	}
	r.file = file
	r.at.Offset = max(r.at.Offset, int64(len(segmentMagic)))
	return nil
}

// skip goes on to the next segment.
func (r *reader) skip() {
	r.close()
	r.at = place{Segment: r.at.Segment + 1}
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// readEntry reads the entry at an offset. At the end of the file it is io.EOF, anything
// that is no whole entry is errTorn.
func readEntry(file io.ReaderAt, offset int64) (entry, int64, error) {
	var head [8]byte
	n, err := file.ReadAt(head[:], offset)
	if err == io.EOF && n == 0 {
		return entry{}, 0, io.EOF
	}
	if err != nil && err != io.EOF {
		return entry{}, 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if n < len(head) || size > maxEntry {
		return entry{}, 0, errTorn
	}
	body := make([]byte, size)
	if n, err := file.ReadAt(body, offset+8); n < len(body) {
		if err != nil && err != io.EOF {
			return entry{}, 0, err
		}
		return entry{}, 0, errTorn
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return entry{}, 0, errTorn
	}
	e, err := parseEntry(body)
	return e, 8 + int64(size), err
}

// The cursor says how far a spool has been shipped. It is written after what it says
// is true, and may be older than that.

const cursorFile = "cursor"

func readCursor(dir string) (place, error) {
	var p place
	text, err := os.ReadFile(filepath.Join(dir, cursorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return place{}, fmt.Errorf("read a spool's cursor: %w", err)
	}
	return p, nil
}

func writeCursor(dir string, p place) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, cursorFile), text)
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, text []byte) error {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
