package parlortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/google/go-cmp/cmp"

	"parlor/internal/parlortest"
)

// pluginDirectories are where a provider may be that was brought here without a
// network: TF_PLUGIN_CACHE_DIR, then where Terraform itself looks for mirrors.
func pluginDirectories() []string {
	directories := []string{os.Getenv("TF_PLUGIN_CACHE_DIR")}
	if home, err := os.UserHomeDir(); err == nil {
		directories = append(directories, filepath.Join(home, ".terraform.d", "plugins"))
	}
	return append(directories, "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")
}

// TestTerraform creates, changes and destroys rooms and logging configurations with
// the AWS provider, which plans no change when there is none. It is optional, in CI
// too: the registries that tests may use have no Terraform providers.
func TestTerraform(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not there; this test is optional")
	}
	mirror := ""
	for _, directory := range pluginDirectories() {
		if found, _ := filepath.Glob(filepath.Join(directory, "registry.terraform.io/hashicorp/aws/*")); directory != "" && len(found) > 0 {
			mirror = directory
			break
		}
	}
	if mirror == "" {
		t.Skip("the AWS provider of Terraform is in none of its mirror directories nor TF_PLUGIN_CACHE_DIR; this test is optional")
	}
	s := parlortest.Start(t)
	client := s.Client(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/terraform")); err != nil {
		t.Fatal(err)
	}
	// No registry is asked, whatever the user of this machine has set up.
	settings := filepath.Join(dir, "settings.tfrc")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror { path = %q }\n}\n", mirror), 0o600); err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(cliEnvironment(t), func(v string) bool { return strings.HasPrefix(v, "TF_") })
	env = append(env, "TF_CLI_CONFIG_FILE="+settings, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_VAR_url="+s.URL)
	terraform := func(phase string, want int, arguments ...string) []byte {
		t.Helper()
		command := exec.CommandContext(t.Context(), "terraform", arguments...)
		command.Dir = dir
		command.Env = append(env, "TF_VAR_phase="+phase)
		out, err := command.CombinedOutput()
		if got := command.ProcessState.ExitCode(); got != want {
			t.Fatalf("terraform %s (%s): got exit code %d (%v), want %d\n%s", strings.Join(arguments, " "), phase, got, err, want, out)
		}
		return out
	}
	const unchanged = 0 // of plan -detailed-exitcode; 2 is a change
	terraform("before", 0, "init", "-no-color")
	t.Logf("%s", bytes.TrimSpace(terraform("before", 0, "version", "-no-color")))
	apply := func(phase string) *ivschat.GetRoomOutput {
		t.Helper()
		terraform(phase, 0, "apply", "-auto-approve", "-no-color")
		terraform(phase, unchanged, "plan", "-detailed-exitcode", "-no-color")
		var outputs map[string]struct{ Value string }
		if err := json.Unmarshal(terraform(phase, 0, "output", "-json"), &outputs); err != nil {
			t.Fatal(err)
		}
		arn := outputs["room"].Value
		return must[*ivschat.GetRoomOutput](t)(client.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &arn}))
	}

	before := apply("before")
	if *before.Name != "lobby" || *before.MaximumMessageLength != 200 || len(before.LoggingConfigurationIdentifiers) != 2 ||
		before.MessageReviewHandler == nil || before.MessageReviewHandler.FallbackResult != "DENY" {
		t.Errorf("created: got %+v", before)
	}
	after := apply("after")
	if *after.Arn != *before.Arn || *after.Name != "lobby-after" || *after.MaximumMessageLength != 300 || len(after.LoggingConfigurationIdentifiers) != 1 ||
		after.MessageReviewHandler != nil && after.MessageReviewHandler.Uri != nil && *after.MessageReviewHandler.Uri != "" {
		t.Errorf("updated: got %+v", after)
	}
	if diff := cmp.Diff(map[string]string{"team": "live ✓", "added": "yes"}, after.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	terraform("after", 0, "destroy", "-auto-approve", "-no-color")
	if rooms := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(t.Context(), &ivschat.ListRoomsInput{})).Rooms; len(rooms) != 0 {
		t.Errorf("after destroy there are %d rooms", len(rooms))
	}
}
