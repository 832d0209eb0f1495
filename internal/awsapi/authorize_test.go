package awsapi

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/aws/smithy-go"

	"parlor/internal/chat"
	"parlor/internal/iam"
)

// guarded is a control plane that knows some access keys, and serves two regions.
func guarded(t *testing.T, principals map[string]Principal) *fixture {
	return newFixture(t, func(c *Config) {
		c.Credentials = func(accessKey string) (Principal, bool) {
			p, found := principals[accessKey]
			return p, found
		}
		c.Regions = []string{testRegion, "eu-west-1"}
	})
}

func policy(t *testing.T, statements string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refused checks that an error has a name, and a message that begins as given.
func refused(t *testing.T, err error, name, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != name || !strings.HasPrefix(e.ErrorMessage(), message) {
		t.Errorf("got %v, want %s: %s", err, name, message)
	}
}

// TestAuthentication signs with the official SDK.
func TestAuthentication(t *testing.T) {
	f := guarded(t, map[string]Principal{
		"AKIAADA":  {Name: "ada", Account: testAccount, Secret: "secret"},
		"AKIABOB":  {Name: "bob", Account: "210987654321", Secret: "hidden"},
		"ASIAADA":  {Name: "ada", Account: testAccount, Secret: "brief", SessionToken: "session", Expires: time.Now().Add(time.Hour)},
		"ASIALATE": {Name: "ada", Account: testAccount, Secret: "brief", SessionToken: "session", Expires: time.Now().Add(-time.Second)},
	})
	for _, test := range []struct {
		name                  string
		region                string
		key, secret, session  string
		refusal, refusalBegin string
	}{
		{"the right secret", testRegion, "AKIAADA", "secret", "", "", ""},
		{"a temporary key", testRegion, "ASIAADA", "brief", "session", "", ""},
		{"another region that is served", "eu-west-1", "AKIAADA", "secret", "", "", ""},
		{"the wrong secret", testRegion, "AKIAADA", "Secret", "", "InvalidSignatureException", "The request signature we calculated does not match"},
		{"another's secret", testRegion, "AKIAADA", "hidden", "", "InvalidSignatureException", "The request signature we calculated does not match"},
		{"a key nobody has", testRegion, "AKIAEVE", "secret", "", "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"a temporary key without its token", testRegion, "ASIAADA", "brief", "", "UnrecognizedClientException", "The security token included"},
		{"a temporary key with another token", testRegion, "ASIAADA", "brief", "sessiom", "UnrecognizedClientException", "The security token included"},
		{"a token where none belongs", testRegion, "AKIAADA", "secret", "session", "UnrecognizedClientException", "The security token included"},
		{"a temporary key that is over", testRegion, "ASIALATE", "brief", "session", "ExpiredTokenException", "The security token included in the request is expired"},
		{"a region that is not served", "us-east-1", "AKIAADA", "secret", "", "InvalidSignatureException", "Credential should be scoped to a valid region"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := newClientOf(t, f, test.region, credentials.NewStaticCredentialsProvider(test.key, test.secret, test.session))
			_, err := client.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
			if test.refusal == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, test.refusal, test.refusalBegin)
		})
	}
	t.Run("accounts are the keys'", func(t *testing.T) {
		ada := newClientOf(t, f, testRegion, credentials.NewStaticCredentialsProvider("AKIAADA", "secret", ""))
		bob := newClientOf(t, f, testRegion, credentials.NewStaticCredentialsProvider("AKIABOB", "hidden", ""))
		room := must[*ivschat.CreateRoomOutput](t)(ada.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}))
		_, err := bob.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: room.Arn})
		refused(t, err, "AccessDeniedException", "User: arn:aws:iam::210987654321:user/bob is not authorized to perform: ivschat:GetRoom on resource: "+*room.Arn)
	})
	t.Run("nothing unsigned", func(t *testing.T) {
		if w := f.post("ListRooms", `{}`); w.Code != 403 {
			t.Errorf("got %d %s, want 403", w.Code, w.Body)
		}
	})
}

// TestEveryOperationAsks calls each operation as somebody who may do nothing.
func TestEveryOperationAsks(t *testing.T) {
	const (
		room = "arn:aws:ivschat:us-west-2:123456789012:room/abcdefghijkl"
		lc   = "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/abcdefghijkl"
	)
	f := newFixture(t)
	nobody := caller{Scope: testScope, Name: "nobody", Policy: policy(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)}
	inputs := map[string]source{
		"CreateChatToken":            {body: []byte(`{"roomIdentifier":"` + room + `","userId":"u"}`)},
		"CreateLoggingConfiguration": {body: []byte(`{"destinationConfiguration":{"s3":{"bucketName":"abc"}}}`)},
		"CreateRoom":                 {body: []byte(`{}`)},
		"DeleteLoggingConfiguration": {body: []byte(`{"identifier":"` + lc + `"}`)},
		"DeleteMessage":              {body: []byte(`{"roomIdentifier":"` + room + `","id":"abcdefghijkl"}`)},
		"DeleteRoom":                 {body: []byte(`{"identifier":"` + room + `"}`)},
		"DisconnectUser":             {body: []byte(`{"roomIdentifier":"` + room + `","userId":"u"}`)},
		"GetLoggingConfiguration":    {body: []byte(`{"identifier":"` + lc + `"}`)},
		"GetRoom":                    {body: []byte(`{"identifier":"` + room + `"}`)},
		"ListLoggingConfigurations":  {body: []byte(`{}`)},
		"ListRooms":                  {body: []byte(`{}`)},
		"ListTagsForResource":        {label: room},
		"SendEvent":                  {body: []byte(`{"roomIdentifier":"` + room + `","eventName":"e"}`)},
		"TagResource":                {label: room, body: []byte(`{"tags":{"a":"b"}}`)},
		"UntagResource":              {label: room, query: "tagKeys=a"},
		"UpdateLoggingConfiguration": {body: []byte(`{"identifier":"` + lc + `"}`)},
		"UpdateRoom":                 {body: []byte(`{"identifier":"` + room + `"}`)},
		"BanUser":                    {body: []byte(`{"roomIdentifier":"` + room + `","userId":"u"}`)},
		"MuteUser":                   {body: []byte(`{"userId":"u"}`)},
		"UnbanUser":                  {body: []byte(`{"userId":"u"}`)},
		"UnmuteUser":                 {body: []byte(`{"roomIdentifier":"` + room + `","userId":"u"}`)},
		"ListBans":                   {body: []byte(`{}`)},
		"PurgeUser":                  {body: []byte(`{"roomIdentifier":"` + room + `","userId":"u"}`)},
		"DescribeNode":               {body: []byte(`{}`)},
		"DescribeToken":              {body: []byte(`{"token":"` + f.token(t) + `"}`)},
	}
	asked := 0
	for _, o := range operations {
		from, found := inputs[o.name]
		if !found {
			t.Errorf("%s: this test does not know it", o.name)
			continue
		}
		asked++
		_, err := o.serve(t.Context(), &call{Service: f.service, caller: nobody, action: o.action}, from)
		if e := chat.AsError(err); e.Code != chat.Forbidden || !strings.Contains(e.Message, "is not authorized to perform: "+o.action+" on resource: ") {
			t.Errorf("%s: got %v, want it refused", o.name, err)
		}
	}
	if asked != len(inputs) {
		t.Errorf("operations: got %d, want %d", asked, len(inputs))
	}
}

func TestPrincipalKeepsItsSecrets(t *testing.T) {
	p := Principal{Name: "ada", Account: testAccount, Secret: "hidden", SessionToken: "hidden"}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "who", p)
	for _, text := range []string{fmt.Sprint(p), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", &p), fmt.Sprintf("%s", struct{ P Principal }{p}), logged.String()} {
		if strings.Contains(text, "hidden") {
			t.Errorf("a secret shows: %s", text)
		}
	}
}

// TestAuthorization has users with policies.
func TestAuthorization(t *testing.T) {
	const account = "arn:aws:ivschat:us-west-2:123456789012:"
	principals := map[string]Principal{"ROOT": {Name: "root", Account: testAccount, Secret: "secret"}}
	f := guarded(t, principals)
	as := func(name, statements string) *ivschat.Client {
		principals[name] = Principal{Name: name, Account: testAccount, Secret: "secret", Policy: policy(t, statements)}
		return newClientOf(t, f, testRegion, credentials.NewStaticCredentialsProvider(name, "secret", ""))
	}
	root := newClientOf(t, f, testRegion, credentials.NewStaticCredentialsProvider("ROOT", "secret", ""))
	create := func(tags map[string]string) *string {
		return must[*ivschat.CreateRoomOutput](t)(root.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Tags: tags})).Arn
	}
	red, blue := create(map[string]string{"team": "red"}), create(map[string]string{"team": "blue"})

	t.Run("deny by default", func(t *testing.T) {
		reader := as("reader", `{"Effect":"Allow","Action":["ivschat:Get*","ivschat:List*"],"Resource":"*"}`)
		if _, err := reader.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: red}); err != nil {
			t.Error(err)
		}
		if _, err := reader.ListRooms(t.Context(), &ivschat.ListRoomsInput{}); err != nil {
			t.Error(err)
		}
		_, err := reader.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
		refused(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/reader is not authorized to perform: ivschat:CreateRoom on resource: "+account+"room/*")
		_, err = reader.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: red, EventName: aws.String("x")})
		refused(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/reader is not authorized to perform: ivschat:SendEvent on resource: "+*red)
	})
	t.Run("a denied caller does not learn what exists", func(t *testing.T) {
		nobody := as("nobody", `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)
		missing := account + "room/missing"
		_, err := nobody.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &missing})
		refused(t, err, "AccessDeniedException", "User: ")
	})
	t.Run("by the resource's tags", func(t *testing.T) {
		team := as("team", `{"Effect":"Allow","Action":"ivschat:CreateChatToken","Resource":"`+account+`room/*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}}`)
		if _, err := team.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: red, UserId: aws.String("u")}); err != nil {
			t.Error(err)
		}
		_, err := team.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: blue, UserId: aws.String("u")})
		refused(t, err, "AccessDeniedException", "User: ")
	})
	t.Run("creating with tags asks for TagResource too", func(t *testing.T) {
		maker := as("maker", `{"Effect":"Allow","Action":["ivschat:CreateRoom","ivschat:CreateLoggingConfiguration"],"Resource":"*"}`)
		if _, err := maker.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err != nil {
			t.Error(err)
		}
		_, err := maker.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Tags: map[string]string{"a": "b"}})
		refused(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/maker is not authorized to perform: ivschat:TagResource on resource: "+account+"room/*")
	})
	t.Run("by the request's tags", func(t *testing.T) {
		tagger := as("tagger", `{"Effect":"Allow","Action":["ivschat:TagResource","ivschat:UntagResource"],"Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]},"StringEqualsIfExists":{"aws:RequestTag/team":["red","blue"]}}}`)
		for _, test := range []struct {
			tags map[string]string
			ok   bool
		}{
			{map[string]string{"team": "blue"}, true},
			{map[string]string{"team": "green"}, false},
			{map[string]string{"team": "blue", "owner": "me"}, false},
		} {
			_, err := tagger.TagResource(t.Context(), &ivschat.TagResourceInput{ResourceArn: blue, Tags: test.tags})
			if got := err == nil; got != test.ok {
				t.Errorf("tags %v: got %v, want allowed %v", test.tags, err, test.ok)
			}
		}
		_, err := tagger.UntagResource(t.Context(), &ivschat.UntagResourceInput{ResourceArn: blue, TagKeys: []string{"owner"}})
		refused(t, err, "AccessDeniedException", "User: ")
	})
	t.Run("who may update a room may attach any logging configuration", func(t *testing.T) {
		lc := must[*ivschat.CreateLoggingConfigurationOutput](t)(root.CreateLoggingConfiguration(t.Context(), &ivschat.CreateLoggingConfigurationInput{
			DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("bucket")}}})).Arn
		updater := as("updater", `{"Effect":"Allow","Action":"ivschat:UpdateRoom","Resource":"`+*red+`"}`)
		if _, err := updater.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: red, LoggingConfigurationIdentifiers: []string{*lc}}); err != nil {
			t.Error(err)
		}
		_, err := updater.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: blue, LoggingConfigurationIdentifiers: []string{*lc}})
		refused(t, err, "AccessDeniedException", "User: ")
	})
	t.Run("an explicit deny wins", func(t *testing.T) {
		careful := as("careful", `{"Effect":"Allow","Action":"ivschat:*","Resource":"*"},{"Effect":"Deny","Action":"ivschat:DeleteRoom","Resource":"*"}`)
		_, err := careful.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: red})
		refused(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/careful is not authorized to perform: ivschat:DeleteRoom on resource: "+*red)
	})
	t.Run("by address, name and transport", func(t *testing.T) {
		for _, test := range []struct {
			condition string
			ok        bool
		}{
			{`"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}`, true},
			{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, false},
			{`"StringEquals":{"aws:username":"conditional"}`, true},
			{`"StringEquals":{"aws:RequestedRegion":"eu-west-1"}`, false},
			{`"Bool":{"aws:SecureTransport":"true"}`, false},
			{`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`, true},
		} {
			client := as("conditional", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{`+test.condition+`}}`)
			_, err := client.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: red})
			if got := err == nil; got != test.ok {
				t.Errorf("%s: got %v, want allowed %v", test.condition, err, test.ok)
			}
		}
	})
}
