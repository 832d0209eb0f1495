package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

// tracer takes note of the steps that ended.
type tracer struct {
	mu    sync.Mutex
	ended []string
}

type span struct {
	*tracer
	name string
}

func (t *tracer) Begin(name string, _ time.Time, _, _ string) chat.Span { return span{t, name} }
func (s span) Begin(step string) chat.Span                              { return span{s.tracer, step} }
func (s span) Traceparent() string                                      { return "" }

func (s span) End(error, ...slog.Attr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, s.name)
}

// steps waits for a request to be through, and returns what ended till then.
func (t *tracer) steps(test testing.TB) []string {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		t.mu.Lock()
		ended := slices.Clone(t.ended)
		t.mu.Unlock()
		if slices.Contains(ended, chat.ActionSendMessage) {
			return ended
		}
		if time.Now().After(deadline) {
			test.Fatalf("got only %q", ended)
		}
	}
}

// TestFirstDelivery has it be seen however sessions are written to; everybody gets the
// message once.
func TestFirstDelivery(t *testing.T) {
	for name, test := range map[string]struct {
		options nodeOptions
		inline  int // sessions that publishers write to themselves
		unseen  bool
	}{
		"by the publisher":      {options: nodeOptions{}, inline: inlineSessions},
		"by workers":            {options: nodeOptions{}},
		"over TLS":              {options: nodeOptions{tls: true}, inline: inlineSessions},
		"compressed":            {options: nodeOptions{compression: true}},
		"by goroutines of each": {options: nodeOptions{pipes: true}, inline: inlineSessions, unseen: true},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &tracer{}
			test.options.tracer = seen
			n := startNode(t, test.options)
			n.gateway.inline = test.inline
			room := n.room(chat.RoomSpec{}).ARN
			var clients []*client
			for i := range 3 {
				clients = append(clients, n.connect(room, fmt.Sprint("user-", i)))
			}
			clients[1].send(`{"Action":"SEND_MESSAGE","Content":"hello"}`)
			want := []string{"first delivery", "publish", chat.ActionSendMessage}
			if test.unseen {
				want = want[1:]
			}
			// Before anybody reads: a goroutine of a session's own may be done at once.
			if got := seen.steps(t); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			for _, c := range clients {
				if f := c.next(); f.Content != "hello" {
					t.Errorf("got %+v", f)
				}
			}
		})
	}
}
