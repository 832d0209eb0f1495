package credentials

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	lockPatience = 10 * time.Second
	lockInterval = 10 * time.Millisecond
)

const header = `# The access keys of a Parlor server: see parlor key --help and docs/config.md.
# Secrets: readable by the owner alone.
`

// Add writes a key at the end of a credentials file, which it makes if there is none.
// Its policy is named by PolicyFile; Policy itself is not looked at. A file that has
// faults, or would have them, stays as it is, and the error is [Faults].
func Add(path string, k Key) error {
	return rewrite(path, true, func(data []byte, _ []section) ([]byte, error) {
		var b bytes.Buffer
		if len(data) == 0 {
			data = []byte(header)
		}
		b.Write(data)
		if !bytes.HasSuffix(data, []byte("\n")) {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\n[%s]\n", k.Name)
		set := func(setting, value string) {
			if value != "" {
				fmt.Fprintf(&b, "%s = %s\n", setting, value)
			}
		}
		set(settingAccessKey, k.AccessKey)
		set(settingSecret, k.Secret)
		set(settingToken, k.SessionToken)
		if !k.Expires.IsZero() {
			set(settingExpires, k.Expires.UTC().Format(time.RFC3339))
		}
		set(settingAccount, k.Account)
		set(settingPolicy, k.PolicyFile)
		if k.Disabled {
			set(settingDisabled, "true")
		}
		return b.Bytes(), nil
	}, func(s *Set) error {
		got, _ := s.Lookup(k.AccessKey)
		got.Policy, k.Policy = nil, nil
		got.Expires, k.Expires = got.Expires.UTC(), k.Expires.UTC().Truncate(time.Second)
		if got != k || len(s.keys) == 0 || s.keys[len(s.keys)-1].AccessKey != k.AccessKey {
			return errors.New("the key would be read as another: a name, account or policy file of that spelling cannot be written")
		}
		return nil
	})
}

// ErrUnknownKey says that a file has no key of that name or access key.
var ErrUnknownKey = errors.New("there is no key of that name or access key")

// Disable marks the key of a name or access key as disabled; one that is so already
// stays so. Everything else in the file stays as it is.
func Disable(path, nameOrAccessKey string) error {
	return rewrite(path, false, func(data []byte, sections []section) ([]byte, error) {
		var found *section
		for i := range sections {
			s := &sections[i]
			if s.name != nameOrAccessKey && s.values[settingAccessKey].text != nameOrAccessKey {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("%s is the name of one key and the access key of another, lines %d and %d: set %s = true by hand", nameOrAccessKey, found.line, s.line, settingDisabled)
			}
			found = s
		}
		if found == nil {
			return nil, ErrUnknownKey
		}
		var lines [][]byte
		for line := range bytes.Lines(data) {
			lines = append(lines, line)
		}
		disabled, ok := found.values[settingDisabled]
		switch {
		case ok && disabled.text == "true":
			return data, nil
		case ok: // a comment behind it stays
			lines[disabled.line-1] = bytes.Replace(lines[disabled.line-1], []byte("false"), []byte("true"), 1)
		default:
			end := []byte("\n")
			last := lines[found.last-1]
			if bytes.HasSuffix(last, []byte("\r\n")) {
				end = []byte("\r\n")
			}
			if !bytes.HasSuffix(last, []byte("\n")) {
				last = append(bytes.Clone(last), end...)
			}
			lines[found.last-1] = bytes.Join([][]byte{last, []byte(settingDisabled + " = true"), end}, nil)
		}
		return bytes.Join(lines, nil), nil
	}, nil)
}

// rewrite replaces a file by what change makes of it, under the file's lock and in one
// step. Neither what it finds nor what it leaves has faults; verify, if there is one,
// may have more to say about the latter.
func rewrite(path string, create bool, change func(data []byte, sections []section) ([]byte, error), verify func(*Set) error) error {
	if !create {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	old := read(path, maxFile)
	exists := !errors.Is(old.err, fs.ErrNotExist)
	if exists {
		if err := old.check(); err != nil {
			return err
		}
		if _, _, err := judge(path, old.data, ""); err != nil {
			return err
		}
	} else if !create {
		return old.err
	}
	sections, _ := split(old.data)
	data, err := change(old.data, sections)
	if err != nil {
		return err
	}
	if exists && bytes.Equal(data, old.data) {
		return nil
	}
	set, _, err := judge(path, data, "")
	if err == nil && verify != nil {
		err = verify(set)
	}
	if err != nil {
		return err
	}
	return replace(path, data)
}

// lock keeps other writers of the file away until unlock, or until the process dies.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for begun := time.Now(); ; time.Sleep(lockInterval) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil // which unlocks it; nothing was written
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Since(begun) > lockPatience {
			file.Close()
			return nil, fmt.Errorf("lock %s.lock: %w", path, err)
		}
	}
}

// replace writes a file anew, durably and in one step. Its owner stays; a link to it stays a link.
func replace(path string, data []byte) (err error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = path, nil
	}
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		temporary.Close() // a second time after success, which means nothing
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	if _, err := temporary.Write(data); err != nil {
		return err
	}
	if err := keepOwner(target, temporary); err != nil {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), target); err != nil {
		return err
	}
	directory, err := os.Open(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

// keepOwner gives a new file the owner of the one that it replaces: a key that root
// adds must not lock the server out.
func keepOwner(target string, file *os.File) error {
	old, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := file.Stat()
	if err != nil {
		return err
	}
	uid, gid := owner(old)
	if u, g := owner(now); u == uid && g == gid {
		return nil
	}
	if err := file.Chown(uid, gid); err != nil {
		return fmt.Errorf("keep the owner of %s: %w", target, err)
	}
	return nil
}

func owner(info fs.FileInfo) (uid, gid int) {
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid)
}
