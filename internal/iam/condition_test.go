package iam_test

import (
	"net/netip"
	"testing"
	"time"

	"parlor/internal/iam"
)

// when is a policy that allows everything under a condition.
func when(condition string) string {
	return statements(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + condition + `}}`)
}

// unless is one that allows everything, and denies under a condition.
func unless(condition string) string {
	return statements(`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + condition + `}}`)
}

func requestTags(keyValues ...string) func(*iam.Request) {
	return func(r *iam.Request) {
		r.Context.RequestTags = map[string]string{}
		for i := 0; i < len(keyValues); i += 2 {
			r.Context.RequestTags[keyValues[i]] = keyValues[i+1]
		}
	}
}

func from(address string) func(*iam.Request) {
	return func(r *iam.Request) { r.Context.SourceIP = netip.MustParseAddr(address) }
}

func TestOperators(t *testing.T) {
	const yes, no = iam.Allowed, iam.Denied
	decide(t, []decisionCase{
		{"StringEquals", when(`"StringEquals":{"aws:username":"ada"}`), nil, yes},
		{"StringEquals is case-sensitive", when(`"StringEquals":{"aws:username":"Ada"}`), nil, no},
		{"StringEquals has no wildcards", when(`"StringEquals":{"aws:username":"a*"}`), nil, no},
		{"StringEquals, any of a list", when(`"StringEquals":{"aws:username":["bob","ada"]}`), nil, yes},
		{"StringNotEquals", when(`"StringNotEquals":{"aws:username":"bob"}`), nil, yes},
		{"StringNotEquals, none of a list", when(`"StringNotEquals":{"aws:username":["bob","ada"]}`), nil, no},
		{"StringEqualsIgnoreCase", when(`"StringEqualsIgnoreCase":{"aws:username":"ADA"}`), nil, yes},
		{"StringNotEqualsIgnoreCase", when(`"StringNotEqualsIgnoreCase":{"aws:username":"ADA"}`), nil, no},
		{"StringLike", when(`"StringLike":{"aws:UserAgent":"aws-cli/?.*"}`), nil, yes},
		{"StringLike is case-sensitive", when(`"StringLike":{"aws:UserAgent":"AWS-cli/*"}`), nil, no},
		{"StringLike matches the whole", when(`"StringLike":{"aws:UserAgent":"aws-cli"}`), nil, no},
		{"StringNotLike", when(`"StringNotLike":{"aws:UserAgent":["Mozilla/*","aws-cli/*"]}`), nil, no},
		{"StringEquals of a number", when(`"StringEquals":{"aws:PrincipalAccount":123456789012}`), nil, yes},
		{"an empty string is a value", when(`"StringEquals":{"aws:ResourceTag/stage":""}`), nil, yes},

		{"NumericEquals", when(`"NumericEquals":{"aws:ResourceTag/size":"12.0"}`), nil, yes},
		{"NumericEquals of a JSON number", when(`"NumericEquals":{"aws:ResourceTag/size":12}`), nil, yes},
		{"NumericNotEquals", when(`"NumericNotEquals":{"aws:ResourceTag/size":["11","12"]}`), nil, no},
		{"NumericLessThan", when(`"NumericLessThan":{"aws:ResourceTag/size":"12"}`), nil, no},
		{"NumericLessThanEquals", when(`"NumericLessThanEquals":{"aws:ResourceTag/size":"12"}`), nil, yes},
		{"NumericGreaterThan", when(`"NumericGreaterThan":{"aws:ResourceTag/size":"-12.5"}`), nil, yes},
		{"NumericGreaterThanEquals", when(`"NumericGreaterThanEquals":{"aws:ResourceTag/size":"12.01"}`), nil, no},
		{"Numeric of what is no number", when(`"NumericLessThan":{"aws:ResourceTag/owner":"12"}`), nil, no},
		{"NumericNotEquals of what is no number", when(`"NumericNotEquals":{"aws:ResourceTag/owner":"12"}`), nil, yes},
		{"Numeric of the epoch", when(`"NumericLessThan":{"aws:EpochTime":"1773500967"}`), nil, yes},
		{"Numeric of the epoch, not before", when(`"NumericLessThan":{"aws:EpochTime":"1773500966"}`), nil, no},

		{"DateEquals, to the second", when(`"DateEquals":{"aws:CurrentTime":"2026-03-14T15:09:26Z"}`), nil, yes},
		{"DateEquals in another zone", when(`"DateEquals":{"aws:CurrentTime":"2026-03-14T16:09:26+01:00"}`), nil, yes},
		{"DateEquals by the epoch", when(`"DateEquals":{"aws:EpochTime":"1773500966"}`), nil, yes},
		{"DateNotEquals", when(`"DateNotEquals":{"aws:CurrentTime":"1773500966"}`), nil, no},
		{"DateLessThan", when(`"DateLessThan":{"aws:CurrentTime":"2026-03-14T15:09:26Z"}`), nil, no},
		{"DateLessThanEquals", when(`"DateLessThanEquals":{"aws:CurrentTime":"2026-03-14T15:09:26Z"}`), nil, yes},
		{"DateGreaterThan of a year", when(`"DateGreaterThan":{"aws:CurrentTime":"2026"}`), nil, yes},
		{"DateGreaterThan of a month", when(`"DateGreaterThan":{"aws:CurrentTime":"2026-04"}`), nil, no},
		{"DateGreaterThanEquals of a day", when(`"DateGreaterThanEquals":{"aws:CurrentTime":"2026-03-14"}`), nil, yes},
		{"Date of minutes", when(`"DateLessThan":{"aws:CurrentTime":"2026-03-14T15:10Z"}`), nil, yes},
		{"Date of a tag", when(`"DateLessThan":{"aws:RequestTag/until":"2027-01-01"}`), requestTags("until", "2026-12-31"), yes},
		{"Date of what is no date", when(`"DateLessThan":{"aws:RequestTag/until":"2027-01-01"}`), requestTags("until", "soon"), no},

		{"Bool", when(`"Bool":{"aws:SecureTransport":"false"}`), nil, yes},
		{"Bool of a JSON boolean", when(`"Bool":{"aws:SecureTransport":true}`), nil, no},
		{"Bool of a tag", when(`"Bool":{"aws:RequestTag/live":"true"}`), requestTags("live", "True"), yes},
		{"Bool of no service", when(`"Bool":{"aws:PrincipalIsAWSService":"true"}`), nil, no},

		{"IpAddress in a range", when(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), nil, yes},
		{"IpAddress, one address", when(`"IpAddress":{"aws:SourceIp":"203.0.113.7"}`), nil, yes},
		{"IpAddress outside", when(`"IpAddress":{"aws:SourceIp":"203.0.113.8/30"}`), nil, no},
		{"IpAddress, range given by any address of it", when(`"IpAddress":{"aws:SourceIp":"203.0.113.200/24"}`), nil, yes},
		{"IpAddress of version 6", when(`"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}`), from("2001:db8:1234:5678::1"), yes},
		{"IpAddress of version 6 outside", when(`"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}`), from("2001:db8:1234:5679::1"), no},
		{"IpAddress, version 4 mapped", when(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), from("::ffff:203.0.113.9"), yes},
		{"IpAddress, range mapped", when(`"IpAddress":{"aws:SourceIp":"::ffff:203.0.113.0/120"}`), nil, yes},
		{"IpAddress with a zone", when(`"IpAddress":{"aws:SourceIp":"fe80::/10"}`), from("fe80::1%eth0"), yes},
		{"IpAddress, all of version 4 is none of 6", when(`"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}`), from("2001:db8::1"), no},
		{"NotIpAddress", when(`"NotIpAddress":{"aws:SourceIp":["198.51.100.0/24","203.0.113.0/24"]}`), nil, no},
		{"StringLike of an address", when(`"StringLike":{"aws:SourceIp":"203.0.113.*"}`), nil, yes},

		{"ArnEquals", when(`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/*"}`), nil, yes},
		{"ArnLike", when(`"ArnLike":{"aws:PrincipalArn":"arn:*:*::*:user/a?a"}`), nil, yes},
		{"ArnLike, all", when(`"ArnLike":{"aws:PrincipalArn":"*"}`), nil, yes},
		{"ArnLike compares part by part", when(`"ArnLike":{"aws:RequestTag/x":"arn:aws:someservice:*:111122223333:finance/*"}`),
			requestTags("x", "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), no},
		{"StringLike does not", when(`"StringLike":{"aws:RequestTag/x":"arn:aws:someservice:*:111122223333:finance/*"}`),
			requestTags("x", "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), yes},
		{"ArnNotEquals", when(`"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/*"}`), nil, no},
		{"ArnNotLike", when(`"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/*"}`), nil, yes},
		{"ArnLike of what is no ARN", when(`"ArnLike":{"aws:ResourceTag/owner":"arn:aws:iam::1:user/ada"}`), nil, no},

		{"Null true, absent", when(`"Null":{"aws:RequestTag/x":"true"}`), nil, yes},
		{"Null true, present", when(`"Null":{"aws:RequestTag/x":"true"}`), requestTags("x", "1"), no},
		{"Null false, absent", when(`"Null":{"aws:RequestTag/x":false}`), nil, no},
		{"Null false, present though empty", when(`"Null":{"aws:ResourceTag/stage":"false"}`), nil, yes},
		{"Null of tag keys", when(`"Null":{"aws:TagKeys":"true"}`), nil, yes},
	})
}

func TestMissingKey(t *testing.T) {
	const yes, no = iam.Allowed, iam.Denied
	decide(t, []decisionCase{
		{"a missing key matches nothing", when(`"StringLike":{"aws:ResourceTag/absent":"*"}`), nil, no},
		{"a missing key fulfils a negation", when(`"StringNotEquals":{"aws:ResourceTag/absent":"x"}`), nil, yes},
		{"a missing number", when(`"NumericLessThan":{"aws:ResourceTag/absent":"1"}`), nil, no},
		{"a missing number, negated", when(`"NumericNotEquals":{"aws:ResourceTag/absent":"1"}`), nil, yes},
		{"a missing address", when(`"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}`), func(r *iam.Request) { r.Context.SourceIP = netip.Addr{} }, no},
		{"a missing address, negated", when(`"NotIpAddress":{"aws:SourceIp":"0.0.0.0/0"}`), func(r *iam.Request) { r.Context.SourceIP = netip.Addr{} }, yes},
		{"a missing time", when(`"DateLessThan":{"aws:CurrentTime":"2030"}`), func(r *iam.Request) { r.Context.Time = time.Time{} }, no},
		{"a root has no name", when(`"StringLike":{"aws:username":"*"}`), func(r *iam.Request) { r.Context.Username = "" }, no},
		{"IfExists, absent", when(`"StringEqualsIfExists":{"aws:ResourceTag/absent":"x"}`), nil, yes},
		{"IfExists, matching", when(`"StringEqualsIfExists":{"aws:username":"ada"}`), nil, yes},
		{"IfExists, not matching", when(`"StringEqualsIfExists":{"aws:username":"bob"}`), nil, no},
		{"IfExists of a negation, absent", unless(`"StringNotEqualsIfExists":{"aws:ResourceTag/absent":"x"}`), nil, iam.ExplicitlyDenied},
		{"IpAddressIfExists", when(`"IpAddressIfExists":{"aws:SourceIp":"203.0.113.0/24"},"StringEqualsIfExists":{"aws:RequestTag/x":"y"}`), nil, yes},
	})
}

func TestManyKeys(t *testing.T) {
	const and = `"StringEqualsIgnoreCase":{"aws:ResourceTag/owner":["ADA","BOB"],"aws:ResourceTag/size":["12","13"]},"StringEquals":{"aws:PrincipalAccount":"123456789012"}`
	decide(t, []decisionCase{
		{"all keys hold", when(and), nil, iam.Allowed},
		{"one value differs", when(and), func(r *iam.Request) { r.Context.ResourceTags["size"] = "14" }, iam.Denied},
		{"one key is missing", when(and), func(r *iam.Request) { delete(r.Context.ResourceTags, "owner") }, iam.Denied},
		{"the other operator fails", when(and), func(r *iam.Request) { r.Context.Account = "1" }, iam.Denied},
		{"one key under two operators", when(`"StringLike":{"aws:username":"a*"},"StringNotLike":{"aws:username":"*b"}`), nil, iam.Allowed},
	})
}

func TestSetOperators(t *testing.T) {
	const yes, no = iam.Allowed, iam.Denied
	keys := func(k ...string) func(*iam.Request) { return func(r *iam.Request) { r.Context.TagKeys = k } }
	all := when(`"ForAllValues:StringEquals":{"aws:TagKeys":["PostDateTime","Message","Tags"]}`)
	anyOf := when(`"ForAnyValue:StringEquals":{"aws:TagKeys":["PostDateTime","Message","Tags"]}`)
	notAll := when(`"ForAllValues:StringNotEquals":{"aws:TagKeys":["PostDateTime","Tags"]}`)
	notAny := when(`"ForAnyValue:StringNotEquals":{"aws:TagKeys":["PostDateTime","Tags"]}`)
	decide(t, []decisionCase{
		{"ForAllValues, a subset", all, keys("Message", "Tags"), yes},
		{"ForAllValues, one outside", all, keys("PostDateTime", "UserName"), no},
		{"ForAllValues, missing", all, nil, yes},
		{"ForAllValues is case-sensitive", all, keys("tags"), no},
		{"ForAllValues with Null", when(`"ForAllValues:StringEquals":{"aws:TagKeys":"Tags"},"Null":{"aws:TagKeys":"false"}`), nil, no},
		{"ForAnyValue, one inside", anyOf, keys("PostDateTime", "UserName"), yes},
		{"ForAnyValue, all outside", anyOf, keys("UserName"), no},
		{"ForAnyValue, missing", anyOf, nil, no},
		{"ForAnyValue with wildcards", when(`"ForAnyValue:StringLike":{"aws:TagKeys":"access-*"}`), keys("x", "access-eng"), yes},
		{"ForAllValues negated, none listed", notAll, keys("Message", "UserName"), yes},
		{"ForAllValues negated, one listed", notAll, keys("Message", "Tags"), no},
		{"ForAllValues negated, missing", notAll, nil, yes},
		{"ForAnyValue negated, one not listed", notAny, keys("Message", "Tags"), yes},
		{"ForAnyValue negated, all listed", notAny, keys("PostDateTime", "Tags"), no},
		{"ForAnyValue negated, missing", notAny, nil, no},
		{"ForAnyValue IfExists, missing", when(`"ForAnyValue:StringEqualsIfExists":{"aws:TagKeys":"x"}`), nil, no},
		{"ForAllValues IfExists, missing", when(`"ForAllValues:StringEqualsIfExists":{"aws:TagKeys":"x"}`), nil, yes},
		{"the keys of request tags count", all, requestTags("UserName", "x"), no},
		{"the keys of request tags and others", all, func(r *iam.Request) { requestTags("Tags", "x")(r); keys("UserName")(r) }, no},
		{"of one value, ForAllValues", when(`"ForAllValues:StringEquals":{"aws:username":"ada"}`), nil, yes},
		{"of one value, ForAllValues, missing", when(`"ForAllValues:StringEquals":{"aws:RequestTag/x":"ada"}`), nil, yes},
		{"of one value, ForAllValues, empty", when(`"ForAllValues:StringEquals":{"aws:ResourceTag/stage":"live"}`), nil, yes},
		{"of one value, ForAnyValue", when(`"ForAnyValue:StringEquals":{"aws:username":["bob","ada"]}`), nil, yes},
		{"of one value, ForAnyValue, missing", when(`"ForAnyValue:StringNotEquals":{"aws:RequestTag/x":"ada"}`), nil, no},
		{"of one value, ForAnyValue, empty", when(`"ForAnyValue:StringEquals":{"aws:ResourceTag/stage":""}`), nil, no},
	})
}

func TestConditionKeys(t *testing.T) {
	const yes, no = iam.Allowed, iam.Denied
	decide(t, []decisionCase{
		{"keys fold case", when(`"StringEquals":{"AWS:UserName":"ada"}`), nil, yes},
		{"tag keys fold case", when(`"StringEquals":{"aws:resourcetag/OWNER":"ada"}`), nil, yes},
		{"tag values do not", when(`"StringEquals":{"aws:ResourceTag/owner":"Ada"}`), nil, no},
		{"tag keys with slashes, colons and spaces", when(`"StringEquals":{"aws:RequestTag/a/b: c":"1"}`), requestTags("a/b: c", "1"), yes},
		{"region", when(`"StringEquals":{"aws:RequestedRegion":"us-west-2"}`), nil, yes},
		{"time as a string", when(`"StringLike":{"aws:CurrentTime":"2026-03-14T15:09:26Z"}`), nil, yes},
		{"epoch as a string", when(`"StringEquals":{"aws:EpochTime":"1773500966"}`), nil, yes},
		{"secure transport as a string", when(`"StringEquals":{"aws:SecureTransport":"false"}`), nil, yes},
		{"no service calls", when(`"Bool":{"aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}`), nil, yes},
		{"two tags for one key, allow", when(`"StringEquals":{"aws:RequestTag/env":"dev"}`), requestTags("env", "dev", "Env", "prod"), no},
		{"two tags for one key, allow by negation", when(`"StringNotEquals":{"aws:RequestTag/env":"prod"}`), requestTags("env", "dev", "Env", "prod"), no},
		{"two tags for one key, deny", unless(`"StringEquals":{"aws:RequestTag/env":"prod"}`), requestTags("env", "dev", "Env", "prod"), iam.ExplicitlyDenied},
		{"two tags for one key, null", unless(`"Null":{"aws:RequestTag/env":"true"}`), requestTags("env", "dev", "Env", "prod"), iam.ExplicitlyDenied},
	})
}

func TestVariables(t *testing.T) {
	const yes, no = iam.Allowed, iam.Denied
	on := func(resource string) string {
		return statements(`{"Effect":"Allow","Action":"*","Resource":"` + resource + `"}`)
	}
	is := func(id string) func(*iam.Request) {
		return func(r *iam.Request) { r.Resource = "arn:aws:ivschat:us-west-2:123456789012:room/" + id }
	}
	with := func(changes ...func(*iam.Request)) func(*iam.Request) {
		return func(r *iam.Request) {
			for _, change := range changes {
				change(r)
			}
		}
	}
	named := func(name string) func(*iam.Request) { return func(r *iam.Request) { r.Context.Username = name } }
	const rooms = "arn:aws:ivschat:*:*:room/"
	old := func(s string) string { return `{"Version":"2008-10-17","Statement":` + s + `}` }

	decide(t, []decisionCase{
		{"in a resource", on(rooms + "${aws:username}-*"), is("ada-1"), yes},
		{"in a resource, another's", on(rooms + "${aws:username}-*"), is("bob-1"), no},
		{"names fold case", on(rooms + "${AWS:UserName}"), is("ada"), yes},
		{"of a tag", on(rooms + "${aws:ResourceTag/Owner}"), is("ada"), yes},
		{"of an account", on(rooms + "${aws:PrincipalAccount}/${aws:username}"), is("123456789012/ada"), yes},
		{"in a condition", when(`"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}`), nil, yes},
		{"in a pattern", when(`"StringLike":{"aws:PrincipalArn":"*:user/${aws:username}"}`), nil, yes},
		{"in an ARN", when(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"}`), nil, yes},
		{"its value has no wildcards", on(rooms + "${aws:username}"), with(named("*"), is("ada")), no},
		{"its value is taken literally", on(rooms + "${aws:username}"), with(named("*"), is("*")), yes},
		{"its value stays in its part of an ARN", when(`"ArnLike":{"aws:RequestTag/x":"arn:aws:s:${aws:username}:x:y"}`), with(named("r:1"), requestTags("x", "arn:aws:s:r:1:x:y")), no},
		{"its value is not read again", on(rooms + "${aws:username}"), with(named("${aws:username}"), is("ada")), no},
		{"its value is not UTF-8", on(rooms + "${aws:username}"), with(named("\xff"), is("ada")), no},
		{"an asterisk", on(rooms + "a${*}a"), is("a*a"), yes},
		{"an asterisk is no wildcard", on(rooms + "a${*}a"), is("ada"), no},
		{"a question mark", on(rooms + "a${?}a"), is("ada"), no},
		{"a dollar", on(rooms + "${$}{aws:username}"), is("${aws:username}"), yes},
		{"a dollar alone", on(rooms + "$x"), is("$x"), yes},
		{"an asterisk in StringEquals", when(`"StringEquals":{"aws:username":"${*}"}`), named("*"), yes},
		{"without a value", on(rooms + "${aws:username}"), with(named(""), is("")), no},
		{"without a value, with a wildcard", on(rooms + "${aws:username}*"), with(named(""), is("x")), no},
		{"without a value, the others of the list", statements(`{"Effect":"Allow","Action":"*","Resource":["` + rooms + `${aws:username}","` + rooms + `x"]}`), with(named(""), is("x")), yes},
		{"without a value, not resource", statements(`{"Effect":"Allow","Action":"*","NotResource":"` + rooms + `${aws:username}"}`), with(named(""), is("x")), yes},
		{"without a value, matching", when(`"StringLike":{"aws:RequestedRegion":"${aws:RequestTag/x}*"}`), nil, no},
		{"without a value, negated", when(`"StringNotEquals":{"aws:RequestedRegion":"${aws:RequestTag/x}"}`), nil, yes},
		{"default not needed", on(rooms + "${aws:username, 'nobody'}"), is("ada"), yes},
		{"default", on(rooms + "${aws:username, 'nobody'}"), with(named(""), is("nobody")), yes},
		{"default is literal", on(rooms + "${aws:username, '*'}"), with(named(""), is("nobody")), no},
		{"default with braces", on(rooms + "${aws:username, '{}'}"), with(named(""), is("{}")), yes},
		{"two tags for it, allow", on(rooms + "${aws:RequestTag/x}"), with(requestTags("x", "1", "X", "2"), is("1")), no},
		{"two tags for it, deny", statements(`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"` + rooms + `${aws:RequestTag/x}"}`), with(requestTags("x", "1", "X", "2"), is("3")), iam.ExplicitlyDenied},
		{"two tags for it, in a condition", when(`"StringNotEquals":{"aws:username":"${aws:RequestTag/x}"}`), requestTags("x", "1", "X", "2"), no},
		{"two tags for it, settled by a key", when(`"ForAnyValue:StringEquals":{"aws:TagKeys":["${aws:RequestTag/x}","y"]}`), requestTags("x", "1", "X", "2", "y", "", "z", ""), yes},
		{"two tags for it, settled by none", when(`"ForAllValues:StringEquals":{"aws:TagKeys":["${aws:RequestTag/x}","x","X"]}`), requestTags("x", "1", "X", "2", "y", ""), no},
		{"two tags for it, in an ARN", when(`"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:RequestTag/x}:user/ada"}`), requestTags("x", "1", "X", "2"), no},
		{"of the time", on(rooms + "${aws:EpochTime}"), is("1773500966"), yes},
		{"of no time", on(rooms + "${aws:EpochTime}"), with(func(r *iam.Request) { r.Context.Time = time.Time{} }, is("0")), no},
		{"of no date", on(rooms + "${aws:CurrentTime}"), with(func(r *iam.Request) { r.Context.Time = time.Time{} }, is("0")), no},
		{"of an address", on(rooms + "${aws:SourceIp}"), is("203.0.113.7"), yes},
		{"of no address", on(rooms + "${aws:SourceIp}"), with(func(r *iam.Request) { r.Context.SourceIP = netip.Addr{} }, is("0")), no},
		{"2008 has none", old(`{"Effect":"Allow","Action":"*","Resource":"` + rooms + `${aws:username}"}`), is("ada"), no},
		{"2008 takes them for text", old(`{"Effect":"Allow","Action":"*","Resource":"` + rooms + `${aws:username}"}`), is("${aws:username}"), yes},
		{"no version is 2008", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"` + rooms + `${aws:nonsense}"}}`, is("${aws:nonsense}"), yes},
		{"the version may come last", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"` + rooms + `${aws:username}"},"Version":"2012-10-17"}`, is("ada"), yes},
	})
}
