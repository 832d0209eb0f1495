package chatlog

import (
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

var writeV0 = flag.String("write-v0", "", "directory to write frozen formats to, where there are none yet")

const v0 = "../../testdata/v0"

var v0Time = time.Date(2026, 1, 2, 3, 59, 58, 987_654_321, time.UTC)

func v0Publication(room string, n int) *chat.Publication {
	pub := &chat.Publication{Room: chat.ARN{Scope: chat.Scope{Region: testRegion, Account: testAccount}, Kind: chat.KindRoom, ID: room},
		Frame: message(room, n, v0Time).frame, Accepted: v0Time.Add(time.Duration(n) * time.Second)}
	if n%2 == 0 {
		pub.Kind = chat.PublishEvent
	}
	return pub
}

// v0Lines are what a destination has to have of each frozen spool, by room: what was marked,
// in the order of the numbers, and, in the order of the spool, what nobody marked.
var v0Lines = map[string][]int{"RoomA0000001": {5, 4, 8, 10}, "RoomB0000001": {7}}

// TestV0 ships spools of the first frozen format. In each 0 to 3 are sent; 6 was refused;
// behind 8 the process was killed while it wrote 9; 10 is of the next one, which was killed too.
func TestV0(t *testing.T) {
	if *writeV0 != "" {
		writeV0Spools(t, filepath.Join(*writeV0, "chatlog"))
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(v0, "chatlog"))); err != nil {
		t.Fatal(err)
	}
	all, err := Backlogs(dir)
	if err != nil || len(all) != len(sinkCases) {
		t.Fatalf("got %+v, %v", all, err)
	}
	for _, b := range all {
		if b.Records != 5 || !b.Oldest.Equal(v0Time.Add(4*time.Second)) || b.Name != "there" || b.Configuration != configurationOf(chat.DestinationKind(b.Kind)).ARN.String() {
			t.Errorf("waiting: got %+v", b)
		}
	}
	d := newDesk(t, dir, plenty)
	d.config.S3Interval, d.config.Interval = time.Millisecond, time.Millisecond
	got := map[string]*keeping{}
	for to, s := range d.shippers {
		k := &keeping{lines: map[string][]string{}}
		got[string(to.Kind)], s.sink = k, k
	}
	d.run()
	said := d.halt(t)
	if said != "" {
		t.Errorf("said %s", said)
	}
	for _, c := range sinkCases {
		for room, numbers := range v0Lines {
			var want []string
			for _, n := range numbers {
				pub := v0Publication(room, n)
				r := record{accepted: pub.Accepted.UnixNano(), kind: pub.Kind, frame: pub.Frame}
				want = append(want, string(r.line()))
			}
			if k := got[string(c.kind)]; k == nil || !slices.Equal(k.lines[room], want) {
				t.Errorf("%s, %s: got %q, want %q", c.kind, room, k, want)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// keeping is a destination that keeps the lines of each room.
type keeping struct{ lines map[string][]string }

func (k *keeping) put(_ context.Context, records []*record) ([]*record, error) {
	for _, r := range records {
		k.lines[r.room] = append(k.lines[r.room], string(r.line()))
	}
	return nil, nil
}

func writeV0Spools(t *testing.T, to string) {
	t.Helper()
	if _, err := os.Stat(to); err == nil {
		t.Fatalf("%s is there already, and frozen", to)
	}
	dir := t.TempDir()
	var configurations []*chat.LoggingConfiguration
	for _, c := range sinkCases {
		configurations = append(configurations, configurationOf(c.kind))
	}
	d := newDesk(t, dir, plenty)
	marks := map[int]func(bool){}
	pubs := map[int]*chat.Publication{}
	intend := func(room string, n int) {
		pubs[n] = v0Publication(room, n)
		marks[n] = d.Intend(pubs[n], configurations)
	}
	mark := func(n, number int) {
		pubs[n].Position = at(number)
		marks[n](number > 0)
	}
	for n := range 4 {
		intend("RoomA0000001", n)
		mark(n, n+1)
	}
	for _, s := range d.shippers {
		if got := take(t, s.queue); len(got) != 4 {
			t.Fatalf("sent %q", got)
		}
	}
	intend("RoomA0000001", 4)
	intend("RoomA0000001", 5)
	mark(5, 5) // published first
	mark(4, 6)
	intend("RoomA0000001", 6)
	mark(6, 0)
	intend("RoomB0000001", 7) // never marked
	intend("RoomA0000001", 8)
	mark(8, 7)
	for _, s := range d.shippers {
		s.spool.close()
	}
	torn := func(number uint64, text string) {
		for _, s := range d.shippers {
			file, err := os.OpenFile(segmentPath(s.spool.dir, number), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(text); err != nil {
				t.Fatal(err)
			}
			file.Close()
		}
	}
	torn(0, "\x00\x00\x00\x40\x12\x34\x56\x78\x01\x09 torn")
	d.lock.Close()
	next := newDesk(t, dir, plenty)
	pub := v0Publication("RoomA0000001", 10)
	m := next.Intend(pub, configurations)
	pub.Position = at(1)
	m(true)
	for _, s := range next.shippers {
		s.spool.close()
	}
	torn(1, "\x00\x00\x00")
	if err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".new") {
			t.Errorf("%s is left", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
}
