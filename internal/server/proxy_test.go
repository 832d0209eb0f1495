package server_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// proxy says of every request where it comes from, outside of the signature.
type proxy struct{ says []string }

func (p proxy) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header["X-Forwarded-For"] = p.says
	return client.Do(r)
}

// Who a request comes from decides what a policy with aws:SourceIp allows.
func TestTrustedProxies(t *testing.T) {
	const policy = `{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*",
		"Condition": {"IpAddress": {"aws:SourceIp": ["203.0.113.7/32", "2001:db8::7/128"]}}}]}`
	path := filepath.Join(t.TempDir(), "credentials")
	put(t, filepath.Join(filepath.Dir(path), "policy.json"), policy)
	k := newKey("ann", 0)
	k.PolicyFile = "policy.json"
	addKeys(t, path, k)
	const refused = "AccessDeniedException"
	for _, tc := range []struct {
		name    string
		trusted []string
		header  []string // X-Forwarded-For, a value each
		want    string
	}{
		{"from nobody's proxy", nil, []string{"203.0.113.7"}, refused},
		{"from another's proxy", []string{"10.0.0.0/8"}, []string{"203.0.113.7"}, refused},
		{"by the proxy", []string{"127.0.0.0/8"}, []string{"203.0.113.7"}, ""},
		{"IPv6", []string{"127.0.0.1/32"}, []string{"2001:db8::7"}, ""},
		{"IPv6, written out", []string{"127.0.0.1/32"}, []string{"2001:0DB8:0:0:0:0:0:7"}, ""},
		{"IPv4 in IPv6 clothes", []string{"127.0.0.1/32"}, []string{"::ffff:203.0.113.7"}, ""},
		{"no header", []string{"127.0.0.1/32"}, nil, refused},
		{"the client lies about one before", []string{"127.0.0.1/32"}, []string{"203.0.113.7, 198.51.100.1"}, refused},
		{"the client is the last", []string{"127.0.0.1/32"}, []string{"198.51.100.1, 203.0.113.7"}, ""},
		{"in two headers", []string{"127.0.0.1/32"}, []string{"198.51.100.1", "203.0.113.7"}, ""},
		{"in two headers, lying in the first", []string{"127.0.0.1/32"}, []string{"203.0.113.7", "198.51.100.1"}, refused},
		{"through two proxies", []string{"127.0.0.1/32", "10.0.0.0/8"}, []string{"198.51.100.1, 203.0.113.7, 10.1.2.3"}, ""},
		{"through an IPv6 proxy", []string{"127.0.0.1/32", "fd00::/8"}, []string{"203.0.113.7,fd00::1"}, ""},
		{"through a proxy in IPv6 clothes", []string{"127.0.0.1/32", "10.0.0.0/8"}, []string{"203.0.113.7, ::ffff:10.1.2.3"}, ""},
		{"through an unknown proxy", []string{"127.0.0.1/32"}, []string{"203.0.113.7, 10.1.2.3"}, refused},
		{"proxies alone", []string{"127.0.0.1/32", "10.0.0.0/8"}, []string{"10.1.2.3"}, refused},
		{"white space", []string{"127.0.0.1/32"}, []string{"  203.0.113.7  "}, ""},
		{"a word", []string{"127.0.0.1/32"}, []string{"203.0.113.7, unknown"}, refused},
		{"a port", []string{"127.0.0.1/32"}, []string{"203.0.113.7:80"}, ""},
		{"empty", []string{"127.0.0.1/32"}, []string{"203.0.113.7,"}, refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parlortest.Start(t, withCredentials(path), func(c *config.Config) { c.TrustedProxies = tc.trusted })
			if got := listRooms(t.Context(), s.Client(t, as(k), func(o *ivschat.Options) { o.HTTPClient = proxy{tc.header} })); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// try makes a handshake with a token that is none: 401 says that only the token was
// wrong.
func try(t *testing.T, s *parlortest.Server, header http.Header) int {
	t.Helper()
	_, response, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: []string{"none"}})
	if err == nil {
		t.Fatal("a token that is none opened a connection")
	}
	if response == nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// Behind a trusted proxy the limits count clients, an IPv6 client by its /64; without,
// everybody who comes through it is one, whatever he says.
func TestLimitsByClientAddress(t *testing.T) {
	for _, tc := range []struct {
		name    string
		trusted []string
		clients []string
		refused int // of one connection each
	}{
		{"two clients", []string{"127.0.0.1/32"}, []string{"203.0.113.1", "203.0.113.2"}, 0},
		{"one client", []string{"127.0.0.1/32"}, []string{"203.0.113.1", "203.0.113.1", "::ffff:203.0.113.1"}, 2},
		{"one /64", []string{"127.0.0.1/32"}, []string{"2001:db8::1", "2001:db8::ffff:1"}, 1},
		{"two /64s", []string{"127.0.0.1/32"}, []string{"2001:db8:0:1::1", "2001:db8:0:2::1"}, 0},
		{"whoever says anything", nil, []string{"203.0.113.1", "203.0.113.2", "2001:db8::1"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parlortest.Start(t, func(c *config.Config) { c.TrustedProxies, c.ConnectionsPerAddress = tc.trusted, 1 })
			control := s.Client(t)
			room, err := control.CreateRoom(t.Context(), &ivschat.CreateRoomInput{})
			if err != nil {
				t.Fatal(err)
			}
			open := func(i int, address string) (*websocket.Conn, int) {
				conn, response, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{
					HTTPClient: client, HTTPHeader: http.Header{"X-Forwarded-For": {address}},
					Subprotocols: []string{token(t, control, room.Arn, fmt.Sprint("user-", i))},
				})
				if response == nil {
					t.Fatal(err)
				}
				return conn, response.StatusCode
			}
			refused := 0
			var conns []*websocket.Conn
			for i, address := range tc.clients {
				conn, status := open(i, address)
				switch status {
				case http.StatusSwitchingProtocols:
					conns = append(conns, conn)
				case http.StatusTooManyRequests:
					refused++
				default:
					t.Errorf("got %d, want 101 or 429", status)
				}
			}
			if refused != tc.refused {
				t.Errorf("got %d refused, want %d", refused, tc.refused)
			}
			for _, conn := range conns {
				conn.CloseNow()
			}
			for i, address := range tc.clients[:1] {
				eventually(t, "the count is given back", func() bool {
					conn, status := open(i, address)
					if conn != nil {
						conn.CloseNow()
					}
					return status == http.StatusSwitchingProtocols
				})
			}
		})
	}
}

func TestHandshakeRateByClientAddress(t *testing.T) {
	s := parlortest.Start(t, func(c *config.Config) { c.TrustedProxies, c.HandshakesPerAddress = []string{"127.0.0.1/32"}, 2 })
	statuses := map[int]int{}
	for range 20 {
		statuses[try(t, s, http.Header{"X-Forwarded-For": {"203.0.113.1"}})]++
	}
	if statuses[http.StatusTooManyRequests] == 0 || statuses[http.StatusUnauthorized] < 2 || len(statuses) != 2 {
		t.Errorf("got %v, want at least 2 of 401 and the rest 429", statuses)
	}
	if got, want := try(t, s, http.Header{"X-Forwarded-For": {"203.0.113.2"}}), http.StatusUnauthorized; got != want {
		t.Errorf("another client: got %d, want %d", got, want)
	}
}

// A server that lets anybody in answers to pages of this machine alone, and to nobody
// under a foreign name, at the API and for messaging.
func TestOnlyThisMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	addKeys(t, path, newKey("ann", 0))
	servers := map[string]*parlortest.Server{
		"unguarded":        parlortest.Start(t),
		"open":             parlortest.Start(t, func(c *config.Config) { c.Open = true }),
		"with credentials": parlortest.Start(t, withCredentials(path)),
	}
	for _, tc := range []struct {
		name, host, origin string
		refused            bool // by the unguarded one
	}{
		{"neither", "", "", false},
		{"a page of localhost", "", "http://localhost:3000", false},
		{"a page of a loopback address", "", "http://127.0.0.1:8080", false},
		{"a page of the IPv6 loopback address", "", "http://[::1]:8080", false},
		{"a page of a name below localhost", "localhost:4870", "https://app.localhost", false},
		{"an app's page on the device", "", "capacitor://localhost", false},
		{"a name of AWS", "edge.ivschat.us-west-2.amazonaws.com", "", false},
		{"a name of AWS, with a port", "ivschat.us-west-2.amazonaws.com:4870", "http://localhost:3000", false},
		{"a foreign page", "", "https://evil.example", true},
		{"a foreign page with a telling name", "", "http://localhost.evil.example", true},
		{"a page of AWS", "", "https://evil.s3.amazonaws.com", true},
		{"a foreign page under a name of AWS", "ivschat.us-west-2.amazonaws.com", "https://evil.example", true},
		{"no page's own origin", "", "null", true},
		{"a file", "", "file://", true},
		{"no origin at all", "", "://", true},
		{"a foreign host", "evil.example:4870", "", true},
		{"a foreign host and its page", "evil.example:4870", "http://evil.example:4870", true},
		{"a foreign host, a page of localhost", "evil.example", "http://localhost:3000", true},
		{"an address of the network", "192.168.1.2:4870", "", true},
	} {
		for name, s := range servers {
			refused := tc.refused && name == "unguarded"
			header := http.Header{}
			if tc.origin != "" {
				header.Set("Origin", tc.origin)
			}
			_, response, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{
				HTTPClient: client, HTTPHeader: header, Host: tc.host, Subprotocols: []string{"none"},
			})
			want := http.StatusUnauthorized // for the token
			if refused {
				want = http.StatusForbidden
			}
			if response == nil {
				t.Fatal(err)
			}
			if got := response.StatusCode; got != want {
				t.Errorf("%s, %s: a handshake: got %d, want %d", name, tc.name, got, want)
			}
			for _, method := range []string{http.MethodPost, http.MethodOptions} {
				r, err := http.NewRequest(method, s.URL+"/ListRooms", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host, r.Header = tc.host, header.Clone()
				response, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				want := "MissingAuthenticationTokenException"
				switch {
				case refused:
					want = "AccessDeniedException"
				case method == http.MethodOptions:
					want = ""
				}
				if got := response.Header.Get("X-Amzn-ErrorType"); got != want {
					t.Errorf("%s, %s: %s: got %q, want %q", name, tc.name, method, got, want)
				}
			}
		}
	}
}
