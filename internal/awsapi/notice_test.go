package awsapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"parlor/internal/chat"
)

// A caller that is known is written down also for what is refused before it is read.
func TestNoticeOfEarlyRefusals(t *testing.T) {
	var got []chat.Notice
	f := newFixture(t, func(c *Config) { c.Notice = func(n chat.Notice) { got = append(got, n) } })
	r := newRequest("POST", "/DeleteRoom", `{}`)
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType || len(got) != 1 || got[0].Action != "DeleteRoom" || got[0].Refused != "UnsupportedMediaTypeException" || got[0].By.Principal == "" {
		t.Errorf("media type: %d, got %+v", w.Code, got)
	}
	got = nil
	f.ServeHTTP(httptest.NewRecorder(), newRequest("POST", "/NoSuchOperation", `{}`))
	f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/DeleteRoom", nil))
	f.post("ListRooms", `{}`)
	if len(got) != 0 {
		t.Errorf("nothing that changes something, or nobody that is known: got %+v", got)
	}
}
