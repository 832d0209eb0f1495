package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// outputFlag says how a verb prints what a script may want to read. A verb that embeds
// it sets the variables outputs, the forms it has, and output, the one it has unless
// another is asked for.
type outputFlag struct {
	Output string `name:"output" short:"o" enum:"${outputs}" default:"${output}" placeholder:"FORM" help:"How it is printed: ${enum}."`
}

// The forms that more than one verb has.
const (
	outputJSON  = "json"
	outputTable = "table"
)

// printJSON writes JSON for people and programs. What a terminal could take for a
// command, or would not show, is escaped.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	// All that is left of it is in strings: the encoder itself writes spaces and line ends.
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// printable is text that a terminal shows as it is and takes for nothing else: what is
// not to be seen is written as Go would.
func printable(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	quoted := strconv.Quote(text)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}

// printableLines is printable for text of several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(printable(strings.ReplaceAll(line, "\t", "    ")), `\r`, "")
	}
	return strings.Join(lines, "\n")
}

// table is text in columns.
type table struct {
	w   *tabwriter.Writer
	err error // the first that writing had
}

// newTable returns a table with its headings, if it has any.
func newTable(w io.Writer, headings ...string) *table {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(headings) > 0 {
		t.row(headings...)
	}
	return t
}

// row adds a row.
func (t *table) row(cells ...string) {
	shown := make([]string, len(cells))
	for i, cell := range cells {
		shown[i] = printable(cell)
	}
	if _, err := io.WriteString(t.w, strings.Join(shown, "\t")+"\n"); t.err == nil {
		t.err = err
	}
}

// end writes what is not written yet.
func (t *table) end() error {
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
	return t.err
}

// or is a text, or what stands for none.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// ago is how long ago something was, in one unit.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}
