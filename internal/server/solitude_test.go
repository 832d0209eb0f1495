package server

import (
	"testing"
	"time"
)

// A node is alone when it has no broker and others do, for a while: not when all had none
// and the others were the first to have it back.
func TestSolitude(t *testing.T) {
	type look struct {
		seconds          int // from this on
		well, othersWell bool
	}
	for _, test := range []struct {
		name  string
		looks []look
		want  int // seconds; 0: never
	}{
		{"well", []look{{0, true, true}}, 0},
		{"alone", []look{{0, true, true}, {5, false, true}}, 16},
		{"for a moment", []look{{0, false, true}, {9, true, true}, {10, false, true}, {19, true, true}}, 0},
		{"all without a broker", []look{{0, true, true}, {5, false, false}}, 0},
		{"the last to have it back", []look{{0, true, true}, {5, false, true}, {7, false, false}, {30, false, true}, {33, true, true}}, 0},
		{"left behind when the others have it back", []look{{5, false, false}, {30, false, true}}, 41},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s solitude
			begun := time.Now()
			now, got := look{}, 0
			for second := range 60 {
				for _, l := range test.looks {
					if l.seconds == second {
						now = l
					}
				}
				if s.lasts(now.well, now.othersWell, begun.Add(time.Duration(second)*time.Second)) && got == 0 {
					got = second
				}
			}
			if got != test.want {
				t.Errorf("got %d s, want %d s", got, test.want)
			}
		})
	}
}
