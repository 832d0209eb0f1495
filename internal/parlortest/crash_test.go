package parlortest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	crashWriters = 8
	// readyAgain is how soon a killed server has to be ready again by itself, on a
	// loaded machine. It takes some ten milliseconds.
	readyAgain = 10 * time.Second
	// crashSample is how many rooms and tokens of earlier rounds each writer looks at
	// again after a kill, beside all rooms of the last round; of that one's tokens it
	// tries as many again.
	crashSample = 20
)

// TestCrash kills the real command at random moments under writes, and starts it again
// on its directory: whatever was acknowledged is there, a token that opened a
// connection opens no other, and one that did not still opens one. It runs a few
// rounds, or for the time that PARLOR_SOAK says (a duration such as 10m).
func TestCrash(t *testing.T) {
	t.Parallel()
	soak := 4 * time.Second
	if said := os.Getenv("PARLOR_SOAK"); said != "" {
		var err error
		if soak, err = time.ParseDuration(said); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	writers := make([]*crashWriter, crashWriters)
	for i := range writers {
		writers[i] = &crashWriter{t: t, name: i, random: rand.New(rand.NewPCG(seed, uint64(i+1))), rooms: map[string]*crashRoom{}}
	}
	slowest := time.Duration(0)
	rounds := 0
	for begun := time.Now(); rounds < 3 || time.Since(begun) < soak; rounds++ {
		server, took := run(t, data)
		slowest = max(slowest, took)
		if took > readyAgain {
			t.Errorf("round %d: ready after %v, want at most %v", rounds, took, readyAgain)
		}
		if rounds > 0 {
			checkCrash(t, server, writers)
		}
		if t.Failed() {
			t.Fatalf("in round %d; the server said:\n%s", rounds, server.output())
		}
		var working sync.WaitGroup
		client := newAPI(t, server.address)
		for _, w := range writers {
			w.begin()
			working.Go(func() { w.work(client, server.address) })
		}
		time.Sleep(time.Duration(50+random.IntN(500)) * time.Millisecond) // the moment is the test
		server.kill()
		working.Wait()
	}
	server, _ := run(t, data)
	checkCrash(t, server, writers)
	rooms, refused, opened := 0, 0, 0
	for _, w := range writers {
		rooms += len(w.rooms)
		refused += w.refused
		opened += w.opened
	}
	if rooms < 20 || refused < 20 || opened < 20 {
		t.Errorf("%d rooms, %d tokens refused, %d opened: too few to mean something", rooms, refused, opened)
	}
	t.Logf("%d kills; %d rooms as acknowledged; of tokens tried after a kill, %d spent ones refused and %d others opened; ready again within %v",
		rounds, rooms, refused, opened, slowest)
}

// crashRoom is what a room may look like: as last acknowledged or, where a request was
// under way when the server died, as that would have it.
type crashRoom struct {
	known, possible crashState
	fresh           bool // touched in the last round
}

type crashState struct {
	gone   bool
	length int
	tags   map[string]string
}

func (s crashState) equal(o crashState) bool {
	return s.gone == o.gone && (s.gone || s.length == o.length && maps.Equal(s.tags, o.tags))
}

// crashWriter writes to rooms of its own until the server is gone.
type crashWriter struct {
	t      *testing.T
	name   int
	random *rand.Rand

	rooms          map[string]*crashRoom
	arns           []string // of rooms that are there
	unknown        int      // rooms whose creation was not acknowledged
	spent, unspent []string
	recent         [2]int // where the last round began in spent and unspent

	refused, opened int // tokens tried after a kill
}

// begin begins a round.
func (w *crashWriter) begin() {
	w.recent = [2]int{len(w.spent), len(w.unspent)}
	for _, room := range w.rooms {
		room.fresh = false
	}
}

func (w *crashWriter) work(client *api, address string) {
	for n := 0; ; n++ {
		if !w.create(client, n) || !w.change(client) || !w.tokens(client, address) {
			return
		}
	}
}

// acknowledged reports whether a request was; one that was refused is a failure, one
// without an answer is the end of the round.
func (w *crashWriter) acknowledged(what string, status, want int, err error) bool {
	if err != nil {
		return false
	}
	if status != want {
		w.t.Errorf("%s: got status %d, want %d", what, status, want)
		return false
	}
	return true
}

func (w *crashWriter) create(client *api, n int) bool {
	state := crashState{length: 1 + w.random.IntN(500), tags: map[string]string{"n": fmt.Sprint(n)}}
	status, out, err := client.call("POST", "/CreateRoom", map[string]any{
		"name": fmt.Sprintf("room-%d-%d", w.name, n), "maximumMessageLength": state.length, "tags": state.tags,
	})
	if !w.acknowledged("CreateRoom", status, http.StatusOK, err) {
		w.unknown++
		return false
	}
	w.rooms[out.Arn] = &crashRoom{known: state, possible: state, fresh: true}
	w.arns = append(w.arns, out.Arn)
	return true
}

// change does one thing to one of the rooms.
func (w *crashWriter) change(client *api) bool {
	i := w.random.IntN(len(w.arns))
	arn := w.arns[i]
	room := w.rooms[arn]
	room.fresh = true
	room.possible.tags = maps.Clone(room.known.tags)
	var method, path string
	var input any
	want := http.StatusOK
	switch w.random.IntN(8) {
	case 0:
		method, path, input, want = "POST", "/DeleteRoom", map[string]any{"identifier": arn}, http.StatusNoContent
		room.possible.gone = true
		w.arns = slices.Delete(w.arns, i, i+1)
	case 1, 2:
		method, path, input = "POST", "/tags/"+url.PathEscape(arn), map[string]any{"tags": map[string]string{"t": fmt.Sprint(w.random.IntN(1000))}}
		room.possible.tags["t"] = input.(map[string]any)["tags"].(map[string]string)["t"]
	case 3:
		method, path, input = "DELETE", "/tags/"+url.PathEscape(arn)+"?tagKeys=t", map[string]any{}
		delete(room.possible.tags, "t")
	default:
		room.possible.length = 1 + w.random.IntN(500)
		method, path, input = "POST", "/UpdateRoom", map[string]any{"identifier": arn, "maximumMessageLength": room.possible.length}
	}
	status, _, err := client.call(method, path, input)
	if !w.acknowledged(method+" "+path, status, want, err) {
		return false
	}
	room.known = room.possible
	return true
}

// tokens spends one token and keeps another.
func (w *crashWriter) tokens(client *api, address string) bool {
	if len(w.arns) == 0 {
		return true
	}
	arn := w.arns[0] // the one that is least likely to be deleted soon is as good as any
	for _, spend := range []bool{true, false} {
		status, out, err := client.call("POST", "/CreateChatToken", map[string]any{"roomIdentifier": arn, "userId": "ann"})
		if !w.acknowledged("CreateChatToken", status, http.StatusOK, err) {
			return false
		}
		if !spend {
			w.unspent = append(w.unspent, arn+" "+out.Token)
			continue
		}
		conn, _, status, err := knock(address, out.Token)
		if !w.acknowledged("a handshake", status, http.StatusSwitchingProtocols, err) {
			return false
		}
		conn.Close()
		w.spent = append(w.spent, arn+" "+out.Token)
	}
	return true
}

// checkCrash compares a server that was started again with what the writers know, and
// takes over what it says of requests that were under way.
func checkCrash(t *testing.T, server *process, writers []*crashWriter) {
	t.Helper()
	client := newAPI(t, server.address)
	listed := map[string]bool{}
	for next := ""; ; {
		status, page, err := client.call("POST", "/ListRooms", map[string]any{"nextToken": next})
		if err != nil || status != http.StatusOK {
			t.Fatalf("ListRooms: got %d %v", status, err)
		}
		for _, room := range page.Rooms {
			listed[room.Arn] = true
		}
		if next = page.NextToken; next == "" {
			break
		}
	}
	// A room that was made without an acknowledgement may be there, and no other.
	unknown, allowed := len(listed), 0
	var checking sync.WaitGroup
	for _, w := range writers {
		allowed += w.unknown
		for arn := range w.rooms {
			if listed[arn] {
				unknown--
			}
		}
		checking.Go(func() { w.check(client, server.address, listed) })
	}
	checking.Wait()
	if unknown > allowed {
		t.Errorf("%d rooms that nobody knows of, want at most %d", unknown, allowed)
	}
}

func (w *crashWriter) check(client *api, address string, listed map[string]bool) {
	old := crashSample
	for arn, room := range w.rooms {
		if !room.fresh {
			if old--; old < 0 {
				continue
			}
		}
		status, out, err := client.call("POST", "/GetRoom", map[string]any{"identifier": arn})
		if err != nil || status != http.StatusOK && status != http.StatusNotFound {
			w.t.Errorf("GetRoom: got %d %v", status, err)
			continue
		}
		got := crashState{gone: status == http.StatusNotFound, length: out.MaximumMessageLength, tags: out.Tags}
		if !got.equal(room.known) && !got.equal(room.possible) {
			w.t.Errorf("%s: got %+v, want %+v or, not acknowledged, %+v", arn, got, room.known, room.possible)
		}
		if listed[arn] == got.gone {
			w.t.Errorf("%s: listed %v, gone %v", arn, listed[arn], got.gone)
		}
		room.known, room.possible = got, got
	}
	w.arns = w.arns[:0]
	for arn, room := range w.rooms {
		if !room.known.gone && !room.possible.gone {
			w.arns = append(w.arns, arn)
		}
	}
	// What was spent in the last round, and some of what was before.
	for _, token := range some(w.random, w.spent, w.recent[0]) {
		w.try(address, token, http.StatusUnauthorized)
	}
	kept := some(w.random, w.unspent, w.recent[1])
	for _, token := range kept {
		w.try(address, token, http.StatusSwitchingProtocols)
	}
	w.unspent = slices.DeleteFunc(w.unspent, func(token string) bool { return slices.Contains(kept, token) })
	w.spent = append(w.spent, kept...)
}

// some is crashSample of what is in a list from an index on, and as much from before.
func some(random *rand.Rand, list []string, from int) []string {
	recent := slices.Clone(list[from:])
	random.Shuffle(len(recent), func(i, j int) { recent[i], recent[j] = recent[j], recent[i] })
	picked := recent[:min(len(recent), crashSample)]
	for range min(crashSample, from) {
		if token := list[random.IntN(from)]; !slices.Contains(picked, token) {
			picked = append(picked, token)
		}
	}
	return picked
}

// try has a token knock. In a room that is gone it is refused whatever it is.
func (w *crashWriter) try(address, token string, want int) {
	var arn, secret string
	fmt.Sscan(token, &arn, &secret)
	if room := w.rooms[arn]; room.known.gone {
		want = http.StatusNotFound
	}
	conn, _, status, err := knock(address, secret)
	if err != nil {
		w.t.Errorf("a handshake: %v", err)
		return
	}
	conn.Close()
	switch status {
	case http.StatusUnauthorized:
		w.refused++
	case http.StatusSwitchingProtocols:
		w.opened++
	}
	if status != want {
		w.t.Errorf("a token of %s: got status %d, want %d", arn, status, want)
	}
}
