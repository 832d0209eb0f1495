package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

var writeV0 = flag.String("write-v0", "", "directory to write what the frozen files there mean to, where that is not said yet")

const v0 = "../../testdata/v0"

// TestV0: the configuration files that are frozen are accepted, and mean what they meant.
func TestV0(t *testing.T) {
	from, covered := v0, map[string]bool{}
	if *writeV0 != "" {
		from = *writeV0
	}
	dir, err := filepath.Abs(filepath.Join(from, "config"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for name, mode := range map[string]Mode{"serve-tls": Serve, "serve-acme": Serve, "serve-proxy": Serve, "dev": Dev} {
		values, err := ReadFile(name+".yaml", mode)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := Default(mode)
		if err := c.Apply(values); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := map[string]string{}
		for _, f := range Fields(mode) {
			if _, said := values[f.Name]; said {
				covered[f.Name] = true
				got[f.Name] = fmt.Sprintf("%q", fmt.Sprint(reflect.ValueOf(c).Field(f.index).Interface()))
			}
		}
		if *writeV0 != "" {
			writeV0Meaning(t, name+".txt", got, mode)
		}
		text, err := os.ReadFile(name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for line := range strings.Lines(string(text)) {
			setting, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
			want[setting] = value
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s: (-got +want)\n%s", name, diff)
		}
	}
	c := Default(Serve)
	c.Quotas = "quotas.yaml"
	quotas, err := c.LoadQuotas()
	want := chat.Quotas{Rooms: 1, LoggingConfigurations: 2, Connections: 3, SendMessage: 4, DeleteMessage: 5, DisconnectUser: 6,
		Requests: map[string]int{"CreateChatToken": 7, "TagResource": 8}}
	if diff := cmp.Diff(quotas, want); diff != "" || err != nil {
		t.Errorf("quotas: %v (-got +want)\n%s", err, diff)
	}
	if *writeV0 != "" {
		for _, f := range append(Fields(Serve), Fields(Dev)...) {
			if !covered[f.Name] {
				t.Errorf("%s is in no file", f.Name)
			}
		}
	}
}

func writeV0Meaning(t *testing.T, name string, settings map[string]string, mode Mode) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, f := range Fields(mode) {
		if value, ok := settings[f.Name]; ok {
			fmt.Fprintf(file, "%s = %s\n", f.Name, value)
		}
	}
}
