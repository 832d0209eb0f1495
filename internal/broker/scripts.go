package broker

import "github.com/redis/rueidis"

// A room has two keys and a channel, of one hash tag: the state, a hash of epoch (e),
// number (n), the moment when the rate's bucket is full (f, microseconds), when the keys
// last got time to live (x, seconds), when something was last published that was asked
// again (g, seconds), the Ids of such (a) and the server that began the epoch (p); and the
// log, a list of the last entries.
//
// An epoch is of one server from its start on. What takes over, or comes back, may not
// have the last of what was published: it begins another before it gives a number once
// more. Entries of the epoch before stay in the log, and callers that lack them get them.
//
// In the scripts, since says how many entries are after one of this epoch or of the one
// before, and nil where that is not known.
//
// Every script answers with a list: how it went, the broker's clock in microseconds,
// epoch, number, and then entries that the caller lacks.

const (
	// maxLog is how many entries a room's log keeps: ten seconds' worth at the highest
	// rate that a room may have.
	maxLog = 1024
	// logSlack is how many more it may have before it is cut.
	logSlack = 64
	// keyLife is how long a room's keys stay after its last publication, in seconds. When
	// they go, the room's next epoch begins.
	keyLife = 600
)

// luaCommon is part of each script.
const luaCommon = `
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local function int(x) return string.format('%.0f', x) end
local m = redis.call('HMGET', KEYS[1], 'e', 'n', 'f', 'x', 'g', 'a', 'p')
local me = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local e, n = tonumber(m[1]) or 0, tonumber(m[2]) or 0
local ce, cn, there = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local function over(rate)
  local interval = math.floor(1000000 / rate)
  local f = math.max(tonumber(m[3]) or 0, us)
  if f > us + 1000000 then -- the clock has gone back
    f = us + 1000000
    redis.call('HSET', KEYS[1], 'f', int(f))
  end
  if f - us > 1000000 - interval then return true end
  m[3] = int(f + interval)
  return false
end
local function keep(anew)
  if anew or t[1] - (tonumber(m[4]) or 0) > 60 then
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    redis.call('EXPIRE', KEYS[2], ARGV[4])
    redis.call('HSET', KEYS[1], 'x', t[1])
  end
end
local function since(pe, pn)
  if pe == e then return math.max(0, n - pn) end
  local le, ln = string.match(redis.call('LINDEX', KEYS[2], -(n + 1)) or '', '^%d+ (%d+) (%d+) ')
  if tonumber(le) == pe then return n + math.max(0, ln - pn) end
end
local function lacking()
  if not there then return {} end
  local count = ce == 0 and n or since(ce, cn) -- who knows of no epoch wants this one alone
  if count == 0 then return {} end
  return redis.call('LRANGE', KEYS[2], count and -count or 0, -1)
end
local function answer(how, entries)
  local a = {how, int(us), int(e), int(n)}
  for i = 1, #entries do a[4 + i] = entries[i] end
  return a
end
local function forgot() return e == 0 or m[7] ~= me or ce > e or (ce == e and cn > n) end
local function begin()
  e = math.max(math.floor(us / 1000), e + 1, ce + 1)
  n = 0
end
`

// publishScript admits and publishes, in one step. Keys: state, log, channel. Arguments:
// the caller's epoch and number, whether it is subscribed, the keys' life, the maximum
// of the log, its slack, the deadline on the broker's clock (microseconds; 0: none), the
// rate (0: none), Id, whether it is asked again, its epoch and number if it had one, the
// publication.
//
// One that is in the log already keeps its number, and is known. It is looked for when it is asked
// again. The first try may come after the second, by another connection: for a while the
// Ids of those that were published when asked again are kept (a; g: since when, in
// seconds).
var publishScript = rueidis.NewLuaScript(luaCommon + `
local id, again = ARGV[9], ARGV[10] == '1'
local recently = t[1] - (tonumber(m[5]) or 0) < 15
if again and e > 0 then
  local pe, pn = tonumber(ARGV[11]), tonumber(ARGV[12])
  local function has(entry)
    return string.match(entry, '^%d+ %d+ %d+ (%S+) ') == id
  end
  local log = {}
  if pn > 0 then
    local count = since(pe, pn)
    if count then
      local found = redis.call('LINDEX', KEYS[2], -(count + 1))
      if not found and redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[5]) or found and has(found) then -- the log may have gone past it
        return answer('known', lacking())
      end
    end
    if n > 0 then log = redis.call('LRANGE', KEYS[2], -n, -1) end
  else
    log = redis.call('LRANGE', KEYS[2], 0, -1)
  end
  for i = #log, 1, -1 do
    if has(log[i]) then return answer('known', lacking()) end
  end
elseif m[6] and recently then
  if string.find(m[6], ' ' .. id .. ' ', 1, true) then return answer('known', lacking()) end
elseif m[6] then
  redis.call('HDEL', KEYS[1], 'a')
end
local deadline, rate = tonumber(ARGV[7]), tonumber(ARGV[8])
if deadline > 0 and us > deadline then return answer('late', {}) end
if rate > 0 and over(rate) then return answer('over', {}) end
if forgot() then
  begin()
  redis.call('HSET', KEYS[1], 'p', me)
end
n = n + 1
local entry = '1 ' .. int(e) .. ' ' .. int(n) .. ' ' .. id .. ' ' .. ARGV[10] .. ' ' .. ARGV[13]
local length = redis.call('RPUSH', KEYS[2], entry)
local told = redis.pcall('SPUBLISH', KEYS[3], entry)
if type(told) == 'table' and told.err then -- it may not; then nobody is to find it
  redis.call('RPOP', KEYS[2])
  return told
end
if length > ARGV[5] + ARGV[6] then redis.call('LTRIM', KEYS[2], -ARGV[5], -1) end
if rate > 0 then
  redis.call('HSET', KEYS[1], 'e', int(e), 'n', int(n), 'f', m[3])
else
  redis.call('HSET', KEYS[1], 'e', int(e), 'n', int(n))
end
if again then
  redis.call('HSET', KEYS[1], 'g', t[1], 'a', string.sub((recently and m[6] or ' ') .. id .. ' ', -16384))
end
keep(length == 1)
if there and ce == e and cn == n - 1 then return answer('published', {entry}) end
return answer('published', lacking())
`)

// admitScript takes one of the rate. Keys: state, log. Arguments: as above up to the
// keys' life, the rate.
var admitScript = rueidis.NewLuaScript(luaCommon + `
if over(tonumber(ARGV[5])) then return answer('over', {}) end
redis.call('HSET', KEYS[1], 'f', m[3])
if e == 0 then redis.call('EXPIRE', KEYS[1], 60) end
return answer('admitted', {})
`)

// lookScript says where a room is and what the caller lacks. A caller that knows more
// than the broker makes it begin a new epoch: it forgot. Keys: state, log. Arguments: as
// above up to the keys' life.
var lookScript = rueidis.NewLuaScript(luaCommon + `
if there and e > 0 and forgot() then
  begin()
  redis.call('HSET', KEYS[1], 'e', int(e), 'n', int(n), 'p', me)
  return answer('forgot', lacking())
end
return answer('is', lacking())
`)

// borrowScript takes up to so many of a rate. Key: the moment when its bucket is full.
// Arguments: the rate, how many.
var borrowScript = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local interval = math.floor(1000000 / ARGV[1])
local f = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, us)
if f > us + 1000000 then -- the clock has gone back
  f = us + 1000000
  redis.call('SET', KEYS[1], string.format('%.0f', f), 'PX', 2000)
end
local n = math.min(tonumber(ARGV[2]), math.floor((1000000 - (f - us)) / interval))
if n <= 0 then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', f + n * interval), 'PX', 2000)
return n
`)

// reserveScript makes a node's share of a quota as large as asked, or as is left. Key: a
// hash of shares by node, each "COUNT SECONDS". Arguments: the node, how many, the quota,
// how long a share lives in seconds.
var reserveScript = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local others = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    local count, at = string.match(all[i + 1], '^(%d+) (%d+)$')
    if count and at - t[1] > 0 then -- the clock has gone back
      redis.call('HSET', KEYS[1], all[i], count .. ' ' .. t[1])
      at = t[1]
    end
    if count and t[1] - at <= ARGV[4] + 0 then
      others = others + count
    else
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
local n = math.max(0, math.min(tonumber(ARGV[2]), ARGV[3] - others))
if n == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', n) .. ' ' .. t[1])
  redis.call('EXPIRE', KEYS[1], ARGV[4] * 2)
end
return n
`)
