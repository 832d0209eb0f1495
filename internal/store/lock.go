package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDirectory takes the directory for this process until the file is closed or the
// process dies, however it dies. The file itself stays behind and means nothing.
func lockDirectory(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("the data directory %s is in use by another Parlor server: stop that server, or give this one a data directory of its own", dir)
	}
	return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
}

// holdsDirectory returns nil while the directory that was locked is the one at its
// path. SQLite goes on writing to files that were removed, and says nothing.
func holdsDirectory(lock *os.File) error {
	there, err := os.Stat(lock.Name())
	if err != nil {
		return fmt.Errorf("the data directory was taken away while in use: %w", err)
	}
	ours, err := lock.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock of the data directory: %w", err)
	}
	if !os.SameFile(there, ours) {
		return fmt.Errorf("%s is not the file that was locked: the data directory was replaced while in use", lock.Name())
	}
	return nil
}
