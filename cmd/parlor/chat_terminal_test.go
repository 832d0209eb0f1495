package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// screen is a terminal with the command in front of it.
type screen struct {
	t       *testing.T
	command *exec.Cmd
	tty     *os.File // ours
	inside  *os.File // the command's
	before  string   // its settings
	exited  chan error

	mu    sync.Mutex
	shown vt10x.Terminal
	raw   strings.Builder
	rest  []byte // came, and is not shown yet
}

// sit runs parlor on a terminal of that size.
func sit(t *testing.T, columns, rows int, env []string, args ...string) *screen {
	t.Helper()
	path, err := exec.LookPath("parlor")
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, command: exec.Command(path, args...), exited: make(chan error, 1), shown: vt10x.New(vt10x.WithSize(columns, rows))}
	s.command.Env = append([]string{"HOME=" + t.TempDir(), "TERM=xterm-256color", "TZ=UTC", "LANG=C.UTF-8"}, env...)
	// The terminal is kept open, so that it can be asked how it was left.
	s.tty, s.inside, err = pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(s.tty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		t.Fatal(err)
	}
	s.before = s.settings()
	s.command.Stdin, s.command.Stdout, s.command.Stderr = s.inside, s.inside, s.inside
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4<<10)
		for {
			n, err := s.tty.Read(b)
			s.mu.Lock()
			s.raw.Write(b[:n])
			s.write(b[:n])
			s.mu.Unlock()
			if err != nil { // EIO when nobody has it open
				return
			}
		}
	}()
	go func() { s.exited <- s.command.Wait() }()
	t.Cleanup(func() {
		s.command.Process.Kill()
		s.inside.Close()
		<-read
		s.tty.Close()
		if t.Failed() {
			t.Logf("the screen:\n%s", s.text())
		}
	})
	return s
}

// strange is what asks a terminal about its keyboard, which the emulator takes for
// "back to where the cursor was": it knows no private forms. partial is the beginning of
// what may become one.
var (
	strange = regexp.MustCompile(`\x1b\[[<>?=][0-9;]*[um]`)
	partial = regexp.MustCompile(`\x1b(\[[<>?=0-9;]*)?$`)
)

func (s *screen) write(b []byte) {
	b = append(s.rest, b...)
	end := len(b)
	if at := partial.FindIndex(b); at != nil {
		end = at[0]
	}
	s.shown.Write(strange.ReplaceAll(b[:end], nil))
	s.rest = slices.Clone(b[end:])
}

// text is what the screen shows.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(s.shown.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// written is all that the command wrote.
func (s *screen) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}

// sees waits until the screen shows what matches.
func (s *screen) sees(pattern string) {
	s.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	for deadline := time.Now().Add(patience); !re.MatchString(s.text()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the screen does not show %s:\n%s", pattern, s.text())
		}
	}
}

func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) resize(columns, rows int) {
	s.t.Helper()
	s.mu.Lock()
	s.shown.Resize(columns, rows)
	s.mu.Unlock()
	if err := pty.Setsize(s.tty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		s.t.Fatal(err)
	}
}

// settings are how the terminal treats what is typed and printed.
func (s *screen) settings() string {
	s.t.Helper()
	stty := exec.Command("stty", "-g")
	stty.Stdin = s.inside
	out, err := stty.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// ends waits for the command to exit, and returns its exit code. The terminal is to be
// as it was.
func (s *screen) ends() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("it does not end")
	}
	if after := s.settings(); after != s.before {
		s.t.Errorf("the terminal is left with the settings %s, and had %s", after, s.before)
	}
	visible := func() bool { // the last that it wrote may still be on its way
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.shown.CursorVisible()
	}
	for deadline := time.Now().Add(patience); !visible(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the cursor is left hidden")
		}
	}
	return s.command.ProcessState.ExitCode()
}

// look prints the screen, for who wants to see it.
func (s *screen) look(title string) {
	s.t.Helper()
	if testing.Verbose() {
		fmt.Printf("--- %s\n%s\n", title, s.text())
	}
}

// newLobby is a server with one room, and what its clients need to know.
func newLobby(t *testing.T, options ...func(*config.Config)) (s *parlortest.Server, client *ivschat.Client, room string, env []string) {
	t.Helper()
	s = parlortest.Start(t, options...)
	client = s.Client(t)
	name := "lobby"
	out, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	return s, client, *out.Arn, []string{
		"AWS_ENDPOINT_URL_IVSCHAT=" + s.URL, "AWS_ACCESS_KEY_ID=" + parlortest.Account, "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=" + parlortest.Region,
	}
}

const enter = "\r"

// Two people talk on terminals: what one writes both see, a message vanishes, an event
// comes, one is sent away, and both terminals are as they were.
func TestChatTerminal(t *testing.T) {
	_, _, _, env := newLobby(t)
	ann := sit(t, 80, 24, env, "chat", "--user", "ann")
	ann.sees(`^- You are in lobby as ann\.`)
	ann.sees(`^lobby · ann · connected$`)
	bob := sit(t, 40, 24, env, "chat", "--user", "bob", "--room", "lobby")
	bob.sees(`^lobby · bob · connected$`)

	bob.types("hello, ann" + enter)
	bob.sees(`^» \d\d:\d\d #1 bob: hello, ann$`)
	ann.sees(`^  \d\d:\d\d:\d\d #1 bob: hello, ann$`)
	ann.types("//shrug, and a longer line of words that a narrow terminal has to break somewhere" + enter)
	ann.sees(`^» \d\d:\d\d:\d\d #2 ann: /shrug, and a longer`)
	bob.sees(`^        [a-z ]+somewhere$`)

	bob.types("/delete 2" + enter)
	bob.sees(`^× \d\d:\d\d message #2 by ann was`)
	ann.sees(`^× \d\d:\d\d:\d\d message #2 by ann was deleted$`)
	ann.types(`/event stage:change scene=two title="The second"` + enter)
	ann.sees(`^• \d\d:\d\d:\d\d stage:change scene=two title=The second$`)
	ann.types("/dance" + enter)
	ann.sees(`^! There is no command /dance; /help lists`)
	ann.types("/help" + enter)
	ann.sees(`^- /kick USER \[REASON\] +disconnect a user`)
	ann.look("ann at 80 columns")

	ann.types("not sent\x1b[A\x1b[A\x1b[B\x1b[B") // up, and down again
	ann.sees(`^> not sent`)
	ann.types("\x15")  // Ctrl-U
	ann.resize(20, 24) // so narrow that it can be seen when it is known
	ann.sees(`^lobby · ann · con…$`)
	ann.resize(50, 24)
	ann.sees(`^lobby · ann · connected$`)
	ann.types("after the window became narrow, the line is broken earlier" + enter)
	ann.sees(`^» \d\d:\d\d #3 ann: after the window became`)
	ann.sees(`^lobby · ann · connected$`)
	bob.sees("#3 ann")

	ann.types("what is written stays where the cursor is")
	ann.resize(24, 24)
	ann.sees(`^> [a-z ]{1,20}cursor is$`)
	ann.resize(50, 24)
	ann.sees(`^> what is written stays where the cursor is`)
	ann.types("\x15") // Ctrl-U
	ann.sees(`^>$`)
	bob.look("bob at 40 columns")

	ann.types("/kick bob enough is enough" + enter)
	if code := bob.ends(); code != exitFailure {
		t.Errorf("bob: exit code %d", code)
	}
	bob.sees(`^parlor: bob was disconnected from lobby`)
	bob.look("bob, sent away")
	ann.sees(`^• \d\d:\d\d bob was disconnected: enough is`)
	ann.types("\x03")
	if code := ann.ends(); code != 0 {
		t.Errorf("ann: exit code %d", code)
	}
	ann.look("ann, gone")
	if strings.Contains(ann.text(), "\n>") || strings.Contains(ann.text(), "· connected") {
		t.Errorf("something of the input is left:\n%s", ann.text())
	}
}

// A server that goes away is said to, what is written meanwhile is refused, and when it
// is back the talk goes on. A deleted room is the end.
func TestChatTerminalReconnects(t *testing.T) {
	dir, listen := t.TempDir(), "127.0.0.1:0"
	same := func(c *config.Config) { c.Data, c.Listen, c.DrainWindow = dir, listen, 0 }
	s, client, room, env := newLobby(t, same)
	listen = strings.TrimPrefix(s.URL, "http://")
	ann := sit(t, 80, 24, env, "chat", "--user", "ann")
	ann.sees(`^lobby · ann · connected$`)
	s.Stop()
	ann.sees(`^! \d\d:\d\d:\d\d The connection broke: .* Trying again\.$`)
	ann.sees(`^lobby · ann · reconnecting… `)
	ann.types("lost" + enter)
	ann.sees(`^! \d\d:\d\d:\d\d Not sent: there is no connection now\. Try again when there is\.$`)
	ann.look("ann, without a server")
	parlortest.Start(t, same)
	ann.sees(`^- \d\d:\d\d:\d\d Connected again\. What was said meanwhile is not shown\.$`)
	ann.types("\x1b[A" + enter) // the line that was refused
	ann.sees(`^» \d\d:\d\d:\d\d #1 ann: lost$`)
	if _, err := client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &room}); err != nil {
		t.Fatal(err)
	}
	if code := ann.ends(); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	ann.sees(`^parlor: the room lobby was deleted$`)
	ann.look("ann, whose room was deleted")
}

// What another writes does not command the terminal.
func TestChatTerminalHostile(t *testing.T) {
	_, client, room, env := newLobby(t)
	ann := sit(t, 80, 24, append(env, "NO_COLOR=1"), "chat", "--user", "ann", "--room", room)
	ann.sees(`connected$`)
	name, evil := "e\x1b[2Jv", "\x1b[2J\x1b]0;owned\x07\u009b31mred\u202egro\n» 12:00:00 #9 ann: I quit"
	if _, err := client.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &name, Attributes: map[string]string{"k": evil}}); err != nil {
		t.Fatal(err)
	}
	ann.sees(`^• \d\d:\d\d:\d\d e�\[2Jv k=�\[2J�\]0;owned��31mred�gro↵ »`)
	ann.look("ann, after a hostile event")
	ann.types("/quit" + enter)
	if code := ann.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	raw := ann.written()
	for _, bad := range []string{"\x1b[2J", "\x1b]0;", "\u009b", "\u202e", "\x07"} {
		if strings.Contains(raw, bad) {
			t.Errorf("%q came to the terminal", bad)
		}
	}
	if colour := regexp.MustCompile(`\x1b\[(1;)?[349]\d[;m]`).FindString(raw); colour != "" {
		t.Errorf("a colour that is not wanted: %q", colour)
	}
}

// Who may only watch is told so, and what is not allowed says what to do.
func TestChatTerminalWatches(t *testing.T) {
	_, _, _, env := newLobby(t)
	ann := sit(t, 80, 24, env, "chat", "--user", "ann", "--capabilities", "none")
	ann.sees(`^lobby · ann · watching only$`)
	ann.types("hi" + enter)
	ann.sees(`^! \d\d:\d\d:\d\d Not allowed: The chat token does not have the capability$`)
	ann.sees(`^           SEND_MESSAGE\. --capabilities of parlor chat says what you may do\.$`)
}

// Every way to leave leaves.
func TestChatTerminalLeave(t *testing.T) {
	_, _, _, env := newLobby(t)
	for _, test := range []struct {
		name string
		do   func(*screen)
	}{
		{"Ctrl-C", func(s *screen) { s.types("half a line\x03") }},
		{"Ctrl-D", func(s *screen) { s.types("\x04") }},
		{"quit", func(s *screen) { s.types("/quit" + enter) }},
		{"SIGTERM", func(s *screen) { s.command.Process.Signal(syscall.SIGTERM) }},
		{"SIGHUP", func(s *screen) { s.command.Process.Signal(syscall.SIGHUP) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sit(t, 80, 24, env, "chat", "--user", "ann")
			s.sees(`connected$`)
			test.do(s)
			if code := s.ends(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if strings.Contains(s.text(), "\n>") {
				t.Errorf("the input is left:\n%s", s.text())
			}
		})
	}
	t.Run("a terminal without capabilities", func(t *testing.T) {
		s := sit(t, 80, 24, append(env, "TERM=dumb"), "chat", "--user", "ann")
		s.sees(`^connected to lobby as ann`)
		s.types("hi\n/quit\n")
		s.sees(`#1 ann: hi$`)
		if code := s.ends(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if raw := s.written(); strings.Contains(raw, "\x1b") {
			t.Errorf("escape codes: %q", raw)
		}
	})
}

// What comes fast is shown in order, above the line that is written, also where all of
// it is more than the screen has room for.
func TestChatTerminalScrolls(t *testing.T) {
	_, client, room, env := newLobby(t)
	ann := sit(t, 40, 10, env, "chat", "--user", "ann")
	ann.sees(`^lobby · ann · connected$`)
	ann.types("half a line")
	const events = 60
	for i := range events {
		name := fmt.Sprintf("event-%d", i)
		if _, err := client.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: &name,
			Attributes: map[string]string{"words": strings.Repeat("word ", i%3*6)}}); err != nil {
			t.Fatal(err)
		}
	}
	ann.sees(fmt.Sprintf(`event-%d`, events-1))
	ann.sees(`^lobby · ann · connected\n> half a line$`)
	ann.look("ann, after many events")
	ann.types("\x15/help" + enter) // as long as the screen is high
	ann.sees(`^- //…`)
	ann.types("\x03")
	ann.ends()
	raw, at := ann.written(), 0
	for i := range events {
		name := fmt.Sprintf("event-%d ", i)
		n := strings.Index(raw[at:], name)
		if n < 0 || strings.Count(raw, name) != 1 {
			t.Fatalf("%s is not there once, in its place", name)
		}
		at += n
	}
}
