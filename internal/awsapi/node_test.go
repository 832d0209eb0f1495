package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/iam"
)

// describedNode is a node that answers with what it was asked.
func describedNode(_ context.Context, _ chat.Scope, question NodeQuestion) (Node, error) {
	node := Node{
		ID: "g1H2I3j4k5L6", Version: "devel", Mode: "dev", StartTime: Time{time.Unix(1767323045, 0)}, Time: Time{time.Unix(1767323045, 5e8)},
		Nodes: []NodePeer{}, Rooms: []NodeRoom{}, Backlogs: []NodeBacklog{}, Metrics: []NodeMetric{},
	}
	if question.Rooms == nil {
		node.Rooms = append(node.Rooms, NodeRoom{ARN: "the largest", Connections: 1})
	}
	for i, arn := range question.Rooms {
		room := NodeRoom{ARN: arn.String(), Connections: i, Messages: uint64(2 * i)}
		if question.Users {
			room.Users = []NodeUser{}
		}
		node.Rooms = append(node.Rooms, room)
	}
	return node, nil
}

// token makes a room and returns a token for it.
func (f *fixture) token(t testing.TB) string {
	t.Helper()
	room := f.created(t, "CreateRoom", `{}`)
	w := f.post("CreateChatToken", `{"roomIdentifier":"`+room+`","userId":"u"}`)
	var out struct{ Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Token == "" {
		t.Fatalf("CreateChatToken: %d %s", w.Code, w.Body)
	}
	return out.Token
}

// TestOwnConstraints is TestConstraints for the operations of Parlor's own: what is wrong
// is refused by the member's name.
func TestOwnConstraints(t *testing.T) {
	f := newFixture(t)
	token := f.token(t)
	const room = "arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6"
	rooms := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("%q", strings.Replace(room, "g1H2", fmt.Sprintf("%04d", i), 1))
		}
		return `{"rooms":[` + strings.Join(list, ",") + `]}`
	}
	for _, test := range []struct {
		name, operation, body string
		refused               string // the member, or "" if accepted
	}{
		{"nothing said", "DescribeNode", ``, ""},
		{"nothing asked", "DescribeNode", `{"rooms":null,"users":null}`, ""},
		{"no rooms", "DescribeNode", `{"rooms":[]}`, ""},
		{"as many rooms as may be", "DescribeNode", rooms(100), ""},
		{"a room too many", "DescribeNode", rooms(101), "rooms"},
		{"no room", "DescribeNode", `{"rooms":["` + room + `","g1H2I3j4k5L6"]}`, "rooms"},
		{"a logging configuration", "DescribeNode", `{"rooms":["arn:aws:ivschat:us-west-2:123456789012:logging-configuration/g1H2I3j4k5L6"]}`, "rooms"},
		{"a token", "DescribeToken", `{"token":"` + token + `"}`, ""},
		{"no token", "DescribeToken", `{}`, "token"},
		{"an empty token", "DescribeToken", `{"token":""}`, "token"},
		{"a token of somebody else's", "DescribeToken", `{"token":"` + strings.Repeat("A", 200) + `"}`, "token"},
		{"half a token", "DescribeToken", `{"token":"` + token[:len(token)/2] + `"}`, "token"},
		{"a token with a bit turned", "DescribeToken", `{"token":"` + token[:40] + turned(token[40]) + token[41:] + `"}`, "token"},
		{"a token longer than there are", "DescribeToken", `{"token":"` + strings.Repeat("A", chat.MaxTokenLength+1) + `"}`, "token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := f.post("parlor/"+test.operation, test.body)
			if test.refused == "" {
				if w.Code != http.StatusOK {
					t.Errorf("got %d %s, want it accepted", w.Code, w.Body)
				}
				return
			}
			e := errorOf(t, w)
			if w.Code != http.StatusBadRequest || e.Type != "ValidationException" || e.Reason != reasonField ||
				len(e.FieldList) != 1 || e.FieldList[0].Name != test.refused {
				t.Errorf("got %d %s, want a ValidationException of %s", w.Code, w.Body, test.refused)
			}
		})
	}
	if logged := f.logged.String(); strings.Contains(logged, token) || strings.Contains(logged, token[len(token)-40:]) {
		t.Error("a token is in the log")
	}
}

func turned(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// serializations are inputs that cannot be read.
func TestOwnOperationsAreReadAsOthers(t *testing.T) {
	f := newFixture(t)
	for body, want := range map[string]string{
		`{"users":1}`:      "Request member users must be true or false.",
		`{"users":"true"}`: "Request member users must be true or false.",
		`{"rooms":"a"}`:    "Request member rooms must be a list of strings.",
		`{"users":tru}`:    errSyntax.Message,
	} {
		w := f.post("parlor/DescribeNode", body)
		if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Type != "SerializationException" || e.Message != want {
			t.Errorf("%s: got %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	for _, request := range []*http.Request{newRequest("GET", "/parlor/DescribeNode", ""), newRequest("POST", "/DescribeNode", "{}"), newRequest("POST", "/parlor/GetRoom", "{}")} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, request)
		if w.Code != http.StatusNotFound {
			t.Errorf("%s %s: got %d, want 404", request.Method, request.URL, w.Code)
		}
	}
}

// describe calls an operation of Parlor's own as somebody.
func (f *fixture) describe(t testing.TB, who caller, operation, body string) (any, error) {
	t.Helper()
	o, found := operations["POST /parlor/"+operation]
	if !found {
		t.Fatalf("there is no %s", operation)
	}
	return o.serve(t.Context(), &call{Service: f.service, node: f.node, caller: who, action: o.action}, source{body: []byte(body)})
}

// TestOwnOperationsAreDecided has users with policies: what allows the API allows none of
// Parlor's own, and the other way round.
func TestOwnOperationsAreDecided(t *testing.T) {
	f := newFixture(t)
	token := f.token(t)
	arn, err := f.describe(t, caller{Scope: testScope}, "DescribeToken", `{"token":"`+token+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	room := arn.(*describeTokenOutput).RoomARN
	allow := func(action, resource string) *iam.Policy {
		return policy(t, `{"Effect":"Allow","Action":"`+action+`","Resource":"`+resource+`"}`)
	}
	const rooms = "arn:aws:ivschat:us-west-2:123456789012:room/*"
	for _, test := range []struct {
		name        string
		policy      *iam.Policy
		node, token bool
	}{
		{"everything", nil, true, true},
		{"all actions", allow("*", "*"), true, true},
		{"the API", allow("ivschat:*", "*"), false, false},
		{"Parlor's own", allow("parlor:*", "*"), true, true},
		{"the node alone", allow("parlor:DescribeNode", rooms), true, false},
		{"tokens of the room", allow("parlor:DescribeToken", room), false, true},
		{"tokens of another room", allow("parlor:DescribeToken", strings.Replace(room, "room/", "room/x", 1)), false, false},
		{"denied", policy(t, `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"parlor:Describe*","Resource":"*"}`), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			who := caller{Scope: testScope, Name: "ada", Policy: test.policy}
			for _, call := range []struct {
				operation, body, resource string
				allowed                   bool
			}{
				{"DescribeNode", `{}`, rooms, test.node},
				{"DescribeToken", `{"token":"` + token + `"}`, room, test.token},
			} {
				_, err := f.describe(t, who, call.operation, call.body)
				if call.allowed {
					if err != nil {
						t.Errorf("%s: %v", call.operation, err)
					}
					continue
				}
				want := "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: parlor:" + call.operation + " on resource: " + call.resource
				if e := chat.AsError(err); err == nil || e.Code != chat.Forbidden || !strings.HasPrefix(e.Message, want) {
					t.Errorf("%s: got %v, want %s", call.operation, err, want)
				}
			}
		})
	}
	t.Run("another account", func(t *testing.T) {
		bob := caller{Scope: chat.Scope{Region: testRegion, Account: "210987654321"}, Name: "bob"}
		_, err := f.describe(t, bob, "DescribeToken", `{"token":"`+token+`"}`)
		if e := chat.AsError(err); err == nil || e.Code != chat.Forbidden {
			t.Errorf("got %v, want it refused", err)
		}
		out, err := f.describe(t, bob, "DescribeNode", `{"rooms":["`+room+`"]}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.(*Node).Rooms; len(got) != 0 {
			t.Errorf("got rooms %v, want none", got)
		}
	})
	t.Run("another region", func(t *testing.T) {
		east := caller{Scope: chat.Scope{Region: "us-east-1", Account: testAccount}}
		_, err := f.describe(t, east, "DescribeToken", `{"token":"`+token+`"}`)
		if e := chat.AsError(err); err == nil || e.Code != chat.NotFound {
			t.Errorf("got %v, want not found", err)
		}
	})
}

// TestDescribeNodeFails: a cause is for the log.
func TestDescribeNodeFails(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Node = func(context.Context, chat.Scope, NodeQuestion) (Node, error) {
			return Node{}, errors.New("the disk is away")
		}
	})
	w := f.post("parlor/DescribeNode", `{}`)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "disk") || !strings.Contains(f.logged.String(), "the disk is away") {
		t.Errorf("got %d %s, logged %s", w.Code, w.Body, f.logged)
	}
}

// TestDescribeNodeRooms: of a room that a policy keeps to itself nothing is told, whether
// it is asked for or not.
func TestDescribeNodeRooms(t *testing.T) {
	var open, closed chat.ARN
	f := newFixture(t, func(c *Config) {
		c.Node = func(ctx context.Context, scope chat.Scope, question NodeQuestion) (Node, error) {
			if question.Rooms == nil {
				question.Rooms = []chat.ARN{open, closed}
			}
			return describedNode(ctx, scope, question)
		}
	})
	make := func(body string) chat.ARN {
		arn, err := chat.ParseARN(f.created(t, "CreateRoom", body))
		if err != nil {
			t.Fatal(err)
		}
		return arn
	}
	open, closed = make(`{"tags":{"team":"a"}}`), make(`{"tags":{"team":"b"}}`)
	const all = `{"Effect":"Allow","Action":"parlor:DescribeNode","Resource":"*"}`
	for _, test := range []struct {
		name   string
		policy *iam.Policy
		want   []string
	}{
		{"all", policy(t, all), []string{open.String(), closed.String()}},
		{"but one", policy(t, all+`,{"Effect":"Deny","Action":"parlor:*","Resource":"`+closed.String()+`"}`), []string{open.String()}},
		{"but those with a tag", policy(t, all+`,{"Effect":"Deny","Action":"parlor:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"b"}}}`), []string{open.String()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, body := range []string{`{}`, `{"users":true,"rooms":["` + open.String() + `","` + closed.String() + `"]}`} {
				out, err := f.describe(t, caller{Scope: testScope, Name: "ada", Policy: test.policy}, "DescribeNode", body)
				if err != nil {
					t.Fatal(err)
				}
				got := []string{}
				for _, room := range out.(*Node).Rooms {
					got = append(got, room.ARN)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("%s: got rooms %q, want %q", body, got, test.want)
				}
			}
		})
	}
}
