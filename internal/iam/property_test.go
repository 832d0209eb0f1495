package iam_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parlor/internal/iam"
)

type object = map[string]any

func drawOne[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

// drawStatement draws a statement that Parse accepts.
func drawStatement(t *rapid.T, effect string) object {
	list := func(label string, of ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(of), 1, 3).Draw(t, label)
	}
	s := object{"Effect": effect}
	s[drawOne(t, "action member", "Action", "NotAction")] = list("actions", "*", "ivschat:*", "ivschat:Get*", "IVSCHAT:CREATEROOM", "ivschat:DeleteRoo?", "s3:*")
	s[drawOne(t, "resource member", "Resource", "NotResource")] = list("resources", "*", room, other, "arn:aws:ivschat:*:*:room/*",
		"arn:aws:ivschat:us-*:123456789012:*", "arn:aws:ivschat:us-west-2:123456789012:room/${aws:username}*", "arn:aws:ivschat:*:*:room/${aws:RequestTag/env, 'A1'}*")
	if rapid.Bool().Draw(t, "conditional") {
		s["Condition"] = drawCondition(t)
	}
	return s
}

func drawCondition(t *rapid.T) object {
	c := object{}
	for range rapid.IntRange(1, 3).Draw(t, "operators") {
		name := drawOne(t, "operator", "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase")
		if drawOne(t, "if exists", true, false) {
			name += "IfExists"
		}
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"ada", "ADA", "a*", "bob", "", "${aws:username}", "${aws:RequestTag/env}", "dev", "env", "*"}), 1, 3).Draw(t, "values")
		switch drawOne(t, "kind", "text", "set", "address", "date", "null") {
		case "text":
			c[name] = object{drawOne(t, "key", "aws:username", "aws:RequestTag/env", "aws:ResourceTag/owner"): values}
		case "set":
			c[drawOne(t, "set", "ForAnyValue:", "ForAllValues:")+name] = object{drawOne(t, "key", "aws:TagKeys", "aws:RequestTag/env"): values}
		case "address":
			c[drawOne(t, "address", "IpAddress", "NotIpAddress")] = object{"aws:SourceIp": drawOne(t, "range", "203.0.113.0/24", "10.0.0.0/8", "::/0")}
		case "date":
			c[drawOne(t, "date", "DateLessThan", "DateGreaterThanEquals", "DateNotEquals")] = object{"aws:CurrentTime": drawOne(t, "at", "2026", "2026-06-01T00:00:00Z", "1773500966")}
		case "null":
			c["Null"] = object{drawOne(t, "key", "aws:RequestTag/env", "aws:TagKeys", "aws:username"): drawOne(t, "is", "true", "false")}
		}
	}
	return c
}

func drawStatements(t *rapid.T) []object {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) object {
		return drawStatement(t, drawOne(t, "effect", "Allow", "Allow", "Deny"))
	}), 1, 4).Draw(t, "statements")
}

func drawRequest(t *rapid.T) iam.Request {
	tags := rapid.MapOfN(rapid.SampledFrom([]string{"env", "ENV", "owner", "x"}), rapid.SampledFrom([]string{"", "dev", "ada", "*"}), 0, 3)
	return iam.Request{
		Action:   drawOne(t, "action", "ivschat:CreateRoom", "ivschat:GetRoom", "ivschat:DeleteRoom", "s3:GetObject"),
		Resource: drawOne(t, "resource", room, other, logger, "*"),
		Context: iam.Context{
			Time:         time.Unix(1773500966+rapid.Int64Range(-1, 1e7).Draw(t, "time"), 0),
			SourceIP:     drawOne(t, "from", netip.Addr{}, netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::1")),
			Username:     drawOne(t, "name", "", "ada", "A1", "*"),
			RequestTags:  tags.Draw(t, "request tags"),
			ResourceTags: tags.Draw(t, "resource tags"),
			TagKeys:      rapid.SliceOfN(rapid.SampledFrom([]string{"env", "dev", "x"}), 0, 2).Draw(t, "tag keys"),
		},
	}
}

func document(t *rapid.T, statements []object) *iam.Policy {
	text, err := json.Marshal(object{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	p, err := iam.Parse(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return p
}

func TestAddingADenyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := drawStatements(t), drawRequest(t)
		before := document(t, statements).Decide(r)
		at := rapid.IntRange(0, len(statements)).Draw(t, "at")
		after := document(t, slices.Insert(slices.Clone(statements), at, drawStatement(t, "Deny"))).Decide(r)
		if after.Outcome != before.Outcome && after.Outcome != iam.ExplicitlyDenied {
			t.Fatalf("got %v after %v", after, before)
		}
	})
}

func TestAddingAnAllowNeverDeniesMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := drawStatements(t), drawRequest(t)
		before := document(t, statements).Decide(r)
		after := document(t, append(slices.Clone(statements), drawStatement(t, "Allow"))).Decide(r)
		if after.Outcome != before.Outcome && (before.Outcome != iam.Denied || after.Outcome != iam.Allowed) {
			t.Fatalf("got %v after %v", after, before)
		}
	})
}

func TestOrderAndSplittingDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		statements, r := drawStatements(t), drawRequest(t)
		want := document(t, statements).Decide(r).Outcome
		if got := document(t, rapid.Permutation(statements).Draw(t, "order")).Decide(r).Outcome; got != want {
			t.Fatalf("got %v in another order, want %v", got, want)
		}
		var policies []*iam.Policy
		for _, s := range statements {
			policies = append(policies, document(t, []object{s}))
		}
		if got := iam.Evaluate(policies, r).Outcome; got != want {
			t.Fatalf("got %v as many policies, want %v", got, want)
		}
	})
}

// A condition adds nothing to an Allow, and takes nothing from what a Deny leaves.
func TestAConditionOnlyNarrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t)
		s := drawStatement(t, drawOne(t, "effect", "Allow", "Deny"))
		s["Condition"] = drawCondition(t)
		with := document(t, []object{s}).Decide(r).Outcome
		delete(s, "Condition")
		if without := document(t, []object{s}).Decide(r).Outcome; with != iam.Denied && with != without {
			t.Fatalf("got %v with the condition and %v without", with, without)
		}
	})
}

// An operator and its negation differ, whatever the request, but for what it leaves ambiguous.
func TestNegation(t *testing.T) {
	pairs := [][2]string{{"StringEquals", "StringNotEquals"}, {"StringLike", "StringNotLike"}, {"NumericEquals", "NumericNotEquals"},
		{"DateEquals", "DateNotEquals"}, {"IpAddress", "NotIpAddress"}, {"ArnLike", "ArnNotLike"}, {"StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"}}
	values := map[string][]string{"Numeric": {"1", "2.5"}, "Date": {"2026", "1773500966"}, "IpAddre": {"203.0.113.0/24"}, "Arn": {"*", "arn:aws:s:::*"}}
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t)
		r.Context.RequestTags = map[string]string{"k": drawOne(t, "value", "", "1", "2.50", "2026", "2026-01", "arn:aws:s:::x", "203.0.113.1", "dev", "DEV")}
		pair := drawOne(t, "pair", pairs...)
		choice := []string{"dev", "1", "d*", "*", "${aws:username}"}
		for prefix, some := range values {
			if strings.HasPrefix(pair[0], prefix) {
				choice = some
			}
		}
		value := rapid.SliceOfN(rapid.SampledFrom(choice), 1, 2).Draw(t, "policy values")
		key := drawOne(t, "key", "aws:RequestTag/k", "aws:RequestTag/absent")
		var holds [2]bool
		for i, name := range pair {
			s := object{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": object{name: object{key: value}}}
			holds[i] = document(t, []object{s}).Decide(r).Outcome == iam.Allowed
		}
		if holds[0] == holds[1] {
			t.Fatalf("got %v of %s and of its negation on %s %v", holds[0], pair[0], key, value)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		statements(`{"Effect":"Allow","Action":"*","Resource":"*"}`),
		when(`"ForAllValues:StringLike":{"aws:TagKeys":["a*","${aws:username, 'x'}"]},"Null":{"aws:TagKeys":false}`),
		when(`"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::1"]},"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00Z"},"NumericLessThan":{"aws:EpochTime":17}`),
		when(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:user/${*}"},"BoolIfExists":{"aws:SecureTransport":true}`),
		unless(`"StringNotEqualsIfExists":{"aws:ResourceTag/owner":"${aws:username}"}`),
		`{"Version":"2008-10-17","Id":"x","Statement":{"Sid":"A","Effect":"Deny","NotAction":["iam:*"],"NotResource":"arn:aws:ivschat:*:*:room/${x}"}}`,
		`{"Statement":[]}`, `{`, `null`, `{"Version":"2012-10-17","Version":"2012-10-17"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := iam.Parse(text)
		if err != nil {
			if p != nil {
				t.Errorf("got a policy and the error %v", err)
			}
			if !strings.HasPrefix(err.Error(), "line ") && len(text) <= 64<<10 {
				t.Errorf("got the error %q, want it to have a line", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Errorf("got a policy of what is not JSON: %q", text)
		}
		r := base()
		got := p.Decide(r)
		if again := p.Decide(r); again != got {
			t.Errorf("got %v, then %v", got, again)
		}
		if got.Outcome != iam.Denied && got.Statement == 0 {
			t.Errorf("got %+v without a statement", got)
		}
		// A Deny of everything beside it leaves nothing allowed.
		no := parse(t, statements(`{"Effect":"Deny","Action":"*","Resource":"*"}`))
		if d := iam.Evaluate([]*iam.Policy{p, no}, r); d.Outcome != iam.ExplicitlyDenied {
			t.Errorf("got %v beside a Deny of everything, want %v", d, iam.ExplicitlyDenied)
		}
	})
}

// typical is a policy as a team writes one: three statements, five conditions.
var typical = statements(`
	{"Sid":"Read","Effect":"Allow","Action":["ivschat:Get*","ivschat:List*"],"Resource":"*"},
	{"Sid":"Own","Effect":"Allow","Action":["ivschat:CreateRoom","ivschat:UpdateRoom","ivschat:CreateChatToken"],
		"Resource":"arn:aws:ivschat:*:123456789012:room/*",
		"Condition":{"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"},"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:db8::/32"]},
			"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}}},
	{"Sid":"Region","Effect":"Deny","NotAction":["iam:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["us-west-2","eu-west-1"]}}}`)

func BenchmarkDecide(b *testing.B) {
	p, r := parse(b, typical), base()
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(r); d.Outcome != iam.Allowed {
			b.Fatal(d)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(typical)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := iam.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecideAllocates(t *testing.T) {
	p, r := parse(t, typical), base()
	const want = 0
	if got := testing.AllocsPerRun(100, func() { p.Decide(r) }); got > want {
		t.Errorf("got %v allocations, want %v", got, want)
	}
}

func ExampleDenialMessage() {
	p, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ivschat:Get*","Resource":"*"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	r := iam.Request{Action: "ivschat:DeleteRoom", Resource: "arn:aws:ivschat:us-west-2:123456789012:room/A1b2C3d4E5f6"}
	fmt.Println(iam.DenialMessage("arn:aws:iam::123456789012:user/ada", r.Action, r.Resource, p.Decide(r)))
	// Output: User: arn:aws:iam::123456789012:user/ada is not authorized to perform: ivschat:DeleteRoom on resource: arn:aws:ivschat:us-west-2:123456789012:room/A1b2C3d4E5f6 because no identity-based policy allows the ivschat:DeleteRoom action
}
