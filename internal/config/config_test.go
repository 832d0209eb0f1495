package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestDefaultsAreValid(t *testing.T) {
	for _, mode := range []Mode{Dev, Serve} {
		c := Default(mode)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: got %v, want no fault", mode, err)
		}
	}
	dev, serve := Default(Dev), Default(Serve)
	if dev.Data != "" || serve.Data != "./parlor-data" {
		t.Errorf("got data %q and %q, want none for dev and ./parlor-data for serve", dev.Data, serve.Data)
	}
	if dev.DrainWindow != 0 || serve.DrainWindow != 10*time.Second {
		t.Errorf("got drain windows %s and %s, want 0s and 10s", dev.DrainWindow, serve.DrainWindow)
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	c := Config{
		Mode: Serve, Listen: "4870", Account: "12345", TokenLifetime: 4 * time.Hour,
		PingInterval: time.Millisecond, DrainWindow: -1, LogLevel: "loud", LogFormat: "xml",
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		`listen: "4870" is not HOST:PORT, such as 127.0.0.1:4870`,
		`data: is empty; name a directory`,
		`account: "12345" is not an account id of 12 digits`,
		`token-lifetime: 4h is not between 1s and 3h`,
		`ping-interval: 1ms is not between 1s and 10m`,
		`drain-window: -1ns is not between 0s and 1h`,
		`log-level: "loud" is not one of debug, info, warn, error`,
		`log-format: "xml" is not one of auto, text, json`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

func TestListen(t *testing.T) {
	for _, tc := range []struct {
		listen string
		mode   Mode
		open   bool
		want   string // what the fault contains, or ""
	}{
		{"127.0.0.1:0", Serve, false, ""},
		{"[::1]:4870", Serve, false, ""},
		{"localhost:4870", Serve, false, ""},
		{"0.0.0.0:4870", Serve, false, "does not verify credentials yet"},
		{"0.0.0.0:4870", Serve, true, "does not verify credentials yet"},
		{":4870", Serve, false, "loopback only"},
		{"chat.example.com:4870", Serve, false, "loopback only"},
		{"0.0.0.0:4870", Dev, false, "--open"},
		{"localhost.example.com:1", Dev, false, "--open"},
		{"0.0.0.0:4870", Dev, true, ""},
		{"127.0.0.1:http", Dev, false, "port number"},
		{"127.0.0.1:65536", Dev, false, "port number"},
		{"127.0.0.1:", Dev, false, "port number"},
		{"127.0.0.1", Dev, false, "HOST:PORT"},
		{"", Dev, false, "HOST:PORT"},
	} {
		c := Default(tc.mode)
		c.Listen, c.Open = tc.listen, tc.open
		err := c.Validate()
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s %q: got %v, want no fault", tc.mode, tc.listen, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s %q: got %v, want a fault with %q", tc.mode, tc.listen, err, tc.want)
		}
	}
}

func TestReadFile(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		mode       Mode
		want       map[string]string
		faults     string
	}{
		{name: "empty", file: "", mode: Serve},
		{name: "comments only", file: "# nothing\n", mode: Serve},
		{
			name: "values as they stand",
			file: "listen: 127.0.0.1:0\naccount: 000000000000\ncompression: true\ntoken-lifetime: 90s # short\ndata: \"/a b\"\n",
			mode: Serve,
			want: map[string]string{"listen": "127.0.0.1:0", "account": "000000000000", "compression": "true", "token-lifetime": "90s", "data": "/a b"},
		},
		{name: "one value", file: "data: x\n", mode: Serve, want: map[string]string{"data": "x"}},
		{
			name:   "every fault at once",
			file:   "lisen: x\ntoken_lifetime: 1m\ncompression: maybe\nping-interval: soon\n\ndata: [a]\naccount:\nzebra: 1\nopen: true\n",
			mode:   Serve,
			faults: "F:1: unknown key \"lisen\"; did you mean \"listen\"?\nF:2: unknown key \"token_lifetime\"; did you mean \"token-lifetime\"?\nF:3: compression: \"maybe\" is not true or false\nF:4: ping-interval: \"soon\" is not a duration such as 90s, 45m or 1h30m\nF:6: data: want a single value\nF:7: account has no value\nF:8: unknown key \"zebra\"; see docs/config.md, or parlor config print\nF:9: open is a setting of parlor dev only",
		},
		{name: "a setting of dev", file: "open: true\n", mode: Dev, want: map[string]string{"open": "true"}},
		{name: "set twice", file: "data: a\nlisten: b\ndata: c\n", mode: Serve, faults: "F:3:"},
		{name: "not YAML", file: "data: 'x\nlisten: }\n", mode: Serve, faults: "F:"},
		{name: "not a mapping", file: "- a\n", mode: Serve, faults: "F:1: the file is not a mapping"},
		{name: "two documents", file: "data: a\n---\ndata: b\n", mode: Serve, faults: "several YAML documents"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "parlor.yaml")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(path, tc.mode)
			if tc.faults != "" {
				if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), path, "F"), tc.faults) {
					t.Errorf("got %v, want faults with\n%s", err, tc.faults)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tc.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := ReadFile(filepath.Join(t.TempDir(), "none.yaml"), Serve)
	if _, ok := err.(Faults); !ok || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v, want a fault that names the file", err)
	}
}

// What is printed can be read back and says the same.
func TestPrintRoundTrip(t *testing.T) {
	for _, mode := range []Mode{Dev, Serve} {
		c := Default(mode)
		values, faults := parseFile([]byte(c.YAML()), mode)
		if faults != nil {
			t.Fatalf("%s: %v\n%s", mode, faults, c.YAML())
		}
		for _, f := range Fields(mode) {
			got, err := f.parse(values[f.Name])
			if err != nil {
				t.Fatal(err)
			}
			want, _ := f.parse(f.Default)
			if got.Interface() != want.Interface() {
				t.Errorf("%s %s: got %v, want %v", mode, f.Name, got, want)
			}
		}
	}
}

// A setting's variable and key follow from its flag.
func TestNames(t *testing.T) {
	for _, f := range Fields(Dev) {
		want := "PARLOR_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if f.Env != want {
			t.Errorf("%s: got variable %s, want %s", f.Name, f.Env, want)
		}
		if !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: help is not a sentence: %q", f.Name, f.Help)
		}
	}
}

func TestReference(t *testing.T) {
	const path = "../../docs/config.md"
	want := Reference()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/config.md is out of date; run go test ./internal/config -update\n%s", diff)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:0\n"))
	f.Add([]byte("- a\n---\n&x *y"))
	f.Add([]byte("? a\n: b\n<<: {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, faults := parseFile(data, Dev)
		if len(faults) == 0 {
			for k := range values {
				if k == "" {
					t.Error("a value without a setting")
				}
			}
		}
	})
}
