package awsapi

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"parlor/internal/chat"
)

// call is one identified request to one operation.
type call struct {
	*chat.Service
	node   func(context.Context, chat.Scope, NodeQuestion) (Node, error)
	caller caller
	action string // as policies name it

	// For policies.
	address   netip.Addr
	secure    bool
	userAgent string

	// noted is what is said of the call to those who run the server.
	noted chat.Notice
}

// operation is one row of the API.
type operation struct {
	name    string
	action  string // as policies name it
	success int    // HTTP status
	hasBody bool
	in, out reflect.Type
	// serve decodes the request, calls the core and returns what to encode.
	serve func(ctx context.Context, c *call, from source) (any, error)
}

// source is where the members of an input come from.
type source struct {
	body  []byte
	label string // the path's label, decoded
	query string // raw
}

// own makes a row of an operation that is Parlor's and not the API's.
func own[In, Out any](name string, success int, serve func(context.Context, *call, *In) (*Out, error)) operation {
	o := op(name, success, serve)
	o.action = ownPrefix + name
	return o
}

// op makes a row from the function that serves it.
func op[In, Out any](name string, success int, serve func(context.Context, *call, *In) (*Out, error)) operation {
	in := reflect.TypeFor[In]()
	hasBody := false
	for i := range in.NumField() {
		if _, ok := in.Field(i).Tag.Lookup("json"); ok {
			hasBody = true
		}
	}
	return operation{
		name: name, action: actionPrefix + name, success: success, hasBody: hasBody, in: in, out: reflect.TypeFor[Out](),
		serve: func(ctx context.Context, c *call, from source) (any, error) {
			input := new(In)
			if hasBody && len(from.body) > 0 {
				if err := decodeJSON(from.body, input); err != nil {
					return nil, err
				}
			}
			if err := from.outsideBody(reflect.ValueOf(input).Elem()); err != nil {
				return nil, err
			}
			return serve(ctx, c, input)
		},
	}
}

// outsideBody reads the members that come from the path and the query.
func (s source) outsideBody(into reflect.Value) error {
	for i := range into.NumField() {
		tag := into.Type().Field(i).Tag
		if tag.Get("label") != "" {
			into.Field(i).Set(reflect.ValueOf(&s.label))
		}
		if name := tag.Get("query"); name != "" {
			query, err := url.ParseQuery(s.query)
			if err != nil {
				return serialization(queryText)
			}
			for _, value := range query[name] {
				if !utf8.ValidString(value) {
					return serialization(queryText)
				}
			}
			into.Field(i).Set(reflect.ValueOf(query[name]))
		}
	}
	return nil
}

// What the names of actions begin with in policies: the API's, and Parlor's own.
const (
	actionPrefix = service + ":"
	ownPrefix    = "parlor:"
)

// operations by method and path; a path that ends in a slash has a label after it. Those
// under /parlor/ are Parlor's own, the others are the model's.
//
// IVS-MODEL: AmazonInteractiveVideoServiceChat
var operations = map[string]operation{
	"POST /CreateChatToken":            op("CreateChatToken", http.StatusOK, createChatToken),
	"POST /CreateLoggingConfiguration": op("CreateLoggingConfiguration", http.StatusOK, createLoggingConfiguration),
	"POST /CreateRoom":                 op("CreateRoom", http.StatusOK, createRoom),
	"POST /DeleteLoggingConfiguration": op("DeleteLoggingConfiguration", http.StatusNoContent, deleteLoggingConfiguration),
	"POST /DeleteMessage":              op("DeleteMessage", http.StatusOK, deleteMessage),
	"POST /DeleteRoom":                 op("DeleteRoom", http.StatusNoContent, deleteRoom),
	"POST /DisconnectUser":             op("DisconnectUser", http.StatusOK, disconnectUser),
	"POST /GetLoggingConfiguration":    op("GetLoggingConfiguration", http.StatusOK, getLoggingConfiguration),
	"POST /GetRoom":                    op("GetRoom", http.StatusOK, getRoom),
	"POST /ListLoggingConfigurations":  op("ListLoggingConfigurations", http.StatusOK, listLoggingConfigurations),
	"POST /ListRooms":                  op("ListRooms", http.StatusOK, listRooms),
	"GET /tags/":                       op("ListTagsForResource", http.StatusOK, listTagsForResource),
	"POST /SendEvent":                  op("SendEvent", http.StatusOK, sendEvent),
	"POST /tags/":                      op("TagResource", http.StatusOK, tagResource),
	"DELETE /tags/":                    op("UntagResource", http.StatusOK, untagResource),
	"POST /UpdateLoggingConfiguration": op("UpdateLoggingConfiguration", http.StatusOK, updateLoggingConfiguration),
	"POST /UpdateRoom":                 op("UpdateRoom", http.StatusOK, updateRoom),

	"POST /parlor/BanUser":       own("BanUser", http.StatusOK, banUser),
	"POST /parlor/DescribeNode":  own("DescribeNode", http.StatusOK, describeNode),
	"POST /parlor/DescribeToken": own("DescribeToken", http.StatusOK, describeToken),
	"POST /parlor/ListBans":      own("ListBans", http.StatusOK, listBans),
	"POST /parlor/MuteUser":      own("MuteUser", http.StatusOK, muteUser),
	"POST /parlor/PurgeUser":     own("PurgeUser", http.StatusOK, purgeUser),
	"POST /parlor/UnbanUser":     own("UnbanUser", http.StatusOK, unbanUser),
	"POST /parlor/UnmuteUser":    own("UnmuteUser", http.StatusOK, unmuteUser),
}

// Operations are the names of all operations.
func Operations() []string {
	names := make([]string, 0, len(operations))
	for _, o := range operations {
		names = append(names, o.name)
	}
	slices.Sort(names)
	return names
}

const tagsPath = "/tags/"

// route finds the operation of a request and the label in its path. It works on the
// path as it was sent: a label's own slash may or may not be escaped, and no path is
// tidied into another.
func route(r *http.Request) (o operation, label string, found bool) {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, tagsPath); ok {
		unescaped, err := url.PathUnescape(rest)
		if err != nil || rest == "" {
			return operation{}, "", false
		}
		path, label = tagsPath, unescaped
	}
	o, found = operations[r.Method+" "+path]
	return o, label, found
}
