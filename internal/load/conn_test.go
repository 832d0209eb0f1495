package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
)

// script is a connection on which a server sends the chunks and hangs up.
type script struct {
	net.Conn

	chunks  [][]byte
	written []byte
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.chunks[0])
	if s.chunks[0] = s.chunks[0][n:]; len(s.chunks[0]) == 0 {
		s.chunks = s.chunks[1:]
	}
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.written = append(s.written, b...)
	return len(b), nil
}

// stub refuses what begins with "no ".
type stub struct{}

func (stub) Dial(context.Context, int, int) (Conn, error) { return Conn{}, errors.ErrUnsupported }

func (stub) AppendMessage(b []byte, _ int, _ string, content []byte) []byte {
	return append(b, content...)
}

func (stub) Refusal(text []byte) (string, bool) {
	code, ok := strings.CutPrefix(string(text), "no ")
	return code, ok
}

var testMark = []byte("load12345678")

func mark(n uint32) string { return string(appendMark(nil, testMark, n, 0)) }

var testLatencies = newLatencies() // are large

func newTestConn(senders int, chunks ...[]byte) (*conn, *script) {
	r := &run{plan: Plan{Rooms: 1, Connections: 1, Rate: float64(senders), PerSender: 1}, target: stub{}, mark: testMark, began: time.Now(),
		latency: testLatencies, refused: map[string]int{}}
	s := &script{chunks: chunks}
	c := newConn(r, &room{}, 0, Conn{Conn: s})
	c.room.turns.Store(int64(senders))
	return c, s
}

// seen is what became of what a server sent.
type seen struct {
	Heard    int64
	Sum      uint64
	Disorder int
	Refused  map[string]int
	Written  string
	End      string
}

func listen(senders int, chunks ...[]byte) (seen, *conn) {
	c, s := newTestConn(senders, chunks...)
	err := c.listen()
	return seen{c.heard.Load(), c.sum, c.disorder, c.run.refused, string(s.written), err.Error()}, c
}

// serverFrame is a frame as servers send it.
func serverFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// TestFrames gives each stream at once, byte by byte, and in pieces of all sizes up to
// 20: that makes no difference.
func TestFrames(t *testing.T) {
	const text, binaryFrame, final = 1, 2, 0x80
	const closed = "closed without a close frame"
	long := strings.Repeat("x", 70_000)
	for _, test := range []struct {
		name   string
		stream [][]byte
		want   seen
	}{
		{"nothing", nil, seen{End: closed}},
		{"three in order", [][]byte{serverFrame(final|text, mark(0)), serverFrame(final|binaryFrame, mark(1)), serverFrame(final|text, mark(2))},
			seen{Heard: 3, End: closed}},
		{"126 bytes or more, 64 KB or more", [][]byte{
			serverFrame(final|text, mark(0)+long[:126-markSize]), serverFrame(final|text, long[:200]+mark(1)),
			serverFrame(final|text, mark(2)+long), serverFrame(final|text, long+mark(3)),
		}, seen{Heard: 4, End: closed}},
		{"two in one", [][]byte{serverFrame(final|text, mark(0)+","+mark(1))}, seen{Heard: 2, End: closed}},
		{"a mark that is none", [][]byte{serverFrame(final|text, string(testMark)+"-7"), serverFrame(final|text, mark(0)[:markSize-1]+"x")}, seen{End: closed}},
		{"out of order", [][]byte{serverFrame(final|text, mark(2)), serverFrame(final|text, mark(0))}, seen{Heard: 2, Disorder: 1, End: closed}},
		{"twice", [][]byte{serverFrame(final|text, mark(2)), serverFrame(final|text, mark(2))}, seen{Heard: 2, Disorder: 1, End: closed}},
		{"of different senders", [][]byte{serverFrame(final|text, mark(1)), serverFrame(final|text, mark(0))}, seen{Heard: 2, End: closed}},
		{"refused", [][]byte{serverFrame(final|text, "no 406"), serverFrame(final|text, "something else")},
			seen{Refused: map[string]int{"406": 1}, End: closed}},
		{"a message in fragments, and a ping between", [][]byte{
			serverFrame(text, mark(0)[:20]), serverFrame(final|9, "still there?"), serverFrame(0, mark(0)[20:30]), serverFrame(final, mark(0)[30:]),
			serverFrame(final|text, mark(2)),
		}, seen{Heard: 2, Written: "\x8a\x8c\x00\x00\x00\x00still there?", End: closed}},
		{"pings and pongs", [][]byte{serverFrame(final|9, ""), serverFrame(final|10, "x")}, seen{Written: "\x8a\x80\x00\x00\x00\x00", End: closed}},
		{"close with a code", [][]byte{serverFrame(final|text, mark(0)), serverFrame(final|8, "\x03\xf0why"), serverFrame(final|text, mark(1))},
			seen{Heard: 1, End: "close frame 1008"}},
		{"close without a code", [][]byte{serverFrame(final|8, "")}, seen{End: "close frame"}},
		{"unknown opcode", [][]byte{serverFrame(final|3, "")}, seen{End: "frame with opcode 3"}},
		{"compressed", [][]byte{serverFrame(final|0x40|text, "")}, seen{End: "frame of an extension that was not agreed on"}},
		{"masked", [][]byte{{final | text, 0x80, 0, 0, 0, 0}}, seen{End: "masked frame"}},
		{"long ping", [][]byte{serverFrame(final|9, long[:126])}, seen{End: "control frame that is long or a fragment"}},
		{"fragment of a ping", [][]byte{serverFrame(9, "")}, seen{End: "control frame that is long or a fragment"}},
		{"too large", [][]byte{binary.BigEndian.AppendUint64([]byte{final | text, 127}, maxMessage+1)}, seen{End: "message of more than 1048576 bytes"}},
		{"as large as it can say", [][]byte{binary.BigEndian.AppendUint64([]byte{final | text, 127}, 1<<64-1)}, seen{End: "message of more than 1048576 bytes"}},
		{"as large as an int", [][]byte{binary.BigEndian.AppendUint64([]byte{final | text, 127}, 1<<63-1)}, seen{End: "message of more than 1048576 bytes"}},
		{"too large in fragments", [][]byte{bytes.Repeat(serverFrame(0, long), maxMessage/70_000+1)}, seen{End: "message of more than 1048576 bytes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream := bytes.Join(test.stream, nil)
			whole, _ := listen(2, stream)
			got := whole
			got.Sum = 0
			if test.want.Refused == nil {
				test.want.Refused = map[string]int{}
			}
			if d := cmp.Diff(got, test.want); d != "" {
				t.Errorf("-got +want:\n%s", d)
			}
			for size := 1; size <= 20 && len(stream) < 500_000; size++ {
				var pieces [][]byte
				for i := 0; i < len(stream); i += size {
					pieces = append(pieces, stream[i:min(i+size, len(stream))])
				}
				if got, _ := listen(2, pieces...); cmp.Diff(got, whole) != "" {
					t.Errorf("in pieces of %d: -got +want:\n%s", size, cmp.Diff(got, whole))
				}
			}
		})
	}
}

// FuzzListen: a server may send whatever it likes, in whatever pieces. It takes neither
// the program down nor more memory than a message may have, and the pieces make no
// difference.
func FuzzListen(f *testing.F) {
	f.Add(serverFrame(0x81, mark(0)), uint16(3))
	f.Add(bytes.Join([][]byte{serverFrame(1, mark(7)[:5]), serverFrame(0x89, "ping"), serverFrame(0x80, mark(7)[5:])}, nil), uint16(1))
	f.Add(serverFrame(0x88, "\x03\xe8"), uint16(2))
	f.Add(serverFrame(0x82, strings.Repeat(mark(1), 10)), uint16(100))
	f.Add(binary.BigEndian.AppendUint64([]byte{0x81, 127}, 1<<63), uint16(0))
	f.Add(serverFrame(0x81, "no 406"), uint16(9))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		whole, c := listen(3, stream)
		if size := cap(c.buffer) + cap(c.fragments); size > 6*maxMessage {
			t.Errorf("took %d bytes", size)
		}
		at := 0
		if len(stream) > 0 {
			at = int(cut) % len(stream)
		}
		if got, _ := listen(3, stream[:at], stream[at:]); cmp.Diff(got, whole) != "" {
			t.Errorf("cut at %d: -got +want:\n%s", at, cmp.Diff(got, whole))
		}
	})
}

// FuzzClientFrame: the WebSocket library reads what we write.
func FuzzClientFrame(f *testing.F) {
	for _, n := range []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16} {
		f.Add(bytes.Repeat([]byte("x"), n), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, binary bool) {
		frame := bytes.NewBuffer(ClientFrame(payload, binary))
		head, err := ws.ReadHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		got := frame.Bytes()
		ws.Cipher(got, head.Mask, 0)
		want := ws.OpText
		if binary {
			want = ws.OpBinary
		}
		if !head.Fin || !head.Masked || head.OpCode != want || head.Length != int64(len(payload)) || !bytes.Equal(got, payload) {
			t.Errorf("got %+v and %q", head, got)
		}
	})
}

// TestReadingAllocatesNothing: the client's own garbage would be measured too.
func TestReadingAllocatesNothing(t *testing.T) {
	c, _ := newTestConn(1)
	var stream []byte
	for n := range uint32(10) {
		stream = append(stream, serverFrame(0x81, fmt.Sprintf(`{"Content":"%s"}`, mark(n)))...)
	}
	got := testing.AllocsPerRun(100, func() {
		if rest, err := c.frames(stream); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for ten messages", got)
	}
}
