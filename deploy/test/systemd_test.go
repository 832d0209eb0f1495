package deploytest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"parlor/internal/config"
)

func TestUnit(t *testing.T) {
	unit := file(t, "deploy/parlor.service")
	t.Run("its time to stop is enough", func(t *testing.T) {
		m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatal("TimeoutStopSec is not said")
		}
		has, err := time.ParseDuration(m[1] + "s")
		if err != nil {
			t.Fatal(err)
		}
		defaults := config.Default(config.Serve)
		if may := defaults.DrainWindow + stopTime(t); has < may {
			t.Errorf("a stop may take %v, the unit has %v", may, has)
		}
	})
	t.Run("its variables are Parlor's", func(t *testing.T) {
		dir := shared(t)
		put(t, filepath.Join(dir, "credentials"), []byte(exampleKey))
		env := []string{"PARLOR_CREDENTIALS=" + filepath.Join(dir, "credentials")}
		lines := bufio.NewScanner(strings.NewReader(file(t, "deploy/nodes.env")))
		for lines.Scan() {
			variable, _, found := strings.Cut(strings.TrimPrefix(lines.Text(), "#"), "=")
			if found && strings.HasPrefix(variable, "PARLOR_") && !isSetting(variable) {
				t.Errorf("%s is no variable of Parlor's", variable)
			}
			if found && !strings.HasPrefix(lines.Text(), "#") {
				env = append(env, lines.Text())
			}
		}
		if err := check(t, env); err != nil {
			t.Error(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^Environment=(\w+)=`).FindAllStringSubmatch(unit, -1) {
			if !isSetting(m[1]) {
				t.Errorf("%s is no variable of Parlor's", m[1])
			}
		}
	})
	t.Run("systemd has nothing against it", func(t *testing.T) {
		analyze, err := exec.LookPath("systemd-analyze")
		if err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("there is no systemd-analyze: make deps installs it on Debian")
			}
			t.Skip("there is no systemd-analyze")
		}
		dir := t.TempDir()
		// The program has to be there.
		here := strings.ReplaceAll(unit, "/usr/local/bin/parlor", parlor(t))
		for name, text := range map[string]string{
			"parlor.service":              here,
			"parlor.service.d/nodes.conf": file(t, "deploy/parlor.service.d/nodes.conf"),
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		verify := func() string {
			t.Helper()
			command := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, "parlor.service"))
			command.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
			out, err := command.CombinedOutput()
			if err != nil {
				return string(out) + err.Error()
			}
			return string(out)
		}
		if said := verify(); said != "" {
			t.Errorf("systemd-analyze verify: %s", said)
		}
		// It would have said something, of the drop-in as well.
		if err := os.WriteFile(filepath.Join(dir, "parlor.service.d/nodes.conf"), []byte("[Service]\nEnvironmentFiles=/x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if said := verify(); !strings.Contains(said, "EnvironmentFiles") {
			t.Errorf("of a drop-in with a fault it said %q", said)
		}
	})
}
