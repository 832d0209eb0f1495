package credentials

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(write(t, "x\n", 0o600), "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("got no error")
	}
}

// running is a File whose Run runs, in virtual time.
type running struct {
	*File
	t    *testing.T
	path string

	mu  sync.Mutex
	log bytes.Buffer
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

// said returns what was logged since it was last asked.
func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.log.String()
	r.log.Reset()
	return s
}

// second lets the second pass within which a change must count.
func (r *running) second() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *running) has(accessKey string, want bool) {
	r.t.Helper()
	if _, got := r.Lookup(accessKey); got != want {
		r.t.Errorf("%s: got %t, want %t\n%s", accessKey, got, want, r.said())
	}
}

func (r *running) logged(level string, parts ...string) {
	r.t.Helper()
	said := r.said()
	if strings.Count(said, "level=") != 1 || !strings.Contains(said, "level="+level) {
		r.t.Errorf("got %q, want one record of level %s", said, level)
	}
	for _, part := range parts {
		if !strings.Contains(said, part) {
			r.t.Errorf("got %q, want %q in it", said, part)
		}
	}
	for _, secret := range []string{secretA, secretB, token} {
		if strings.Contains(said, secret) {
			r.t.Errorf("a secret was logged: %q", said)
		}
	}
}

func run(t *testing.T, text string, f func(r *running)) {
	path := write(t, text, 0o600)
	synctest.Test(t, func(t *testing.T) {
		r := &running{t: t, path: path}
		file, err := Open(path, "000000000000", slog.New(slog.NewTextHandler(r, nil)))
		if err != nil {
			t.Fatal(err)
		}
		r.File = file
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- file.Run(ctx) }()
		f(r)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if said := r.said(); said != "" {
			t.Errorf("got %q, want nothing more in the log", said)
		}
	})
}

func TestReload(t *testing.T) {
	a, b := entry("a", idA, secretA), entry("b", idB, secretB)
	run(t, a, func(r *running) {
		r.second()
		if said := r.said(); said != "" {
			t.Errorf("got %q, want silence", said)
		}
		put(t, r.path, a+b, 0o600)
		r.second()
		r.has(idB, true)
		r.logged("INFO", "keys=2", "temporary=0", "disabled=0", "expired=0")

		// Bad: the keys in use stay, and the log says so once.
		put(t, r.path, b+"aws_secret_access_key : "+secretA+"\n", 0o600)
		r.second()
		r.has(idA, true)
		r.logged("ERROR", r.path+":5: want [NAME], or SETTING", "keys in use stay")
		r.second()

		put(t, r.path, b, 0o600)
		r.second()
		r.has(idA, false)
		r.has(idB, true)
		r.logged("INFO", "keys=1")

		// Replaced in one step, by a file of the same size.
		put(t, r.path+".new", strings.Replace(b, "[b]", "[c]", 1), 0o600)
		if err := os.Rename(r.path+".new", r.path); err != nil {
			t.Fatal(err)
		}
		r.second()
		if k, _ := r.Lookup(idB); k.Name != "c" {
			t.Errorf("got %v, want the name c", k)
		}
		r.logged("INFO")

		// Touched, but the same.
		if err := os.Chtimes(r.path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.second()

		if err := os.Chmod(r.path, 0o644); err != nil {
			t.Fatal(err)
		}
		r.second()
		r.has(idB, true)
		r.logged("ERROR", "chmod 600")
		if err := os.Remove(r.path); err != nil {
			t.Fatal(err)
		}
		r.second()
		r.has(idB, true)
		r.logged("ERROR", "no such file")
		put(t, r.path, "", 0o600)
		r.second()
		r.has(idB, true)
		r.logged("ERROR", "has no access keys")
		if err := Add(r.path, Key{Name: "a", AccessKey: idA, Secret: secretA}); err != nil {
			t.Fatal(err)
		}
		r.second()
		r.has(idB, false)
		r.has(idA, true)
		r.logged("INFO")
	})
}

func TestPoliciesAreReloaded(t *testing.T) {
	path := write(t, "", 0o600)
	policy := filepath.Join(filepath.Dir(path), "p.json")
	put(t, policy, allow, 0o644)
	run(t, entry("a", idA, secretA, "policy = "+policy)+entry("b", idB, secretB, "policy = "+policy), func(r *running) {
		first, _ := r.Lookup(idA)
		other, _ := r.Lookup(idB)
		if first.Policy == nil || first.Policy != other.Policy {
			t.Error("a policy of two keys is read twice")
		}
		put(t, policy, strings.Replace(allow, "Allow", "Deny", 1), 0o644)
		r.second()
		second, _ := r.Lookup(idA)
		if second.Policy == first.Policy {
			t.Error("the policy is the old one")
		}
		r.logged("INFO")
		put(t, policy, `{"Statement": 1}`, 0o644)
		r.second()
		if third, _ := r.Lookup(idA); third.Policy != second.Policy {
			t.Error("a bad policy counts")
		}
		r.logged("ERROR", r.path+":4: policy "+policy)
		if err := os.Remove(policy); err != nil {
			t.Fatal(err)
		}
		r.second()
		r.logged("ERROR", "no such file")
		put(t, policy, allow, 0o644)
		r.second()
		r.logged("INFO")
	})
}

// A file that is being written in place counts when it is whole.
func TestHalfWrittenFilesDoNotCount(t *testing.T) {
	whole := entry("a", idA, secretA) + entry("b", idB, secretB)
	run(t, whole, func(r *running) {
		for i := range len(whole) {
			put(t, r.path, whole[:i], 0o600)
			time.Sleep(lookInterval)
			synctest.Wait()
			r.has(idA, true)
			r.has(idB, true)
		}
		put(t, r.path, whole+"#\n", 0o600)
		r.second()
		r.logged("INFO", "keys=2")
	})
}

// Lookups go on while keys change, in real time.
func TestLookupsDuringReloads(t *testing.T) {
	text := entry("a", idA, secretA)
	path := write(t, text, 0o600)
	f, err := Open(path, "", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	var children sync.WaitGroup
	children.Go(func() { f.Run(ctx) })
	if err := Add(path, Key{Name: "b", AccessKey: idB, Secret: secretB}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for {
		if _, ok := f.Lookup(idA); !ok {
			t.Fatal("a key was not found")
		}
		if _, ok := f.Lookup(idB); ok {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("not reloaded after %s", time.Since(begun))
		}
	}
	stop()
	children.Wait()
}

func BenchmarkLookup(b *testing.B) {
	f, err := Open(write(b, entry("a", idA, secretA), 0o600), "", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f.Lookup(idA); !ok {
			b.Fatal("not found")
		}
	}
}
