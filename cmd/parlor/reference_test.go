package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"parlor/internal/config"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

// docs/cli.md has every verb and flag.
func TestReference(t *testing.T) {
	const file = "../../docs/cli.md"
	parser, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	want := reference(parser.Model)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/cli.md is out of date; run go test ./cmd/parlor -run TestReference -update\n%s", diff)
	}
}

// What every verb's help is to have.
func TestHelpIsSentences(t *testing.T) {
	parser, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	sentence := func(where, text string) {
		if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
			t.Errorf("%s: help is not a sentence: %q", where, text)
		}
	}
	var walk func(*kong.Node)
	walk = func(node *kong.Node) {
		for _, child := range node.Children {
			sentence(child.FullPath(), child.Help)
			if !child.Hidden && child.ClosestGroup() == nil {
				t.Errorf("%s is in no group", child.FullPath())
			}
			for _, flag := range child.Flags {
				sentence(child.FullPath()+" --"+flag.Name, flag.Help)
			}
			for _, arg := range child.Positional {
				sentence(child.FullPath()+" "+arg.Summary(), arg.Help)
			}
			walk(child)
		}
	}
	walk(parser.Model.Node)
}

// reference is the text of docs/cli.md.
func reference(app *kong.Application) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# The command line\n")
	p("<!-- Generated from cmd/parlor by go test ./cmd/parlor -run TestReference -update. -->\n")
	p("%s\n", strings.TrimSpace(app.Help))
	p("What is for people goes to standard error, what a script may want to read to standard output. The exit code is 0 after doing what was asked, 1 when")
	p("that failed, and 2 when what was asked is not understood. Verbs that talk to a server take the access key and region from where every AWS tool")
	p("has them (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_PROFILE`); `parlor dev` on the same machine needs none of these. The region of an")
	p("ARN goes before that of the variables. JSON has the members of the API's own answers, so that what reads those of the AWS CLI reads it.")
	group := ""
	for _, node := range app.Leaves(true) {
		if title := strings.TrimSuffix(node.ClosestGroup().Title, ":"); title != group {
			group = title
			p("\n## %s", group)
		}
		describe(p, node)
	}
	return b.String()
}

func describe(p func(string, ...any), node *kong.Node) {
	p("\n### parlor %s\n", node.Path())
	p("    parlor %s\n", node.Summary())
	p("%s", node.Help)
	if node.Detail != "" {
		p("\n%s", strings.TrimSpace(node.Detail))
	}
	flags := slices.DeleteFunc(slices.Concat(node.AllFlags(true)...), func(f *kong.Flag) bool { return f.Name == "help" })
	settings := slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == "listen" })
	if settings {
		fields := config.Fields(config.Dev)
		flags = slices.DeleteFunc(flags, func(f *kong.Flag) bool {
			return slices.ContainsFunc(fields, func(s config.Field) bool { return s.Name == f.Name })
		})
	}
	if len(node.Positional)+len(flags) > 0 {
		p("\n| | |\n|---|---|")
	}
	for _, arg := range node.Positional {
		p("| `%s` | %s |", arg.Summary(), cell(flagHelp(arg)))
	}
	for _, flag := range flags {
		name := "--" + flag.Name
		if flag.Short != 0 {
			name = "-" + string(flag.Short) + ", " + name
		}
		if !flag.IsBool() {
			name += "=" + flag.FormatPlaceHolder()
		}
		p("| `%s` | %s |", name, cell(flagHelp(flag.Value)))
	}
	if settings {
		p("\nand the settings of [config.md](config.md).")
	}
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
