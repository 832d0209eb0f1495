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
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"parlor/internal/parlortest"
)

// screen is a terminal with the command in front of it.
type screen struct {
	t       *testing.T
	command *exec.Cmd
	tty     *os.File
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
	s.tty, err = pty.StartWithSize(s.command, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
	if err != nil {
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
			if err != nil { // EIO when the command has ended
				return
			}
		}
	}()
	go func() { s.exited <- s.command.Wait() }()
	t.Cleanup(func() {
		s.command.Process.Kill()
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

// ends waits for the command to exit, and returns its exit code.
func (s *screen) ends() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("it does not end")
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
func newLobby(t *testing.T) (s *parlortest.Server, client *ivschat.Client, room string, env []string) {
	t.Helper()
	s = parlortest.Start(t)
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
	ann.types("\x15") // Ctrl-U
	ann.resize(50, 24)
	ann.types("after the window became narrow, the line is broken earlier" + enter)
	ann.sees(`^» \d\d:\d\d #3 ann: after the window became`)
	ann.sees(`^lobby · ann · connected$`)
	bob.sees("#3 ann")
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
	os.WriteFile("/tmp/ann.raw", []byte(ann.raw.String()), 0o644)
	ann.look("ann, gone")
	if strings.Contains(ann.text(), "> ") || strings.Contains(ann.text(), "connected$") {
		t.Errorf("something of the input is left:\n%s", ann.text())
	}
}
