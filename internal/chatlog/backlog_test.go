package chatlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

func flush(t *testing.T, d *desk) {
	t.Helper()
	for _, s := range d.shippers {
		if err := s.spool.flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBacklogsOfScopes: a recorder tells each scope of its own, and reads its spools no
// more often than every two seconds, whoever asks.
func TestBacklogsOfScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, t.TempDir(), plenty)
		foreign := configured("theirs")
		foreign[0].ARN.Account = "999999999999"
		pub := publication("a", "theirs")
		d.Intend(pub, foreign)(true)
		d.show("a", 1, "ours")
		flush(t, d)
		want := func(when string, scope chat.Scope, want map[string]int) {
			t.Helper()
			all := d.Backlogs(scope)
			got := map[string]int{}
			for _, b := range all {
				got[b.Name] = b.Records
				if b.Partial || b.Bytes == 0 || b.Oldest.IsZero() {
					t.Errorf("%s: got %+v", when, b)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: records by name (-want +got):\n%s", when, diff)
			}
		}
		want("at first", testConfiguration.Scope, map[string]int{"ours": 1})
		want("another account", foreign[0].ARN.Scope, map[string]int{"theirs": 1})
		elsewhere := testConfiguration.Scope
		elsewhere.Region = "eu-north-1"
		want("another region", elsewhere, map[string]int{})

		d.show("a", 2, "ours")
		flush(t, d)
		time.Sleep(backlogLife)
		want("not yet", testConfiguration.Scope, map[string]int{"ours": 1})
		time.Sleep(time.Nanosecond)
		want("read again", testConfiguration.Scope, map[string]int{"ours": 2})
	})
}

// TestBacklogsTakeNoLongerThanTheyMay: what cannot be counted in time is said not to be
// whole, and a spool beside it is counted all the same.
func TestBacklogsTakeNoLongerThanTheyMay(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, dir, plenty)
	const records = 500
	for i := range records {
		d.show("a", i+1, "large")
	}
	d.show("b", 1, "small")
	flush(t, d)
	all, err := backlogs(dir, 0)
	if err != nil || len(all) != 2 {
		t.Fatalf("got %v %v", all, err)
	}
	for _, b := range all {
		switch {
		case b.Name == "large" && (!b.Partial || b.Records == 0 || b.Records >= records || b.Bytes == 0 || b.Oldest.IsZero()),
			b.Name == "small" && (b.Partial || b.Records != 1):
			t.Errorf("got %+v", b)
		}
	}
	all, err = Backlogs(dir)
	if err != nil || len(all) != 2 || all[0].Records != records || all[0].Partial {
		t.Errorf("with all the time there is: got %+v %v", all, err)
	}
}

// TestBacklogsLeaveOutWhatFails: one spool that is none hides no other, and is said.
func TestBacklogsLeaveOutWhatFails(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, dir, plenty)
	d.show("a", 1, "ours")
	flush(t, d)
	broken := filepath.Join(dir, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, destinationFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.Backlogs(testConfiguration.Scope); len(got) != 1 || got[0].Name != "ours" || got[0].Records != 1 {
		t.Errorf("got %+v, want the one that can be read", got)
	}
	if said := d.said.String(); !strings.Contains(said, broken) {
		t.Errorf("the log has %q, and not the spool that cannot be read", said)
	}
	if all, err := Backlogs(dir); err == nil || len(all) != 1 {
		t.Errorf("got %+v, error %v, want one and an error", all, err)
	}
}
