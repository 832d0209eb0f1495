package chatlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"parlor/internal/chat"
)

// Adoption takes over the spools of a node that never returns. They become directories
// of their own beside the spools of this node, in adoptedDir: nothing is ever appended
// to them, and the records in them keep the order and the marks that they had. A
// recorder that runs looks there from time to time (adopted.go).
//
// A spool is in one of the two places whole, or, while it is copied to another file
// system, in both: what is copied is removed only after the copy has its name and is on
// disk. So a killed adoption, done again, loses nothing; it may leave the same records,
// with the same Ids, in two spools.

// adoptedDir is where the spools that were taken over are, beside the directory of a
// recorder's own. (Not below: an earlier version would take it for a spool.)
func adoptedDir(dir string) string { return filepath.Clean(dir) + "-adopted" }

const (
	storeLock  = "parlor.lock" // that of the embedded store, in the data directory
	unfinished = ".new-"       // begins the name of a copy that is under way
)

// Adopt takes over all spools of another node into dir, the directory of a recorder,
// which may be running. from is the other node's data directory, or the directory of
// its spools. What is taken over is returned, also beside an error: that joins those of
// the spools that stay where they are. If a live process has from, it is [ErrInUse] and
// nothing is done.
func Adopt(from, dir string) ([]Backlog, error) {
	a := &adoption{rename: os.Rename, step: func() {}}
	return a.run(from, dir)
}

// adoption is one call of Adopt.
type adoption struct {
	rename func(from, to string) error
	step   func() // is called between what is done; tests end it there
}

func (a *adoption) run(from, dir string) (taken []Backlog, err error) {
	source, err := spoolsOf(from)
	if err != nil {
		return nil, err
	}
	if same(source, dir) {
		return nil, fmt.Errorf("%s has the spools of this node itself", from)
	}
	// A node may be without an embedded store, or have only what it adopted itself.
	for _, name := range []string{filepath.Join(filepath.Dir(source), storeLock), source} {
		lock, err := lockSpools(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer lock.Close()
	}
	into := adoptedDir(dir)
	if err := os.MkdirAll(into, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of adopted spools: %w", err)
	}
	lock, err := lockSpools(into) // one adoption at a time; no recorder asks for it
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := errors.Join(removeUnfinished(into), syncDirectory(filepath.Dir(into))); err != nil {
		return nil, err
	}
	var faults error
	for _, place := range []string{source, adoptedDir(source)} {
		entries, err := os.ReadDir(place)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = errors.Join(faults, err)
		}
		for _, e := range entries {
			if !e.IsDir() || strings.HasPrefix(e.Name(), unfinished) {
				continue // what an adoption has not finished is at its source still
			}
			b, err := a.take(filepath.Join(place, e.Name()), into)
			if err != nil {
				faults = errors.Join(faults, fmt.Errorf("%s stays where it is: %w", filepath.Join(place, e.Name()), err))
			} else if b != nil {
				taken = append(taken, *b)
			}
		}
	}
	return taken, faults
}

// spoolsOf finds the directory of the spools in what an operator names.
func spoolsOf(from string) (string, error) {
	from, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	there := func(dir string) bool { info, err := os.Stat(dir); return err == nil && info.IsDir() }
	for _, dir := range []string{filepath.Join(from, "chatlog"), from} {
		if there(dir) && (dir != from || filepath.Base(from) == "chatlog") || there(adoptedDir(dir)) {
			return dir, nil
		}
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	for _, e := range entries { // under another name
		if _, err := os.Stat(filepath.Join(from, e.Name(), destinationFile)); err == nil {
			return from, nil
		}
	}
	return "", fmt.Errorf("%s is neither the data directory of a server nor the chatlog directory in one", from)
}

func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func removeUnfinished(into string) error {
	left, err := filepath.Glob(filepath.Join(into, unfinished+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// take moves one spool. It is nil if there is nothing in it.
func (a *adoption) take(dir, into string) (*Backlog, error) {
	files, err := spoolFiles(dir)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(files, isSegment) {
		return nil, os.RemoveAll(dir)
	}
	to, err := readDestination(dir)
	if err != nil {
		return nil, err
	}
	arn, err := chat.ParseARN(to.Configuration)
	if err != nil {
		return nil, fmt.Errorf("a spool of %q: %w", to.Configuration, err)
	}
	// A name that no spool ever had.
	final := filepath.Join(into, spoolName(to, arn.ID)+"-"+rand.Text()[:12])
	a.step()
	err = a.rename(dir, final)
	a.step()
	switch {
	case errors.Is(err, syscall.EXDEV):
		err = a.copy(dir, into, final, files)
	case err == nil:
		err = errors.Join(syncDirectory(into), syncDirectory(filepath.Dir(dir)))
	}
	if err != nil {
		return nil, err
	}
	b, err := backlog(final, math.MaxInt64)
	if errors.Is(err, fs.ErrNotExist) { // a running server has shipped it
		return &Backlog{Spool: final, Configuration: to.Configuration, Kind: string(to.Kind), Name: to.Name, Adopted: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("it was adopted as %s, which cannot be read: %w", final, err)
	}
	b.Adopted = true
	return &b, nil
}

// copy is what rename is within a file system.
func (a *adoption) copy(dir, into, final string, files []string) error {
	whole, err := os.MkdirTemp(into, unfinished)
	if err != nil {
		return err
	}
	a.step()
	for _, name := range files {
		if err == nil {
			err = copyFile(filepath.Join(whole, name), filepath.Join(dir, name))
		}
		a.step()
	}
	if err == nil {
		err = syncDirectory(whole)
	}
	if err == nil {
		err = os.Rename(whole, final)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copy it: %w", err), os.RemoveAll(whole))
	}
	a.step()
	if err := syncDirectory(into); err != nil {
		return err
	}
	// From its oldest segment on, so that no mark outlives its intent, and last what says
	// what the spool is: what is left is a spool at each moment.
	for _, name := range files {
		a.step()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("it was copied to %s, and cannot be removed here: %w", final, err)
		}
	}
	a.step()
	return os.RemoveAll(dir)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// spoolFiles are the names of a spool's files, in the order in which they may go:
// segments, oldest first, then the cursor, then the destination.
func spoolFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries { // by name: segments have as many digits
		if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), ".new") {
			files = append(files, e.Name())
		}
	}
	rank := func(name string) int {
		switch {
		case name == destinationFile:
			return 2
		case !isSegment(name):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(files, func(a, b string) int { return rank(a) - rank(b) })
	return files, nil
}

const unreadSuffix = ".unread" // see spool.setAside

func isSegment(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(name, unreadSuffix), ".seg")
}

// unreadOf counts the segments that were set aside, and their bytes.
func unreadOf(dir string) (count int, bytes int64) {
	entries, _ := os.ReadDir(dir) // what cannot be listed has none to show
	for _, e := range entries {
		if info, err := e.Info(); err == nil && isSegment(e.Name()) && strings.HasSuffix(e.Name(), unreadSuffix) {
			count++
			bytes += info.Size()
		}
	}
	return count, bytes
}
