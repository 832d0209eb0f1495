package chatlog

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

// TestMoto takes records to moto's server, which others wrote to stand for AWS. It is
// skipped where that is not installed (pip install 'moto[server]').
func TestMoto(t *testing.T) {
	m := startMoto(t)
	records := messages("AOkXdrUHaDMs", 1200, time.Now())

	m.call("s3", "PUT", "/there", "", `<CreateBucketConfiguration><LocationConstraint>`+testRegion+`</LocationConstraint></CreateBucketConfiguration>`)
	putAll(t, newSink(to(chat.DestinationS3, "there")), records)
	if got := m.objects("there"); !slices.Equal(got, linesOf(records)) {
		t.Errorf("S3: got %d records, want %d in their order", len(got), len(records))
	}

	m.call("logs", "POST", "/", "Logs_20140328.CreateLogGroup", `{"logGroupName":"/chat/there"}`)
	putAll(t, newSink(to(chat.DestinationCloudWatchLogs, "/chat/there")), records)
	var out struct{ Events []struct{ Message string } }
	answer := m.call("logs", "POST", "/", "Logs_20140328.GetLogEvents",
		`{"logGroupName":"/chat/there","logStreamName":"aws/IVSChatLogs/1.0/room_AOkXdrUHaDMs","startFromHead":true}`)
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range out.Events {
		got = append(got, e.Message)
	}
	if !slices.Equal(got, linesOf(records)) {
		t.Errorf("CloudWatch Logs: got %d events, want %d in their order", len(got), len(records))
	}

	m.call("s3", "PUT", "/onward", "", `<CreateBucketConfiguration><LocationConstraint>`+testRegion+`</LocationConstraint></CreateBucketConfiguration>`)
	m.call("firehose", "POST", "/", "Firehose_20150804.CreateDeliveryStream", `{"DeliveryStreamName":"there","DeliveryStreamType":"DirectPut",
		"ExtendedS3DestinationConfiguration":{"RoleARN":"arn:aws:iam::123456789012:role/firehose","BucketARN":"arn:aws:s3:::onward"}}`)
	putAll(t, newSink(to(chat.DestinationFirehose, "there")), records)
	got = m.objects("onward") // one for each call, in no order by their keys
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(linesOf(records)))) {
		t.Errorf("Firehose: got %d records onward, want %d", len(got), len(records))
	}

	for _, kind := range []chat.DestinationKind{chat.DestinationS3, chat.DestinationCloudWatchLogs, chat.DestinationFirehose} {
		rest, err := newSink(to(kind, "missing")).put(t.Context(), records[:1])
		if len(rest) != 1 || classOf(t, err) != "not found" {
			t.Errorf("%s that is missing: got %d left, %v", kind, len(rest), err)
		}
	}
}

type moto struct {
	t   *testing.T
	url string
}

func startMoto(t *testing.T) *moto {
	t.Helper()
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := strings.Cut(address, ":")
	server := exec.Command(path, "-H", "127.0.0.1", "-p", port)
	var said bytes.Buffer
	server.Stderr = &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	m := &moto{t: t, url: "http://" + address}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		response, err := http.Get(m.url + "/moto-api/")
		if err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Skipf("moto_server does not start: %v", err)
		}
	}
	startAWS(t) // for its variables
	for _, service := range []string{"S3", "CLOUDWATCH_LOGS", "FIREHOSE"} {
		t.Setenv("AWS_ENDPOINT_URL_"+service, m.url)
	}
	return m
}

// call makes a call that moto knows by its credential's scope; it does not verify.
func (m *moto) call(service, method, path, target, body string) []byte {
	m.t.Helper()
	r, err := http.NewRequest(method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=AKIDCHATLOG/20260101/%s/%s/aws4_request, SignedHeaders=host, Signature=00", testRegion, service))
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		m.t.Fatalf("%s %s %s: got %s %v\n%s", service, method, path+target, response.Status, err, text)
	}
	return text
}

// objects are the lines of a bucket's objects, zipped or not, in the order of their keys.
func (m *moto) objects(bucket string) []string {
	m.t.Helper()
	var list struct {
		Contents []struct{ Key string }
	}
	if err := xml.Unmarshal(m.call("s3", "GET", "/"+bucket+"?list-type=2", "", ""), &list); err != nil {
		m.t.Fatal(err)
	}
	var lines []string
	for _, c := range list.Contents {
		object := m.call("s3", "GET", "/"+bucket+"/"+c.Key, "", "")
		if strings.HasSuffix(c.Key, ".gz") {
			lines = append(lines, unzip(m.t, object)...)
		} else {
			lines = append(lines, strings.Split(strings.TrimSuffix(string(object), "\n"), "\n")...)
		}
	}
	return lines
}
