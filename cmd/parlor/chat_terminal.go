package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"parlor/internal/messaging"
)

const (
	maxPast = 100 // lines that can be called back

	// settle is how long nothing is printed after the terminal has another size: until
	// the program has drawn what is below, it takes the whole screen for its own, and
	// would push away what others left there.
	settle = 60 * time.Millisecond
)

// terminal is a talk on a terminal. What is said is printed above, into the terminal's
// own history; below are a line that says how the connection is and the one that is
// written. It is owned by the program that shows it.
type terminal struct {
	talk
	ctx     context.Context // of what is asked for
	painter painter
	input   textinput.Model
	width   int // of the terminal, in columns; 0 is not known yet
	height  int
	state   messaging.State

	unshown []entry // to be printed
	showing bool    // some are being printed
	resized int     // how often, and not settled yet

	past []string // lines written before, the oldest first
	at   int      // which of them is shown; len(past) is none
	kept string   // what was being written before one was

	greeted bool // there was a connection
	leaving bool
}

// What the program is told.
type (
	frameCame messaging.Frame
	stateCame messaging.State
	orderDone struct{ err error }
	shownAll  struct{}
	settled   struct{}
	left      struct{}
)

// talkOnTerminal talks on standard input and output until the person or the room has had
// enough.
func talkOnTerminal(ctx context.Context, s *seat) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal is given back
	defer cancel()
	t := &terminal{talk: talk{seat: s}, ctx: ctx, painter: newPainter(true), input: newInput()}
	program := tea.NewProgram(t, tea.WithoutSignalHandler())
	t.client = s.client(
		func(f messaging.Frame) { program.Send(frameCame(f)) },
		func(now messaging.State) { program.Send(stateCame(now)) })
	ended := make(chan error, 1)
	go func() {
		err := s.stay(ctx, t.client)
		program.Send(left{})
		ended <- err
	}()
	_, err := program.Run()
	cancel()
	return errors.Join(err, <-ended)
}

func newInput() textinput.Model {
	input := textinput.New()
	input.Prompt = "> "
	styles := input.Styles()
	styles.Focused.Prompt, styles.Blurred.Prompt = lipgloss.NewStyle(), lipgloss.NewStyle()
	styles.Cursor.Blink, styles.Cursor.Color = false, nil
	input.SetStyles(styles)
	input.KeyMap.Paste.SetEnabled(false) // it would run programs; terminals paste themselves
	input.Focus()
	return input
}

// Init implements [tea.Model].
func (t *terminal) Init() tea.Cmd { return nil }

// Update implements [tea.Model].
func (t *terminal) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var then tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
		t.widen(max(1, t.columns()-lipgloss.Width(t.input.Prompt)-1))
		t.resized++
		then = tea.Tick(settle, func(time.Time) tea.Msg { return settled{} })
	case tea.KeyPressMsg:
		then = t.key(msg)
	case tea.PasteMsg:
		t.input, then = t.input.Update(msg)
	case frameCame:
		if e, ok := t.history.shown(messaging.Frame(msg), t.user); ok {
			t.show(e)
		}
	case stateCame:
		t.changed(messaging.State(msg))
	case orderDone:
		if msg.err != nil && t.ctx.Err() == nil {
			t.show(entry{kind: trouble, at: time.Now(), text: sorry(msg.err)})
		}
	case shownAll:
		t.showing = false
	case settled:
		t.resized--
	case left:
		t.leaving = true
	}
	return t, tea.Batch(then, t.print())
}

// columns is how wide lines are: the last column stays free, since terminals differ in
// what they do when it is written to.
func (t *terminal) columns() int { return max(1, t.width-1) }

// widen gives the line that is written another width. The cursor stays in sight: the
// input looks for what there is room for when its text changes, not when its width does.
func (t *terminal) widen(width int) {
	text, at := t.input.Value(), t.input.Position()
	t.input.SetWidth(width)
	t.input.SetValue("")
	t.input.SetValue(text)
	t.input.SetCursor(at)
}

// key is what a key does that is more than writing.
func (t *terminal) key(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "ctrl+c":
		t.leaving = true
		return nil
	case "ctrl+d":
		if t.input.Value() == "" {
			t.leaving = true
			return nil
		}
	case "ctrl+z":
		return tea.Suspend
	case "up", "ctrl+p":
		t.recall(-1)
		return nil
	case "down", "ctrl+n":
		t.recall(+1)
		return nil
	case "enter":
		return t.enter()
	}
	var then tea.Cmd
	t.input, then = t.input.Update(k)
	return then
}

// recall shows the line before the one that is shown, or that after it.
func (t *terminal) recall(step int) {
	to := t.at + step
	if to < 0 || to > len(t.past) {
		return
	}
	if t.at == len(t.past) {
		t.kept = t.input.Value()
	}
	if t.at = to; to == len(t.past) {
		t.input.SetValue(t.kept)
	} else {
		t.input.SetValue(t.past[to])
	}
	t.input.CursorEnd()
}

// enter does what the line says.
func (t *terminal) enter() tea.Cmd {
	line := t.input.Value()
	if strings.TrimSpace(line) == "" {
		return nil
	}
	t.input.Reset()
	if len(t.past) == 0 || t.past[len(t.past)-1] != line {
		t.past = append(t.past, line)
		t.past = slices.Delete(t.past, 0, max(0, len(t.past)-maxPast))
	}
	t.at = len(t.past)
	o, err := t.order(line)
	switch {
	case err != nil:
		t.show(entry{kind: trouble, text: sentence(err)})
	case o.quit:
		t.leaving = true
	case o.help:
		for _, line := range helpLines() {
			t.show(entry{kind: note, text: line})
		}
	default:
		return func() tea.Msg { return orderDone{o.carryOut(t.ctx)} }
	}
	return nil
}

// changed shows how the connection is now.
func (t *terminal) changed(now messaging.State) {
	was := t.state
	t.state = now
	switch {
	case now.Connected && !t.greeted:
		t.greeted = true
		t.show(entry{kind: note, text: fmt.Sprintf("You are in %s as %s. /help lists the commands, Ctrl-C leaves.", t.room, clean(t.user))})
	case now.Connected:
		t.show(entry{kind: note, at: time.Now(), text: "Connected again. What was said meanwhile is not shown."})
	case was.Connected:
		t.show(entry{kind: trouble, at: time.Now(), text: sentence(now.Err) + " Trying again."})
	}
}

// show has an entry printed.
func (t *terminal) show(e entry) {
	t.unshown = append(t.unshown, e)
}

// print prints what is to be printed, in order: commands of a program are not carried
// out one after another unless they are one.
func (t *terminal) print() tea.Cmd {
	if t.showing || t.resized > 0 || t.width == 0 {
		return nil
	}
	if len(t.unshown) == 0 {
		if t.leaving {
			return tea.Quit
		}
		return nil
	}
	t.showing = true
	var all []string
	for _, e := range t.unshown {
		all = append(all, t.painter.lines(e, t.columns())...)
	}
	var steps []tea.Cmd
	for lines := range slices.Chunk(all, max(1, t.height-2)) {
		steps = append(steps, tea.Println(strings.Join(lines, "\n")))
	}
	t.unshown = nil
	return tea.Sequence(append(steps, func() tea.Msg { return shownAll{} })...)
}

// View implements [tea.Model]. Nothing is left of it when the program ends.
func (t *terminal) View() tea.View {
	if t.leaving && len(t.unshown) == 0 && !t.showing || t.width == 0 {
		return tea.NewView("")
	}
	return tea.NewView(t.painter.paint(faint, cut(t.status(), t.columns()-1)) + "\n" + t.input.View())
}

// status says how the connection is.
func (t *terminal) status() string {
	where := t.room + " · " + cut(clean(t.user), maxNameWidth)
	switch {
	case t.state.Connected && len(t.capabilities) == 0:
		return where + " · watching only"
	case t.state.Connected:
		return where + " · connected"
	case t.state.Err == nil:
		return where + " · connecting…"
	}
	return where + " · reconnecting… " + clean(t.state.Err.Error())
}

var _ tea.Model = (*terminal)(nil)
