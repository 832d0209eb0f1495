package parlortest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/chatlog/chatlogtest"
)

// Five hundred messages a second: a connection may send ten, a room have a hundred.
const (
	crashLogRooms   = 7
	crashLogSenders = 10
	crashLogPause   = 118 * time.Millisecond
)

// TestChatLogCrash kills the real command at random moments while rooms that log to all
// three kinds of destination are full of talk, and starts it again on its directory: in the
// end everything that a client saw is at every destination, once or more; and what one process put
// there is in the order in which clients saw it. It runs a few rounds, or for the time
// that PARLOR_SOAK says.
func TestChatLogCrash(t *testing.T) {
	t.Parallel()
	soak := 4 * time.Second
	if said := os.Getenv("PARLOR_SOAK"); said != "" {
		var err error
		if soak, err = time.ParseDuration(said); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a := chatlogtest.Start(t)
	a.CreateBucket("chat")
	a.CreateLogGroup("chat")
	a.CreateDeliveryStream("chat")
	for _, e := range []*chatlogtest.Endpoint{a.S3, a.Logs, a.Firehose} {
		e.Fail(chatlogtest.Slow(50 * time.Millisecond)) // so that kills also come between a put and its answer
	}
	rounds := 0
	start := func() *process {
		p, _ := run(t, data, func(c *exec.Cmd) {
			c.Args = append(c.Args, "--destinations", "aws", "--chatlog-interval", "100ms", "--chatlog-s3-interval", "200ms")
			c.Env = awsEnv(t, a, fmt.Sprintf("AWS_SDK_UA_APP_ID=run-%d", rounds))
		})
		return p
	}

	server := start()
	client, _ := server.client(t)
	var configurations []string
	for kind := range destinationKinds {
		configurations = append(configurations, newLogging(t, client, kind, "chat"))
	}
	rooms := make([]*loggedRoom, crashLogRooms)
	for i := range rooms {
		arn := newRoom(t, client, fmt.Sprint("room-", i))
		setLogging(t, client, arn, configurations...)
		rooms[i] = &loggedRoom{t: t, arn: arn, saw: map[string]int{}}
	}
	var talked time.Duration
	for began := time.Now(); rounds < 4 || time.Since(began) < soak; rounds++ {
		if rounds > 0 {
			server = start()
		}
		talk := time.Duration(400+random.IntN(800)) * time.Millisecond // the moment is the test
		talkUntilKilled(t, server, rooms, talk)
		talked += talk
		if t.Failed() {
			t.Fatalf("in round %d; the server said:\n%s", rounds, server.output())
		}
	}
	server = start()

	seen := 0
	for _, room := range rooms {
		seen += len(room.saw)
	}
	if rate := float64(seen) / talked.Seconds(); rate < 200 {
		t.Errorf("only %.0f messages a second: too few to mean something", rate)
	}
	logged := awaitLogged(t, a, rooms)
	for kind, l := range logged {
		l.check(t, kind, rooms)
	}
	t.Logf("%d kills; clients saw %d messages, %.0f a second; all of them at S3, CloudWatch Logs and Firehose", rounds, seen, float64(seen)/talked.Seconds())
	server.kill()
}

// loggedRoom is a room and what one of its clients saw.
type loggedRoom struct {
	t   testing.TB
	arn string

	saw map[string]int // message ids, numbered as they came
}

// talkUntilKilled fills the rooms, lets everybody talk for a time, and kills the server.
func talkUntilKilled(t testing.TB, server *process, rooms []*loggedRoom, talk time.Duration) {
	t.Helper()
	client := newAPI(t, server.address)
	var members []*member
	var listening, talking sync.WaitGroup
	over := make(chan struct{})
	defer func() {
		for _, m := range members {
			m.conn.Close()
		}
		listening.Wait()
	}()
	for _, room := range rooms {
		for i := range crashLogSenders {
			m, err := join(client, server.address, room.arn, i)
			if err != nil {
				t.Error(err)
				return
			}
			members = append(members, m)
			listening.Go(func() {
				if i > 0 {
					io.Copy(io.Discard, m.in)
					return
				}
				room.listen(m)
			})
		}
	}
	var sent atomic.Int64
	for i, m := range members {
		talking.Go(func() {
			time.Sleep(crashLogPause * time.Duration(i) / time.Duration(len(members)))
			for ticker := time.NewTicker(crashLogPause); ; {
				select {
				case <-over:
					ticker.Stop()
					return
				case <-ticker.C:
				}
				text := fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","Content":"message %d"}`, sent.Add(1))
				if ws.WriteFrame(m.conn, ws.MaskFrameInPlace(ws.NewTextFrame(text))) != nil {
					return // killed
				}
			}
		})
	}
	time.Sleep(talk)
	server.kill() // while they talk
	close(over)
	talking.Wait()
}

// listen notes the messages that a connection brings, until it breaks.
func (r *loggedRoom) listen(m *member) {
	for {
		head, err := ws.ReadHeader(m.in)
		if err != nil {
			return
		}
		text := make([]byte, min(head.Length, 1<<16))
		if _, err := io.ReadFull(m.in, text); err != nil {
			return
		}
		if head.OpCode != ws.OpText {
			continue
		}
		var got frame
		if err := json.Unmarshal(text, &got); err != nil || got.Type != "MESSAGE" {
			r.t.Errorf("got %s", text)
			continue
		}
		if _, twice := r.saw[got.ID]; twice {
			r.t.Errorf("saw %s twice", got.ID)
		}
		r.saw[got.ID] = len(r.saw)
	}
}

// loggedRun is what one process put to one destination for one room: in one object, or
// in a stream.
type loggedRun struct {
	room, by string
	ids      []string
}

// logged is what is at one kind of destination.
type logged struct {
	runs   []loggedRun
	counts map[string]int // by id
}

func (l *logged) add(t testing.TB, room, by, unit, line string) {
	var record struct {
		Type    string
		Payload frame
	}
	if err := json.Unmarshal([]byte(line), &record); err != nil || record.Type != "MESSAGE" {
		t.Fatalf("line %q: %v", line, err)
	}
	l.counts[record.Payload.ID]++
	if n := len(l.runs); n == 0 || l.runs[n-1].room != room || l.runs[n-1].by != by+unit {
		l.runs = append(l.runs, loggedRun{room: room, by: by + unit})
	}
	last := &l.runs[len(l.runs)-1]
	last.ids = append(last.ids, record.Payload.ID)
}

// readLogged reads all destinations.
func readLogged(t testing.TB, a *chatlogtest.AWS, rooms []*loggedRoom) map[string]*logged {
	t.Helper()
	s3, logs, firehose := &logged{counts: map[string]int{}}, &logged{counts: map[string]int{}}, &logged{counts: map[string]int{}}
	for _, o := range a.Objects("chat") {
		for _, line := range unzipLines(t, o.Body) {
			s3.add(t, "", o.By, o.Key, line)
		}
	}
	for _, room := range rooms {
		for _, e := range a.Events("chat", "aws/IVSChatLogs/1.0/room_"+roomID(room.arn)) {
			logs.add(t, room.arn, e.By, "", e.Message)
		}
	}
	for _, r := range a.Records("chat") {
		firehose.add(t, "", r.By, "", string(r.Data))
	}
	return map[string]*logged{"S3": s3, "CloudWatch Logs": logs, "Firehose": firehose}
}

// awaitLogged waits until everything that was seen is everywhere.
func awaitLogged(t testing.TB, a *chatlogtest.AWS, rooms []*loggedRoom) map[string]*logged {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		all := readLogged(t, a, rooms)
		missing := 0
		for _, l := range all {
			for _, room := range rooms {
				for id := range room.saw {
					if l.counts[id] == 0 {
						missing++
					}
				}
			}
		}
		if missing == 0 || time.Now().After(deadline) {
			return all
		}
	}
}

// check compares what is at a destination with what was seen.
func (l *logged) check(t *testing.T, kind string, rooms []*loggedRoom) {
	t.Helper()
	place := map[string]int{} // in its room, from 1
	room := map[string]*loggedRoom{}
	missing, twice, unseen := 0, 0, 0
	for _, r := range rooms {
		for id, n := range r.saw {
			place[id], room[id] = n+1, r
			if l.counts[id] == 0 {
				missing++
			}
		}
	}
	for id, n := range l.counts {
		twice += n - 1
		if place[id] == 0 {
			unseen++
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d messages that clients saw are missing", kind, missing)
	}
	wrong := 0
	for _, run := range l.runs {
		last := map[*loggedRoom]int{}
		for _, id := range run.ids {
			if place[id] == 0 {
				continue
			}
			if place[id] <= last[room[id]] {
				wrong++
			}
			last[room[id]] = place[id]
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d records come after one that was seen later", kind, wrong)
	}
	t.Logf("%s: %d records, %d of them again, %d that nobody lived to see", kind, len(l.counts)+twice, twice, unseen)
}
