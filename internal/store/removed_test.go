package store_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A store whose directory was taken away under it writes where nobody will find it
// again, without an error from the engine.
func TestNotReadyWhenTheDirectoryIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("Ready: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready without a directory")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if err := other.Ready(t.Context()); err != nil {
		t.Errorf("Ready of the store that has the directory now: %v", err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready with another's directory")
	}
}
