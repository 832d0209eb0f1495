package iam

import "strconv"

// Outcome is what a policy says. The zero value denies.
type Outcome uint8

const (
	Denied           Outcome = iota // nothing allows it
	ExplicitlyDenied                // a Deny applies, whatever else allows it
	Allowed
)

func (o Outcome) String() string {
	switch o {
	case Denied:
		return "Denied"
	case ExplicitlyDenied:
		return "ExplicitlyDenied"
	case Allowed:
		return "Allowed"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// Decision is an outcome and the first statement that led to it, for logs. A client is
// told no more of it than DenialMessage says.
type Decision struct {
	Outcome   Outcome
	Sid       string // the statement's, which may be empty
	Statement int    // its place in its policy, from 1; 0 when Denied
}

// Policy is a parsed policy document.
type Policy struct {
	statements []statement
}

type statement struct {
	sid    string
	effect Outcome // Allowed or ExplicitlyDenied

	actions     [][]byte // compiled, in lower case
	notAction   bool
	resources   []arnPattern
	notResource bool
	conditions  []condition
}

// Decide answers by this policy alone. A nil Policy allows nothing.
func (p *Policy) Decide(r Request) Decision {
	if p == nil {
		return Decision{}
	}
	return p.decide(&r)
}

// Evaluate answers by all the policies that a principal has: a Deny in any of them
// wins, and without an Allow in one of them the answer is Denied.
// IAM: reference_policies_evaluation-logic
func Evaluate(policies []*Policy, r Request) Decision {
	var decision Decision
	for _, p := range policies {
		if p == nil {
			continue
		}
		d := p.decide(&r)
		if d.Outcome == ExplicitlyDenied {
			return d
		}
		if decision.Outcome == Denied {
			decision = d
		}
	}
	return decision
}

func (p *Policy) decide(r *Request) Decision {
	var decision Decision
	for i := range p.statements {
		s := &p.statements[i]
		if s.effect == Allowed && decision.Outcome == Allowed || !s.applies(r) {
			continue
		}
		decision = Decision{Outcome: s.effect, Sid: s.sid, Statement: i + 1}
		if s.effect == ExplicitlyDenied {
			break
		}
	}
	return decision
}

// applies reports whether the statement is about the request.
func (s *statement) applies(r *Request) bool {
	if s.names(r.Action) == s.notAction || !s.covers(r) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(&r.Context, s.effect) {
			return false
		}
	}
	return true
}

// names reports whether the action is in the statement's list of them.
func (s *statement) names(action string) bool {
	for _, pattern := range s.actions {
		if match(pattern, action, true) {
			return true
		}
	}
	return false
}

// covers reports whether the statement is about the resource.
func (s *statement) covers(r *Request) bool {
	unclear := false
	for i := range s.resources {
		matched, un := s.resources[i].match(r.Resource, &r.Context)
		if matched {
			return !s.notResource
		}
		unclear = unclear || un
	}
	if unclear {
		return s.effect == ExplicitlyDenied
	}
	return s.notResource
}

// DenialMessage is what the client is told of a decision that is not Allowed: AWS's
// message for an action that identity-based policies deny. An empty resource is left out.
// IAM: troubleshoot_access-denied#access-denied-identity-based-policy-examples
func DenialMessage(principalARN, action, resource string, d Decision) string {
	message := "User: " + principalARN + " is not authorized to perform: " + action
	if resource != "" {
		message += " on resource: " + resource
	}
	if d.Outcome == ExplicitlyDenied {
		return message + " with an explicit deny in an identity-based policy"
	}
	return message + " because no identity-based policy allows the " + action + " action"
}
