package console

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// suite is AWS's examples of signatures, beside the repository.
const suite = "../../../shared/aws-sigv4-suite"

// TestJavaScript runs the tests of testdata/js under Node: of the modules that need no
// page. They are copied to where Node takes them for modules.
func TestJavaScript(t *testing.T) {
	if err := exec.Command("node", "--version").Run(); err != nil {
		missing(t, "Node (make deps installs it)")
	}
	dir := t.TempDir()
	for _, from := range []string{"assets/js", "testdata/js"} {
		if err := os.CopyFS(filepath.Join(dir, from), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob(filepath.Join(dir, "testdata/js/*.test.js"))
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	node := exec.CommandContext(t.Context(), "node", append([]string{"--test", "--test-reporter=tap"}, tests...)...)
	node.Env = os.Environ()
	if path, err := filepath.Abs(suite); err == nil && exists(path) {
		node.Env = append(node.Env, "SIGV4_SUITE="+path)
	} else {
		defer missing(t, "AWS's signature suite (shared/aws-sigv4-suite)") // the rest is tested
	}
	var out bytes.Buffer
	node.Stdout, node.Stderr = &out, &out
	if err := node.Run(); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missing ends a test that lacks something: on a developer's machine it skips, in CI it
// fails.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: not there, which CI must have", what)
	}
	t.Skipf("%s: not there", what)
}
