package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/gobwas/ws"
)

// serve is what this command does when it is not to measure fan-out: it is a server,
// because a measurement runs it as one, or measures the API. It reports
// whether name is one.
func serve(name string, args []string) bool {
	switch name {
	case "floor":
		log.Fatal(serveFloor())
	case "nats":
		log.Fatal(serveNATS())
	case "api": // no server, but a measurement of its own
		if err := benchAPI(args); err != nil {
			log.Fatal(err)
		}
	case "cases":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := cases(ctx, args); err != nil {
			log.Fatal(err)
		}
	default:
		return false
	}
	return true
}

// serveFloor runs the least that a fan-out in Go can do: whatever a connection says is
// put into one frame, and that is written to each connection of the room, one Write
// each, by the goroutine that read it. It knows no tokens, limits, pings, slow
// readers or errors.
func serveFloor() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rooms := sync.Map{} // path → *floorRoom
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReaderSize(conn, 2048)
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			accept := base64.StdEncoding.EncodeToString(sum[:])
			v, _ := rooms.LoadOrStore(r.URL.Path, &floorRoom{})
			room := v.(*floorRoom)
			room.mu.Lock()
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept)
			room.conns = append(room.conns, conn)
			room.mu.Unlock()
			for {
				payload, err := readClientFrame(in)
				if err != nil {
					return
				}
				frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
				room.mu.Lock()
				for _, c := range room.conns {
					c.Write(frame)
				}
				room.mu.Unlock()
			}
		}()
	}
}

type floorRoom struct {
	mu    sync.Mutex
	conns []net.Conn
}

func readClientFrame(in io.Reader) ([]byte, error) {
	h, err := ws.ReadHeader(in)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	ws.Cipher(payload, h.Mask, 0)
	return payload, nil
}
