package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// newClient is the official client, unmodified but for the endpoint.
func newClient(t *testing.T, f *fixture) *ivschat.Client {
	t.Helper()
	return newClientOf(t, f, testRegion, credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""))
}

// newClientOf is a client with credentials of its own.
func newClientOf(t *testing.T, f *fixture, region string, who aws.CredentialsProvider) *ivschat.Client {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return ivschat.New(ivschat.Options{
		BaseEndpoint:     aws.String(server.URL),
		Region:           region,
		Credentials:      who,
		RetryMaxAttempts: 1,
	})
}

// must is the output of a call that has to succeed.
func must[T any](t *testing.T) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestSDK walks through all 17 operations with the official client and reads
// everything back.
func TestSDK(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t)
	client := newClient(t, f)
	const lambda = "arn:aws:lambda:us-west-2:123456789012:function:review:live"

	bucket := &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("chat-logs")}}
	lc := must[*ivschat.CreateLoggingConfigurationOutput](t)(client.CreateLoggingConfiguration(ctx, &ivschat.CreateLoggingConfigurationInput{
		Name: aws.String("logs"), DestinationConfiguration: bucket, Tags: map[string]string{"a": "b"},
	}))
	if got := lc.DestinationConfiguration.(*types.DestinationConfigurationMemberS3).Value.BucketName; *got != "chat-logs" {
		t.Errorf("bucket: got %q, want chat-logs", *got)
	}
	if lc.State != types.CreateLoggingConfigurationStateActive {
		t.Errorf("state: got %q, want ACTIVE", lc.State)
	}
	updatedLC := must[*ivschat.UpdateLoggingConfigurationOutput](t)(client.UpdateLoggingConfiguration(ctx, &ivschat.UpdateLoggingConfigurationInput{
		Identifier: lc.Arn,
		DestinationConfiguration: &types.DestinationConfigurationMemberFirehose{
			Value: types.FirehoseDestinationConfiguration{DeliveryStreamName: aws.String("chat")},
		},
	}))
	gotLC := must[*ivschat.GetLoggingConfigurationOutput](t)(client.GetLoggingConfiguration(ctx, &ivschat.GetLoggingConfigurationInput{Identifier: lc.Arn}))
	if _, ok := gotLC.DestinationConfiguration.(*types.DestinationConfigurationMemberFirehose); !ok {
		t.Errorf("destination: got %T, want firehose", gotLC.DestinationConfiguration)
	}
	if !gotLC.UpdateTime.Equal(*updatedLC.UpdateTime) || gotLC.UpdateTime.Before(*gotLC.CreateTime) || time.Since(*gotLC.CreateTime) > time.Minute {
		t.Errorf("times: created %v, updated %v", gotLC.CreateTime, gotLC.UpdateTime)
	}
	lcs := must[*ivschat.ListLoggingConfigurationsOutput](t)(client.ListLoggingConfigurations(ctx, &ivschat.ListLoggingConfigurationsInput{}))
	if len(lcs.LoggingConfigurations) != 1 || *lcs.LoggingConfigurations[0].Arn != *lc.Arn {
		t.Errorf("list: got %+v", lcs.LoggingConfigurations)
	}

	room := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(ctx, &ivschat.CreateRoomInput{
		Name:                            aws.String("lobby"),
		MaximumMessageRatePerSecond:     aws.Int32(100),
		MaximumMessageLength:            aws.Int32(200),
		MessageReviewHandler:            &types.MessageReviewHandler{Uri: aws.String(lambda), FallbackResult: types.FallbackResultDeny},
		LoggingConfigurationIdentifiers: []string{*lc.Arn},
		Tags:                            map[string]string{"team": "live ✓"},
	}))
	got := must[*ivschat.GetRoomOutput](t)(client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: room.Arn}))
	want := ivschat.GetRoomOutput(*room)
	want.ResultMetadata = got.ResultMetadata
	if diff := cmp.Diff(fmt.Sprint(plain(want)), fmt.Sprint(plain(*got))); diff != "" {
		t.Errorf("GetRoom differs from CreateRoom:\n%s", diff)
	}
	updated := must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(ctx, &ivschat.UpdateRoomInput{
		Identifier: room.Arn, Name: aws.String(""), MessageReviewHandler: &types.MessageReviewHandler{Uri: aws.String("")},
		LoggingConfigurationIdentifiers: []string{},
	}))
	if *updated.Name != "" || *updated.MessageReviewHandler.Uri != "" || len(updated.LoggingConfigurationIdentifiers) != 0 || *updated.MaximumMessageLength != 200 {
		t.Errorf("UpdateRoom: got %+v", plain(*updated))
	}
	rooms := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, &ivschat.ListRoomsInput{}))
	if len(rooms.Rooms) != 1 || *rooms.Rooms[0].Arn != *room.Arn || rooms.Rooms[0].Tags["team"] != "live ✓" {
		t.Errorf("ListRooms: got %+v", rooms.Rooms)
	}

	for _, arn := range []*string{room.Arn, lc.Arn} {
		must[*ivschat.TagResourceOutput](t)(client.TagResource(ctx, &ivschat.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"k v/é": "1", "gone": ""}}))
		must[*ivschat.UntagResourceOutput](t)(client.UntagResource(ctx, &ivschat.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"gone", "team", "a", "never & there"}}))
		tags := must[*ivschat.ListTagsForResourceOutput](t)(client.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: arn}))
		if diff := cmp.Diff(map[string]string{"k v/é": "1"}, tags.Tags); diff != "" {
			t.Errorf("tags of %s (-want +got):\n%s", *arn, diff)
		}
	}

	token := must[*ivschat.CreateChatTokenOutput](t)(client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
		RoomIdentifier: room.Arn, UserId: aws.String("ann"), SessionDurationInMinutes: aws.Int32(180),
		Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage}, Attributes: map[string]string{"k": "v"},
	}))
	if got, want := token.SessionExpirationTime.Sub(*token.TokenExpirationTime), 2*time.Hour; got != want || *token.Token == "" {
		t.Errorf("the token ends %v before its session, want %v", got, want)
	}
	claims := must[chat.Claims](t)(chat.NewSealer(f.store).Open(ctx, *token.Token))
	if claims.UserID != "ann" || claims.Capabilities != chat.MaySendMessage || claims.Attributes["k"] != "v" || claims.Room.String() != *room.Arn {
		t.Errorf("claims: got %+v", claims)
	}

	event := must[*ivschat.SendEventOutput](t)(client.SendEvent(ctx, &ivschat.SendEventInput{
		RoomIdentifier: room.Arn, EventName: aws.String("app:goal"), Attributes: map[string]string{"team": "red"},
	}))
	if frame := string(f.broker.last(t).Frame); !strings.Contains(frame, `"Id":"`+*event.Id+`"`) || !strings.Contains(frame, `"EventName":"app:goal","Attributes":{"team":"red"}`) {
		t.Errorf("SendEvent published %s", frame)
	}
	deleted := must[*ivschat.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{
		RoomIdentifier: room.Arn, Id: aws.String("M2YcHkgffEvU"), Reason: aws.String("rude"),
	}))
	if frame := string(f.broker.last(t).Frame); !strings.Contains(frame, `"Id":"`+*deleted.Id+`"`) || !strings.Contains(frame, "M2YcHkgffEvU") || !strings.Contains(frame, "rude") {
		t.Errorf("DeleteMessage published %s", frame)
	}
	must[*ivschat.DisconnectUserOutput](t)(client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{
		RoomIdentifier: room.Arn, UserId: aws.String("ann"), Reason: aws.String("rude"),
	}))
	if pub := f.broker.last(t); pub.Kind != chat.PublishDisconnect || pub.UserID != "ann" || pub.Reason != "rude" {
		t.Errorf("DisconnectUser published %+v", pub)
	}

	must[*ivschat.DeleteRoomOutput](t)(client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: room.Arn}))
	must[*ivschat.DeleteLoggingConfigurationOutput](t)(client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: lc.Arn}))
}

// plain is a room without pointers, to be printed.
func plain[T ivschat.GetRoomOutput | ivschat.UpdateRoomOutput](room T) map[string]any {
	r := ivschat.GetRoomOutput(room)
	out := map[string]any{
		"arn": *r.Arn, "id": *r.Id, "name": *r.Name, "created": *r.CreateTime, "updated": *r.UpdateTime,
		"rate": *r.MaximumMessageRatePerSecond, "length": *r.MaximumMessageLength,
		"logging": r.LoggingConfigurationIdentifiers, "tags": r.Tags,
	}
	if h := r.MessageReviewHandler; h != nil {
		out["handler"] = *h.Uri + " " + string(h.FallbackResult)
	}
	return out
}

// TestSDKErrors has the official client meet every error that this server answers
// and its model has.
func TestSDKErrors(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t)
	client := newClient(t, f)
	lc := f.created(t, "CreateLoggingConfiguration", `{"destinationConfiguration":{"s3":{"bucketName":"abc"}}}`)
	room := f.created(t, "CreateRoom", `{"loggingConfigurationIdentifiers":["`+lc+`"]}`)

	t.Run("ResourceNotFoundException", func(t *testing.T) {
		_, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String(room[:len(room)-12] + "RoomsMISSING")})
		e, ok := errors.AsType[*types.ResourceNotFoundException](err)
		if !ok || *e.ResourceId != "RoomsMISSING" || e.ResourceType != types.ResourceTypeRoom {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ConflictException", func(t *testing.T) {
		_, err := client.DeleteLoggingConfiguration(ctx, &ivschat.DeleteLoggingConfigurationInput{Identifier: &lc})
		e, ok := errors.AsType[*types.ConflictException](err)
		if !ok || *e.ResourceId != lc[len(lc)-12:] || e.ResourceType != types.ResourceTypeRoom {
			t.Errorf("got %v", err)
		}
	})
	t.Run("AccessDeniedException", func(t *testing.T) {
		_, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String("arn:aws:ivschat:us-west-2:999999999999:room/g1H2I3j4k5L6")})
		if e, ok := errors.AsType[*types.AccessDeniedException](err); !ok || !strings.Contains(e.ErrorMessage(), "ivschat:GetRoom") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ValidationException", func(t *testing.T) {
		_, err := client.CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String("a b"), MaximumMessageLength: aws.Int32(0)})
		e, ok := errors.AsType[*types.ValidationException](err)
		if !ok || e.Reason != types.ValidationExceptionReasonFieldValidationFailed || len(e.FieldList) != 2 ||
			*e.FieldList[0].Name != "name" || *e.FieldList[1].Name != "maximumMessageLength" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ValidationException of a page token", func(t *testing.T) {
		_, err := client.ListRooms(ctx, &ivschat.ListRoomsInput{NextToken: aws.String("x")})
		if e, ok := errors.AsType[*types.ValidationException](err); !ok || e.Reason != types.ValidationExceptionReasonOther {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ThrottlingException", func(t *testing.T) {
		arn, _ := chat.ParseARN(room)
		f.broker.err = chat.RateLimitExceeded(arn, 7)
		defer func() { f.broker.err = nil }()
		_, err := client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("x")})
		if e, ok := errors.AsType[*types.ThrottlingException](err); !ok || *e.ResourceId != arn.ID || e.Limit != 7 || e.ResourceType != types.ResourceTypeRoom {
			t.Errorf("got %v", err)
		}
	})
	t.Run("InternalServerException", func(t *testing.T) {
		f.store.err = errors.New("disk full")
		defer func() { f.store.err = nil }()
		_, err := client.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: &room})
		if e, ok := errors.AsType[*types.InternalServerException](err); !ok || e.ErrorMessage() != internalText {
			t.Errorf("got %v", err)
		}
	})
}

// TestSDKPages pages through both lists, while what was shown already moves.
func TestSDKPages(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	client := newClient(t, f)
	const n = 23
	for i := range n {
		f.created(t, "CreateRoom", fmt.Sprintf(`{"name":"room-%d"}`, i))
		f.created(t, "CreateLoggingConfiguration", fmt.Sprintf(`{"name":"lc-%d","destinationConfiguration":{"s3":{"bucketName":"abc"}}}`, i))
	}
	var rooms, lcs, want, wantLCs []string
	for i := range n {
		want = append(want, fmt.Sprintf("room-%d", n-1-i))
		wantLCs = append(wantLCs, fmt.Sprintf("lc-%d", n-1-i))
	}
	in := &ivschat.ListRoomsInput{MaxResults: aws.Int32(5)}
	for {
		page := must[*ivschat.ListRoomsOutput](t)(client.ListRooms(ctx, in))
		for _, room := range page.Rooms {
			rooms = append(rooms, *room.Name)
		}
		if page.NextToken == nil {
			break
		}
		must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(ctx, &ivschat.UpdateRoomInput{Identifier: page.Rooms[0].Arn}))
		in.NextToken = page.NextToken
	}
	if diff := cmp.Diff(want, rooms); diff != "" {
		t.Errorf("rooms (-want +got):\n%s", diff)
	}
	lcIn := &ivschat.ListLoggingConfigurationsInput{MaxResults: aws.Int32(5)}
	for {
		page := must[*ivschat.ListLoggingConfigurationsOutput](t)(client.ListLoggingConfigurations(ctx, lcIn))
		for _, lc := range page.LoggingConfigurations {
			lcs = append(lcs, *lc.Name)
		}
		if page.NextToken == nil {
			break
		}
		lcIn.NextToken = page.NextToken
	}
	if diff := cmp.Diff(wantLCs, lcs); diff != "" {
		t.Errorf("logging configurations (-want +got):\n%s", diff)
	}
}
