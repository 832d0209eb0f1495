package store

import (
	"context"
	"fmt"
)

// Clear removes all rooms, logging configurations, token keys and marks of used tokens, in
// one transaction. It is for development: nothing of it comes back.
func (s *Store) Clear(ctx context.Context) error {
	return s.engine.write(ctx, func(q *session) error {
		for _, text := range sqlClear {
			if _, err := q.exec(text); err != nil {
				return fmt.Errorf("empty the store: %w", err)
			}
		}
		return nil
	})
}
