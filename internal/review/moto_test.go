package review

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMoto asks an emulator of AWS that others wrote. It is not among what tests need:
// where it is not installed, our own endpoint is what there is.
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
	post := func(path, body string) error {
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+address+path, "application/json", strings.NewReader(body))
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); post("/moto-api/reset", "") != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Skip("moto_server does not come up")
		}
	}

	setAWS(t, "http://"+address)
	verifies := func(c *Config) { c.Verify = true }
	r := newRig(t, verifies)
	if err := r.Verify(t.Context(), testARN); err == nil {
		t.Error("a function that does not exist may be invoked")
	}
	eventually(t, "an error", func() bool { _, why := r.ask(); return why == whyError }) // at first it is slow

	// Functions that answer with what they are given, so that no container is needed.
	if err := post("/moto-api/config", `{"lambda":{"use_docker":false}}`); err != nil {
		t.Fatal(err)
	}
	r = newRig(t, verifies)
	if err := r.Verify(t.Context(), testARN); err != nil {
		t.Error(err)
	}
	const answer = `{"ReviewResult":"ALLOW","Content":"✓","Attributes":{"a":"b"}}`
	eventually(t, "an answer", func() bool {
		v, err := r.Review(t.Context(), testARN, []byte(answer), usable)
		if r.whyOf(err) == whyTimeout || r.whyOf(err) == whyResting {
			return false
		}
		if got, want := verdict(v), `{"Allow":true,"Content":"✓","Attributes":{"a":"b"}}`; err != nil || got != want {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
		return true
	})
}
