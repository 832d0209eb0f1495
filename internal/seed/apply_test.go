package seed_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestSeedConverges: whatever was there, after a start there is what the file says; what it
// does not say is left alone; and a start with the same file changes nothing.
func TestSeedConverges(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "seed.yaml")
	// start runs a server once the file is so, and returns it and how often it said each outcome.
	start := func(text string) (*parlortest.Server, *ivschat.Client, map[string]int) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		log := &buffer{}
		s := parlortest.StartLogging(t, log, func(c *config.Config) {
			c.Data, c.Seed, c.LogLevel, c.Account, c.Regions = filepath.Join(dir, "data"), file, "info", parlortest.Account, []string{parlortest.Region}
		})
		c := s.Client(t)
		if _, err := c.ListRooms(t.Context(), &ivschat.ListRoomsInput{}); err != nil { // the seed is made before anybody is answered
			t.Fatal(err)
		}
		outcomes := map[string]int{}
		for _, outcome := range []string{"created", "updated", "unchanged"} {
			if n := strings.Count(log.String(), "outcome="+outcome); n > 0 {
				outcomes[outcome] = n
			}
		}
		return s, c, outcomes
	}
	expect := func(what string, got map[string]int, want map[string]int) {
		t.Helper()
		for _, outcome := range []string{"created", "updated", "unchanged"} {
			if got[outcome] != want[outcome] {
				t.Errorf("%s: got outcomes %v, want %v", what, got, want)
				return
			}
		}
	}
	const first = `
loggingConfigurations:
  - name: archive
    destinationConfiguration: {s3: {bucketName: chat-archive}}
rooms:
  - id: lobby
    name: lobby
    maximumMessageLength: 100
    messageReviewHandler: {uri: "arn:aws:lambda:us-west-2:123456789012:function:f", fallbackResult: DENY}
    loggingConfigurationIdentifiers: [archive]
    tags: {team: web, floor: ground}
  - name: cellar
`
	s, c, outcomes := start(first)
	expect("the first start", outcomes, map[string]int{"created": 3})
	made, err := c.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String("lobby")})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s, c, outcomes = start(first)
	expect("the same again", outcomes, map[string]int{"unchanged": 3})
	lobby := "arn:aws:ivschat:us-west-2:123456789012:room/lobby"
	before, err := c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &lobby})
	if err != nil {
		t.Fatal(err)
	}
	// Somebody changes what was declared.
	if _, err := c.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: &lobby, MaximumMessageRatePerSecond: aws.Int32(7), MaximumMessageLength: aws.Int32(8)}); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s, c, outcomes = start(first)
	expect("after a change", outcomes, map[string]int{"updated": 1, "unchanged": 2})
	room, err := c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &lobby})
	if err != nil {
		t.Fatal(err)
	}
	if *room.MaximumMessageRatePerSecond != 10 || *room.MaximumMessageLength != 100 || !room.CreateTime.Equal(*before.CreateTime) {
		t.Errorf("got %+v, want it as declared, and as old as it was", room)
	}
	s.Stop()

	// The file is edited: a room leaves it, the other loses most of what it had.
	_, c, outcomes = start(`
loggingConfigurations:
  - name: archive
    destinationConfiguration: {firehose: {deliveryStreamName: chat}}
rooms:
  - id: lobby
    tags: {team: app}
  - id: attic
`)
	expect("after an edit", outcomes, map[string]int{"created": 1, "updated": 2})
	room, err = c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &lobby})
	if err != nil {
		t.Fatal(err)
	}
	if *room.Name != "" || *room.MaximumMessageLength != 500 || room.MessageReviewHandler != nil || len(room.LoggingConfigurationIdentifiers) != 0 ||
		len(room.Tags) != 1 || room.Tags["team"] != "app" {
		t.Errorf("got %+v, want what the file says and nothing else", room)
	}
	logs, err := c.ListLoggingConfigurations(t.Context(), &ivschat.ListLoggingConfigurationsInput{})
	if err != nil || len(logs.LoggingConfigurations) != 1 {
		t.Fatal(logs, err)
	}
	if _, ok := logs.LoggingConfigurations[0].DestinationConfiguration.(*types.DestinationConfigurationMemberFirehose); !ok {
		t.Errorf("got %+v, want Firehose", logs.LoggingConfigurations[0])
	}
	rooms, err := c.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
	if err != nil || len(rooms.Rooms) != 4 { // lobby, cellar, attic, and the one that was made
		t.Errorf("got %d rooms, %v, want 4: none is deleted", len(rooms.Rooms), err)
	}
	if _, err := c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: made.Arn}); err != nil {
		t.Errorf("got %v, want the room that was made by hand to be left alone", err)
	}
}
