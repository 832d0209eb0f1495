package parlortest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	"github.com/aws/smithy-go"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// withQuotas limits by a file of quotas.
func withQuotas(t *testing.T, text string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quotas.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Quotas = path }
}

func once(o *ivschat.Options) { o.RetryMaxAttempts = 1 }

// elsewhere are callers who share nothing with the usual one.
var elsewhere = map[string]func(*ivschat.Options){
	"another region": func(o *ivschat.Options) { o.Region = "eu-west-1" },
	"another account": func(o *ivschat.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("999999999999", "secret", "")
	},
}

func createRoom(client *ivschat.Client) (string, error) {
	out, err := client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{MaximumMessageRatePerSecond: aws.Int32(100)})
	if err != nil {
		return "", err
	}
	return *out.Arn, nil
}

func createLoggingConfiguration(client *ivschat.Client) (string, error) {
	out, err := client.CreateLoggingConfiguration(context.Background(), &ivschat.CreateLoggingConfigurationInput{
		DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("chat-logs")}},
	})
	if err != nil {
		return "", err
	}
	return *out.Arn, nil
}

// TestGoSDKResourceQuotas: the SDK knows the error by its type, and what it says; a
// deleted resource makes room for another.
func TestGoSDKResourceQuotas(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t, withQuotas(t, "rooms: 2\nlogging-configurations: 3\n"))
	client := s.Client(t, once)
	for _, tc := range []struct {
		name   string
		quota  int32
		create func(*ivschat.Client) (string, error)
		delete func(arn string) error
	}{
		{"rooms", 2, createRoom, func(arn string) error {
			_, err := client.DeleteRoom(context.Background(), &ivschat.DeleteRoomInput{Identifier: &arn})
			return err
		}},
		{"logging configurations", 3, createLoggingConfiguration, func(arn string) error {
			_, err := client.DeleteLoggingConfiguration(context.Background(), &ivschat.DeleteLoggingConfigurationInput{Identifier: &arn})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var last string
			for range tc.quota {
				last = must[string](t)(tc.create(client))
			}
			for range 3 {
				_, err := tc.create(client)
				e, ok := errors.AsType[*types.ServiceQuotaExceededException](err)
				if !ok {
					t.Fatalf("got %v, want a ServiceQuotaExceededException", err)
				}
				if e.Limit != tc.quota || e.ResourceType != types.ResourceTypeRoom || aws.ToString(e.ResourceId) == "" || e.ErrorMessage() == "" {
					t.Errorf("got %+v, want the limit %d and a resource", e, tc.quota)
				}
				if got := statusOf(err); got != http.StatusPaymentRequired {
					t.Errorf("got status %d, want 402", got)
				}
			}
			for name, other := range elsewhere {
				if _, err := tc.create(s.Client(t, once, other)); err != nil {
					t.Errorf("%s: got %v", name, err)
				}
			}
			if err := tc.delete(last); err != nil {
				t.Fatal(err)
			}
			must[string](t)(tc.create(client))
			if _, err := tc.create(client); err == nil {
				t.Error("got one more than was deleted")
			}
		})
	}
}

// statusOf is the HTTP status behind an error of the SDK.
func statusOf(err error) int {
	if e, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// TestGoSDKResourceQuotasHoldUnderARace: the count is in the store's transaction.
func TestGoSDKResourceQuotasHoldUnderARace(t *testing.T) {
	t.Parallel()
	client := parlortest.Start(t, withQuotas(t, "rooms: 7\n")).Client(t, once)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, err := createRoom(client); err != nil && statusOf(err) != http.StatusPaymentRequired {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	all.Wait()
	if got := len(must[*ivschat.ListRoomsOutput](t)(client.ListRooms(t.Context(), &ivschat.ListRoomsInput{})).Rooms); got != 7 {
		t.Errorf("got %d rooms, want 7", got)
	}
}

// TestGoSDKThrottling: one operation over its rate is told so; the rest is not
// concerned; and an SDK that retries as it does by default does not notice.
func TestGoSDKThrottling(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := parlortest.Start(t, withQuotas(t, "requests:\n  ListRooms: 2\n  SendEvent: 2\n"))
	client := s.Client(t, once)
	list := func(c *ivschat.Client) error {
		_, err := c.ListRooms(ctx, &ivschat.ListRoomsInput{})
		return err
	}
	// exhaust asks until it is refused.
	exhaust := func(t *testing.T, ask func() error) error {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if err := ask(); err != nil {
				return err
			}
		}
		t.Fatal("never throttled")
		return nil
	}
	room := must[string](t)(createRoom(client))
	t.Run("an operation whose model has the exception", func(t *testing.T) {
		err := exhaust(t, func() error {
			_, err := client.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &room, EventName: aws.String("e")})
			return err
		})
		e, ok := errors.AsType[*types.ThrottlingException](err)
		if !ok || e.Limit != 2 || e.ErrorMessage() == "" || statusOf(err) != http.StatusTooManyRequests {
			t.Errorf("got %v, want a ThrottlingException with limit 2 and status 429", err)
		}
	})
	t.Run("an operation whose model has it not", func(t *testing.T) {
		err := exhaust(t, func() error { return list(client) })
		e, ok := errors.AsType[smithy.APIError](err)
		if !ok || e.ErrorCode() != "ThrottlingException" || statusOf(err) != http.StatusTooManyRequests {
			t.Errorf("got %v, want a ThrottlingException with status 429", err)
		}
		if retryable := (retry.NewStandard()).IsErrorRetryable(err); !retryable {
			t.Error("the SDK would not retry")
		}
	})
	t.Run("others are not concerned", func(t *testing.T) {
		exhaust(t, func() error { return list(client) })
		if _, err := client.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: &room}); err != nil {
			t.Errorf("another operation: got %v", err)
		}
		for name, other := range elsewhere {
			if err := list(s.Client(t, once, other)); err != nil {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
	t.Run("the SDK's own retries succeed", func(t *testing.T) {
		retrying := s.Client(t) // 3 attempts, exponential backoff
		exhaust(t, func() error { return list(client) })
		failed := 0
		for range 4 {
			// Three tries at most within about a second, at two a second: now and then
			// even they are too many, as on AWS.
			if err := list(retrying); err != nil {
				failed++
			}
		}
		patient := s.Client(t, func(o *ivschat.Options) { o.RetryMaxAttempts = 8 })
		exhaust(t, func() error { return list(client) })
		if err := list(patient); err != nil {
			t.Errorf("with 8 attempts: got %v", err)
		}
		if failed == 4 {
			t.Error("with the default of 3 attempts: all 4 calls failed")
		}
	})
}

// TestGoSDKQuotasOfAWS: --quotas aws is AWS's table, and without quotas nothing is
// limited.
func TestGoSDKQuotasOfAWS(t *testing.T) {
	t.Parallel()
	const asked = 30
	// asks calls ListRooms asked times at once, for a rate that is 5 on AWS.
	asks := func(client *ivschat.Client) (answered int, took time.Duration) {
		begun := time.Now()
		var mu sync.Mutex
		var all sync.WaitGroup
		for range asked {
			all.Go(func() {
				_, err := client.ListRooms(context.Background(), &ivschat.ListRoomsInput{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					answered++
				} else if statusOf(err) != http.StatusTooManyRequests {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		return answered, time.Since(begun)
	}
	limited := parlortest.Start(t, func(c *config.Config) { c.Quotas = "aws" }).Client(t, once)
	answered, took := asks(limited)
	if most := 5 + int(took/(200*time.Millisecond)) + 1; answered < 5 || answered > most {
		t.Errorf("with the quotas of AWS: got %d answered within %s, want 5 to %d", answered, took, most)
	}
	s := parlortest.Start(t, func(c *config.Config) { c.Quotas = "none" })
	free := s.Client(t, once)
	if answered, _ := asks(free); answered != asked {
		t.Errorf("without quotas: got %d answered, want %d", answered, asked)
	}
	for i := range 25 { // AWS has 10
		if _, err := createLoggingConfiguration(free); err != nil {
			t.Fatalf("without quotas: logging configuration %d: %v", i, err)
		}
	}
}

// TestGoSDKConnectionQuota: a handshake over the quota is a 429 that spends no token;
// a session that ends, and a handshake that fails, give their count back.
func TestGoSDKConnectionQuota(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t, withQuotas(t, "connections: 3\n"))
	client := s.Client(t)
	rooms := []string{newRoom(t, client, "a"), newRoom(t, client, "b")}
	used := newToken(t, client, rooms[0], "ann")
	first, status := dial(t, s, used)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("got %d, want 101", status)
	}
	// A thousand handshakes fail: for a token that was used, one that is none, and one
	// whose room is gone.
	gone := newRoom(t, client, "gone")
	orphan := newToken(t, client, gone, "ann")
	must[*ivschat.DeleteRoomOutput](t)(client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &gone}))
	address := strings.TrimPrefix(s.URL, "http://")
	for i := range 1000 {
		token, want := used, http.StatusUnauthorized
		switch i % 3 {
		case 1:
			token = "none"
		case 2:
			token, want = orphan, http.StatusNotFound
		}
		conn, _, status, err := knock(address, token)
		if err != nil || status != want {
			t.Fatalf("try %d: got %d, %v, want %d", i, status, err, want)
		}
		conn.Close()
	}
	second := enter(t, s, client, rooms[0], "bob")
	enter(t, s, client, rooms[1], "cat")
	waiting := newToken(t, client, rooms[1], "dan")
	for range 1000 {
		conn, _, status, err := knock(address, waiting)
		if err != nil || status != http.StatusTooManyRequests {
			t.Fatalf("one too many: got %d, %v, want 429", status, err)
		}
		conn.Close()
	}
	for name, other := range elsewhere {
		client := s.Client(t, other)
		if _, status := dial(t, s, newToken(t, client, newRoom(t, client, "c"), "eve")); status != http.StatusSwitchingProtocols {
			t.Errorf("%s: got %d, want 101", name, status)
		}
	}
	// freed tries until the token that was refused before opens a connection.
	freed := func(how, token string) *peer {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			p, status := dial(t, s, token)
			if status == http.StatusSwitchingProtocols {
				return p
			}
			if status != http.StatusTooManyRequests || time.Now().After(deadline) {
				t.Fatalf("%s: got %d", how, status)
			}
		}
	}
	first.conn.Close(websocket.StatusNormalClosure, "")
	third := freed("a session was closed", waiting)
	must[*ivschat.DisconnectUserOutput](t)(client.DisconnectUser(t.Context(), &ivschat.DisconnectUserInput{RoomIdentifier: &rooms[0], UserId: aws.String("bob")}))
	second.next() // the event
	second.closed()
	freed("a user was disconnected", newToken(t, client, rooms[0], "fay"))
	third.conn.CloseNow()
	freed("a connection broke", newToken(t, client, rooms[0], "gus"))
	if _, status := dial(t, s, newToken(t, client, rooms[0], "hal")); status != http.StatusTooManyRequests {
		t.Errorf("one too many, in the end: got %d, want 429", status)
	}
}

// TestGoSDKPublicationQuotas: what an account's rooms may take in a second counts over
// the API and WebSocket together.
func TestGoSDKPublicationQuotas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, tc := range []struct {
		name, quotas string
		request      map[string]any
		call         func(client *ivschat.Client, room string) error // nil: the API has none
	}{
		{"messages", "send-message: 1\n", map[string]any{"Action": "SEND_MESSAGE", "Content": "hello"}, nil},
		{"deletes", "delete-message: 1\n", map[string]any{"Action": "DELETE_MESSAGE", "Id": "AbCdEfGh1234"}, func(client *ivschat.Client, room string) error {
			_, err := client.DeleteMessage(ctx, &ivschat.DeleteMessageInput{RoomIdentifier: &room, Id: aws.String("AbCdEfGh1234")})
			return err
		}},
		{"disconnects", "disconnect-user: 1\n", map[string]any{"Action": "DISCONNECT_USER", "UserId": "nobody"}, func(client *ivschat.Client, room string) error {
			_, err := client.DisconnectUser(ctx, &ivschat.DisconnectUserInput{RoomIdentifier: &room, UserId: aws.String("nobody")})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parlortest.Start(t, withQuotas(t, tc.quotas))
			client := s.Client(t, once)
			rooms := []string{newRoom(t, client, "a"), newRoom(t, client, "b")}
			peers := []*peer{enter(t, s, client, rooms[0], "ann"), enter(t, s, client, rooms[1], "bob")}
			// What the API does is shown to its room too: read past that to the answer.
			act := func(p *peer, id string) frame {
				request := map[string]any{"RequestId": id}
				for k, v := range tc.request {
					request[k] = v
				}
				p.send(request)
				for {
					if f := p.next(); f.RequestID == id {
						return f
					}
				}
			}
			begun := time.Now()
			taken, refusedThere, refusedHere := 0, 0, 0
			for i := range 4 {
				for n, p := range peers {
					f := act(p, fmt.Sprintf("%d-%d", n, i))
					switch {
					case f.Type != "ERROR":
						taken++
					case f.ErrorCode == http.StatusTooManyRequests:
						refusedThere++
					default:
						t.Errorf("got %+v, want a 429", f)
					}
					if tc.call == nil {
						continue
					}
					err := tc.call(client, rooms[1-n])
					switch e, ok := errors.AsType[*types.ThrottlingException](err); {
					case err == nil:
						taken++
					case ok && e.Limit == 1 && strings.HasSuffix(rooms[1-n], aws.ToString(e.ResourceId)) && statusOf(err) == http.StatusTooManyRequests:
						refusedHere++
					default:
						t.Errorf("got %v, want a ThrottlingException about the room with limit 1", err)
					}
				}
			}
			if most := 1 + int(time.Since(begun)/time.Second) + 1; taken < 1 || taken > most {
				t.Errorf("got %d taken, want 1 to %d", taken, most)
			}
			if refusedThere == 0 || tc.call != nil && refusedHere == 0 {
				t.Errorf("refused: got %d over WebSocket and %d by the API, want some", refusedThere, refusedHere)
			}
			for name, other := range elsewhere {
				client := s.Client(t, once, other)
				room := newRoom(t, client, "c")
				if f := act(enter(t, s, client, room, "eve"), "x"); f.Type == "ERROR" {
					t.Errorf("%s: got %+v", name, f)
				}
			}
		})
	}
}
