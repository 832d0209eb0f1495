//go:build !linux

package gateway

import "context"

// lot is for Linux; elsewhere every session has a goroutine.
type lot struct{}

func newLot() lot { return lot{} }

func (*lot) run(context.Context) error { return nil }
func (*lot) park(*session) bool        { return false }
func (*lot) take(*session) bool        { return false }
