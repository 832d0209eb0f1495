package testserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/smithy-go"
	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parlor/testserver"
)

const seed = `
loggingConfigurations:
  - name: archive
    destinationConfiguration:
      s3: {bucketName: chat-archive}
rooms:
  - id: lobby
    name: Lobby
    maximumMessageRatePerSecond: 100
    tags: {team: web}
  - name: logged
    loggingConfigurationIdentifiers: [archive]
`

func client(t *testing.T, s *testserver.Server, options ...func(*ivschat.Options)) *ivschat.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return ivschat.New(ivschat.Options{
		BaseEndpoint: &s.URL, Region: s.Region, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, ""),
	}, options...)
}

// dial enters a room.
func dial(t *testing.T, s *testserver.Server, room, user string) *websocket.Conn {
	t.Helper()
	conn, status, err := try(t, s, s.Token(room, user, "SEND_MESSAGE", "DELETE_MESSAGE"))
	if err != nil {
		t.Fatalf("%s cannot enter: %d, %v", user, status, err)
	}
	return conn
}

func try(t *testing.T, s *testserver.Server, token string) (*websocket.Conn, int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	conn, response, err := websocket.Dial(ctx, s.MessagingURL, &websocket.DialOptions{
		Subprotocols: []string{token}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		if response == nil {
			return nil, 0, err
		}
		return nil, response.StatusCode, err
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn, response.StatusCode, nil
}

const patience = 30 * time.Second

type frame struct {
	Type, Content, RequestID, ErrorMessage, EventName string
	ErrorCode                                         int
}

func read(t *testing.T, conn *websocket.Conn) (f frame, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// say sends a message and returns what answers it.
func say(t *testing.T, conn *websocket.Conn, content string) frame {
	t.Helper()
	text := fmt.Sprintf(`{"Action":"SEND_MESSAGE","RequestId":%q,"Content":%q}`, content, content)
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := read(t, conn)
		if err != nil {
			t.Fatal(err)
		}
		if f.RequestID == content {
			return f
		}
	}
}

func TestSeedIsThere(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Config{Seed: seed, Region: "eu-west-1", Account: "123456789012"})
	out, err := client(t, s).ListRooms(t.Context(), &ivschat.ListRoomsInput{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, room := range out.Rooms {
		names = append(names, *room.Name)
	}
	slices.Sort(names)
	if got, want := strings.Join(names, " "), "Lobby logged"; got != want {
		t.Errorf("got rooms %q, want %q", got, want)
	}
	lobby := s.RoomARN("lobby")
	if want := "arn:aws:ivschat:eu-west-1:123456789012:room/lobby"; lobby != want {
		t.Errorf("got %s, want %s", lobby, want)
	}
	ann, bob := dial(t, s, lobby, "ann"), dial(t, s, lobby, "bob")
	if f := say(t, ann, "hello"); f.Type != "MESSAGE" {
		t.Errorf("got %+v, want the message", f)
	}
	if f, err := read(t, bob); err != nil || f.Content != "hello" {
		t.Errorf("got %+v, %v, want the message", f, err)
	}
}

// TestServersKnowNothingOfEachOther: tests may run in parallel.
func TestServersKnowNothingOfEachOther(t *testing.T) {
	t.Parallel()
	var running sync.WaitGroup
	servers := make([]*testserver.Server, 4)
	for i := range servers {
		servers[i] = testserver.Start(t, testserver.Config{})
	}
	for i, s := range servers {
		c := client(t, s)
		running.Go(func() {
			for range i {
				if _, err := c.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	for i, s := range servers {
		out, err := client(t, s).ListRooms(t.Context(), &ivschat.ListRoomsInput{})
		if err != nil || len(out.Rooms) != i {
			t.Errorf("server %d: got %d rooms, %v, want %d", i, len(out.Rooms), err, i)
		}
	}
}

// TestNothingStays: when a test is over, neither goroutines nor connections of its server
// are left, whatever was going on.
func TestNothingStays(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("a test", func(t *testing.T) {
		s := testserver.Start(t, testserver.Config{Seed: seed})
		dial(t, s, s.RoomARN("lobby"), "ann") // who never reads that the room is gone
		s.Reset()
		s.Inject(testserver.Fault{Fault: "delay", On: []string{"delivery", "SEND_MESSAGE"}, Milliseconds: 20_000})
		bob := dial(t, s, s.RoomARN("lobby"), "bob")
		if err := bob.Write(t.Context(), websocket.MessageText, []byte(`{"Action":"SEND_MESSAGE","Content":"late"}`)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		s.Stop()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the stop took %s, want it not to wait for delays", took)
		}
	})
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("testing.(*T).Parallel"))
}

// TestReset: what was made is gone, what was seeded is there again, and who was there is
// sent away as when the room is deleted. Requests go on meanwhile.
func TestReset(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Config{Seed: seed})
	c := client(t, s)
	lobby := s.RoomARN("lobby")
	made, err := c.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String("made")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateRoom(t.Context(), &ivschat.UpdateRoomInput{Identifier: &lobby, Name: aws.String("changed")}); err != nil {
		t.Fatal(err)
	}
	ann, bob := dial(t, s, lobby, "ann"), dial(t, s, *made.Arn, "bob")
	unused := s.Token(lobby, "eve")
	s.Inject(testserver.Fault{Fault: "error", On: []string{"api"}, Status: 503})

	s.Reset()

	// The room of now is another, while those of before have yet to go.
	again := dial(t, s, lobby, "ann")
	if f := say(t, again, "again"); f.Type != "MESSAGE" {
		t.Errorf("got %+v, want the message", f)
	}
	for name, conn := range map[string]*websocket.Conn{"ann": ann, "bob": bob} {
		_, err := read(t, conn)
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 1001 || !strings.Contains(closed.Reason, "404") {
			t.Errorf("%s: got %v, want 1001 with a 404 in its reason", name, err)
		}
	}
	if _, err := c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: made.Arn}); !isCode(err, "ResourceNotFoundException") {
		t.Errorf("got %v, want the room to be gone", err)
	}
	room, err := c.GetRoom(t.Context(), &ivschat.GetRoomInput{Identifier: &lobby})
	if err != nil || *room.Name != "Lobby" || room.Tags["team"] != "web" {
		t.Errorf("got %+v, %v, want the room as it was seeded", room, err)
	}
	if _, status, err := try(t, s, unused); err == nil || status != http.StatusUnauthorized {
		t.Errorf("got %d, %v, want a token from before to be refused with 401", status, err)
	}
}

func isCode(err error, code string) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == code
}

// TestResetUnderLoad: whatever is in flight, nobody of before is in the room after, and no
// message of before is shown there.
func TestResetUnderLoad(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Config{Seed: seed, LogLevel: "error"})
	lobby := s.RoomARN("lobby")
	for round := range 5 {
		stop := make(chan struct{})
		var running sync.WaitGroup
		for i := range 4 {
			token := s.Token(lobby, fmt.Sprint("user-", i), "SEND_MESSAGE")
			running.Go(func() { // talks until it is sent away
				conn, response, err := websocket.Dial(context.Background(), s.MessagingURL, &websocket.DialOptions{Subprotocols: []string{token}})
				if err != nil {
					if response == nil || response.StatusCode != http.StatusUnauthorized { // too late for the reset
						t.Error(err)
					}
					return
				}
				defer conn.CloseNow()
				go func() {
					for {
						if _, _, err := conn.Read(context.Background()); err != nil {
							return
						}
					}
				}()
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if conn.Write(context.Background(), websocket.MessageText, []byte(`{"Action":"SEND_MESSAGE","Content":"before"}`)) != nil {
						return
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		s.Reset()
		after := dial(t, s, lobby, "after")
		for i := range 5 {
			if f := say(t, after, fmt.Sprint("after-", i)); f.Type != "MESSAGE" {
				t.Errorf("round %d: got %+v, want a message", round, f)
			}
		}
		close(stop)
		running.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, text, err := after.Read(ctx)
		cancel()
		if err == nil {
			t.Errorf("round %d: got %s in the new room", round, text)
		}
	}
}

// TestResetIsQuick: fit for between two tests. Of many, one has to be: the machine does
// other things, too.
func TestResetIsQuick(t *testing.T) {
	s := testserver.Start(t, testserver.Config{Seed: seed})
	const want = 50 * time.Millisecond
	quickest := time.Hour
	for try := 0; try < 100 && quickest > want; try++ {
		dial(t, s, s.RoomARN("lobby"), "ann")
		begun := time.Now()
		s.Reset()
		quickest = min(quickest, time.Since(begun))
	}
	t.Logf("a reset took %s", quickest)
	if quickest > want {
		t.Errorf("got %s, want %s at most", quickest, want)
	}
}

// TestResetDiscardsChatLogs: neither what waits in spools nor what was written is left.
func TestResetDiscardsChatLogs(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Config{Seed: seed})
	c := client(t, s)
	out, err := c.ListRooms(t.Context(), &ivschat.ListRoomsInput{Name: aws.String("logged")})
	if err != nil || len(out.Rooms) != 1 {
		t.Fatal(out, err)
	}
	event := func() {
		t.Helper()
		if _, err := c.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: out.Rooms[0].Arn, EventName: aws.String("e")}); err != nil {
			t.Fatal(err)
		}
	}
	logs := func() int {
		found, _ := filepath.Glob(filepath.Join(s.Data, "logs", "s3", "chat-archive", "AWSLogs", "*", "*", "*", "*", "*", "*", "*", "*", "*"))
		return len(found)
	}
	event()
	wait(t, "the first log", func() bool { return logs() > 0 })
	event() // which waits a second for others
	s.Reset()
	time.Sleep(2 * time.Second)
	if n := logs(); n > 0 {
		t.Errorf("got %d objects, want none", n)
	}
	event()
	wait(t, "a log after the reset", func() bool { return logs() > 0 })
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !until(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// TestSeedFileIsReadAgain: a reset takes the file as it is then; one that is not usable
// changes nothing.
func TestSeedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seed.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rooms: [{id: one}]")
	s := testserver.Start(t, testserver.Config{SeedFile: file})
	c := client(t, s)
	rooms := func() string {
		t.Helper()
		out, err := c.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, room := range out.Rooms {
			ids = append(ids, *room.Id)
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
	write("rooms: [{id: two}, {id: three}]")
	s.Reset()
	if got, want := rooms(), "three two"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	write("rooms:\n  - id: two\n    colour: red\n  - {}\n")
	status, text := post(t, s.URL+"/parlor/dev/reset", "{}")
	if status != http.StatusConflict || !strings.Contains(text, "seed.yaml:3: ") || !strings.Contains(text, "seed.yaml:4: ") {
		t.Errorf("got %d %s, want 409 with every fault", status, text)
	}
	if got, want := rooms(), "three two"; got != want {
		t.Errorf("got %q, want %q as before", got, want)
	}
}

func post(t *testing.T, url, body string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var b bytes.Buffer
	b.ReadFrom(response.Body)
	return response.StatusCode, b.String()
}

// TestSDKRetries: the AWS SDK tries a 503 again, twice, and the application hears nothing.
func TestSDKRetries(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Config{})
	c := client(t, s, func(o *ivschat.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 10 * time.Millisecond })
	})
	s.Inject(testserver.Fault{Fault: "error", On: []string{"CreateRoom"}, Status: 503, Times: 2})
	if _, err := c.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err != nil {
		t.Errorf("got %v, want the third try to succeed", err)
	}
	s.Inject(testserver.Fault{Fault: "error", On: []string{"CreateRoom"}, Status: 503, Times: 3})
	if _, err := c.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); !isCode(err, "ServiceUnavailableException") {
		t.Errorf("got %v, want the third error in a row to be reported", err)
	}
	out, err := c.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
	if err != nil || len(out.Rooms) != 1 {
		t.Errorf("got %d rooms, %v, want the one that was made", len(out.Rooms), err)
	}
	s.Inject(testserver.Fault{Fault: "error", On: []string{"ListTagsForResource"}, Status: 403, Message: "Not today."})
	_, err = c.ListTagsForResource(t.Context(), &ivschat.ListTagsForResourceInput{ResourceArn: out.Rooms[0].Arn})
	if !isCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), "Not today.") {
		t.Errorf("got %v, want AccessDeniedException with the message", err)
	}
	s.ClearFaults()
	if _, err = c.ListTagsForResource(t.Context(), &ivschat.ListTagsForResourceInput{ResourceArn: out.Rooms[0].Arn}); err != nil {
		t.Error(err)
	}
}

// TestReviewFails: a handler that fails or is silent leaves the message to the fallback.
func TestReviewFails(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		fmt.Fprint(w, `{"ReviewResult":"ALLOW","Content":"reviewed"}`)
	}))
	defer handler.Close()
	s := testserver.Start(t, testserver.Config{Seed: `
rooms:
  - id: strict
    messageReviewHandler: {webhook: "` + handler.URL + `", fallbackResult: DENY}
`})
	ann := dial(t, s, s.RoomARN("strict"), "ann")
	if f := say(t, ann, "one"); f.Content != "reviewed" {
		t.Errorf("got %+v, want what the webhook says", f)
	}
	<-asked
	s.Inject(testserver.Fault{Fault: "error", On: []string{"review"}, Times: 1})
	if f := say(t, ann, "two"); f.ErrorCode != http.StatusNotAcceptable {
		t.Errorf("got %+v, want 406", f)
	}
	s.Inject(testserver.Fault{Fault: "delay", On: []string{"review"}, Milliseconds: 500, Times: 1})
	if f := say(t, ann, "three"); f.ErrorCode != http.StatusNotAcceptable {
		t.Errorf("got %+v, want 406", f)
	}
	if len(asked) > 0 {
		t.Error("the handler was asked all the same")
	}
	if f := say(t, ann, "four"); f.Content != "reviewed" {
		t.Errorf("got %+v, want what the webhook says", f)
	}
}

// TestNoInternalTypes: users can name everything that the package's own names mention.
func TestNoInternalTypes(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		internal := func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && (x.Name == "config" || x.Name == "inprocess") {
					t.Errorf("%s: %s.%s is in what is exported", name, x.Name, s.Sel.Name)
				}
			}
			return true
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" {
					t.Errorf("%s has an init", name)
				}
				if d.Name.IsExported() {
					ast.Inspect(d.Type, internal)
				}
			case *ast.GenDecl:
				if d.Tok == token.TYPE {
					ast.Inspect(d, func(n ast.Node) bool {
						if f, ok := n.(*ast.Field); ok && len(f.Names) > 0 && !f.Names[0].IsExported() {
							return false
						}
						return internal(n)
					})
				}
			}
		}
	}
}
