package parlortest_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/coder/websocket"

	"parlor/internal/parlortest"
)

// serve starts parlor serve as a careless administrator's shell does, under a umask
// that takes nothing away. What it prints is kept.
func serve(t *testing.T, arguments ...string) *process {
	t.Helper()
	arguments = append([]string{"-c", `umask 0; exec "$0" "$@"`, command(t), "serve", "--listen", "127.0.0.1:0"}, arguments...)
	p := &process{command: exec.Command("/bin/sh", arguments...), exited: make(chan struct{})}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.command.Stdout, p.command.Stderr = in, in
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	address := make(chan string, 1)
	go func() {
		defer close(p.exited)
		defer out.Close()
		for reader := bufio.NewReader(out); ; {
			line, err := reader.ReadString('\n')
			p.mu.Lock()
			p.said.WriteString(line)
			p.mu.Unlock()
			if url, ok := strings.CutPrefix(strings.TrimSpace(line), "export AWS_ENDPOINT_URL_IVSCHAT=http://"); ok {
				address <- url
			}
			if err != nil {
				break
			}
		}
		p.command.Wait()
	}()
	t.Cleanup(p.kill)
	select {
	case p.address = <-address:
	case <-p.exited:
		t.Fatalf("parlor ended:\n%s", p.output())
	case <-time.After(patience):
		t.Fatalf("parlor does not say that it is ready:\n%s", p.output())
	}
	return p
}

// secrets is what must not be found, by what it is.
type secrets struct {
	mu     sync.Mutex
	values map[string]string // by the value, what it is
}

func (s *secrets) add(what, value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[value] = what
	return value
}

// fresh makes a secret that is nowhere else.
func (s *secrets) fresh(what string) string {
	var b [8]byte
	rand.Read(b[:])
	return s.add(what, what[:1]+hex.EncodeToString(b[:]))
}

// absent fails for every secret that a text has.
func (s *secrets) absent(t *testing.T, where, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, what := range s.values {
		if i := strings.Index(text, value); i >= 0 {
			t.Errorf("%s: has the %s: …%s…", where, what, text[max(0, i-100):min(len(text), i+len(value)+40)])
		}
	}
}

// recorder is the SDK's way to a server. It keeps what it was refused with, and takes
// note of what it sent that is secret.
type recorder struct {
	secrets *secrets

	mu       sync.Mutex
	refusals map[string]int // status and error, and how often
	texts    bytes.Buffer
}

var signature = regexp.MustCompile(`Signature=([0-9a-f]{64})`)

func (r *recorder) Do(request *http.Request) (*http.Response, error) {
	if m := signature.FindStringSubmatch(request.Header.Get("Authorization")); m != nil {
		r.secrets.add("signature", m[1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil && response.StatusCode >= 400 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refusals[strconv.Itoa(response.StatusCode)+" "+response.Header.Get("X-Amzn-Errortype")]++
		response.Header.Write(&r.texts)
		r.texts.Write(body)
	}
	return response, err
}

// TestNothingSecretLeaks has a server of its own process, which logs all it can, live
// through everything that clients do right and wrong, and crash at the end: neither
// the log nor the crash dump, the metrics, the errors that clients see or the files of
// the data directory have what is secret in them. Meanwhile its sockets are watched:
// it opens no connection to anybody.
func TestNothingSecretLeaks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := &secrets{values: map[string]string{}}
	dir := t.TempDir()
	secret, temporarySecret := s.fresh("secret of a key")+"0123456789", s.fresh("secret of a temporary key")+"0123456789"
	sessionToken := s.fresh("session token")
	users := [2]string{s.fresh("user id"), s.fresh("user id")}
	content, attribute, reason := s.fresh("content of a message"), s.fresh("attribute value"), s.fresh("reason")
	s.add("authorization header", "AWS4-HMAC-SHA256 Cred")
	const person = "the-name-of-a-person"
	keys, policy, data := filepath.Join(dir, "credentials"), filepath.Join(dir, "policy.json"), filepath.Join(dir, "data")
	for path, text := range map[string]string{
		keys: "[admin]\naws_access_key_id = AKIAADMINADMINADMIN0\naws_secret_access_key = " + secret + "\n\n[" + person + "]\naws_access_key_id = ASIATEMPORARYKEY0000\n" +
			"aws_secret_access_key = " + temporarySecret + "\naws_session_token = " + sessionToken + "\nexpires = " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + "\npolicy = policy.json\n",
		policy: `{"Statement": [{"Effect": "Allow", "Action": ["ivschat:ListRooms", "ivschat:CreateChatToken"], "Resource": "*"}]}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, "--credentials", keys, "--data", data, "--log-level", "debug", "--log-format", "text")
	server := &parlortest.Server{URL: "http://" + p.address, WebSocketURL: "ws://" + p.address}
	watched := p.watchSockets(t)

	r := &recorder{secrets: s, refusals: map[string]int{}}
	as := func(accessKey, secret, token string) *ivschat.Client {
		return server.Client(t, once, func(o *ivschat.Options) {
			o.HTTPClient, o.Credentials = r, credentials.NewStaticCredentialsProvider(accessKey, secret, token)
		})
	}
	admin := as("AKIAADMINADMINADMIN0", secret, "")
	temporary := as("ASIATEMPORARYKEY0000", temporarySecret, sessionToken)

	// What is right.
	room := newRoom(t, admin, "lobby")
	gone := newRoom(t, admin, "gone")
	must[string](t)(createLoggingConfiguration(admin))
	token := func(room, user string, capabilities ...types.ChatTokenCapability) string {
		t.Helper()
		out := must[*ivschat.CreateChatTokenOutput](t)(temporary.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
			RoomIdentifier: &room, UserId: &user, Capabilities: capabilities, Attributes: map[string]string{"k": attribute},
		}))
		return s.add("chat token", *out.Token)
	}
	tokens := []string{token(room, users[0], everything...), token(room, users[1])}
	orphan := token(gone, users[0])
	var peers [2]*peer
	for i := range peers {
		var status int
		if peers[i], status = dial(t, server, tokens[i]); status != http.StatusSwitchingProtocols {
			t.Fatalf("got %d, want 101", status)
		}
	}
	peers[0].send(map[string]any{"Action": "SEND_MESSAGE", "Content": content, "Attributes": map[string]string{"k": attribute}})
	for _, peer := range peers {
		if f := peer.next(); f.Content != content || f.Sender.UserID != users[0] || f.Sender.Attributes["k"] != attribute {
			t.Fatalf("got %+v, want the message", f)
		}
	}
	must[*ivschat.SendEventOutput](t)(admin.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("e"), Attributes: map[string]string{"k": attribute}}))
	must[*ivschat.DeleteMessageOutput](t)(admin.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: &room, Id: aws.String("AbCdEfGh1234"), Reason: &reason}))

	// What is wrong, of the API. Each may be refused as it likes.
	long := strings.Repeat(content, 200)
	attributes := map[string]string{"k": strings.Repeat(attribute, 200)}
	must[*ivschat.DeleteRoomOutput](t)(admin.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &gone}))
	wrong := func(what string, err error) {
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	createToken := func(in ivschat.CreateChatTokenInput) error {
		_, err := admin.CreateChatToken(ctx, &in)
		return err
	}
	wrong("a long user id", createToken(ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: aws.String(strings.Repeat(users[0], 100))}))
	wrong("a user id as room", createToken(ivschat.CreateChatTokenInput{RoomIdentifier: &users[0], UserId: &users[0]}))
	wrong("a room that is gone", createToken(ivschat.CreateChatTokenInput{RoomIdentifier: &gone, UserId: &users[0]}))
	wrong("a content as capability", createToken(ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &users[0], Capabilities: []types.ChatTokenCapability{types.ChatTokenCapability(content)}}))
	wrong("long attributes", createToken(ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &users[0], Attributes: attributes}))
	_, err := admin.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("aws:" + content), Attributes: attributes})
	wrong("an event", err)
	_, err = admin.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &gone, UserId: &users[0], Reason: &reason})
	wrong("a kick from nowhere", err)
	_, err = admin.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &room, UserId: &users[0], Reason: aws.String(strings.Repeat(reason, 50))})
	wrong("a long reason", err)
	_, err = admin.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: &room, Id: &content, Reason: &reason})
	wrong("a message that is none", err)
	_, err = admin.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &tokens[0]})
	wrong("a chat token as room", err)
	_, err = admin.ListRooms(ctx, &ivschat.ListRoomsInput{NextToken: &tokens[0]})
	wrong("a chat token as page token", err)
	_, err = temporary.CreateRoom(ctx, &ivschat.CreateRoomInput{})
	wrong("what a policy does not allow", err)
	for what, client := range map[string]*ivschat.Client{
		"a wrong secret":              as("AKIAADMINADMINADMIN0", temporarySecret, ""),
		"a secret as access key":      as(secret, secret, ""),
		"no session token":            as("ASIATEMPORARYKEY0000", temporarySecret, ""),
		"a wrong session token":       as("ASIATEMPORARYKEY0000", temporarySecret, tokens[0]),
		"a session token out of turn": as("AKIAADMINADMINADMIN0", secret, sessionToken),
	} {
		_, err := client.ListRooms(ctx, &ivschat.ListRoomsInput{})
		wrong(what, err)
	}
	// A date that is none, and one of a credential scope, are quoted back, as AWS does.
	date := time.Now().UTC().Format("20060102T150405Z")
	for _, authorization := range []string{
		"Bearer " + tokens[0], "AWS4-HMAC-SHA256 " + secret, "AWS4-HMAC-SHA256 Credential=" + secret + ", SignedHeaders=host, Signature=" + sessionToken,
		"AWS4-HMAC-SHA256 Credential=AKIAADMINADMINADMIN0/" + date[:8] + "/" + secret + "/" + sessionToken + "/" + content + ", SignedHeaders=host;x-amz-date, Signature=" + content,
		"AWS4-HMAC-SHA256 Credential=AKIAADMINADMINADMIN0/" + date[:8] + "/us-west-2/ivschat/aws4_request, SignedHeaders=" + users[0] + ", Signature=" + sessionToken,
		"AWS4-HMAC-SHA256 Credential=AKIAADMINADMINADMIN0/20200101/us-west-2/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + sessionToken,
	} {
		for _, target := range []string{"/ListRooms", "/" + tokens[0], "/?token=" + tokens[0], "/tags/" + content + "?tagKeys=" + attribute,
			"/ListRooms?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + secret + "&X-Amz-Signature=" + sessionToken + "&X-Amz-Security-Token=" + sessionToken} {
			for _, header := range []string{"Authorization", "X-Unrelated"} {
				request, err := http.NewRequest("POST", server.URL+target, strings.NewReader(`{"userId": "`+users[0]+`", "attributes": {"k": `+attribute))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set(header, authorization)
				request.Header.Set("X-Amz-Security-Token", sessionToken)
				request.Header.Set("X-Amz-Date", date)
				must[*http.Response](t)(r.Do(request))
			}
		}
	}
	// A body that is signed well, and garbage.
	_, err = admin.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &users[0]},
		withBody(`{"roomIdentifier": "`+content+`", "userId": {"`+users[0]+`": "`+attribute))
	wrong("a garbled body", err)

	// What is wrong, of messaging. The second may do nothing.
	var errorFrames strings.Builder
	say := func(p *peer, kind websocket.MessageType, text string) {
		t.Helper()
		time.Sleep(110 * time.Millisecond) // 10 a second
		if err := p.conn.Write(ctx, kind, []byte(text)); err != nil {
			t.Fatal(err)
		}
		for {
			within, cancel := context.WithTimeout(ctx, patience)
			_, frame, err := p.conn.Read(within)
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", text[:min(60, len(text))], err)
			}
			if bytes.Contains(frame, []byte(`"ERROR"`)) {
				errorFrames.Write(frame)
				return
			}
		}
	}
	for _, text := range []string{
		`{"Action":"SEND_MESSAGE","Content":"` + content, `{"Action":"` + content + `"}`, `{"Action":"SEND_MESSAGE","Content":"` + long + `"}`, content, `["` + content + `"]`,
		`{"Action":"SEND_MESSAGE","Content":"a","Attributes":{"k":"` + strings.Repeat(attribute, 100) + `"}}`, `{"Action":"SEND_MESSAGE","Content":"a","Attributes":"` + attribute + `"}`,
		`{"Action":"DELETE_MESSAGE","Id":"` + long + `","Reason":"` + reason + `"}`, `{"Action":"DISCONNECT_USER","UserId":"` + strings.Repeat(users[0], 100) + `"}`,
	} {
		say(peers[0], websocket.MessageText, text)
	}
	say(peers[0], websocket.MessageBinary, content)
	say(peers[1], websocket.MessageText, `{"Action":"SEND_MESSAGE","Content":"`+content+`"}`)
	say(peers[1], websocket.MessageText, `{"Action":"DISCONNECT_USER","UserId":"`+users[0]+`","Reason":"`+reason+`"}`)
	for what, token := range map[string]string{
		"a used token": tokens[0], "half a token": tokens[0][:len(tokens[0])/2], "a token of no room": orphan, "a secret": secret, "a user id": users[0], "two": tokens[0] + ", " + tokens[1],
	} {
		request, err := http.NewRequest("GET", server.URL+"/?token="+tokens[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": token} {
			request.Header.Set(name, value)
		}
		if response := must[*http.Response](t)(r.Do(request)); response.StatusCode < 400 {
			t.Errorf("%s: got %s", what, response.Status)
		}
	}
	// Below WebSocket and below HTTP: frames unmasked, malformed and not UTF-8, and
	// lines that are no HTTP.
	for _, frame := range []string{"\x81\x05" + content, "\xf1\x80" + content, "\x81\xfe\xff\xff" + content, "\x88\x81" + content} {
		conn, in, status, err := knock(p.address, token(room, users[0]))
		if err != nil || status != http.StatusSwitchingProtocols {
			t.Fatalf("got %d, %v, want 101", status, err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, frame)
		conn.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(in) // to its end, however that comes
		errorFrames.Write(text)
		conn.Close()
	}
	for _, line := range []string{tokens[0] + "\r\n\r\n", "GET / HTTP/1.1\r\n" + tokens[0] + "\r\n\r\n", "GET /\x00" + content + " HTTP/1.1\r\nHost: " + content + "\r\n\r\n", "\x16\x03\x01\x00\xa5\x01" + content,
		"POST /CreateRoom HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + content + "\r\nAuthorization: " + secret + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b " + users[0] + "\r\n\r\n"} {
		conn := must[net.Conn](t)(net.DialTimeout("tcp", p.address, patience))
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, line)
		conn.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(conn)
		errorFrames.Write(text)
		conn.Close()
	}

	// Kicks, by a moderator and by the API; then a file of keys that is bad.
	peers[0].send(map[string]any{"Action": "DISCONNECT_USER", "UserId": users[1], "Reason": reason})
	must[*ivschat.DisconnectUserOutput](t)(admin.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &room, UserId: &users[0], Reason: &reason}))
	if err := os.WriteFile(keys, []byte("[admin]\n"+secret+" = "+temporarySecret+"\naws_session_token "+sessionToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(p.output(), "credentials not reloaded"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the bad file was not noticed:\n%s", p.output())
		}
	}
	last, status := dial(t, server, token(room, users[0], everything...)) // who is there at the crash
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("got %d, want 101", status)
	}
	last.say(content)

	var seen strings.Builder
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		response := must[*http.Response](t)(http.Get(server.URL + path))
		text := must[[]byte](t)(io.ReadAll(response.Body))
		response.Body.Close()
		s.absent(t, path, string(text))
		seen.Write(text)
	}
	if strings.Contains(seen.String(), person) {
		t.Error("/metrics: has the name of a user")
	}
	checkModes(t, data)
	checkFiles(t, s, data)
	if sampled, foreign := watched(); runtime.GOOS == "linux" && (sampled == 0 || len(foreign) > 0) {
		t.Errorf("looked %d times at the server's sockets, got %q, want none but those of its port", sampled, foreign)
	}
	p.command.Process.Signal(syscall.SIGQUIT) // dies with the stacks of all goroutines
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the process did not crash")
	}
	log := p.output()
	for _, want := range []string{"SIGQUIT", "goroutine ", "api request", "session ended", "InvalidSignatureException", "credentials not reloaded"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q: the test does not see what it is to look at", want)
		}
	}
	s.absent(t, "the log", log)
	if strings.Contains(log, person) {
		t.Error("the log: has the name of a user")
	}
	s.absent(t, "the errors of messaging", errorFrames.String())
	s.absent(t, "the errors of the API", r.texts.String())
	for _, want := range []string{"400 ValidationException", "400 SerializationException", "403 AccessDeniedException", "403 InvalidSignatureException", "403 UnrecognizedClientException",
		"403 IncompleteSignatureException", "403 MissingAuthenticationTokenException", "404 ResourceNotFoundException", "401 ", "404 "} {
		if r.refusals[want] == 0 {
			t.Errorf("nothing was refused with %s: got %v", want, r.refusals)
		}
	}
}

// withBody has the SDK sign and send another body than its own.
func withBody(body string) func(*ivschat.Options) {
	return func(o *ivschat.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Build.Add(middleware.BuildMiddlewareFunc("body", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
				request, err := in.Request.(*smithyhttp.Request).SetStream(strings.NewReader(body))
				if err != nil {
					return middleware.BuildOutput{}, middleware.Metadata{}, err
				}
				request.ContentLength = int64(len(body))
				in.Request = request
				return next.HandleBuild(ctx, in)
			}), middleware.After)
		})
	}
}

// checkModes looks at a data directory: for its owner alone, and so all that is in it.
func checkModes(t *testing.T, data string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %04o, want %04o", e.Name(), got, want)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("the data directory: got %d files, %v", files, err)
	}
}

// checkFiles looks for what a stolen data directory would give.
func checkFiles(t *testing.T, s *secrets, data string) {
	t.Helper()
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			s.absent(t, "the file "+e.Name(), string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// watchSockets looks at the sockets of the process until the result is called, which
// returns how often it looked, and what it saw that was neither the port that the
// process listens on nor a connection made to it.
//
// A process's sockets are the inodes behind its descriptors; whose they are is in the
// tables of its network name space.
func (p *process) watchSockets(t *testing.T) func() (sampled int, foreign []string) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	number := must[int](t)(strconv.Atoi(port))
	sampled, foreign := 0, []string(nil)
	go func() {
		defer close(done)
		for {
			ours := map[string]bool{}
			proc := fmt.Sprintf("/proc/%d", p.command.Process.Pid)
			descriptors, _ := os.ReadDir(proc + "/fd") // gone with the process
			for _, d := range descriptors {
				link, _ := os.Readlink(proc + "/fd/" + d.Name())
				if inode, ok := strings.CutPrefix(link, "socket:["); ok {
					ours[strings.TrimSuffix(inode, "]")] = true
				}
			}
			found := 0
			for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
				text, _ := os.ReadFile(proc + "/net/" + table)
				for line := range strings.Lines(string(text)) {
					fields := strings.Fields(line) // sl local remote st queues tr retransmits uid timeout inode
					if len(fields) < 10 || !ours[fields[9]] {
						continue
					}
					found++
					if !strings.HasPrefix(table, "tcp") || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) {
						if what := table + " " + fields[1] + " to " + fields[2]; !slices.Contains(foreign, what) {
							foreign = append(foreign, what)
						}
					}
				}
			}
			if found > 0 {
				sampled++
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return sync.OnceValues(func() (int, []string) {
		close(stop)
		<-done
		return sampled, foreign
	})
}
