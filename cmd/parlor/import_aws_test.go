package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

// amazonData makes the data directory of a server that plays Amazon, with rooms in two
// regions and two accounts, and returns the lines of what is in us-west-2 of
// 123456789012.
func amazonData(t *testing.T, dir string, rooms int) (lines []string) {
	t.Helper()
	all := []string{`{"format":"parlor-export","version":1,"exported":"2026-01-01T00:00:00Z","keys":false}`}
	add := func(mine bool, format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		all = append(all, line)
		if mine {
			lines = append(lines, line)
		}
	}
	for _, scope := range []string{"us-west-2:123456789012", "eu-west-1:123456789012", "us-west-2:000000000000"} {
		mine := scope == "us-west-2:123456789012"
		n := 2
		if mine {
			n = rooms
		}
		for i, kind := range []string{"s3", "cloudWatchLogs", "firehose"} {
			add(mine, `{"type":"loggingConfiguration","arn":"arn:aws:ivschat:%s:logging-configuration/Logging%d","name":"lc-%d","destination":{"kind":"%s","name":"there"},"tags":{"n":"%d"},"createTime":"2025-03-04T05:06:07.%d8Z","updateTime":"2025-04-04T05:06:07.%d9Z"}`,
				scope, i, i, kind, i, i+1, i+1)
		}
		for i := range n {
			handler, logging := "", ""
			if i%3 == 0 {
				handler = `"messageReviewHandler":{"uri":"arn:aws:lambda:us-west-2:123456789012:function:f","fallbackResult":"DENY"},`
			}
			if i%2 == 0 {
				logging = fmt.Sprintf(`"arn:aws:ivschat:%s:logging-configuration/Logging2","arn:aws:ivschat:%s:logging-configuration/Logging0"`, scope, scope)
			}
			add(mine, `{"type":"room","arn":"arn:aws:ivschat:%s:room/Room%08d","name":"room-%d","maximumMessageRatePerSecond":%d,"maximumMessageLength":%d,%s"loggingConfigurationIdentifiers":[%s],"tags":{"aws:cloudformation:stack-name":"s","n":"%d"},"createTime":"2025-05-04T05:06:07.1%d8Z","updateTime":"2025-06-04T05:06:07.1%d9Z"}`,
				scope, i, i, i%100+1, i+1, handler, logging, i, i%10, i%10)
		}
	}
	file := filepath.Join(t.TempDir(), "amazon.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(append(all, `{"type":"end"}`), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "import", "--data", dir, "--in", file)
	return lines
}

// linesOf is what a data directory has, without the header and the end.
func linesOf(t *testing.T, data string) []string {
	t.Helper()
	all := strings.Split(strings.TrimSpace(must(t, "export", "--data", data, "--out", "-")), "\n")
	return all[1 : len(all)-1]
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// TestImportFromAWS: a region of an account comes over as it is, with the quotas that
// Amazon has, more pages than one, and faster than the quotas are.
func TestImportFromAWS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	amazon, mine := filepath.Join(dir, "amazon"), filepath.Join(dir, "mine")
	want := amazonData(t, amazon, 53)
	_, at, stop := running(t, amazon, "--quotas", "aws")
	back := newProxy(t, at)
	stdout, stderr, code := command(t, "import", "--from-aws", "--region", "us-west-2", "--endpoint-url", back.URL, "--requests-per-second", "100", "--data", mine)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	if back.refused() == 0 || back.count("ListRooms") < 2 || back.count("GetRoom") <= 53 {
		t.Errorf("got %d throttled, %d lists, %d gets: want some throttled, two pages, and tries again", back.refused(), back.count("ListRooms"), back.count("GetRoom"))
	}
	if !strings.Contains(stdout, "rooms                   53   0         0") {
		t.Errorf("got\n%s\nwant 53 new rooms", stdout)
	}
	wantLines(t, linesOf(t, mine), want)

	// Again, nothing is got that is there.
	gets := back.count("GetRoom")
	stdout = must(t, "import", "--from-aws", "--region", "us-west-2", "--endpoint-url", back.URL, "--data", mine)
	if got := back.count("GetRoom"); got != gets || !strings.Contains(stdout, "rooms                   0    0         53") {
		t.Errorf("got %d requests and\n%s\nwant none, and 53 passed over", got-gets, stdout)
	}
	stop()
}

// proxy is between the command and a server, and sees what is asked.
type proxy struct {
	URL string

	mu        sync.Mutex
	requests  map[string][]time.Time
	throttled int
	before    func(operation string, n int, w http.ResponseWriter) (answered bool)
}

func newProxy(t *testing.T, at string) *proxy {
	t.Helper()
	target, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{requests: map[string][]time.Time{}}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusTooManyRequests {
			p.mu.Lock()
			p.throttled++
			p.mu.Unlock()
		}
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation := strings.TrimPrefix(r.URL.Path, "/")
		p.mu.Lock()
		p.requests[operation] = append(p.requests[operation], time.Now())
		n, before := len(p.requests[operation]), p.before
		p.mu.Unlock()
		if before != nil && before(operation, n, w) {
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// do has f look at a request, the nth of its operation, before the server does.
func (p *proxy) do(f func(operation string, n int, w http.ResponseWriter) (answered bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// times are when an operation was asked for.
func (p *proxy) times(operation string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests[operation])
}

func (p *proxy) count(operation string) int { return len(p.times(operation)) }

// refused is how often the server said 429.
func (p *proxy) refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.throttled
}

// TestImportFromAWSWhileItChanges: what is deleted or made after the lists is left out
// or taken along, and the account's quota is not used up.
func TestImportFromAWSWhileItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	amazon, mine := filepath.Join(dir, "amazon"), filepath.Join(dir, "mine")
	amazonData(t, amazon, 8)
	client, at, stop := running(t, amazon)
	back := newProxy(t, at)
	room := func(n int) *string {
		return aws.String(fmt.Sprintf("arn:aws:ivschat:us-west-2:123456789012:room/Room%08d", n))
	}
	var late *ivschat.CreateLoggingConfigurationOutput
	back.do(func(operation string, n int, w http.ResponseWriter) bool {
		if operation != "GetRoom" || n != 1 {
			return false
		}
		// All have been listed, and the newest is being got.
		_, err := client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: room(3)})
		if err == nil {
			late, err = client.CreateLoggingConfiguration(t.Context(), &ivschat.CreateLoggingConfigurationInput{
				DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("late")}}})
		}
		if err == nil {
			_, err = client.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: room(1), LoggingConfigurationIdentifiers: []string{*late.Arn}})
		}
		if err != nil {
			t.Error(err)
		}
		return false
	})
	stdout, stderr, code := command(t, "import", "--from-aws", "--region", "us-west-2", "--endpoint-url", back.URL, "--requests-per-second", "10", "--data", mine)
	if code != 0 || !strings.Contains(stderr, "1 rooms were deleted while they were listed.") {
		t.Fatalf("got exit code %d\n%s", code, stderr)
	}
	if !strings.Contains(stdout, "rooms                   7    0         0") || !strings.Contains(stdout, "logging configurations  4    0         0") {
		t.Errorf("got\n%s\nwant 7 rooms and 4 logging configurations", stdout)
	}
	gets := back.times("GetRoom")
	if took, least := gets[len(gets)-1].Sub(gets[0]), time.Duration(len(gets)-1)*100*time.Millisecond*9/10; took < least {
		t.Errorf("%d rooms were got in %s, want %s at least", len(gets), took, least)
	}
	stop()
	wantLines(t, linesOf(t, mine), func() (want []string) {
		for _, line := range linesOf(t, amazon) {
			if strings.Contains(line, `"arn":"arn:aws:ivschat:us-west-2:123456789012:`) {
				want = append(want, millis(line))
			}
		}
		return want
	}())
}

// millis is a line with its times as the API has them.
func millis(line string) string {
	parts := strings.Split(line, `Time":"`)
	for i, part := range parts[1:] {
		text, rest, _ := strings.Cut(part, `"`)
		if moment, err := time.Parse(time.RFC3339Nano, text); err == nil {
			parts[i+1] = moment.Truncate(time.Millisecond).Format(time.RFC3339Nano) + `"` + rest
		}
	}
	return strings.Join(parts, `Time":"`)
}

// TestImportFromAWSInterrupted: what was got before an error is there, and the next
// import goes on behind it. A dry run makes the same requests, and writes nothing.
func TestImportFromAWSInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	amazon, mine := filepath.Join(dir, "amazon"), filepath.Join(dir, "mine")
	want := amazonData(t, amazon, 6)
	_, at, stop := running(t, amazon)
	back := newProxy(t, at)
	args := []string{"import", "--from-aws", "--region", "us-west-2", "--endpoint-url", back.URL, "--requests-per-second", "50", "--data", mine}
	if stdout := must(t, append(args, "--dry-run")...); !strings.Contains(stdout, "rooms                   6    0         0") {
		t.Errorf("a dry run: got\n%s\nwant 6 rooms", stdout)
	}
	if _, err := os.Stat(mine); err == nil {
		t.Error("a dry run made the data directory")
	}
	back.do(func(operation string, n int, w http.ResponseWriter) bool {
		switch {
		case operation == "GetRoom" && n == 6+4: // the fourth after the dry run
			w.Header().Set("x-amzn-ErrorType", "AccessDeniedException")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"exceptionMessage":"not you"}`)
			return true
		case operation == "ListRooms" && n == 2: // tried again
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	stdout, stderr, code := command(t, args...)
	if code != 1 || !strings.Contains(stderr, "AccessDeniedException") || !strings.Contains(stderr, "to go on, import again") || !strings.Contains(stdout, "rooms                   3    0         0") {
		t.Errorf("got exit code %d\n%s%s\nwant 1, the error and 3 rooms", code, stdout, stderr)
	}
	before := back.count("GetRoom")
	if stdout := must(t, args...); !strings.Contains(stdout, "rooms                   3    0         3") || back.count("GetRoom")-before != 3 {
		t.Errorf("got %d requests and\n%s\nwant 3 more rooms", back.count("GetRoom")-before, stdout)
	}
	wantLines(t, linesOf(t, mine), want)
	if stdout := must(t, append(args, "--replace")...); !strings.Contains(stdout, "rooms                   0    6         0") {
		t.Errorf("got\n%s\nwant 6 replaced", stdout)
	}
	stop()
}

// TestImportFromAWSMeansAmazon: the variables that lead all other tools to a Parlor do
// not lead an import back to it.
func TestImportFromAWSMeansAmazon(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL_IVSCHAT", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "http://127.0.0.1:4870")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "k")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	client, err := (&amazonFlags{Region: "eu-west-1"}).client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o := client.Options(); o.BaseEndpoint != nil || o.Region != "eu-west-1" {
		t.Errorf("got the endpoint %s in %s, want Amazon's own in eu-west-1", aws.ToString(o.BaseEndpoint), o.Region)
	}
}
