package seed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

var scope = chat.Scope{Region: "us-east-1", Account: "000000000000"}

func TestParse(t *testing.T) {
	s, faults := parse([]byte(`# what the web team needs
region: eu-west-1
account: 000000000123
loggingConfigurations:
  - name: archive
    id: archive
    destinationConfiguration:
      cloudWatchLogs:
        logGroupName: /chat/archive
    tags: {team: web}
  - arn: arn:aws:ivschat:us-west-2:123456789012:logging-configuration/elsewhere
    destinationConfiguration: {firehose: {deliveryStreamName: stream}}
rooms:
  - name: "lobby"
    id: lobby
    maximumMessageRatePerSecond: 100
    maximumMessageLength: 5
    messageReviewHandler:
      webhook: http://127.0.0.1:9000/review
      fallbackResult: DENY
    loggingConfigurationIdentifiers: [archive]
    tags:
      level: 3
      "parlor:read-only": true
  - name: lobby
  - id: us
    region: us-east-1
    account: "000000000000"
    messageReviewHandler: {uri: "arn:aws:lambda:us-east-1:000000000000:function:f"}
`), scope)
	if faults != nil {
		t.Fatal(faults)
	}
	eu := chat.Scope{Region: "eu-west-1", Account: "000000000123"}
	arn := func(scope chat.Scope, kind chat.Kind, id string) chat.ARN {
		return chat.ARN{Scope: scope, Kind: kind, ID: id}
	}
	archive := arn(eu, chat.KindLoggingConfiguration, "archive")
	handler := func(uri string, fallback chat.FallbackResult) *chat.HandlerChange {
		h := &chat.HandlerChange{URI: &uri}
		if fallback != "" {
			h.Fallback = &fallback
		}
		return h
	}
	want := Seed{
		LoggingConfigurations: []LoggingConfiguration{
			{archive, chat.LoggingConfigurationSpec{Name: "archive", Destination: chat.Destination{Kind: chat.DestinationCloudWatchLogs, Name: "/chat/archive"}, Tags: map[string]string{"team": "web"}}},
			{arn(chat.Scope{Region: "us-west-2", Account: "123456789012"}, chat.KindLoggingConfiguration, "elsewhere"),
				chat.LoggingConfigurationSpec{Destination: chat.Destination{Kind: chat.DestinationFirehose, Name: "stream"}}},
		},
		Rooms: []Room{
			{arn(eu, chat.KindRoom, "lobby"), chat.RoomSpec{Name: "lobby", MaximumMessageRatePerSecond: 100, MaximumMessageLength: 5,
				Handler:               handler("arn:aws:lambda:eu-west-1:000000000123:function:parlor-seed-lobby", chat.FallbackDeny),
				LoggingConfigurations: []chat.ARN{archive}, Tags: map[string]string{"level": "3", "parlor:read-only": "true"}}},
			// The id of a name is written down in people's front ends: it never changes.
			{arn(eu, chat.KindRoom, "pgaPgWC3LbhC"), chat.RoomSpec{Name: "lobby"}},
			{arn(scope, chat.KindRoom, "us"), chat.RoomSpec{Handler: handler("arn:aws:lambda:us-east-1:000000000000:function:f", "")}},
		},
		Webhooks: map[string]string{"arn:aws:lambda:eu-west-1:000000000123:function:parlor-seed-lobby": "http://127.0.0.1:9000/review"},
	}
	if diff := cmp.Diff(s, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
	for _, room := range s.Rooms[1:2] {
		if !chat.ValidID(room.ARN.ID) {
			t.Errorf("the id %q does not look like one", room.ARN.ID)
		}
	}
}

// TestParseReportsEveryFault: each with its line.
func TestParseReportsEveryFault(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"empty", "", ""},
		{"a comment", "# nothing yet\n", ""},
		{"no mapping", "- a\n", "1: the file is not a mapping such as"},
		{"not YAML", "rooms: [\n", "not YAML"},
		{"two documents", "rooms: []\n---\nrooms: []\n", "1: the file has several YAML documents"},
		{"no list", "rooms: {name: a}\n", "1: rooms: want a list"},
		{"no value", "rooms:\n", "1: the file: rooms has no value"},
		{"many at once", `regoin: x
account: 12
rooms:
  - name: "not a name"
    maximumMessageRatePerSecond: 101
    maximumMessageLength: long
    messageReviewHandler:
      uri: nowhere
      fallbackResult: MAYBE
      webhook: ftp://x
      timeout: 3
    loggingConfigurationIdentifiers: [archive]
    tags:
      aws:x: 1
  - {}
  - id: a_b
  - id: twice
  - arn: arn:aws:ivschat:us-east-1:000000000000:room/twice
    region: us-east-1
  - maximumMessageLenght: 3
    name: typo
  - just-a-name
loggingConfigurations:
  - name: none
  - name: two
    destinationConfiguration: {s3: {bucketName: chat-a}, firehose: {deliveryStreamName: b}}
  - name: bad
    destinationConfiguration:
      s3:
        bucketName: A
  - name: bad
    destinationConfiguration: {s3: {bucketName: chat-b}}
`, `1: the file: unknown key "regoin"; did you mean "region"?
2: account: "12" is not an account id of 12 digits
4: name: the value must match ^[a-zA-Z0-9_-]*$
5: maximumMessageRatePerSecond: the value must be between 1 and 100
6: maximumMessageLength: "long" is not a whole number
8: uri: the value must be empty or the ARN of a Lambda function
9: fallbackResult: the value must be one of ALLOW, DENY
10: webhook: the value is not the URL of an HTTP endpoint
11: messageReviewHandler: unknown key "timeout"; there are uri, fallbackResult, webhook
12: loggingConfigurationIdentifiers: the file has no logging configuration "archive"
13: tags: keys that begin with aws: are reserved
15: the entry has none of name, id and arn
16: id: the value must match
19: region: the arn says it already
20: a room: unknown key "maximumMessageLenght"; did you mean "maximumMessageLength"?
22: a room: want a mapping of name,
24: destinationConfiguration: a value is required
26: destinationConfiguration: want one of s3, cloudWatchLogs, firehose
30: bucketName: the value must match
31: the entry of line 27 has the ARN`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, faults := parse([]byte(tc.file), scope)
			got := faults.Error()
			if tc.want == "" && got != "" {
				t.Errorf("got %s, want no fault", got)
			}
			lines := strings.Split(got, "\n")
			for i, want := range strings.Split(tc.want, "\n") {
				if i >= len(lines) || !strings.Contains(lines[i], want) {
					t.Errorf("want line %d to have %q, got\n%s", i, want, got)
					break
				}
			}
		})
	}
}

func TestReadNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.yaml")
	if _, err := Read(file, scope); err == nil || !strings.Contains(err.Error(), "seed.yaml") {
		t.Errorf("got %v, want a fault that names the file", err)
	}
	if err := os.WriteFile(file, []byte("\nrooms: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file, scope); err == nil || !strings.Contains(err.Error(), "seed.yaml:2: ") {
		t.Errorf("got %v, want a fault in line 2 of the file", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("rooms:\n  - name: lobby\n"))
	f.Add([]byte("rooms: [{id: a, tags: {b: c}, messageReviewHandler: {webhook: http://x}}]"))
	f.Add([]byte("loggingConfigurations: [{id: a, destinationConfiguration: {s3: {bucketName: abc}}}]\nrooms: &x [*x, {? a : b}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, faults := parse(text, scope)
		if len(faults) > 0 {
			return
		}
		for _, room := range s.Rooms {
			if parsed, err := chat.ParseARN(room.ARN.String()); err != nil || parsed != room.ARN {
				t.Errorf("a room has the ARN %s: %v", room.ARN, err)
			}
		}
	})
}
