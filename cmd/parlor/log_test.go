package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// logOf is what a server says on standard error that runs until it is stopped, without
// the banner. onTerminal has it be said on a terminal.
func logOf(t *testing.T, onTerminal bool, args ...string) (lines []string) {
	t.Helper()
	path, err := exec.LookPath("parlor")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, append([]string{"dev", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, args...)...)
	var read, write *os.File
	if onTerminal {
		read, write, err = pty.Open()
	} else {
		read, write, err = os.Pipe()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	command.Stderr = write
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	said := make(chan []byte, 1)
	ready := make(chan struct{})
	go func() {
		var all []byte
		buffer := make([]byte, 4096)
		for told := false; ; {
			n, err := read.Read(buffer)
			all = append(all, buffer[:n]...)
			if !told && bytes.Contains(all, []byte("is ready")) {
				close(ready)
				told = true
			}
			if err != nil && n == 0 { // EOF, or EIO of a terminal that nobody has open any more
				said <- all
				return
			}
		}
	}()
	kill := time.AfterFunc(patience, func() { command.Process.Kill() })
	defer kill.Stop()
	select {
	case <-ready:
	case <-time.After(patience):
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("parlor: %v", err)
	}
	for line := range strings.Lines(string(<-said)) {
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, "{") || strings.HasPrefix(line, "time=") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 2 {
		t.Fatalf("got only %q", lines)
	}
	return lines
}

// TestLogFormat has the log be JSON for machines and text for a person at a terminal,
// unless it is told what to be.
func TestLogFormat(t *testing.T) {
	for name, test := range map[string]struct {
		terminal bool
		args     []string
		text     bool
	}{
		"a pipe":              {false, nil, false},
		"a terminal":          {true, nil, true},
		"a pipe, as text":     {false, []string{"--log-format", "text"}, true},
		"a terminal, as JSON": {true, []string{"--log-format", "json"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, line := range logOf(t, test.terminal, test.args...) {
				var record struct {
					Time  time.Time `json:"time"`
					Level string    `json:"level"`
					Msg   string    `json:"msg"`
				}
				err := json.Unmarshal([]byte(line), &record)
				if test.text {
					if !strings.Contains(line, " level=") || !strings.Contains(line, " msg=") || strings.ContainsRune(line, '\x1b') {
						t.Errorf("not plain text: %q", line)
					}
				} else if err != nil || record.Time.IsZero() || record.Level == "" || record.Msg == "" {
					t.Errorf("not a record in JSON: %q: %v", line, err)
				}
			}
		})
	}
}
