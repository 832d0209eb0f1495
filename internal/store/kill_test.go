package store_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/store"
)

// writerVariable makes the test binary the process that TestKill kills: it holds a
// directory and the number to start from.
const writerVariable = "PARLOR_STORE_TEST_WRITER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(writerVariable); spec != "" {
		if err := writeUntilKilled(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const killWriters = 16

// writeUntilKilled writes with many goroutines and says on standard output what was
// acknowledged: "room N", "updated N", "token N".
func writeUntilKilled(spec string) error {
	from, dir, _ := strings.Cut(spec, ":")
	start, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := store.OpenSQLite(ctx, dir)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range killWriters {
		go func() {
			for n := start + w; ; n += killWriters {
				if err := writeOne(ctx, s, n); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func writeOne(ctx context.Context, s *store.Store, n int) error {
	room := newRoom(n)
	if err := s.CreateRoom(ctx, room, 0); err != nil {
		return err
	}
	fmt.Printf("room %d\n", n) // one system call, so a kill cannot cut it
	if n%4 == 0 {
		if _, err := s.UpdateRoom(ctx, room.ARN, func(r chat.Room) (chat.Room, error) {
			r.Name = "updated"
			return r, nil
		}); err != nil {
			return err
		}
		fmt.Printf("updated %d\n", n)
	}
	first, err := s.SpendToken(ctx, killToken(n), 1, noon)
	if err != nil || !first {
		return fmt.Errorf("token %d: first %v, error %w", n, first, err)
	}
	fmt.Printf("token %d\n", n)
	return nil
}

func killToken(n int) (id chat.TokenID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// TestKill: whatever moment the process is killed at, what it acknowledged is there
// when the store is opened again, with nothing to repair.
func TestKill(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	dir := filepath.Join(t.TempDir(), "data")
	var acknowledged []string
	for round := range rounds {
		lines := runAndKill(t, dir, round*1_000_000, time.Duration(60+70*round)*time.Millisecond)
		acknowledged = append(acknowledged, lines...)
		checkAcknowledged(t, dir, acknowledged)
		if t.Failed() {
			return
		}
	}
	if len(acknowledged) < 100 {
		t.Errorf("acknowledged writes in %d rounds: got %d, want enough to mean something", rounds, len(acknowledged))
	}
	t.Logf("%d acknowledged writes over %d kills", len(acknowledged), rounds)
}

// runAndKill runs a writer, kills it some time after its first acknowledgement, and
// returns all of them.
func runAndKill(t *testing.T, dir string, start int, after time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%s", writerVariable, start, dir))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill sync.Once
	var lines []string
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		kill.Do(func() { time.AfterFunc(after, func() { cmd.Process.Kill() }) })
		lines = append(lines, scanner.Text())
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the writer: got %v, want it killed", err)
	}
	return lines
}

func checkAcknowledged(t *testing.T, dir string, lines []string) {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatalf("OpenSQLite after a kill: %v", err)
	}
	defer s.Close()
	for _, line := range lines {
		what, number, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("acknowledgement %q: %v", line, err)
		}
		switch what {
		case "room", "updated":
			room, err := s.Room(t.Context(), newRoom(n).ARN)
			if err != nil || what == "updated" && room.Name != "updated" {
				t.Errorf("acknowledged %s: got name %q, error %v", line, room.Name, err)
			}
		case "token":
			// What was spent stays spent. Asking is a write, so a few at a time will do.
			if n%16 == 0 {
				if first, err := s.SpendToken(t.Context(), killToken(n), 2, noon); err != nil || first {
					t.Errorf("acknowledged %s: got first %v, error %v", line, first, err)
				}
			}
		}
	}
	checkIntegrity(t, dir)
}

// checkIntegrity asks SQLite about the file itself, while the store is open.
func checkIntegrity(t *testing.T, dir string) {
	t.Helper()
	db := openDatabase(t, dir)
	defer db.Close()
	var got string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&got); err != nil || got != "ok" {
		t.Errorf("integrity check: got %q, error %v, want ok", got, err)
	}
}
