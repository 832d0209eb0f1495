package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/load"
)

type benchCommand struct {
	apiFlags

	Rooms       int           `name:"rooms" default:"1" help:"Rooms, which are made for the run and deleted after it."`
	Connections int           `name:"connections" default:"100" help:"Connections in all, spread evenly over the rooms."`
	Rate        float64       `name:"rate" default:"10" help:"Messages a second in each room, at most 100; 0 only connects."`
	Duration    time.Duration `name:"duration" default:"10s" help:"How long messages are sent, or connections held."`
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

	// How long an interrupt waits for the rooms that are being made.
	interruptPatience = 2 * time.Second
)

// Validate is called by kong.
func (b *benchCommand) Validate() error {
	if _, err := b.messagingURL(); err != nil {
		return err
	}
	switch {
	case !(b.Rate >= 0 && b.Rate <= benchRoomRate): // NaN is neither
		return fmt.Errorf("--rate: must be between 0 and %d messages a second, not %g", benchRoomRate, b.Rate)
	case b.Size > benchMaxSize:
		return fmt.Errorf("--size: a message has at most %d bytes, not %d", benchMaxSize, b.Size)
	}
	plan := b.plan()
	var fault *load.PlanError
	if errors.As(plan.Check(), &fault) {
		return fmt.Errorf("--%s: %s", strings.ToLower(fault.Field), fault.Problem)
	}
	return nil
}

func (b *benchCommand) plan() load.Plan {
	return load.Plan{
		Rooms: b.Rooms, Connections: b.Connections, Rate: b.Rate, Duration: b.Duration, Ramp: b.Ramp, Dialers: b.Dialers,
		Size: b.Size, Stalled: b.Stalled, PerSender: benchSenderRate, Patience: benchPatience,
	}
}

// Run puts a load on a server and prints what came of it. A first signal ends the run
// and gives the report so far; a second one ends the command, and leaves the rooms.
func (b *benchCommand) Run(line *kong.Context) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	t, err := b.target(ctx)
	if err != nil {
		return err
	}
	defer t.cleanUp(line.Stderr)
	progress := newProgress(line.Stderr)
	progress.say("preparing at %s: rooms, and a token for each connection", b.Endpoint)
	if err := t.prepare(ctx, b); err != nil {
		progress.end()
		if ctx.Err() != nil {
			return errors.New("stopped before there was anything to report")
		}
		return err
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
	if err != nil {
		return err
	}
	return verdict(report)
}

// verdict is an error when a run that went through found fault.
func verdict(r *load.Report) error {
	if r.Interrupted {
		return nil
	}
	sum := func(counts map[string]int) (n int) {
		for _, count := range counts {
			n += count
		}
		return n
	}
	var faults []string
	for _, fault := range []struct {
		n    int
		what string
	}{
		{sum(r.HandshakesFailed), "connections not opened"},
		{sum(r.ConnectionsEnded), "connections ended"},
		{sum(r.Refused), "messages refused"},
		{r.Lost, "deliveries lost"},
		{r.OutOfOrder, "deliveries out of order"},
		{r.Disagreeing, "connections with an order of their own"},
	} {
		if fault.n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", fault.n, fault.what))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("not all went well: %s", strings.Join(faults, ", "))
}

// benchTarget is a server that speaks the Amazon IVS Chat API.
type benchTarget struct {
	client    *ivschat.Client
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
	return &benchTarget{client: client, messaging: messaging}, nil
}

// prepare makes the rooms and a token for each connection.
func (t *benchTarget) prepare(ctx context.Context, b *benchCommand) error {
	t.rooms = make([]string, b.Rooms)
	// A room whose making is cancelled may be there, and nobody would know it.
	making, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(interruptPatience, cancel) })
	err := each(ctx, b.Rooms, func(_ context.Context, i int) error {
		out, err := t.client.CreateRoom(making, &ivschat.CreateRoomInput{
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
				if err := unhurried(ctx, func() error { return f(ctx, i) }); err != nil {
					cancel(err)
				}
			}
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}

// unhurried calls f again when the API has been asked too often, as Amazon's quotas
// soon have it, for a minute at most.
func unhurried(ctx context.Context, f func() error) error {
	throttles := retry.IsErrorThrottles(retry.DefaultThrottles)
	for deadline := time.Now().Add(time.Minute); ; {
		err := f()
		if !throttles.IsErrorThrottle(err).Bool() || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// cleanUp deletes the rooms. It does so after an interrupt, too.
func (t *benchTarget) cleanUp(stderr io.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), benchPatience+time.Duration(len(t.rooms))*time.Second/5) // Amazon's quota is 10 a second
	defer cancel()
	made := slices.DeleteFunc(t.rooms, func(arn string) bool { return arn == "" })
	left := make([]error, len(made)) // why it is
	each(ctx, len(made), func(ctx context.Context, i int) error {
		left[i] = unhurried(ctx, func() error {
			_, err := t.client.DeleteRoom(ctx, &ivschat.DeleteRoomInput{Identifier: &made[i]})
			return err
		})
		return nil // one that cannot be deleted keeps no other
	})
	for i, err := range left {
		if err != nil {
			fmt.Fprintf(stderr, "parlor: room %s is left: %s\n", made[i], plain(err))
		}
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
// changes, and is cut where the terminal ends; elsewhere a line every few seconds.
type progress struct {
	w        io.Writer
	terminal bool
	ticks    int
}

const (
	newLine = "\r\x1b[K" // clears this one
	noWrap  = "\x1b[?7l" // what is too long for the line is cut
	wrap    = "\x1b[?7h"
)

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	return p
}

func (p *progress) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprint(p.w, newLine+noWrap+text+wrap)
}

// quietTicks is how many seconds pass between lines where nobody watches.
const quietTicks = 5

func (p *progress) tick(b *benchCommand, now load.Progress) {
	if p.ticks++; !p.terminal && p.ticks%quietTicks != 1 {
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
	switch {
	case !now.Sending:
		p.say("connecting %v: %d of %d connections%s", elapsed, now.Connections, b.Connections, &trouble)
	case b.Rate == 0:
		p.say("%v of %v: %d connections%s", elapsed, b.Duration, now.Connections, &trouble)
	case now.Elapsed > b.Duration:
		p.say("waiting for what is late: %d messages, %d deliveries%s", now.Sent, now.Deliveries, &trouble)
	default:
		// 80 columns hold ten thousand connections.
		p.say("%v of %v: %d connections%s, %.0f deliveries/s, p50 %v, p99 %v", elapsed, b.Duration, now.Connections, &trouble,
			now.PerSecond, load.Milliseconds(now.P50), load.Milliseconds(now.P99))
	}
}

// end leaves the line for what follows.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, newLine)
	}
}
