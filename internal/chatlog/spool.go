package chatlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"parlor/internal/chat"
)

// A spool is a directory of segments, files that are only ever appended to. A segment
// begins with segmentMagic and the number of the first segment of the process that
// writes it; entries follow, each a length, a checksum and a body. Every process begins
// segments of its own: nothing is ever written behind what a killed one left in part.
//
// A body is its kind, the number of the intent among those of its process, and
//
//	intent: time (Unix ns) · publication kind · room id, frame (each with its length)
//	mark:   published (0 or 1) · epoch · number
//
// A killed process loses nothing that was written. A power loss takes what was not
// synced: flush does that, also for the names of new segments; nothing is synced while
// a message waits.
const (
	segmentMagic  = "PARLOR\x00\x01" // the last byte is the version
	segmentHeader = int64(len(segmentMagic) + 8)
	segmentSize   = 8 << 20   // or a quarter of the limit, if that is less: whole segments are freed
	maxEntry      = 128 << 10 // frames are far less, see chat.TestLargestFrame

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
	dir    string
	limit  int64  // bytes
	first  uint64 // segment of this process
	cursor place  // when it was opened
	doubt  error  // why the cursor is the beginning though there was another

	size atomic.Int64 // of all segments, bytes; changed under mu

	syncing sync.Mutex // held by sync, before mu

	mu      sync.Mutex
	file    *os.File   // nil until something is written
	at      place      // where the next entry goes: what is before is whole
	intents uint64     // made by this process
	marks   []byte     // to be written before the next intent, or by flush
	ended   []*os.File // segments that are whole, to be synced
	dirty   bool       // file was written since the last sync
	begun   bool       // a segment was begun since the last sync
	closed  bool
}

// openSpool opens the spool in a directory, which is made if it is not there.
func openSpool(dir string, limit int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open a spool: %w", err)
	}
	segments, err := segmentsOf(dir)
	if err != nil {
		return nil, err
	}
	s := &spool{dir: dir, limit: limit}
	cursor, found, err := readCursor(dir)
	if err != nil {
		s.doubt = err
	}
	if found { // also where the segments before it are gone
		s.cursor, s.first = cursor, cursor.Segment+1
	}
	for _, segment := range segments {
		s.first = max(s.first, segment.number+1)
		s.size.Add(segment.size)
	}
	s.at = place{Segment: s.first}
	return s, nil
}

type segment struct {
	number uint64
	size   int64
}

// segmentsOf lists a spool's segments, oldest first.
func segmentsOf(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list a spool: %w", err)
	}
	var segments []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		n, err := strconv.ParseUint(name, 10, 64)
		if !ok || err != nil || n > 2*lastSegment {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // shipped meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list a spool: %w", err)
		}
		segments = append(segments, segment{n, info.Size()})
	}
	slices.SortFunc(segments, func(a, b segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return segments, nil
}

const lastSegment = 1 << 60 // more is no number of a segment

func segmentPath(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.seg", n))
}

var (
	errFull   = errors.New("the spool is full")
	errClosed = errors.New("the spool is closed")
	errLarge  = errors.New("the record is too large")
)

// intend writes an intent. When it returns nil, the intent outlives this process.
func (s *spool) intend(pub *chat.Publication) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
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
	if len(b)-len(s.marks)-8 > maxEntry {
		return 0, errLarge
	}
	if s.size.Load()+int64(len(b)) > s.limit {
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
	if s.closed {
		return // the intent is shipped by the next process
	}
	s.marks = appendEntry(s.marks, func(b []byte) []byte {
		b = append(b, entryMark)
		b = binary.AppendUvarint(b, intent)
		if published {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = binary.AppendUvarint(b, at.Epoch)
		return binary.AppendUvarint(b, at.Number)
	})
}

// flush writes the marks.
func (s *spool) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeMarks()
}

// writeMarks writes the marks, also over the limit: without them nothing can be
// shipped. s.mu is held.
func (s *spool) writeMarks() error {
	if len(s.marks) == 0 || s.closed {
		return nil
	}
	if err := s.write(s.marks); err != nil {
		return err
	}
	s.marks = s.marks[:0]
	return nil
}

// sync writes the marks and syncs what was written since the last time, and what could
// not be synced then.
func (s *spool) sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	err := s.writeMarks()
	ended, file, begun := s.ended, s.file, s.begun
	if !s.dirty {
		file = nil
	}
	s.ended, s.dirty, s.begun = nil, false, false
	s.mu.Unlock()
	for _, f := range ended {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if file != nil {
		// An ended file is closed by the next call alone.
		err = errors.Join(err, file.Sync())
	}
	if begun {
		err = errors.Join(err, syncDirectory(s.dir))
	}
	if err != nil {
		s.mu.Lock()
		s.dirty, s.begun = s.dirty || file != nil, s.begun || begun
		s.mu.Unlock()
		return fmt.Errorf("sync a spool: %w", err)
	}
	return nil
}

// write appends whole entries. s.mu is held.
func (s *spool) write(b []byte) error {
	size := min(segmentSize, s.limit/4)
	if end := s.at.Offset + int64(len(b)); s.file == nil || s.at.Offset > segmentHeader && end > size {
		// Where no file can be made, such as without descriptors, the last one goes on, not so
		// far that what is shipped of it could fill the spool.
		if err := s.begin(); err != nil && (s.file == nil || end > 2*size) {
			return err
		}
	}
	if _, err := s.file.WriteAt(b, s.at.Offset); err != nil {
		s.file.Truncate(s.at.Offset) // best effort: what comes is written over what was written in part
		return fmt.Errorf("write a spool: %w", err)
	}
	s.at.Offset += int64(len(b))
	s.size.Add(int64(len(b)))
	s.dirty = true
	return nil
}

// begin begins a segment. s.mu is held.
func (s *spool) begin() error {
	next := s.at.Segment
	if s.at.Offset > 0 {
		next++
	}
	var file *os.File
	var err error
	for { // a segment that could not be begun may be there in part
		file, err = os.OpenFile(segmentPath(s.dir, next), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		next++
	}
	if err == nil {
		if _, err = file.Write(binary.BigEndian.AppendUint64([]byte(segmentMagic), s.first)); err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("begin a segment: %w", err)
	}
	if s.file != nil {
		s.ended = append(s.ended, s.file)
	}
	s.file, s.begun = file, true
	s.at = place{Segment: next, Offset: segmentHeader}
	s.size.Add(segmentHeader)
	return nil
}

// end is where what was written ends.
func (s *spool) end() place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// bytes is the size of all segments. It waits for nobody.
func (s *spool) bytes() int64 { return s.size.Load() }

// release removes the segments that are before a place.
func (s *spool) release(before place) {
	segments, err := segmentsOf(s.dir)
	if err != nil {
		return // the next release does it
	}
	for _, segment := range segments {
		if segment.number < before.Segment && os.Remove(segmentPath(s.dir, segment.number)) == nil {
			s.forget(segment.size)
		}
	}
}

func (s *spool) forget(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size.Add(-size)
}

// setAside keeps a segment that cannot be read under another name, where nothing
// touches it. The error says so.
func (s *spool) setAside(n uint64) error {
	name := segmentPath(s.dir, n)
	info, err := os.Stat(name)
	if err == nil {
		err = os.Rename(name, name+asideSuffix)
	}
	if err != nil {
		return fmt.Errorf("set a segment aside: %w", err)
	}
	s.forget(info.Size())
	return fmt.Errorf("a segment of another version, or damaged, is not shipped and is kept as %s", name+asideSuffix)
}

// close ends the spool: it takes no intents any more.
func (s *spool) close() error {
	err := s.sync()
	s.mu.Lock()
	if !s.closed {
		err = errors.Join(err, s.writeMarks()) // of what came meanwhile
		s.closed = true
		s.endFile()
	}
	s.mu.Unlock()
	return errors.Join(err, s.sync())
}

// closeAt closes the spool if nothing was written from a place on, nor waits to be.
func (s *spool) closeAt(p place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.at != p || len(s.marks) > 0 {
		return false
	}
	s.closed = true
	s.endFile()
	return true
}

// endFile leaves the segment to sync, which closes it. s.mu is held.
func (s *spool) endFile() {
	if s.file != nil {
		s.ended = append(s.ended, s.file)
		s.file, s.dirty = nil, false
	}
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
