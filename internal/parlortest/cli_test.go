package parlortest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/parlortest"
)

// cliEnvironment is what the AWS tools see: credentials of the test, and nothing that
// the user of this machine has set up.
func cliEnvironment(t testing.TB) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	empty := t.TempDir() + "/none"
	return append(env,
		"AWS_ACCESS_KEY_ID="+parlortest.Account, "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_REGION="+parlortest.Region, "AWS_DEFAULT_REGION="+parlortest.Region, // older ones know the second only
		"AWS_CONFIG_FILE="+empty, "AWS_SHARED_CREDENTIALS_FILE="+empty,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_DEFAULT_OUTPUT=json", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
}

// TestCommandLineInterface says every one of the 17 operations to the AWS CLI once.
func TestCommandLineInterface(t *testing.T) {
	t.Parallel()
	version, err := exec.Command("aws", "--version").CombinedOutput()
	if err != nil {
		missing(t, "the AWS CLI")
	}
	t.Logf("%s", bytes.TrimSpace(version))
	s := parlortest.Start(t)
	env := cliEnvironment(t)
	command := func(arguments ...string) ([]byte, string, error) {
		cli := exec.CommandContext(t.Context(), "aws", append([]string{"--endpoint-url", s.URL, "ivschat"}, arguments...)...)
		cli.Env = env
		var stderr bytes.Buffer
		cli.Stderr = &stderr
		out, err := cli.Output()
		return out, stderr.String(), err
	}
	type answer struct {
		Arn, ID, Name, Token, State string
		MaximumMessageLength        int
		MaximumMessageRatePerSecond int
		MessageReviewHandler        *struct{ URI, FallbackResult string }
		DestinationConfiguration    map[string]map[string]string
		Tags                        map[string]string
		Rooms                       []answerSummary
		LoggingConfigurations       []answerSummary
		CreateTime                  any
	}
	called := map[string]bool{}
	aws := func(arguments ...string) (a answer) {
		t.Helper()
		called[arguments[0]] = true
		out, stderr, err := command(arguments...)
		if err != nil {
			t.Fatalf("aws ivschat %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
		}
		if len(out) > 0 {
			if err := json.Unmarshal(out, &a); err != nil {
				t.Fatalf("aws ivschat %s printed %s: %v", strings.Join(arguments, " "), out, err)
			}
		}
		return a
	}

	lc := aws("create-logging-configuration", "--name", "logs", "--destination-configuration", "s3={bucketName=chat-logs}", "--tags", "a=b").Arn
	aws("update-logging-configuration", "--identifier", lc, "--destination-configuration", "cloudWatchLogs={logGroupName=/chat}")
	if got := aws("get-logging-configuration", "--identifier", lc); got.State != "ACTIVE" || got.Name != "logs" || got.DestinationConfiguration["cloudWatchLogs"]["logGroupName"] != "/chat" {
		t.Errorf("the logging configuration: got %+v", got)
	}
	if got := aws("list-logging-configurations").LoggingConfigurations; len(got) != 1 || got[0].Arn != lc {
		t.Errorf("logging configurations: got %+v", got)
	}
	const handler = "arn:aws:lambda:us-west-2:123456789012:function:review"
	room := aws("create-room", "--name", "lobby", "--maximum-message-length", "200",
		"--message-review-handler", "uri="+handler+",fallbackResult=DENY", "--logging-configuration-identifiers", lc, "--tags", "team=live ✓").Arn
	aws("update-room", "--identifier", room, "--maximum-message-rate-per-second", "7", "--message-review-handler", "uri=")
	if got := aws("get-room", "--identifier", room); got.Name != "lobby" || got.MaximumMessageLength != 200 || got.MaximumMessageRatePerSecond != 7 ||
		got.MessageReviewHandler != nil && got.MessageReviewHandler.URI != "" {
		t.Errorf("the room: got %+v", got)
	}
	if got := aws("list-rooms", "--name", "lobby", "--logging-configuration-identifier", lc).Rooms; len(got) != 1 || got[0].Arn != room {
		t.Errorf("rooms: got %+v", got)
	}
	aws("tag-resource", "--resource-arn", room, "--tags", `{"k v/é":"1","gone":""}`)
	aws("untag-resource", "--resource-arn", room, "--tag-keys", "gone", "never & there")
	if diff := cmp.Diff(map[string]string{"team": "live ✓", "k v/é": "1"}, aws("list-tags-for-resource", "--resource-arn", room).Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}

	token := aws("create-chat-token", "--room-identifier", room, "--user-id", "ann", "--capabilities", "SEND_MESSAGE", "--attributes", "name=Ann").Token
	ann, status := dial(t, s, token)
	if ann == nil {
		t.Fatalf("a token of the CLI: got %d", status)
	}
	event := aws("send-event", "--room-identifier", room, "--event-name", "app:goal", "--attributes", "team=red").ID
	deletion := aws("delete-message", "--room-identifier", room, "--id", "M2YcHkgffEvU", "--reason", "rude").ID
	aws("disconnect-user", "--room-identifier", room, "--user-id", "ann", "--reason", "too loud")
	for _, want := range []struct{ id, name, key, value string }{
		{event, "app:goal", "team", "red"},
		{deletion, "aws:DELETE_MESSAGE", "MessageID", "M2YcHkgffEvU"},
		{"", "aws:DISCONNECT_USER", "UserId", "ann"},
	} {
		if f := ann.next(); f.EventName != want.name || want.id != "" && f.ID != want.id || f.Attributes[want.key] != want.value {
			t.Errorf("event: got %+v, want %v", f, want)
		}
	}
	if got := ann.closed(); got.Reason != "too loud" {
		t.Errorf("close: got %+v", got)
	}

	aws("delete-room", "--identifier", room)
	aws("delete-logging-configuration", "--identifier", lc)
	_, stderr, err := command("get-room", "--identifier", room)
	if err == nil || !strings.Contains(stderr, "(ResourceNotFoundException)") || !strings.Contains(stderr, "GetRoom") {
		t.Errorf("a room that is gone: got %v\n%s", err, stderr)
	}
	if len(called) != 17 {
		t.Errorf("%d operations were called, want 17", len(called))
	}
}

type answerSummary struct{ Arn, Name string }

// TestBoto3 runs testdata/boto3/flow.py.
func TestBoto3(t *testing.T) {
	t.Parallel()
	python := ""
	for _, candidate := range []string{"python3", "/usr/bin/python3"} { // a Python beside Debian's does not see its packages
		if exec.Command(candidate, "-c", "import boto3").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		missing(t, "boto3")
	}
	s := parlortest.Start(t)
	script := exec.CommandContext(t.Context(), python, "testdata/boto3/flow.py")
	script.Env = append(cliEnvironment(t), "PARLOR_URL="+s.URL, "PYTHONDONTWRITEBYTECODE=1")
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", bytes.TrimSpace(out))
}
