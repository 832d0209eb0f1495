package parlortest_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// TestLoadHostile attacks a server in every way at once while 500 clients talk in four
// rooms, with the attackers among them. No client is lost, none misses a frame or gets
// one out of order; what the attack costs the server is bounded and given back; and
// what it was is in the metrics. How fast the clients were served is told, not judged.
func TestLoadHostile(t *testing.T) {
	if underRace() {
		t.Skip("the race detector would be what is measured; make test runs this without it")
	}
	const (
		rooms, perRoom, perSecond = 4, 125, 40
		quiet, attack             = time.Second, 6 * time.Second
		// Beyond what the server had with its good clients alone.
		mostMemory, mostGoroutines = 128 << 20, 3000
		keptMemory, keptGoroutines = 64 << 20, 50
	)
	descriptors(t, 4000)
	t.Setenv("PARLOR_COMPRESSION", "true")
	t.Setenv("PARLOR_PING_INTERVAL", "2s")
	server, _ := run(t, filepath.Join(t.TempDir(), "data"))
	client := newAPI(t, server.address)
	var crowds []*crowd
	for range rooms {
		crowds = append(crowds, fill(t, server, client, perRoom, perSecond))
	}
	talk := func(d time.Duration) {
		ticker := time.NewTicker(time.Second / perSecond)
		defer ticker.Stop()
		for i := range int(d.Seconds() * perSecond) {
			<-ticker.C
			crowds[i%rooms].say()
		}
	}
	talk(quiet)
	saidInQuiet := crowds[0].said
	before := metrics(t, server.address)
	memory, goroutines := server.memory(t), before["go_goroutines"]

	a := newAttack(t, server, client, crowds)
	cpu := server.cpu(t)
	a.begin()
	talk(attack)
	elapsed := time.Since(a.begun)
	cpu = server.cpu(t) - cpu
	a.end()
	// Those that only hold a connection are still there; the server gets rid of them.
	var after map[string]float64
	var memoryAfter int
	for deadline := time.Now().Add(8 * time.Second); ; talk(time.Second / 2) {
		after, memoryAfter = metrics(t, server.address), server.memory(t)
		back := after["parlor_connections"] == rooms*perRoom && after["go_goroutines"] <= goroutines+keptGoroutines && memoryAfter <= memory+keptMemory
		if back || time.Now().After(deadline) {
			break
		}
	}
	a.close()
	for _, c := range crowds {
		c.settle()
	}

	if a.memory > memory+mostMemory || memoryAfter > memory+keptMemory {
		t.Errorf("memory: %d MB before, %d at most, %d after", memory>>20, a.memory>>20, memoryAfter>>20)
	}
	if a.goroutines > goroutines+mostGoroutines || after["go_goroutines"] > goroutines+keptGoroutines {
		t.Errorf("goroutines: %v before, %v at most, %v after", goroutines, a.goroutines, after["go_goroutines"])
	}
	if got := after["parlor_connections"]; got != rooms*perRoom {
		t.Errorf("connections: got %v, want the %d good ones", got, rooms*perRoom)
	}
	a.compare(before, after)
	var inQuiet, under []time.Duration
	for _, c := range crowds {
		for _, m := range c.members {
			inQuiet = append(inQuiet, m.latency[:saidInQuiet]...)
			under = append(under, m.latency[saidInQuiet:]...)
		}
	}
	t.Logf("good clients before: %v", latenciesOf(inQuiet))
	t.Logf("good clients under attack: %v", latenciesOf(under))
	t.Logf("the server used %.2f processors; memory: %d MB before, %d at most, %d after; goroutines: %v, %v, %v", cpu.Seconds()/elapsed.Seconds(),
		memory>>20, a.memory>>20, memoryAfter>>20, goroutines, a.goroutines, after["go_goroutines"])
	t.Logf("attacks: %v", a.counts())
}

// memory is the process's resident memory in bytes.
func (p *process) memory(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		t.Skipf("no memory figures on this system: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// attack is everything that clients may do to a server, at once.
type attack struct {
	t      *testing.T
	server *process
	client *api
	crowds []*crowd

	begun   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	next    atomic.Int64 // to give attackers names

	mu    sync.Mutex
	held  []net.Conn // closed at the very end
	count map[string]int

	memory     int     // the most there was; owned by watch
	goroutines float64 // likewise
}

func newAttack(t *testing.T, server *process, client *api, crowds []*crowd) *attack {
	return &attack{t: t, server: server, client: client, crowds: crowds, count: map[string]int{}}
}

func (a *attack) begin() {
	a.begun = time.Now()
	a.ctx, a.cancel = context.WithCancel(a.t.Context())
	a.running.Go(a.watch)
	a.holdConnections()
	for _, b := range breaches() {
		a.running.Go(func() {
			for ; a.ctx.Err() == nil; a.pause(100 * time.Millisecond) {
				a.breach(b)
			}
		})
	}
	a.running.Go(a.badBodies)
	for range 2 {
		a.running.Go(a.garbageTokens)
	}
	a.stalledReaders()
}

// end ends those who do something.
func (a *attack) end() {
	a.cancel()
	a.running.Wait()
}

// close ends those who do nothing.
func (a *attack) close() {
	for _, conn := range a.held {
		conn.Close()
	}
}

func (a *attack) pause(d time.Duration) {
	select {
	case <-a.ctx.Done():
	case <-time.After(d):
	}
}

func (a *attack) did(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count[what]++
}

func (a *attack) hold(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = append(a.held, conn)
}

func (a *attack) counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// watch finds the most memory and goroutines.
func (a *attack) watch() {
	for ; a.ctx.Err() == nil; a.pause(200 * time.Millisecond) {
		a.memory = max(a.memory, a.server.memory(a.t))
		a.goroutines = max(a.goroutines, metrics(a.t, a.server.address)["go_goroutines"])
	}
}

// holdConnections has hundreds that connect and say nothing, or what they have to say
// a line or a byte in a while.
func (a *attack) holdConnections() {
	drip := func(what string, n int, begin, piece string) {
		var conns []net.Conn
		for range n {
			conn, err := net.DialTimeout("tcp", a.server.address, patience)
			if err != nil {
				a.t.Errorf("%s: %v", what, err)
				return
			}
			a.hold(conn)
			a.did(what)
			io.WriteString(conn, begin)
			conns = append(conns, conn)
		}
		for ; a.ctx.Err() == nil && piece != ""; a.pause(500 * time.Millisecond) {
			for _, conn := range conns {
				io.WriteString(conn, piece)
			}
		}
	}
	a.running.Go(func() { drip("half-open sockets", 200, "", "") })
	a.running.Go(func() {
		drip("slow request headers", 200, "POST /ListRooms HTTP/1.1\r\nHost: localhost\r\n", "X-Slow: 1\r\n")
	})
	a.running.Go(func() {
		drip("slow handshakes", 200, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", "X-Slow: 1\r\n")
	})
	a.running.Go(func() {
		drip("header lines without end", 50, "GET / HTTP/1.1\r\nHost: localhost\r\n", strings.Repeat("X-Much: "+strings.Repeat("x", 1000)+"\r\n", 20))
	})
	a.running.Go(func() {
		for range 100 {
			if conn, _ := a.enter("handshakes, then silence", a.crowds[0].room, ""); conn != nil {
				a.hold(conn)
			}
		}
	})
}

// enter opens a connection in a room, with what header lines are given.
func (a *attack) enter(what, room, headers string) (net.Conn, *bufio.Reader) {
	m, err := join(a.client, a.server.address, room, int(1000+a.next.Add(1)), headers)
	if err != nil {
		a.t.Errorf("%s: %v", what, err)
		return nil, nil
	}
	a.did(what)
	return m.conn, m.in
}

// breach is something that ends the connection with a close code.
type breach struct {
	name  string
	bytes []byte
	times int // as often as that
	code  ws.StatusCode
	cause string
}

// framed is a client's frame, whose payload length may be a lie.
func framed(first byte, length int, payload []byte) []byte {
	h := ws.Header{Fin: first&0x80 != 0, Rsv: first >> 4 & 7, OpCode: ws.OpCode(first & 15), Masked: true, Length: int64(length), Mask: [4]byte{1, 2, 3, 4}}
	var b bytes.Buffer
	ws.WriteHeader(&b, h)
	body := bytes.Clone(payload)
	ws.Cipher(body, h.Mask, 0)
	return append(b.Bytes(), body...)
}

func breaches() []breach {
	frame := func(first byte, payload string) []byte { return framed(first, len(payload), []byte(payload)) }
	const text, begins, continues, closing, ping, pong = 0x81, 0x01, 0x00, 0x88, 0x89, 0x8a
	unmasked := []byte{text, 2, '{', '}'}
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, flate.BestCompression) // the level is valid
	w.Write(make([]byte, 40<<20))
	w.Flush()
	members := func(size int) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, `"%d":0,`, i)
		}
		return `{` + b.String() + `"Action":"SEND_MESSAGE"}`
	}
	all := []breach{
		{"unmasked frames", unmasked, 1, 1002, "protocol"},
		{"reserved opcodes", frame(0x83, "x"), 1, 1002, "protocol"},
		{"reserved bits", frame(text|0x20, "x"), 1, 1002, "protocol"},
		{"lengths of 64 bits", framed(text, math.MaxInt64, nil), 1, 1009, "protocol"},
		{"lengths of 64 bits, negative", []byte{text, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, 1, 1002, "protocol"},
		{"bad UTF-8", frame(text, "\xc3\x28"), 1, 1007, "protocol"},
		{"bad close codes", frame(closing, string(binary.BigEndian.AppendUint16(nil, 1006))), 1, 1002, "protocol"},
		{"compression bombs", frame(text|0x40, strings.TrimSuffix(bomb.String(), "\x00\x00\xff\xff")), 1, 1009, "protocol"},
		{"objects of a million members", frame(text, members(7_000_000)), 1, 1009, "protocol"},
		{"fragments without end", append(frame(begins, "{"), bytes.Repeat(frame(continues, strings.Repeat(" ", 4000)), 20)...), 1, 1009, "protocol"},
		{"empty fragments without end", append(frame(begins, ""), bytes.Repeat(frame(continues, ""), 2000)...), 1, 1008, "flood"},
		{"short fragments without end", append(frame(begins, "{"), bytes.Repeat(frame(continues, " "), 2000)...), 1, 1008, "flood"},
		{"pings", frame(ping, "x"), 2000, 1008, "flood"},
		{"pongs", frame(pong, ""), 2000, 1008, "flood"},
		{"garbage requests", frame(text, "garbage"), 1000, 1008, "flood"},
		{"large requests over the rate", frame(text, members(60_000)), 600, 1008, "flood"},
		{"deep requests over the rate", frame(text, strings.Repeat(`[`, 60_000)), 600, 1008, "flood"},
	}
	for i := range all {
		all[i].bytes = bytes.Repeat(all[i].bytes, all[i].times)
	}
	return all
}

// breach does it once, and reads until the close frame, which has to be there.
func (a *attack) breach(b breach) {
	room := a.crowds[a.next.Load()%int64(len(a.crowds))].room
	conn, in := a.enter(b.name, room, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	if conn == nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { conn.Write(b.bytes) }) // it may not get rid of all
	defer conn.SetDeadline(time.Now())
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			a.t.Errorf("%s: ended with %v, want a close frame", b.name, err)
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			a.t.Errorf("%s: ended with %v, want a close frame", b.name, err)
			return
		}
		if h.OpCode == ws.OpClose {
			if code, reason := ws.ParseCloseFrameData(payload); code != b.code {
				a.t.Errorf("%s: closed with %d %q, want %d", b.name, code, reason, b.code)
			}
			return
		}
	}
}

// badBodies sends the control plane what it must not choke on.
func (a *attack) badBodies() {
	large := []byte(`{"name":"x"` + strings.Repeat(`,"a":1`, 1_000_000) + `}`)
	many := append(large[:240_000:240_000], `,"name":7}`...)
	deep := []byte(strings.Repeat(`{"tags":`, 30_000))
	for ; a.ctx.Err() == nil; a.pause(50 * time.Millisecond) {
		for _, test := range []struct {
			name string
			body []byte
			want int
		}{
			{"API: a million members", large, http.StatusRequestEntityTooLarge},
			{"API: as many members as a body may have", many, http.StatusBadRequest},
			{"API: deep nesting", deep, http.StatusBadRequest},
		} {
			got, err := a.post(test.body)
			if err != nil || got != test.want {
				a.t.Errorf("%s: got %d %v, want %d", test.name, got, err, test.want)
			}
			a.did(test.name)
		}
	}
}

// post sends a body to CreateRoom and returns the status of the answer, which may
// come while it is being sent.
func (a *attack) post(body []byte) (int, error) {
	conn, err := net.DialTimeout("tcp", a.server.address, patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go conn.Write(append(fmt.Appendf(nil, "POST /CreateRoom HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"X-Amz-Date: %[2]sT000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x/%[2]s/us-west-2/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\n\r\n",
		len(body), time.Now().UTC().Format("20060102")), body...))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return response.StatusCode, nil
}

// garbageTokens tries tokens that are none, without a pause, on a connection that is
// kept, and on one for each.
func (a *attack) garbageTokens() {
	conn, err := net.DialTimeout("tcp", a.server.address, patience)
	if err != nil {
		a.t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	in := bufio.NewReader(conn)
	for i := 0; a.ctx.Err() == nil; i++ {
		token := fmt.Sprintf("AQ%s%d", strings.Repeat("x", 200), i)
		status := 0
		if i%100 == 0 {
			_, _, status, err = knock(a.server.address, token)
		} else {
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", token)
			var response *http.Response
			if response, err = http.ReadResponse(in, nil); err == nil {
				io.Copy(io.Discard, response.Body)
				status = response.StatusCode
			}
		}
		if err != nil || status != http.StatusUnauthorized {
			a.t.Errorf("a garbage token: got %d %v, want 401", status, err)
			return
		}
		a.did("garbage tokens")
	}
}

// stalledReaders enter a room that is as loud as can be and read nothing, or a byte at
// a time; and as many where the good clients are.
func (a *attack) stalledReaders() {
	_, loud, err := a.client.call("POST", "/CreateRoom", map[string]any{"maximumMessageRatePerSecond": 100})
	if err != nil {
		a.t.Fatal(err)
	}
	for i := range 80 {
		room := loud.Arn
		if i%2 == 0 {
			room = a.crowds[i/2%len(a.crowds)].room
		}
		what := "connections that never read"
		if i%4 >= 2 {
			what = "readers of a byte at a time"
		}
		a.running.Go(func() {
			conn, _ := a.enter(what, room, "")
			if conn == nil {
				return
			}
			a.hold(conn)
			conn.(*net.TCPConn).SetReadBuffer(1)
			for b := make([]byte, 1); what != "connections that never read" && a.ctx.Err() == nil; a.pause(time.Millisecond) {
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		})
	}
	// Nothing takes more room on the wire than what has to be escaped.
	text := fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","Content":"x%sx","Attributes":{"a":"%s"}}`, strings.Repeat(`\u0001`, 498), strings.Repeat(`\u0001`, 1000))
	shout := framed(0x81, len(text), text)
	for range 10 {
		a.running.Go(func() {
			conn, in := a.enter("loud talkers", loud.Arn, "")
			if conn == nil {
				return
			}
			defer conn.Close()
			a.running.Go(func() { io.Copy(io.Discard, in) })
			for ; a.ctx.Err() == nil; a.pause(100 * time.Millisecond) {
				if _, err := conn.Write(shout); err != nil {
					return
				}
			}
		})
	}
}

// compare holds what was done against what was counted.
func (a *attack) compare(before, after map[string]float64) {
	want := map[string]int{
		`parlor_sessions_ended_total{cause="silent"}`:                  a.count["handshakes, then silence"],
		`parlor_sessions_ended_total{cause="slow"}`:                    10,
		`parlor_handshakes_total{code="401"}`:                          a.count["garbage tokens"],
		`parlor_errors_total{code="429"}`:                              500 * a.count["garbage requests"],
		`parlor_errors_total{code="400"}`:                              10 * a.count["garbage requests"],
		`parlor_errors_total{code="413"}`:                              10 * a.count["large requests over the rate"],
		`parlor_api_requests_total{code="413",operation="CreateRoom"}`: a.count["API: a million members"],
		`parlor_api_requests_total{code="400",operation="CreateRoom"}`: a.count["API: deep nesting"] + a.count["API: as many members as a body may have"],
	}
	for _, b := range breaches() {
		if a.count[b.name] == 0 {
			a.t.Errorf("%s: not tried", b.name)
		}
		want[`parlor_sessions_ended_total{cause="`+b.cause+`"}`] += a.count[b.name]
	}
	for name, want := range want {
		if got := after[name] - before[name]; got < float64(want) {
			a.t.Errorf("%s: got %v, want %v at least", name, got, want)
		}
	}
}

// TestStalledTLSHandshakes connects over TLS and stalls before, in and after the
// handshake: the server closes each at its deadline for request headers.
func TestStalledTLSHandshakes(t *testing.T) {
	t.Parallel()
	certificate, key, trusted := selfSigned(t)
	server := parlortest.Start(t, func(c *config.Config) { c.TLSCert, c.TLSKey = certificate, key })
	address := strings.TrimPrefix(server.URL, "https://")
	var stalling sync.WaitGroup
	defer stalling.Wait()
	for name, begin := range map[string]func(net.Conn){
		"nothing":                  func(net.Conn) {},
		"half a record":            func(conn net.Conn) { conn.Write([]byte{22, 3, 1, 2, 0, 1}) },
		"a handshake and no more":  func(conn net.Conn) { tls.Client(conn, trusted).Handshake() },
		"a handshake, half a line": func(conn net.Conn) { fmt.Fprint(tls.Client(conn, trusted), "GET / HT") },
	} {
		stalling.Go(func() {
			conn, err := net.DialTimeout("tcp", address, patience)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer conn.Close()
			begun := time.Now()
			begin(conn)
			conn.SetReadDeadline(begun.Add(patience))
			_, err = io.Copy(io.Discard, conn)
			if took := time.Since(begun); took < 8*time.Second || took > 15*time.Second {
				t.Errorf("%s: closed after %v (%v), want about 10s", name, took, err)
			}
		})
	}
}

// selfSigned writes a certificate for 127.0.0.1, and returns what makes a client trust
// it.
func selfSigned(t *testing.T) (certificate, key string, trusted *tls.Config) {
	t.Helper()
	secret := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret))
	pkcs8 := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(secret))
	trusted = &tls.Config{ServerName: "127.0.0.1", RootCAs: x509.NewCertPool()}
	trusted.RootCAs.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key, trusted
}
