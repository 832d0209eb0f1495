// Package testserver runs Parlor, a self-hosted Amazon IVS Chat, inside a Go test: a whole
// server in the test's process, ready in some milliseconds and gone when the test ends.
//
//	func TestLobby(t *testing.T) {
//		s := testserver.Start(t, testserver.Config{Seed: `
//	rooms:
//	  - id: lobby
//	`})
//		client := ivschat.New(ivschat.Options{
//			BaseEndpoint: &s.URL, Region: s.Region,
//			Credentials: credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, ""),
//		})
//		…
//	}
//
// The package brings no AWS SDK into your code: what an SDK is to be told are strings.
//
// Servers of tests that run in parallel know nothing of each other. Each listens on a free
// port of 127.0.0.1, accepts any credentials, and keeps its data in a directory of the
// test. Warnings go to the test's output. A server that does not stop cleanly fails its
// test, and leaves no goroutine behind.
//
// Beside the API, a server can be reset between subtests ([Server.Reset]), and be made to
// fail on purpose ([Server.Inject], [Server.Drop], [Server.Expire]), so that you can test
// what your code does when a connection breaks or a message is refused. Both are what parlor
// dev has under /parlor/dev/; docs/development.md describes them.
package testserver

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"parlor/internal/config"
	"parlor/internal/inprocess"
)

// Config says how a server is to be. The zero Config will do.
type Config struct {
	// Seed is the text of a seed file, as parlor dev --seed takes it: rooms and logging
	// configurations that are there from the start and after each reset.
	Seed string
	// SeedFile is the path of a seed file, which is read again at each reset. It stands
	// instead of Seed.
	SeedFile string
	// Region is the one region that is served, and where the seed is. If empty, every region
	// is served, and the seed is in us-east-1.
	Region string
	// Account is where the seed is, and what [Server.AccessKeyID] says; 000000000000 if
	// empty.
	Account string
	// ReviewWebhooks are HTTP endpoints that stand for message review handlers: URLs by
	// the ARNs of Lambda functions.
	ReviewWebhooks map[string]string
	// TokenLifetime is how long a chat token may open a connection; zero is an hour.
	TokenLifetime time.Duration
	// Data is a directory to keep data in beyond the test; a temporary one if empty.
	Data string
	// Log is where the server's log goes; the test's output if nil.
	Log io.Writer
	// LogLevel is the least severity that is logged: debug, info, warn or error; warn if
	// empty.
	LogLevel string
}

// Server is a running server.
type Server struct {
	// URL is the endpoint of the API, for AWS SDKs and AWS_ENDPOINT_URL_IVSCHAT.
	URL string
	// MessagingURL is the endpoint of the Chat Messaging API, for chat SDKs and WebSockets.
	MessagingURL string
	// Region is what requests are to be signed for, to see the seed.
	Region string
	// AccessKeyID and SecretAccessKey are credentials of the account of the seed. Any
	// others are accepted, too; an access key of 12 digits is its own account.
	AccessKeyID, SecretAccessKey string
	// Data is the server's data directory.
	Data string

	t    testing.TB
	stop func()
}

// Start runs a server until the test ends. What keeps it from starting, such as a faulty
// seed, fails the test at once.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	settings := config.Default(config.Dev)
	settings.Listen = "127.0.0.1:0"
	settings.Console = false
	settings.LogLevel = "warn"
	settings.Data = c.Data
	settings.Seed = c.SeedFile
	s := &Server{Region: "us-east-1", AccessKeyID: settings.Account, SecretAccessKey: "parlor", t: t}
	if c.Region != "" {
		s.Region, settings.Regions = c.Region, []string{c.Region}
	}
	if c.Account != "" {
		s.AccessKeyID, settings.Account = c.Account, c.Account
	}
	if c.LogLevel != "" {
		settings.LogLevel = c.LogLevel
	}
	if c.TokenLifetime != 0 {
		settings.TokenLifetime = c.TokenLifetime
	}
	for _, arn := range slices.Sorted(maps.Keys(c.ReviewWebhooks)) {
		settings.ReviewWebhooks = append(settings.ReviewWebhooks, arn+"="+c.ReviewWebhooks[arn])
	}
	if c.Seed != "" && c.SeedFile != "" {
		t.Fatal("testserver: both Seed and SeedFile are given")
	}
	if c.Seed != "" {
		settings.Seed = filepath.Join(t.TempDir(), "seed.yaml")
		if err := os.WriteFile(settings.Seed, []byte(c.Seed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c.Log == nil {
		c.Log = t.Output()
	}
	running := inprocess.Start(t, settings, c.Log)
	s.URL, s.MessagingURL, s.Data, s.stop = running.URL, running.WebSocketURL, running.Data, running.Stop
	return s
}

// Stop stops the server before the test ends, and returns when it has. Sessions are dropped.
func (s *Server) Stop() { s.stop() }

// Env are the variables that point the AWS SDKs and the AWS CLI at the server, in the form
// of [os.Environ].
func (s *Server) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL_IVSCHAT=" + s.URL,
		"AWS_ACCESS_KEY_ID=" + s.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s.SecretAccessKey,
		"AWS_REGION=" + s.Region, "AWS_DEFAULT_REGION=" + s.Region,
	}
}

// RoomARN is the ARN of a room of the seed that has this id, and no region or account of
// its own.
func (s *Server) RoomARN(id string) string {
	return "arn:aws:ivschat:" + s.Region + ":" + s.AccessKeyID + ":room/" + id
}
