package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Who waits for lines hears of their end also when nobody wants them any more.
func TestReadLinesInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lines, failed := readLines(ctx, strings.NewReader("one\ntwo\n"))
	for range 2 { // the reader may not have looked at ctx yet
		select {
		case <-lines:
		case <-time.After(patience):
			t.Fatal("the lines do not end")
		}
	}
	for range lines {
	}
	select {
	case err := <-failed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nothing is said of how the lines ended")
	}
}
