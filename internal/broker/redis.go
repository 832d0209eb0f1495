package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// RedisConfig is what a Redis works with. All members are required.
type RedisConfig struct {
	// URL is where Redis (7 or newer) or Valkey is: redis://[user:password@]host:port/db,
	// rediss:// over TLS; with ?addr=host:port for each further node of a cluster, with
	// ?master_set=NAME where host:port and addr are Sentinels, whose own user, if any, is
	// sentinel_user and sentinel_password. Over TLS, cacert=FILE is who may sign (else who
	// the system trusts), cert=FILE and key=FILE are what this node shows.
	URL string
	// Node names this node among the others. It must be another one each time that the
	// process starts.
	Node string
	// Deliver takes the publications of subscribed rooms; see [chat.Broker].
	Deliver func(*chat.Publication)
	// Hears is told when this node no longer hears of publications, and when it does
	// again. What it remembers from before may be out of date.
	Hears   func(bool)
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Redis is the broker of nodes that share a Redis or Valkey server, a set of them with
// Sentinels, or a cluster. It works once Run is called.
//
//   - Admission, numbering, the log and the fan-out are one script (scripts.go). It is
//     given a deadline on the broker's clock: later it does nothing, so that nothing is
//     shown that its sender was told has failed.
//   - A publication is delivered here by the script's answer, which has all that this node
//     lacks, and not by the link: its sender waits for one round trip.
//   - A call whose answer was lost is repeated; the Id tells whether it was carried out.
//   - A room is subscribed to while it has sessions here (link.go). What the link lost is
//     read from the log; what that has no more is counted, and said as a PublishGap.
type Redis struct {
	config  RedisConfig
	metrics *redisMetrics
	clocks  clocks
	offers  offers
	links   *links

	mu     sync.Mutex
	rooms  map[chat.ARN]*room
	byName map[string]*room // by channel

	own    sync.WaitGroup
	ctx    context.Context // ends with Run
	cancel context.CancelFunc
}

const (
	// publishTime is how long a publication may wait for a broker that does not answer.
	publishTime = 5 * time.Second
	// answerGrace is how long an answer may be on its way after the deadline.
	answerGrace = time.Second
	// tryTime bounds one try, so that a connection that is dead without a word is left.
	tryTime = 3 * time.Second
)

// NewRedis returns a broker. The server need not be there yet.
func NewRedis(c RedisConfig) (*Redis, error) {
	option, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	b := &Redis{config: c, metrics: newRedisMetrics(c.Metrics), clocks: clocks{all: map[string]*clock{}}, rooms: map[chat.ARN]*room{}, byName: map[string]*room{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.links = newLinks(b, option)
	return b, nil
}

// errAway is the cause while there is no connection yet.
var errAway = errors.New("Redis has not been reached yet")

// errReplaced is the cause when the slot was given to another server meanwhile. What the
// one before said may be forgotten: it may have been replaced while it was frozen, and not
// know that yet.
var errReplaced = errors.New("the slot of the room has moved to another server")

// keys are a room's names in Redis. All have one hash tag.
type keys struct{ state, log, channel string }

func keysOf(arn chat.ARN) keys {
	tag := "parlor:{" + arn.Region + ":" + arn.Account + ":" + arn.ID + "}"
	return keys{tag + ":s", tag + ":l", tag}
}

// answer is what a script says.
type answer struct {
	how     string
	at      chat.Position
	entries []entry
	whole   bool // entries are all that the caller lacks up to at
}

// call runs a script of a room. What it takes to call it again is the caller's.
func (b *Redis) call(ctx context.Context, script *rueidis.Lua, k []string, room chat.ARN, args ...string) (answer, error) {
	client := b.links.client()
	if client == nil {
		return answer{}, errAway
	}
	sent, server := time.Now(), b.links.addressOf(k[0])
	result := script.Exec(ctx, client, k, args)
	if b.links.addressOf(k[0]) != server {
		return answer{}, errReplaced
	}
	return b.read(result, room, b.clockOf(k[0]), sent)
}

// read reads a script's answer, which has the server's clock.
func (b *Redis) read(result rueidis.RedisResult, room chat.ARN, clock *clock, sent time.Time) (a answer, err error) {
	list, err := result.ToArray()
	if err != nil {
		return a, err
	}
	if len(list) < 4 {
		return a, errWire
	}
	var head [3]uint64
	for i := range head {
		text, err := list[1+i].ToString()
		if err != nil {
			return a, err
		}
		if head[i], err = strconv.ParseUint(text, 10, 64); err != nil || head[i] > maxNumber {
			return a, errWire
		}
	}
	if a.how, err = list[0].ToString(); err != nil {
		return a, err
	}
	clock.saw(int64(head[0]), sent, time.Now())
	a.at = chat.Position{Epoch: head[1], Number: head[2]}
	for _, message := range list[4:] {
		text, err := message.ToString()
		if err != nil {
			return a, err
		}
		e, err := parseEntry(room, text)
		if err != nil {
			b.metrics.unreadable.Inc()
			continue // of a version to come; what it has to say is lost here
		}
		a.entries = append(a.entries, e)
	}
	return a, nil
}

// where are the arguments that every script of a room begins with.
func where(at chat.Position, there bool) []string {
	flag := "0"
	if there {
		flag = "1"
	}
	return []string{strconv.FormatUint(at.Epoch, 10), strconv.FormatUint(at.Number, 10), flag, strconv.Itoa(keyLife)}
}

// Publish implements [chat.Broker].
func (b *Redis) Publish(ctx context.Context, pub *chat.Publication, rate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if pub.ID == "" {
		pub.ID = rand.Text()
	}
	f := offer{room: pub.Room, keys: keysOf(pub.Room), id: pub.ID, payload: string(appendPublication(nil, pub))}
	a, err := b.publish(f, time.Now().Add(publishTime), rate, false)
	if err != nil {
		return err
	}
	if a.how == "over" {
		return chat.RateLimitExceeded(pub.Room, rate)
	}
	if a.how == "published" {
		pub.Position = a.at
	} else if i := slices.IndexFunc(a.entries, func(e entry) bool { return e.pub.ID == pub.ID }); i >= 0 {
		pub.Position = a.entries[i].at
	}
	f.at, f.published = a.at, time.Now()
	b.offers.add(f)
	return nil
}

// errLate is the cause when the broker got a publication after its deadline.
var errLate = errors.New("the broker was away for too long; nothing was published")

// publish has a publication published, once, and delivered here. Its caller may go away:
// what was begun is ended. again says that it may be known already.
func (b *Redis) publish(f offer, deadline time.Time, rate int, again bool) (answer, error) {
	ctx, cancel := context.WithDeadline(b.ctx, deadline.Add(answerGrace))
	defer cancel()
	room := b.room(f.room)
	reached := again // it may have reached the broker
	for try := 0; ; try++ {
		a, err := b.tryPublish(ctx, room, f, deadline, rate, reached)
		switch {
		case err == nil && a.how == "late" && time.Now().Before(deadline):
			err = errLate // the clocks were not what they seemed; now they are known
		case err == nil && a.how == "late":
			return a, errLate
		case err == nil:
			b.apply(room, a, false)
			return a, nil
		}
		reached = reached || !neverSent(err)
		if !transient(err) || ctx.Err() != nil || !reached && time.Now().After(deadline) {
			if reached {
				return a, fmt.Errorf("%w: %w", chat.ErrUnknownOutcome, err)
			}
			return a, fmt.Errorf("publish by Redis: %w", err)
		}
		b.metrics.retries.Inc()
		pause(ctx, try)
	}
}

func (b *Redis) tryPublish(ctx context.Context, room *room, f offer, deadline time.Time, rate int, again bool) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	at, there := room.position()
	flag := "0"
	if again {
		flag = "1"
	}
	args := append(where(at, there), strconv.Itoa(maxLog), strconv.Itoa(logSlack), b.clockOf(f.keys.state).at(deadline), strconv.Itoa(rate),
		f.id, flag, strconv.FormatUint(f.at.Epoch, 10), strconv.FormatUint(f.at.Number, 10), f.payload)
	a, err := b.call(ctx, publishScript, []string{f.keys.state, f.keys.log, f.keys.channel}, f.room, args...)
	a.whole = there && (a.how == "published" || a.how == "known") // a refusal has no entries
	return a, err
}

// pause waits before the next try: some ten milliseconds first, then a fifth of a second.
func pause(ctx context.Context, try int) {
	d := min(10*time.Millisecond<<min(try, 10), 200*time.Millisecond)
	sleep(ctx, d/2+mathrand.N(d))
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// transient reports whether a call may succeed if it is made again: the connection failed,
// or the server cannot serve just now.
func transient(err error) bool {
	if said, ok := rueidis.IsRedisErr(err); ok {
		for _, prefix := range []string{"LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS", "BUSY", "MOVED", "ASK", "UNBLOCKED"} {
			if strings.HasPrefix(said.Error(), prefix) {
				return true
			}
		}
		return false
	}
	return true
}

// neverSent reports whether an error says that the server did not carry out a call.
func neverSent(err error) bool {
	_, said := rueidis.IsRedisErr(err)
	return said || err == errAway || err == errLate || isDialError(err)
}

// apply takes a script's answer about a room that may be subscribed. From one that is not
// whole nothing follows: what the room lacks is on its way by the link. It is relayed as for
// deliver.
func (b *Redis) apply(room *room, a answer, relayed bool) {
	if room == nil || !a.whole {
		return
	}
	b.deliver(room, relayed, func() ([]*chat.Publication, bool) { return room.catchUp(a.at, a.entries) })
}

// deliver delivers what take says, and asks for what is then still missing. It is relayed
// unless the caller published it.
func (b *Redis) deliver(room *room, relayed bool, take func() ([]*chat.Publication, bool)) {
	if b.show(room, relayed, take) {
		b.catchUp(room)
	}
}

// show delivers what take says, and reports whether something is then still missing.
func (b *Redis) show(room *room, relayed bool, take func() ([]*chat.Publication, bool)) (behind bool) {
	pubs, behind := take()
	for _, pub := range pubs {
		pub.Relayed = relayed || len(pubs) > 1 // what was missing is other nodes'
		if pub.Kind == chat.PublishGap {
			b.metrics.gaps.Inc()
		}
		b.config.Deliver(pub)
	}
	if lost := room.takeLost(); lost > 0 {
		b.metrics.lost.Add(float64(lost))
		b.config.Logger.Error("publications of a room are lost: the broker has forgotten them", "room", room.arn.String(), "publications", lost)
	}
	return behind
}

// catchUp asks the broker for what this node lacks of a room, in a goroutine, unless
// somebody does already.
func (b *Redis) catchUp(room *room) {
	if room.catching.Swap(true) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return
	}
	b.own.Go(func() {
		for try := 0; b.ctx.Err() == nil && b.wants(room); try++ {
			a, err := b.look(b.ctx, room)
			if err == nil {
				b.metrics.catchUps.Inc()
				room.catching.Store(false) // before: what comes from now on may ask again
				behind := a.whole && b.show(room, true, func() ([]*chat.Publication, bool) { return room.catchUp(a.at, a.entries) })
				if !behind || room.catching.Swap(true) {
					return
				}
			}
			pause(b.ctx, try) // also where the broker has forgotten what the link brought
		}
		room.catching.Store(false)
	})
}

// look asks where a room is, and for what this node lacks.
func (b *Redis) look(ctx context.Context, room *room) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	at, there := room.position()
	a, err := b.call(ctx, lookScript, []string{room.keys.state, room.keys.log}, room.arn, where(at, there)...)
	a.whole = there
	return a, err
}

// Admit implements [chat.Broker].
func (b *Redis) Admit(ctx context.Context, arn chat.ARN, rate int) error {
	if err := ctx.Err(); err != nil || rate == 0 {
		return err
	}
	k := keysOf(arn)
	args := append(where(chat.Position{}, false), strconv.Itoa(rate))
	var a answer
	err := b.insist(ctx, func(ctx context.Context) (err error) {
		a, err = b.call(ctx, admitScript, []string{k.state, k.log}, arn, args...)
		return err
	})
	if err == nil && a.how == "over" {
		err = chat.RateLimitExceeded(arn, rate)
	}
	return err
}

// insist makes a call until it succeeds, for as long as a publication would.
func (b *Redis) insist(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	for try := 0; ; try++ {
		one, cancel := context.WithTimeout(ctx, tryTime)
		err := call(one)
		cancel()
		if err == nil {
			return nil
		}
		if !transient(err) || ctx.Err() != nil || b.ctx.Err() != nil {
			return fmt.Errorf("ask Redis: %w", err)
		}
		b.metrics.retries.Inc()
		pause(ctx, try)
	}
}

// Borrow implements [chat.Broker].
func (b *Redis) Borrow(ctx context.Context, scope chat.Scope, what string, perSecond, n int) (int, error) {
	key := "parlor:{" + scope.Region + ":" + scope.Account + "}:rate:" + what
	return b.number(ctx, borrowScript, key, strconv.Itoa(perSecond), strconv.Itoa(n))
}

// Reserve implements [chat.Broker].
func (b *Redis) Reserve(ctx context.Context, scope chat.Scope, n, quota int) (int, error) {
	key := "parlor:{" + scope.Region + ":" + scope.Account + "}:connections"
	return b.number(ctx, reserveScript, key, b.config.Node, strconv.Itoa(n), strconv.Itoa(quota), strconv.Itoa(int(chat.ShareLife/time.Second)))
}

// number runs a script of one key that answers with a number.
func (b *Redis) number(ctx context.Context, script *rueidis.Lua, key string, args ...string) (n int, err error) {
	err = b.insist(ctx, func(ctx context.Context) error {
		client := b.links.client()
		if client == nil {
			return errAway
		}
		got, err := script.Exec(ctx, client, []string{key}, args).AsInt64()
		n = int(got)
		return err
	})
	return n, err
}

// Subscribe implements [chat.Broker].
func (b *Redis) Subscribe(ctx context.Context, arn chat.ARN) (chat.Position, func(), error) {
	if err := ctx.Err(); err != nil {
		return chat.Position{}, nil, err
	}
	b.mu.Lock()
	r := b.rooms[arn]
	if r == nil {
		r = &room{arn: arn, keys: keysOf(arn), ready: make(chan struct{})}
		b.rooms[arn] = r
		b.byName[r.keys.channel] = r
	}
	r.subscribers++
	b.mu.Unlock()
	b.links.changed(r)
	select {
	case <-r.ready:
	case <-ctx.Done():
		b.unsubscribe(r)
		return chat.Position{}, nil, fmt.Errorf("subscribe by Redis: %w", ctx.Err())
	case <-b.ctx.Done():
		b.unsubscribe(r)
		return chat.Position{}, nil, b.ctx.Err()
	}
	at, _ := r.position()
	return at, func() { b.unsubscribe(r) }, nil
}

func (b *Redis) unsubscribe(r *room) {
	b.mu.Lock()
	r.subscribers--
	last := r.subscribers == 0
	if last {
		delete(b.rooms, r.arn)
		delete(b.byName, r.keys.channel)
	}
	b.mu.Unlock()
	if last {
		r.end()
		b.links.changed(r)
	}
}

// room returns a subscribed room, or nil.
func (b *Redis) room(arn chat.ARN) *room {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rooms[arn]
}

// wants reports whether a room is subscribed to.
func (b *Redis) wants(r *room) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.subscribers > 0
}

// heardEntry takes an entry that came by a link.
func (b *Redis) heardEntry(channel, text string) {
	b.mu.Lock()
	room := b.byName[channel]
	b.mu.Unlock()
	if room == nil {
		return
	}
	head, _, _, err := parseHead(text)
	if err == nil && room.had(head.at) {
		return // most often: it was published here
	}
	var e entry
	if err == nil {
		e, err = parseEntry(room.arn, text)
	}
	if err != nil {
		b.metrics.unreadable.Inc()
		return
	}
	b.deliver(room, true, func() ([]*chat.Publication, bool) { return room.take([]entry{e}) })
}

// Ready implements [chat.Broker]: the links are up, and scripts run and may write, which
// they may not where memory is used up or the server is a replica.
func (b *Redis) Ready(ctx context.Context) error {
	if !b.links.up() {
		return errors.New("the link to Redis is down")
	}
	client := b.links.client()
	if client == nil {
		return errAway
	}
	if err := borrowScript.Exec(ctx, client, []string{"parlor:{" + b.config.Node + "}:ready"}, []string{"1000", "1"}).Error(); err != nil {
		return fmt.Errorf("write to Redis: %w", err)
	}
	return nil
}

// Up implements [Running].
func (b *Redis) Up() bool { return b.links.up() }

// Run keeps the links until ctx ends, then gives up the connections. Nobody may publish
// any more by then.
func (b *Redis) Run(ctx context.Context) error {
	b.links.run(ctx)
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.own.Wait()
	b.links.close()
	return nil
}

// clocks are those of a cluster's servers, by address, or the one of the broker, by "".
type clocks struct {
	mu  sync.Mutex
	all map[string]*clock
}

// clockOf is the clock of the server that a key leads to.
func (b *Redis) clockOf(key string) *clock {
	address := b.links.addressOf(key)
	b.clocks.mu.Lock()
	defer b.clocks.mu.Unlock()
	c := b.clocks.all[address]
	if c == nil {
		c = &clock{}
		b.clocks.all[address] = c
	}
	return c
}

// clock is the broker's, as far as this node knows: what it said last on the way that
// took the least.
type clock struct {
	mu     sync.Mutex
	offset time.Duration // to be added to ours
	trip   time.Duration // how long the answer took that said so; 0: none did
	taken  time.Time
}

const (
	// clockLife is how long the best answer counts, if others are as good.
	clockLife = 10 * time.Second
	// usualTrip is what an answer may take that is as good as any.
	usualTrip = 5 * time.Millisecond
)

// saw takes the broker's clock, in microseconds, out of an answer.
func (c *clock) saw(us int64, sent, got time.Time) {
	trip := max(got.Sub(sent), 1)
	offset := time.UnixMicro(us).Sub(sent.Add(trip / 2))
	c.mu.Lock()
	defer c.mu.Unlock()
	stepped := (offset - c.offset).Abs() > c.trip+trip // more than the ways explain
	old := got.Sub(c.taken) > clockLife && trip <= max(2*c.trip, usualTrip)
	if c.trip == 0 || trip <= c.trip || stepped || old {
		c.offset, c.trip, c.taken = offset, trip, got
	}
}

// at is a moment on the broker's clock, as scripts take it; "0" where that is not known.
func (c *clock) at(t time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trip == 0 {
		return "0"
	}
	return strconv.FormatInt(t.Add(c.offset).UnixMicro(), 10)
}
