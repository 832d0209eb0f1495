package main
import "time"

func writeResults(out string, measured []scenario, peers []*peer, outcomes []outcome, rounds int, duration time.Duration) error {
	return nil
}
