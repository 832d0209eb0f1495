package chatlog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrInUse is why spools are left alone: a live process has them.
var ErrInUse = errors.New("in use by another process")

// lockSpools takes a directory of spools for this process until the file is closed or
// the process dies. Another one would ship, and remove, what this one is writing.
func lockSpools(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock the chat log's spools: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("the chat log's spools in %s are %w", dir, ErrInUse)
	}
	return nil, fmt.Errorf("lock the chat log's spools in %s: %w", dir, err)
}
