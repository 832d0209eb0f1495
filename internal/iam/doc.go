// Package iam decides by IAM policy documents: may this principal do this action on
// this resource, under these circumstances?
//
//	policy, err := iam.Parse(document) // once, when the credentials file is read
//	decision := iam.Evaluate([]*iam.Policy{policy}, iam.Request{
//		Action:   "ivschat:CreateRoom",
//		Resource: "arn:aws:ivschat:us-east-1:123456789012:room/*",
//		Context:  iam.Context{Time: time.Now(), PrincipalARN: arn, Username: "ada"},
//	})
//	if decision.Outcome != iam.Allowed {
//		return iam.DenialMessage(arn, action, resource, decision)
//	}
//
// # What a document may say
//
// The language is AWS's for identity-based policies, version 2012-10-17, or 2008-10-17
// (also when the version is absent), in which policy variables are plain text. A
// document holds a Statement or a list of them; a statement holds an Effect, an Action
// or a NotAction, a Resource or a NotResource, and maybe a Sid and a Condition:
//
//	{
//	  "Version": "2012-10-17",
//	  "Statement": {
//	    "Sid": "OwnRooms",
//	    "Effect": "Allow",
//	    "Action": ["ivschat:CreateChatToken", "ivschat:Get*"],
//	    "Resource": "arn:aws:ivschat:*:123456789012:room/*",
//	    "Condition": {
//	      "StringEquals": {"aws:ResourceTag/owner": "${aws:username}"},
//	      "IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}
//	    }
//	  }
//	}
//
// An explicit deny wins over every allow, and what nothing allows is denied.
//
// Actions compare without regard to case, resources with regard to it; * is any run of
// characters and ? is one. In a resource each of the six parts between colons compares
// by itself; the last, from the fifth colon on, holds everything that is left, so a *
// there also spans / and :. The resource * is all resources, and the only one that
// stands for an action on no resource in particular (Request.Resource "*").
//
// # Conditions
//
// Operators: StringEquals, StringEqualsIgnoreCase, StringLike, NumericEquals,
// NumericLessThan, NumericLessThanEquals, NumericGreaterThan,
// NumericGreaterThanEquals, the same five of Date, Bool, IpAddress, ArnEquals,
// ArnLike, their negations (StringNotEquals, NotIpAddress …) and Null. All but Null
// take the suffix IfExists and the prefixes ForAnyValue: and ForAllValues:. Names are
// case-sensitive. BinaryEquals is refused: no key here is binary.
//
// Keys, which are not case-sensitive:
//
//	aws:CurrentTime         the time, to the second             Date
//	aws:EpochTime           the same in seconds since 1970      Date, Numeric
//	aws:PrincipalAccount    the caller's account                String
//	aws:PrincipalArn        the caller                          Arn, String
//	aws:PrincipalIsAWSService, aws:ViaAWSService: always false  Bool
//	aws:RequestedRegion     the region of the request           String
//	aws:RequestTag/KEY      a tag that the request would set    String
//	aws:ResourceTag/KEY     a tag that the resource has         String
//	aws:SecureTransport     did the request come by TLS         Bool
//	aws:SourceIp            where the request came from         IpAddress
//	aws:TagKeys             all tag keys of the request         String, many values
//	aws:UserAgent           as the caller says: no protection   String
//	aws:username            the caller's name; not of a root    String
//
// Every key also takes the String operators and Null; those of type String take all
// operators, and a value that is not a number, date, … matches none. aws:TagKeys takes
// ForAnyValue:, ForAllValues: and Null only. Other keys of AWS's are refused, because
// their value would never be known here: a condition on one would silently mean
// something else than on AWS.
//
// All keys must hold (AND), of a key any one value (OR); with a negated operator none of
// the values may match. A key that the request lacks fulfils negated operators,
// IfExists and ForAllValues:, and no other; ForAnyValue: it never fulfils.
//
// # Policy variables
//
// ${aws:username} and every other key of one value may stand in a resource after its
// fifth colon and in the values of String and Arn operators, with a default as in
// ${aws:username, 'nobody'}; ${*}, ${?} and ${$} are those characters themselves. What a
// variable brings in is never a wildcard. A variable without a value or a default makes
// its one pattern match nothing, as on AWS: an Allow or Deny of that resource does not
// apply, and StringNotEquals holds.
//
// # Invariants
//
//   - The package is pure: no I/O, no clock, no state. A Policy never changes and may be
//     used by many goroutines.
//   - Parse refuses what it does not know, with the line: a member, version, operator,
//     key, variable, a malformed action, ARN or value, a member given twice, an empty list.
//   - Two tags whose keys differ in case only are an ambiguity that a caller could use
//     against a policy. A statement that asks for one of them then fails closed: an
//     Allow does not apply, a Deny does.
//   - Decide ends within a time bounded by the length of the policy times that of the
//     request: matching a wildcard never branches.
//
// The package does not know which operations exist: an action that no service has is
// well-formed, and matches nothing. It knows no resource policies, permission
// boundaries, session policies or service control policies.
package iam
