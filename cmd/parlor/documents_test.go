package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The pages that are read: the README and what is in docs. A fenced block in one of the
// languages of tried is run or used, or a comment on the line before it says why not:
//
//	<!-- untried: it needs an AWS account -->   it is listed in docs/untried.md
//	<!-- tried: TestReviewReceivers -->         that test has it
//
// Blocks of sh are run in their order, in one shell for each page, in an empty
// directory; each command must succeed. Others are written to the file that is named
// last in the paragraph above, `like.this`. More comments say how:
//
//	<!-- server: parlor dev -->        a server that the page takes for granted
//	<!-- before: export ROOM=… -->     what else it takes for granted
//	<!-- browser: URL -->              a page that is opened meanwhile
//	<!-- terminal: server -->          in another terminal, without waiting for its end;
//	                                   what ran there before is interrupted
//	<!-- tried as: parlor dev -->      what is run in its place
//
// A block without a language after one of sh is what that prints, in any order of its
// lines. What differs from one time to the next (ids, times) need not be the same; …
// is anything within a line, or, alone, any lines. With a comment terminal it is what
// is in that terminal by now, among other lines.
//
// Pages in others have tests of their own.

// tried are the languages of blocks that are run or used.
var tried = []string{"sh", "js", "html", "go", "python", "json", "yaml"}

// others are pages that are not run here, and what a reader is to know of their tests.
var others = map[string]string{
	"docs/operations.md":  "deploy/test makes and restores its backups, and holds its other commands of Parlor's and of Helm's to what these know, without running them",
	"docs/install.md":     "deploy/release runs its commands in a Debian of their own",
	"docs/development.md": "TestDevelopmentPage runs it",
}

const untriedPage = "docs/untried.md"

// block is a fenced block of a page.
type block struct {
	page     string
	line     int // of its fence, from 1
	language string
	text     string
	file     string // what the paragraph above calls it
	// What comments before it say.
	untried, tried, terminal, instead, server, before, browser string
}

func (b *block) at() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// runs reports whether the block is run or used here.
func (b *block) runs() bool {
	return b.untried == "" && b.tried == "" && slices.Contains(tried, b.language)
}

// serves reports whether the block starts a server, which says when it is ready.
func (b *block) serves() bool {
	return regexp.MustCompile(`\bparlor (dev|serve)\b`).MatchString(b.command())
}

// command is what is run.
func (b *block) command() string {
	if b.instead != "" {
		return b.instead + "\n"
	}
	return b.text
}

var (
	mark     = regexp.MustCompile(`^<!-- (untried|not run|tried|terminal|tried as|server|before|browser): (.+) -->$`)
	fileName = regexp.MustCompile("`([A-Za-z0-9_-]+\\.[a-z]+)`")
)

// blocks are the fenced blocks of a page.
func blocks(page, text string) (all []block) {
	var paragraph string
	var next block
	var inside *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch m := mark.FindStringSubmatch(line); {
		case inside != nil && isFence:
			all = append(all, *inside)
			inside, next, paragraph = nil, block{}, ""
		case inside != nil:
			inside.text += line + "\n"
		case isFence:
			inside = &next
			inside.page, inside.line, inside.language = page, i+1, strings.TrimSpace(fence)
			if m := fileName.FindAllStringSubmatch(paragraph, -1); m != nil {
				inside.file = m[len(m)-1][1]
			}
		case m != nil:
			switch m[1] {
			case "untried", "not run":
				next.untried = m[2]
			case "tried":
				next.tried = m[2]
			case "terminal":
				next.terminal = m[2]
			case "tried as":
				next.instead = m[2]
			case "server":
				next.server = m[2] + "\n"
			case "browser":
				next.browser = m[2]
			case "before":
				next.before += m[2] + "\n"
			}
		case line == "":
		default:
			if i > 0 && strings.Split(text, "\n")[i-1] == "" {
				paragraph = ""
			}
			paragraph += line + "\n"
			next = block{} // a comment belongs to the block that follows it
		}
	}
	return all
}

// documents are the pages, by their names from the root.
func documents(t *testing.T) map[string][]block {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	all := map[string][]block{}
	for _, name := range append(names, "../../README.md") {
		page := strings.TrimPrefix(filepath.ToSlash(name), "../../")
		if others[page] != "" || page == untriedPage {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[page] = blocks(page, string(text))
	}
	return all
}

// TestDocuments runs what the pages say, as somebody who reads them would. Each page has
// a network of its own with nothing but loopback in it, so that all of them have port 4870
// and nothing is asked of others; where the machine does not allow that, a port of its own.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds programs and waits for servers")
	}
	const isolated, noLoopback = "PARLOR_DOCUMENT_ISOLATED", "there is no loopback"
	for page, all := range documents(t) {
		if !slices.ContainsFunc(all, func(b block) bool { return b.runs() }) {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Getenv(isolated) != "" {
				if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
					t.Skipf("%s: %v: %s", noLoopback, err, out)
				}
				newReader(t, "").read(all)
				return
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), self, "-test.run=^TestDocuments$/^"+name+"$", "-test.v", "-test.timeout=9m")
			command.Env = append(os.Environ(), isolated+"=1")
			var out bytes.Buffer
			command.Stdout, command.Stderr = &out, &out
			allowed := isolate(command) && command.Start() == nil
			if allowed {
				err = command.Wait()
			}
			switch {
			case !allowed || strings.Contains(out.String(), noLoopback):
				t.Log("no network of its own: a port of its own stands in")
				newReader(t, freePort(t)).read(all)
			case err != nil:
				t.Errorf("%v\n%s", err, &out)
			case strings.Contains(out.String(), "--- SKIP"):
				t.Skip(out.String())
			case !strings.Contains(out.String(), "--- PASS: TestDocuments/"+name):
				t.Errorf("it was not run:\n%s", &out)
			}
		})
	}
}

// Every block is run, or says why not; docs/untried.md lists those that are not.
func TestDocumentsUntried(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, `# What is not tried

<!-- Generated from the pages by go test ./cmd/parlor -run TestDocumentsUntried -update. -->

The commands and programs of the README and of these pages are run by %s, in a network with nothing but loopback in it. There npm
takes the packages that %s installed, Go the modules of its cache, and Python those of the system; paths below %s are moved aside.

Pages with tests of their own:

`, "`TestDocuments`", "`make deps`", "`/tmp`")
	for _, page := range slices.Sorted(maps.Keys(others)) {
		name := strings.TrimPrefix(page, "docs/")
		fmt.Fprintf(&b, "* [%s](%s): %s.\n", name, name, others[page])
	}
	b.WriteString(`
Of the others these are not run as they are there:

| page | command | why not |
|---|---|---|
`)
	pages := documents(t)
	tests := testNames(t)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		link := strings.TrimPrefix(name, "docs/")
		if link == name {
			link = "../" + name
		}
		for i, block := range pages[name] {
			if !slices.Contains(tried, block.language) {
				if slices.Contains([]string{"bash", "shell", "console", "javascript", "typescript", "py"}, block.language) {
					t.Errorf("%s: languages are called %s", block.at(), tried)
				}
				continue
			}
			first, _, _ := strings.Cut(strings.TrimSpace(block.text), "\n")
			row := func(command, why string) {
				command, _, _ = strings.Cut(strings.TrimSuffix(command, " \\"), "  #")
				fmt.Fprintf(&b, "| [%s](%s) | `%s` | %s |\n", strings.TrimPrefix(name, "docs/"), link, strings.ReplaceAll(strings.TrimSpace(command), "|", `\|`), why)
			}
			if block.instead != "" {
				row(first, "`"+block.instead+"` stands for it")
			}
			switch {
			case block.untried != "":
				row(first, block.untried)
			case block.tried != "":
				if !tests[block.tried] {
					t.Errorf("%s: there is no test %s", block.at(), block.tried)
				}
			case block.language == "sh":
				shown := pages[name][i+1:]
				if block.terminal != "" && !block.serves() && (len(shown) == 0 || shown[0].language != "") {
					t.Errorf("%s: what is seen in the terminal %s must follow: nobody knows when to go on", block.at(), block.terminal)
				}
			case block.file == "":
				t.Errorf("%s: the paragraph above does not say what file this is, and no comment why it is not tried", block.at())
			}
		}
	}
	const file = "../../" + untriedPage
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), b.String()); diff != "" {
		t.Errorf("%s is out of date; run go test ./cmd/parlor -run TestDocumentsUntried -update\n%s", untriedPage, diff)
	}
}

// testNames are the tests of the whole tree.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../..", func(name string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range function.FindAllSubmatch(text, -1) {
			all[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every link within the pages leads to a file, and to a heading that the file has.
func TestDocumentsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced := regexp.MustCompile("(?ms)^```.*?^```$")
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(fenced.ReplaceAll(text, nil), -1) {
			target, anchor, _ := strings.Cut(string(m[1]), "#")
			if strings.Contains(target, ":") {
				continue
			}
			path := filepath.Join(filepath.Dir(name), target)
			if target == "" {
				path = name
			}
			linked, err := os.ReadFile(path)
			if info, missing := os.Stat(path); missing != nil {
				t.Errorf("%s: there is no %s", name, m[1])
				continue
			} else if info.IsDir() || anchor == "" {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(heading.FindAllSubmatch(linked, -1), func(h [][]byte) bool { return slug(string(h[1])) == anchor }) {
				t.Errorf("%s: %s has no heading #%s", name, target, anchor)
			}
		}
	}
}

// slug is what links call a heading: lower case, dashes for spaces, no punctuation.
func slug(heading string) string {
	s := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(strings.TrimSpace(s), " ", "-")
}
