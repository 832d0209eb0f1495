package parlortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// developmentPage are the blocks of docs/development.md, by the language of their fence.
func developmentPage(t *testing.T) (text string, blocks map[string][]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks = map[string][]string{}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllSubmatch(page, -1) {
		blocks[string(m[1])] = append(blocks[string(m[1])], string(m[2]))
	}
	return string(page), blocks
}

// block is the first block of a language that has a text.
func block(t *testing.T, blocks []string, with string) string {
	t.Helper()
	i := slices.IndexFunc(blocks, func(b string) bool { return strings.Contains(b, with) })
	if i < 0 {
		t.Fatalf("docs/development.md has no block with %q", with)
	}
	return blocks[i]
}

// TestDevelopmentPage runs docs/development.md as it stands there.
func TestDevelopmentPage(t *testing.T) {
	text, blocks := developmentPage(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("seed.yaml", block(t, blocks["yaml"], "# seed.yaml"))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	shell := func(t *testing.T, script string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "bash", "-c", "set -euo pipefail; set -m\n"+strings.ReplaceAll(script, "127.0.0.1:4870", at))
		c.Dir = dir
		c.Env = append(os.Environ(), "PATH="+filepath.Dir(command(t))+":"+os.Getenv("PATH"))
		out, err := c.CombinedOutput()
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "parlor.log"))
			t.Fatalf("%v\n%s\n%s", err, out, log)
		}
		return string(out)
	}
	start := func(t *testing.T) {
		t.Helper()
		p := exec.Command(command(t), "dev", "--listen", at, "--seed", "seed.yaml", "--log-level", "warn")
		p.Dir = dir
		var said bytes.Buffer
		p.Stderr = &said
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Process.Kill()
			p.Wait()
		})
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			response, err := http.Get("http://" + at + "/readyz")
			if err == nil {
				response.Body.Close()
				if response.StatusCode == http.StatusOK {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("parlor is not ready: %v", err)
			}
		}
	}

	t.Run("reset", func(t *testing.T) {
		start(t)
		out := shell(t, block(t, blocks["sh"], "/parlor/dev/reset"))
		var got, want struct {
			Seeded []struct{ ARN, Name string }
		}
		if err := json.Unmarshal([]byte(block(t, blocks["json"], "seeded")), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Seeded) != 4 || !slices.Contains(got.Seeded, want.Seeded[0]) {
			t.Errorf("got %s, %v, want four with %v", out, err, want.Seeded[0])
		}
	})
	t.Run("faults", func(t *testing.T) {
		start(t)
		out := shell(t, block(t, blocks["sh"], "fault()"))
		for _, want := range []string{`{"connections":0}`, `"met":0`, `{"cleared":5}`} {
			if !strings.Contains(out, want) {
				t.Errorf("got %s, want %s in it", out, want)
			}
		}
	})
	t.Run("CI", func(t *testing.T) {
		shell(t, block(t, blocks["sh"], "config check"))
	})
	t.Run("JavaScript", func(t *testing.T) {
		project := nodeProject(t)
		if err := os.Symlink(filepath.Join(project, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		write("parlor.mjs", block(t, blocks["js"], "// parlor.mjs"))
		write("chat.test.mjs", block(t, blocks["js"], "// chat.test.mjs"))
		out := shell(t, "timeout 60 node --test --test-force-exit chat.test.mjs")
		if !strings.Contains(out, "pass 2") {
			t.Errorf("got %s, want two tests to pass", out)
		}
	})
	t.Run("Go", func(t *testing.T) {
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		write("go.sum", string(sums))
		write("go.mod", "module example\n\ngo 1.24\n")
		write("chat_test.go", block(t, blocks["go"], "package chat_test"))
		edit := regexp.MustCompile("`(go mod edit [^`]*)`").FindStringSubmatch(text)
		if edit == nil {
			t.Fatal("the page does not say how the module is found")
		}
		// Nothing is downloaded: all that it needs, this module needs, too.
		shell(t, strings.Replace(edit[1], "../parlor", root, 1)+"; GOPROXY=off GOFLAGS=-mod=mod go test ./...")
	})
}

// TestDevelopmentPageNamesWhatThereIs: the tables of docs/development.md have the statuses
// and targets that a server names when it is asked for others.
func TestDevelopmentPageNamesWhatThereIs(t *testing.T) {
	page, _ := developmentPage(t)
	s := parlortest.Start(t, func(c *config.Config) {})
	for _, target := range []string{"api", "actions", "handshake"} {
		body := fmt.Sprintf(`{"fault":"error","on":%q,"status":418}`, target)
		response, err := http.Post(s.URL+"/parlor/dev/faults", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Message string }
		err = json.NewDecoder(response.Body).Decode(&said)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, want, _ := strings.Cut(said.Message, "must be one of ")
		found := false
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "|") && strings.Contains(line, "`"+target+"`") {
				got := regexp.MustCompile(`\b[45]\d\d\b`).FindAllString(strings.SplitN(line, "|", 4)[2], -1)
				found = found || strings.Join(got, ", ") == want
			}
		}
		if !found {
			t.Errorf("the page does not have %s: %s", target, want)
		}
	}
}
