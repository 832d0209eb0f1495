package cloudwatch

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMoto publishes to an emulator of AWS that others wrote. It is not among what tests
// need: where it is not installed, our own server is what there is.
func TestMoto(t *testing.T) {
	if _, err := exec.LookPath("moto_server"); err != nil {
		t.Skip("there is no moto_server")
	}
	if err := exec.CommandContext(t.Context(), "moto_server", "--help").Run(); err != nil {
		t.Skipf("moto_server: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	moto := exec.Command("moto_server", "-H", "127.0.0.1", "-p", port)
	if err := moto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { moto.Process.Signal(os.Interrupt); moto.Process.Kill(); moto.Wait() })
	startFake(t, nil)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://"+address)
	process := newProcess()
	process.add("parlor_requests_total", 7, "SEND_MESSAGE")
	var log bytes.Buffer
	p := process.publisher(&log, 0)
	defer p.aws.close()
	up := func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	for deadline := time.Now().Add(patience); !up(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("moto_server does not listen")
		}
	}
	p.publish(t.Context(), time.Now().Truncate(time.Minute), patience, maxTries)
	if log.Len() > 0 {
		t.Fatalf("the log says: %s", &log)
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/", strings.NewReader(url.Values{"Action": {"ListMetrics"}, "Version": {"2010-08-01"}, "Namespace": {"AWS/IVSChat"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/monitoring/aws4_request, SignedHeaders=host, Signature=00")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<MetricName>ConcurrentChatConnections</MetricName>", "<MetricName>MessagingRequests</MetricName>", "<MetricName>Requests</MetricName>", "<Value>SEND_MESSAGE</Value>"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
}
