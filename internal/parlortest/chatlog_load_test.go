package parlortest_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkChatLog measures the server's processor time for a message without and with
// logging to one directory, shipping included: eight rooms of ten members each. An
// iteration is a second of messages near the rooms' limits.
func BenchmarkChatLog(b *testing.B) {
	const rooms, perSecond = 8, 64
	for _, name := range []string{"without", "with", "without again", "with again", "without, third", "with, third"} {
		b.Run(name, func(b *testing.B) {
			descriptors(b, 400)
			server, _ := run(b, filepath.Join(b.TempDir(), "data"), func(c *exec.Cmd) { c.Env = cliEnvironment(b) })
			client := newAPI(b, server.address)
			status, lc, err := client.call("POST", "/CreateLoggingConfiguration", map[string]any{
				"destinationConfiguration": map[string]any{"firehose": map[string]any{"deliveryStreamName": "bench"}}})
			if err != nil || status != http.StatusOK {
				b.Fatalf("CreateLoggingConfiguration: got %d %v", status, err)
			}
			var crowds []*crowd
			for range rooms {
				c := fill(b, server, client, 10, perSecond)
				crowds = append(crowds, c)
				if strings.HasPrefix(name, "without") {
					continue
				}
				status, _, err := client.call("POST", "/UpdateRoom", map[string]any{"identifier": c.room, "loggingConfigurationIdentifiers": []string{lc.Arn}})
				if err != nil || status != http.StatusOK {
					b.Fatalf("UpdateRoom: got %d %v", status, err)
				}
			}
			before := server.cpu(b)
			ticker := time.NewTicker(time.Second / (rooms * perSecond))
			defer ticker.Stop()
			for b.Loop() {
				for i := range rooms * perSecond {
					<-ticker.C
					crowds[i%rooms].say()
				}
			}
			time.Sleep(1200 * time.Millisecond) // the last records are shipped
			used, said := server.cpu(b)-before, 0
			for _, c := range crowds {
				said += c.said
				c.settle()
			}
			b.ReportMetric(float64(used.Microseconds())/float64(said), "CPU-µs/message")
			server.kill()
		})
	}
}
