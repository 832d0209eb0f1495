package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"parlor/internal/messaging"
)

const (
	// maxLineIn is how much of a line of standard input is read, in bytes. What is longer
	// is cut, and far too long for the server all the same.
	maxLineIn = 16 << 10

	// How often a line is sent again that came too soon for the room's rate or the
	// connection's, and how long between: as with files, which come all at once.
	rateTries = 60
	ratePause = 500 * time.Millisecond

	// leavePatience is how long a connection may take to end: more than its closing takes.
	leavePatience = 3 * time.Second
)

// pipe is a talk without a terminal of its own: lines in, lines out.
type pipe struct {
	talk
	stdout, stderr io.Writer
	json           bool // frames as they come, no text
	commands       bool // lines with a slash are commands
	count          int  // frames to print; 0 is all

	painter painter
	broken  error // of standard output
	printed int
	done    context.CancelCauseFunc
	ready   chan struct{} // has something when a connection is there
}

// errDone ends what has nothing more to do.
var errDone = errors.New("done")

// run is in the room until in ends and all its lines have been answered. Without in it
// listens until ctx ends.
func (p *pipe) run(ctx context.Context, in io.Reader) error {
	asked := ctx
	ctx, p.done = context.WithCancelCause(ctx)
	defer p.done(nil)
	p.ready = make(chan struct{}, 1)
	if !p.json {
		p.painter = newPainter(isTerminal(p.stdout))
	}
	p.client = p.seat.client(p.frame, p.state)
	ended := make(chan error, 1)
	go func() {
		err := p.stay(ctx, p.client)
		p.done(errDone) // nothing more can be sent
		ended <- err
	}()
	var refused error
	if in != nil {
		refused = p.send(ctx, in)
		p.done(errDone)
	}
	select {
	case err := <-ended:
		if err != nil {
			return err
		}
	case <-late(asked):
		return nil
	}
	if p.broken != nil {
		return fmt.Errorf("write to standard output: %w", p.broken)
	}
	return refused
}

// late is told when ctx has been over for a while. Writing to standard output cannot be
// interrupted when nobody reads it: who asked for the end does not wait for that.
func late(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(leavePatience, func() { close(over) }) })
	return over
}

// state tells a person how the connection is.
func (p *pipe) state(now messaging.State) {
	switch {
	case now.Connected:
		fmt.Fprintf(p.stderr, "connected to %s as %s\n", p.room, clean(p.user))
		select {
		case p.ready <- struct{}{}:
		default:
		}
	case now.Retry > 0:
		fmt.Fprintf(p.stderr, "not connected, trying again: %s\n", clean(now.Err.Error()))
	}
}

func (p *pipe) frame(f messaging.Frame) {
	if p.broken != nil || p.count > 0 && p.printed == p.count {
		return
	}
	var text string
	if p.json {
		text = jsonLine(f.Raw, isTerminal(p.stdout))
	} else {
		e, ok := p.history.shown(f, p.user)
		if !ok {
			return
		}
		text = p.painter.lines(e, 0)[0]
	}
	if p.broken = printLine(p.stdout, text); p.broken != nil {
		p.done(errDone)
	}
	if p.printed++; p.printed == p.count {
		p.done(errDone)
	}
}

// send sends the lines of in, one after another, until they end or ctx does.
func (p *pipe) send(ctx context.Context, in io.Reader) error {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return nil
	}
	lines, failed := readLines(ctx, in)
	refused := 0
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return countRefused(refused)
		case line, more := <-lines:
			if !more {
				if err := <-failed; err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				return countRefused(refused)
			}
			quit, err := p.take(ctx, strings.TrimRight(line, "\r"))
			if err != nil && ctx.Err() == nil {
				fmt.Fprintf(p.stderr, "line %d: %s\n", n, err)
				refused++
			}
			if quit {
				return countRefused(refused)
			}
		}
	}
}

// take does what a line says. An error is a sentence for who wrote it.
func (p *pipe) take(ctx context.Context, line string) (quit bool, err error) {
	if strings.TrimSpace(line) == "" {
		return false, nil
	}
	o := p.message(line)
	if p.commands {
		if o, err = p.order(line); err != nil {
			return false, errors.New(sentence(err))
		}
	}
	switch {
	case o.quit:
		return true, nil
	case o.help:
		fmt.Fprintln(p.stderr, strings.Join(helpLines(), "\n"))
		return false, nil
	}
	if err := p.carryOut(ctx, o); err != nil {
		return false, errors.New(sorry(err))
	}
	return false, nil
}

func countRefused(n int) error {
	switch n {
	case 0:
		return nil
	case 1:
		return errors.New("a line was refused")
	}
	return fmt.Errorf("%d lines were refused", n)
}

// carryOut does what a line asks for. It waits for a connection, and when it is too
// early for the rate that is allowed.
func (p *pipe) carryOut(ctx context.Context, o order) error {
	for tries := 1; ; {
		err := o.carryOut(ctx)
		e, answered := errors.AsType[*messaging.Error](err)
		switch {
		case errors.Is(err, messaging.ErrNotConnected):
			select {
			case <-p.ready:
			case <-ctx.Done():
				return err
			}
		case answered && e.Code == http.StatusTooManyRequests && tries < rateTries:
			tries++
			select {
			case <-time.After(ratePause):
			case <-ctx.Done():
				return err
			}
		default:
			return err
		}
	}
}

// readLines reads lines as they are asked for. Reading standard input cannot be
// interrupted: the goroutine ends with it, or with the process.
func readLines(ctx context.Context, in io.Reader) (<-chan string, <-chan error) {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		r := bufio.NewReaderSize(in, maxLineIn)
		for {
			line, cut, err := r.ReadLine()
			if err == io.EOF {
				failed <- nil
				return
			}
			if err != nil {
				failed <- err
				return
			}
			text := string(line)
			for cut && err == nil { // an error comes again
				_, cut, err = r.ReadLine()
			}
			select {
			case lines <- text:
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
	}()
	return lines, failed
}

// jsonLine is a frame in one line: as it came, but for line ends within it. On a
// terminal what it could take for a command is escaped, which is the same JSON.
func jsonLine(raw []byte, terminal bool) string {
	if !json.Valid(raw) {
		raw, _ = json.Marshal(string(raw)) // what comes is shown, whatever it is
	}
	if bytes.ContainsAny(raw, "\r\n") {
		var b bytes.Buffer
		json.Compact(&b, raw)
		raw = b.Bytes()
	}
	if !terminal {
		return string(raw)
	}
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
