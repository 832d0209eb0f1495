package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// apiBench measures the control plane of parlor serve, over HTTP, every signature
// verified, with its default settings and its log in a file. The clients share the
// machine.
type apiBench struct {
	rooms, clients, rounds int
	duration               time.Duration
	parlor                 string // the program
	dir                    string // of everything but perhaps the store
	data                   string
	key, limited           accessKey // limited has a policy
	address                string
	server                 *process

	ids     []string // of the rooms, as the list has them
	logging string   // ARN of the logging configuration
	result  apiResult
}

// benchAPI is the command api.
func benchAPI(args []string) error {
	b := &apiBench{}
	flags := flag.NewFlagSet("api", flag.ExitOnError)
	flags.IntVar(&b.rooms, "rooms", 1_000_000, "how many rooms the store has")
	flags.IntVar(&b.clients, "clients", 32, "how many connections call at once")
	flags.IntVar(&b.rounds, "rounds", 3, "how often each operation is measured")
	flags.DurationVar(&b.duration, "duration", 5*time.Second, "how long each operation is called in a round")
	flags.StringVar(&b.parlor, "parlor", "", "the Parlor to measure; built from this tree when empty")
	flags.StringVar(&b.data, "data", "", "data directory to keep and use again; filled if it is empty")
	out := flags.String("out", "", "directory of RESULTS-api.md; empty writes none")
	flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if b.dir, err = os.MkdirTemp("", "parlor-bench-api-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.data == "" {
		b.data = filepath.Join(b.dir, "data")
	}
	defer func() {
		if b.server != nil {
			b.server.stop()
		}
	}()
	if err := b.run(ctx); err != nil {
		return err
	}
	if *out == "" {
		return nil
	}
	return b.writeResults(*out, args)
}

func (b *apiBench) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		b.prepare, b.fill, b.measureStarts, b.measureLists, b.measureRates, b.measureStartAfterKill,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// apiPolicy is what the limited key may do. The condition makes the server look at the
// tags of a room before it answers.
const apiPolicy = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Action": ["ivschat:GetRoom", "ivschat:CreateChatToken"], "Resource": "arn:aws:ivschat:*:*:room/*"},
	{"Effect": "Deny", "Action": "ivschat:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/locked": "yes"}}}
]}`

// prepare builds the server and makes its keys.
func (b *apiBench) prepare(ctx context.Context) error {
	if b.parlor == "" {
		var err error
		if b.parlor, err = buildParlor(ctx, b.dir); err != nil {
			return err
		}
	}
	policy := filepath.Join(b.dir, "policy.json")
	if err := os.WriteFile(policy, []byte(apiPolicy), 0o600); err != nil {
		return err
	}
	if err := b.newKey(ctx, &b.key); err != nil {
		return err
	}
	return b.newKey(ctx, &b.limited, "--policy", policy)
}

func (b *apiBench) newKey(ctx context.Context, key *accessKey, more ...string) error {
	args := append([]string{"key", "new", "--credentials", b.credentials(), "--output", "json"}, more...)
	text, err := exec.CommandContext(ctx, b.parlor, args...).Output()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	return json.Unmarshal(text, key)
}

func (b *apiBench) credentials() string { return filepath.Join(b.dir, "credentials.yaml") }

func (b *apiBench) fill(ctx context.Context) error {
	file := filepath.Join(b.data, "parlor.db")
	if _, err := os.Stat(file); err == nil {
		log.Printf("the rooms in %s are used as they are", b.data)
	} else {
		begun := time.Now()
		if err := fillStore(ctx, b.data, b.rooms); err != nil {
			return fmt.Errorf("fill the store: %w", err)
		}
		log.Printf("%d rooms made by internal/store (not through the API) in %.0f s", b.rooms, time.Since(begun).Seconds())
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	b.result.fileSize = info.Size()
	return nil
}

// start starts the server and returns how long it took until the first answers of
// /healthz and /readyz.
func (b *apiBench) start(ctx context.Context) (healthy, ready time.Duration, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	b.address = listener.Addr().String()
	listener.Close()
	logFile, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, 0, err
	}
	defer logFile.Close()
	command := exec.Command(b.parlor, "serve", "--listen", b.address, "--data", b.data, "--credentials", b.credentials(), "--drain-window", "0s")
	command.Stderr = logFile
	begun := time.Now()
	if err := command.Start(); err != nil {
		return 0, 0, err
	}
	b.server = &process{command: command, address: b.address, exited: make(chan struct{})}
	go func() {
		command.Wait()
		close(b.server.exited)
	}()
	for _, probe := range []struct {
		path string
		took *time.Duration
	}{{"/healthz", &healthy}, {"/readyz", &ready}} {
		for !answers(b.address, probe.path) {
			if time.Since(begun) > time.Minute || ctx.Err() != nil {
				said, _ := os.ReadFile(logFile.Name())
				return 0, 0, fmt.Errorf("parlor serve does not answer:\n%s", said[:min(len(said), 4000)])
			}
			time.Sleep(500 * time.Microsecond)
		}
		*probe.took = time.Since(begun)
	}
	return healthy, ready, nil
}

// answers reports whether a server answers 200 on the path.
func answers(address, path string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address)
	answer, _ := io.ReadAll(conn)
	return bytes.HasPrefix(answer, []byte("HTTP/1.0 200"))
}

// stopServer asks the server to stop and waits until it has.
func (b *apiBench) stopServer() error {
	if err := b.server.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-b.server.exited
	if code := b.server.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("parlor serve ended with status %d", code)
	}
	return nil
}

// checkVerified makes sure that what is measured verifies signatures.
func (b *apiBench) checkVerified() error {
	forged := b.key
	forged.SecretAccessKey = strings.ToLower(forged.SecretAccessKey)
	c, err := dialAPI(b.address, forged)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.call("/ListRooms", []byte("{}")); err == nil || !strings.Contains(err.Error(), "status 403") {
		return fmt.Errorf("a request signed with another secret is not refused: %v", err)
	}
	return nil
}

func (b *apiBench) measureStarts(ctx context.Context) error {
	const starts = 5
	for i := range starts {
		healthy, ready, err := b.start(ctx)
		if err != nil {
			return err
		}
		b.result.healthy, b.result.ready = append(b.result.healthy, healthy), append(b.result.ready, ready)
		log.Printf("start: /healthz after %s, /readyz after %s", healthy, ready)
		if i < starts-1 {
			if err := b.stopServer(); err != nil {
				return err
			}
		}
	}
	b.result.addMemory("after the start", b.server)
	return b.checkVerified()
}

// measureStartAfterKill takes the server away in the middle of writing.
func (b *apiBench) measureStartAfterKill(ctx context.Context) error {
	var creating sync.WaitGroup
	creating.Go(func() { // its error is that the server went away
		_, _ = b.rate(ctx, "CreateRoom", b.key, time.Minute, func(int) (string, []byte) { return "/CreateRoom", createBody(1) })
	})
	time.Sleep(time.Second)
	b.server.stop()
	creating.Wait()
	healthy, ready, err := b.start(ctx)
	if err != nil {
		return err
	}
	b.result.healthyAfterKill, b.result.readyAfterKill = healthy, ready
	log.Printf("start after kill -9: /healthz after %s, /readyz after %s", healthy, ready)
	return b.stopServer()
}

// measureLists reads every page of every list, one after the other.
func (b *apiBench) measureLists(ctx context.Context) error {
	c, err := dialAPI(b.address, b.key)
	if err != nil {
		return err
	}
	defer c.close()
	answer, err := c.call("/ListLoggingConfigurations", []byte("{}"))
	if err != nil {
		return err
	}
	var lcs struct{ LoggingConfigurations []struct{ Arn string } }
	if err := json.Unmarshal(answer, &lcs); err != nil {
		return err
	}
	if len(lcs.LoggingConfigurations) == 0 {
		return errors.New("the store has no logging configuration: it is not one that this command filled")
	}
	b.logging = lcs.LoggingConfigurations[0].Arn
	const name, handler, logging = "name", "messageReviewHandlerUri", "loggingConfigurationIdentifier"
	for _, l := range []struct {
		what   string
		filter map[string]string
	}{
		{"all", nil},
		{"by name", map[string]string{name: apiName(1)}},
		{"by handler", map[string]string{handler: apiHandler(1)}},
		{"by logging configuration", map[string]string{logging: b.logging}},
		{"by all three", map[string]string{name: apiName(0), handler: apiHandler(0), logging: b.logging}},
		{"by a name that none has", map[string]string{name: "nobody"}},
		{"by handler and logging configuration, which none has both of", map[string]string{handler: apiHandler(1), logging: b.logging}},
	} {
		if err := b.measureList(ctx, c, l.what, l.filter); err != nil {
			return fmt.Errorf("list %s: %w", l.what, err)
		}
	}
	b.result.addMemory("after the lists", b.server)
	return nil
}

func (b *apiBench) measureList(ctx context.Context, c *apiClient, what string, filter map[string]string) error {
	const repeats = 500
	list := apiList{what: what}
	in := map[string]any{"maxResults": 50}
	for member, value := range filter {
		in[member] = value
	}
	page := func() (took time.Duration, next string, ids []string, err error) {
		body, err := json.Marshal(in)
		if err != nil {
			return 0, "", nil, err
		}
		begun := time.Now()
		answer, err := c.call("/ListRooms", body)
		took = time.Since(begun)
		if err != nil {
			return 0, "", nil, err
		}
		next, ids = scanPage(answer)
		return took, next, ids, nil
	}
	for range repeats {
		took, _, _, err := page()
		if err != nil {
			return err
		}
		list.first = append(list.first, took)
	}
	before := b.server.cpu()
	for ctx.Err() == nil {
		took, next, ids, err := page()
		if err != nil {
			return err
		}
		list.walk = append(list.walk, took)
		list.rooms += len(ids)
		if filter == nil {
			b.ids = append(b.ids, ids...)
		}
		if next == "" {
			break
		}
		in["nextToken"] = next
	}
	// Only a long walk is more than the clock of /proc can tell.
	if len(list.walk) >= 1000 {
		list.cpu = (b.server.cpu() - before) / time.Duration(len(list.walk))
	}
	list.last = slices.Clone(list.walk[len(list.walk)*9/10:])
	for _, times := range [][]time.Duration{list.first, list.walk, list.last} {
		slices.Sort(times)
	}
	b.result.lists = append(b.result.lists, list)
	log.Printf("ListRooms %s: %d rooms; first page p50 %s p99 %s; %d pages p50 %s p99 %s; the last tenth p50 %s; %s of processor time for a page", what, list.rooms,
		quantile(list.first, .5), quantile(list.first, .99), len(list.walk), quantile(list.walk, .5), quantile(list.walk, .99), quantile(list.last, .5), list.cpu)
	return ctx.Err()
}

// scanPage finds the next token and the rooms' ids in a page. To decode it would cost
// more than to serve it.
func scanPage(answer []byte) (next string, ids []string) {
	after := func(mark string) (string, bool) {
		_, rest, found := bytes.Cut(answer, []byte(mark))
		if !found {
			return "", false
		}
		value, rest, _ := bytes.Cut(rest, []byte(`"`))
		answer = rest
		return string(value), true
	}
	for {
		id, found := after(`"id":"`)
		if !found {
			break
		}
		ids = append(ids, id)
	}
	next, _ = after(`"nextToken":"`)
	return next, ids
}

func createBody(n int) []byte {
	room := apiRoom(n, time.Time{})
	body, err := json.Marshal(map[string]any{
		"name": room.Name, "tags": room.Tags,
		"messageReviewHandler": map[string]string{"uri": room.Handler.URI, "fallbackResult": string(room.Handler.Fallback)},
	})
	if err != nil {
		panic(err) // strings always can be
	}
	return body
}

func (b *apiBench) measureRates(ctx context.Context) error {
	arn := func() string {
		return "arn:aws:ivschat:" + apiRegion + ":" + apiScope.Account + ":room/" + b.ids[rand.IntN(len(b.ids))]
	}
	bodies := make([][]byte, 1000)
	for n := range bodies {
		bodies[n] = createBody(n)
	}
	getRoom := func(int) (string, []byte) { return "/GetRoom", fmt.Appendf(nil, `{"identifier":%q}`, arn()) }
	createChatToken := func(n int) (string, []byte) {
		return "/CreateChatToken", fmt.Appendf(nil,
			`{"roomIdentifier":%q,"userId":"user-%d","capabilities":["SEND_MESSAGE"],"attributes":{"displayName":"User %d"}}`, arn(), n, n)
	}
	operations := []struct {
		name   string
		key    accessKey
		target float64
		next   func(n int) (path string, body []byte)
	}{
		{"GetRoom", b.key, 8000, getRoom},
		{"GetRoom, the key having a policy", b.limited, 8000, getRoom},
		{"CreateChatToken", b.key, 8000, createChatToken},
		{"CreateChatToken, the key having a policy", b.limited, 8000, createChatToken},
		{"ListRooms, page of 50", b.key, 0, func(int) (string, []byte) { return "/ListRooms", []byte(`{"maxResults":50}`) }},
		{"CreateRoom", b.key, 2500, func(n int) (string, []byte) { return "/CreateRoom", bodies[n%len(bodies)] }},
	}
	b.result.rates = make([][]apiRate, len(operations))
	for range b.rounds {
		for i, o := range operations {
			r, err := b.rate(ctx, o.name, o.key, b.duration, o.next)
			if err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			r.target = o.target
			b.result.rates[i] = append(b.result.rates[i], r)
			log.Printf("%s: %.0f/s, p50 %s, p99 %s, %.0f µs of processor time for one in the server, %.0f µs in the clients; others used %.2f processors", o.name, r.perSecond,
				quantile(r.times, .5), quantile(r.times, .99), r.cpu, r.clientCPU, r.others)
		}
		b.result.addMemory("after a round of calls", b.server)
	}
	return nil
}

// rate has all clients call one operation for a while.
func (b *apiBench) rate(ctx context.Context, name string, key accessKey, duration time.Duration, next func(n int) (string, []byte)) (apiRate, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	clients := make([]*apiClient, b.clients)
	for i := range clients {
		c, err := dialAPI(b.address, key)
		if err != nil {
			return apiRate{}, err
		}
		defer c.close()
		clients[i] = c
	}
	times := make([][]time.Duration, b.clients)
	var running sync.WaitGroup
	before, clientBefore, allBefore := b.server.cpu(), ownCPU(), allCPU()
	begun := time.Now()
	for i, c := range clients {
		running.Go(func() {
			for n := i; time.Since(begun) < duration && ctx.Err() == nil; n += b.clients {
				path, body := next(n)
				at := time.Now()
				if _, err := c.call(path, body); err != nil {
					stop(err)
					return
				}
				times[i] = append(times[i], time.Since(at))
			}
		})
	}
	running.Wait()
	took := time.Since(begun)
	r := apiRate{name: name, times: slices.Concat(times...)}
	slices.Sort(r.times)
	n := float64(len(r.times))
	r.perSecond = n / took.Seconds()
	server, own := b.server.cpu()-before, ownCPU()-clientBefore
	r.cpu, r.clientCPU = float64(server.Microseconds())/n, float64(own.Microseconds())/n
	r.others = max(0, (allCPU()-allBefore-server-own).Seconds()/took.Seconds())
	return r, context.Cause(ctx)
}

// ownCPU is the processor time that this process used so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// allCPU is the processor time that was not idle so far, of all processors and
// processes, with what the hypervisor gave to others (proc_stat(5)).
func allCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int
	for i, field := range strings.Fields(line) {
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // not idle, iowait; guests are in user
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// quantile returns the q-th quantile of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(10 * time.Microsecond)
}
