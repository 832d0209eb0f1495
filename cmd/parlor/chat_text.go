package main

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"parlor/internal/messaging"
)

const (
	joiner = '\u200d' // makes one emoji of several

	maxMarks     = 4  // combining marks on one letter: more run into the lines around
	maxNameWidth = 24 // columns of a user's name
	narrow       = 60 // columns, below which the time has no seconds
	minText      = 10 // columns of a text, however narrow the terminal is
)

// clean is the text of another as it may go to a terminal: in one line, and without
// anything that a terminal could take for a command or that would change how the rest
// of the line reads. What is taken out leaves a mark.
func clean(text string) string {
	var b strings.Builder
	marks := 0
	for _, r := range text { // what is not UTF-8 is U+FFFD
		if unicode.In(r, unicode.Mn, unicode.Me) || r == joiner {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029' || r == '\u0085':
			b.WriteString("↵ ")
		case r == '\r':
		case r == '\t' || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case unicode.IsPrint(r) || r == joiner:
			b.WriteRune(r)
		default: // controls, and what turns the direction of text or has no width
			b.WriteRune(unicode.ReplacementChar)
		}
	}
	return b.String()
}

// cut is text of at most so many columns.
func cut(text string, width int) string {
	if lipgloss.Width(text) <= width {
		return text
	}
	cut := []rune(text)
	for len(cut) > 0 && lipgloss.Width(string(cut))+1 > width {
		cut = cut[:len(cut)-1]
	}
	return string(cut) + "…"
}

// kind is what a line tells. Each has a mark of its own in front, so that nothing is
// told by colour alone.
type kind string

const (
	theirs  kind = " "
	own     kind = "»"
	event   kind = "•"
	removed kind = "×"
	trouble kind = "!"
	note    kind = "-"
)

// entry is one thing that is shown.
type entry struct {
	kind   kind
	at     time.Time // zero: none is shown
	number int       // of a message
	who    string    // clean, as all text of an entry
	text   string
	extra  string // attributes
}

// painter writes entries as lines.
type painter struct {
	colours []string // of users, as the terminal names them; nil is none at all
}

// Colours that can be read on black and on white: none is near to either.
var (
	colours256 = []string{"38;5;27", "38;5;29", "38;5;31", "38;5;61", "38;5;64", "38;5;67", "38;5;97", "38;5;99", "38;5;127", "38;5;130", "38;5;133", "38;5;160", "38;5;162", "38;5;166"}
	colours16  = []string{"31", "32", "34", "35", "36"}
)

// newPainter returns one for a terminal as the environment tells of it, or for none.
func newPainter(terminal bool) painter {
	term := os.Getenv("TERM")
	switch {
	case !terminal || os.Getenv("NO_COLOR") != "" || term == "dumb":
		return painter{}
	case strings.Contains(term, "256color") || os.Getenv("COLORTERM") != "":
		return painter{colours: colours256}
	}
	return painter{colours: colours16}
}

func (p painter) paint(code, text string) string {
	if p.colours == nil || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[m"
}

const (
	faint    = "2"
	bold     = "1"
	warning  = "31"
	emphasis = "3" // italic
)

// colourOf is a user's own, the same everywhere.
func (p painter) colourOf(user string) string {
	if p.colours == nil {
		return ""
	}
	h := fnv.New32a()
	h.Write([]byte(user))
	return p.colours[h.Sum32()%uint32(len(p.colours))]
}

// lines are an entry's, none longer than so many columns; 0 is one line of any length.
func (p painter) lines(e entry, width int) []string {
	head, painted := string(e.kind)+" ", string(e.kind)+" "
	if e.kind == trouble {
		painted = p.paint(warning, string(e.kind)) + " "
	}
	if !e.at.IsZero() {
		form := "15:04:05 "
		if width > 0 && width < narrow {
			form = "15:04 "
		}
		at := e.at.Local().Format(form)
		head += at
		painted += p.paint(faint, at)
	}
	indent := len([]rune(head))
	if e.number > 0 {
		n := fmt.Sprintf("#%d ", e.number)
		head += n
		painted += p.paint(faint, n)
	}
	if e.who != "" {
		who := cut(e.who, maxNameWidth)
		head += who + ": "
		painted += p.paint(bold+";"+p.colourOf(e.who), who) + ": "
	}
	text := e.text
	if e.extra != "" {
		text += " " + e.extra
	}
	if width <= 0 {
		return []string{painted + p.body(e, text)}
	}
	room := max(width-indent, minText)
	broken := wrapped(text, width-lipgloss.Width(head), room)
	lines := make([]string, len(broken))
	for i, line := range broken {
		if i == 0 {
			lines[i] = painted + p.body(e, line)
			continue
		}
		lines[i] = strings.Repeat(" ", indent) + p.body(e, line)
	}
	return lines
}

// wrapped breaks text into lines of at most so many columns, the first shorter than the
// others: between words, and within those that are longer than a line.
func wrapped(text string, first, width int) []string {
	var lines []string
	line, room := "", first
	end := func() {
		lines = append(lines, line)
		line, room = "", width
	}
	for i, word := range strings.Split(text, " ") {
		if i > 0 {
			if lipgloss.Width(line)+1+lipgloss.Width(word) <= room {
				line += " " + word
				continue
			}
			if line != "" || len(lines) == 0 {
				end()
			}
		} else if lipgloss.Width(word) > room && lipgloss.Width(word) <= width {
			end()
		}
		for lipgloss.Width(word) > room {
			n := 0
			for j := range word { // as many letters as there is room for
				if j > 0 && lipgloss.Width(word[:j]) > room {
					break
				}
				n = j
			}
			if n == 0 {
				if line == "" && len(lines) > 0 {
					break // not one letter
				}
				end()
				continue
			}
			line, word = word[:n], word[n:]
			end()
		}
		line = word
	}
	return append(lines, line)
}

// body is a piece of an entry's text.
func (p painter) body(e entry, text string) string {
	switch e.kind {
	case trouble:
		return p.paint(warning, text)
	case event, removed:
		return p.paint(emphasis, text)
	case note:
		return p.paint(faint, text)
	}
	return text
}

// attributes are shown as name=value, in the order of the names.
func attributes(m map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, clean(k)+"="+clean(m[k]))
	}
	return strings.Join(pairs, " ")
}

// shown is a frame as an entry, in a talk of which self is a user. ERROR frames are not
// shown here: who asked has their answer, and the end of a session is for the state of the
// connection to say.
func (h *history) shown(f messaging.Frame, self string) (entry, bool) {
	e := entry{kind: event, at: f.SendTime}
	switch {
	case f.Type == messaging.TypeMessage:
		e.kind, e.who, e.text = theirs, clean(f.Sender.UserID), clean(f.Content)
		if f.Sender.UserID == self {
			e.kind = own
		}
		e.number = h.add(f.ID, e.who)
		if len(f.Attributes) > 0 {
			e.extra = "(" + attributes(f.Attributes) + ")"
		}
	case f.EventName == messaging.EventDeleteMessage:
		e.kind = removed
		e.text = fmt.Sprintf("message %s was deleted", h.name(f.DeletedMessage())) + because(f.Attributes["Reason"])
	case f.EventName == messaging.EventDisconnectUser:
		e.text = clean(f.Attributes["UserId"]) + " was disconnected" + because(f.Attributes["Reason"])
	case f.Type == messaging.TypeEvent:
		e.text, e.extra = clean(f.EventName), attributes(f.Attributes)
	case f.Type == messaging.TypeError && f.RequestID == "" && f.ErrorCode != http.StatusUnauthorized:
		e.kind, e.at, e.text = trouble, time.Now(), fmt.Sprintf("%s (%d)", clean(f.ErrorMessage), f.ErrorCode)
	default:
		return entry{}, false
	}
	return e, true
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + clean(reason)
}
