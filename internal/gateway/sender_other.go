//go:build !linux

package gateway

import "errors"

func newAIO(int) (sender, error) { return nil, errors.ErrUnsupported }
