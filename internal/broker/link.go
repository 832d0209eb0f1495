package broker

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// links are the connections by which this node hears of publications: one to the server,
// or one to each primary of a cluster. Every room with sessions here has its channel
// subscribed at the link that its slot leads to.
type links struct {
	b      *Redis
	option rueidis.ClientOption

	judging sync.Mutex // before mu

	mu      sync.Mutex
	redis   rueidis.Client // nil before the first connection
	all     map[string]*link
	slots   *slots // nil where there is no cluster
	hearing bool
	stale   chan struct{} // asks for another look at the cluster
	lostAt  time.Time     // when this node last ceased to hear; zero: it hears
}

// link is one connection. Its goroutine alone sends on it.
type link struct {
	owner   *links
	address string // "" where there is no cluster
	cancel  context.CancelFunc
	done    chan struct{}

	kick  chan struct{}
	mu    sync.Mutex
	dirty map[string]bool // channels to look at
	leave map[string]bool // channels whose subscription is being given up
	up    bool            // owned by links.mu

	// Owned by the link's goroutine.
	have map[string]*room // subscribed, and for which room that was confirmed
}

const (
	// linkBatch is how many channels are subscribed to in one go.
	linkBatch = 256
	// lookBatch is how many rooms are brought up to date in one go: each may lack its whole
	// log, and all must come within tryTime.
	lookBatch = 32
	// linkCheck is how often a link is asked for a sign of life, which may take tryTime.
	linkCheck = time.Second
	// reconnectJitter spreads the nodes that come back when the broker does.
	reconnectJitter = 200 * time.Millisecond
	// clusterCheck is how often a cluster is asked how its slots are divided.
	clusterCheck = 5 * time.Second
	// offersAtOnce is how many publications are offered again at the same time.
	offersAtOnce = 32
)

func newLinks(b *Redis, option rueidis.ClientOption) *links {
	option.ClientName = "parlor"
	option.DisableCache = true
	option.DisableRetry = true // a call that may have been carried out is ours to repeat
	option.Dialer = net.Dialer{Timeout: tryTime, KeepAlive: time.Second}
	option.ConnWriteTimeout = tryTime
	return &links{b: b, option: option, all: map[string]*link{}, stale: make(chan struct{}, 1)}
}

// client is the client of scripts, or nil.
func (l *links) client() rueidis.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.redis
}

// up reports whether this node hears of everything.
func (l *links) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hearing
}

// run connects, and keeps the links until ctx ends.
func (l *links) run(ctx context.Context) {
	l.b.config.Hears(false) // not yet
	for try := 0; ; try++ {
		client, err := rueidis.NewClient(l.option)
		if err == nil {
			l.mu.Lock()
			l.redis = client
			l.mu.Unlock()
			break
		}
		if try == 0 {
			l.b.config.Logger.Warn("Redis cannot be reached; trying again", "error", err)
		}
		if pause(ctx, try); ctx.Err() != nil {
			return
		}
	}
	ticker := time.NewTicker(clusterCheck)
	defer ticker.Stop()
	for ctx.Err() == nil {
		l.arrange(ctx)
		select {
		case <-ctx.Done():
		case <-l.stale:
			sleep(ctx, 50*time.Millisecond) // let the cluster settle, and others ask too
		case <-ticker.C:
		}
	}
	l.mu.Lock()
	all := slices.Collect(maps.Values(l.all))
	l.mu.Unlock()
	for _, one := range all {
		one.cancel()
		<-one.done
	}
}

func (l *links) close() {
	if client := l.client(); client != nil {
		client.Close()
	}
}

// arrange sees to it that there is a link for each server that has rooms.
func (l *links) arrange(ctx context.Context) {
	client := l.client()
	addresses := []string{""}
	var divided *slots
	if client.Mode() == rueidis.ClientModeCluster {
		var err error
		if divided, err = askSlots(ctx, client); err != nil {
			return // the links that there are say what is wrong
		}
		addresses = divided.addresses()
	}
	l.mu.Lock()
	changed := divided != nil && (l.slots == nil || *divided != *l.slots)
	l.slots = divided
	var gone []*link
	for address, one := range l.all {
		if !slices.Contains(addresses, address) {
			gone = append(gone, one)
			delete(l.all, address)
		}
	}
	for _, address := range addresses {
		if l.all[address] == nil {
			l.all[address] = l.start(ctx, address)
		}
	}
	l.mu.Unlock()
	for _, one := range gone {
		one.cancel()
		<-one.done
	}
	if len(gone) > 0 {
		l.judge()
	}
	if changed {
		l.b.mu.Lock()
		rooms := slices.Collect(maps.Values(l.b.rooms))
		l.b.mu.Unlock()
		for _, r := range rooms {
			l.changed(r)
		}
	}
}

// start starts a link. l.mu is held.
func (l *links) start(ctx context.Context, address string) *link {
	ctx, cancel := context.WithCancel(ctx)
	one := &link{owner: l, address: address, cancel: cancel, done: make(chan struct{}), kick: make(chan struct{}, 1), dirty: map[string]bool{}}
	go func() {
		defer close(one.done)
		one.run(ctx)
	}()
	return one
}

// again asks for another look at how the cluster is divided.
func (l *links) again() {
	select {
	case l.stale <- struct{}{}:
	default:
	}
}

// changed has every link look at a room: whether it is to be subscribed there.
func (l *links) changed(r *room) {
	l.mu.Lock()
	all := slices.Collect(maps.Values(l.all))
	l.mu.Unlock()
	for _, one := range all {
		one.look(r.keys.channel)
	}
}

// serves reports whether a channel's slot leads to a server.
func (l *links) serves(address, channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slots == nil || l.slots[slotOf(channel)] == address
}

// set notes that a link is up, or not.
func (l *links) set(one *link, up bool) {
	l.mu.Lock()
	one.up = up
	l.mu.Unlock()
	l.judge()
}

// judge says whether this node hears of everything, if that has changed. judging is held
// meanwhile, also while Hears is called: the last word must be the last.
func (l *links) judge() {
	l.judging.Lock()
	defer l.judging.Unlock()
	l.mu.Lock()
	hearing := len(l.all) > 0
	for _, one := range l.all {
		hearing = hearing && one.up
	}
	changed := hearing != l.hearing
	l.hearing = hearing
	lostAt := l.lostAt
	if changed && hearing {
		l.lostAt = time.Time{}
	} else if changed {
		l.lostAt = time.Unix(0, l.b.heard.Load()) // it may have been away since
	}
	l.mu.Unlock()
	if !changed {
		return
	}
	l.b.metrics.up(hearing)
	l.b.config.Hears(hearing)
	if hearing && !lostAt.IsZero() {
		l.b.offerAgain(lostAt)
	}
}

// look has the link see to a channel.
func (k *link) look(channel string) {
	k.mu.Lock()
	k.dirty[channel] = true
	k.mu.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// take takes some of the channels to look at.
func (k *link) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var channels []string
	for channel := range k.dirty { // in no order: nodes that come back ask for different rooms first
		channels = append(channels, channel)
		delete(k.dirty, channel)
		if len(channels) == linkBatch {
			break
		}
	}
	return channels
}

// leaving notes which subscriptions are being given up.
func (k *link) leaving(channels []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leave = nil
	for _, channel := range channels {
		if k.leave == nil {
			k.leave = map[string]bool{}
		}
		k.leave[channel] = true
	}
}

// leaves reports whether a subscription is being given up by the link itself.
func (k *link) leaves(channel string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leave[channel]
}

// run keeps the connection until ctx ends.
func (k *link) run(ctx context.Context) {
	defer k.owner.set(k, false)
	for try := 0; ctx.Err() == nil; try++ {
		begun := time.Now()
		err := k.connection(ctx)
		k.owner.set(k, false)
		if ctx.Err() != nil {
			return
		}
		k.owner.b.config.Logger.Warn("the link to Redis is lost; trying again", "server", k.address, "error", err)
		k.owner.again()
		if time.Since(begun) > time.Minute {
			try = 0
		}
		if try > 0 {
			pause(ctx, try)
		}
		sleep(ctx, rand.N(reconnectJitter))
	}
}

var errNoServer = errors.New("the server is no longer in the cluster")

// connection is one connection, from its beginning to its end.
func (k *link) connection(ctx context.Context) error {
	client := k.owner.client()
	if k.address != "" {
		if client = client.Nodes()[k.address]; client == nil {
			return errNoServer
		}
	}
	conn, release := client.Dedicate()
	defer release()
	defer conn.Close() // it has subscriptions, and is nobody else's any more
	k.have = map[string]*room{}
	migrated := make(chan struct{}, 1)
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { k.owner.b.heardEntry(m.Channel, m.Message) },
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "sunsubscribe" && !k.leaves(s.Channel) && k.owner.b.roomOf(s.Channel) != nil { // the slot was moved
				select {
				case migrated <- struct{}{}:
				default:
				}
			}
		},
	})
	if err := k.ping(ctx, conn); err != nil {
		return err
	}
	for _, channel := range k.owner.b.channels() {
		k.look(channel)
	}
	ticker := time.NewTicker(linkCheck)
	defer ticker.Stop()
	for {
		channels := k.take()
		if len(channels) > 0 {
			if err := k.subscribe(ctx, conn, channels); err != nil {
				return err
			}
			continue
		}
		k.owner.set(k, true)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case <-k.kick:
		case <-migrated:
			k.owner.again()
			return errors.New("slots have moved")
		case <-ticker.C:
			if err := k.ping(ctx, conn); err != nil {
				return err
			}
		}
	}
}

func (k *link) ping(ctx context.Context, conn rueidis.DedicatedClient) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	err := conn.Do(ctx, conn.B().Ping().Build()).Error()
	if err == nil {
		k.owner.b.heard.Store(time.Now().UnixNano())
	}
	return err
}

// subscribe brings some channels to where they should be: subscribed if the room has
// sessions here and is this server's, and then up to date.
func (k *link) subscribe(ctx context.Context, conn rueidis.DedicatedClient, channels []string) error {
	b := k.owner.b
	var wanted, unwanted []string
	var rooms []*room
	for _, channel := range channels {
		r := b.roomOf(channel)
		_, have := k.have[channel]
		switch {
		case r != nil && k.owner.serves(k.address, channel):
			if !have {
				wanted = append(wanted, channel)
			}
			if k.have[channel] != r {
				rooms = append(rooms, r)
			}
		case have:
			unwanted = append(unwanted, channel)
		}
	}
	sending, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	var commands []rueidis.Completed
	add := func(channels []string, build func(...string) rueidis.Completed) {
		switch {
		case len(channels) == 0:
		case k.address == "":
			commands = append(commands, build(channels...))
		default: // one command is for one slot
			for _, channel := range channels {
				commands = append(commands, build(channel))
			}
		}
	}
	add(wanted, func(c ...string) rueidis.Completed { return conn.B().Ssubscribe().Channel(c...).Build() })
	add(unwanted, func(c ...string) rueidis.Completed { return conn.B().Sunsubscribe().Channel(c...).Build() })
	k.leaving(unwanted)
	for _, result := range conn.DoMulti(sending, commands...) {
		if err := result.Error(); err != nil {
			return err
		}
	}
	k.leaving(nil) // all have been confirmed
	for _, channel := range unwanted {
		delete(k.have, channel)
	}
	for some := range slices.Chunk(rooms, lookBatch) {
		if err := k.catchUp(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings rooms up to date that were just subscribed to.
func (k *link) catchUp(ctx context.Context, rooms []*room) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	b := k.owner.b
	calls := make([]rueidis.LuaExec, len(rooms))
	for i, r := range rooms {
		at, last, there := r.place()
		calls[i] = rueidis.LuaExec{Keys: []string{r.keys.state, r.keys.log}, Args: append(where(at, there), last)}
	}
	sent := time.Now()
	for i, result := range lookScript.ExecMulti(ctx, k.owner.client(), calls...) {
		list, err := result.ToArray()
		if err != nil {
			return err
		}
		a, err := b.read(list, rooms[i].arn, sent)
		if err != nil {
			return err
		}
		room := rooms[i]
		k.have[room.keys.channel] = room
		if a.whole = calls[i].Args[2] == "1"; a.whole {
			b.apply(room, a)
		} else {
			b.deliver(room, func() ([]*chat.Publication, bool) { return room.goLive(a.at) })
		}
	}
	return nil
}

// channels are those of all rooms with sessions here.
func (b *Redis) channels() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.byName))
}

// roomOf returns the subscribed room of a channel, or nil.
func (b *Redis) roomOf(channel string) *room {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byName[channel]
}

// offerAgain offers what this node published shortly before the broker was away: it may
// have forgotten it. What it has not is not published twice.
func (b *Redis) offerAgain(lostAt time.Time) {
	again := b.offers.since(lostAt.Add(-offerTime))
	if len(again) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return
	}
	b.own.Go(func() {
		places := make(chan struct{}, offersAtOnce)
		var under sync.WaitGroup
		for _, f := range again {
			places <- struct{}{}
			under.Go(func() {
				defer func() { <-places }()
				if _, err := b.publish(f, time.Now().Add(publishTime), 0, true); err != nil && b.ctx.Err() == nil {
					b.metrics.notOffered.Inc()
					b.config.Logger.Error("a publication could not be offered again", "room", f.room.String(), "error", err)
					return
				}
				b.metrics.offered.Inc()
			})
		}
		under.Wait()
	})
}
