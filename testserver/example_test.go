package testserver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/testserver"
)

// A test with a room that is there from the start, the AWS SDK as its client, and a chat
// connection.
func Example() {
	test := func(t *testing.T) {
		s := testserver.Start(t, testserver.Config{Seed: `
rooms:
  - id: lobby
    name: Lobby
`})
		client := ivschat.New(ivschat.Options{
			BaseEndpoint: &s.URL,
			Region:       s.Region,
			Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, ""),
		})
		lobby := s.RoomARN("lobby")
		room, err := client.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &lobby})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(*room.Name)

		ann, _, err := websocket.Dial(t.Context(), s.MessagingURL, &websocket.DialOptions{
			Subprotocols: []string{s.Token(lobby, "ann", "SEND_MESSAGE")},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ann.CloseNow()

		fmt.Println(s.Drop(lobby, "ann"), "connection is broken")
		_, _, err = ann.Read(context.Background())
		fmt.Println("ann notices:", err != nil)
	}

	// In a test file of yours it is func TestLobby(t *testing.T).
	asTest("TestLobby", test)
	// Output:
	// Lobby
	// 1 connection is broken
	// ann notices: true
}
