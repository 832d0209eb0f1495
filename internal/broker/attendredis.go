package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// attendKeyLife is how long what is known of who is in a room stays after the last node
// spoke of it, in seconds.
const attendKeyLife = 60

// attendScript changes a node's share of who is in a room. Each node has a hash of its
// sessions and their users; the sums over nodes are kept with every change, so that a call
// costs what it changes and not how many there are. The share of a node that has been silent
// for too long is taken away by the next that calls.
//
// Keys: the state; hashes of users with how many sessions each has, of users with their
// sessions (a list of "MICROSECONDS:SESSION:NODE"; only where they may not have any
// number), of sessions that are to end with their nodes, of users who came (1) and went (0)
// since something was shown, and of such that are being shown; the node's own. Those of
// other nodes have its name but for the node.
//
// The state has the connections (c), the version (v), that which was shown last (t), when
// that was (l, microseconds), who shows one now (b), which (w) and until when (u), how many
// came or went and are not remembered (m), and by "@NODE" when a node was last heard
// (seconds).
//
// Arguments: the node; whether its share is told anew; how many connections a user may
// have; what presence is wanted; the version that it has shown; the life of shares and of
// keys in seconds; most news; most names; the time to show (microseconds), the pause; how
// many came, whether more follows, each as session, user, age in microseconds; sessions that went.
//
// It answers with the version that the caller is to show (0: none), users, connections,
// how long to wait (microseconds), whether other nodes have sessions to end now, how many
// news are not named, connections of this node; then how many sessions of this node are to
// end, how many users came and how many went, and then these. An empty answer says that
// there is no share of the node.
var attendScript = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local s = tonumber(t[1])
local us = s * 1000000 + t[2]
local function int(x) return string.format('%.0f', x) end
local node, anew, most, list, told = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4] == '2', ARGV[5]
local life = tonumber(ARGV[6])
local function of(n) return KEYS[1] .. ':' .. n end
local state, nodes = {}, {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  state[flat[i]] = flat[i + 1]
  if string.sub(flat[i], 1, 1) == '@' then nodes[string.sub(flat[i], 2)] = tonumber(flat[i + 1]) end
end
if not nodes[node] and not anew then return {} end
local count, more, changed, elsewhere = tonumber(state.c) or 0, tonumber(state.m) or 0, false, 0
local ended = {}
flat = redis.call('HGETALL', KEYS[4])
for i = 1, #flat, 2 do ended[flat[i]] = flat[i + 1] end
local listing = most > 0 or redis.call('EXISTS', KEYS[3]) == 1
local lists, grown = {}, {}
local function sessions(user)
  if not lists[user] then
    local l = {}
    for at, session, n in string.gmatch(redis.call('HGET', KEYS[3], user) or '', '(%d+):([^: ]+):([^ ]+)') do
      l[#l + 1] = {tonumber(at), session, n}
    end
    lists[user] = l
  end
  return lists[user]
end
local function note(user, came)
  if not list then return end
  local had = redis.call('HGET', KEYS[5], user)
  if had and had ~= came then redis.call('HDEL', KEYS[5], user)
  elseif had then return
  elseif redis.call('HLEN', KEYS[5]) < tonumber(ARGV[8]) then redis.call('HSET', KEYS[5], user, came)
  else more = more + 1 end
end
local function remove(n, session)
  local user = redis.call('HGET', of(n), session)
  if not user then return end
  redis.call('HDEL', of(n), session)
  changed, count = true, count - 1
  if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then
    redis.call('HDEL', KEYS[2], user)
    note(user, '0')
  end
  if ended[session] then
    redis.call('HDEL', KEYS[4], session)
    ended[session] = nil
  end
  if listing then
    local l = sessions(user)
    for i = #l, 1, -1 do
      if l[i][2] == session then table.remove(l, i) end
    end
  end
end
local function removeAll(n)
  for _, session in ipairs(redis.call('HKEYS', of(n))) do remove(n, session) end
end
local function add(session, user, at)
  if redis.call('HSETNX', of(node), session, user) == 0 then return end
  changed, count = true, count + 1
  if redis.call('HINCRBY', KEYS[2], user, 1) == 1 then note(user, '1') end
  if most > 0 then
    local l = sessions(user)
    l[#l + 1] = {at, session, node}
    grown[user] = l
  end
end

-- Who has been away for long itself cannot say that others are dead: the broker was.
local back = nodes[node] and s - nodes[node] > life / 2
for n, heard in pairs(nodes) do
  if n ~= node and (back or heard > s) then
    redis.call('HSET', KEYS[1], '@' .. n, t[1])
  elseif n ~= node and s - heard > life then
    removeAll(n)
    redis.call('DEL', of(n))
    redis.call('HDEL', KEYS[1], '@' .. n)
    nodes[n] = nil
  end
end
if anew then removeAll(node) end
local came = tonumber(ARGV[12])
for i = 14 + 3 * came, #ARGV do remove(node, ARGV[i]) end
for i = 14, 13 + 3 * came, 3 do add(ARGV[i], ARGV[i + 1], us - ARGV[i + 2]) end
for _, l in pairs(grown) do
  table.sort(l, function(x, y) return x[1] < y[1] or x[1] == y[1] and x[2] < y[2] end)
  local stay = 0
  for _, e in ipairs(l) do
    if not ended[e[2]] then stay = stay + 1 end
  end
  for _, e in ipairs(l) do
    if stay > most and not ended[e[2]] then
      stay = stay - 1
      ended[e[2]] = e[3]
      redis.call('HSET', KEYS[4], e[2], e[3])
      if e[3] ~= node then elsewhere = 1 end
    end
  end
end
for user, l in pairs(lists) do
  local text = {}
  for i, e in ipairs(l) do text[i] = int(e[1]) .. ':' .. e[2] .. ':' .. e[3] end
  if #text > 0 then redis.call('HSET', KEYS[3], user, table.concat(text, ' ')) else redis.call('HDEL', KEYS[3], user) end
end

local own = redis.call('HLEN', KEYS[7])
if own > 0 then
  nodes[node] = s
  redis.call('HSET', KEYS[1], '@' .. node, t[1])
elseif nodes[node] then
  nodes[node] = nil
  redis.call('HDEL', KEYS[1], '@' .. node)
end
if count <= 0 or not next(nodes) then
  redis.call('DEL', unpack(KEYS))
  return {'0', '0', '0', '0', '0', '0', '0', '0', '0', '0'}
end
local v = tonumber(state.v) or 0
if changed then v = math.max(v + 1, us) end
local shown, last, by, untl = tonumber(state.t) or 0, tonumber(state.l) or 0, state.b or '', tonumber(state.u) or 0
if told ~= '0' and by == node and state.w == told then
  shown, by = tonumber(told), ''
  redis.call('DEL', KEYS[6])
end
local version, wait, joined, left, unnamed = '0', 0, {}, {}, 0
if ARGV[4] ~= '0' and ARGV[13] == '0' and v ~= shown then
  local pause = tonumber(ARGV[11])
  if last > us then last = us end -- the clock has gone back
  if us - last < pause then
    wait = pause - (us - last)
  elseif by ~= '' and by ~= node and us < untl and untl - us <= tonumber(ARGV[10]) then
    wait = math.min(pause, untl - us)
  else
    by, untl, last, version = node, us + ARGV[10], us, int(v)
    redis.call('HSET', KEYS[1], 'w', version)
    flat = redis.call('HGETALL', KEYS[5])
    for i = 1, #flat, 2 do
      local had = redis.call('HGET', KEYS[6], flat[i])
      if had and had ~= flat[i + 1] then redis.call('HDEL', KEYS[6], flat[i])
      else redis.call('HSET', KEYS[6], flat[i], flat[i + 1]) end
    end
    redis.call('DEL', KEYS[5])
    flat = redis.call('HGETALL', KEYS[6])
    for i = 1, #flat, 2 do
      local l = flat[i + 1] == '1' and joined or left
      if #l < tonumber(ARGV[9]) then l[#l + 1] = flat[i] else unnamed = unnamed + 1 end
    end
    unnamed = unnamed + more
    more = 0
  end
end
redis.call('HSET', KEYS[1], 'c', int(count), 'v', int(v), 't', int(shown), 'l', int(last), 'b', by, 'u', int(untl), 'm', int(more))
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[7]) end
local mine = {}
for session, n in pairs(ended) do
  if n == node then mine[#mine + 1] = session end
end
local a = {version, int(redis.call('HLEN', KEYS[2])), int(count), int(wait), int(elsewhere), int(unnamed), int(own), int(#mine), int(#joined), int(#left)}
for _, l in ipairs({mine, joined, left}) do
  for _, x in ipairs(l) do a[#a + 1] = x end
end
return a
`)

// Attend implements [chat.Broker].
func (b *Redis) Attend(ctx context.Context, room chat.ARN, share chat.Share) (chat.Standing, error) {
	if err := ctx.Err(); err != nil {
		return chat.Standing{}, err
	}
	flag := func(set bool) string {
		if set {
			return "1"
		}
		return "0"
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	args := []string{
		b.config.Node, flag(share.Anew), strconv.Itoa(share.Most), strconv.Itoa(int(share.Presence)), strconv.FormatUint(share.Told, 10),
		number(int64(chat.AttendanceLife / time.Second)), strconv.Itoa(attendKeyLife), strconv.Itoa(mostNews), strconv.Itoa(mostNamed),
		number(tellTime.Microseconds()), number(chat.PresencePause.Microseconds()), strconv.Itoa(len(share.Came)), flag(share.Partial),
	}
	for _, who := range share.Came {
		args = append(args, who.Session, who.User, number(who.Age.Microseconds()))
	}
	args = append(args, share.Went...)
	state := keysOf(room).state + ":who"
	k := []string{state, state + "/users", state + "/sessions", state + "/ended", state + "/news", state + "/shown", state + ":" + b.config.Node}
	var said []string
	err := b.insist(ctx, func(ctx context.Context) (err error) {
		client := b.links.client()
		if client == nil {
			return errAway
		}
		said, err = attendScript.Exec(ctx, client, k, args).AsStrSlice()
		return err
	})
	if err != nil {
		return chat.Standing{}, err
	}
	return parseStanding(said)
}

// parseStanding reads the answer of attendScript.
func parseStanding(said []string) (s chat.Standing, err error) {
	const head = 10
	if len(said) == 0 {
		return chat.Standing{Unknown: true}, nil
	}
	if len(said) < head {
		return s, errWire
	}
	var n [head]uint64
	for i := range n {
		if n[i], err = strconv.ParseUint(said[i], 10, 64); err != nil || n[i] > maxNumber {
			return s, fmt.Errorf("who is in a room: %w", errWire)
		}
	}
	rest := said[head:]
	if n[7]+n[8]+n[9] != uint64(len(rest)) {
		return s, fmt.Errorf("who is in a room: %w", errWire)
	}
	s = chat.Standing{Version: n[0], Users: int(n[1]), Connections: int(n[2]), Wait: time.Duration(n[3]) * time.Microsecond, Elsewhere: n[4] == 1, More: int(n[5]), Own: int(n[6])}
	s.Ended, rest = rest[:n[7]:n[7]], rest[n[7]:]
	s.Joined, s.Left = rest[:n[8]:n[8]], rest[n[8]:]
	return s, nil
}
