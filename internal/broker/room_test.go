package broker

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"parlor/internal/chat"
)

// logModel is a room's log as a broker keeps it, and the order in which a link brings it.
type logModel struct {
	at      chat.Position
	entries []entry // what the log still has
	all     []entry // all that was ever published
	ids     int
}

func (m *logModel) publish() entry {
	if m.at.Epoch == 0 {
		m.at.Epoch = 1
	}
	m.at.Number++
	m.ids++
	id := fmt.Sprint("id-", m.ids)
	e := entry{at: m.at, pub: &chat.Publication{ID: id, Position: m.at}}
	m.entries, m.all = append(m.entries, e), append(m.all, e)
	return e
}

// answer is what the scripts say to a caller at a position.
func (m *logModel) answer(at chat.Position) (chat.Position, []entry) {
	if at.Epoch != m.at.Epoch {
		return m.at, append([]entry(nil), m.entries...)
	}
	n := int(m.at.Number - min(at.Number, m.at.Number))
	return m.at, append([]entry(nil), m.entries[max(0, len(m.entries)-n):]...)
}

// TestRoomOrder has a room take what links and answers bring, in any interleaving that
// there can be: each publication is delivered once and in order, and what is not is
// lost in truth: neither the link brought it, nor the log had it.
func TestRoomOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &logModel{}
		r := &room{ready: make(chan struct{})}
		var link []entry // on its way
		type reply struct {
			at      chat.Position
			entries []entry
		}
		var replies []reply
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			m.publish()
		}
		start := m.at
		brought := map[chat.Position]bool{} // by the link or in an answer
		var delivered []*chat.Publication
		took := func(pubs []*chat.Publication, _ bool) { delivered = append(delivered, pubs...) }
		steps := map[string]func(*rapid.T){
			"publish": func(*rapid.T) { link = append(link, m.publish()) },
			"link brings": func(t *rapid.T) {
				if len(link) == 0 {
					t.Skip()
				}
				brought[link[0].at] = brought[link[0].at] || r.after(link[0].at)
				took(r.take(link[:1]))
				link = link[1:]
			},
			"link loses": func(t *rapid.T) {
				n := rapid.IntRange(0, len(link)).Draw(t, "n")
				link = link[n:]
			},
			"ask": func(t *rapid.T) {
				at, there := r.position()
				if !there {
					t.Skip()
				}
				to, entries := m.answer(at)
				replies = append(replies, reply{to, entries})
			},
			"answer": func(t *rapid.T) {
				if len(replies) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(replies)-1).Draw(t, "i")
				a := replies[i]
				replies = append(replies[:i], replies[i+1:]...)
				for _, e := range a.entries {
					brought[e.at] = brought[e.at] || r.after(e.at)
				}
				took(r.catchUp(a.at, a.entries))
			},
			"live": func(t *rapid.T) {
				if r.live {
					t.Skip()
				}
				start = m.at
				took(r.goLive(m.at))
			},
			"cut": func(t *rapid.T) {
				m.entries = m.entries[rapid.IntRange(0, len(m.entries)).Draw(t, "n"):]
			},
			"forget": func(t *rapid.T) {
				m.at = chat.Position{Epoch: m.at.Epoch + 1}
				link, replies = nil, nil
			},
			"": func(t *rapid.T) {
				var at chat.Position
				if r.live {
					at = start
				}
				shown := map[string]bool{}
				for _, pub := range delivered {
					if pub.Position.Epoch < at.Epoch || pub.Position.Epoch == at.Epoch && pub.Position.Number <= at.Number {
						t.Fatalf("%v after %v", pub.Position, at)
					}
					gap := pub.Kind == chat.PublishGap
					if !gap && pub.Position.Epoch == at.Epoch && pub.Position.Number != at.Number+1 {
						t.Fatalf("%v after %v, and nothing said of a gap", pub.Position, at)
					}
					if gap && pub.After != at {
						t.Fatalf("a gap after %v, want %v", pub.After, at)
					}
					at = pub.Position
					shown[pub.ID] = true
				}
				for _, e := range m.all {
					passed := e.at.Epoch < at.Epoch || e.at.Epoch == at.Epoch && e.at.Number <= at.Number
					since := e.at.Epoch > start.Epoch || e.at.Epoch == start.Epoch && e.at.Number > start.Number
					if r.live && since && passed && brought[e.at] && !shown[e.pub.ID] {
						t.Fatalf("%v was brought here and not delivered", e.at)
					}
				}
			},
		}
		t.Repeat(steps)
	})
}
