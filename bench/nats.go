package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func natsVersion() string { return server.VERSION }

// serveNATS runs nats-server with its WebSocket listener, without TLS or compression.
func serveNATS() error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, MaxConn: 1 << 20,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true},
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("nats-server does not get ready")
	}
	fmt.Println("listening on", s.WebsocketURL()[len("ws://"):])
	s.WaitForShutdown()
	return nil
}
