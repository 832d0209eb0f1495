package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packaged is deploy/package/parlor.yaml: the file of settings that the deb and the rpm
// bring, all of them commented out but where the access keys are.
func packaged() string {
	var b strings.Builder
	b.WriteString("# Settings of Parlor. It reads them when it starts: systemctl restart parlor.\n" +
		"# What is commented out has the default that is written here. To see what results, and\n" +
		"# whether it is good: parlor config check --config /etc/parlor/parlor.yaml\n" +
		"# The data directory is said by the service: /var/lib/parlor.\n")
	for _, f := range Fields(Serve) {
		if f.Name == "data" {
			continue
		}
		b.WriteString("\n")
		line := "#"
		for _, word := range strings.Fields(f.Help) {
			if len(line)+1+len(word) > 100 {
				b.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
		if f.Name == "credentials" {
			b.WriteString("credentials: /etc/parlor/credentials\n")
			continue
		}
		value := scalar(f.Default)
		if f.Default == "true" || f.Default == "false" {
			value = f.Default
		}
		fmt.Fprintf(&b, "#%s: %s\n", f.Name, value)
	}
	return b.String()
}

func TestPackagedFile(t *testing.T) {
	path := filepath.FromSlash("../../deploy/package/parlor.yaml")
	want := packaged()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is out of date; run go test ./internal/config -update\n%s", path, diff)
	}
	values, err := ReadFile(path, Serve)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values, map[string]string{"credentials": "/etc/parlor/credentials"}); diff != "" {
		t.Errorf("it says more than where the access keys are:\n%s", diff)
	}
	// What is commented out is what the line says: with all of it, nothing is another.
	all := strings.NewReplacer("\n#", "\n").Replace("\n" + want)
	var lines []string
	for line := range strings.Lines(all) {
		if name, _, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") && isSetting(name) {
			lines = append(lines, line)
		}
	}
	uncommented := filepath.Join(t.TempDir(), "parlor.yaml")
	if err := os.WriteFile(uncommented, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	values, err = ReadFile(uncommented, Serve)
	if err != nil {
		t.Fatal(err)
	}
	c := Default(Serve)
	if err := c.Apply(values); err != nil {
		t.Fatal(err)
	}
	defaults := Default(Serve)
	defaults.Credentials = c.Credentials
	if diff := cmp.Diff(c, defaults); diff != "" {
		t.Errorf("what is commented out is not the default:\n%s", diff)
	}
	if got, want := len(lines), len(Fields(Serve))-1; got != want {
		t.Errorf("got %d settings, want %d", got, want)
	}
}

func isSetting(name string) bool {
	for _, f := range Fields(Serve) {
		if f.Name == name {
			return true
		}
	}
	return false
}
