package parlortest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
)

// TestNodesDisconnectUser: a user is disconnected at all nodes, whether the API of one
// says so or somebody who is connected to it.
func TestNodesDisconnectUser(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	moderator := n.view(0, room, "moderator")
	for how, disconnect := range map[string]func(user string){
		"API": func(user string) {
			must[*ivschat.DisconnectUserOutput](t)(n.clients[0].DisconnectUser(t.Context(), &ivschat.DisconnectUserInput{
				RoomIdentifier: &room, UserId: &user, Reason: aws.String("too loud"),
			}))
		},
		"WebSocket": func(user string) {
			moderator.send(map[string]any{"Action": "DISCONNECT_USER", "RequestId": "kick", "UserId": user, "Reason": "too loud"})
		},
	} {
		user := "ann-" + how
		var anns []*viewer
		for i := range nodeCount {
			anns = append(anns, n.view(i, room, user))
		}
		begun := time.Now()
		disconnect(user)
		for i, ann := range anns {
			closed, at := ann.awaitClose()
			if closed.Code != 1001 || closed.Reason != "too loud" {
				t.Errorf("%s, node %s: got %v", how, name(i), closed)
			}
			frames := ann.all()
			if last := frames[len(frames)-1]; last.EventName != "aws:DISCONNECT_USER" || last.Attributes["UserId"] != user {
				t.Errorf("%s, node %s: the last frame is %s", how, name(i), last.text)
			}
			measured(t, "DisconnectUser by "+how+" at A, closed at "+name(i), at.Sub(begun))
		}
	}
	if f := moderator.await("the answer", func(f frame) bool { return f.RequestID == "kick" }); f.EventName != "aws:DISCONNECT_USER" {
		t.Errorf("got %s", f.text)
	}
	if got := moderator.say("still here"); got.Type != "MESSAGE" {
		t.Errorf("somebody else: got %s", got.text)
	}
}

// TestNodesDeleteRoom: a room that is deleted at one node is over at all.
func TestNodesDeleteRoom(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room, kept := newRoom(t, n.clients[0], "gone"), newRoom(t, n.clients[0], "kept")
	token := newToken(t, n.clients[1], room, "late")
	var anns, bobs []*viewer
	for i := range nodeCount {
		anns, bobs = append(anns, n.view(i, room, "ann")), append(bobs, n.view(i, kept, "bob"))
	}
	begun := time.Now()
	must[*ivschat.DeleteRoomOutput](t)(n.clients[0].DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &room}))
	for i, ann := range anns {
		closed, at := ann.awaitClose()
		if closed.Code != 1001 || !strings.Contains(closed.Reason, "404") {
			t.Errorf("node %s: got %v, want 1001 with a 404", name(i), closed)
		}
		measured(t, "DeleteRoom at A, closed at "+name(i), at.Sub(begun))
		n.opens(i, "a token of the room", token, http.StatusNotFound)
		if got := bobs[i].say("still here"); got.Type != "MESSAGE" {
			t.Errorf("another room: got %s", got.text)
		}
	}
}

// after has a message go from A to another node, once a change was made at A: what comes
// at the other node from then on has to obey it. It returns how long that took.
func after(from, to *viewer, content string, begun time.Time) time.Duration {
	from.t.Helper()
	if got := from.say(content); got.Type != "MESSAGE" {
		from.t.Fatalf("node %s: got %s", name(from.node), got.text)
	}
	return to.awaitContent(content).at.Sub(begun)
}

// TestNodesUpdateRoom: what UpdateRoom changes at one node holds for the next message at
// the others: length, rate, handler.
func TestNodesUpdateRoom(t *testing.T) {
	t.Parallel()
	h := newHandlers(t, map[string]review{"never": func(q question) (string, error) {
		if strings.HasPrefix(q.Content, "marker") {
			return "", errEcho
		}
		return `{"ReviewResult": "DENY", "Attributes": {"Reason": "never"}}`, nil
	}})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(h.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	uri := webhookARN("never")
	n := startNodes(t, func(c *config.Config) {
		c.ReviewWebhooks, c.WebhookSecret = []string{uri + "=" + h.webhook.URL + "/never"}, secret
	})
	room := newRoom(t, n.clients[0], "lobby")
	var peers []*viewer
	for i := range nodeCount {
		peers = append(peers, n.view(i, room, fmt.Sprint("user-", i)))
		peers[i].say("so that the node knows the room " + name(i))
	}
	update := func(in ivschat.UpdateRoomInput) time.Time {
		t.Helper()
		in.Identifier = &room
		must[*ivschat.UpdateRoomOutput](t)(n.clients[0].UpdateRoom(t.Context(), &in))
		return time.Now()
	}
	refused := func(p *viewer, content string, code int) {
		t.Helper()
		if got := p.say(content); got.ErrorCode != code {
			t.Errorf("node %s: got %s, want an ERROR %d", name(p.node), got.text, code)
		}
	}

	begun := update(ivschat.UpdateRoomInput{MaximumMessageLength: aws.Int32(12)})
	for i, p := range peers[1:] {
		took := after(peers[0], p, fmt.Sprint("length ", i), begun)
		refused(p, "more than twelve characters", http.StatusBadRequest)
		measured(t, "a length set at A, obeyed at "+name(p.node), took)
	}
	begun = update(ivschat.UpdateRoomInput{MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri}})
	for i, p := range peers[1:] {
		took := after(peers[0], p, fmt.Sprint("marker ", i), begun)
		refused(p, "anything", http.StatusNotAcceptable)
		measured(t, "a handler set at A, obeyed at "+name(p.node), took)
	}
	begun = update(ivschat.UpdateRoomInput{MessageReviewHandler: &types.MessageReviewHandler{Uri: aws.String("")}})
	for i, p := range peers[1:] {
		took := after(peers[0], p, fmt.Sprint("free ", i), begun)
		if got := p.say("anything"); got.Type != "MESSAGE" {
			t.Errorf("node %s: got %s", name(p.node), got.text)
		}
		measured(t, "a handler taken away at A, obeyed at "+name(p.node), took)
	}
	time.Sleep(time.Second) // what was said until now no longer counts for the rate
	begun = update(ivschat.UpdateRoomInput{MaximumMessageRatePerSecond: aws.Int32(1)})
	took := after(peers[0], peers[1], "slowly", begun)
	refused(peers[1], "too soon", http.StatusTooManyRequests)
	refused(peers[2], "too soon", http.StatusTooManyRequests)
	measured(t, "a rate set at A, obeyed at B", took)
}

// TestNodesTagResource: tags set at one node are there at all, and live rooms go on.
func TestNodesTagResource(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	var peers []*viewer
	for i := range nodeCount {
		peers = append(peers, n.view(i, room, "ann"))
		peers[i].say("before " + name(i))
	}
	must[*ivschat.TagResourceOutput](t)(n.clients[0].TagResource(t.Context(), &ivschat.TagResourceInput{ResourceArn: &room, Tags: map[string]string{"team": "live"}}))
	begun := time.Now()
	for i, p := range peers {
		tags := must[*ivschat.ListTagsForResourceOutput](t)(n.clients[i].ListTagsForResource(t.Context(), &ivschat.ListTagsForResourceInput{ResourceArn: &room})).Tags
		if tags["team"] != "live" {
			t.Errorf("node %s: got the tags %v", name(i), tags)
		}
		measured(t, "TagResource at A, read at "+name(i), time.Since(begun))
		if got := p.say("after " + name(i)); got.Type != "MESSAGE" {
			t.Errorf("node %s: got %s", name(i), got.text)
		}
	}
}

// TestNodesChatLog: three nodes log a room, each by a spool of its own: every message
// that was shown is at the destination once. A configuration that is changed at one node
// holds for the next message at the others, as does one that is attached or taken away.
func TestNodesChatLog(t *testing.T) {
	t.Parallel()
	n := startNodes(t, func(c *config.Config) { c.ChatlogInterval = 100 * time.Millisecond })
	var at []destinations
	for _, s := range n.servers {
		at = append(at, localDestinations(t, s.Data))
	}
	room := newRoom(t, n.clients[0], "lobby")
	logs := newLogging(t, n.clients[0], "cloudWatchLogs", "first")
	var peers []*viewer
	for i := range nodeCount {
		peers = append(peers, n.view(i, room, fmt.Sprint("user-", i)))
	}
	for i, p := range peers {
		p.say("nobody keeps this " + name(i))
		p.awaitContent("nobody keeps this " + name(0))
	}
	awaitMessages(t, peers, nodeCount)
	// by is what a node has to have at a destination of a name.
	by := map[string][][]string{"first": make([][]string, nodeCount), "second": make([][]string, nodeCount)}
	keep := func(destination string, f seen) {
		t.Helper()
		node := strings.Index("ABC", f.RequestID[:1])
		by[destination][node] = append(by[destination][node], recordOf(t, f.text))
	}
	said := func(destination string, p *viewer, content string) {
		t.Helper()
		f := p.say(content)
		if f.Type != "MESSAGE" {
			t.Fatalf("node %s: got %s", name(p.node), f.text)
		}
		if destination != "" {
			by[destination][p.node] = append(by[destination][p.node], recordOf(t, f.text))
		}
	}
	// changed has a change that was made at A come to the other nodes.
	changed := func(what, destination string, begun time.Time) {
		t.Helper()
		said(destination, peers[0], what)
		for _, p := range peers[1:] {
			took := p.awaitContent(what).at.Sub(begun)
			said(destination, p, "the next after "+what)
			measured(t, what+" at A, obeyed at "+name(p.node), took)
		}
	}

	setLogging(t, n.clients[0], room, logs)
	changed("a configuration attached", "first", time.Now())
	sent := sayEvery(peers, 110*time.Millisecond, 2*time.Second)
	awaitMessages(t, peers, 2*nodeCount+len(sent))
	for _, f := range peers[0].messages() {
		if _, found := sent[f.RequestID]; found {
			keep("first", f)
		}
	}

	must[*ivschat.UpdateLoggingConfigurationOutput](t)(n.clients[0].UpdateLoggingConfiguration(t.Context(), &ivschat.UpdateLoggingConfigurationInput{
		Identifier: &logs, DestinationConfiguration: destinationKinds["cloudWatchLogs"]("second"),
	}))
	// It comes by another log than the room's: what B says meanwhile goes to either.
	begun := time.Now()
	var probes []time.Duration
	for k := range 8 {
		probes = append(probes, time.Since(begun))
		peers[1].say(fmt.Sprint("probe ", k))
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	changed("a configuration changed", "second", time.Now())
	setLogging(t, n.clients[0], room)
	changed("a configuration taken away", "", time.Now())

	lines := func(i int, destination string, probe bool) []string {
		return slices.DeleteFunc(at[i]["cloudWatchLogs"](destination, roomID(room)), func(line string) bool {
			return strings.Contains(line, `"probe `) != probe
		})
	}
	for i := range nodeCount {
		for destination, want := range by {
			waitForLines(t, "node "+name(i)+", "+destination, func() []string { return lines(i, destination, false) }, want[i])
		}
	}
	late, rest := lines(1, "first", true), lines(1, "second", true)
	for k, line := range slices.Concat(late, rest) {
		if !strings.Contains(line, fmt.Sprintf(`"probe %d"`, k)) {
			t.Errorf("what B said after the change: at the old destination %v, at the new one %v", late, rest)
			break
		}
	}
	if len(late)+len(rest) != len(probes) || len(rest) == 0 {
		t.Fatalf("what B said after the change: got %d and %d records, want %d", len(late), len(rest), len(probes))
	}
	measured(t, "UpdateLoggingConfiguration at A, obeyed at B", probes[len(late)])
}
