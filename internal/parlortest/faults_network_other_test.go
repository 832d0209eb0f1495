//go:build !linux

package parlortest_test

import "testing"

// network is what only Linux has: a network of a node's own.
type network struct {
	name       string
	pull, plug func()
}

func newNetwork(*testing.T) *network { return nil }

func (*network) move(*testing.T, *rigNode, string, string) {}
