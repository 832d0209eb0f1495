package awsapi

import (
	"context"
	"net/netip"
	"time"

	"parlor/internal/chat"
	"parlor/internal/iam"
)

// tagging is what a request says of tags: those it would set, and the keys it would
// take away.
type tagging struct {
	set  map[string]string
	keys []string
}

// may decides whether the caller may do this to a resource. Resources of another
// account are refused before it is said whether they exist; those of another region
// do not exist here.
func (c *call) may(ctx context.Context, resource chat.ARN, tags tagging) error {
	c.noted.Resource = resource
	if resource.Account != c.caller.Scope.Account {
		// No policy of the caller's decides this, so none is named.
		return &chat.Error{Code: chat.Forbidden, Message: "User: " + c.caller.arn() +
			" is not authorized to perform: " + c.action + " on resource: " + resource.String()}
	}
	if resource.Region != c.caller.Scope.Region {
		return chat.NewNotFound(resource)
	}
	if c.caller.Policy == nil {
		return nil
	}
	// A resource that does not exist has no tags.
	has, err := c.Service.ListTagsForResource(ctx, resource)
	if err != nil && chat.AsError(err).Code != chat.NotFound {
		return err
	}
	return c.decide(c.action, resource.String(), tags, has)
}

// mayAny is may for an operation on no resource in particular: creating one, or
// listing all. What is created with tags is also tagged.
func (c *call) mayAny(kind chat.Kind, tags tagging) error {
	if c.caller.Policy == nil {
		return nil
	}
	resource := chat.ARN{Scope: c.caller.Scope, Kind: kind, ID: "*"}.String()
	if err := c.decide(c.action, resource, tags, nil); err != nil || len(tags.set) == 0 {
		return err
	}
	return c.decide(actionPrefix+"TagResource", resource, tags, nil)
}

// decide asks the caller's policy.
func (c *call) decide(action, resource string, tags tagging, has map[string]string) error {
	decision := c.caller.Policy.Decide(iam.Request{
		Action:   action,
		Resource: resource,
		Context: iam.Context{
			Time:            time.Now(),
			SourceIP:        c.address,
			SecureTransport: c.secure,
			UserAgent:       c.userAgent,
			Region:          c.caller.Scope.Region,
			PrincipalARN:    c.caller.arn(),
			Account:         c.caller.Scope.Account,
			Username:        c.caller.Name,
			RequestTags:     tags.set,
			ResourceTags:    has,
			TagKeys:         tags.keys,
		},
	})
	if decision.Outcome == iam.Allowed {
		return nil
	}
	return &chat.Error{Code: chat.Forbidden, Message: iam.DenialMessage(c.caller.arn(), action, resource, decision)}
}

// addressOf is the address of a host and port, the zero Addr if it is none.
func addressOf(hostPort string) netip.Addr {
	ap, _ := netip.ParseAddrPort(hostPort) // what is no address matches no condition
	return ap.Addr()
}
