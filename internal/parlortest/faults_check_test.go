package parlortest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is what a room's clients sent and were shown. Messages are known by their
// content, which is unlike any other's.
type history struct {
	stretches []*stretch
	sendings  map[string]*sending
}

// stretch is one connection of a client, from its 101 to its end.
type stretch struct {
	Who            string
	Opened, Closed time.Time // Closed is zero where it held to the end
	Shown          []string
	At             []time.Time // when, of each
}

// sending is one message as its sender knows it.
type sending struct {
	Sent, Answered time.Time
	Code           int // 0: not answered, http.StatusOK: shown to its sender, else of its ERROR
}

// tally is what became of the messages of a run.
type tally struct {
	accepted int // shown to their senders
	shown    int // to anybody: these too have to be shown to everybody

	// Over all clients.
	missing int // not shown to a client that was connected
	twice   int
	late    int // shown after one that others were shown later
	away    int // not shown to a client that had to connect again: it was away, or on a node that was cut off

	ghosts int         // shown, though the sender was told ERROR
	errors map[int]int // told to senders, by code
	cut    int         // the sender's connection ended before it was told anything
	whole  time.Duration
}

func (a *tally) add(b tally) {
	a.accepted += b.accepted
	a.shown += b.shown
	a.missing += b.missing
	a.twice += b.twice
	a.late += b.late
	a.away += b.away
	a.ghosts += b.ghosts
	a.cut += b.cut
	a.whole = max(a.whole, b.whole)
	if a.errors == nil {
		a.errors = map[int]int{}
	}
	for code, n := range b.errors {
		a.errors[code] += n
	}
}

func (a tally) told() int {
	n := 0
	for _, m := range a.errors {
		n += m
	}
	return n
}

// codes are the errors as the table has them.
func (a tally) codes() string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(a.errors)) {
		parts = append(parts, fmt.Sprintf("%d × %d", a.errors[code], code))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}

// slow is from when on an answer, or a message that is shown, counts as a disturbance.
const slow = time.Second

// check judges a history. A fault began at a moment: what was slow after it, was told
// ERROR or had to connect again says how long the room was not whole.
func (h history) check(fault time.Time) tally {
	a := tally{errors: map[int]int{}}
	order := h.order()
	place := make(map[string]int, len(order))
	for i, key := range order {
		place[key] = i
	}
	a.shown = len(order)
	disturbed := func(until time.Time) {
		if !fault.IsZero() && until.After(fault) {
			a.whole = max(a.whole, until.Sub(fault))
		}
	}
	for key, s := range h.sendings {
		_, shown := place[key]
		switch {
		case s.Code == 200:
			a.accepted++
			if s.Answered.Sub(s.Sent) > slow {
				disturbed(s.Answered)
			}
			if !shown {
				a.missing++ // nobody but its sender knows of it: should not be possible
			}
		case s.Code == 0:
			a.cut++
		default:
			a.errors[s.Code]++
			disturbed(s.Answered)
			if shown {
				a.ghosts++
			}
		}
	}
	clients := map[string][]*stretch{}
	for _, s := range h.stretches {
		clients[s.Who] = append(clients[s.Who], s)
	}
	for _, stretches := range clients {
		seen := map[string]int{}
		missing := map[string]bool{}
		for i, s := range stretches {
			if i > 0 {
				disturbed(s.Opened)
			}
			here := map[string]bool{}
			first, last, top := len(order), -1, -1
			for i, key := range s.Shown {
				if seen[key]++; here[key] {
					continue
				}
				here[key] = true
				at := place[key]
				if at < top {
					a.late++
				}
				top = max(top, at)
				first, last = min(first, at), max(last, at)
				if m := h.sendings[key]; m != nil && s.At[i].Sub(m.Sent) > slow {
					disturbed(s.At[i])
				}
			}
			if s.Closed.IsZero() {
				last = len(order)
			}
			for at, key := range order[:max(last, 0)] {
				m := h.sendings[key]
				due := at > first || m != nil && m.Sent.After(s.Opened)
				if due && !here[key] {
					missing[key] = true
				}
			}
		}
		a.missing += len(missing)
		for _, n := range seen {
			a.twice += n - 1
		}
		for _, key := range order {
			m := h.sendings[key]
			if m != nil && m.Sent.After(stretches[0].Opened) && seen[key] == 0 && !missing[key] {
				a.away++
			}
		}
	}
	return a
}

// order is the one order that all stretches agree with, as far as there is one: what one
// client was shown after another message comes after it.
func (h history) order() []string {
	first := map[string]time.Time{}
	after := map[string]map[string]bool{}
	before := map[string]int{} // how many come directly before
	for _, s := range h.stretches {
		here := map[string]bool{}
		previous := ""
		for i, key := range s.Shown {
			if here[key] {
				continue // that it is shown twice says nothing of the order
			}
			here[key] = true
			if at, known := first[key]; !known || s.At[i].Before(at) {
				first[key] = s.At[i]
			}
			if previous == "" {
				previous = key
				continue
			}
			if after[previous] == nil {
				after[previous] = map[string]bool{}
			}
			if !after[previous][key] {
				after[previous][key] = true
				before[key]++
			}
			previous = key
		}
	}
	rest := slices.SortedFunc(maps.Keys(first), func(a, b string) int { return first[a].Compare(first[b]) })
	var order, ready []string
	for _, key := range rest {
		if before[key] == 0 {
			ready = append(ready, key)
		}
	}
	done := map[string]bool{}
	for len(order) < len(first) {
		if len(ready) == 0 { // they do not agree
			for done[rest[0]] {
				rest = rest[1:]
			}
			ready = append(ready, rest[0])
		}
		i := 0
		for j := range ready {
			if first[ready[j]].Before(first[ready[i]]) {
				i = j
			}
		}
		key := ready[i]
		ready = slices.Delete(ready, i, i+1)
		if done[key] {
			continue
		}
		done[key] = true
		order = append(order, key)
		for next := range after[key] {
			if before[next]--; before[next] == 0 {
				ready = append(ready, next)
			}
		}
	}
	return order
}

// The judge is judged: it has to see what it is there to see.
func TestFaultsAreSeen(t *testing.T) {
	begun := time.Now()
	moment := func(i int) time.Time { return begun.Add(time.Duration(i) * 10 * time.Millisecond) }
	// view is a connection from one moment to another; "abc" are messages a, b and c.
	view := func(who string, opened, closed int, shown string) *stretch {
		s := &stretch{Who: who, Opened: moment(opened)}
		if closed > 0 {
			s.Closed = moment(closed)
		}
		for i, c := range shown {
			s.Shown = append(s.Shown, string(c))
			s.At = append(s.At, moment(100+i))
		}
		return s
	}
	for _, test := range []struct {
		name  string
		views []*stretch
		codes string // of those sent at moments 1, 2, …: "." is accepted, "-" not answered, "x" ERROR
		want  tally
	}{
		{"all well", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "abc")}, "...", tally{accepted: 3, shown: 3}},
		{"missing in the middle", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "ac")}, "...", tally{accepted: 3, shown: 3, missing: 1}},
		{"missing at the end", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "ab")}, "...", tally{accepted: 3, shown: 3, missing: 1}},
		{"missing at the beginning", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "bc")}, "...", tally{accepted: 3, shown: 3, missing: 1}},
		{"sent before it came", []*stretch{view("ann", 0, 0, "abc"), view("bob", 2, 0, "bc")}, "...", tally{accepted: 3, shown: 3}},
		{"shown nothing", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "")}, "...", tally{accepted: 3, shown: 3, missing: 3}},
		{"shown to some, its sender gone", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "ac")}, ".-.", tally{accepted: 2, shown: 3, missing: 1, cut: 1}},
		{"shown to its sender alone, who went", []*stretch{view("ann", 0, 9, "abc"), view("bob", 0, 0, "ab")}, "...", tally{accepted: 3, shown: 3, missing: 1}},
		{"twice", []*stretch{view("ann", 0, 0, "abcb"), view("bob", 0, 0, "abc")}, "...", tally{accepted: 3, shown: 3, twice: 1}},
		{"twice on two connections", []*stretch{view("ann", 0, 3, "ab"), view("ann", 4, 0, "bc"), view("bob", 0, 0, "abc")}, "...", tally{accepted: 3, shown: 3, twice: 1}},
		{"another order", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "acb")}, "...", tally{accepted: 3, shown: 3, late: 1}},
		{"while away", []*stretch{view("ann", 0, 2, "a"), view("ann", 3, 0, "cd"), view("bob", 0, 0, "abcd")}, "....", tally{accepted: 4, shown: 4, away: 1}},
		{"after it came back", []*stretch{view("ann", 0, 1, "a"), view("ann", 2, 0, "d"), view("bob", 0, 0, "abcd")}, "....", tally{accepted: 4, shown: 4, missing: 1, away: 1}},
		{"told ERROR", []*stretch{view("ann", 0, 0, "ac"), view("bob", 0, 0, "ac")}, ".x.", tally{accepted: 2, shown: 2, errors: map[int]int{500: 1}}},
		{"told ERROR, yet shown", []*stretch{view("ann", 0, 0, "abc"), view("bob", 0, 0, "abc")}, ".x.", tally{accepted: 2, shown: 3, ghosts: 1, errors: map[int]int{500: 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := history{stretches: test.views, sendings: map[string]*sending{}}
			for i, c := range test.codes {
				h.sendings[string(rune('a'+i))] = &sending{Sent: moment(i + 1), Answered: moment(i + 1), Code: map[rune]int{'.': 200, 'x': 500}[c]}
			}
			if got := h.check(time.Time{}); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}
