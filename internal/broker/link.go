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
// which Sentinels may replace by another, or one to each primary of a cluster. Every room
// with sessions here has its channel subscribed at the link that its slot leads to.
//
// A node hears if all its links are up: while one primary of a cluster is away it hears
// of nothing, as it were, and lets nobody in, also to rooms of the others; who is there
// goes on talking. Which rooms could be believed would be more to know and to get wrong,
// for the seconds that a failover takes.
type links struct {
	b      *Redis
	option rueidis.ClientOption

	running sync.WaitGroup // of links
	judging sync.Mutex     // before mu

	mu      sync.Mutex
	redis   rueidis.Client // nil before the first connection
	all     map[string]*link
	slots   *slots    // nil where there is no cluster
	asked   time.Time // when the servers were last known
	hearing bool
	stale   chan struct{} // asks for another look at the servers
	lostAt  time.Time     // until when all was well; zero: it is
}

// link is one connection. Its goroutine alone sends on it.
type link struct {
	owner   *links
	address string
	cluster bool // the server has some slots of all
	cancel  context.CancelFunc

	kick  chan struct{}
	mu    sync.Mutex
	dirty map[string]bool // channels to look at
	moved []string        // channels that the server has given up, with their slot

	// Owned by links.mu.
	up   bool
	well time.Time // when it was last found to be

	// Owned by the link's goroutine.
	have    map[string]*room // subscribed, and for which room that was confirmed
	refused map[string]bool  // channels that the server does not serve, though it should
	since   time.Time        // when the first of refused was
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
	// sentinelCheck is how often the Sentinels are asked which server is the primary, if
	// they do not say so by themselves: a primary that was replaced while it was frozen
	// takes itself for one for some seconds after it has thawed.
	sentinelCheck = 2 * time.Second
	// unknownTime is for how long the servers may be unknown, or a slot served by none,
	// before this node counts as not hearing.
	unknownTime = 2 * time.Second
	// maxMoved is how often a call follows where servers of a cluster point, who may point
	// at each other for a while. Then it waits like others that fail.
	maxMoved = 4
	// offersAtOnce is how many publications are offered again at the same time.
	offersAtOnce = 32
)

func newLinks(b *Redis, option rueidis.ClientOption) *links {
	option.ClientName = "parlor"
	option.DisableCache = true
	option.DisableRetry = true // a call that may have been carried out is ours to repeat
	option.Dialer = net.Dialer{Timeout: tryTime, KeepAlive: time.Second}
	option.ConnWriteTimeout = tryTime
	option.ClusterOption.ShardsRefreshInterval = clusterCheck
	option.ClusterOption.MaxMovedRedirections = maxMoved
	option.Sentinel.TopologyRefreshInterval = sentinelCheck
	option.Sentinel.Dialer = option.Dialer
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
	interval := linkCheck
	if l.client().Mode() == rueidis.ClientModeCluster {
		interval = clusterCheck
	}
	unknown := false
	for ctx.Err() == nil {
		next := interval
		err := l.arrange(ctx)
		if err != nil && !unknown && ctx.Err() == nil {
			l.b.config.Logger.Warn("the servers of Redis are not known; asking again", "error", err)
		}
		if unknown = err != nil; unknown {
			next = unknownTime / 4
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-l.stale:
			sleep(ctx, 50*time.Millisecond) // let the cluster settle, and others ask too
		case <-timer.C:
		}
		timer.Stop()
	}
	l.mu.Lock()
	all := slices.Collect(maps.Values(l.all))
	l.mu.Unlock()
	for _, one := range all {
		one.cancel()
	}
	l.running.Wait()
}

func (l *links) close() {
	if client := l.client(); client != nil {
		client.Close()
	}
}

// arrange sees to it that there is a link for each server that has rooms.
func (l *links) arrange(ctx context.Context) error {
	client := l.client()
	var divided *slots
	var addresses []string
	if client.Mode() == rueidis.ClientModeCluster {
		var err error
		if divided, err = askSlots(ctx, client); err != nil {
			l.judge()
			return err
		}
		addresses = divided.addresses()
	} else {
		addresses = slices.Collect(maps.Keys(client.Nodes())) // one: the primary
	}
	l.mu.Lock()
	before := l.slots
	l.slots, l.asked = divided, time.Now()
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
	l.judge()
	for _, one := range gone {
		one.cancel()
	}
	if before == nil || divided == nil || *before == *divided {
		return nil // new links look at all rooms by themselves
	}
	l.b.mu.Lock()
	rooms := slices.Collect(maps.Values(l.b.rooms))
	l.b.mu.Unlock()
	for _, r := range rooms {
		if slot := slotOf(r.keys.channel); before[slot] != divided[slot] {
			l.changed(r)
		}
	}
	return nil
}

// start starts a link. l.mu is held.
func (l *links) start(ctx context.Context, address string) *link {
	ctx, cancel := context.WithCancel(ctx)
	one := &link{owner: l, address: address, cluster: l.slots != nil, cancel: cancel, kick: make(chan struct{}, 1), dirty: map[string]bool{}}
	l.running.Go(func() { one.run(ctx) })
	return one
}

// again asks for another look at which servers there are.
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

// addressOf is the server of a cluster that a key's slot leads to; "" if there is no
// cluster, or nobody knows yet.
func (l *links) addressOf(key string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots == nil {
		return ""
	}
	return l.slots[slotOf(key)]
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
	now := time.Now()
	hearing := len(l.all) > 0 && (l.slots == nil || now.Sub(l.asked) < clusterCheck+unknownTime)
	well := now
	for _, one := range l.all {
		if !one.up {
			hearing = false
			if !one.well.IsZero() && one.well.Before(well) {
				well = one.well
			}
		}
	}
	changed := hearing != l.hearing
	l.hearing = hearing
	lostAt := l.lostAt
	if changed && hearing {
		l.lostAt = time.Time{}
	} else if changed {
		l.lostAt = well
		l.b.offers.hold(well.Add(-offerTime))
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

var errNotServed = errors.New("the server does not serve a slot that is said to be its")

// connection is one connection, from its beginning to its end. It is not one of those that
// scripts go by: they may lead to another server already.
func (k *link) connection(ctx context.Context) error {
	option := k.owner.option
	option.InitAddress, option.ForceSingleClient, option.PipelineMultiplex = []string{k.address}, true, -1
	option.Sentinel = rueidis.SentinelOption{}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return err
	}
	defer client.Close()
	conn, release := client.Dedicate()
	defer release()
	defer conn.Close() // it has subscriptions
	k.have, k.refused = map[string]*room{}, map[string]bool{}
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { k.owner.b.heardEntry(m.Channel, m.Message) },
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "sunsubscribe" && k.owner.b.roomOf(s.Channel) != nil {
				k.gaveUp(s.Channel)
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
		if channels := k.take(); len(channels) > 0 {
			if err := k.subscribe(ctx, client, conn, channels); err != nil {
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
		case <-ticker.C:
			if err := k.ping(ctx, conn); err != nil {
				return err
			}
			if len(k.refused) == 0 {
				continue
			}
			if time.Since(k.since) > unknownTime {
				return errNotServed
			}
			for channel := range k.refused {
				k.look(channel)
			}
		}
	}
}

// gaveUp notes that the server serves a channel no more: its slot was moved, or it was
// asked to before the room came back.
func (k *link) gaveUp(channel string) {
	k.mu.Lock()
	k.moved = append(k.moved, channel)
	k.mu.Unlock()
	k.look(channel)
}

func (k *link) ping(ctx context.Context, conn rueidis.DedicatedClient) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	err := conn.Do(ctx, conn.B().Ping().Build()).Error()
	if err == nil {
		k.owner.mu.Lock()
		k.well = time.Now()
		k.owner.mu.Unlock()
	}
	return err
}

// subscribe brings some channels to where they should be: subscribed if the room has
// sessions here and is this server's, and then up to date.
func (k *link) subscribe(ctx context.Context, client rueidis.Client, conn rueidis.DedicatedClient, channels []string) error {
	b := k.owner.b
	k.mu.Lock()
	moved := k.moved
	k.moved = nil
	k.mu.Unlock()
	for _, channel := range moved {
		delete(k.have, channel)
		k.owner.again()
	}
	var wanted, unwanted []string
	var rooms []*room
	for _, channel := range channels {
		delete(k.refused, channel)
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
		case !k.cluster:
			commands = append(commands, build(channels...))
		default: // one command is for one slot
			for _, channel := range channels {
				commands = append(commands, build(channel))
			}
		}
	}
	add(wanted, func(c ...string) rueidis.Completed { return conn.B().Ssubscribe().Channel(c...).Build() })
	add(unwanted, func(c ...string) rueidis.Completed { return conn.B().Sunsubscribe().Channel(c...).Build() })
	for i, result := range conn.DoMulti(sending, commands...) {
		switch err := result.Error(); {
		case err == nil:
		case k.cluster && isElsewhere(err) && i < len(wanted):
			if len(k.refused) == 0 {
				k.since = time.Now()
			}
			k.refused[wanted[i]] = true
		case k.cluster && isElsewhere(err): // it is not subscribed there any more
		default:
			return err
		}
	}
	if len(k.refused) > 0 {
		k.owner.again()
		rooms = slices.DeleteFunc(rooms, func(r *room) bool { return k.refused[r.keys.channel] })
	}
	for _, channel := range unwanted {
		delete(k.have, channel)
	}
	for some := range slices.Chunk(rooms, lookBatch) {
		if err := k.catchUp(ctx, client, some); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings rooms up to date that were just subscribed to.
func (k *link) catchUp(ctx context.Context, client rueidis.Client, rooms []*room) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	b := k.owner.b
	calls := make([]rueidis.LuaExec, len(rooms))
	for i, r := range rooms {
		at, there := r.position()
		calls[i] = rueidis.LuaExec{Keys: []string{r.keys.state, r.keys.log}, Args: where(at, there)}
	}
	sent := time.Now()
	for i, result := range lookScript.ExecMulti(ctx, client, calls...) { // loads it at this server alone
		room := rooms[i]
		a, err := b.read(result, room.arn, b.clockOf(room.keys.state), sent)
		if err != nil && k.cluster && isElsewhere(err) { // its slot is on the move
			a, err = b.look(ctx, room)
		}
		if err != nil && !transient(err) { // something is wrong with the keys of this room alone
			b.config.Logger.Error("a room cannot be read from Redis", "room", room.arn.String(), "error", err)
			continue
		}
		if err != nil {
			return err
		}
		k.have[room.keys.channel] = room
		if a.whole = calls[i].Args[2] == "1"; a.whole {
			b.apply(room, a, true)
		} else {
			b.deliver(room, true, func() ([]*chat.Publication, bool) { return room.goLive(a.at) })
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
