package iam_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"parlor/internal/iam"
)

const (
	room   = "arn:aws:ivschat:us-west-2:123456789012:room/A1b2C3d4E5f6"
	other  = "arn:aws:ivschat:us-east-1:999999999999:room/A1b2C3d4E5f6"
	logger = "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/A1b2C3d4E5f6"
)

// base is the request that the tables change.
func base() iam.Request {
	return iam.Request{
		Action:   "ivschat:CreateRoom",
		Resource: room,
		Context: iam.Context{
			Time:         time.Date(2026, 3, 14, 15, 9, 26, 535e6, time.UTC),
			SourceIP:     netip.MustParseAddr("203.0.113.7"),
			UserAgent:    "aws-cli/2.15.0",
			Region:       "us-west-2",
			PrincipalARN: "arn:aws:iam::123456789012:user/ada",
			Account:      "123456789012",
			Username:     "ada",
			ResourceTags: map[string]string{"owner": "ada", "stage": "", "size": "12"},
		},
	}
}

func parse(t testing.TB, document string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse([]byte(document))
	if err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	return p
}

// statements is a document of them.
func statements(s string) string {
	return `{"Version": "2012-10-17", "Statement": [` + s + `]}`
}

type decisionCase struct {
	name     string
	document string
	change   func(*iam.Request)
	want     iam.Outcome
}

func decide(t *testing.T, cases []decisionCase) {
	t.Helper()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			p := parse(t, test.document)
			r := base()
			if test.change != nil {
				test.change(&r)
			}
			if got := p.Decide(r).Outcome; got != test.want {
				t.Errorf("got %v, want %v of\n%s", got, test.want, test.document)
			}
		})
	}
}

func TestEffect(t *testing.T) {
	const allowAll = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	decide(t, []decisionCase{
		{"deny by default", statements(`{"Effect":"Allow","Action":"ivschat:GetRoom","Resource":"*"}`), nil, iam.Denied},
		{"allowed", statements(allowAll), nil, iam.Allowed},
		{"explicit deny first", statements(allowAll + `,{"Effect":"Deny","Action":"ivschat:CreateRoom","Resource":"*"}`), nil, iam.ExplicitlyDenied},
		{"explicit deny before the allow", statements(`{"Effect":"Deny","Action":"ivschat:CreateRoom","Resource":"*"},` + allowAll), nil, iam.ExplicitlyDenied},
		{"deny of something else", statements(allowAll + `,{"Effect":"Deny","Action":"ivschat:DeleteRoom","Resource":"*"}`), nil, iam.Allowed},
		{"one statement without a list", `{"Statement":` + allowAll + `}`, nil, iam.Allowed},
	})
}

func TestAction(t *testing.T) {
	action := func(name, member, actions string, want iam.Outcome) decisionCase {
		return decisionCase{name, statements(`{"Effect":"Allow","` + member + `":` + actions + `,"Resource":"*"}`), nil, want}
	}
	decide(t, []decisionCase{
		action("exact", "Action", `"ivschat:CreateRoom"`, iam.Allowed),
		action("without regard to case", "Action", `"IVSChat:createroom"`, iam.Allowed),
		action("run of characters", "Action", `"ivschat:*Room"`, iam.Allowed),
		action("one character", "Action", `"ivschat:CreateRoo?"`, iam.Allowed),
		action("one character is not none", "Action", `"ivschat:CreateRoom?"`, iam.Denied),
		action("no partial match", "Action", `"ivschat:Create"`, iam.Denied),
		action("every service", "Action", `"*:*"`, iam.Allowed),
		action("other service", "Action", `"s3:*"`, iam.Denied),
		action("any of a list", "Action", `["s3:Get*","ivschat:Create*"]`, iam.Allowed),
		action("not action", "NotAction", `"ivschat:DeleteRoom"`, iam.Allowed),
		action("not action, any of a list", "NotAction", `["iam:*","ivschat:create*"]`, iam.Denied),
	})
}

func TestResource(t *testing.T) {
	resource := func(name, member, resources, request string, want iam.Outcome) decisionCase {
		return decisionCase{name, statements(`{"Effect":"Allow","Action":"*","` + member + `":` + resources + `}`),
			func(r *iam.Request) { r.Resource = request }, want}
	}
	const bucket = "arn:aws:s3:::amzn-s3-demo-bucket/"
	decide(t, []decisionCase{
		resource("exact", "Resource", `"`+room+`"`, room, iam.Allowed),
		resource("case-sensitive", "Resource", `"arn:aws:ivschat:us-west-2:123456789012:ROOM/A1b2C3d4E5f6"`, room, iam.Denied),
		resource("other account", "Resource", `"arn:aws:ivschat:*:123456789012:room/*"`, other, iam.Denied),
		resource("any region", "Resource", `"arn:aws:ivschat:*:123456789012:room/*"`, room, iam.Allowed),
		resource("any partition", "Resource", `"arn:*:ivschat:*:*:room/*"`, room, iam.Allowed),
		resource("other type", "Resource", `"arn:aws:ivschat:*:*:room/*"`, logger, iam.Denied),
		resource("a wildcard does not swallow a colon", "Resource", `"arn:aws:s:*:1:f/*"`, "arn:aws:s:r:2:x:1:f/y", iam.Denied),
		resource("the last part spans colons", "Resource", `"arn:aws:s:r:1:log:*"`, "arn:aws:s:r:1:log:a:b/c", iam.Allowed),
		resource("the last part spans slashes", "Resource", `"`+bucket+`*/test/*"`, bucket+"1/2/test/3/object.jpg", iam.Allowed),
		resource("slashes are characters", "Resource", `"`+bucket+`*/test/*"`, bucket+"1///test///object.jpg", iam.Allowed),
		resource("an empty run", "Resource", `"`+bucket+`*/test/*"`, bucket+"/test/object.jpg", iam.Allowed),
		resource("a run at the end may be empty", "Resource", `"`+bucket+`*/test/*"`, bucket+"1/test/", iam.Allowed),
		resource("not in between", "Resource", `"`+bucket+`*/test/*"`, bucket+"1-test/object.jpg", iam.Denied),
		resource("no directory before", "Resource", `"`+bucket+`*/test/*"`, bucket+"test/object.jpg", iam.Denied),
		resource("no directory after", "Resource", `"`+bucket+`*/test/*"`, bucket+"1/2/test.jpg", iam.Denied),
		resource("any of a list", "Resource", `["`+other+`","`+room+`"]`, room, iam.Allowed),
		resource("everything", "Resource", `"*"`, room, iam.Allowed),
		resource("no resource in particular", "Resource", `"*"`, "*", iam.Allowed),
		resource("no resource in particular is not every ARN", "Resource", `"arn:aws:ivschat:*:*:*"`, "*", iam.Denied),
		resource("not resource", "NotResource", `"`+other+`"`, room, iam.Allowed),
		resource("not resource, any of a list", "NotResource", `["`+other+`","`+room+`"]`, room, iam.Denied),
	})
}

// TestDocumentedExamples has the shapes of policies that AWS's user guide shows, over
// this service's actions.
func TestDocumentedExamples(t *testing.T) {
	// Everything outside one folder is off limits.
	fence := statements(`{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"ivschat:*","NotResource":["arn:aws:ivschat:us-west-2:123456789012:*"]}`)
	// Requests must come from our network, unless a service makes them.
	network := statements(`{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{
			"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","203.0.113.0/24"]},"Bool":{"aws:ViaAWSService":"false"}}}`)
	// The owner, by a tag, may do anything to what is theirs.
	owner := statements(`{"Effect":"Allow","Action":"ivschat:*","Resource":"*",
		"Condition":{"StringEquals":{"aws:ResourceTag/Owner":"${aws:username}"}}}`)
	// Only these tags may be set, and CostCenter must.
	tagging := statements(`{"Effect":"Allow","Action":["ivschat:CreateRoom","ivschat:TagResource"],"Resource":"*","Condition":{
		"StringEquals":{"aws:RequestTag/CostCenter":["100","200"]},
		"ForAllValues:StringEquals":{"aws:TagKeys":["CostCenter","Team"]}}}`)
	// Valid for a while only.
	dates := statements(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
		"DateGreaterThan":{"aws:CurrentTime":"2026-03-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-03-31T23:59:59Z"}}}`)
	// All regions but some are denied, but for some services.
	regions := statements(`{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","NotAction":["iam:*","sts:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["eu-central-1","eu-west-1"]}}}`)
	// Plain HTTP is denied.
	secure := statements(`{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`)
	// Read-only access, as AWS's managed policies give it.
	readOnly := statements(`{"Effect":"Allow","Action":["ivschat:Get*","ivschat:List*"],"Resource":"*"}`)

	decide(t, []decisionCase{
		{"fence, inside", fence, nil, iam.Allowed},
		{"fence, outside", fence, func(r *iam.Request) { r.Resource = other }, iam.ExplicitlyDenied},
		{"network, inside", network, nil, iam.Allowed},
		{"network, outside", network, func(r *iam.Request) { r.Context.SourceIP = netip.MustParseAddr("198.51.100.1") }, iam.ExplicitlyDenied},
		{"owner, theirs", owner, nil, iam.Allowed},
		{"owner, another's", owner, func(r *iam.Request) { r.Context.Username = "bob" }, iam.Denied},
		{"owner, nobody's", owner, func(r *iam.Request) { r.Context.ResourceTags = nil }, iam.Denied},
		{"tagging, as asked", tagging, func(r *iam.Request) { r.Context.RequestTags = map[string]string{"CostCenter": "200", "Team": "x"} }, iam.Allowed},
		{"tagging, other tag too", tagging, func(r *iam.Request) { r.Context.RequestTags = map[string]string{"CostCenter": "200", "Mood": "x"} }, iam.Denied},
		{"tagging, other value", tagging, func(r *iam.Request) { r.Context.RequestTags = map[string]string{"CostCenter": "300"} }, iam.Denied},
		{"tagging, without", tagging, nil, iam.Denied},
		{"dates, within", dates, nil, iam.Allowed},
		{"dates, after", dates, func(r *iam.Request) { r.Context.Time = r.Context.Time.AddDate(0, 1, 0) }, iam.Denied},
		{"regions, other", regions, nil, iam.ExplicitlyDenied},
		{"regions, ours", regions, func(r *iam.Request) { r.Context.Region = "eu-west-1" }, iam.Allowed},
		{"regions, excepted service", regions, func(r *iam.Request) { r.Action = "sts:GetCallerIdentity" }, iam.Allowed},
		{"secure, plain", secure, nil, iam.ExplicitlyDenied},
		{"secure, TLS", secure, func(r *iam.Request) { r.Context.SecureTransport = true }, iam.Allowed},
		{"read-only, read", readOnly, func(r *iam.Request) { r.Action = "ivschat:GetRoom" }, iam.Allowed},
		{"read-only, list", readOnly, func(r *iam.Request) { r.Action, r.Resource = "ivschat:ListRooms", "*" }, iam.Allowed},
		{"read-only, write", readOnly, nil, iam.Denied},
	})
}

func TestEvaluate(t *testing.T) {
	allow := parse(t, statements(`{"Sid":"Yes","Effect":"Allow","Action":"*","Resource":"*"}`))
	deny := parse(t, statements(`{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"No","Effect":"Deny","Action":"*","Resource":"*"}`))
	silent := parse(t, statements(`{"Sid":"S3","Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	for _, test := range []struct {
		name     string
		policies []*iam.Policy
		want     iam.Decision
	}{
		{"no policies", nil, iam.Decision{}},
		{"a nil policy", []*iam.Policy{nil}, iam.Decision{}},
		{"nobody allows", []*iam.Policy{silent, silent}, iam.Decision{}},
		{"one allows", []*iam.Policy{silent, allow, silent}, iam.Decision{Outcome: iam.Allowed, Sid: "Yes", Statement: 1}},
		{"a deny wins over an earlier allow", []*iam.Policy{allow, deny}, iam.Decision{Outcome: iam.ExplicitlyDenied, Sid: "No", Statement: 2}},
		{"a deny wins over a later allow", []*iam.Policy{deny, allow}, iam.Decision{Outcome: iam.ExplicitlyDenied, Sid: "No", Statement: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := iam.Evaluate(test.policies, base()); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	var none *iam.Policy
	if got := none.Decide(base()); got != (iam.Decision{}) {
		t.Errorf("got %+v of a nil policy, want %+v", got, iam.Decision{})
	}
}

func TestDenialMessage(t *testing.T) {
	const (
		user = "arn:aws:iam::123456789012:user/ada"
		said = "User: " + user + " is not authorized to perform: ivschat:CreateRoom on resource: " + room
	)
	for _, test := range []struct {
		name     string
		resource string
		outcome  iam.Outcome
		want     string
	}{
		{"nothing allows", room, iam.Denied, said + " because no identity-based policy allows the ivschat:CreateRoom action"},
		{"explicit deny", room, iam.ExplicitlyDenied, said + " with an explicit deny in an identity-based policy"},
		{"no resource", "", iam.Denied, "User: " + user + " is not authorized to perform: ivschat:CreateRoom because no identity-based policy allows the ivschat:CreateRoom action"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := iam.DenialMessage(user, "ivschat:CreateRoom", test.resource, iam.Decision{Outcome: test.outcome}); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	if got, want := fmt.Sprint(iam.Denied, iam.ExplicitlyDenied, iam.Allowed, iam.Outcome(9)), "Denied ExplicitlyDenied Allowed Outcome(9)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
