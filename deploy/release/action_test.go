package release

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// action is what deploy/github-action/action.yml says. A key that is not here fails.
type action struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Inputs      map[string]struct {
		Description string `json:"description"`
		Default     string `json:"default"`
	} `json:"inputs"`
	Outputs map[string]struct {
		Description string `json:"description"`
		Value       string `json:"value"`
	} `json:"outputs"`
	Runs struct {
		Using string `json:"using"`
		Steps []struct {
			ID    string            `json:"id"`
			Shell string            `json:"shell"`
			Env   map[string]string `json:"env"`
			Run   string            `json:"run"`
		} `json:"steps"`
	} `json:"runs"`
}

// outcome is what a run of the action left.
type outcome struct {
	err     error
	said    string
	outputs map[string]string
	env     map[string]string
}

// act runs the action as a runner would, with inputs and what the job's environment has
// beside that of a runner. The server that it leaves running ends with the test.
func act(t *testing.T, inputs map[string]string, job ...string) outcome {
	t.Helper()
	var a action
	if err := yaml.UnmarshalStrict([]byte(file(t, "deploy/github-action/action.yml")), &a); err != nil {
		t.Fatal(err)
	}
	if a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("the action is %+v", a.Runs)
	}
	for name := range inputs {
		if _, ok := a.Inputs[name]; !ok {
			t.Fatalf("the action has no input %s", name)
		}
	}
	dir := t.TempDir()
	here, err := filepath.Abs(filepath.Join(root, "deploy/github-action"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killServersOf(t, dir) })
	o := outcome{outputs: map[string]string{}, env: map[string]string{}}
	steps := map[string]map[string]string{}
	expand := func(text string) string {
		return regexp.MustCompile(`\$\{\{ (\w+)\.(\w+)(?:\.outputs\.(\w+))? \}\}`).ReplaceAllStringFunc(text, func(expression string) string {
			m := regexp.MustCompile(`(\w+)\.(\w+)(?:\.outputs\.(\w+))?`).FindStringSubmatch(expression)
			switch {
			case m[1] == "inputs" && m[3] == "":
				in, ok := a.Inputs[m[2]]
				if !ok {
					t.Errorf("%s: there is no such input", expression)
				}
				if given, ok := inputs[m[2]]; ok {
					return given
				}
				return in.Default
			case m[1] == "steps" && m[3] != "" && steps[m[2]] != nil:
				return steps[m[2]][m[3]]
			}
			t.Errorf("%s is not understood", expression)
			return ""
		})
	}
	for _, step := range a.Runs.Steps {
		if strings.Contains(step.Run, "${{") {
			t.Errorf("step %s has an expression in its script: what an input says would be run", step.ID)
		}
		outputs, env := filepath.Join(dir, step.ID+".outputs"), filepath.Join(dir, step.ID+".env")
		script := filepath.Join(dir, step.ID+".sh")
		for name, text := range map[string]string{outputs: "", env: "", script: step.Run} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// As a runner does for shell: bash.
		c := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", script)
		c.Dir = dir
		for _, name := range []string{"PATH", "HOME", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
			if v, ok := os.LookupEnv(name); ok {
				c.Env = append(c.Env, name+"="+v)
			}
		}
		c.Env = append(c.Env, "RUNNER_TEMP="+dir, "TMPDIR="+dir, "GITHUB_OUTPUT="+outputs, "GITHUB_ENV="+env, "GITHUB_ACTION_PATH="+here)
		c.Env = append(c.Env, job...)
		for name, value := range step.Env {
			c.Env = append(c.Env, name+"="+expand(value))
		}
		said, err := try(t, c)
		o.said += said
		steps[step.ID] = variables(t, outputs)
		for name, value := range variables(t, env) {
			o.env[name] = value
		}
		if err != nil {
			o.err = fmt.Errorf("step %s: %w", step.ID, err)
			return o
		}
	}
	for name, output := range a.Outputs {
		o.outputs[name] = expand(output.Value)
	}
	return o
}

// variables reads what a step wrote for the runner.
func variables(t *testing.T, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(text(t, path)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			t.Errorf("%s has the line %q", path, line)
		}
		found[name] = value
	}
	return found
}

// killServersOf ends the processes whose standard output is in a directory, as the end of a
// job does.
func killServersOf(t *testing.T, dir string) {
	found, err := filepath.Glob("/proc/[0-9]*/fd/1")
	if err != nil {
		t.Error(err)
	}
	for _, link := range found {
		if to, err := os.Readlink(link); err != nil || !strings.HasPrefix(to, dir+"/") {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		syscall.Kill(pid, syscall.SIGTERM)
		for begun := time.Now(); syscall.Kill(pid, 0) == nil && time.Since(begun) < 10*time.Second; {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func TestAction(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("there is no /proc")
	}
	m := build(t)
	ready := func(t *testing.T, o outcome) {
		t.Helper()
		if o.err != nil {
			t.Fatalf("%v\n%s", o.err, o.said)
		}
		endpoint := o.outputs["endpoint"]
		if endpoint == "" || o.env["AWS_ENDPOINT_URL_IVSCHAT"] != endpoint || o.outputs["messaging"] != "ws"+strings.TrimPrefix(endpoint, "http") {
			t.Errorf("the outputs are %v, the variables %v", o.outputs, o.env)
		}
		run(t, m.program, "healthcheck", "--url", endpoint)
		if !strings.Contains(text(t, o.outputs["log"]), "is ready") {
			t.Error("the log is somewhere else")
		}
	}
	t.Run("a program that is there", func(t *testing.T) {
		o := act(t, map[string]string{"program": m.program, "listen": "127.0.0.1:0", "arguments": "--account 210987654321 --regions eu-west-1"})
		ready(t, o)
		for name, want := range map[string]string{"AWS_ACCESS_KEY_ID": "210987654321", "AWS_SECRET_ACCESS_KEY": "parlor", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"} {
			if o.env[name] != want {
				t.Errorf("%s is %q, want %q", name, o.env[name], want)
			}
		}
	})
	t.Run("a job with a key of its own", func(t *testing.T) {
		o := act(t, map[string]string{"program": m.program, "listen": "127.0.0.1:0"}, "AWS_ACCESS_KEY_ID=mine", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=us-west-2")
		ready(t, o)
		if _, ok := o.env["AWS_ACCESS_KEY_ID"]; ok || o.env["AWS_REGION"] != "" || o.env["AWS_DEFAULT_REGION"] == "" {
			t.Errorf("the variables are %v", o.env)
		}
	})
	t.Run("from source", func(t *testing.T) {
		tree := t.TempDir()
		if err := copyTree(tree); err != nil {
			t.Fatal(err)
		}
		ready(t, act(t, map[string]string{"source": tree, "listen": "127.0.0.1:0"}))
	})
	t.Run("downloaded", func(t *testing.T) {
		archive := filepath.Join(t.TempDir(), "parlor_1.2.3_linux_amd64.tar.gz")
		run(t, "tar", "-c", "-z", "-f", archive, "-C", filepath.Dir(m.program), "parlor")
		files := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(archive))))
		defer files.Close()
		url := files.URL + "/" + filepath.Base(archive)
		ready(t, act(t, map[string]string{"url": url, "sha256": digest(t, archive), "listen": "127.0.0.1:0"}))
		for name, sum := range map[string]string{"without a digest": "", "with another": strings.Repeat("0", 64)} {
			if o := act(t, map[string]string{"url": url, "sha256": sum, "listen": "127.0.0.1:0"}); o.err == nil || !strings.Contains(o.err.Error(), "step get") {
				t.Errorf("%s: got %v", name, o.err)
			}
		}
	})
	t.Run("it does not start", func(t *testing.T) {
		begun := time.Now()
		o := act(t, map[string]string{"program": m.program, "listen": "127.0.0.1:0", "arguments": "--regions $(true)"})
		if o.err == nil || !strings.Contains(o.said, "::error::parlor dev did not start") || !strings.Contains(o.said, "  regions: ") {
			t.Errorf("got %v\n%s", o.err, o.said)
		}
		if len(o.env) > 0 || time.Since(begun) > 25*time.Second {
			t.Errorf("after %s it left the variables %v", time.Since(begun), o.env)
		}
	})
}
