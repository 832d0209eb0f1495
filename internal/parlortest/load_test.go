package parlortest_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// TestLoadThousandConnections: one room of 1,000 connections at 20 messages a second.
// Nothing is lost, every connection sees the same frames in the same order, nobody is
// dropped. How fast that was is told, not judged.
func TestLoadThousandConnections(t *testing.T) {
	if underRace() {
		t.Skip("the race detector would be what is measured; make test runs this without it")
	}
	const connections, perSecond, seconds = 1000, 20, 5
	c := gather(t, connections, perSecond)
	before := c.server.cpu(t)
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for range perSecond * seconds {
		<-ticker.C
		c.say()
	}
	c.finish()
	t.Logf("%d deliveries; %v; the server used %.1f µs of processor time for each", c.deliveries(), c.latencies(),
		float64((c.server.cpu(t)-before).Microseconds())/float64(c.deliveries()))
}

// BenchmarkFanout2000 has one room of 2,000 connections at 50 messages a second; an
// iteration is a message. The server is a process of its own.
func BenchmarkFanout2000(b *testing.B) {
	const connections, perSecond = 2000, 50
	c := gather(b, connections, perSecond)
	before := c.server.cpu(b)
	begun := time.Now()
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for b.Loop() {
		<-ticker.C
		c.say()
	}
	c.finish()
	elapsed := time.Since(begun)
	deliveries := float64(c.deliveries())
	b.ReportMetric(float64((c.server.cpu(b)-before).Microseconds())/deliveries, "CPU-µs/delivery")
	b.ReportMetric(deliveries/elapsed.Seconds(), "deliveries/s")
	l := c.latencies()
	b.ReportMetric(float64(l.p50.Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(l.p99.Microseconds())/1000, "p99-ms")
}

// BenchmarkIdle5000 holds 5,000 connections that say nothing, and measures what the
// server has in memory for them 10 s after the last came.
func BenchmarkIdle5000(b *testing.B) {
	const connections = 5000
	descriptors(b, connections+200)
	for b.Loop() {
		server, _ := run(b, filepath.Join(b.TempDir(), "data"))
		before := server.memory(b)
		c := fill(b, server, newAPI(b, server.address), connections, 1)
		time.Sleep(10 * time.Second)
		after := server.memory(b)
		b.ReportMetric(float64(after-before)/connections/1024, "KB/connection")
		b.ReportMetric(float64(after)/(1<<20), "MB-RSS")
		c.say()
		c.finish()
		server.kill()
	}
}

// underRace reports whether this test was built with the race detector.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// crowd is one room full of connections. Some of them send, in turn, each less than
// the ten requests a second that it may.
type crowd struct {
	t       testing.TB
	server  *process
	room    string
	members []*member
	senders int

	said    int // messages sent; owned by the test
	heard   atomic.Int64
	arrived sync.WaitGroup // members that have not heard the last message
}

// member is one connection: a lean reader, so that what is measured is the server.
type member struct {
	conn net.Conn
	in   *bufio.Reader
	name int

	// Owned by listen.
	count   int
	sum     uint32 // of all frames in their order
	order   []int  // the messages' numbers; of the first member only
	latency []time.Duration
	err     error
}

// gather starts a server and fills a room.
func gather(t testing.TB, connections, perSecond int) *crowd {
	t.Helper()
	descriptors(t, connections+200)
	server, _ := run(t, filepath.Join(t.TempDir(), "data"))
	return fill(t, server, newAPI(t, server.address), connections, perSecond)
}

// fill makes a room on a server and fills it.
func fill(t testing.TB, server *process, client *api, connections, perSecond int) *crowd {
	t.Helper()
	status, room, err := client.call("POST", "/CreateRoom", map[string]any{"maximumMessageRatePerSecond": 100})
	if err != nil || status != http.StatusOK {
		t.Fatalf("CreateRoom: got %d %v", status, err)
	}
	c := &crowd{t: t, server: server, room: room.Arn, members: make([]*member, connections), senders: perSecond/8 + 1}
	var entering sync.WaitGroup
	failed := make(chan error, connections)
	next := atomic.Int64{}
	for range 16 {
		entering.Go(func() {
			for i := int(next.Add(1)) - 1; i < connections; i = int(next.Add(1)) - 1 {
				m, err := join(client, server.address, room.Arn, i)
				if err != nil {
					failed <- err
					return
				}
				c.members[i] = m
			}
		})
	}
	entering.Wait()
	t.Cleanup(func() {
		for _, m := range c.members {
			if m != nil {
				m.conn.Close()
			}
		}
	})
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	for _, m := range c.members {
		c.arrived.Go(func() { m.err = m.listen(c) })
	}
	return c
}

// descriptors sees to it that this process and a child may each open n files.
func descriptors(t testing.TB, n int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < uint64(n) {
		t.Skipf("a process may open %d files here, and %d are needed", limit.Max, n)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

func join(client *api, address, room string, name int, headers ...string) (*member, error) {
	status, token, err := client.call("POST", "/CreateChatToken", map[string]any{
		"roomIdentifier": room, "userId": fmt.Sprintf("user-%d", name), "capabilities": []string{"SEND_MESSAGE"},
		"attributes": map[string]string{"displayName": fmt.Sprintf("User number %d", name)},
	})
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("CreateChatToken: got %d %v", status, err)
	}
	conn, in, status, err := knock(address, token.Token, headers...)
	if err != nil || status != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: got %d %v", status, err)
	}
	return &member{conn: conn, in: in, name: name}, nil
}

const last = "last"

// say sends the next message: its number, when, and something to carry.
func (c *crowd) say() {
	c.said++
	c.send(c.said%c.senders, fmt.Sprintf("%d %d %s", c.said, time.Now().UnixNano(), strings.Repeat("x", 60)))
}

func (c *crowd) send(member int, content string) {
	c.t.Helper()
	text := fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","RequestId":"8fe65e61-0000-4000-8000-%012d","Content":%q}`, c.said, content)
	if err := ws.WriteFrame(c.members[member].conn, ws.MaskFrameInPlace(ws.NewTextFrame(text))); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// finish waits until everybody has heard everything, compares what they heard, and
// sees that nobody else was there.
func (c *crowd) finish() {
	c.t.Helper()
	c.settle()
	counted := metrics(c.t, c.server.address)
	for name, value := range counted {
		if strings.HasPrefix(name, "parlor_sessions_ended_total") && value != 0 {
			c.t.Errorf("sessions ended: %s %v", name, value)
		}
	}
	if got := counted["parlor_connections"]; got != float64(len(c.members)) {
		c.t.Errorf("parlor_connections: got %v, want %d", got, len(c.members))
	}
}

// metrics is what /metrics says, by the name with its labels.
func metrics(t testing.TB, address string) map[string]float64 {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, text, ok := strings.Cut(lines.Text(), " "); ok && !strings.HasPrefix(name, "#") {
			if value, err := strconv.ParseFloat(text, 64); err == nil {
				all[name] = value
			}
		}
	}
	return all
}

// settle waits until everybody has heard everything, and compares what they heard.
func (c *crowd) settle() {
	c.t.Helper()
	// The last message is sent when the first member has heard all others, so that it
	// is the last indeed.
	for deadline := time.Now().Add(patience); c.heard.Load() < int64(c.said); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("of %d messages %d arrived", c.said, c.heard.Load())
		}
	}
	c.send(c.said%c.senders, last)
	for _, m := range c.members {
		m.conn.SetReadDeadline(time.Now().Add(patience))
	}
	c.arrived.Wait()
	first := c.members[0]
	for _, m := range c.members {
		if m.err != nil {
			c.t.Errorf("member %d, after %d of %d messages: %v", m.name, m.count, c.said, m.err)
		} else if m.count != c.said || m.sum != first.sum {
			c.t.Errorf("member %d: got %d messages of %d, in the same order as others: %v", m.name, m.count, c.said, m.sum == first.sum)
		}
	}
	// Each sender's own come in the order they were sent.
	previous := map[int]int{}
	for _, n := range first.order {
		if n <= previous[n%c.senders] {
			c.t.Errorf("message %d came after %d of the same sender", n, previous[n%c.senders])
		}
		previous[n%c.senders] = n
	}
}

// listen reads until the last message.
func (m *member) listen(c *crowd) error {
	frame := make([]byte, 4096)
	for {
		head, err := m.in.Peek(2)
		if err != nil {
			return err
		}
		op, size := ws.OpCode(head[0]&15), int(head[1])
		m.in.Discard(2)
		if size == 126 {
			if head, err = m.in.Peek(2); err != nil {
				return err
			}
			size = int(binary.BigEndian.Uint16(head))
			m.in.Discard(2)
		} else if size > 126 { // no frame of ours is longer, or masked
			return fmt.Errorf("got length %d", size)
		}
		if size > len(frame) {
			return fmt.Errorf("got a frame of %d bytes", size)
		}
		if _, err := io.ReadFull(m.in, frame[:size]); err != nil {
			return err
		}
		switch op {
		case ws.OpPing:
			pong := ws.NewPongFrame(bytes.Clone(frame[:size]))
			if err := ws.WriteFrame(m.conn, ws.MaskFrameInPlace(pong)); err != nil {
				return err
			}
			continue
		case ws.OpText:
		default:
			return fmt.Errorf("got opcode %d", op)
		}
		_, content, ok := bytes.Cut(frame[:size], []byte(`"Content":"`))
		if !ok {
			return fmt.Errorf("got %s", frame[:size])
		}
		if bytes.HasPrefix(content, []byte(last)) {
			return nil
		}
		number, rest, _ := bytes.Cut(content, []byte(" "))
		sent, _, _ := bytes.Cut(rest, []byte(" "))
		at, err := strconv.ParseInt(string(sent), 10, 64)
		if err != nil {
			return err
		}
		m.latency = append(m.latency, time.Duration(time.Now().UnixNano()-at))
		m.count++
		m.sum = crc32.Update(m.sum, crc32.IEEETable, frame[:size])
		if m.name == 0 {
			n, err := strconv.Atoi(string(number))
			if err != nil {
				return err
			}
			m.order = append(m.order, n)
			c.heard.Add(1)
		}
	}
}

func (c *crowd) deliveries() (n int) {
	for _, m := range c.members {
		n += m.count
	}
	return n
}

// latency is how long after it was sent a message arrived.
type latency struct{ p50, p99, most time.Duration }

func (l latency) String() string {
	return fmt.Sprintf("latency p50 %v, p99 %v, most %v", l.p50, l.p99, l.most)
}

func (c *crowd) latencies() latency {
	var all []time.Duration
	for _, m := range c.members {
		all = append(all, m.latency...)
	}
	return latenciesOf(all)
}

func latenciesOf(all []time.Duration) latency {
	if len(all) == 0 {
		return latency{}
	}
	slices.Sort(all)
	return latency{all[len(all)/2], all[len(all)*99/100], all[len(all)-1]}
}
