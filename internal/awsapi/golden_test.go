package awsapi

import (
	"bufio"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestGolden plays the exchanges in testdata. An archive is one server and a list of
// requests, each followed by its answer; -update writes the answers.
//
// A request is a line "METHOD TARGET", headers, an empty line and a body, without the
// newline at its end. It is signed unless it says "Authorization:" itself ("none" is
// none). "Body: quoted" says that the body is a Go string literal.
//
// What differs from run to run is named in order of appearance: <id1>, <page1>,
// <token1>, <time.ms> and <time.s>. Requests use these names.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			server, names := newFixture(t), newNaming()
			var out []txtar.File
			for _, section := range archive.Files {
				name, ok := strings.CutPrefix(section.Name, "request: ")
				if !ok {
					continue // an old answer
				}
				got := play(t, server, names, section.Data)
				out = append(out, section, txtar.File{Name: "answer: " + name, Data: got})
			}
			got := txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: out})
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(got)); diff != "" {
				t.Errorf("answers differ (-want +got):\n%s", diff)
			}
		})
	}
}

// play sends one request and returns its answer, named.
func play(t *testing.T, server *fixture, names *naming, text []byte) []byte {
	t.Helper()
	in := bufio.NewReader(strings.NewReader(names.replaceBack(string(text))))
	line := func() string {
		s, _ := in.ReadString('\n')
		return strings.TrimSuffix(s, "\n")
	}
	method, target, ok := strings.Cut(line(), " ")
	if !ok {
		t.Fatalf("no request line: %q", text)
	}
	var headers [][2]string
	for {
		s := line()
		if s == "" {
			break
		}
		name, value, _ := strings.Cut(s, ": ")
		headers = append(headers, [2]string{name, value})
	}
	rest, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimSuffix(string(rest), "\n")
	for _, h := range headers {
		if h[0] == "Body" {
			if body, err = strconv.Unquote(body); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
	}
	r := newRequest(method, target, body)
	for _, h := range headers {
		switch {
		case h[0] == "Body":
		case h[1] == "none":
			r.Header.Del(h[0])
		default:
			r.Header.Set(h[0], h[1])
		}
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)

	lines := []string{strconv.Itoa(w.Code)}
	for name, values := range w.Header() {
		switch name {
		case "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Content-Length":
			continue // the same everywhere; TestEveryAnswer looks at them
		}
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	slices.Sort(lines[1:])
	answer := strings.Join(lines, "\n") + "\n"
	if w.Body.Len() > 0 {
		answer += "\n" + w.Body.String() + "\n"
	}
	return []byte(names.replace(answer))
}

// naming gives names to what differs from run to run.
type naming struct {
	named  map[string]string // value → name
	values map[string]string // name → value
	count  map[string]int
}

func newNaming() *naming {
	return &naming{named: map[string]string{}, values: map[string]string{}, count: map[string]int{}}
}

var (
	requestIDForm = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	timeForms     = []struct{ form, name string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`, "<time.ms>"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "<time.s>"},
	}
	namedForms = []struct{ form, kind string }{
		{`"nextToken":"([^"]+)"`, "page"},
		{`"token":"([^"]+)"`, "token"},
		{`"id":"([0-9a-f]{24})"`, "tokenId"},
		{`:(?:room|logging-configuration)/([a-zA-Z0-9]{12})\b`, "id"},
		{`"(?:id|resourceId)":"([a-zA-Z0-9]{12})"`, "id"},
	}
)

func (n *naming) replace(answer string) string {
	answer = requestIDForm.ReplaceAllString(answer, "<uuid>")
	for _, f := range timeForms {
		answer = regexp.MustCompile(f.form).ReplaceAllString(answer, f.name)
	}
	for _, f := range namedForms {
		for _, match := range regexp.MustCompile(f.form).FindAllStringSubmatch(answer, -1) {
			value := match[1]
			if _, ok := n.named[value]; ok || strings.HasSuffix(value, "MISSING") {
				continue
			}
			n.count[f.kind]++
			name := fmt.Sprintf("<%s%d>", f.kind, n.count[f.kind])
			n.named[value], n.values[name] = name, value
		}
	}
	for value, name := range n.named {
		answer = strings.ReplaceAll(answer, value, name)
	}
	return answer
}

func (n *naming) replaceBack(request string) string {
	for name, value := range n.values {
		request = strings.ReplaceAll(request, name, value)
	}
	return request
}
