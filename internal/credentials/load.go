package credentials

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"parlor/internal/iam"
)

const (
	maxFile   = 8 << 20 // bytes; some ten thousands of keys
	maxPolicy = 1 << 20
)

// Load reads a credentials file and the policy files that it names, relative to it.
// Keys that name no account get the default one. An error is [Faults], unless it says
// why the file could not be read.
func Load(path, defaultAccount string) (*Set, error) {
	set, _, err := load(path, defaultAccount)
	return set, err
}

// load also returns what it read, whether or not that is good.
func load(path, defaultAccount string) (*Set, []*source, error) {
	main := read(path, maxFile)
	if err := main.check(); err != nil {
		return nil, []*source{main}, err
	}
	set, policies, err := judge(path, main.data, defaultAccount)
	main.data = nil
	if err == nil && len(set.keys) == 0 {
		// More likely it was emptied by mistake than that nobody should come in any more.
		set, err = nil, Faults{{Path: path, Message: "has no access keys: parlor key create --credentials " + path + " makes one"}}
	}
	return set, append([]*source{main}, policies...), err
}

// check says why a credentials file cannot be had, or should not be had as it is.
func (s *source) check() error {
	if s.err != nil {
		return s.err
	}
	if exposed(s.info, os.Geteuid()) {
		return Faults{{Path: s.path, Message: fmt.Sprintf("others than its owner can get at it (mode %04o): run chmod 600 %s", s.info.Mode().Perm(), s.path)}}
	}
	return nil
}

// exposed reports whether others than its owner can get at a file. A file of root's may
// be read by its group as well, unless we are root: so a secret is laid out for a server
// that has a user of its own, by Kubernetes for one.
func exposed(info fs.FileInfo, user int) bool {
	private := fs.FileMode(0o077)
	if uid, _ := owner(info); uid == 0 && user != 0 {
		private = 0o037
	}
	return info.Mode().Perm()&private != 0
}

// judge reads a text as the credentials file of a path, with the policy files that it
// names. It takes a text without keys.
func judge(path string, data []byte, defaultAccount string) (*Set, []*source, error) {
	var policies []*source
	type outcome struct {
		policy *iam.Policy
		err    error
	}
	known := map[string]outcome{}
	keys, faults := parse(data, defaultAccount, func(name string) (*iam.Policy, error) {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		o, ok := known[file]
		if !ok {
			s := read(file, maxPolicy)
			policies = append(policies, s)
			if o.err = reason(s.err); s.err == nil {
				o.policy, o.err = iam.Parse(s.data)
			}
			s.data = nil
			known[file] = o
		}
		return o.policy, o.err
	})
	if len(faults) > 0 {
		for i := range faults {
			faults[i].Path = path
		}
		return nil, policies, faults
	}
	return newSet(keys), policies, nil
}

// reason is an error without the path that the operating system puts before it.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// source is a file as it was when it was read.
type source struct {
	path  string
	limit int64

	info fs.FileInfo // nil if there is none
	at   time.Time   // when info was asked for
	data []byte      // until it is parsed
	sum  [sha256.Size]byte
	err  error // why there is no data
}

func read(path string, limit int64) *source {
	s := &source{path: path, limit: limit, at: time.Now()}
	s.data, s.err = s.content()
	s.sum = sha256.Sum256(s.data)
	return s
}

func (s *source) content() ([]byte, error) {
	// Looked at before it is opened: opening a pipe would wait for who writes to it.
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		s.info = info
		return nil, fmt.Errorf("%s is not a file", s.path)
	}
	file, err := os.Open(s.path)
	if err != nil {
		s.info = info
		return nil, err
	}
	defer file.Close()
	if s.info, err = file.Stat(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, s.limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > s.limit {
		return nil, fmt.Errorf("%s has more than %d bytes", s.path, s.limit)
	}
	return data, nil
}

// settled is how old a file's last change must be for its time to tell it from the
// next one: file systems keep times in steps.
const settled = 2 * time.Second

// look returns the file as it is now: s itself if nothing changed.
func (s *source) look() *source {
	info, err := os.Stat(s.path)
	if err != nil && s.info == nil {
		return s // still not there
	}
	if err == nil && s.info != nil && s.err == nil && sameFile(info, s.info) && s.info.ModTime().Before(s.at.Add(-settled)) {
		return s
	}
	now := read(s.path, s.limit)
	now.data = nil
	if now.equal(s) {
		s.info, s.at = now.info, now.at
		return s
	}
	return now
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// equal reports whether two looks saw the same: content and mode, or the same reason
// why there is none.
func (s *source) equal(other *source) bool {
	if (s.err == nil) != (other.err == nil) || s.err != nil && s.err.Error() != other.err.Error() {
		return false
	}
	return bytes.Equal(s.sum[:], other.sum[:]) && mode(s.info) == mode(other.info)
}

func mode(info fs.FileInfo) fs.FileMode {
	if info == nil {
		return 0
	}
	return info.Mode()
}
