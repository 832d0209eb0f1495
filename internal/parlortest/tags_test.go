package parlortest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
)

// withRules gives a server a set of rules for messages, "family".
func withRules(t testing.TB) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filters.yaml")
	rules := "family:\n  - words: [darn]\n    action: mask\n  - pattern: '(?i)free\\s+nitro'\n    reason: No advertising.\n  - links: true\n    action: flag\n"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Filters = path }
}

// A user's turn is one over all connections and nodes.
func TestNodesSlowMode(t *testing.T) {
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "slow")
	must[*ivschat.TagResourceOutput](t)(n.clients[0].TagResource(t.Context(), &ivschat.TagResourceInput{ResourceArn: &room, Tags: map[string]string{"parlor:slow-mode": "5m"}}))
	speak := func(i int, user string) *viewer {
		t.Helper()
		out := must[*ivschat.CreateChatTokenOutput](t)(n.clients[other(i)].CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{
			RoomIdentifier: &room, UserId: &user, Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage}}))
		p, _ := dial(t, n.servers[i], *out.Token)
		v := &viewer{peer: p, node: i, closed: make(chan struct{})}
		go v.listen()
		t.Cleanup(func() { v.conn.CloseNow(); <-v.closed })
		return v
	}
	var anns []*viewer
	for i := range nodeCount {
		anns = append(anns, speak(i, "ann"))
	}
	// All at once: one is shown.
	shown, told := 0, 0
	answers := make(chan seen, nodeCount)
	for _, ann := range anns {
		go func() { answers <- ann.say("first") }()
	}
	for range nodeCount {
		switch got := <-answers; {
		case got.Type == "MESSAGE":
			shown++
		case got.ErrorCode == 429 && strings.HasPrefix(got.ErrorMessage, "The room is in slow mode: you may send a message again in "):
			told++
		default:
			t.Errorf("got %s", got.text)
		}
	}
	if shown != 1 || told != nodeCount-1 {
		t.Errorf("%d were shown and %d refused, want 1 and %d", shown, told, nodeCount-1)
	}
	if got := speak(1, "bob").say("my first"); got.Type != "MESSAGE" {
		t.Errorf("another user: got %s", got.text)
	}
	// It ends everywhere when the tag does.
	must[*ivschat.UntagResourceOutput](t)(n.clients[2].UntagResource(t.Context(), &ivschat.UntagResourceInput{ResourceArn: &room, TagKeys: []string{"parlor:slow-mode"}}))
	for i, ann := range anns {
		if got := ann.say("again"); got.Type != "MESSAGE" {
			t.Errorf("node %s: got %s", name(i), got.text)
		}
	}
}
