package store_test

import (
	"testing"

	"parlor/internal/chat"
	"parlor/internal/store"
	"parlor/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) chat.Store { return open(t, t.TempDir()) })
}

// open opens the store in dir until the test ends.
func open(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatalf("OpenSQLite: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}
