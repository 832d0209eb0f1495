package parlor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// docs/errors.md has a row for each code, cause, close code and name that the sources
// have, every text, and no others.
func TestErrorsPage(t *testing.T) {
	text, err := os.ReadFile("docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	gateway, core := parsed(t, "internal/gateway"), parsed(t, "internal/chat")

	t.Run("refused handshakes", func(t *testing.T) {
		statuses := map[string]bool{}
		for _, file := range gateway {
			ast.Inspect(file, func(n ast.Node) bool {
				// return http.StatusX, "text"
				if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 2 {
					if status, ok := httpStatus(r.Results[0]); ok && status != http.StatusSwitchingProtocols {
						statuses[strconv.Itoa(status)] = true
						said(t, page, literal(gateway, r.Results[1]))
					}
				}
				return true
			})
		}
		for _, other := range []string{"401", "404"} { // what chat.Error says of tokens and rooms
			statuses[other] = true
		}
		rows(t, page, "Refused handshakes", 0, statuses)
	})
	t.Run("error frames", func(t *testing.T) {
		codes := map[string]bool{}
		for _, file := range gateway {
			ast.Inspect(file, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "errorCodes" {
					for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
						if status, ok := httpStatus(e.(*ast.KeyValueExpr).Value); ok {
							codes[strconv.Itoa(status)] = true
						}
					}
				}
				return true
			})
		}
		rows(t, page, "ERROR frames", 0, codes)
		for _, file := range slices.Concat(gateway, core) {
			ast.Inspect(file, func(n ast.Node) bool {
				c, ok := n.(*ast.CompositeLit)
				if !ok {
					return true
				}
				name, isError := c.Type.(*ast.Ident)
				if selector, ok := c.Type.(*ast.SelectorExpr); ok {
					name, isError = selector.Sel, true
				}
				if !isError || name.Name != "Error" {
					return true
				}
				for _, e := range c.Elts {
					if kv := e.(*ast.KeyValueExpr); kv.Key.(*ast.Ident).Name == "Message" {
						said(t, page, literal(core, kv.Value))
					}
				}
				return true
			})
		}
	})
	t.Run("ends", func(t *testing.T) {
		causes, closes := map[string]bool{}, map[string]bool{}
		numbers := map[string]ws.StatusCode{
			"StatusGoingAway": ws.StatusGoingAway, "StatusProtocolError": ws.StatusProtocolError, "StatusPolicyViolation": ws.StatusPolicyViolation,
			"StatusInvalidFramePayloadData": ws.StatusInvalidFramePayloadData, "StatusMessageTooBig": ws.StatusMessageTooBig,
		}
		for _, file := range gateway {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					if of, ok := n.Type.(*ast.Ident); ok && of.Name == "cause" && len(n.Values) == 1 {
						causes[literal(gateway, n.Values[0])] = true
					}
				case *ast.SelectorExpr:
					if p, ok := n.X.(*ast.Ident); ok && p.Name == "ws" && strings.HasPrefix(n.Sel.Name, "Status") && n.Sel.Name != "StatusCode" {
						code, known := numbers[n.Sel.Name]
						if !known {
							t.Errorf("the gateway closes with ws.%s, which this test does not know", n.Sel.Name)
						}
						closes[strconv.Itoa(int(code))] = true
					}
				}
				return true
			})
		}
		rows(t, page, "How a connection ends", 0, causes)
		inPage := map[string]bool{}
		for _, code := range regexp.MustCompile(`\b1\d{3}\b`).FindAllString(strings.Join(column(page, "How a connection ends", 1), " "), -1) {
			inPage[code] = true
		}
		same(t, "close code", inPage, closes)
	})
	t.Run("the API", func(t *testing.T) {
		names := map[string]bool{}
		for _, file := range slices.Concat(parsed(t, "internal/awsapi"), parsed(t, "internal/sigv4"), parsed(t, "internal/server"), parsed(t, "internal/develop")) {
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if name, _ := strconv.Unquote(l.Value); regexp.MustCompile(`^[A-Z][A-Za-z]+Exception$`).MatchString(name) {
						names[name] = true
					}
				}
				return true
			})
		}
		rows(t, page, "Errors of the API", 0, names)
	})
}

// parsed are the sources of a package, without its tests.
func parsed(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// httpStatus is the number of http.StatusX.
func httpStatus(e ast.Expr) (int, bool) {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || !strings.HasPrefix(s.Sel.Name, "Status") {
		return 0, false
	}
	for status := 100; status < 600; status++ {
		if name := strings.NewReplacer(" ", "", "-", "", "'", "").Replace(http.StatusText(status)); name != "" && strings.EqualFold("Status"+name, s.Sel.Name) {
			return status, true
		}
	}
	return 0, false
}

// literal is the text that an expression begins with, or is by the name of a constant;
// "" for one that is not known before it happens.
func literal(files []*ast.File, e ast.Expr) (text string) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ = strconv.Unquote(e.Value)
	case *ast.BinaryExpr:
		text = literal(files, e.X)
	case *ast.CallExpr: // of fmt.Sprintf
		if len(e.Args) > 0 {
			text, _, _ = strings.Cut(literal(files, e.Args[0]), "%")
		}
	case *ast.Ident:
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 && v.Names[0].Name == e.Name {
					if l, ok := v.Values[0].(*ast.BasicLit); ok {
						text, _ = strconv.Unquote(l.Value)
					}
				}
				return true
			})
		}
	}
	return text
}

// said wants a text in the page, as code. What only the control plane says is in the
// errors themselves.
func said(t *testing.T, page, text string) {
	t.Helper()
	if text = strings.TrimSpace(text); text != "" && !strings.Contains(page, "`"+text) && !slices.Contains([]string{
		"The nextToken is not valid for this request.",
		"The chat session has ended.", // nobody is told
		"The room does not exist.",    // in the JSON of a close reason
	}, text) {
		t.Errorf("docs/errors.md does not have the text %q", text)
	}
}

// column are the cells of a column of the table under a heading.
func column(page, heading string, n int) (cells []string) {
	_, section, _ := strings.Cut(page, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, table, _ := strings.Cut(section, "\n|---")
	for line := range strings.Lines(table) {
		if row := strings.Split(strings.TrimSpace(line), " | "); strings.HasPrefix(line, "| ") && len(row) > n {
			cells = append(cells, strings.Trim(row[n], "| `"))
		}
	}
	return cells
}

// rows holds a column of a table to what there is.
func rows(t *testing.T, page, heading string, n int, want map[string]bool) {
	t.Helper()
	got := map[string]bool{}
	for _, cell := range column(page, heading, n) {
		got[cell] = true
	}
	same(t, heading, got, want)
}

func same(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	if len(want) == 0 {
		t.Errorf("%s: nothing was found in the sources", what)
	}
	for name := range want {
		if !got[name] {
			t.Errorf("%s: docs/errors.md has no row for %s", what, name)
		}
	}
	for name := range got {
		if !want[name] {
			t.Errorf("%s: docs/errors.md has a row for %s, which does not happen", what, name)
		}
	}
}
