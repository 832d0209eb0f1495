package parlortest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sayEvery has viewers say something every so often, not all at once, and returns when
// each message was sent, by its RequestId.
func sayEvery(senders []*viewer, every, during time.Duration) map[string]time.Time {
	return sayWhile(senders, every, func(k int) bool { return k < int(during/every) })
}

// sayWhile is sayEvery for as long as there is more to say, after k messages each.
func sayWhile(senders []*viewer, every time.Duration, more func(k int) bool) map[string]time.Time {
	sent := map[string]time.Time{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, v := range senders {
		all.Go(func() {
			time.Sleep(every * time.Duration(i) / time.Duration(len(senders)))
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for k := 0; more(k); k++ {
				id := fmt.Sprintf("%s%d/%d", name(v.node), i, k)
				now := time.Now()
				mu.Lock()
				sent[id] = now
				mu.Unlock()
				v.send(map[string]any{"Action": "SEND_MESSAGE", "RequestId": id, "Content": "message " + id})
				<-ticker.C
			}
		})
	}
	all.Wait()
	return sent
}

// awaitMessages waits until every viewer has as many messages.
func awaitMessages(t testing.TB, viewers []*viewer, n int) {
	t.Helper()
	for _, v := range viewers {
		for deadline := time.Now().Add(patience); len(v.messages()) < n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("a viewer at node %s has %d messages, want %d", name(v.node), len(v.messages()), n)
			}
		}
	}
}

// sameOrder compares what viewers saw: byte for byte the same, and nothing twice.
func sameOrder(t testing.TB, viewers []*viewer) {
	t.Helper()
	texts := func(v *viewer) (all []string) {
		for _, f := range v.messages() {
			all = append(all, f.text)
		}
		return all
	}
	want := texts(viewers[0])
	for _, v := range viewers[1:] {
		got := texts(v)
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("message %d at node %s:\n got %s\nwant %s, as at node %s", i, name(v.node), got[i], want[i], name(viewers[0].node))
				break
			}
		}
		if len(got) != len(want) {
			t.Errorf("node %s: got %d messages, want %d", name(v.node), len(got), len(want))
		}
	}
	ids := map[string]bool{}
	for _, f := range viewers[0].messages() {
		if ids[f.ID] {
			t.Errorf("%s was shown twice", f.ID)
		}
		ids[f.ID] = true
	}
}

// TestNodesShowOneOrder: three senders at each of three nodes, and everybody at every node
// sees the same frames in the same order, each once; every sender is answered once for
// each request, in its order.
func TestNodesShowOneOrder(t *testing.T) {
	t.Parallel()
	n := startNodes(t)
	room := newRoom(t, n.clients[0], "lobby")
	var senders, viewers []*viewer
	for i := range 3 * nodeCount {
		senders = append(senders, n.view(i%nodeCount, room, fmt.Sprint("sender-", i)))
	}
	viewers = append(viewers, senders...)
	for i := range nodeCount {
		viewers = append(viewers, n.view(i, room, "silent"))
	}
	sent := sayEvery(senders, 120*time.Millisecond, unlessSoaking(3*time.Second, time.Minute))
	awaitMessages(t, viewers, len(sent))
	time.Sleep(100 * time.Millisecond) // for what comes twice
	sameOrder(t, viewers)
	for i, v := range senders {
		prefix := fmt.Sprintf("%s%d/", name(v.node), i)
		var own []string
		for _, f := range v.all() {
			if f.Type == "ERROR" {
				t.Errorf("%s got %s", prefix, f.text)
			}
			if strings.HasPrefix(f.RequestID, prefix) {
				own = append(own, f.RequestID)
			}
		}
		var want []string
		for k := range own {
			want = append(want, fmt.Sprint(prefix, k))
		}
		if !slices.Equal(own, want) || len(own) != len(sent)/len(senders) {
			t.Errorf("%s was answered %v, want one answer for each of %d, in their order", prefix, own, len(sent)/len(senders))
		}
	}
	t.Logf("%d messages; %v", len(sent), delivered(viewers, sent))
}

// delivered says how long messages took from the moment of sending, to viewers at the
// sender's node and at others.
func delivered(viewers []*viewer, sent map[string]time.Time) string {
	var here, there []time.Duration
	for _, v := range viewers {
		for _, f := range v.messages() {
			at, found := sent[f.RequestID]
			if !found {
				continue
			}
			took := f.at.Sub(at)
			if strings.HasPrefix(f.RequestID, name(v.node)) {
				here = append(here, took)
			} else {
				there = append(there, took)
			}
		}
	}
	return fmt.Sprintf("at the sender's node: %v; at others: %v", latenciesOf(here), latenciesOf(there))
}
