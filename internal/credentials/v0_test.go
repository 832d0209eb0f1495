package credentials

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"parlor/internal/iam"
)

// TestV0: the credentials file that is frozen is accepted, and lets in whom it let in.
func TestV0(t *testing.T) {
	const v0 = "../../testdata/v0/credentials"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(v0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"credentials", "policies/viewer.json"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil { // which git does not keep
			t.Fatal(err)
		}
	}
	policy, err := os.ReadFile(filepath.Join(dir, "policies/viewer.json"))
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := iam.Parse(policy)
	if err != nil {
		t.Fatal(err)
	}
	want := []Key{
		{Name: "alice", AccessKey: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Account: "000000000007"},
		{Name: "viewer@example.com", AccessKey: "AKIAI44QH8DHBEXAMPLE", Secret: "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY", Account: "210987654321",
			Policy: viewer, PolicyFile: "policies/viewer.json"},
		{Name: "old", AccessKey: "AKIAOLDDISABLEDKEY00", Secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Account: "000000000007", Disabled: true},
		{Name: "temporary", AccessKey: "ASIATEMPORARYKEY0000", Secret: "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", Account: "000000000007",
			SessionToken: "FwoGZXIvYXdzEBYaDEXAMPLE/TOKEN+0000==", Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	read := func(what string, names ...string) {
		t.Helper()
		set, err := Load(filepath.Join(dir, "credentials"), "000000000007")
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			k, ok := set.Lookup(w.AccessKey)
			if !ok || (k.Policy == nil) != (w.Policy == nil) {
				t.Errorf("%s: %s: got %t, with a policy %t", what, w.Name, ok, k.Policy != nil)
			}
			k.Policy, w.Policy = nil, nil
			if k != w {
				t.Errorf("%s: %s differs", what, w.Name)
			}
		}
		if got := len(set.Keys()); got != len(want)+len(names) {
			t.Errorf("%s: got %d keys", what, got)
		}
		for _, name := range names {
			if !slices.ContainsFunc(set.Keys(), func(k Key) bool { return k.Name == name }) {
				t.Errorf("%s: %s is missing", what, name)
			}
		}
	}
	read("as it is")
	added := New(0)
	added.Name = "new"
	if err := Add(filepath.Join(dir, "credentials"), added); err != nil {
		t.Fatal(err)
	}
	read("with another key", "new")
}
