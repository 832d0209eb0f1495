package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/load"
)

type benchCommand struct {
	apiFlags

	Rooms       int           `name:"rooms" default:"1" help:"Rooms, which are made for the run and deleted after it."`
	Connections int           `name:"connections" default:"100" help:"Connections in all, spread evenly over the rooms."`
	Rate        float64       `name:"rate" default:"10" help:"Messages a second in each room, at most 100; 0 only connects."`
	Duration    time.Duration `name:"duration" default:"10s" help:"How long messages are sent."`
	Ramp        time.Duration `name:"ramp" default:"0s" help:"Over how long connections are opened; 0s is as fast as they come."`
	Dialers     int           `name:"dialers" default:"64" help:"Connections that are opened at once."`
	Size        int           `name:"size" default:"100" help:"Bytes of a message's content, 36 to 500."`
	Stalled     float64       `name:"stalled" default:"0" help:"Share of the connections, 0 to 1, that read nothing."`
	JSON        bool          `name:"json" help:"Print the report as JSON."`
}

const (
	// What a room may be set to, and what a connection may send, less a little: a
	// limit that a late clock tick would break is not what is measured.
	benchRoomRate   = 100
	benchSenderRate = 8
	benchPatience   = 10 * time.Second
	benchMaxSize    = 500
)

// Validate is called by kong.
func (b *benchCommand) Validate() error {
	plan := b.plan()
	switch {
	case b.Rate > benchRoomRate:
		return fmt.Errorf("--rate: a room may have %d messages a second, not %g", benchRoomRate, b.Rate)
	case b.Size > benchMaxSize:
		return fmt.Errorf("--size: a message may have %d bytes, not %d", benchMaxSize, b.Size)
	}
	return plan.Check()
}

func (b *benchCommand) plan() load.Plan {
	return load.Plan{
		Rooms: b.Rooms, Connections: b.Connections, Rate: b.Rate, Duration: b.Duration, Ramp: b.Ramp, Dialers: b.Dialers,
		Size: b.Size, Stalled: b.Stalled, PerSender: benchSenderRate, Patience: benchPatience,
	}
}

// errUnwell is that of a run that went through and found fault.
var errUnwell = errors.New("not every connection was opened, or deliveries were lost or out of order")

// Run puts a load on a server and prints what came of it. A first signal ends the run
// and gives the report so far.
func (b *benchCommand) Run(line *kong.Context) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := b.target(ctx)
	if err != nil {
		return err
	}
	defer t.cleanUp(line.Stderr)
	progress := newProgress(line.Stderr)
	progress.say("making %d rooms and %d tokens at %s …", b.Rooms, b.Connections, t.endpoint)
	if err := t.prepare(ctx, b); err != nil {
		progress.end()
		return b.hint(err)
	}
	report, err := load.Run(ctx, b.plan(), t, load.Watcher{Tick: func(p load.Progress) { progress.tick(b, p) }})
	progress.end()
	if err != nil {
		return err
	}
	if b.JSON {
		err = printJSON(line.Stdout, report)
	} else {
		err = report.WriteText(line.Stdout)
	}
	if err == nil && !report.Interrupted && (report.Handshakes.Count < report.Connections || report.Lost+report.OutOfOrder+report.Disagreeing > 0) {
		err = errUnwell
	}
	return err
}

// benchTarget is a server that speaks the Amazon IVS Chat API.
type benchTarget struct {
	client    *ivschat.Client
	endpoint  string
	messaging string
	rooms     []string
	tokens    []string // of each connection
}

func (b *benchCommand) target(ctx context.Context) (*benchTarget, error) {
	client, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	messaging, err := b.messagingURL()
	if err != nil {
		return nil, err
	}
	return &benchTarget{client: client, endpoint: cmp.Or(b.Endpoint, "AWS"), messaging: messaging}, nil
}

// prepare makes the rooms and a token for each connection.
func (t *benchTarget) prepare(ctx context.Context, b *benchCommand) error {
	t.rooms = make([]string, b.Rooms)
	err := each(ctx, b.Rooms, func(ctx context.Context, i int) error {
		out, err := t.client.CreateRoom(ctx, &ivschat.CreateRoomInput{
			Name:                        aws.String(fmt.Sprintf("parlor-bench-%d", i)),
			MaximumMessageRatePerSecond: aws.Int32(int32(min(benchRoomRate, max(10, 2*b.Rate)))),
			MaximumMessageLength:        aws.Int32(benchMaxSize),
		})
		if err == nil {
			t.rooms[i] = *out.Arn
		}
		return err
	})
	if err != nil {
		return err
	}
	t.tokens = make([]string, b.Connections)
	return each(ctx, b.Connections, func(ctx context.Context, i int) error {
		out, err := t.client.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{
			RoomIdentifier: &t.rooms[i%b.Rooms], UserId: aws.String("bench-" + strconv.Itoa(i)),
			Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage},
		})
		if err == nil {
			t.tokens[i] = *out.Token
		}
		return err
	})
}

// each calls f for 0 to n-1, several at once, until one fails.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var calls sync.WaitGroup
	for range min(n, 32) {
		calls.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}

// cleanUp deletes the rooms. It does so after an interrupt, too.
func (t *benchTarget) cleanUp(stderr io.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), benchPatience)
	defer cancel()
	err := each(ctx, len(t.rooms), func(ctx context.Context, i int) error {
		if t.rooms[i] == "" {
			return nil
		}
		_, err := t.client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &t.rooms[i]})
		return err
	})
	if err != nil {
		fmt.Fprintf(stderr, "parlor: rooms of this run, named parlor-bench-…, are left: %v\n", err)
	}
}

// Dial implements [load.Target].
func (t *benchTarget) Dial(ctx context.Context, _, i int) (load.Conn, error) {
	return load.Dial(ctx, t.messaging, t.tokens[i])
}

// AppendMessage implements [load.Target].
func (t *benchTarget) AppendMessage(b []byte, _ int, requestID string, content []byte) []byte {
	b = fmt.Appendf(b, `{"Action":"SEND_MESSAGE","RequestId":%q,"Content":"`, requestID)
	return append(append(b, content...), `"}`...)
}

// Refusal implements [load.Target].
func (t *benchTarget) Refusal(frame []byte) (code string, refused bool) {
	if !bytes.Contains(frame, []byte(`"Type":"ERROR"`)) {
		return "", false
	}
	var e struct {
		ErrorCode    int
		ErrorMessage string
	}
	if err := json.Unmarshal(frame, &e); err != nil {
		return "unreadable ERROR", true
	}
	return strconv.Itoa(e.ErrorCode) + " " + e.ErrorMessage, true
}

// progress is the line that says how a run goes. On a terminal it is one line that
// changes, elsewhere a line every few seconds.
type progress struct {
	w        io.Writer
	terminal bool
	width    int
	ticks    int
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, text)
	p.width = len(text)
}

// quietTicks is how many seconds pass between lines where nobody watches.
const quietTicks = 5

func (p *progress) tick(b *benchCommand, now load.Progress) {
	if p.ticks++; !p.terminal && p.ticks%quietTicks != 0 {
		return
	}
	var trouble strings.Builder
	for _, what := range []struct {
		n    int
		name string
	}{{now.Failed, "not opened"}, {now.Broken, "ended"}, {now.Refused, "refused"}} {
		if what.n > 0 {
			fmt.Fprintf(&trouble, ", %d %s", what.n, what.name)
		}
	}
	elapsed := now.Elapsed.Round(time.Second)
	if !now.Sending {
		p.say("connecting %v: %d of %d%s", elapsed, now.Connections, b.Connections, &trouble)
		return
	}
	p.say("%v of %v: %d connections, %d messages, %.0f deliveries/s, p50 %.1f ms, p99 %.1f ms%s", elapsed, b.Duration, now.Connections, now.Sent,
		now.PerSecond, now.P50.Seconds()*1000, now.P99.Seconds()*1000, &trouble)
}

// end leaves the line for what follows.
func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
}

// hint adds to an error what can be done about it.
func (b *benchCommand) hint(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &hintedError{err, "Is a server running there? parlor dev starts one at http://127.0.0.1:4870; --endpoint names another."}
	}
	return err
}

// parseEndpoint reads the URL of an API.
func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not a URL like http://127.0.0.1:4870", text)
	}
	return u, nil
}
