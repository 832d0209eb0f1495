package broker

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
	"parlor/internal/redistest"
)

var writeV0 = flag.Bool("write-v0", false, "write testdata/v0/wire anew; what was released must not change")

// v0 is what nodes of version 0 say to each other: an entry a line, quoted as Go does, in
// the order of the publications below.
var v0 = filepath.Join("..", "..", "testdata", "v0", "wire", "entries.txt")

func v0Publications() []*chat.Publication {
	room := chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: "AbCdEfGh1234"}
	at := time.Date(2026, 11, 21, 8, 0, 0, 123456000, time.UTC)
	frame := []byte(`{"Type":"MESSAGE","Id":"M2YcHkgffEvU","Content":"h\u00e9 🙂"}`)
	pubs := []*chat.Publication{
		{Kind: chat.PublishMessage, ID: "M2YcHkgffEvU", Frame: frame},
		{Kind: chat.PublishEvent, ID: "eVeNt0000001", Frame: []byte(`{"Type":"EVENT"}`)},
		{Kind: chat.PublishDelete, ID: "eVeNt0000002", Frame: []byte(`{"Type":"EVENT"}`)},
		{Kind: chat.PublishDisconnect, ID: "eVeNt0000003", Frame: []byte(`{"Type":"EVENT"}`), UserID: "žluť", Reason: "because"},
		{Kind: chat.PublishRoomChanged, ID: "eVeNt0000004"},
		{Kind: chat.PublishRoomDeleted, ID: "eVeNt0000005"},
		{Kind: chat.PublishLogsChanged, ID: "eVeNt0000006", Subject: chat.ARN{Scope: room.Scope, Kind: chat.KindLoggingConfiguration, ID: "LoGgInG00001"}},
	}
	for i, pub := range pubs {
		pub.Room, pub.Accepted, pub.Position = room, at, chat.Position{Epoch: 1795249064442, Number: uint64(i) + 1}
	}
	return pubs
}

func readV0(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(v0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var entries []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		entry, err := strconv.Unquote(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// TestV0Entries: this version understands what version 0 says.
func TestV0Entries(t *testing.T) {
	pubs := v0Publications()
	if *writeV0 {
		var b strings.Builder
		for _, pub := range pubs {
			fmt.Fprintf(&b, "%+q\n", fmt.Sprintf("1 %d %d %s 0 %s", pub.Position.Epoch, pub.Position.Number, pub.ID, appendPublication(nil, pub)))
		}
		if err := os.WriteFile(v0, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	entries := readV0(t)
	if len(entries) != len(pubs) {
		t.Fatalf("got %d entries, want %d", len(entries), len(pubs))
	}
	for i, text := range entries {
		got, err := parseEntry(pubs[i].Room, text)
		if err != nil {
			t.Errorf("entry %d: %v", i, err)
			continue
		}
		got.pub.Accepted = got.pub.Accepted.UTC()
		if diff := cmp.Diff(got.pub, pubs[i]); diff != "" {
			t.Errorf("entry %d (-got +want)\n%s", i, diff)
		}
	}
}

// TestV0Room: this version goes on in a room where a node of version 0 left it, and that
// node would understand what it finds there.
func TestV0Room(t *testing.T) {
	server := redistest.Start(t)
	entries := readV0(t)
	pubs := v0Publications()
	tag := "parlor:{us-west-2:123456789012:AbCdEfGh1234}"
	seconds := fmt.Sprint(time.Now().Unix())
	server.Do("HSET", tag+":s", "e", "1795249064442", "n", fmt.Sprint(len(entries)), "f", "0", "x", seconds,
		"p", server.Eval(`return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')`))
	for _, entry := range entries {
		server.Do("RPUSH", tag+":l", entry)
	}
	v := &viewer{}
	b := open(t, server.URL(), "node", v.deliver)
	at, cancel, err := b.Subscribe(t.Context(), pubs[0].Room)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	if want := pubs[len(pubs)-1].Position; at != want {
		t.Errorf("got %v, want %v", at, want)
	}
	if err := b.Publish(t.Context(), &chat.Publication{Room: pubs[0].Room, ID: "NeWoNe000001", Frame: []byte("x")}, 10); err != nil {
		t.Fatal(err)
	}
	if got := server.Do("LLEN", tag+":l"); got != fmt.Sprintf(":%d", len(entries)+1) {
		t.Errorf("entries: got %s", got)
	}
	if got := server.Do("HGET", tag+":s", "n"); got != "$1" { // the length of "8"
		t.Errorf("number: got %s", got)
	}
	// A node of version 0 that missed the last three gets them.
	old := &viewer{}
	c := open(t, server.URL(), "old", old.deliver)
	r := &room{arn: pubs[0].Room, keys: keysOf(pubs[0].Room), ready: make(chan struct{}), live: true, at: pubs[4].Position, subscribers: 1}
	a, err := c.look(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(r, a, true)
	if diff := cmp.Diff(old.shown(), []string{"eVeNt0000005", "eVeNt0000006", "NeWoNe000001"}); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}
