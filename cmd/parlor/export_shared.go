package main

import (
	"context"
	"errors"

	"parlor/internal/store"
)

// openShared opens the store that several nodes share.
func openShared(context.Context, string) (*store.Store, error) {
	return nil, errors.New("--database-url: this build knows no shared store")
}
