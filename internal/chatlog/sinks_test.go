package chatlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parlor/internal/chat"
	"parlor/internal/chatlog/chatlogtest"
)

const (
	testAccount = "123456789012"
	testRegion  = "eu-west-1"
)

// startAWS starts the services, and has the SDK's default chain lead there.
func startAWS(t *testing.T) *chatlogtest.AWS {
	t.Helper()
	a := chatlogtest.Start(t)
	setAWS(t, a)
	return a
}

func setAWS(t testing.TB, a *chatlogtest.AWS) {
	none := t.TempDir() + "/none"
	for _, v := range append(a.Env(), "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none, "AWS_PROFILE=", "AWS_MAX_ATTEMPTS=1",
		"AWS_REGION=us-east-2", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1") {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

func to(kind chat.DestinationKind, name string) destination {
	return destination{Configuration: "arn:aws:ivschat:" + testRegion + ":" + testAccount + ":logging-configuration/AbCdEf123456",
		Account: testAccount, Region: testRegion, Kind: kind, Name: name}
}

// message is a record whose frame has a number to tell it by.
func message(room string, n int, at time.Time) *record {
	return &record{room: room, accepted: at.UnixNano(), kind: chat.PublishMessage, frame: fmt.Appendf(nil, `{"Type":"MESSAGE","N":%d}`, n)}
}

// heavy has a record's frame have a size.
func heavy(r *record, size int) *record {
	r.frame = append(r.frame[:len(r.frame)-1], `,"Pad":"`...)
	r.frame = append(append(r.frame, strings.Repeat("x", size-len(r.frame)-2)...), `"}`...)
	return r
}

func messages(room string, n int, at time.Time) []*record {
	all := make([]*record, n)
	for i := range all {
		all[i] = message(room, i, at.Add(time.Duration(i)*time.Millisecond))
	}
	return all
}

// numberOf reads a line of a destination and returns the number of its record.
func numberOf(t testing.TB, line string) int {
	t.Helper()
	var r struct{ Payload struct{ N int } }
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return r.Payload.N
}

func numbers(t testing.TB, lines []string) []int {
	t.Helper()
	var all []int
	for _, line := range lines {
		all = append(all, numberOf(t, line))
	}
	return all
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func linesOf(records []*record) []string {
	var lines []string
	for _, r := range records {
		lines = append(lines, string(r.line()))
	}
	return lines
}

// unzip returns the lines of an object.
func unzip(t testing.TB, object []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("an object does not end its last line")
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func events(a *chatlogtest.AWS, group, room string) []string {
	var lines []string
	for _, e := range a.Events(group, "aws/IVSChatLogs/1.0/room_"+room) {
		lines = append(lines, e.Message)
	}
	return lines
}

func delivered(t testing.TB, a *chatlogtest.AWS, stream string) []string {
	t.Helper()
	var lines []string
	for _, r := range a.Records(stream) {
		line, ok := strings.CutSuffix(string(r.Data), "\n")
		if !ok || strings.Contains(line, "\n") {
			t.Errorf("got %q, want one line", r.Data)
		}
		lines = append(lines, line)
	}
	return lines
}

func putAll(t testing.TB, s sink, records []*record) {
	t.Helper()
	rest, err := s.put(t.Context(), records)
	if err != nil || len(rest) > 0 {
		t.Fatalf("got %d left, %v", len(rest), err)
	}
}

// IVS: chat-logging (event payload)
func TestRecordLine(t *testing.T) {
	at := time.Date(2023, 1, 5, 15, 33, 32, 894_999_999, time.FixedZone("", 3600))
	payload := `{"Type":"MESSAGE","Id":"TwZQNK0e8YnU","RequestId":"8fe65e61","Attributes":null,"Content":"<é>"}`
	for kind, want := range map[chat.PublicationKind]string{
		chat.PublishMessage:    `{"event_timestamp":"2023-01-05T14:33:32.894Z","type":"MESSAGE","payload":` + payload + `,"version":"1.0"}`,
		chat.PublishEvent:      `{"event_timestamp":"2023-01-05T14:33:32.894Z","type":"EVENT","payload":` + payload + `,"version":"1.0"}`,
		chat.PublishDisconnect: `{"event_timestamp":"2023-01-05T14:33:32.894Z","type":"EVENT","payload":` + payload + `,"version":"1.0"}`,
	} {
		r := &record{room: "x", accepted: at.UnixNano(), kind: kind, frame: []byte(payload)}
		if got := string(r.line()); got != want {
			t.Errorf("kind %d:\n got %s\nwant %s", kind, got, want)
		}
	}
}

// IVS: chat-logging (S3)
func TestObjectKey(t *testing.T) {
	at := time.Date(2023, 1, 5, 14, 3, 59, 0, time.UTC)
	records := messages("AOkXdrUHaDMs", 3, at)
	got := objectKey(to(chat.DestinationS3, "chat"), records)
	want := regexp.MustCompile(`^AWSLogs/123456789012/IVSChatLogs/1\.0/eu-west-1/room_AOkXdrUHaDMs/2023/01/05/14/` +
		`123456789012_IVSChatLogs_1\.0_eu-west-1_room_AOkXdrUHaDMs_202301051403_[0-9a-f]{16}\.log\.gz$`)
	if !want.MatchString(got) {
		t.Errorf("got %s", got)
	}
	if again := objectKey(to(chat.DestinationS3, "chat"), messages("AOkXdrUHaDMs", 3, at)); again != got {
		t.Errorf("the same batch again: got %s, want %s", again, got)
	}
	for what, other := range map[string][]*record{"more": messages("AOkXdrUHaDMs", 4, at), "later": messages("AOkXdrUHaDMs", 3, at.Add(1))} {
		if key := objectKey(to(chat.DestinationS3, "chat"), other); key == got {
			t.Errorf("another batch (%s) has the same key", what)
		}
	}
}

func TestS3(t *testing.T) {
	a := startAWS(t)
	a.CreateBucket("chat.logs-1")
	s := newSink(to(chat.DestinationS3, "chat.logs-1"))
	hour := time.Date(2026, 1, 2, 3, 59, 59, 990_000_000, time.UTC)
	room := messages("AOkXdrUHaDMs", 20, hour) // ten in each hour
	other := messages("b-C9", 5, hour)
	putAll(t, s, slices.Concat(room[:7], other, room[7:]))
	objects := a.Objects("chat.logs-1")
	start := "AWSLogs/123456789012/IVSChatLogs/1.0/eu-west-1/room_"
	want := map[string][]*record{
		start + "AOkXdrUHaDMs/2026/01/02/03/123456789012_IVSChatLogs_1.0_eu-west-1_room_AOkXdrUHaDMs_202601020359_": room[:10],
		start + "AOkXdrUHaDMs/2026/01/02/04/123456789012_IVSChatLogs_1.0_eu-west-1_room_AOkXdrUHaDMs_202601020400_": room[10:],
		start + "b-C9/2026/01/02/03/123456789012_IVSChatLogs_1.0_eu-west-1_room_b-C9_202601020359_":                 other,
	}
	if len(objects) != len(want) {
		t.Errorf("got %d objects, want one for each room and hour", len(objects))
	}
	for _, o := range objects {
		prefix := o.Key[:strings.LastIndex(o.Key, "_")+1]
		if got := unzip(t, o.Body); !slices.Equal(got, linesOf(want[prefix])) {
			t.Errorf("%s: got %q", o.Key, got)
		}
	}
	putAll(t, s, room)
	if got := len(a.Objects("chat.logs-1")); got != len(objects) {
		t.Errorf("the same records put again: got %d objects, want %d", got, len(objects))
	}
	putAll(t, s, nil)
	if got := a.S3.Connections(); got > 10 {
		t.Errorf("got %d connections for %d puts: they are not used again", got, a.S3.Calls("PUT"))
	}
}

// newSink is the sink of a destination at AWS.
func newSink(to destination) sink {
	r := &Recorder{aws: &clients{}}
	return r.sink(to)
}

func TestLogs(t *testing.T) {
	a := startAWS(t)
	a.CreateLogGroup("/chat/logs")
	s := newSink(to(chat.DestinationCloudWatchLogs, "/chat/logs"))
	records := messages("AOkXdrUHaDMs", 30, time.Now())
	putAll(t, s, slices.Concat(records[:10], messages("other", 3, time.Now()), records[10:]))
	got := a.Events("/chat/logs", "aws/IVSChatLogs/1.0/room_AOkXdrUHaDMs")
	if len(got) != len(records) {
		t.Fatalf("got %d events, want %d", len(got), len(records))
	}
	for i, e := range got {
		if e.Message != string(records[i].line()) || e.Timestamp != records[i].time().UnixMilli() || e.Region != testRegion {
			t.Errorf("event %d: got %+v", i, e)
		}
	}
	if got := events(a, "/chat/logs", "other"); len(got) != 3 {
		t.Errorf("the other room: got %d events, want 3", len(got))
	}
	calls := a.Logs.Calls("PutLogEvents")
	putAll(t, s, nil)
	if got := a.Logs.Calls("PutLogEvents"); got != calls {
		t.Errorf("no records: got a call")
	}
	for i := range 20 {
		putAll(t, s, messages("AOkXdrUHaDMs", 1, time.Now().Add(time.Duration(i)*time.Millisecond)))
	}
	if got := a.Logs.Connections(); got > 10 {
		t.Errorf("got %d connections for %d calls: they are not used again", got, a.Logs.Calls("PutLogEvents"))
	}
}

// AWS: AmazonCloudWatchLogs PutLogEvents
func TestLogsLimits(t *testing.T) {
	now := time.Now()
	long := []*record{}
	for i := range 60 { // 60 hours
		long = append(long, message("room", i, now.Add(time.Duration(i-60)*time.Hour)))
	}
	wide := messages("room", 300, now) // 3 MB
	for _, r := range wide {
		heavy(r, 10_000)
	}
	back := messages("room", 50, now) // a clock that goes back
	for i, r := range back {
		r.accepted -= int64(i%10) * int64(time.Hour)
	}
	for name, records := range map[string][]*record{
		"many events":       messages("room", 25_000, now),
		"many bytes":        wide,
		"a long span":       long,
		"times that fall":   back,
		"of the same time":  {message("room", 0, now), message("room", 1, now)},
		"exactly as many":   messages("room", maxEvents, now),
		"exactly a day":     {message("room", 0, now.Add(-24*time.Hour)), message("room", 1, now)},
		"one more than fit": messages("room", maxEvents+1, now),
	} {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			a.CreateLogGroup("g")
			putAll(t, newSink(to(chat.DestinationCloudWatchLogs, "g")), records)
			if got := numbers(t, events(a, "g", "room")); !slices.Equal(got, upTo(len(records))) {
				t.Errorf("got %d events, want %d in their order", len(got), len(records))
			}
		})
	}
}

func TestLogsUnwanted(t *testing.T) {
	a := startAWS(t)
	a.CreateLogGroup("g")
	now := time.Now()
	s := newSink(to(chat.DestinationCloudWatchLogs, "g"))
	old, fresh, early := now.Add(-15*24*time.Hour), now, now.Add(3*time.Hour)
	for name, c := range map[string]struct {
		at       []time.Time
		unwanted int
	}{
		"too old":         {[]time.Time{old, fresh}, 1},
		"of a fast clock": {[]time.Time{fresh, early}, 0},
		"both":            {[]time.Time{old, old, fresh, fresh, early}, 2},
		"all too old":     {[]time.Time{old, old}, 2},
		"all early":       {[]time.Time{early}, 0},
		"none":            {[]time.Time{fresh}, 0},
		"over many calls": {append(slices.Repeat([]time.Time{old}, maxEvents+10), fresh), maxEvents + 10},
	} {
		t.Run(name, func(t *testing.T) {
			room := strings.ReplaceAll(name, " ", "-")
			var records []*record
			for i, at := range c.at {
				records = append(records, message(room, i, at))
			}
			rest, err := s.put(t.Context(), records)
			if len(rest) > 0 {
				t.Errorf("got %d left, want none: they would never be taken", len(rest))
			}
			unwantedCount, failure := unwantedOf(err)
			if unwantedCount != c.unwanted || failure != nil {
				t.Errorf("got %v, want %d unwanted", err, c.unwanted)
			}
			if got, want := len(events(a, "g", room)), len(c.at)-c.unwanted; got != want {
				t.Errorf("got %d events, want %d", got, want)
			}
		})
	}
}

// TestLogsTooNew: where AWS's clock is that far behind ours, what is refused is counted.
func TestLogsTooNew(t *testing.T) {
	a := startAWS(t)
	a.CreateLogGroup("g")
	g := newSink(to(chat.DestinationCloudWatchLogs, "g")).(*logGroup)
	client, err := g.aws.logs(testRegion)
	if err != nil {
		t.Fatal(err)
	}
	early := time.Now().Add(3 * time.Hour)
	records := []*record{message("room", 0, time.Now()), message("room", 1, early), message("room", 2, early)}
	if refused, err := g.putEvents(t.Context(), client, "room", eventBatch(records, early)); refused != 2 || err != nil {
		t.Errorf("got %d refused, %v", refused, err)
	}
}

// TestLogsUnwantedBesideFailure: what one room loses is counted also when another fails.
func TestLogsUnwantedBesideFailure(t *testing.T) {
	a := startAWS(t)
	a.CreateLogGroup("g")
	a.Logs.Fail(func(w http.ResponseWriter, _ string, body []byte) bool {
		return bytes.Contains(body, []byte("room_bad\"")) && a.Logs.Answer(400, "InvalidParameterException")(w, "", nil)
	})
	records := []*record{message("bad", 0, time.Now()), message("old", 1, time.Now().Add(-20*24*time.Hour)), message("good", 2, time.Now())}
	rest, err := newSink(to(chat.DestinationCloudWatchLogs, "g")).put(t.Context(), records)
	if !slices.Equal(rest, records[:1]) {
		t.Errorf("got %d left, want the room's that failed", len(rest))
	}
	if count, failure := unwantedOf(err); count != 1 || failure == nil {
		t.Errorf("got %v (%d unwanted), want 1 unwanted and the failure", err, count)
	}
	if len(events(a, "g", "good")) != 1 {
		t.Errorf("the room that neither fails nor is old is not there")
	}
}

func TestFirehose(t *testing.T) {
	now := time.Now()
	wide := messages("room", 700, now)
	for _, r := range wide {
		heavy(r, 15_000)
	}
	for name, records := range map[string][]*record{
		"none":         nil,
		"one":          messages("room", 1, now),
		"500":          messages("room", 500, now),
		"501":          messages("room", 501, now),
		"many records": messages("room", 2345, now),
		"many bytes":   wide,
	} {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			a.CreateDeliveryStream("s")
			putAll(t, newSink(to(chat.DestinationFirehose, "s")), records)
			if got := delivered(t, a, "s"); !slices.Equal(got, linesOf(records)) {
				t.Errorf("got %d records, want %d in their order", len(got), len(records))
			}
		})
	}
}

func TestFirehosePartialFailures(t *testing.T) {
	for name, refused := range map[string]func(int) bool{
		"half":      func(i int) bool { return i%2 == 1 },
		"the first": func(i int) bool { return i == 0 },
		"the last":  func(i int) bool { return i == 499 },
	} {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			a.CreateDeliveryStream("s")
			s := newSink(to(chat.DestinationFirehose, "s"))
			records := messages("room", 1200, time.Now())
			a.Firehose.Fail(a.Refusing(refused))
			rest, err := s.put(t.Context(), records)
			if err == nil || !strings.Contains(err.Error(), "ServiceUnavailableException") {
				t.Errorf("got %v, want what Firehose says", err)
			}
			var want []*record
			for i, r := range records {
				if i >= 500 || refused(i) {
					want = append(want, r)
				}
			}
			if !slices.Equal(rest, want) {
				t.Fatalf("got %d left, want %d in their order", len(rest), len(want))
			}
			a.Firehose.Fail(nil)
			putAll(t, s, rest)
			got := numbers(t, delivered(t, a, "s"))
			// What came to the same call after what was refused stays before it.
			if slices.Sort(got); !slices.Equal(got, upTo(1200)) {
				t.Errorf("got %d records, want each once", len(got))
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		a := startAWS(t)
		a.CreateDeliveryStream("s")
		a.Firehose.Fail(a.Refusing(func(int) bool { return true }))
		records := messages("room", 600, time.Now())
		rest, err := newSink(to(chat.DestinationFirehose, "s")).put(t.Context(), records)
		if err == nil || !slices.Equal(rest, records) {
			t.Errorf("got %d left, %v", len(rest), err)
		}
	})
	// Answers that the service does not give, but what stands for it might.
	for name, answer := range map[string]string{
		"a count without codes":  `{"FailedPutCount":2,"RequestResponses":[{},{},{}]}`,
		"a count alone":          `{"FailedPutCount":1,"RequestResponses":[]}`,
		"more answers than sent": `{"FailedPutCount":1,"RequestResponses":[{},{},{},{},{"ErrorCode":"x"}]}`,
		"codes without a count":  `{"FailedPutCount":0,"RequestResponses":[{"ErrorCode":"x"},{"ErrorCode":"x"},{"ErrorCode":"x"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			a.Firehose.Fail(func(w http.ResponseWriter, _ string, _ []byte) bool {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				io.WriteString(w, answer)
				return true
			})
			records := messages("room", 3, time.Now())
			rest, err := newSink(to(chat.DestinationFirehose, "s")).put(t.Context(), records)
			if err == nil || !slices.Equal(rest, records) {
				t.Errorf("got %d left, %v; want all, rather than that one is lost", len(rest), err)
			}
		})
	}
}

// sinkCase is a kind of destination with what a test asks of it.
type sinkCase struct {
	kind     chat.DestinationKind
	endpoint func(*chatlogtest.AWS) *chatlogtest.Endpoint
	create   func(*chatlogtest.AWS)
	lines    func(testing.TB, *chatlogtest.AWS, string) []string // of a room
}

var sinkCases = map[string]sinkCase{
	"S3": {chat.DestinationS3, func(a *chatlogtest.AWS) *chatlogtest.Endpoint { return a.S3 }, func(a *chatlogtest.AWS) { a.CreateBucket("there") },
		func(t testing.TB, a *chatlogtest.AWS, room string) (lines []string) {
			for _, o := range a.Objects("there") {
				if strings.Contains(o.Key, "/room_"+room+"/") {
					lines = append(lines, unzip(t, o.Body)...)
				}
			}
			return lines
		}},
	"CloudWatch Logs": {chat.DestinationCloudWatchLogs, func(a *chatlogtest.AWS) *chatlogtest.Endpoint { return a.Logs }, func(a *chatlogtest.AWS) { a.CreateLogGroup("there") },
		func(_ testing.TB, a *chatlogtest.AWS, room string) []string { return events(a, "there", room) }},
	"Firehose": {chat.DestinationFirehose, func(a *chatlogtest.AWS) *chatlogtest.Endpoint { return a.Firehose }, func(a *chatlogtest.AWS) { a.CreateDeliveryStream("there") },
		func(t testing.TB, a *chatlogtest.AWS, room string) []string { return delivered(t, a, "there") }},
}

// TestSinkFailures: nothing is lost, whatever the failure, and it is known for what it is.
func TestSinkFailures(t *testing.T) {
	for name, c := range sinkCases {
		for what, f := range map[string]struct {
			fault func(*chatlogtest.Endpoint) chatlogtest.Fault
			class string
		}{
			"denied":         {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(403, "AccessDenied") }, "denied"},
			"denied by name": {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(400, "AccessDeniedException") }, "denied"},
			"unknown key":    {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(400, "UnrecognizedClientException") }, "denied"},
			"expired":        {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(400, "ExpiredTokenException") }, "denied"},
			"throttled":      {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(400, "ThrottlingException") }, "other"},
			"slow down":      {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(503, "SlowDown") }, "other"},
			"hangs up":       {func(*chatlogtest.Endpoint) chatlogtest.Fault { return chatlogtest.HangUp }, "other"},
			"fails":          {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(500, "InternalFailure") }, "other"},
			"elsewhere":      {func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(301, "PermanentRedirect") }, "other"},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				a := startAWS(t)
				c.create(a)
				s := newSink(to(c.kind, "there"))
				records := messages("room", 10, time.Now())
				c.endpoint(a).Fail(f.fault(c.endpoint(a)))
				began := time.Now()
				rest, err := s.put(t.Context(), records)
				if err == nil || !slices.Equal(rest, records) {
					t.Fatalf("got %d left, %v; want all", len(rest), err)
				}
				if got := classOf(t, err); got != f.class {
					t.Errorf("counted as %s, want %s: %v", got, f.class, err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				c.endpoint(a).Fail(nil)
				putAll(t, s, rest)
				if got := numbers(t, c.lines(t, a, "room")); !slices.Equal(got, upTo(10)) {
					t.Errorf("after the failure: got %v", got)
				}
			})
		}
		t.Run(name+"/gone", func(t *testing.T) {
			a := startAWS(t)
			s := newSink(to(c.kind, "there"))
			records := messages("room", 10, time.Now())
			rest, err := s.put(t.Context(), records)
			if err == nil || !slices.Equal(rest, records) {
				t.Fatalf("got %d left, %v; want all", len(rest), err)
			}
			if got := classOf(t, err); got != "not found" {
				t.Errorf("counted as %s: %v", got, err)
			}
			c.create(a)
			putAll(t, s, rest)
			if got := numbers(t, c.lines(t, a, "room")); !slices.Equal(got, upTo(10)) {
				t.Errorf("when it is there: got %v", got)
			}
		})
		t.Run(name+"/wrong secret", func(t *testing.T) {
			a := startAWS(t)
			c.create(a)
			t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
			_, err := newSink(to(c.kind, "there")).put(t.Context(), messages("room", 1, time.Now()))
			if got := classOf(t, err); got != "denied" {
				t.Errorf("counted as %s: %v", got, err)
			}
		})
		t.Run(name+"/slow", func(t *testing.T) {
			a := startAWS(t)
			c.create(a)
			c.endpoint(a).Fail(chatlogtest.Slow(300 * time.Millisecond))
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			records := messages("room", 10, time.Now())
			rest, err := newSink(to(c.kind, "there")).put(ctx, records)
			if !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(rest, records) {
				t.Errorf("got %d left, %v", len(rest), err)
			}
		})
	}
}

// TestSDKTriesAgain: what passes at once is no failure, and what does not does not take
// the time of a put.
func TestSDKTriesAgain(t *testing.T) {
	for name, c := range sinkCases {
		t.Run(name, func(t *testing.T) {
			a := startAWS(t)
			t.Setenv("AWS_MAX_ATTEMPTS", "")
			c.create(a)
			e := c.endpoint(a)
			var failures atomic.Int64
			e.Fail(func(w http.ResponseWriter, operation string, body []byte) bool {
				return failures.Add(1) == 1 && e.Answer(503, "SlowDown")(w, operation, body)
			})
			s := newSink(to(c.kind, "there"))
			records := messages("room", 1, time.Now())
			putAll(t, s, records)
			e.Fail(e.Answer(503, "SlowDown"))
			began := time.Now()
			if rest, err := s.put(t.Context(), records); err == nil || len(rest) != 1 {
				t.Errorf("got %d left, %v", len(rest), err)
			}
			if took := time.Since(began); took > putTimeout/2 {
				t.Errorf("took %v of the %v of a put", took, putTimeout)
			}
		})
	}
}

// TestSinkOneRoomFails: a room that is refused keeps its order and nobody else waits.
func TestSinkOneRoomFails(t *testing.T) {
	for _, name := range []string{"S3", "CloudWatch Logs"} {
		t.Run(name, func(t *testing.T) {
			c := sinkCases[name]
			a := startAWS(t)
			c.create(a)
			var refuse atomic.Bool
			refuse.Store(true)
			e := c.endpoint(a)
			e.Fail(func(w http.ResponseWriter, operation string, body []byte) bool {
				bad := bytes.Contains(body, []byte("room_bad\""))
				if operation == http.MethodPut {
					bad = strings.Contains(strings.Join(unzip(t, body), ""), `"N":1000`)
				}
				return bad && refuse.Load() && e.Answer(403, "AccessDenied")(w, operation, body)
			})
			var records, bad []*record
			now := time.Now()
			for i := range 40 {
				at := now.Add(time.Duration(i) * time.Millisecond)
				r := message("bad", 1000+i, at)
				bad = append(bad, r)
				records = append(records, r, message("good", i, at), message("fine", i, at))
			}
			s := newSink(to(c.kind, "there"))
			rest, err := s.put(t.Context(), records)
			if err == nil || !slices.Equal(rest, bad) {
				t.Fatalf("got %d left, %v; want the room's that fails", len(rest), err)
			}
			for _, room := range []string{"good", "fine"} {
				if got := numbers(t, c.lines(t, a, room)); !slices.Equal(got, upTo(40)) {
					t.Errorf("room %s: got %v", room, got)
				}
			}
			refuse.Store(false)
			putAll(t, s, rest)
			if got := c.lines(t, a, "bad"); !slices.Equal(got, linesOf(bad)) {
				t.Errorf("the room that failed: got %q", got)
			}
		})
	}
}

// TestSinkDown: of many rooms not each is tried at a destination that is not there,
// and what is said of it is short.
func TestSinkDown(t *testing.T) {
	for name, c := range sinkCases {
		for what, fault := range map[string]func(*chatlogtest.Endpoint) chatlogtest.Fault{
			"hangs up":  func(*chatlogtest.Endpoint) chatlogtest.Fault { return chatlogtest.HangUp },
			"throttled": func(e *chatlogtest.Endpoint) chatlogtest.Fault { return e.Answer(503, "SlowDown") },
			"gone":      nil,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				a := startAWS(t)
				if fault != nil {
					c.create(a)
					c.endpoint(a).Fail(fault(c.endpoint(a)))
				}
				var records []*record
				for i := range 500 {
					records = append(records, message(fmt.Sprint("room", i), i, time.Now()))
				}
				began := time.Now()
				rest, err := newSink(to(c.kind, "there")).put(t.Context(), records)
				if err == nil || !slices.Equal(rest, records) {
					t.Fatalf("got %d left, %v; want all", len(rest), err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				if len(err.Error()) > 2000 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
				calls := 0
				for _, operation := range []string{"PUT", "PutLogEvents", "CreateLogStream", "PutRecordBatch"} {
					calls += c.endpoint(a).Calls(operation)
				}
				if calls > 50 {
					t.Errorf("got %d calls", calls)
				}
			})
		}
	}
}
