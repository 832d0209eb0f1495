package iam

import "strings"

// family is what an operator takes its values for.
type family uint8

const (
	texts family = iota
	numbers
	dates
	bools
	addresses
	arns
	null
)

// relation is how an operator compares a request's value with a policy's.
type relation uint8

const (
	equal relation = iota
	equalFold
	like
	less
	lessOrEqual
	greater
	greaterOrEqual
)

// quantifier is how an operator takes a key of many values.
type quantifier uint8

const (
	single quantifier = iota
	forAnyValue
	forAllValues
)

type operator struct {
	family     family
	relation   relation
	negated    bool
	ifExists   bool
	quantifier quantifier
}

// IAM: reference_policies_elements_condition_operators
var operators = map[string]operator{
	"StringEquals":              {family: texts, relation: equal},
	"StringNotEquals":           {family: texts, relation: equal, negated: true},
	"StringEqualsIgnoreCase":    {family: texts, relation: equalFold},
	"StringNotEqualsIgnoreCase": {family: texts, relation: equalFold, negated: true},
	"StringLike":                {family: texts, relation: like},
	"StringNotLike":             {family: texts, relation: like, negated: true},

	"NumericEquals":            {family: numbers, relation: equal},
	"NumericNotEquals":         {family: numbers, relation: equal, negated: true},
	"NumericLessThan":          {family: numbers, relation: less},
	"NumericLessThanEquals":    {family: numbers, relation: lessOrEqual},
	"NumericGreaterThan":       {family: numbers, relation: greater},
	"NumericGreaterThanEquals": {family: numbers, relation: greaterOrEqual},

	"DateEquals":            {family: dates, relation: equal},
	"DateNotEquals":         {family: dates, relation: equal, negated: true},
	"DateLessThan":          {family: dates, relation: less},
	"DateLessThanEquals":    {family: dates, relation: lessOrEqual},
	"DateGreaterThan":       {family: dates, relation: greater},
	"DateGreaterThanEquals": {family: dates, relation: greaterOrEqual},

	"Bool": {family: bools},

	"IpAddress":    {family: addresses},
	"NotIpAddress": {family: addresses, negated: true},

	"ArnEquals":    {family: arns},
	"ArnLike":      {family: arns},
	"ArnNotEquals": {family: arns, negated: true},
	"ArnNotLike":   {family: arns, negated: true},

	"Null": {family: null},
}

// parseOperator reads an operator with its prefix and suffix.
func parseOperator(name string) (operator, bool) {
	var q quantifier
	base, ok := strings.CutPrefix(name, "ForAnyValue:")
	if ok {
		q = forAnyValue
	} else if base, ok = strings.CutPrefix(name, "ForAllValues:"); ok {
		q = forAllValues
	}
	base, ifExists := strings.CutSuffix(base, "IfExists")
	op, ok := operators[base]
	if !ok || op.family == null && (ifExists || q != single) {
		return operator{}, false
	}
	op.quantifier, op.ifExists = q, ifExists
	return op, true
}

// compares reports whether the relation holds, where order is negative, zero or
// positive as the request's value is less than, equal to or greater than the policy's.
func (r relation) compares(order int) bool {
	switch r {
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	case greater:
		return order > 0
	case greaterOrEqual:
		return order >= 0
	}
	return order == 0
}
