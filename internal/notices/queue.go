package notices

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	// segmentSize is about how large a file of a queue gets, in bytes.
	segmentSize = 4 << 20
	// queueSize bounds what waits for one webhook on disk, in bytes. What comes when
	// there is as much is lost, and counted.
	queueSize = 256 << 20
	// maxLine is more than any event has.
	maxLine = 64 << 10

	cursorName = "cursor.json"
)

var errQueueFull = errors.New("the queue is full")

// queue is what waits for a webhook: files of one event in each line, and a cursor
// that says up to where they were taken. Anybody appends; one goroutine reads.
type queue struct {
	dir     string
	metrics *metrics
	more    chan struct{} // of one: something was appended

	mu    sync.Mutex
	file  *os.File // what is appended to; nil until something is
	last  uint64   // its number
	size  int64    // of it
	total int64    // of all files

	at place // owned by the reader
}

// place is a position in a queue.
type place struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

func openQueue(dir string, m *metrics) (*queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	q := &queue{dir: dir, metrics: m, more: make(chan struct{}, 1)}
	text, err := os.ReadFile(filepath.Join(dir, cursorName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the cursor: %w", err)
	}
	if json.Unmarshal(text, &q.at) != nil {
		q.at = place{} // damaged, or none: rather twice than never
	}
	segments, err := q.segments()
	if err != nil {
		return nil, err
	}
	for _, number := range segments {
		info, err := os.Stat(q.name(number))
		if err != nil {
			return nil, err
		}
		q.total += info.Size()
		// What is appended goes into a file of its own: the end of this one may be torn.
		q.last = number
	}
	q.last = max(q.last, q.at.Segment)
	m.waiting.Add(float64(q.total))
	q.tell()
	return q, nil
}

func (q *queue) name(number uint64) string {
	return filepath.Join(q.dir, fmt.Sprintf("%016d.events", number))
}

// segments are the numbers of the files that there are, in order.
func (q *queue) segments() ([]uint64, error) {
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		var number uint64
		if n, err := fmt.Sscanf(e.Name(), "%d.events", &number); n == 1 && err == nil && q.name(number) == filepath.Join(q.dir, e.Name()) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// append adds an event. It is with the operating system when append returns nil.
func (q *queue) append(line []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total+int64(len(line)) >= queueSize {
		return errQueueFull
	}
	if q.file != nil && q.size+int64(len(line)) >= segmentSize {
		q.endSegment()
	}
	if q.file == nil {
		file, err := os.OpenFile(q.name(q.last+1), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		q.file, q.size = file, 0
		q.last++
	}
	n, err := q.file.Write(append(line, '\n'))
	q.size += int64(n)
	q.total += int64(n)
	q.metrics.waiting.Add(float64(n))
	if err != nil && q.size > 0 {
		// It may end in a part of a line. One that is empty is tried again: a full disk
		// would come to have as many of them as there are events.
		q.endSegment()
	}
	q.tell()
	return err
}

// endSegment has the next event begin a file of its own. q.mu is held.
func (q *queue) endSegment() {
	q.file.Close() // what it took was written without a buffer
	q.file = nil
}

func (q *queue) tell() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// batch is what is taken from a queue at once.
type batch struct {
	events []json.RawMessage
	size   int   // of the events, in bytes
	spoilt int   // lines that are torn or not JSON, passed over
	after  place // the cursor once it was taken
	full   bool  // there is more
}

// next returns events from the cursor on, so many and so many bytes at most, but one if
// there is any.
func (q *queue) next(most, bytes int) (batch, error) {
	b := batch{after: q.at}
	segments, err := q.segments()
	if err != nil {
		return b, err
	}
	q.mu.Lock()
	writing := uint64(0)
	if q.file != nil {
		writing = q.last
	}
	q.mu.Unlock()
	for _, number := range segments {
		if number < q.at.Segment {
			continue // taken, and not removed
		}
		if number > b.after.Segment {
			b.after = place{Segment: number}
		}
		full, err := q.read(number, number == writing, most, bytes, &b)
		if b.full = full; err != nil || full {
			return b, err
		}
	}
	return b, nil
}

// read adds events of one file, and reports whether there are enough.
func (q *queue) read(number uint64, writing bool, most, bytes int, b *batch) (full bool, err error) {
	file, err := os.Open(q.name(number))
	if err != nil {
		return false, err
	}
	defer file.Close()
	if _, err := file.Seek(b.after.Offset, io.SeekStart); err != nil {
		return false, err
	}
	in := bufio.NewReaderSize(file, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && (len(line) == 0 || writing) {
			return false, nil // the rest of the line is being written
		}
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return false, err
		}
		event := trimmed(line)
		switch {
		case !json.Valid(event):
			b.spoilt++
		case len(b.events) > 0 && (len(b.events) >= most || b.size+len(event) > bytes):
			return true, nil
		default:
			b.events = append(b.events, slices.Clone(event))
			b.size += len(event)
		}
		b.after.Offset += int64(len(line))
	}
}

func trimmed(line []byte) []byte { return bytes.TrimSuffix(line, []byte("\n")) }

// commit says that everything before a place was taken. It holds for this process even
// with an error, which is that of the files.
func (q *queue) commit(to place) error {
	q.at = to
	// What fills the disk may be what can be removed now, so this goes on without a cursor.
	return errors.Join(q.writeCursor(), q.removeTaken())
}

// writeCursor keeps the cursor for the next start. One that is lost or old means that
// events are sent again; that is allowed.
func (q *queue) writeCursor() error {
	text, err := json.Marshal(q.at)
	if err != nil {
		return err
	}
	fresh := filepath.Join(q.dir, cursorName+".new")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(q.dir, cursorName))
}

// removeTaken removes the files of which everything was taken.
func (q *queue) removeTaken() error {
	segments, err := q.segments()
	if err != nil {
		return err
	}
	for _, number := range segments {
		if number >= q.at.Segment && !q.finished(number, q.at) {
			continue
		}
		info, err := os.Stat(q.name(number))
		if err == nil {
			err = os.Remove(q.name(number))
		}
		if err != nil {
			return err
		}
		q.mu.Lock()
		q.total -= info.Size()
		q.mu.Unlock()
		q.metrics.waiting.Sub(float64(info.Size()))
	}
	return nil
}

// finished reports whether all of a file was taken, and nothing more will be appended.
// The file that is appended to is ended for that, so that an idle queue is empty.
func (q *queue) finished(number uint64, to place) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if number != to.Segment {
		return false
	}
	info, err := os.Stat(q.name(number))
	if err != nil || info.Size() != to.Offset {
		return false
	}
	if q.file != nil && q.last == number {
		q.endSegment()
	}
	return true
}

func (q *queue) close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file == nil {
		return nil
	}
	defer func() { q.file = nil }()
	return q.file.Close()
}
