package parlortest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"parlor/internal/config"
	"parlor/internal/parlortest"
	"parlor/internal/redistest"
	"parlor/internal/tracing/tracingtest"
)

// tracedTo has a server's traces go to a collector, by OpenTelemetry's variables.
func tracedTo(t testing.TB, c *tracingtest.Collector) func(*config.Config) {
	t.Helper()
	tracing, err := config.ReadTracing(func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_SAMPLER": "parentbased_always_on"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Tracing = tracing }
}

// configured has a server know a review handler, by a webhook.
func (h *handlers) configured(name string) func(*config.Config) {
	h.t.Helper()
	secret := filepath.Join(h.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(h.secret+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return func(c *config.Config) {
		c.ReviewWebhooks, c.WebhookSecret = []string{webhookARN(name) + "=" + h.webhook.URL + "/" + name}, secret
	}
}

// one is the only span of a name.
func one(t testing.TB, spans []tracingtest.Span, name string) tracingtest.Span {
	t.Helper()
	found := tracingtest.Named(spans, name)
	if len(found) != 1 {
		t.Fatalf("got %d spans %q, want 1: %+v", len(found), name, spans)
	}
	return found[0]
}

func has(names ...string) func([]tracingtest.Span) bool {
	return func(spans []tracingtest.Span) bool {
		for _, name := range names {
			if len(tracingtest.Named(spans, name)) == 0 {
				return false
			}
		}
		return true
	}
}

// checkSteps holds a request's steps to their form: publish, and in it the first delivery.
func checkSteps(t testing.TB, spans []tracingtest.Span, request tracingtest.Span) (publish tracingtest.Span) {
	t.Helper()
	var first tracingtest.Span
	for _, s := range spans {
		switch {
		case s.Name == "publish" && s.Parent == request.ID:
			publish = s
		case s.Name == "first delivery" && s.Trace == request.Trace:
			first = s
		}
	}
	if publish.Trace != request.Trace || first.Parent != publish.ID || first.ID == "" {
		t.Fatalf("%s: no publication with a first delivery in %+v", request.Name, spans)
	}
	if publish.Begun.Before(request.Begun) || first.Begun.Before(publish.Begun) || first.Ended.Before(first.Begun) ||
		first.Ended.After(publish.Ended) || publish.Ended.After(request.Ended) {
		t.Errorf("not one in the other: %+v, %+v, %+v", request, publish, first)
	}
	return publish
}

// TestTracing follows requests of the API and messages through a whole server to a
// collector.
func TestTracing(t *testing.T) {
	t.Parallel()
	const callersTrace, callersSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	collector := tracingtest.Start(t)
	h := newHandlers(t, map[string]review{"calm": as(`{"ReviewResult": "ALLOW", "Content": "reviewed secret words"}`, nil)})
	s := parlortest.Start(t, tracedTo(t, collector), h.configured("calm"))
	client := s.Client(t)
	withParent := func(flags string) func(*ivschat.Options) {
		return func(o *ivschat.Options) {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-"+flags))
		}
	}

	uri := webhookARN("calm")
	room := *must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{
		MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri, FallbackResult: types.FallbackResultDeny},
	}, withParent("01"))).Arn
	must[*ivschat.GetRoomOutput](t)(client.GetRoom(context.Background(), &ivschat.GetRoomInput{Identifier: &room}, withParent("00")))
	missing := room + "x"
	if _, err := client.GetRoom(context.Background(), &ivschat.GetRoomInput{Identifier: &missing}); err == nil {
		t.Fatal("there is a room that was not made")
	}
	stranger, err := http.NewRequest(http.MethodPost, s.URL+"/ListRooms", nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Header.Set("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01")
	refused, err := http.DefaultClient.Do(stranger)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()

	spans := collector.Await(t, has("CreateRoom", "GetRoom", "Unidentified"))
	made := one(t, spans, "CreateRoom")
	if made.Trace != callersTrace || made.Parent != callersSpan || !made.Server || made.Ended.Before(made.Begun) {
		t.Errorf("not in the caller's trace: %+v", made)
	}
	for key, want := range map[string]any{
		"rpc.system": "aws-api", "rpc.service": "ivschat", "rpc.method": "CreateRoom", "http.response.status_code": int64(200), "cloud.region": parlortest.Region,
	} {
		if got := made.Attributes[key]; got != want {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
	if id, _ := made.Attributes["aws.request_id"].(string); len(id) != 36 {
		t.Errorf("the request's id is %q", id)
	}
	// That of the room there is was not kept by its caller.
	if got := one(t, spans, "GetRoom"); got.Attributes["error.type"] != "ResourceNotFoundException" || got.Attributes["http.response.status_code"] != int64(404) || got.Fault || got.Parent != "" {
		t.Errorf("a request for no room: got %+v", got)
	}
	if got := one(t, spans, "Unidentified"); got.Trace == callersTrace || got.Attributes["rpc.method"] != "ListRooms" || got.Attributes["cloud.region"] != nil {
		t.Errorf("a stranger's request: got %+v", got)
	}
	if got := made.Resource; got["service.name"] != "parlor" || got["service.instance.id"] == "" || got["service.version"] == "" {
		t.Errorf("resource: got %v", got)
	}

	member := enter(t, s, client, room, "user-of-a-secret-name")
	if got := member.say("secret words"); got.Content != "reviewed secret words" {
		t.Fatalf("got %+v", got)
	}
	spans = collector.Await(t, has("SEND_MESSAGE", "review", "publish", "first delivery"))
	sent, asked := one(t, spans, "SEND_MESSAGE"), one(t, spans, "review")
	publish := checkSteps(t, spans, sent)
	if sent.Parent != "" || !sent.Server || asked.Parent != sent.ID || asked.Begun.Before(sent.Begun) || publish.Begun.Before(asked.Ended) {
		t.Errorf("not SEND_MESSAGE, then review, then publish: %+v, %+v, %+v", sent, asked, publish)
	}

	h.mu.Lock()
	if want := "00-" + asked.Trace + "-" + asked.ID + "-01"; h.trace != want {
		t.Errorf("the handler was told of %q, want %q", h.trace, want)
	}
	h.mu.Unlock()

	must[*ivschat.SendEventOutput](t)(client.SendEvent(context.Background(), &ivschat.SendEventInput{RoomIdentifier: &room, EventName: new("secret:event"), Attributes: map[string]string{"secret": "words"}}))
	spans = collector.Await(t, has("SendEvent"))
	checkSteps(t, spans, one(t, spans, "SendEvent"))
	if got := member.next(); got.EventName != "secret:event" {
		t.Fatalf("got %+v", got)
	}

	s.Stop()
	if raw := collector.Raw(); strings.Contains(raw, "secret") || strings.Contains(raw, parlortest.Account) || strings.Contains(raw, "user-of") || strings.Contains(raw, roomID(room)) {
		t.Errorf("what must not be told is in the spans: %q", raw)
	}
}

// TestTracingOfALargeRoom has the first delivery be seen where publishers leave
// deliveries to the workers, and the message reach everybody all the same.
func TestTracingOfALargeRoom(t *testing.T) {
	t.Parallel()
	collector := tracingtest.Start(t)
	s := parlortest.Start(t, tracedTo(t, collector))
	client := s.Client(t)
	room := newRoom(t, client, "large")
	var members []*peer
	for i := range 70 {
		members = append(members, enter(t, s, client, room, fmt.Sprint("user-", i)))
	}
	members[0].send(map[string]any{"Action": "SEND_MESSAGE", "Content": "hello"})
	for _, m := range members {
		if got := m.next(); got.Content != "hello" {
			t.Fatalf("got %+v", got)
		}
	}
	spans := collector.Await(t, has("SEND_MESSAGE", "publish", "first delivery"))
	checkSteps(t, spans, one(t, spans, "SEND_MESSAGE"))
}

// TestTracingOfNodes has the steps of a message be those of the node that took it: the
// form of what nodes say to each other has no place for a trace.
func TestTracingOfNodes(t *testing.T) {
	t.Parallel()
	database, redis := newDatabase(t), redistest.Start(t)
	here, there := tracingtest.Start(t), tracingtest.Start(t)
	node := func(c *tracingtest.Collector) *parlortest.Server {
		return parlortest.Start(t, tracedTo(t, c), func(c *config.Config) { c.DatabaseURL, c.RedisURL = database, redis.URL() })
	}
	a, b := node(here), node(there)
	client := a.Client(t)
	room := newRoom(t, client, "shared")
	speaker, listener := enter(t, a, client, room, "speaker"), enter(t, b, client, room, "listener")
	const messages = 5
	for i := range messages {
		text := fmt.Sprint("message ", i)
		if got := speaker.say(text); got.Content != text {
			t.Fatalf("got %+v", got)
		}
		if got := listener.next(); got.Content != text {
			t.Fatalf("got %+v", got)
		}
	}
	spans := here.Await(t, func(spans []tracingtest.Span) bool { return len(tracingtest.Named(spans, "SEND_MESSAGE")) == messages })
	for _, sent := range tracingtest.Named(spans, "SEND_MESSAGE") {
		checkSteps(t, spans, sent)
	}
	b.Stop()
	for _, s := range there.Spans() {
		if s.Name == "first delivery" || s.Name == "publish" {
			t.Errorf("the other node has %+v", s)
		}
	}
}

// TestTracingIsOff has a server without OpenTelemetry's variables keep nothing.
func TestTracingIsOff(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	client := s.Client(t)
	if got := enter(t, s, client, newRoom(t, client, "quiet"), "user").say("hello"); got.Content != "hello" {
		t.Fatalf("got %+v", got)
	}
	answer, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text := must[[]byte](t)(io.ReadAll(answer.Body)); strings.Contains(string(text), "parlor_trace") {
		t.Error("there are metrics of traces")
	}
}
