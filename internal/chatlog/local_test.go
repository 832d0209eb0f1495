package chatlog

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
)

// filesOf lists the files below a directory, by their paths from there.
func filesOf(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err = filepath.Rel(dir, name)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func readLines(t testing.TB, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("%s does not end its last line", name)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestDirectory(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	room := messages("AOkXdrUHaDMs", 5, at)
	for kind, want := range map[chat.DestinationKind]string{
		chat.DestinationS3: "s3/chat.1/AWSLogs/123456789012/IVSChatLogs/1.0/eu-west-1/room_AOkXdrUHaDMs/2026/01/02/03/" +
			"123456789012_IVSChatLogs_1.0_eu-west-1_room_AOkXdrUHaDMs_202601020304_",
		chat.DestinationCloudWatchLogs: "cloudwatchlogs/123456789012/eu-west-1/chat.1/aws/IVSChatLogs/1.0/room_AOkXdrUHaDMs",
		chat.DestinationFirehose:       "firehose/123456789012/eu-west-1/chat.1.log",
	} {
		root := t.TempDir()
		d := &directory{root: root, to: to(kind, "chat.1")}
		putAll(t, d, nil)
		putAll(t, d, room)
		names := filesOf(t, root)
		if len(names) != 1 || !strings.HasPrefix(names[0], want) {
			t.Errorf("%s: got %q, want %s", kind, names, want)
			continue
		}
		name := filepath.Join(root, names[0])
		if kind == chat.DestinationS3 {
			object, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := unzip(t, object); !slices.Equal(got, linesOf(room)) {
				t.Errorf("%s: got %q", kind, got)
			}
			continue
		}
		if got := readLines(t, name); !slices.Equal(got, linesOf(room)) {
			t.Errorf("%s: got %q", kind, got)
		}
	}
}

// TestDirectoryNames: no name leads out of the directory, and no two to the same file.
func TestDirectoryNames(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "a", "b")
	taken := map[string]string{}
	for _, kind := range []chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose} {
		for _, name := range []string{"x", ".", "..", "...", "../../x", "../x", "/x", "//x", "x/", "/", "a/x", "x/aws/IVSChatLogs/1.0/room_room", "#x", "x.log", "%2Fx"} {
			before := filesOf(t, top)
			putAll(t, &directory{root: root, to: to(kind, name)}, messages("room", 2, time.Now()))
			var made []string
			for _, file := range filesOf(t, top) {
				if !slices.Contains(before, file) {
					made = append(made, file)
				}
			}
			if len(made) != 1 || !strings.HasPrefix(made[0], "a/b/") {
				t.Errorf("%s %q: made %q, want one file below the directory", kind, name, made)
				continue
			}
			taken[made[0]] = name
		}
	}
	if len(taken) != 45 {
		t.Errorf("got %d files for 45 names", len(taken))
	}
}

// TestDirectoryScopes: names of log groups and streams are an account's, in a region.
func TestDirectoryScopes(t *testing.T) {
	for _, kind := range []chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose} {
		root := t.TempDir()
		for _, scope := range []chat.Scope{{Region: "a", Account: "1"}, {Region: "b", Account: "1"}, {Region: "a", Account: "2"}} {
			where := to(kind, "same")
			where.Account, where.Region = scope.Account, scope.Region
			putAll(t, &directory{root: root, to: where}, messages("room", 2, time.Unix(1e9, 0)))
		}
		if got := filesOf(t, root); len(got) != 3 {
			t.Errorf("%s: got %q, want a file each", kind, got)
		}
	}
}

// TestDirectoryAfterAKill: what a killed process left of a line is cut off.
func TestDirectoryAfterAKill(t *testing.T) {
	for name, torn := range map[string]string{
		"nothing":           "",
		"half a line":       `{"event_times`,
		"a whole, no break": string(message("room", 9, time.Now()).line()),
		"a long line":       strings.Repeat("x", 20_000),
	} {
		for _, before := range []int{0, 1, 3} {
			file := filepath.Join(t.TempDir(), "stream")
			kept := messages("room", before, time.Now())
			text := ""
			for _, line := range linesOf(kept) {
				text += line + "\n"
			}
			if err := os.WriteFile(file, []byte(text+torn), 0o600); err != nil {
				t.Fatal(err)
			}
			more := messages("room", 2, time.Now())
			if err := appendLines(file, more); err != nil {
				t.Fatal(err)
			}
			if got := readLines(t, file); !slices.Equal(got, linesOf(slices.Concat(kept, more))) {
				t.Errorf("%s after %d lines: got %q", name, before, got)
			}
		}
	}
}

// TestDirectoryShared: two configurations of the same name do not harm each other.
func TestDirectoryShared(t *testing.T) {
	for _, kind := range []chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose} {
		root := t.TempDir()
		at := time.Unix(1e9, 0)
		var putting sync.WaitGroup
		for range 4 {
			putting.Go(func() {
				for range 20 {
					if rest, err := (&directory{root: root, to: to(kind, "same")}).put(t.Context(), messages("room", 10, at)); err != nil || len(rest) > 0 {
						t.Errorf("%s: got %d left, %v", kind, len(rest), err)
					}
				}
			})
		}
		putting.Wait()
		names := filesOf(t, root)
		if len(names) != 1 {
			t.Fatalf("%s: got %q", kind, names)
		}
		if kind == chat.DestinationS3 {
			continue
		}
		if got := len(readLines(t, filepath.Join(root, names[0]))); got != 4*20*10 {
			t.Errorf("%s: got %d lines, want %d", kind, got, 4*20*10)
		}
	}
}

// TestDirectoryFails: one room's file that cannot be written stops no other room.
func TestDirectoryFails(t *testing.T) {
	root := t.TempDir()
	d := &directory{root: root, to: to(chat.DestinationCloudWatchLogs, "g")}
	stream := filepath.Join(root, "cloudwatchlogs", testAccount, testRegion, "g", "aws", "IVSChatLogs", "1.0", "room_")
	if err := os.MkdirAll(stream+"bad", 0o700); err != nil { // a directory in its place
		t.Fatal(err)
	}
	good, bad := messages("good", 3, time.Now()), messages("bad", 3, time.Now())
	rest, err := d.put(t.Context(), slices.Concat(bad, good))
	if err == nil || !slices.Equal(rest, bad) {
		t.Errorf("got %d left, %v; want the room's that fails", len(rest), err)
	}
	if got := readLines(t, stream+"good"); !slices.Equal(got, linesOf(good)) {
		t.Errorf("the other room: got %q", got)
	}
}
