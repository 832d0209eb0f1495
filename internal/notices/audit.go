package notices

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"parlor/internal/chat"
)

// checkEvery is how often it is looked whether the audit log's file still stands where
// it was opened: what rotates logs renames it, and expects a new one there.
const checkEvery = time.Second

// auditLog is a file of one JSON object in each line. It is appended to, and never
// shortened: keeping it small is the business of who keeps it.
type auditLog struct {
	path    string
	logger  *slog.Logger
	metrics *metrics
	full    saying

	mu      sync.Mutex
	file    *os.File
	checked time.Time
	torn    bool // the last write left a part of a line
}

func openAudit(path string, logger *slog.Logger, m *metrics) (*auditLog, error) {
	a := &auditLog{path: path, logger: logger, metrics: m}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return a, nil
}

func (a *auditLog) open() error {
	file, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	a.file, a.checked = file, time.Now()
	// What was killed may have left a part of a line.
	a.torn = !endsInNewline(a.path)
	return nil
}

func endsInNewline(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return true // it may be written and not read: a pipe, say
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return true
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, info.Size()-1)
	return err != nil || last[0] == '\n'
}

// write adds a record. One that cannot be written is counted.
func (a *auditLog) write(n *chat.Notice) {
	line, err := json.Marshal(recordOf(n))
	if err != nil {
		panic("notices: encode a record: " + err.Error()) // strings always can be
	}
	line = append(line, '\n')
	if err := a.append(line); err != nil {
		a.metrics.unaudited.Inc()
		if a.full.now() {
			a.logger.Error("audit log not written", "error", err)
		}
		return
	}
	a.metrics.audited.Inc()
}

func (a *auditLog) append(line []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); a.file == nil || now.Sub(a.checked) >= checkEvery {
		a.checked = now
		if err := a.reopen(); err != nil {
			return err
		}
	}
	if a.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := a.file.Write(line)
	a.torn = n > 0 && n < len(line) || n == 0 && a.torn
	return err
}

// reopen opens the file anew if it was renamed or removed.
func (a *auditLog) reopen() error {
	if a.file != nil {
		there, err := os.Stat(a.path)
		if err == nil {
			if here, err := a.file.Stat(); err == nil && os.SameFile(here, there) {
				return nil
			}
		} else if !os.IsNotExist(err) {
			return nil // cannot be said; what is open is as good as before
		}
		a.file.Close() // what it took was written without a buffer
		a.file = nil
	}
	return a.open()
}

func (a *auditLog) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	defer func() { a.file = nil }()
	if err := a.file.Close(); err != nil {
		return fmt.Errorf("close the audit log: %w", err)
	}
	return nil
}
