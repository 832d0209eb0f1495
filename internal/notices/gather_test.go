package notices

import (
	"fmt"
	"testing"
	"time"
)

// Events that come one by one are sent in tens and hundreds: a request and a cursor for each
// cost as much as the handshake that it tells of.
func TestEventsAreGathered(t *testing.T) {
	e := newEndpoint(t)
	n, _, _ := begin(t, Config{Webhooks: []string{e.URL}, Dir: t.TempDir()})
	begun := time.Now()
	for i := range 200 {
		n.Notice(notice("CreateRoom", fmt.Sprint(i)))
		time.Sleep(time.Millisecond)
	}
	e.waits(t, 200)
	most := 3 + int(time.Since(begun)/gatherTime)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tried > most {
		t.Errorf("%d requests, want %d at most", e.tried, most)
	}
}
