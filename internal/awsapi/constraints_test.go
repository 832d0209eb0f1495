package awsapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parlor/internal/chat"
)

// TestConstraints stands on both sides of every boundary of the model. The value is
// put into an otherwise valid input; what is refused must name the member.
func TestConstraints(t *testing.T) {
	f := newFixture(t)
	lc := f.created(t, "CreateLoggingConfiguration", `{"destinationConfiguration":{"s3":{"bucketName":"abc"}}}`)
	var lcs []string
	for range 4 {
		lcs = append(lcs, f.created(t, "CreateLoggingConfiguration", `{"destinationConfiguration":{"s3":{"bucketName":"abc"}}}`))
	}
	room := f.created(t, "CreateRoom", `{}`)

	const lambda = "arn:aws:lambda:us-west-2:123456789012:function:"
	type object = map[string]any
	s := strings.Repeat
	tagged := func(n int) object {
		out := object{}
		for i := range n {
			out[fmt.Sprintf("k%d", i)] = ""
		}
		return out
	}
	longest := func(arn string) string { return arn[:len(arn)-12] + s("a", 128-len(arn)+12) }

	tests := []struct {
		operation string
		input     object // $ is where the value goes
		member    string
		good, bad []any
	}{
		{"CreateRoom", object{"name": "$"}, "name",
			[]any{nil, "", "a", "Az09-_", s("a", 128)}, []any{s("a", 129), "a b", "a.b", "é", "a\n"}},
		{"CreateRoom", object{"maximumMessageRatePerSecond": "$"}, "maximumMessageRatePerSecond",
			[]any{nil, 1, 10, 11, 100}, []any{0, 101, -1}},
		{"CreateRoom", object{"maximumMessageLength": "$"}, "maximumMessageLength",
			[]any{nil, 1, 500}, []any{0, 501, -1}},
		{"CreateRoom", object{"messageReviewHandler": object{"uri": "$"}}, "uri",
			[]any{nil, "", lambda + "f", lambda + "f:alias", lambda + s("é", 170-len(lambda))},
			[]any{lambda, lambda + s("f", 171-len(lambda)), "f", "arn:aws:lambda:us-west-2:12345678901:function:f",
				"arn:aws-cn:lambda:us-west-2:123456789012:function:f", " " + lambda + "f", lambda + "f\n", lambda + "\x00"}},
		{"CreateRoom", object{"messageReviewHandler": object{"fallbackResult": "$"}}, "fallbackResult",
			[]any{nil, "ALLOW", "DENY"}, []any{"", "allow", "NONE"}},
		{"CreateRoom", object{"loggingConfigurationIdentifiers": "$"}, "loggingConfigurationIdentifiers",
			[]any{nil, []any{}, []any{lcs[0]}, []any{lcs[0], lcs[1], lcs[2]}},
			[]any{[]any{lcs[0], lcs[1], lcs[2], lcs[3]}, []any{lcs[0], lcs[0]}, []any{room}, []any{""}, []any{s("a", 129)}}},
		{"CreateRoom", object{"tags": "$"}, "tags",
			[]any{nil, object{}, tagged(50), object{s("é", 128): s("é", 256)}, object{"aws": ""}, object{"xaws:": ""}},
			[]any{tagged(51), object{"": ""}, object{s("a", 129): ""}, object{"a": s("a", 257)}, object{"aws:a": ""}, object{"Aws:": ""}, object{"a": "\x00"}}},
		{"UpdateRoom", object{"identifier": room, "name": "$"}, "name",
			[]any{nil, "", s("a", 128)}, []any{s("a", 129), "a b"}},
		{"UpdateRoom", object{"identifier": room, "maximumMessageRatePerSecond": "$"}, "maximumMessageRatePerSecond",
			[]any{nil, 1, 100}, []any{0, 101}},
		{"UpdateRoom", object{"identifier": room, "maximumMessageLength": "$"}, "maximumMessageLength",
			[]any{nil, 1, 500}, []any{0, 501}},
		{"UpdateRoom", object{"identifier": room, "messageReviewHandler": object{"uri": "$"}}, "uri",
			[]any{nil, "", lambda + "f"}, []any{lambda}},
		{"UpdateRoom", object{"identifier": room, "loggingConfigurationIdentifiers": "$"}, "loggingConfigurationIdentifiers",
			[]any{nil, []any{}, []any{lcs[0], lcs[1], lcs[2]}}, []any{[]any{lcs[0], lcs[1], lcs[2], lcs[3]}, []any{lcs[0], lcs[0]}}},
		{"GetRoom", object{"identifier": "$"}, "identifier",
			[]any{room}, []any{nil, "", room[len(room)-12:], lc, room + "/", room + "\n", " " + room, longest(room) + "a",
				strings.Replace(room, "aws", "aws-cn", 1), strings.Replace(room, "us-west-2", "", 1), strings.Replace(room, "1234", "x", 1)}},
		{"GetLoggingConfiguration", object{"identifier": "$"}, "identifier",
			[]any{lc}, []any{nil, "", room, longest(lc) + "a"}},
		{"ListRooms", object{"maxResults": "$"}, "maxResults", []any{nil, 1, 50}, []any{0, 51}},
		{"ListRooms", object{"nextToken": "$"}, "nextToken", []any{nil, ""}, []any{s("a", 1025)}},
		{"ListRooms", object{"name": "$"}, "name", []any{nil, "", s("a", 128)}, []any{s("a", 129), "*"}},
		{"ListRooms", object{"messageReviewHandlerUri": "$"}, "messageReviewHandlerUri", []any{nil, "", lambda + "f"}, []any{"f", lambda + s("f", 171-len(lambda))}},
		{"ListRooms", object{"loggingConfigurationIdentifier": "$"}, "loggingConfigurationIdentifier", []any{nil, "", lc, longest(lc)}, []any{room, longest(lc) + "a"}},
		{"ListLoggingConfigurations", object{"maxResults": "$"}, "maxResults", []any{nil, 1, 50}, []any{0, 51}},
		{"ListLoggingConfigurations", object{"nextToken": "$"}, "nextToken", []any{nil, ""}, []any{s("a", 1025)}},
		{"CreateLoggingConfiguration", object{"destinationConfiguration": "$"}, "destinationConfiguration",
			[]any{object{"s3": object{"bucketName": "abc"}}}, []any{nil}},
		{"CreateLoggingConfiguration", object{"destinationConfiguration": object{"s3": object{"bucketName": "$"}}}, "bucketName",
			[]any{"abc", "a-.9", s("a", 63)}, []any{nil, "ab", s("a", 64), "Abc", "a_c"}},
		{"CreateLoggingConfiguration", object{"destinationConfiguration": object{"cloudWatchLogs": object{"logGroupName": "$"}}}, "logGroupName",
			[]any{"a", "/a.b-c_d#E9", s("a", 512)}, []any{nil, "", s("a", 513), "a b"}},
		{"CreateLoggingConfiguration", object{"destinationConfiguration": object{"firehose": object{"deliveryStreamName": "$"}}}, "deliveryStreamName",
			[]any{"a", "a.B_9-", s("a", 64)}, []any{nil, "", s("a", 65), "a/b"}},
		{"CreateLoggingConfiguration", object{"name": "$", "destinationConfiguration": object{"s3": object{"bucketName": "abc"}}}, "name",
			[]any{nil, "", s("a", 128)}, []any{s("a", 129), "a b"}},
		{"CreateLoggingConfiguration", object{"tags": "$", "destinationConfiguration": object{"s3": object{"bucketName": "abc"}}}, "tags",
			[]any{nil, tagged(50)}, []any{tagged(51), object{"aws:a": ""}}},
		{"UpdateLoggingConfiguration", object{"identifier": "$"}, "identifier", []any{lc}, []any{nil, room}},
		{"UpdateLoggingConfiguration", object{"identifier": lc, "name": "$"}, "name", []any{nil, "", s("a", 128)}, []any{s("a", 129)}},
		{"UpdateLoggingConfiguration", object{"identifier": lc, "destinationConfiguration": object{"s3": object{"bucketName": "$"}}}, "bucketName",
			[]any{"abc"}, []any{nil, "ab"}},
		{"CreateChatToken", object{"roomIdentifier": "$", "userId": "u"}, "roomIdentifier", []any{room}, []any{nil, "", lc}},
		{"CreateChatToken", object{"roomIdentifier": room, "userId": "$"}, "userId",
			[]any{"u", s("😀", 128), " ", "\x00"}, []any{nil, "", s("é", 129)}},
		{"CreateChatToken", object{"roomIdentifier": room, "userId": "u", "sessionDurationInMinutes": "$"}, "sessionDurationInMinutes",
			[]any{nil, 1, 180}, []any{0, 181, -1}},
		{"CreateChatToken", object{"roomIdentifier": room, "userId": "u", "capabilities": "$"}, "capabilities",
			[]any{nil, []any{}, []any{"SEND_MESSAGE", "SEND_MESSAGE"}}, []any{[]any{"VIEW_MESSAGE"}, []any{""}, []any{"send_message"}}},
		{"CreateChatToken", object{"roomIdentifier": room, "userId": "u", "attributes": "$"}, "attributes",
			[]any{nil, object{}, object{"k": s("v", 1023)}, object{s("k", 1000): s("é", 12)}, object{"": ""}},
			[]any{object{"k": s("v", 1024)}, object{"k": s("é", 512)}}},
		{"SendEvent", object{"roomIdentifier": room, "eventName": "$"}, "eventName",
			[]any{"e", s("é", 100), "AWS:x", "x:aws:"}, []any{nil, "", s("e", 101), "aws:", "aws:DELETE_MESSAGE"}},
		{"SendEvent", object{"roomIdentifier": room, "eventName": "e", "attributes": "$"}, "attributes",
			[]any{nil, object{}, object{"k": s("v", 1023)}}, []any{object{"k": s("v", 1024)}}},
		{"SendEvent", object{"roomIdentifier": "$", "eventName": "e"}, "roomIdentifier", []any{room}, []any{nil, lc}},
		{"DeleteMessage", object{"roomIdentifier": room, "id": "$"}, "id",
			[]any{"M2YcHkgffEvU"}, []any{nil, "", "M2YcHkgffEv", "M2YcHkgffEvUx", "M2YcHkgffEv-"}},
		{"DeleteMessage", object{"roomIdentifier": room, "id": "M2YcHkgffEvU", "reason": "$"}, "reason",
			[]any{nil, "r", s("é", 256)}, []any{"", s("r", 257)}},
		{"DeleteMessage", object{"roomIdentifier": "$", "id": "M2YcHkgffEvU"}, "roomIdentifier", []any{room}, []any{nil, lc}},
		{"DisconnectUser", object{"roomIdentifier": room, "userId": "$"}, "userId",
			[]any{"u", s("é", 128)}, []any{nil, "", s("u", 129)}},
		{"DisconnectUser", object{"roomIdentifier": room, "userId": "u", "reason": "$"}, "reason",
			[]any{nil, "r", s("é", 256)}, []any{"", s("r", 257)}},
		{"DisconnectUser", object{"roomIdentifier": "$", "userId": "u"}, "roomIdentifier", []any{room}, []any{nil, lc}},
		{"DeleteRoom", object{"identifier": "$"}, "identifier", nil, []any{nil, lc}},
		{"DeleteLoggingConfiguration", object{"identifier": "$"}, "identifier", nil, []any{nil, room}},
	}
	for _, test := range tests {
		call := func(value any) (body, got string) {
			input, err := json.Marshal(test.input)
			if err != nil {
				t.Fatal(err)
			}
			v, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			body = strings.Replace(string(input), `"$"`, string(v), 1)
			w := f.post(test.operation, body)
			if w.Code == http.StatusOK {
				return body, "accepted"
			}
			e := errorOf(t, w)
			if w.Code != http.StatusBadRequest || e.Type != "ValidationException" || e.Reason != reasonField ||
				len(e.FieldList) != 1 || e.FieldList[0].Message != e.Message {
				return body, w.Body.String()
			}
			return body, "refused " + e.FieldList[0].Name
		}
		for _, value := range test.good {
			if body, got := call(value); got != "accepted" {
				t.Errorf("%s %.300s: got %s, want accepted", test.operation, body, got)
			}
		}
		for _, value := range test.bad {
			if body, got := call(value); got != "refused "+test.member {
				t.Errorf("%s %.300s: got %s, want refused %s", test.operation, body, got, test.member)
			}
		}
	}
}

// TestTagConstraints does the same for the operations whose members are in the URL.
func TestTagConstraints(t *testing.T) {
	f := newFixture(t)
	client := newClient(t, f)
	room := f.created(t, "CreateRoom", `{}`)
	keys := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("k%d", i))
		}
		return out
	}
	tests := []struct {
		name string
		keys []string
		ok   bool
	}{
		{"one", keys(1), true},
		{"fifty", keys(50), true},
		{"too many", keys(51), false},
		{"longest", []string{strings.Repeat("é", 128)}, true},
		{"too long", []string{strings.Repeat("é", 129)}, false},
		{"empty", []string{""}, false},
		{"none", []string{}, false},
		{"reserved, so never there", []string{"aws:x"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := client.UntagResource(t.Context(), &ivschat.UntagResourceInput{ResourceArn: &room, TagKeys: test.keys})
			if got := err == nil; got != test.ok {
				t.Errorf("got %v, want accepted: %v", err, test.ok)
			}
		})
	}
}

// TestAcceptedIsReadable makes rooms of anything that is accepted and reads them back
// with the official client.
func TestAcceptedIsReadable(t *testing.T) {
	f := newFixture(t)
	client := newClient(t, f)
	text := func(most int) *rapid.Generator[string] { return rapid.StringN(0, most, -1) }
	rapid.Check(t, func(rt *rapid.T) {
		type handler struct {
			URI      *string `json:"uri,omitempty"`
			Fallback *string `json:"fallbackResult,omitempty"`
		}
		input := struct {
			Name    string            `json:"name"`
			Rate    int               `json:"maximumMessageRatePerSecond"`
			Length  int               `json:"maximumMessageLength"`
			Tags    map[string]string `json:"tags"`
			Handler *handler          `json:"messageReviewHandler"`
		}{
			Name:   rapid.StringMatching(`[a-zA-Z0-9_-]{0,128}`).Draw(rt, "name"),
			Rate:   rapid.IntRange(1, 100).Draw(rt, "rate"),
			Length: rapid.IntRange(1, 500).Draw(rt, "length"),
			Tags:   rapid.MapOfN(text(128), text(256), 0, 5).Draw(rt, "tags"),
		}
		if rapid.Bool().Draw(rt, "handler") {
			input.Handler = &handler{
				URI:      rapid.Ptr(rapid.Just("arn:aws:lambda:us-west-2:123456789012:function:"+text(100).Draw(rt, "function")), true).Draw(rt, "uri"),
				Fallback: rapid.Ptr(rapid.SampledFrom([]string{"ALLOW", "DENY"}), true).Draw(rt, "fallback"),
			}
		}
		body, err := json.Marshal(input)
		if err != nil {
			rt.Fatal(err)
		}
		w := f.post("CreateRoom", string(body))
		if w.Code == http.StatusBadRequest {
			return // a tag or uri that is refused
		}
		var created struct{ ARN string }
		if err := json.Unmarshal(w.Body.Bytes(), &created); err != nil || w.Code != http.StatusOK {
			rt.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
		got, err := client.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &created.ARN})
		if err != nil {
			rt.Fatalf("%s: %v", body, err)
		}
		if *got.Name != input.Name || *got.MaximumMessageRatePerSecond != int32(input.Rate) || *got.MaximumMessageLength != int32(input.Length) {
			rt.Errorf("%s: got %+v", body, got)
		}
		if diff := cmp.Diff(input.Tags, got.Tags); diff != "" {
			rt.Errorf("tags (-want +got):\n%s", diff)
		}
		if (input.Handler == nil) != (got.MessageReviewHandler == nil) {
			rt.Errorf("handler: got %v, want %v", got.MessageReviewHandler, input.Handler)
		}
		if h := input.Handler; h != nil && h.URI != nil && aws.ToString(got.MessageReviewHandler.Uri) != *h.URI {
			rt.Errorf("uri: got %q, want %q", *got.MessageReviewHandler.Uri, *h.URI)
		}
		list, err := client.ListRooms(t.Context(), &ivschat.ListRoomsInput{MaxResults: aws.Int32(1)})
		if err != nil || *list.Rooms[0].Arn != created.ARN {
			rt.Errorf("list: %v %v", list, err)
		}
	})
}

// TestEveryCodeIsRendered walks the core's codes: none may fall through to a 500 but
// Internal, and none may break the error's own shape.
func TestEveryCodeIsRendered(t *testing.T) {
	resource := chat.ARN{Scope: testScope, Kind: chat.KindRoom, ID: "g1H2I3j4k5L6"}
	for code := chat.Internal; code <= chat.TooManyRequests; code++ {
		out, cause := render(&chat.Error{Code: code, Message: "text", Resource: resource})
		if code == chat.Internal {
			if out.Status != http.StatusInternalServerError || out.Message != internalText || cause == nil {
				t.Errorf("Internal: got %+v, cause %v", out, cause)
			}
			continue
		}
		if out.Status < 400 || out.Status >= 500 || out.Message != "text" || cause != nil {
			t.Errorf("code %d: got %+v, cause %v", code, out, cause)
		}
		if (out.Reason != "") != (out.Name == "ValidationException") {
			t.Errorf("code %d: reason %q of a %s", code, out.Reason, out.Name)
		}
	}
}
