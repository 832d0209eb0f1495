package deploytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/coder/websocket"
)

// clientAddress is where the test's clients come from: not the address of the proxy.
const clientAddress = "127.0.0.5"

// transport reaches the proxy from clientAddress.
func (c *cluster) transport() *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.pool)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}, Timeout: 5 * time.Second}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "chat.example.com"}}
	c.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client is the official SDK, with the key that compose-secrets.sh made.
func (c *cluster) client(base string) *ivschat.Client {
	text := read(c.t, c.secrets, "credentials")
	value := func(name string) string {
		m := regexp.MustCompile(name + ` = (\S+)`).FindStringSubmatch(text)
		if m == nil {
			c.t.Fatalf("the credentials have no %s", name)
		}
		return m[1]
	}
	return ivschat.New(ivschat.Options{
		Region:           "us-west-2",
		BaseEndpoint:     aws.String(base),
		Credentials:      credentials.NewStaticCredentialsProvider(value("aws_access_key_id"), value("aws_secret_access_key"), ""),
		HTTPClient:       &http.Client{Transport: c.transport()},
		RetryMaxAttempts: 1,
	})
}

// viewer is a chat client that connects again when it is dropped, at once.
type viewer struct {
	c     *cluster
	api   *ivschat.Client
	room  string
	name  string
	http  *http.Client
	waits []time.Duration // of each connection but the first; owned by run

	mu   sync.Mutex
	conn *websocket.Conn
	seen map[string]int // messages by content
	err  error
}

func (c *cluster) viewer(base, room, name string) *viewer {
	return &viewer{c: c, api: c.client(base), room: room, name: name, http: &http.Client{Transport: c.transport()}, seen: map[string]int{}}
}

// connect gets a token and opens a connection with it.
func (v *viewer) connect(ctx context.Context, base string) error {
	token, err := v.api.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
		RoomIdentifier: aws.String(v.room), UserId: aws.String(v.name), Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage},
		Attributes: map[string]string{"a": strings.Repeat("x", 900)}, // a long token
	})
	if err != nil {
		return err
	}
	conn, response, err := websocket.Dial(ctx, base, &websocket.DialOptions{HTTPClient: v.http, Subprotocols: []string{*token.Token}})
	if err != nil {
		status := 0
		if response != nil {
			status = response.StatusCode
		}
		return fmt.Errorf("handshake of %s: status %d: %w", v.name, status, err)
	}
	conn.SetReadLimit(1 << 20)
	v.mu.Lock()
	v.conn = conn
	v.mu.Unlock()
	return nil
}

// run reads until ctx ends, and connects again whenever the connection breaks.
func (v *viewer) run(ctx context.Context, base string) {
	for {
		var frame struct{ Type, Content string }
		_, text, err := v.conn.Read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if err = json.Unmarshal(text, &frame); err == nil && frame.Type == "MESSAGE" {
				v.mu.Lock()
				v.seen[frame.Content]++
				v.mu.Unlock()
			}
			continue
		}
		begun := time.Now()
		if err := v.connect(ctx, base); err != nil {
			if ctx.Err() == nil {
				v.mu.Lock()
				v.err = err
				v.mu.Unlock()
			}
			return
		}
		v.waits = append(v.waits, time.Since(begun))
	}
}

func (v *viewer) say(ctx context.Context, text string) error {
	v.mu.Lock()
	conn := v.conn
	v.mu.Unlock()
	return conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"Action":"SEND_MESSAGE","Content":%q}`, text))
}

func (v *viewer) saw(text string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen[text]
}

// connections are how many a node has.
func (c *cluster) connections(name string) int {
	m := regexp.MustCompile(`(?m)^parlor_connections (\d+)$`).FindStringSubmatch(metrics(c.t, c.node(name)))
	if m == nil {
		c.t.Fatalf("%s does not say how many connections it has", name)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// The proxy's configuration of compose.yaml in front of its three nodes, with the secrets
// that compose-secrets.sh makes: everything but the containers.
func TestComposeProxy(t *testing.T) {
	c := run(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	api := c.client(c.url)
	created, err := api.CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String("lobby"), Tags: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	room := *created.Arn

	t.Run("signed paths are handed on as they are", func(t *testing.T) {
		tags, err := api.ListTagsForResource(ctx, &ivschat.ListTagsForResourceInput{ResourceArn: aws.String(room)})
		if err != nil || tags.Tags["a"] != "b" {
			t.Errorf("%v, %v", tags, err)
		}
	})
	t.Run("TLS ends at the proxy", func(t *testing.T) {
		if _, err := c.client(c.tls).GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String(room)}); err != nil {
			t.Error(err)
		}
	})
	t.Run("long headers pass", func(t *testing.T) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Cookie", strings.Repeat("x", 20<<10)) // more than HAProxy takes by default
		answer, err := (&http.Client{Transport: c.transport()}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("status %d", answer.StatusCode)
		}
	})
	t.Run("metrics are not for strangers", func(t *testing.T) {
		if got := status(c.url + "/metrics"); got != http.StatusNotFound {
			t.Errorf("status %d", got)
		}
	})
	t.Run("nodes know the client's address", func(t *testing.T) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/GetRoom", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Forwarded-For", "203.0.113.9")
		answer, err := (&http.Client{Transport: c.transport()}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		remotes := map[string]bool{}
		for _, node := range c.nodes {
			for _, m := range regexp.MustCompile(`"remote":"([^"]+)"`).FindAllStringSubmatch(node.output(), -1) {
				remotes[m[1]] = true
			}
		}
		if len(remotes) != 1 || !remotes[clientAddress+":0"] {
			t.Errorf("requests came from %v", remotes)
		}
	})

	const viewers = 9
	reading, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var all []*viewer
	for i := range viewers {
		base := c.url
		if i == 0 {
			base = c.tls
		}
		v := c.viewer(base, room, fmt.Sprintf("viewer-%d", i))
		if err := v.connect(ctx, base); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { v.run(reading, base) })
		all = append(all, v)
	}
	for _, name := range nodes {
		if c.connections(name) == 0 {
			t.Errorf("%s has none of %d connections", name, viewers)
		}
	}
	everybodySees := func(text string) {
		t.Helper()
		until(t, "everybody sees "+text, func() bool {
			for _, v := range all {
				v.mu.Lock()
				err := v.err
				v.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
				if v.saw(text) == 0 {
					return false
				}
			}
			return true
		})
	}
	if err := all[1].say(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	everybodySees("hello")

	t.Run("a node drains", func(t *testing.T) {
		c.stop(nodes[0])
		until(t, "its viewers are elsewhere", func() bool { return c.connections(nodes[1])+c.connections(nodes[2]) == viewers })
		if err := all[1].say(ctx, "after the drain"); err != nil {
			t.Fatal(err)
		}
		everybodySees("after the drain")
	})
	t.Run("it comes back", func(t *testing.T) {
		c.startNode(nodes[0])
		until(t, "the proxy leads there again", func() bool {
			v := c.viewer(c.url, room, "guest")
			if err := v.connect(ctx, c.url); err != nil {
				t.Fatal(err)
			}
			defer v.conn.CloseNow()
			return c.connections(nodes[0]) != 0
		})
	})
	t.Run("docs/operations.md names metrics that nodes have", func(t *testing.T) {
		checkMetrics(t, metrics(t, c.node(nodes[1])))
	})
	t.Run("without Redis no node is ready, and all are asked", func(t *testing.T) {
		c.redis.kill()
		for _, name := range nodes {
			until(t, name+" says that it is not ready", func() bool { return status(c.node(name)+"/readyz") == http.StatusServiceUnavailable })
		}
		time.Sleep(2 * time.Second) // the proxy has taken note as well
		if _, err := api.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String(room)}); err != nil {
			t.Errorf("the API: %v", err)
		}
		admitted := make(chan error, 1)
		v := c.viewer(c.url, room, "patient")
		go func() { admitted <- v.connect(ctx, c.url) }()
		time.Sleep(2 * time.Second)
		c.start()
		if err := <-admitted; err != nil {
			t.Fatalf("who came meanwhile was not let in: %v", err)
		}
		v.conn.CloseNow()
		if err := all[1].say(ctx, "after Redis"); err != nil {
			t.Fatal(err)
		}
		everybodySees("after Redis")
	})
	stop()
	running.Wait()
	for _, v := range all {
		for _, text := range []string{"hello", "after the drain", "after Redis"} {
			if n := v.saw(text); n != 1 {
				t.Errorf("%s saw %q %d times", v.name, text, n)
			}
		}
		t.Logf("%s connected again after %v", v.name, v.waits)
	}
}
