package config

import (
	"runtime"
	"strings"
	"testing"
)

// What the parser needs grows with the square of the depth: a file of 400 kB took more
// memory than there is.
func TestDocumentDepth(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"as deep as may be":  {strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), true},
		"one deeper":         {strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), false},
		"mappings":           {strings.Repeat("{a: ", 20_000) + strings.Repeat("}", 20_000), false},
		"many, side by side": {"a: [" + strings.Repeat("[],", 500) + "[]]", true},
		"in a string":        {`a: "` + strings.Repeat("[", 500) + `"`, true},
		"never closed":       {"rooms: " + strings.Repeat("[", 200_000), false},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, faults := Document([]byte(c.text))
		runtime.ReadMemStats(&after)
		if (len(faults) == 0) != c.good {
			t.Errorf("%s: got %.200v", name, faults)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
			t.Errorf("%s: took %d MB", name, used>>20)
		}
	}
}
