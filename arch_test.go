// Package parlor_test holds the rules of the whole tree: who imports whom, what is
// borrowed from others and why, and that what COMPAT.md promises has a test.
package parlor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type packageRule struct {
	pkg         string
	code, tests []string
}

// ours is the import rule: what each package may import of our own, in code and,
// beside that, in tests. Everything may import chat, and the tests of everything but
// chat may start a whole server by parlortest. A package without a row fails.
var ours = []packageRule{
	{pkg: "internal/chat"},
	{pkg: "internal/awsapi", code: []string{"internal/iam", "internal/sigv4"}},
	{pkg: "internal/broker", tests: []string{"internal/broker/brokertest", "internal/redistest"}},
	{pkg: "internal/broker/brokertest"},
	{pkg: "internal/redistest"},
	{pkg: "internal/chatlog", tests: []string{"internal/chatlog/chatlogtest"}},
	{pkg: "internal/chatlog/chatlogtest", code: []string{"internal/sigv4"}},
	{pkg: "internal/cloudwatch", tests: []string{"internal/sigv4"}},
	{pkg: "internal/config"},
	{pkg: "internal/console"},
	{pkg: "internal/credentials", code: []string{"internal/iam"}},
	{pkg: "internal/develop"},
	{pkg: "internal/filter"},
	{pkg: "internal/gateway", tests: []string{"internal/broker"}}, // who is in a room
	{pkg: "internal/iam"},
	{pkg: "internal/load"},
	{pkg: "internal/messaging"},
	{pkg: "internal/notices"},
	{pkg: "internal/pgtest"},
	{pkg: "internal/review", tests: []string{"internal/sigv4"}},
	{pkg: "internal/seed", code: []string{"internal/awsapi", "internal/config"}},
	{pkg: "internal/sigv4"},
	{pkg: "internal/store", tests: []string{"internal/pgtest", "internal/store/storetest"}},
	{pkg: "internal/store/storetest"},
	{pkg: "internal/tracing", tests: []string{"internal/tracing/tracingtest"}},
	{pkg: "internal/tracing/tracingtest"},
	{pkg: "internal/server", code: []string{"internal/awsapi", "internal/broker", "internal/chatlog", "internal/cloudwatch", "internal/config", "internal/console", "internal/credentials", "internal/develop", "internal/filter", "internal/gateway", "internal/notices", "internal/review", "internal/seed", "internal/store", "internal/tracing"}, tests: []string{"internal/pgtest", "internal/redistest"}},
	{pkg: "internal/inprocess", code: []string{"internal/config", "internal/server"}},
	{pkg: "testserver", code: []string{"internal/config", "internal/inprocess"}},
	{pkg: "internal/parlortest", code: []string{"internal/config", "internal/inprocess"}, tests: []string{"internal/chatlog/chatlogtest", "internal/pgtest", "internal/redistest", "internal/tracing/tracingtest"}},
	{pkg: "cmd/parlor", code: []string{"internal/chatlog", "internal/config", "internal/credentials", "internal/develop", "internal/load", "internal/messaging", "internal/seed", "internal/server", "internal/store"}, tests: []string{"internal/pgtest"}},
	{pkg: "."},
}

// testSupport are packages that only tests import.
var testSupport = []string{"internal/parlortest", "internal/inprocess", "internal/redistest", "internal/broker/brokertest", "internal/chatlog/chatlogtest", "internal/pgtest", "internal/store/storetest", "internal/tracing/tracingtest"}

// borrowed are the modules of others: the packages whose code may import them (test
// support counts as tests), whether tests may, and why we do not write it ourselves.
// A module without a row fails, and so does a row that nothing needs any more.
var borrowed = []struct {
	module string
	code   []string
	tests  bool
	tool   bool
	why    string
}{
	{module: "charm.land/bubbles/v2", code: []string{"cmd/parlor"},
		why: "a line that is written and changed, as wide as the terminal leaves it"},
	{module: "charm.land/bubbletea/v2", code: []string{"cmd/parlor"},
		why: "keys and screens of all terminals, below what is printed"},
	{module: "charm.land/lipgloss/v2", code: []string{"cmd/parlor"}, tests: true,
		why: "how many columns a text has on a terminal"},
	{module: "github.com/HdrHistogram/hdrhistogram-go", code: []string{"internal/load"},
		why: "percentiles of millions of latencies in little memory"},
	{module: "github.com/alecthomas/kong", code: []string{"cmd/parlor"}, tests: true,
		why: "flags, variables and help from a struct's tags"},
	{module: "github.com/aws/aws-sdk-go-v2", code: []string{"cmd/parlor", "internal/chatlog", "internal/cloudwatch", "internal/review"}, tests: true,
		why: "the official SDK is the judge of our control plane, and its client in parlor bench"},
	{module: "github.com/aws/aws-sdk-go-v2/config", code: []string{"cmd/parlor", "internal/chatlog", "internal/cloudwatch", "internal/review"},
		why: "credentials and regions from where every AWS tool has them"},
	{module: "github.com/aws/aws-sdk-go-v2/credentials", code: []string{"cmd/parlor"}, tests: true,
		why: "the official SDK's credentials"},
	{module: "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs", code: []string{"internal/chatlog"},
		why: "takes chat logs to CloudWatch Logs"},
	{module: "github.com/aws/aws-sdk-go-v2/service/firehose", code: []string{"internal/chatlog"},
		why: "takes chat logs to Firehose"},
	{module: "github.com/aws/aws-sdk-go-v2/service/ivschat", code: []string{"cmd/parlor"}, tests: true,
		why: "the official client of the service we are compatible with"},
	{module: "github.com/aws/aws-sdk-go-v2/service/lambda", code: []string{"internal/review"},
		why: "invokes message review handlers as the service does"},
	{module: "github.com/aws/aws-sdk-go-v2/service/s3", code: []string{"internal/chatlog"},
		why: "takes chat logs to S3"},
	{module: "github.com/aws/smithy-go", code: []string{"cmd/parlor", "internal/chatlog", "internal/cloudwatch", "internal/review"}, tests: true,
		why: "the form of the official SDK's errors, and of what would keep it from writing to stderr"},
	{module: "github.com/chromedp/cdproto", tests: true,
		why: "the words of Chromium's DevTools protocol"},
	{module: "github.com/chromedp/chromedp", tests: true,
		why: "drives a real Chromium over the console, as a person would"},
	{module: "github.com/coder/websocket", code: []string{"internal/messaging"}, tests: true,
		why: "a second WebSocket implementation keeps the first honest; clients have no thousands of connections to save on"},
	{module: "github.com/creack/pty", tests: true,
		why: "a terminal that a test sits at"},
	{module: "github.com/gobwas/httphead", code: []string{"internal/gateway"},
		why: "parses the extension header as the WebSocket library does"},
	{module: "github.com/gobwas/ws", code: []string{"internal/gateway", "internal/load"}, tests: true,
		why: "WebSocket frames without buffers of its own: kilobytes per connection"},
	{module: "github.com/goccy/go-yaml", code: []string{"internal/config", "internal/seed"}, tests: true,
		why: "YAML with the line of every key; the other library is frozen"},
	{module: "github.com/google/go-cmp", tests: true,
		why: "differences a person can read"},
	{module: "github.com/hinshun/vt10x", tests: true,
		why: "what a terminal shows after all that was written to it"},
	{module: "github.com/jackc/pgx/v5", code: []string{"internal/store"}, tests: true,
		why: "PostgreSQL's protocol"},
	{module: "github.com/johannesboyne/gofakes3", tests: true,
		why: "an S3 server, so that chat logs are put into what others take for S3"},
	{module: "github.com/pressly/goose/v3", code: []string{"internal/store"},
		why: "numbered migrations"},
	{module: "github.com/prometheus/client_golang", code: []string{"internal/awsapi", "internal/broker", "internal/chatlog", "internal/cloudwatch", "internal/gateway", "internal/notices", "internal/review", "internal/server", "internal/tracing"}, tests: true,
		why: "the metrics format and the metrics of the Go runtime"},
	{module: "github.com/redis/rueidis", code: []string{"internal/broker"},
		why: "Redis and Valkey, alone, with Sentinels or as a cluster; pipelines by itself, and has sharded Pub/Sub"},
	{module: "github.com/rogpeppe/go-internal", tests: true,
		why: "testscript runs the command as a user does"},
	{module: "go.opentelemetry.io/proto/slim/otlp", tests: true,
		why: "the official messages of OTLP are the judge of what we write"},
	{module: "go.uber.org/goleak", tests: true,
		why: "finds goroutines that nobody waited for"},
	{module: "golang.org/x/crypto", code: []string{"internal/server"}, tests: true,
		why: "certificates by ACME"},
	{module: "golang.org/x/text", code: []string{"internal/filter"},
		why: "letters with their accents taken apart, as Unicode has it"},
	{module: "golang.org/x/tools", tests: true,
		why: "reads and writes txtar goldens"},
	{module: "google.golang.org/protobuf", tests: true,
		why: "decodes the messages of OTLP"},
	{module: "honnef.co/go/tools", tool: true,
		why: "staticcheck"},
	{module: "modernc.org/sqlite", code: []string{"internal/store"},
		why: "SQLite without cgo: one static binary"},
	{module: "pgregory.net/rapid", tests: true,
		why: "generates histories that a contract must hold for, and shrinks those that break it"},
}

const module = "parlor"

type goPackage struct {
	ImportPath   string
	Name         string
	Doc          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// rel is the package's directory from the root.
func (p *goPackage) rel() string { return relative(p.ImportPath) }

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func isOurs(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(goCommand(t, "list", "-json=ImportPath,Name,Doc,GoFiles,Imports,TestImports,XTestImports", "./...")))
	var all []goPackage
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportRule(t *testing.T) {
	for _, p := range packages(t) {
		pkg := p.rel()
		i := slices.IndexFunc(ours, func(r packageRule) bool { return r.pkg == pkg })
		if i < 0 {
			t.Errorf("%s has no row in the import rule: which decision does it hide?", pkg)
			continue
		}
		rule := ours[i]
		for _, imported := range p.Imports {
			if isOurs(imported) && relative(imported) != "internal/chat" && !slices.Contains(rule.code, relative(imported)) {
				t.Errorf("%s imports %s, which the import rule does not allow", pkg, relative(imported))
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			name := relative(imported)
			if !isOurs(imported) || name == pkg || name == "internal/chat" ||
				slices.Contains(rule.code, name) || slices.Contains(rule.tests, name) {
				continue
			}
			// Who starts a server also says how it is configured.
			if pkg != "internal/chat" && (name == "internal/parlortest" || name == "internal/config") {
				continue
			}
			t.Errorf("the tests of %s import %s, which the import rule does not allow", pkg, name)
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", pkg)
		}
		if slices.Contains([]string{"util", "utils", "common", "model", "models", "types", "mock", "mocks", "helper", "helpers", "base", "misc", "shared", "pkg"}, path.Base(pkg)) {
			t.Errorf("%s: the name says nothing about what the package hides", pkg)
		}
	}
}

func TestBorrowedModules(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	// moduleOf is the longest required module that holds the package.
	moduleOf := func(importPath string) string {
		longest := ""
		for _, r := range mod.Require {
			if (importPath == r.Path || strings.HasPrefix(importPath, r.Path+"/")) && len(r.Path) > len(longest) {
				longest = r.Path
			}
		}
		return longest
	}

	needed := map[string]bool{} // "module", "module in package", "module in tests"
	use := func(importPath, where string) {
		first, _, _ := strings.Cut(importPath, "/")
		if isOurs(importPath) || !strings.Contains(first, ".") {
			return
		}
		m := moduleOf(importPath)
		if m == "" {
			t.Errorf("%s imports %s, which go.mod does not require", where, importPath)
			return
		}
		needed[m] = true
		needed[m+" in "+where] = true
	}
	for _, p := range packages(t) {
		where := p.rel()
		if slices.Contains(testSupport, where) {
			where = "tests"
		}
		for _, imported := range p.Imports {
			use(imported, where)
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			use(imported, "tests")
		}
	}
	for _, tool := range mod.Tool {
		needed[moduleOf(tool.Path)] = true
		needed[moduleOf(tool.Path)+" in tool"] = true
	}
	for _, r := range mod.Require {
		if !r.Indirect && !needed[r.Path] {
			t.Errorf("go.mod requires %s, which nothing needs", r.Path)
		}
	}

	allowed := map[string]bool{}
	for _, b := range borrowed {
		if b.why == "" {
			t.Errorf("%s: say why we do not write it ourselves", b.module)
		}
		allowed[b.module] = true
		for _, pkg := range b.code {
			allowed[b.module+" in "+pkg] = true
		}
		allowed[b.module+" in tests"] = b.tests
		allowed[b.module+" in tool"] = b.tool
	}
	for what := range needed {
		if !allowed[what] {
			t.Errorf("%s: not in the list of borrowed modules", what)
		}
	}
	for what, yes := range allowed {
		if yes && !needed[what] {
			t.Errorf("%s: in the list of borrowed modules, but not needed", what)
		}
	}
}

// sources calls f with every file of the tree whose name ends so.
func sources(t *testing.T, suffix string, f func(name string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, suffix) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil {
			f(filepath.ToSlash(name), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	const longest = 600 // lines
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	sources(t, ".go", func(name string, text []byte) {
		if lines := bytes.Count(text, []byte("\n")); lines > longest && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s has %d lines, more than %d: what would each half be called?", name, lines, longest)
		}
		if mark := unfinished.FindIndex(text); mark != nil {
			t.Errorf("%s:%d: unfinished", name, 1+bytes.Count(text[:mark[0]], []byte("\n")))
		}
	})
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// Every row of COMPAT.md names, in its last column, the tests that pin it: TestName,
// TestName/subtest, or a golden file.
func TestCompatRowsNameTests(t *testing.T) {
	compat, err := os.ReadFile("COMPAT.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{} // where a test is, by its name
	texts := map[string]string{}   // test sources by directory
	sources(t, "_test.go", func(name string, text []byte) {
		dir := path.Dir(name)
		texts[dir] += string(text)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = append(tests[string(m[1])], dir)
		}
	})
	files := map[string]bool{}
	sources(t, "", func(name string, _ []byte) { files[name] = true })

	exists := func(reference string) bool {
		if !strings.HasPrefix(reference, "Test") && !strings.HasPrefix(reference, "Fuzz") {
			for name := range files {
				if name == reference || strings.HasSuffix(name, "/"+reference) {
					return true
				}
			}
			return false
		}
		name, sub, _ := strings.Cut(reference, "/")
		for _, dir := range tests[name] {
			if sub == "" || hasSubtest(texts[dir], files, dir, sub) {
				return true
			}
		}
		return false
	}
	rows := 0
	inTable := false
	for i, line := range strings.Split(string(compat), "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		if strings.Trim(line, "|-: ") == "" {
			inTable = true
			continue
		}
		if !inTable {
			continue // a heading
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		references := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-1], -1)
		if references == nil {
			t.Errorf("COMPAT.md:%d: the row names no test", i+1)
		}
		for _, r := range references {
			if !exists(r[1]) {
				t.Errorf("COMPAT.md:%d: there is no test %s", i+1, r[1])
			}
		}
	}
	if rows == 0 {
		t.Error("COMPAT.md has no rows")
	}
}

// hasSubtest reports whether the tests of a directory have the name of a subtest in
// them, or a golden file of that name.
func hasSubtest(text string, files map[string]bool, dir, sub string) bool {
	for part := range strings.SplitSeq(sub, "/") {
		if strings.Contains(text, fmt.Sprintf("%q", part)) || strings.Contains(text, fmt.Sprintf("%q", strings.ReplaceAll(part, "_", " "))) {
			continue
		}
		golden := false
		for name := range files {
			base := path.Base(name)
			golden = golden || strings.HasPrefix(name, path.Join(dir, "testdata")+"/") && strings.TrimSuffix(base, path.Ext(base)) == part
		}
		if !golden {
			return false
		}
	}
	return true
}
