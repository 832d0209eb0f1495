package parlortest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// TestCloudWatchMetrics has what happens in a server be what CloudWatch gets, under the
// names of Amazon IVS Chat. Its last minute is published when it stops.
func TestCloudWatchMetrics(t *testing.T) {
	var mu sync.Mutex
	got := map[string]string{} // by metric and dimension
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		form, err2 := url.ParseQuery(string(body))
		if err != nil || err2 != nil || form.Get("Namespace") != "AWS/IVSChat" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/monitoring/aws4_request") {
			t.Errorf("got %s: %v, %v", body, err, err2)
		}
		mu.Lock()
		defer mu.Unlock()
		for name := range form {
			if member, ok := strings.CutSuffix(name, ".MetricName"); ok {
				series := strings.Trim(form.Get(name)+" "+form.Get(member+".Dimensions.member.1.Value"), " ")
				got[series] = form.Get(member+".Value") + form.Get(member+".StatisticValues.Maximum")
			}
		}
	}))
	defer cloud.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_CLOUDWATCH": cloud.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	h := newHandlers(t, map[string]review{"broken": as("", errFails)})
	s := parlortest.Start(t, h.configured("broken"), func(c *config.Config) { c.CloudWatchMetrics, c.LogLevel = "AWS/IVSChat", "error" })
	client := s.Client(t)
	uri := webhookARN("broken")
	room := *must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{MessageReviewHandler: &types.MessageReviewHandler{Uri: &uri}})).Arn
	members := []*peer{enter(t, s, client, room, "one"), enter(t, s, client, room, "two")}
	members[0].send(map[string]any{"Action": "SEND_MESSAGE", "Content": "hello"})
	for _, m := range members {
		if f := m.next(); f.Content != "hello" {
			t.Fatalf("got %+v", f)
		}
	}
	s.Stop()
	mu.Lock()
	defer mu.Unlock()
	for series, want := range map[string]string{
		"MessagingRequests": "1", "Requests SEND_MESSAGE": "1", "MessagingDeliveries": "2", "Deliveries SEND_MESSAGE": "2",
		"InvocationErrors " + webhookARN("broken"): "1",
	} {
		if got[series] != want {
			t.Errorf("%s: got %q, want %q, in %v", series, got[series], want, got)
		}
	}
	if _, ok := got["ConcurrentChatConnections"]; !ok {
		t.Errorf("no connections in %v", got)
	}
}
