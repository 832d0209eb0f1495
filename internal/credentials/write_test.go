package credentials

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAddMakesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	k := New(time.Hour)
	k.Name, k.Account, k.PolicyFile = "alice", "123456789012", "p.json"
	if err := Add(path, k); err == nil || !strings.Contains(err.Error(), "policy p.json: no such file") {
		t.Fatalf("got %v, want that there is no policy", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want no file", err)
	}
	put(t, filepath.Join(filepath.Dir(path), "p.json"), allow, 0o600)
	if err := Add(path, k); err != nil {
		t.Fatal(err)
	}
	other := New(0)
	other.Name = "bob"
	if err := Add(path, other); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info.Mode(), err)
	}
	set, err := Load(path, "000000000000")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := set.Lookup(k.AccessKey)
	if got.Policy == nil {
		t.Error("got no policy")
	}
	got.Policy = nil
	if got != k {
		t.Errorf("got %v, want %v", got, k)
	}
	if got, _ := set.Lookup(other.AccessKey); got.Name != "bob" || got.Secret != other.Secret || got.Account != "000000000000" {
		t.Errorf("got %v, want %v", got, other)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || left != nil {
		t.Errorf("got %v, %v, want no temporary file left", left, err)
	}
}

// What is there stays, to the letter.
func TestWritersKeepWhatIsThere(t *testing.T) {
	before := "# mine\n\n[b]\naws_secret_access_key = " + secretB + " # why\naws_access_key_id=" + idB + "\ndisabled = false ; not false\n; end\n\n[a]\r\naws_access_key_id = " + idA + "\r\naws_secret_access_key = " + secretA + "\r\n# last, without a line break"
	path := write(t, before, 0o600)
	k := New(0)
	k.Name = "c"
	if err := Add(path, k); err != nil {
		t.Fatal(err)
	}
	added := before + "\n\n[c]\naws_access_key_id = " + k.AccessKey + "\naws_secret_access_key = " + k.Secret + "\n"
	if diff := cmp.Diff(content(t, path), added); diff != "" {
		t.Errorf("after Add (-got +want)\n%s", diff)
	}
	for _, which := range []string{"a", idB, k.AccessKey, "a"} {
		if err := Disable(path, which); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(added, "disabled = false", "disabled = true", 1)
	want = strings.Replace(want, secretA+"\r\n", secretA+"\r\ndisabled = true\r\n", 1) + "disabled = true\n"
	if diff := cmp.Diff(content(t, path), want); diff != "" {
		t.Errorf("after Disable (-got +want)\n%s", diff)
	}
	set, err := Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys() {
		if !k.Disabled {
			t.Errorf("%v is not disabled", k)
		}
	}
}

func TestDisableTheLastLine(t *testing.T) {
	path := write(t, strings.TrimSpace(entry("a", idA, secretA)), 0o600)
	if err := Disable(path, "a"); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, path), strings.TrimSpace(entry("a", idA, secretA))+"\ndisabled = true\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWritersRefuse(t *testing.T) {
	good := entry("a", idA, secretA) + entry(idA, idB, secretB)
	named := func(set func(*Key)) Key {
		k := New(0)
		k.Name = "c"
		set(&k)
		return k
	}
	for _, tc := range []struct {
		name, file string
		write      func(path string) error
		want       string
	}{
		{"a name that is there", good, func(p string) error { return Add(p, named(func(k *Key) { k.Name = "a" })) }, "[a] is in line 1 already"},
		{"an access key that is there", good, func(p string) error { return Add(p, named(func(k *Key) { k.AccessKey = idA })) }, "is that of [a] too"},
		{"a bad name", good, func(p string) error { return Add(p, named(func(k *Key) { k.Name = "a b" })) }, "a name has"},
		{"no name", good, func(p string) error { return Add(p, named(func(k *Key) { k.Name = "" })) }, "a name has"},
		{"a bad account", good, func(p string) error { return Add(p, named(func(k *Key) { k.Account = "1" })) }, "12 digits"},
		{"a name with more than a name", good, func(p string) error { return Add(p, named(func(k *Key) { k.Name = "c]\n[d" })) }, "has no aws_access_key_id"},
		{"a setting in a setting", good, func(p string) error {
			return Add(p, named(func(k *Key) { k.Account = "123456789012\ndisabled = true" }))
		}, "would be read as another"},
		{"a policy that reads as another", good, func(p string) error { return Add(p, named(func(k *Key) { k.PolicyFile = "p.json # x" })) }, "would be read as another"},
		{"a file with faults", good + "x\n", func(p string) error { return Add(p, named(func(*Key) {})) }, ":9: want"},
		{"disable in a file with faults", good + "x\n", func(p string) error { return Disable(p, "a") }, ":9: want"},
		{"nobody", good, func(p string) error { return Disable(p, "c") }, ErrUnknownKey.Error()},
		{"the name of one and the access key of another", good, func(p string) error { return Disable(p, idA) }, "lines 1 and 5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.file, 0o600)
			put(t, filepath.Join(filepath.Dir(path), "p.json"), allow, 0o600)
			if err := tc.write(path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if got := content(t, path); got != tc.file {
				t.Errorf("got %q, want the file as it was", got)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "none")
	if err := Disable(path, "a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
	if _, err := os.Stat(path + ".lock"); err == nil {
		t.Error("a lock file was made for nothing")
	}
}

func TestLinksStayLinks(t *testing.T) {
	target := write(t, entry("a", idA, secretA), 0o600)
	path := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := Disable(path, "a"); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(path); err != nil || link != target {
		t.Errorf("got %s, %v, want a link to %s", link, err, target)
	}
	if !strings.Contains(content(t, target), "disabled = true") {
		t.Error("the file was not written")
	}
}

// root may add a key to the server's file: it stays the server's.
func TestOwnerStays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give a file away")
	}
	path := write(t, entry("a", idA, secretA), 0o600)
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Skip(err)
	}
	if err := Disable(path, "a"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid := owner(info); uid != 12345 || gid != 23456 {
		t.Errorf("got owner %d:%d, want 12345:23456", uid, gid)
	}
}

func TestWritersTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	const n = 20
	var wg sync.WaitGroup
	keys := make([]Key, n)
	for i := range n {
		wg.Go(func() {
			keys[i] = New(0)
			keys[i].Name = keys[i].AccessKey
			if err := Add(path, keys[i]); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := Disable(path, keys[i].Name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	set, err := Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if got, ok := set.Lookup(k.AccessKey); !ok || got.Disabled != (i%2 == 0) {
			t.Errorf("key %d: got %t, disabled %t", i, ok, got.Disabled)
		}
	}
}
