package release

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const installPage = "docs/install.md"

// page is a command of docs/install.md, word for word.
func page(t testing.TB, command string) string {
	t.Helper()
	if !strings.Contains(file(t, installPage), "\n"+command+"\n") {
		t.Fatalf("%s does not say %q", installPage, command)
	}
	return command
}

// Every command of the page is run by a test, which says so by page, or is here with the
// reason why not.
func TestInstallPage(t *testing.T) {
	untried := map[string]string{
		"systemctl enable --now parlor":                                                                    "there is no systemd; systemctl --root enables it",
		"docker build --file deploy/Dockerfile --tag parlor:latest .":                                      "there is no Docker engine; buildah builds the file",
		"docker compose --file deploy/dev-compose.yaml up --detach --wait":                                 "the same; TestDevCompose runs what the file says",
		"docker run --rm --publish 127.0.0.1:4870:4870 --env PARLOR_LISTEN=:4870 parlor:latest dev --open": "the same",
		"git checkout REVISION":        "the tests copy the tree",
		"GOTOOLCHAIN=GO make packages": "TestBuildIsReproducible does, with the version of Go",
		"make packages":                "build does, with a version of its own",
	}
	source := ""
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		source += text(t, name)
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(file(t, installPage), -1) {
		for line := range strings.Lines(block[1]) {
			commands++
			line = strings.TrimSpace(line)
			if untried[line] == "" && !strings.Contains(source, `page(t, "`+line+`")`) {
				t.Errorf("no test runs %s", line)
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were found", commands)
	}
	for line := range untried {
		page(t, line)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(file(t, installPage), -1) {
		run(t, "test", "-e", filepath.Join(root, "docs", m[1]))
	}
}

func TestInstallPageProgram(t *testing.T) {
	t.Parallel()
	tree, bin := t.TempDir(), t.TempDir()
	if err := copyTree(tree); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	shell := func(script string) string {
		t.Helper()
		c := exec.Command("sh", "-euc", strings.NewReplacer("/usr/local/bin", bin, "4870", port).Replace(script))
		c.Dir = tree
		c.Env = append(c.Environ(), "PATH="+bin+":/usr/local/go/bin:/usr/bin:/bin:"+goEnv(t, "GOROOT")+"/bin")
		out, err := try(t, c)
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return out
	}
	shell(page(t, "make build"))
	shell(page(t, "install -m 0755 bin/parlor /usr/local/bin/parlor"))
	if said := shell(page(t, "parlor version")); !strings.HasPrefix(said, "parlor devel ") {
		t.Errorf("without git it is %s", said)
	}
	shell(page(t, "parlor version --json"))
	start := page(t, "parlor dev --listen 127.0.0.1:4870 2>parlor.log &")
	check := page(t, "parlor healthcheck --wait 30s --url http://127.0.0.1:4870")
	if said := shell("trap 'kill $! && wait $!' EXIT\n" + start + "\n" + check); said != "ok\n" {
		t.Errorf("it says %q", said)
	}
}

func TestInstallPageDigests(t *testing.T) {
	m := build(t)
	c := exec.Command("sh", "-euc", page(t, "sha256sum bin/parlor dist/parlor*"))
	c.Dir = m.tree
	out, err := try(t, c)
	if err != nil || strings.Count(out, "\n") != 4 || !strings.HasPrefix(out, digest(t, m.program)) {
		t.Errorf("%v\n%s", err, out)
	}
}
