package iam_test

import (
	"strings"
	"testing"
	"time"

	"parlor/internal/iam"
)

func TestParseAccepts(t *testing.T) {
	for name, document := range map[string]string{
		"Id":                            `{"Version":"2012-10-17","Id":"cd3ad3d9-2776","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		"another service's action":      statements(`{"Effect":"Allow","Action":["s3:GetObject","execute-api:Invoke","kafka-cluster:*"],"Resource":"arn:aws:s3:::b/*"}`),
		"an action that does not exist": statements(`{"Effect":"Allow","Action":["ivschat:MakeRoom","parlor:Anything"],"Resource":"*"}`),
		"two empty Sids":                statements(`{"Sid":"","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"","Effect":"Deny","Action":"s3:*","Resource":"*"}`),
		"escapes":                       statements(`{"\u0045ffect":"Allow","Action":"\u002a","Resource":"*"}`),
		"the longest":                   statements(`{"Effect":"Allow","Action":"*","Resource":"*"}`) + strings.Repeat(" ", 65_000),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := iam.Parse([]byte(document)); err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	statement := func(members string) string { // of line 3
		return "{\"Version\":\"2012-10-17\",\n\"Statement\":[\n{" + members + "}]}"
	}
	resource := func(r string) string { return statement(`"Effect":"Allow","Action":"*","Resource":` + r) }
	action := func(a string) string { return statement(`"Effect":"Allow","Resource":"*","Action":` + a) }
	condition := func(c string) string {
		return statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":` + c)
	}
	for _, test := range []struct{ name, document, want string }{
		{"empty", "", "line 1: the document ends too early"},
		{"not an object", "\n[]", "line 2: the policy must be an object"},
		{"null", "null", "line 1: the policy must be an object"},
		{"not JSON", "{\n'Version': 1}", "line 2: not JSON: "},
		{"trailing comma", resource(`["*",]`), "line 3: not JSON: "},
		{"cut off", `{"Statement":`, "line 1: the document ends too early"},
		{"text after it", statements(`{"Effect":"Allow","Action":"*","Resource":"*"}`) + "\n{}", "line 2: text after the policy"},
		{"invalid UTF-8", "{\n\"Id\":\"\xff\"}", "line 2: invalid UTF-8"},
		{"half a surrogate pair", `{"Id":"\ud800"}`, "line 1: the string "},
		{"too long", strings.Repeat(" ", 64<<10+1), "policy of 65537 bytes, more than 65536"},
		{"no statement", `{"Version":"2012-10-17"}`, "line 1: the policy has no Statement"},
		{"empty list of statements", `{"Statement":[]}`, "line 1: Statement is an empty list"},
		{"a statement that is no object", `{"Statement":["x"]}`, "line 1: a statement must be an object"},
		{"unknown member of the policy", "{\n\"Statment\":[]}", `line 2: unknown member "Statment" of the policy`},
		{"member in another case", `{"version":"2012-10-17"}`, `line 1: unknown member "version" of the policy`},
		{"unknown version", `{"Version":"2012-10-18"}`, `line 1: unknown Version "2012-10-18"`},
		{"version that is no string", `{"Version":20121017}`, `line 1: Version must be a string`},
		{"member twice", "{\"Id\":\"a\",\n\"Id\":\"b\"}", `line 2: "Id" is given twice in the policy`},
		{"version twice", `{"Version":"2008-10-17","Version":"2012-10-17"}`, `line 1: "Version" is given twice`},

		{"unknown member of a statement", statement(`"Effects":"Allow"`), `line 3: unknown member "Effects" of a statement`},
		{"effect twice", statement(`"Effect":"Allow","Effect":"Deny"`), `line 3: "Effect" is given twice in the statement`},
		{"effect in another case", statement(`"Effect":"allow"`), `line 3: unknown Effect "allow"`},
		{"no effect", statement(`"Action":"*","Resource":"*"`), "line 3: the statement has no Effect"},
		{"no action", statement(`"Effect":"Allow","Resource":"*"`), "line 3: the statement has neither Action nor NotAction"},
		{"no resource", statement(`"Effect":"Allow","Action":"*"`), "line 3: the statement has neither Resource nor NotResource"},
		{"action and not action", statement(`"Action":"*","NotAction":"s3:*"`), "line 3: a statement has either Action or NotAction"},
		{"resource and not resource", statement(`"Resource":"*","NotResource":"*"`), "line 3: a statement has either Resource or NotResource"},
		{"principal", statement(`"Principal":"*"`), "line 3: Principal belongs to resource-based policies"},
		{"not principal", statement(`"NotPrincipal":{"AWS":"*"}`), "line 3: NotPrincipal belongs to resource-based policies"},
		{"bad sid", statement(`"Sid":"my rule"`), `line 3: Sid "my rule": only letters and digits`},
		{"sid twice", statements("\n" + `{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},` + "\n" + `{"Sid":"A"}`), `line 3: two statements have the Sid "A"`},

		{"no service", action(`"CreateRoom"`), `line 3: Action: "CreateRoom" is neither * nor service:Action`},
		{"no action name", action(`"ivschat:"`), `line 3: Action: "ivschat:"`},
		{"wildcard in the service", action(`"ivs*:CreateRoom"`), `line 3: Action: "ivs*:CreateRoom"`},
		{"spaces in an action", action(`"ivschat:Create Room"`), `line 3: Action: "ivschat:Create Room"`},
		{"variable in an action", action(`"ivschat:${aws:username}"`), `line 3: Action: "ivschat:${aws:username}"`},
		{"empty list of actions", action(`[]`), "line 3: Action is an empty list"},
		{"action that is no string", action(`[1]`), "line 3: Action must be a string or a list of strings"},
		{"list in a list", action(`[["*"]]`), "line 3: Action must be a string or a list of strings"},

		{"no ARN", resource(`"room/x"`), `line 3: Resource: "room/x": it is neither * nor an ARN`},
		{"too few parts", resource(`"arn:aws:ivschat:*"`), `line 3: Resource: "arn:aws:ivschat:*": it is neither * nor an ARN`},
		{"another prefix", resource(`"urn:aws:ivschat:::room/x"`), `line 3: Resource: "urn:aws:ivschat:::room/x": it is neither * nor an ARN`},
		{"no partition", resource(`"arn::ivschat:::room/x"`), "empty partition in the ARN"},
		{"no service in an ARN", resource(`"arn:aws::::room/x"`), "empty service in the ARN"},
		{"no resource in an ARN", resource(`"arn:aws:ivschat:::"`), "empty resource in the ARN"},
		{"wildcard in the service of an ARN", resource(`"arn:aws:*:::room/x"`), "wildcard in the service of the ARN"},
		{"control character in an ARN", resource(`"arn:aws:ivschat:::room/\n"`), "control character in the ARN"},
		{"variable early in an ARN", resource(`"arn:aws:ivschat::${aws:PrincipalAccount}:room/x"`), "policy variable before the fifth colon of the ARN"},
		{"unknown variable", resource(`"arn:aws:ivschat:::room/${aws:nickname}"`), "unknown policy variable ${aws:nickname}"},
		{"empty variable", resource(`"arn:aws:ivschat:::room/${}"`), "unknown policy variable ${}"},
		{"variable of many values", resource(`"arn:aws:ivschat:::room/${aws:TagKeys}"`), "policy variable ${aws:TagKeys}: the key has many values"},
		{"variable without an end", resource(`"arn:aws:ivschat:::room/${aws:username"`), "without }"},
		{"variable in a variable", resource(`"arn:aws:ivschat:::room/${aws:ResourceTag/${aws:username}}"`), "unknown policy variable"},
		{"default without quotes", resource(`"arn:aws:ivschat:::room/${aws:username, x}"`), "unknown policy variable"},
		{"default without an end", resource(`"arn:aws:ivschat:::room/${aws:username, 'x}"`), "a default is written ${key, 'text'}"},

		{"unknown operator", condition("{\n\"StringEqual\":{}}"), `line 4: unknown condition operator "StringEqual"`},
		{"operator in another case", condition(`{"stringEquals":{}}`), `unknown condition operator "stringEquals"`},
		{"unknown prefix", condition(`{"ForEachValue:StringEquals":{}}`), "unknown condition operator"},
		{"NullIfExists", condition(`{"NullIfExists":{}}`), "unknown condition operator"},
		{"ForAllValues:Null", condition(`{"ForAllValues:Null":{}}`), "unknown condition operator"},
		{"BinaryEquals", condition(`{"BinaryEquals":{"aws:username":"QQ=="}}`), `operator "BinaryEquals": no condition key is binary`},
		{"operator twice", condition(`{"Bool":{"aws:SecureTransport":true},"Bool":{}}`), `"Bool" is given twice in Condition`},
		{"empty condition", condition(`{}`), "the Condition is empty"},
		{"empty operator", condition(`{"Bool":{}}`), "Bool has no condition key"},
		{"condition that is a list", condition(`[]`), "Condition must be an object"},
		{"unknown key", condition("{\"StringEquals\":{\n\"aws:nickname\":\"x\"}}"), `line 4: unknown condition key "aws:nickname"`},
		{"a key we cannot know", condition(`{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`), `unknown condition key "aws:MultiFactorAuthPresent"`},
		{"principal tags", condition(`{"StringEquals":{"aws:PrincipalTag/x":"y"}}`), `unknown condition key "aws:PrincipalTag/x"`},
		{"user ids", condition(`{"StringEquals":{"aws:userid":"y"}}`), `unknown condition key "aws:userid"`},
		{"another service's key", condition(`{"StringEquals":{"s3:prefix":"y"}}`), `unknown condition key "s3:prefix"`},
		{"tag without a key", condition(`{"StringEquals":{"aws:ResourceTag":"y"}}`), `unknown condition key "aws:ResourceTag"`},
		{"tag with an empty key", condition(`{"StringEquals":{"aws:ResourceTag/":"y"}}`), `unknown condition key "aws:ResourceTag/"`},
		{"tag with a variable for key", condition(`{"StringEquals":{"aws:ResourceTag/${aws:username}":"y"}}`), "unknown condition key"},
		{"tag with a long key", condition(`{"StringEquals":{"aws:ResourceTag/` + strings.Repeat("é", 129) + `":"y"}}`), "unknown condition key"},
		{"key with a tag it does not have", condition(`{"StringEquals":{"aws:username/x":"y"}}`), "unknown condition key"},
		{"key twice", condition(`{"StringEquals":{"aws:username":"y","AWS:Username":"z"}}`), `"AWS:Username" is given twice in StringEquals`},
		{"many values without a set operator", condition(`{"StringEquals":{"aws:TagKeys":"y"}}`), `write ForAnyValue:StringEquals or ForAllValues:StringEquals`},
		{"operator of another type", condition(`{"Bool":{"aws:SourceIp":"true"}}`), `Bool cannot match the condition key "aws:SourceIp"`},
		{"address of a date", condition(`{"IpAddress":{"aws:CurrentTime":"10.0.0.0/8"}}`), `IpAddress cannot match the condition key "aws:CurrentTime"`},
		{"number of a date", condition(`{"NumericEquals":{"aws:CurrentTime":"1"}}`), "NumericEquals cannot match"},
		{"no values", condition(`{"StringEquals":{"aws:username":[]}}`), "aws:username is an empty list"},
		{"value that is an object", condition(`{"StringEquals":{"aws:username":{}}}`), `the values of "aws:username" must be strings, numbers or booleans`},
		{"value that is null", condition(`{"StringEquals":{"aws:username":null}}`), "must be strings, numbers or booleans"},
		{"not a number", condition(`{"NumericEquals":{"aws:EpochTime":"1e3"}}`), `"1e3" is not a number`},
		{"not a number, too large", condition(`{"NumericEquals":{"aws:EpochTime":"` + strings.Repeat("9", 400) + `"}}`), `is not a number`},
		{"not a date", condition(`{"DateEquals":{"aws:CurrentTime":"2026-02-30"}}`), `"2026-02-30" is not a date`},
		{"date without a zone", condition(`{"DateEquals":{"aws:CurrentTime":"2026-02-03T10:00:00"}}`), `is not a date`},
		{"date with a wildcard", condition(`{"DateEquals":{"aws:CurrentTime":"2026-*"}}`), `is not a date`},
		{"not a boolean", condition(`{"Bool":{"aws:SecureTransport":"yes"}}`), `"yes" is neither true nor false`},
		{"not null", condition(`{"Null":{"aws:username":"1"}}`), `"1" is neither true nor false`},
		{"not an address", condition(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), `"10.0.0.0/33" is not an IP address or range`},
		{"address with a wildcard", condition(`{"IpAddress":{"aws:SourceIp":"10.0.0.*"}}`), `is not an IP address or range`},
		{"address with a zone", condition(`{"IpAddress":{"aws:SourceIp":"fe80::1%eth0"}}`), `is not an IP address or range`},
		{"half a mapped range", condition(`{"IpAddress":{"aws:SourceIp":"::ffff:1.2.3.4/80"}}`), `is not an IP address or range`},
		{"unknown variable in an ARN", condition(`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::${aws:x}:user/ada"}}`), "unknown policy variable ${aws:x}"},
		{"effect that is no string", statement(`"Effect":1`), "line 3: Effect must be a string"},
		{"sid that is no string", statement(`"Sid":1`), "line 3: Sid must be a string"},
		{"not an ARN", condition(`{"ArnEquals":{"aws:PrincipalArn":"user/ada"}}`), `ArnEquals of "aws:PrincipalArn": "user/ada": it is neither * nor an ARN`},
		{"variable in a boolean", condition(`{"Bool":{"aws:SecureTransport":"${aws:SecureTransport}"}}`), "policy variables stand in the values of String and Arn operators only"},
		{"unknown variable in a value", condition(`{"StringEquals":{"aws:username":"${aws:nickname}"}}`), "unknown policy variable ${aws:nickname}"},
		{"a name that is longer than an error", condition(`{"` + strings.Repeat("é", 99) + `x":{}}`), "unknown condition operator"},
		{"a name that is longer than an error, off by one", condition(`{"x` + strings.Repeat("é", 99) + `":{}}`), "é…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := iam.Parse([]byte(test.document))
			if err == nil {
				t.Fatalf("got no error, want %q", test.want)
			}
			if got := err.Error(); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want it to have %q", got, test.want)
			}
		})
	}
}

// What costs too much to read or to match is no policy, or is cheap after all.
func TestHostileDocuments(t *testing.T) {
	deep := strings.Repeat("[", 30_000)
	stars := `"arn:aws:ivschat:::` + strings.Repeat("*a", 16_000) + `b"`
	variables := `"arn:aws:ivschat:::` + strings.Repeat("${aws:username}", 4_000) + `"`
	for name, document := range map[string]string{
		"nesting":        `{"Statement":` + deep,
		"nesting inside": `{"Statement":{"Action":` + deep,
		"unknown":        `{"X":` + deep,
		"stars":          statements(`{"Effect":"Allow","Action":"*","Resource":` + stars + `}`),
		"variables":      statements(`{"Effect":"Allow","Action":"*","Resource":` + variables + `}`),
		"openings":       statements(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:ivschat:::` + strings.Repeat("${", 30_000) + `"}`),
		"defaults":       statements(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:ivschat:::` + strings.Repeat("${aws:username, '", 3_000) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p, _ := iam.Parse([]byte(document))
			r := base()
			r.Resource = "arn:aws:ivschat:::" + strings.Repeat("a", 8_000)
			if got := p.Decide(r).Outcome; got == iam.Allowed {
				t.Errorf("got %v, want a denial", got)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v, want far less", took)
			}
		})
	}
}
