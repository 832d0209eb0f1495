package parlortest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/redistest"
)

// TestNodesJavaScriptSDKs runs testdata/js/nodes.mjs: the npm clients against three nodes.
func TestNodesJavaScriptSDKs(t *testing.T) {
	t.Parallel()
	dir := nodeProject(t)
	n := startNodes(t)
	node := exec.CommandContext(t.Context(), "node", "run.mjs", "nodes")
	node.Dir, node.Env = dir, os.Environ()
	for i, s := range n.servers {
		node.Env = append(node.Env, name(i)+"_URL="+s.URL, name(i)+"_WS="+s.WebSocketURL)
	}
	var stdout, stderr bytes.Buffer
	node.Stdout, node.Stderr = &stdout, &stderr
	err := node.Run()
	results := scenarios(t, &stdout)
	if err != nil || len(results) != 1 || !results[0].OK {
		t.Errorf("node: %v, got %+v\n%s", err, results, &stderr)
	}
}

// TestNodesGoSDK: what the official SDK does at one node is there at the others at once:
// rooms, logging configurations, tags, lists; a page's token is good at every node.
func TestNodesGoSDK(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	n := startNodes(t)
	at := func(i int) *ivschat.Client { return n.clients[i%nodeCount] }
	var arns []string
	for i := range 10 {
		out := must[*ivschat.CreateRoomOutput](t)(at(i).CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String(fmt.Sprint("room-", i)), Tags: map[string]string{"n": fmt.Sprint(i)}}))
		arns = append(arns, *out.Arn)
		got := must[*ivschat.GetRoomOutput](t)(at(i+1).GetRoom(ctx, &ivschat.GetRoomInput{Identifier: out.Arn}))
		if *got.Name != *out.Name || got.Tags["n"] != fmt.Sprint(i) || !got.UpdateTime.Equal(*out.UpdateTime) {
			t.Errorf("node %s: got %+v", name((i+1)%nodeCount), got)
		}
	}
	// Most recently updated first, whichever node did it.
	for k, i := range []int{3, 7} {
		must[*ivschat.UpdateRoomOutput](t)(at(k).UpdateRoom(ctx, &ivschat.UpdateRoomInput{Identifier: &arns[i], MaximumMessageLength: aws.Int32(100)}))
	}
	want := []string{arns[7], arns[3], arns[9], arns[8], arns[6], arns[5], arns[4], arns[2], arns[1], arns[0]}
	var listed []string
	var next *string
	for page := 0; page == 0 || next != nil; page++ {
		out := must[*ivschat.ListRoomsOutput](t)(at(page).ListRooms(ctx, &ivschat.ListRoomsInput{MaxResults: aws.Int32(3), NextToken: next}))
		for _, room := range out.Rooms {
			listed = append(listed, *room.Arn)
		}
		next = out.NextToken
	}
	if !slices.Equal(listed, want) {
		t.Errorf("page by page at one node after the other:\n got %v\nwant %v", listed, want)
	}

	logs := newLogging(t, at(0), "s3", "chat")
	setLogging(t, at(1), arns[0], logs)
	_, err := at(2).DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: &logs})
	if _, ok := errors.AsType[*types.ConflictException](err); !ok {
		t.Errorf("DeleteLoggingConfiguration of one in use: got %v, want a ConflictException", err)
	}
	must[*ivschat.DeleteRoomOutput](t)(at(0).DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &arns[0]}))
	must[*ivschat.DeleteLoggingConfigurationOutput](t)(at(2).DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: &logs}))
	for i := range nodeCount {
		_, err := at(i).GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &arns[0]})
		if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
			t.Errorf("node %s: got %v, want a ResourceNotFoundException", name(i), err)
		}
	}
}

// TestNodesCommandLineInterface: the AWS CLI makes a room at one node, which it sees at the
// others.
func TestNodesCommandLineInterface(t *testing.T) {
	t.Parallel()
	if err := exec.Command("aws", "--version").Run(); err != nil {
		missing(t, "the AWS CLI")
	}
	n := startNodes(t)
	env := cliEnvironment(t)
	cli := func(i int, arguments ...string) (out struct{ Arn, Name, Token string }) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "aws", append([]string{"--endpoint-url", n.servers[i].URL, "ivschat"}, arguments...)...)
		c.Env = env
		text, err := c.Output()
		if err != nil {
			t.Fatalf("aws ivschat %v at node %s: %v", arguments, name(i), err)
		}
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	room := cli(0, "create-room", "--name", "lobby").Arn
	if got := cli(1, "get-room", "--identifier", room); got.Name != "lobby" {
		t.Errorf("got %+v", got)
	}
	token := cli(2, "create-chat-token", "--room-identifier", room, "--user-id", "ann").Token
	if opened := n.race(token); opened != 1 {
		t.Errorf("the token opened %d connections, want 1", opened)
	}
}

// TestNodesRedisWithoutDatabase: nodes that share a broker and no store do not start.
func TestNodesRedisWithoutDatabase(t *testing.T) {
	t.Parallel()
	refuses(t, "database-url", "--redis-url", "redis://127.0.0.1:1")
}

// TestNodesWithoutRedis: a second node on one database does not start unless both share a
// Redis.
func TestNodesWithoutRedis(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	first, _ := run(t, filepath.Join(t.TempDir(), "data"), func(c *exec.Cmd) { c.Args = append(c.Args, "--database-url", database) })
	refuses(t, "give --redis-url to each of them", "--database-url", database)
	refuses(t, "another node, without --redis-url, uses the database", "--database-url", database, "--redis-url", redistest.Start(t).URL())
	if status, _, err := newAPI(t, first.address).call("POST", "/CreateRoom", map[string]any{}); err != nil || status != http.StatusOK {
		t.Errorf("the first node: got %d %v", status, err)
	}
}

// refuses starts the command, which has to end at once and say why.
func refuses(t *testing.T, why string, flags ...string) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	cmd := exec.CommandContext(t.Context(), command(t), append([]string{"dev", "--listen", "127.0.0.1:0", "--data", data}, flags...)...)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || !strings.Contains(string(out), why) {
		t.Errorf("parlor dev %v: got %v, want it to end and say %q:\n%s", flags, err, why, out)
	}
}
