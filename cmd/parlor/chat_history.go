package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// maxKept is how many messages can be named by their number.
const maxKept = 500

// history is the latest messages of a talk, numbered from 1 as they came.
type history struct {
	mu   sync.Mutex
	last int      // number of the latest
	kept []saying // the oldest first
}

// saying is what is kept of a message.
type saying struct {
	number int
	id     string
	who    string // clean
}

// add keeps a message, and returns its number.
func (h *history) add(id, who string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	if len(h.kept) == maxKept {
		h.kept = append(h.kept[:0], h.kept[1:]...)
	}
	h.kept = append(h.kept, saying{h.last, id, who})
	return h.last
}

// id is the id of a message that a person named: by its number, or by its id.
func (h *history) id(named string) (string, error) {
	digits, marked := strings.CutPrefix(named, "#")
	n, err := strconv.Atoi(digits)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.kept {
		if err == nil && s.number == n || s.id == named {
			return s.id, nil
		}
	}
	if err == nil && len(digits) < 12 || marked { // else it is an id of digits
		return "", fmt.Errorf("there is no message %s among the last %d", clean(named), maxKept)
	}
	return named, nil
}

// name is how a message is called that has this id.
func (h *history) name(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.kept {
		if s.id == id {
			return fmt.Sprintf("#%d by %s", s.number, s.who)
		}
	}
	return clean(id)
}
