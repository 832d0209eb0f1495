package parlortest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/chatlog/chatlogtest"
	"parlor/internal/parlortest"
)

// destinations are where chat logs went, by kind: a function that returns the lines of
// a room at a destination of a name.
type destinations map[string]func(name, room string) []string

// destinationKinds with how a logging configuration names one.
var destinationKinds = map[string]func(name string) types.DestinationConfiguration{
	"s3": func(name string) types.DestinationConfiguration {
		return &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: &name}}
	},
	"cloudWatchLogs": func(name string) types.DestinationConfiguration {
		return &types.DestinationConfigurationMemberCloudWatchLogs{Value: types.CloudWatchLogsDestinationConfiguration{LogGroupName: &name}}
	},
	"firehose": func(name string) types.DestinationConfiguration {
		return &types.DestinationConfigurationMemberFirehose{Value: types.FirehoseDestinationConfiguration{DeliveryStreamName: &name}}
	},
}

// localDestinations reads the directories of a server.
func localDestinations(t testing.TB, data string) destinations {
	lines := func(name string) []string {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return splitLines(text)
	}
	dir := filepath.Join(data, "logs")
	scope := filepath.Join(parlortest.Account, parlortest.Region)
	return destinations{
		"s3": func(name, room string) []string {
			names, err := filepath.Glob(filepath.Join(dir, "s3", name, "AWSLogs", parlortest.Account, "IVSChatLogs", "1.0", parlortest.Region, "room_"+room, "*/*/*/*/*.log.gz"))
			if err != nil {
				t.Fatal(err)
			}
			var objects [][]string
			for _, name := range names {
				object, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, unzipLines(t, object))
			}
			return inOrder(objects)
		},
		"cloudWatchLogs": func(name, room string) []string {
			return lines(filepath.Join(dir, "cloudwatchlogs", scope, name, "aws/IVSChatLogs/1.0/room_"+room))
		},
		"firehose": func(name, _ string) []string { return lines(filepath.Join(dir, "firehose", scope, name+".log")) },
	}
}

// awsDestinations reads what the services got.
func awsDestinations(t testing.TB, a *chatlogtest.AWS) destinations {
	return destinations{
		"s3": func(name, room string) []string {
			var objects [][]string
			for _, o := range a.Objects(name) {
				if strings.Contains(o.Key, "/room_"+room+"/") {
					objects = append(objects, unzipLines(t, o.Body))
				}
			}
			return inOrder(objects)
		},
		"cloudWatchLogs": func(name, room string) (lines []string) {
			for _, e := range a.Events(name, "aws/IVSChatLogs/1.0/room_"+room) {
				lines = append(lines, e.Message)
			}
			return lines
		},
		"firehose": func(name, _ string) (lines []string) {
			for _, r := range a.Records(name) {
				lines = append(lines, strings.TrimSuffix(string(r.Data), "\n"))
			}
			return lines
		},
	}
}

func splitLines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func unzipLines(t testing.TB, object []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return splitLines(text)
}

// inOrder is the lines of objects by the time of their first record, with which a line begins.
func inOrder(objects [][]string) []string {
	slices.SortFunc(objects, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return slices.Concat(objects...)
}

// awsEnv has a server's SDK find the services.
func awsEnv(t testing.TB, a *chatlogtest.AWS, more ...string) []string {
	env := slices.DeleteFunc(cliEnvironment(t), func(v string) bool {
		return strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") || strings.HasPrefix(v, "AWS_SECRET_ACCESS_KEY=")
	})
	return append(append(env, a.Env()...), more...)
}

// frame reads a frame as it is.
func (p *peer) frame() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, text, err := p.conn.Read(ctx)
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	return string(text)
}

// recordOf is what a log has of a frame. The time is the frame's own, to the millisecond.
func recordOf(t testing.TB, payload string) string {
	t.Helper()
	var f struct {
		Type     string
		SendTime time.Time
	}
	if err := json.Unmarshal([]byte(payload), &f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"event_timestamp":%q,"type":%q,"payload":%s,"version":"1.0"}`, f.SendTime.Format("2006-01-02T15:04:05.000Z"), f.Type, payload)
}

// waitForLines waits for as many lines as are wanted, and a little for more, and compares.
func waitForLines(t testing.TB, what string, got func() []string, want []string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for len(got()) < len(want) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if got := got(); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func roomID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// newLogging returns a logging configuration.
func newLogging(t testing.TB, client *ivschat.Client, kind, name string) string {
	t.Helper()
	out := must[*ivschat.CreateLoggingConfigurationOutput](t)(client.CreateLoggingConfiguration(context.Background(), &ivschat.CreateLoggingConfigurationInput{
		DestinationConfiguration: destinationKinds[kind](name),
	}))
	if out.State != types.CreateLoggingConfigurationStateActive {
		t.Errorf("a new logging configuration: got %s", out.State)
	}
	return *out.Arn
}

func setLogging(t testing.TB, client *ivschat.Client, room string, configurations ...string) {
	t.Helper()
	if configurations == nil {
		configurations = []string{}
	}
	must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(context.Background(), &ivschat.UpdateRoomInput{
		Identifier: &room, LoggingConfigurationIdentifiers: configurations,
	}))
}

// TestChatLog follows what is said to where it is logged: at destinations of all three
// kinds, as directories and by AWS's protocols.
func TestChatLog(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"local", "aws"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			at := localDestinations(t, data)
			flags := []string{"--chatlog-interval", "100ms", "--chatlog-s3-interval", "100ms"}
			env := cliEnvironment(t)
			if where == "aws" {
				a := chatlogtest.Start(t)
				for _, name := range []string{"first", "second"} {
					a.CreateBucket(name)
					a.CreateLogGroup(name)
					a.CreateDeliveryStream(name)
				}
				at = awsDestinations(t, a)
				flags = append(flags, "--destinations", "aws")
				env = awsEnv(t, a)
			}
			p, _ := run(t, data, func(c *exec.Cmd) { c.Args, c.Env = append(c.Args, flags...), env })
			client, s := p.client(t)
			testChatLog(t, s, client, at)
			if said := p.output(); strings.Contains(said, "ERROR") || strings.Contains(said, "WARN") {
				t.Errorf("the server said:\n%s", said)
			}
		})
	}
}

func testChatLog(t *testing.T, s *parlortest.Server, client *ivschat.Client, at destinations) {
	ctx := t.Context()
	configurations := map[string]string{}
	for kind := range destinationKinds {
		configurations[kind] = newLogging(t, client, kind, "first")
	}
	lobby, shared, quiet := newRoom(t, client, "lobby"), newRoom(t, client, "shared"), newRoom(t, client, "quiet")
	ann, bob := enterWith(t, s, client, lobby, "ann", map[string]string{"displayName": "Ann ✓"}), enter(t, s, client, lobby, "bob")
	want := map[string][]string{} // by room
	expect := func(room string, frames ...string) {
		t.Helper()
		for _, f := range frames {
			want[room] = append(want[room], recordOf(t, f))
		}
	}
	said := func(room string, p *peer, content string, more map[string]any) {
		t.Helper()
		request := map[string]any{"Action": "SEND_MESSAGE", "Content": content}
		for k, v := range more {
			request[k] = v
		}
		p.send(request)
		got := p.frame()
		if !strings.Contains(got, `"MESSAGE"`) {
			t.Fatalf("got %s", got)
		}
		if room != "" {
			expect(room, got)
		}
	}

	said("", ann, "nobody keeps this", nil)
	bob.frame()
	setLogging(t, client, lobby, configurations["s3"], configurations["cloudWatchLogs"], configurations["firehose"])
	setLogging(t, client, shared, configurations["cloudWatchLogs"])
	setLogging(t, client, quiet, configurations["cloudWatchLogs"])

	said(lobby, ann, `Hello, "Bob" <b> é 👋`, map[string]any{"RequestId": "8fe65e61-1c2d-4b6a-9b6e-0d0c5a4f3e21", "Attributes": map[string]string{"k": "v"}})
	bob.frame()
	said(lobby, ann, "without anything", nil)
	bob.frame()
	ann.send(map[string]any{"Action": "SEND_MESSAGE", "Content": strings.Repeat("x", 6000)})
	if got := ann.next(); got.Type != "ERROR" {
		t.Errorf("a message that is too long: got %+v", got)
	}
	event := "app:goal"
	must[*ivschat.SendEventOutput](t)(client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &lobby, EventName: &event, Attributes: map[string]string{"by": "9"}}))
	expect(lobby, ann.frame())
	id, reason, user := "M2YcHkgffEvU", "Spam", "bob"
	must[*ivschat.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: &lobby, Id: &id, Reason: &reason}))
	expect(lobby, ann.frame())
	ann.send(map[string]any{"Action": "DELETE_MESSAGE", "Id": id, "RequestId": "r-2"})
	expect(lobby, ann.frame())
	must[*ivschat.DisconnectUserOutput](t)(client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &lobby, UserId: &user, Reason: &reason}))
	expect(lobby, ann.frame())

	// One configuration, many rooms.
	carol := enter(t, s, client, shared, "carol")
	said(shared, carol, "here too", nil)

	// Nobody is there, and it is logged.
	sent := must[*ivschat.SendEventOutput](t)(client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &quiet, EventName: &event}))

	for kind := range at {
		waitForLines(t, kind, func() []string { return at[kind]("first", roomID(lobby)) }, want[lobby])
	}
	waitForLines(t, "the other room", func() []string { return at["cloudWatchLogs"]("first", roomID(shared)) }, want[shared])
	deadline := time.Now().Add(patience)
	lines := at["cloudWatchLogs"]("first", roomID(quiet))
	for ; len(lines) == 0 && time.Now().Before(deadline); lines = at["cloudWatchLogs"]("first", roomID(quiet)) {
		time.Sleep(20 * time.Millisecond)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], `"type":"EVENT","payload":{"Type":"EVENT","Id":"`+*sent.Id+`"`) {
		t.Errorf("a room without connections: got %q, want the event %s", lines, *sent.Id)
	}

	// A configuration in use stays.
	s3 := configurations["s3"]
	_, err := client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: &s3})
	if _, ok := errors.AsType[*types.ConflictException](err); !ok {
		t.Errorf("DeleteLoggingConfiguration in use: got %v, want ConflictException", err)
	}

	// Changes act on the next message: detached from two, the third elsewhere.
	setLogging(t, client, lobby, configurations["cloudWatchLogs"])
	said(lobby, ann, "to one only", nil)
	logs := configurations["cloudWatchLogs"]
	must[*ivschat.UpdateLoggingConfigurationOutput](t)(client.UpdateLoggingConfiguration(ctx, &ivschat.UpdateLoggingConfigurationInput{
		Identifier: &logs, DestinationConfiguration: destinationKinds["cloudWatchLogs"]("second"),
	}))
	said("second", ann, "elsewhere", nil)
	setLogging(t, client, lobby)
	said("", ann, "nobody keeps this either", nil)
	setLogging(t, client, lobby, logs)
	said("second", ann, "again", nil)
	// Another kind of destination, and as one of three.
	must[*ivschat.UpdateLoggingConfigurationOutput](t)(client.UpdateLoggingConfiguration(ctx, &ivschat.UpdateLoggingConfigurationInput{
		Identifier: &logs, DestinationConfiguration: destinationKinds["firehose"]("second"),
	}))
	said("third", ann, "to another kind", nil)
	must[*ivschat.DeleteLoggingConfigurationOutput](t)(client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: &s3}))

	waitForLines(t, "another name", func() []string { return at["cloudWatchLogs"]("second", roomID(lobby)) }, want["second"])
	waitForLines(t, "another kind", func() []string { return at["firehose"]("second", roomID(lobby)) }, want["third"])
	waitForLines(t, "the one that it had before", func() []string { return at["cloudWatchLogs"]("first", roomID(lobby)) }, want[lobby])
	for _, kind := range []string{"s3", "firehose"} {
		waitForLines(t, kind+", detached", func() []string { return at[kind]("first", roomID(lobby)) }, want[lobby][:len(want[lobby])-1])
	}
}

// enterWith opens a connection of a user with attributes, who may do everything.
func enterWith(t testing.TB, s *parlortest.Server, client *ivschat.Client, room, user string, attributes map[string]string) *peer {
	t.Helper()
	out := must[*ivschat.CreateChatTokenOutput](t)(client.CreateChatToken(context.Background(), &ivschat.CreateChatTokenInput{
		RoomIdentifier: &room, UserId: &user, Capabilities: everything, Attributes: attributes,
	}))
	p, status := dial(t, s, *out.Token)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %d", status)
	}
	return p
}
