package awsapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

// What is remembered of a caller is its region and account, not the header they came in:
// a caller may make up regions, and headers may be large.
func TestRequestsLeaveNoHeadersBehind(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Service = chat.NewService(chat.ServiceConfig{
			Store: newMemoryStore(), Broker: &recordingBroker{}, TokenLifetime: time.Hour,
			Quotas: chat.Quotas{Requests: map[string]int{"ListRooms": 1}},
		})
	})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const requests, padding = 500, 30 << 10
	for i := range requests {
		r := newRequest("POST", "/ListRooms", "")
		r.Header.Set("Authorization", strings.Replace(testAuthorization, testRegion, fmt.Sprintf("made-up-%d", i), 1)+", Padding="+strings.Repeat("x", padding))
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("got %d %s, want 200", w.Code, w.Body)
		}
	}
	if after := heap(); after > before+requests*padding/4 {
		t.Errorf("%d requests left %d KiB behind", requests, (after-before)>>10)
	}
	runtime.KeepAlive(f)
}
