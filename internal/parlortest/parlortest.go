// Package parlortest runs a whole Parlor server inside a test: what a client of the
// test meets is what it would meet in production, but for the process.
//
// A server listens on a free port of 127.0.0.1, keeps its data in a directory of the
// test, and is stopped when the test ends, which fails if the stop was not clean.
package parlortest

import (
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/config"
	"parlor/internal/inprocess"
)

// What [Server.Client] signs with.
const (
	Account = "123456789012"
	Region  = "us-west-2"
)

// Server is a running server.
type Server struct {
	URL          string // of the control plane, without a slash at its end
	WebSocketURL string // of the messaging API
	Data         string // its data directory

	stop func()
}

// Start runs a server as parlor dev would, until the test ends. Options change its
// configuration. Warnings and worse go to the test's log.
func Start(t testing.TB, options ...func(*config.Config)) *Server {
	t.Helper()
	return StartLogging(t, t.Output(), options...)
}

// StartLogging is [Start] with a log of the caller's own, who says by the configuration
// what goes there. Writes to it come one at a time.
func StartLogging(t testing.TB, log io.Writer, options ...func(*config.Config)) *Server {
	t.Helper()
	c := config.Default(config.Dev)
	c.Listen = "127.0.0.1:0"
	c.LogLevel = "warn"
	for _, option := range options {
		option(&c)
	}
	running := inprocess.Start(t, c, log)
	return &Server{URL: running.URL, WebSocketURL: running.WebSocketURL, Data: running.Data, stop: running.Stop}
}

// Stop stops the server before the test ends, and returns when it has: another may
// then be started on its Data.
func (s *Server) Stop() { s.stop() }

// Client returns the official SDK's client for the server, with credentials of
// [Account] in [Region] unless options say otherwise.
func (s *Server) Client(t testing.TB, options ...func(*ivschat.Options)) *ivschat.Client {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	t.Cleanup(transport.CloseIdleConnections)
	return ivschat.New(ivschat.Options{
		Region:       Region,
		BaseEndpoint: aws.String(s.URL),
		Credentials:  credentials.NewStaticCredentialsProvider(Account, "secret", ""),
		HTTPClient:   &http.Client{Transport: transport},
	}, options...)
}
