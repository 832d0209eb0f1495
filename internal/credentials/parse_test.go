package credentials

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/iam"
)

const (
	idA     = "AKIAIOSFODNN7EXAMPLE"
	idB     = "AKIAI44QH8DHBEXAMPLE"
	secretA = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	secretB = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
	token   = "FwoGZXIvYXdzEBYaDEXAMPLE/TOKEN+0000=="
	allow   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ivschat:*","Resource":"*"}]}`
)

// write makes a file of its own directory and returns its path.
func write(t testing.TB, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	put(t, path, text, mode)
	return path
}

func put(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func entry(name, id, secret string, more ...string) string {
	return fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n%s\n", name, id, secret, strings.Join(more, "\n"))
}

func TestLoad(t *testing.T) {
	path := write(t, "\ufeff# a comment\n"+
		"; another\n\n"+
		"[alice]  # the first\r\n"+
		"aws_access_key_id="+idA+"\r\n"+
		"aws_secret_access_key = "+secretA+" ; hers\r\n"+
		"aws_account_id = 123456789012\n"+
		"policy = policies/a b.json\n"+
		"  # indented\n"+
		"[bob+1@example.com]\n"+
		"aws_access_key_id = "+idB+"\n"+
		"aws_secret_access_key = "+secretB+"\n"+
		"aws_session_token = "+token+"\n"+
		"expires = 2030-01-31T12:00:00+01:00\n"+
		"disabled = true", 0o600)
	put(t, filepath.Join(filepath.Dir(path), "policies/a b.json"), allow, 0o644)
	set, err := Load(path, "000000000000")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Keys()) != 2 {
		t.Fatalf("got %v, want 2 keys", set)
	}
	got, ok := set.Lookup(idA)
	if !ok || got.Policy == nil {
		t.Fatalf("got %v, %t, want a key with a policy", got, ok)
	}
	got.Policy = nil
	if want := (Key{Name: "alice", AccessKey: idA, Secret: secretA, Account: "123456789012", PolicyFile: "policies/a b.json"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	got, _ = set.Lookup(idB)
	end := time.Date(2030, 1, 31, 11, 0, 0, 0, time.UTC)
	if !got.Expires.Equal(end) {
		t.Errorf("got %s, want %s", got.Expires, end)
	}
	got.Expires = end
	want := Key{Name: "bob+1@example.com", AccessKey: idB, Secret: secretB, SessionToken: token, Account: "000000000000", Expires: end, Disabled: true}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got.Expired(end.Add(-time.Nanosecond)) || !got.Expired(end) {
		t.Error("a temporary key is over at its end, not before")
	}
	if (Key{}).Expired(end) {
		t.Error("a permanent key does not expire")
	}
	if _, ok := set.Lookup(strings.ToLower(idA)); ok {
		t.Error("got a key by another access key")
	}
}

// Every fault is reported, with its line, and none quotes what may be a secret.
func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"everything at once", "stray = 1\n" + secretA + "\n" + secretA + " = 5\n[a\n[b c]\naws_access_key_id = short\n" +
			"[alice]\naws_access_key_id = " + idA + "\naws_access_key_id = " + idB + "\naws_secret_acess_key = " + secretA + "\n region = us-east-1\naws_account_id = 12345\naws_secret_access_key:" + secretA + "=\n" +
			"[alice]\naws_access_key_id = " + idA + "\naws_secret_access_key = \"" + secretA + "\"\nexpires = tomorrow\ndisabled = yes\npolicy = none.json\n",
			`F:1: unknown setting stray; SETTINGS
F:2: want [NAME], or SETTING = VALUE
F:3: unknown setting; SETTINGS
F:4: want [NAME]
F:5: a name has 1 to 64 letters, digits and _+=,.@-
F:7: [alice] has no aws_secret_access_key
F:9: aws_access_key_id of [alice] is in line 8 already
F:10: unknown setting aws_secret_acess_key; SETTINGS
F:11: the line begins with white space, which would make it part of the one before
F:12: aws_account_id of [alice]: want 12 digits
F:13: unknown setting; SETTINGS
F:14: [alice] is in line 7 already
F:15: the access key of [alice] is that of [alice] too, line 8
F:16: aws_secret_access_key of [alice]: want 16 to 128 printable characters of ASCII, without white space and quotes
F:17: expires of [alice]: want a time such as 2030-01-31T12:00:00Z
F:17: expires of [alice]: a temporary key has aws_session_token too
F:18: disabled of [alice]: want true or false
F:19: policy none.json: no such file or directory`},
		{"before the first name", "aws_access_key_id = " + idA + "\n" + entry("a", idA, secretA), "F:1: aws_access_key_id stands before the first [NAME]"},
		{"nothing in a section", "[a]\n", "F:1: [a] has no aws_access_key_id\nF:1: [a] has no aws_secret_access_key"},
		{"no value", entry("a", idA, secretA, "policy = # none"), "F:4: policy has no value"},
		{"id and secret swapped", entry("a", secretA, idA), "F:2: aws_access_key_id of [a]: want 16 to 128 letters, digits and _"},
		{"one access key twice", entry("a", idA, secretA) + entry("b", idA, secretB), "F:6: the access key of [b] is that of [a] too, line 2"},
		{"a token without an end", entry("a", idA, secretA, "aws_session_token = "+token), "F:4: aws_session_token of [a]: a temporary key has expires too"},
		{"not text", entry("a", idA, secretA, "policy = \xff", "policy = \x00"), "F:4: the line has bytes that are not text\nF:5: the line has bytes that are not text"},
		{"a bad policy", entry("a", idA, secretA, "policy = bad.json"), "F:4: policy bad.json: "},
		{"a directory as policy", entry("a", idA, secretA, "policy = ."), "F:4: policy .: "},
		{"no keys", "# nothing\n", "F: has no access keys: parlor key create --credentials F makes one"},
		{"something else", strings.Repeat("x\n", 1000), "and 950 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.file, 0o600)
			put(t, filepath.Join(filepath.Dir(path), "bad.json"), `{"Statement": 1}`, 0o600)
			set, err := Load(path, "000000000000")
			var faults Faults
			if set != nil || !errors.As(err, &faults) {
				t.Fatalf("got %v, %v, want faults", set, err)
			}
			got := strings.ReplaceAll(strings.ReplaceAll(err.Error(), path, "F"), "the settings are "+strings.Join(settings, ", "), "SETTINGS")
			if tc.name == "everything at once" {
				if diff := cmp.Diff(got, tc.want); diff != "" {
					t.Errorf("(-got +want)\n%s", diff)
				}
			} else if !strings.Contains(got, tc.want) {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
			for _, secret := range []string{secretA, secretB, token} {
				if strings.Contains(got, secret[:10]) {
					t.Errorf("a secret is in %s", got)
				}
			}
		})
	}
}

func TestFileOthersCanRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o620, 0o601} {
		path := write(t, entry("a", idA, secretA), mode)
		_, err := Load(path, "")
		if want := "run chmod 600 " + path; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("%04o: got %v, want %s", mode, err, want)
		}
		if err := Add(path, New(0)); err == nil {
			t.Errorf("%04o: got no error of Add", mode)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		if _, err := Load(write(t, entry("a", idA, secretA), mode), ""); err != nil {
			t.Errorf("%04o: got %v", mode, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
	if _, err := Load(t.TempDir(), ""); err == nil {
		t.Error("got no error for a directory")
	}
	big := write(t, entry("a", idA, secretA)+"#"+strings.Repeat("x", maxFile), 0o600)
	if _, err := Load(big, ""); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("got %v, want that the file is too large", err)
	}
}

// Whichever way a key is shown, its secrets are not.
func TestSecretsAreNotShown(t *testing.T) {
	k := New(time.Hour)
	k.Name, k.Account = "alice", "123456789012"
	set := newSet([]Key{k})
	type holder struct{ K Key }
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{k, &k, holder{k}, &holder{k}, []Key{k}, map[string]Key{"k": k}, set, *set, []*Set{set}} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
	}
	fmt.Fprintln(&shown, k.String(), k.GoString(), set.String(), set.GoString(), errors.New(fmt.Sprint(k)))
	for _, logger := range []*slog.Logger{slog.New(slog.NewJSONHandler(&shown, nil)), slog.New(slog.NewTextHandler(&shown, nil))} {
		logger.Info("x", "key", k, "pointer", &k, "nested", holder{k}, "list", []Key{k}, "set", set)
	}
	encoded, err := json.Marshal(holder{k})
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	for _, secret := range []string{k.Secret, k.SessionToken, fmt.Sprintf("%x", k.Secret), fmt.Sprintf("%x", k.SessionToken)} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("a secret is shown:\n%s", shown.String())
		}
	}
	if !strings.Contains(shown.String(), k.AccessKey) {
		t.Error("the access key is not shown")
	}
}

func TestNewKeys(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		for _, lifetime := range []time.Duration{0, time.Hour} {
			k := New(lifetime)
			shape := `^AKIA[A-Z2-7]{16}$`
			if lifetime > 0 {
				shape = `^ASIA[A-Z2-7]{16}$`
			}
			if !regexp.MustCompile(shape).MatchString(k.AccessKey) || len(k.Secret) != 40 {
				t.Fatalf("got %q and a secret of %d characters", k.AccessKey, len(k.Secret))
			}
			if k.Temporary() != (lifetime > 0) || k.Temporary() == k.Expires.IsZero() {
				t.Fatalf("got a token %t and expiry %s for %s", k.Temporary(), k.Expires, lifetime)
			}
			for _, s := range []string{k.AccessKey, k.Secret, k.SessionToken} {
				if s != "" && seen[s] {
					t.Fatal("the same twice")
				}
				seen[s] = true
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(entry("alice", idA, secretA)))
	f.Add([]byte(entry("alice", idA, secretA, "aws_account_id = 123456789012", "policy = p.json", "disabled = true") + entry("bob", idB, secretB, "aws_session_token = "+token, "expires = 2030-01-31T12:00:00Z")))
	f.Add([]byte("\ufeff# c\r\n[a] ; x\r\nexpires=1\r\n"))
	f.Add([]byte("[a]\n[a]\n[\nx\n = \n\x00\n \xff"))
	f.Add([]byte("[a]\naws_secret_access_key:SECRET\nSECRET=\n[SECRET]\nexpires = SECRET\npolicy SECRET = x\naws_access_key_id = SECRET"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.ReplaceAll(data, []byte("SECRET"), []byte(secretA)) // wherever it does not belong
		keys, faults := parse(data, "000000000000", func(string) (*iam.Policy, error) { return nil, nil })
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > 1+bytes.Count(data, []byte("\n")) || fault.Message == "" {
				t.Errorf("a fault without a place: %v", fault)
			}
		}
		names, ids := map[string]bool{}, map[string]bool{}
		for _, k := range keys {
			if k.Name == "" || k.AccessKey == "" || k.Secret == "" || len(k.Account) != 12 || k.Temporary() == k.Expires.IsZero() || names[k.Name] || ids[k.AccessKey] {
				t.Errorf("got %v", k)
			}
			names[k.Name], ids[k.AccessKey] = true, true
		}
		if strings.Contains(faults.Error(), secretA) {
			t.Errorf("a secret is in %s", faults.Error())
		}
	})
}
