package parlortest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// same compares outputs of the SDK for what was answered.
var same = cmp.Options{
	cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ResultMetadata" }, cmp.Ignore()),
	cmpopts.IgnoreUnexported(types.MessageReviewHandler{}, types.RoomSummary{}, types.LoggingConfigurationSummary{},
		types.DestinationConfigurationMemberS3{}, types.S3DestinationConfiguration{}, types.FirehoseDestinationConfiguration{},
		types.DestinationConfigurationMemberFirehose{}, ivschat.GetRoomOutput{}, ivschat.GetLoggingConfigurationOutput{}),
	cmpopts.EquateEmpty(),
}

// TestGoSDK walks through all 17 operations, and reads everything back after a restart.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t)
	client := s.Client(t)
	const handler = "arn:aws:lambda:us-west-2:123456789012:function:review:live"

	lc := must[*ivschat.CreateLoggingConfigurationOutput](t)(client.CreateLoggingConfiguration(ctx, &ivschat.CreateLoggingConfigurationInput{
		Name:                     aws.String("logs"),
		DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("chat-logs")}},
		Tags:                     map[string]string{"a": "b"},
	}))
	must[*ivschat.UpdateLoggingConfigurationOutput](t)(client.UpdateLoggingConfiguration(ctx, &ivschat.UpdateLoggingConfigurationInput{
		Identifier: lc.Arn,
		DestinationConfiguration: &types.DestinationConfigurationMemberFirehose{
			Value: types.FirehoseDestinationConfiguration{DeliveryStreamName: aws.String("chat")},
		},
	}))
	room := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(ctx, &ivschat.CreateRoomInput{
		Name:                            aws.String("lobby"),
		MaximumMessageRatePerSecond:     aws.Int32(100),
		MaximumMessageLength:            aws.Int32(200),
		MessageReviewHandler:            &types.MessageReviewHandler{Uri: aws.String(handler), FallbackResult: types.FallbackResultDeny},
		LoggingConfigurationIdentifiers: []string{*lc.Arn},
		Tags:                            map[string]string{"team": "live ✓"},
	}))
	must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(ctx, &ivschat.UpdateRoomInput{
		Identifier: room.Arn, MaximumMessageLength: aws.Int32(300),
	}))
	for _, arn := range []*string{room.Arn, lc.Arn} {
		must[*ivschat.TagResourceOutput](t)(client.TagResource(ctx, &ivschat.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"k v/é": "1", "gone": ""}}))
		must[*ivschat.UntagResourceOutput](t)(client.UntagResource(ctx, &ivschat.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"gone", "never & there"}}))
	}
	token := must[*ivschat.CreateChatTokenOutput](t)(client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
		RoomIdentifier: room.Arn, UserId: aws.String("ann"), SessionDurationInMinutes: aws.Int32(180),
		Capabilities: everything, Attributes: map[string]string{"k": "v"},
	}))
	if got, want := token.SessionExpirationTime.Sub(*token.TokenExpirationTime), 2*time.Hour; got != want {
		t.Errorf("the token ends %v before its session, want %v", got, want)
	}
	must[*ivschat.SendEventOutput](t)(client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: room.Arn, EventName: aws.String("app:goal")}))
	must[*ivschat.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: room.Arn, Id: aws.String("M2YcHkgffEvU")}))
	must[*ivschat.DisconnectUserOutput](t)(client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: room.Arn, UserId: aws.String("ann")}))

	type state struct {
		Room     *ivschat.GetRoomOutput
		LC       *ivschat.GetLoggingConfigurationOutput
		Rooms    []types.RoomSummary
		LCs      []types.LoggingConfigurationSummary
		RoomTags map[string]string
		LCTags   map[string]string
	}
	read := func() state {
		return state{
			Room:     must[*ivschat.GetRoomOutput](t)(client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: room.Arn})),
			LC:       must[*ivschat.GetLoggingConfigurationOutput](t)(client.GetLoggingConfiguration(ctx, &ivschat.GetLoggingConfigurationInput{Identifier: lc.Arn})),
			Rooms:    must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, &ivschat.ListRoomsInput{})).Rooms,
			LCs:      must[*ivschat.ListLoggingConfigurationsOutput](t)(client.ListLoggingConfigurations(ctx, &ivschat.ListLoggingConfigurationsInput{})).LoggingConfigurations,
			RoomTags: must[*ivschat.ListTagsForResourceOutput](t)(client.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: room.Arn})).Tags,
			LCTags:   must[*ivschat.ListTagsForResourceOutput](t)(client.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: lc.Arn})).Tags,
		}
	}
	before := read()
	if diff := cmp.Diff(map[string]string{"team": "live ✓", "k v/é": "1"}, before.RoomTags); diff != "" {
		t.Errorf("tags of the room (-want +got):\n%s", diff)
	}
	if got := before.Room; *got.Name != "lobby" || *got.MaximumMessageLength != 300 || *got.MaximumMessageRatePerSecond != 100 ||
		*got.MessageReviewHandler.Uri != handler || got.MessageReviewHandler.FallbackResult != types.FallbackResultDeny ||
		!slices.Equal(got.LoggingConfigurationIdentifiers, []string{*lc.Arn}) || !got.CreateTime.Equal(*room.CreateTime) || !got.UpdateTime.After(*room.UpdateTime) {
		t.Errorf("the room: got %+v", got)
	}
	if got, ok := before.LC.DestinationConfiguration.(*types.DestinationConfigurationMemberFirehose); !ok || *got.Value.DeliveryStreamName != "chat" {
		t.Errorf("the destination: got %+v", before.LC.DestinationConfiguration)
	}

	s.Stop()
	s = parlortest.Start(t, func(c *config.Config) { c.Data = s.Data })
	client = s.Client(t)
	if diff := cmp.Diff(before, read(), same); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	must[*ivschat.DeleteRoomOutput](t)(client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: room.Arn}))
	must[*ivschat.DeleteLoggingConfigurationOutput](t)(client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: lc.Arn}))
	if rooms := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, &ivschat.ListRoomsInput{})).Rooms; len(rooms) != 0 {
		t.Errorf("after deletion: got %d rooms", len(rooms))
	}
}

// TestGoSDKErrors has the SDK recognise each error that a whole server answers.
func TestGoSDKErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := parlortest.Start(t).Client(t, func(o *ivschat.Options) { o.RetryMaxAttempts = 1 })
	lc := must[*ivschat.CreateLoggingConfigurationOutput](t)(client.CreateLoggingConfiguration(ctx, &ivschat.CreateLoggingConfigurationInput{
		DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("abc")}},
	}))
	room := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(ctx, &ivschat.CreateRoomInput{LoggingConfigurationIdentifiers: []string{*lc.Arn}}))
	gone := (*room.Arn)[:len(*room.Arn)-12] + "RoomsMISSING"

	t.Run("ResourceNotFoundException", func(t *testing.T) {
		calls := map[string]func() error{
			"GetRoom": func() error {
				_, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &gone})
				return err
			},
			"UpdateRoom": func() error {
				_, err := client.UpdateRoom(ctx, &ivschat.UpdateRoomInput{Identifier: &gone, Name: aws.String("x")})
				return err
			},
			"DeleteRoom": func() error {
				_, err := client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &gone})
				return err
			},
			"CreateChatToken": func() error {
				_, err := client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{RoomIdentifier: &gone, UserId: aws.String("ann")})
				return err
			},
			"SendEvent": func() error {
				_, err := client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &gone, EventName: aws.String("x")})
				return err
			},
			"DeleteMessage": func() error {
				_, err := client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: &gone, Id: aws.String("M2YcHkgffEvU")})
				return err
			},
			"DisconnectUser": func() error {
				_, err := client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &gone, UserId: aws.String("ann")})
				return err
			},
			"TagResource": func() error {
				_, err := client.TagResource(ctx, &ivschat.TagResourceInput{ResourceArn: &gone, Tags: map[string]string{"a": "b"}})
				return err
			},
			"UntagResource": func() error {
				_, err := client.UntagResource(ctx, &ivschat.UntagResourceInput{ResourceArn: &gone, TagKeys: []string{"a"}})
				return err
			},
			"ListTagsForResource": func() error {
				_, err := client.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: &gone})
				return err
			},
		}
		for name, call := range calls {
			e, ok := errors.AsType[*types.ResourceNotFoundException](call())
			if !ok || *e.ResourceId != "RoomsMISSING" || e.ResourceType != types.ResourceTypeRoom {
				t.Errorf("%s: got %v", name, e)
			}
		}
	})
	t.Run("ConflictException", func(t *testing.T) {
		_, err := client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: lc.Arn})
		if e, ok := errors.AsType[*types.ConflictException](err); !ok || *e.ResourceId != *lc.Id {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ValidationException", func(t *testing.T) {
		_, err := client.CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String("a b"), MaximumMessageRatePerSecond: aws.Int32(101)})
		e, ok := errors.AsType[*types.ValidationException](err)
		if !ok || e.Reason != types.ValidationExceptionReasonFieldValidationFailed || len(e.FieldList) != 2 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("AccessDeniedException", func(t *testing.T) {
		_, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String("arn:aws:ivschat:us-west-2:999999999999:room/g1H2I3j4k5L6")})
		if _, ok := errors.AsType[*types.AccessDeniedException](err); !ok {
			t.Errorf("got %v", err)
		}
	})
}

// TestGoSDKNamespaces: two regions and two accounts on one endpoint do not see one
// another's rooms.
func TestGoSDKNamespaces(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t)
	type scope struct{ account, region string }
	rooms := map[scope]string{}
	clients := map[scope]*ivschat.Client{}
	for _, account := range []string{"111111111111", "222222222222"} {
		for _, region := range []string{"us-east-1", "eu-west-1"} {
			at := scope{account, region}
			clients[at] = s.Client(t, func(o *ivschat.Options) {
				o.Region = region
				o.Credentials = credentials.NewStaticCredentialsProvider(account, "secret", "")
			})
			rooms[at] = newRoom(t, clients[at], "lobby")
			if want := "arn:aws:ivschat:" + region + ":" + account + ":room/"; !strings.HasPrefix(rooms[at], want) {
				t.Errorf("got room %s, want %s…", rooms[at], want)
			}
		}
	}
	for at, client := range clients {
		for _, in := range []*ivschat.ListRoomsInput{{}, {Name: aws.String("lobby")}} {
			list := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, in)).Rooms
			if len(list) != 1 || *list[0].Arn != rooms[at] {
				t.Errorf("%v lists %d rooms, want its own alone", at, len(list))
			}
		}
		for other, room := range rooms {
			_, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &room})
			if (err == nil) != (at == other) {
				t.Errorf("%v reads the room of %v: got %v", at, other, err)
			}
		}
	}
	// A token of one room opens that room alone, though ids and users are alike.
	east, west := scope{"111111111111", "us-east-1"}, scope{"111111111111", "eu-west-1"}
	ann, bob := enter(t, s, clients[east], rooms[east], "ann"), enter(t, s, clients[west], rooms[west], "ann")
	if got := ann.say("east").Content; got != "east" {
		t.Errorf("east: got %q", got)
	}
	if got := bob.say("west").Content; got != "west" {
		t.Errorf("west: got %q", got)
	}
}

// TestGoSDKPages pages through the list while others create, change and delete rooms:
// whatever is left alone comes exactly once, in its order.
func TestGoSDKPages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t)
	client := s.Client(t)
	var want, moving []string
	for i := range 60 {
		arn := newRoom(t, client, fmt.Sprintf("room-%d", i))
		if i%3 == 0 {
			moving = append(moving, arn)
		} else {
			want = append(want, arn)
		}
	}
	slices.Reverse(want) // newest first

	ctx, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	writers.Go(func() { // changes some, over and over, and deletes what it made
		writer := s.Client(t)
		for i := 0; ctx.Err() == nil; i++ {
			_, err := writer.UpdateRoom(ctx, &ivschat.UpdateRoomInput{Identifier: &moving[i%len(moving)], Name: aws.String("moved")})
			room, err2 := writer.CreateRoom(ctx, &ivschat.CreateRoomInput{})
			if err2 == nil {
				_, err2 = writer.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: room.Arn})
			}
			if err := errors.Join(err, err2); err != nil && ctx.Err() == nil {
				t.Errorf("writer: %v", err)
				return
			}
		}
	})
	for round := range 5 {
		var got []string
		in := &ivschat.ListRoomsInput{MaxResults: aws.Int32(int32(1 + 3*round))}
		for {
			page := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, in))
			if len(page.Rooms) > int(*in.MaxResults) {
				t.Errorf("a page of %d rooms, want at most %d", len(page.Rooms), *in.MaxResults)
			}
			for _, room := range page.Rooms {
				if slices.Contains(want, *room.Arn) {
					got = append(got, *room.Arn)
				}
			}
			if page.NextToken == nil {
				break
			}
			in.NextToken = page.NextToken
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", *in.MaxResults, diff)
		}
	}
	stop()
	writers.Wait()
}

// TestGoSDKMessaging: a token of CreateChatToken opens a WebSocket of another library,
// on which everything the control plane does to the room is seen.
func TestGoSDKMessaging(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t)
	client := s.Client(t)
	room := newRoom(t, client, "lobby")
	token := must[*ivschat.CreateChatTokenOutput](t)(client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
		RoomIdentifier: &room, UserId: aws.String("ann ✓"), Capabilities: everything, Attributes: map[string]string{"name": "Ann é"},
	}))
	ann, status := dial(t, s, *token.Token)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %d", status)
	}
	if got := ann.conn.Subprotocol(); got != *token.Token {
		t.Errorf("subprotocol: got %q, want the token", got)
	}
	bob := enter(t, s, client, room, "bob")

	ann.send(map[string]any{"Action": "SEND_MESSAGE", "RequestId": "r1", "Content": "hello", "Attributes": map[string]string{"k": "v"}})
	message := ann.next()
	if message.Type != "MESSAGE" || message.RequestID != "r1" || message.Content != "hello" || message.Attributes["k"] != "v" ||
		message.Sender.UserID != "ann ✓" || message.Sender.Attributes["name"] != "Ann é" || time.Since(message.SendTime).Abs() > time.Minute {
		t.Errorf("message: got %+v", message)
	}
	if diff := cmp.Diff(message, bob.next()); diff != "" {
		t.Errorf("another saw (-ann +bob):\n%s", diff)
	}

	event := must[*ivschat.SendEventOutput](t)(client.SendEvent(ctx, &ivschat.SendEventInput{
		RoomIdentifier: &room, EventName: aws.String("app:goal"), Attributes: map[string]string{"team": "red"},
	}))
	deleted := must[*ivschat.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{
		RoomIdentifier: &room, Id: &message.ID, Reason: aws.String("rude"),
	}))
	must[*ivschat.DisconnectUserOutput](t)(client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{
		RoomIdentifier: &room, UserId: aws.String("ann ✓"), Reason: aws.String("too loud"),
	}))
	for name, p := range map[string]*peer{"ann": ann, "bob": bob} {
		if f := p.next(); f.Type != "EVENT" || f.ID != *event.Id || f.EventName != "app:goal" || f.Attributes["team"] != "red" {
			t.Errorf("%s, event: got %+v", name, f)
		}
		if f := p.next(); f.ID != *deleted.Id || f.EventName != "aws:DELETE_MESSAGE" || f.Attributes["MessageID"] != message.ID ||
			f.Attributes["MessageId"] != message.ID || f.Attributes["Reason"] != "rude" {
			t.Errorf("%s, deletion: got %+v", name, f)
		}
		if f := p.next(); f.EventName != "aws:DISCONNECT_USER" || f.Attributes["UserId"] != "ann ✓" || f.Attributes["Reason"] != "too loud" {
			t.Errorf("%s, disconnection: got %+v", name, f)
		}
	}
	if got := ann.closed(); got.Code != websocket.StatusGoingAway || got.Reason != "too loud" {
		t.Errorf("close: got %+v", got)
	}
	if got := bob.say("still here").Content; got != "still here" {
		t.Errorf("the other: got %q", got)
	}
}

// TestGoSDKTokensStaySpent: a token opens one connection, across restarts; one that was
// not used before still opens one after.
func TestGoSDKTokensStaySpent(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	client := s.Client(t)
	room := newRoom(t, client, "lobby")
	spent, kept := newToken(t, client, room, "ann"), newToken(t, client, room, "bob")
	ann, status := dial(t, s, spent)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %d", status)
	}
	if _, again := dial(t, s, spent); again != http.StatusUnauthorized {
		t.Errorf("used twice: got %d, want 401", again)
	}
	stopped := s
	go stopped.Stop()
	if _, _, err := ann.conn.Read(t.Context()); websocket.CloseStatus(err) != -1 {
		t.Errorf("a drained session: got %v, want a connection broken without a close frame", err)
	}
	stopped.Stop()
	s = parlortest.Start(t, func(c *config.Config) { c.Data = s.Data })
	if _, again := dial(t, s, spent); again != http.StatusUnauthorized {
		t.Errorf("used twice, over a restart: got %d, want 401", again)
	}
	bob, status := dial(t, s, kept)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("not used before the restart: got %d, want 101", status)
	}
	if got := bob.say("hello").Content; got != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestGoSDKDeleteRoom ends the live sessions of a room, and lets nobody in any more.
func TestGoSDKDeleteRoom(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	client := s.Client(t)
	room, other := newRoom(t, client, "lobby"), newRoom(t, client, "other")
	unused := newToken(t, client, room, "late")
	ann, bob := enter(t, s, client, room, "ann"), enter(t, s, client, room, "bob")
	elsewhere := enter(t, s, client, other, "ann")
	must[*ivschat.DeleteRoomOutput](t)(client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &room}))
	for _, p := range []*peer{ann, bob} {
		if got := p.closed(); got.Code != websocket.StatusGoingAway || !strings.Contains(got.Reason, `"ErrorCode":404`) {
			t.Errorf("close: got %+v, want 1001 with a 404", got)
		}
	}
	if _, status := dial(t, s, unused); status != http.StatusNotFound {
		t.Errorf("a token of the deleted room: got %d, want 404", status)
	}
	if got := elsewhere.say("hello").Content; got != "hello" {
		t.Errorf("the other room: got %q", got)
	}
}

// TestGoSDKUpdateRoom acts on the next message of sessions that were there before.
func TestGoSDKUpdateRoom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t)
	client := s.Client(t)
	room := newRoom(t, client, "lobby")
	ann := enter(t, s, client, room, "ann")
	update := func(in *ivschat.UpdateRoomInput) {
		t.Helper()
		in.Identifier = &room
		must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(ctx, in))
	}
	if got := ann.say("five!"); got.Type != "MESSAGE" {
		t.Errorf("before: got %+v", got)
	}
	update(&ivschat.UpdateRoomInput{MaximumMessageLength: aws.Int32(4)})
	if got := ann.say("five!"); got.ErrorCode != 400 || got.ErrorMessage != "Message exceeds maximum length" {
		t.Errorf("a shorter length: got %+v", got)
	}
	update(&ivschat.UpdateRoomInput{MaximumMessageLength: aws.Int32(5), MaximumMessageRatePerSecond: aws.Int32(1)})
	ann.sayUntilHeard("five!") // the longer length
	if got := ann.say("five!"); got.ErrorCode != 429 || got.ErrorMessage != "rate limit exceeded" {
		t.Errorf("a lower rate: got %+v", got)
	}
	update(&ivschat.UpdateRoomInput{MaximumMessageRatePerSecond: aws.Int32(100)})
	ann.sayUntilHeard("five!")
	if got := ann.say("five!"); got.Type != "MESSAGE" && got.ErrorMessage != "rate limit exceeded" {
		t.Errorf("a higher rate: got %+v", got)
	}
}
