package notices

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A full disk takes names long after it takes no more bytes: each event that is lost must
// not leave an empty file behind.
func TestFullDiskMakesNoFiles(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	q, err := openQueue(t.TempDir(), newMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	q.file, q.last = full, 1 // just opened, and nothing is in it
	for range 3 {
		if err := q.append([]byte(`{}`)); err == nil {
			t.Error("an event was taken by a disk that is full")
		}
	}
	if segments, err := q.segments(); err != nil || len(segments) > 0 {
		t.Errorf("files %v (%v), want none more", segments, err)
	}
}

// Where the cursor cannot be written, what an endpoint took is not sent to it over and
// over, and those behind it are not held up: they may be what fills the disk.
func TestCursorCannotBeWritten(t *testing.T) {
	e := newEndpoint(t)
	dir := t.TempDir()
	var said bytes.Buffer
	n, registry, stop := begin(t, Config{Webhooks: []string{e.URL}, Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	n.hooks[0].queue.mu.Lock() // nothing is delivered before the way is blocked
	err := os.Mkdir(filepath.Join(n.hooks[0].queue.dir, cursorName+".new"), 0o700)
	n.hooks[0].queue.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	const events = 3 * maxEvents
	for i := range events {
		n.Notice(notice("CreateRoom", fmt.Sprint(i)))
	}
	for i, id := range e.waits(t, events) {
		if id != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, id)
		}
	}
	for end := time.Now().Add(20 * time.Second); value(t, registry, "parlor_webhook_queue_bytes") > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was taken is still on the disk")
		}
	}
	stop()
	if got := value(t, registry, "parlor_webhook_events_total"); got != events {
		t.Errorf("delivered: got %v, want %v", got, events)
	}
	if got := strings.Count(said.String(), "webhook cursor not kept"); got != 1 {
		t.Errorf("said %d times, want once:\n%s", got, &said)
	}
}

// What a webhook will not get is said.
func TestOldEventsAreSaid(t *testing.T) {
	e := newEndpoint(t)
	var said bytes.Buffer
	n, _, stop := begin(t, Config{Webhooks: []string{e.URL}, Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&said, nil))})
	old := notice("CreateRoom", "old")
	old.Time = time.Now().Add(-patience - time.Minute)
	n.Notice(old)
	n.Notice(notice("CreateRoom", "fresh"))
	e.waits(t, 1)
	stop()
	if !strings.Contains(said.String(), "webhook events lost") {
		t.Errorf("the log does not say it:\n%s", &said)
	}
}
