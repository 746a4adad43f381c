"""The register's steps inside Redis: each script is atomic, on the server's clock. Times are in microseconds.

Each is given the server that the process has heard from last, and returns which one this is. Another one may lack the newest
records, so the script does nothing until ``RESTORE`` has told it what the process has.

The keys of an account:

========  ===========  ==========================================================================================
records   hash         each record, by its key
states    hash         its state
belongs   hash         the member that it belongs to
made      hash         its AgentInstanceId or TaskId
ids       hash         the key of the record with an AgentInstanceId or TaskId
owners    hash         the owner for whom it counts
owned     hash         how many records count for an owner
members   sorted set   until when each member's lease runs
joined    hash         since when each member has been one without a gap
left      sorted set   since when a record has been left to the next process
over      sorted set   when a record was struck off, for ten minutes
========  ===========  ==========================================================================================
"""

from __future__ import annotations

from zego_aigc.redis._lua import CLOCK, SERVER

__all__ = [
    "ADD",
    "BEAT",
    "ENDED",
    "IDENTIFY",
    "KEYS",
    "LEAVE",
    "LIVE",
    "MADE",
    "REMOVE",
    "RESTORE",
    "TAKE",
    "TAKE_ABANDONED",
    "UNKNOWN",
]

KEYS = ("records", "states", "belongs", "made", "ids", "owners", "owned", "members", "joined", "left", "over")

_PRELUDE = f"""
local records, states, belongs, made, ids = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local owners, owned, members, joined, left, over = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
{CLOCK}
{SERVER}
local heard_of = table.remove(ARGV, 1)
if heard_of ~= '' and heard_of ~= server then
  return {{server}}
end
"""

_STEPS = """
local function enrol(member, lease)
  local until_when = tonumber(redis.call('ZSCORE', members, member) or '')
  if until_when == nil or until_when < now then
    redis.call('HSET', joined, member, string.format('%.0f', now))
  end
  redis.call('ZADD', members, now + lease, member)
end

local function count(key, owner)
  if owner ~= '' and redis.call('HSETNX', owners, key, owner) == 1 then
    redis.call('HINCRBY', owned, owner, 1)
  end
end

local function uncount(key)
  local owner = redis.call('HGET', owners, key)
  if owner then
    redis.call('HDEL', owners, key)
    if redis.call('HINCRBY', owned, owner, -1) <= 0 then
      redis.call('HDEL', owned, owner)
    end
  end
end

local function write(key, record, state, member, owner)
  redis.call('HSET', records, key, record)
  count(key, owner)
  redis.call('HSET', states, key, state)
  redis.call('HSET', belongs, key, member)
  redis.call('ZREM', left, key)
  redis.call('ZREM', over, key)
end

local function name(key, id)
  local before = redis.call('HGET', made, key)
  if before and before ~= id then
    redis.call('HDEL', ids, before)
  end
  redis.call('HSET', made, key, id)
  redis.call('HSET', ids, id, key)
end

local function remove(key)
  uncount(key)
  local id = redis.call('HGET', made, key)
  if id then
    redis.call('HDEL', ids, id)
  end
  for _, name in ipairs({records, states, belongs, made}) do
    redis.call('HDEL', name, key)
  end
  redis.call('ZREM', left, key)
  redis.call('ZADD', over, now, key)
  redis.call('ZREMRANGEBYSCORE', over, '-inf', now - 600000000)
end

local function read(key)
  local id = redis.call('HGET', made, key) or ''
  return {redis.call('HGET', records, key), redis.call('HGET', states, key), redis.call('HGET', belongs, key), id}
end
"""


def _script(body: str) -> str:
    """A script that answers with the server, and with what its body returns."""
    return f"{_PRELUDE}{_STEPS}\nlocal function run(){body}end\nreturn {{server, run()}}\n"


ADD = _script("""
-- ARGV: lease, member, key, record, owner, at most so many of the owner's (or -1)
local lease, member, key, record, owner, most = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if owner ~= '' and most >= 0 and redis.call('HEXISTS', records, key) == 0 then
  local count = tonumber(redis.call('HGET', owned, owner) or '0')
  if count >= most then
    return count
  end
end
enrol(member, lease)
write(key, record, 'starting', member, owner)
return -1
""")

MADE = _script("""
-- ARGV: lease, member, key, record, owner, id
enrol(ARGV[2], tonumber(ARGV[1]))
write(ARGV[3], ARGV[4], 'live', ARGV[2], ARGV[5])
name(ARGV[3], ARGV[6])
return 1
""")

IDENTIFY = _script("""
-- ARGV: key, id
if redis.call('HEXISTS', records, ARGV[1]) == 1 and redis.call('HSETNX', made, ARGV[1], ARGV[2]) == 1 then
  redis.call('HSET', ids, ARGV[2], ARGV[1])
end
return 1
""")

UNKNOWN = _script("""
-- ARGV: key
if redis.call('HEXISTS', records, ARGV[1]) == 1 then
  redis.call('HSET', states, ARGV[1], 'unknown')
  uncount(ARGV[1])
end
return 1
""")

REMOVE = _script("""
-- ARGV: key
remove(ARGV[1])
return 1
""")

ENDED = _script("""
-- ARGV: id
local key = redis.call('HGET', ids, ARGV[1])
if key then
  remove(key)
end
return key or ''
""")

TAKE = _script("""
-- ARGV: lease, member, id
local key = redis.call('HGET', ids, ARGV[3])
if not key then
  return {}
end
enrol(ARGV[2], tonumber(ARGV[1]))
redis.call('HSET', states, key, 'live')
local owner = cjson.decode(redis.call('HGET', records, key)).owner
if type(owner) == 'string' then
  count(key, owner)
end
redis.call('HSET', belongs, key, ARGV[2])
redis.call('ZREM', left, key)
return {read(key)}
""")

LEAVE = _script("""
-- ARGV: member
local found = {}
local all = redis.call('HGETALL', belongs)
for n = 1, #all, 2 do
  local key = all[n]
  if all[n + 1] == ARGV[1] then
    local known = redis.call('HEXISTS', made, key) == 1
    redis.call('HSET', states, key, known and 'left' or 'unknown')
    if not known then
      uncount(key)
    end
    redis.call('HSET', belongs, key, '')
    redis.call('ZADD', left, now, key)
    table.insert(found, read(key))
  end
end
redis.call('ZREM', members, ARGV[1])
redis.call('HDEL', joined, ARGV[1])
return found
""")

LIVE = _script("""
local found = {}
for _, key in ipairs(redis.call('HKEYS', records)) do
  table.insert(found, read(key))
end
return found
""")

BEAT = _script("""
-- ARGV: lease, member
local known = redis.call('HEXISTS', joined, ARGV[2])
enrol(ARGV[2], tonumber(ARGV[1]))
return known
""")

TAKE_ABANDONED = _script("""
-- ARGV: lease, member, grace
local lease, member, grace = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
enrol(member, lease)
-- After an outage of this Redis all leases have run out. Each process that lives renews its own within a lease, so whoever has
-- not been a member for that long must not judge the others.
local since = tonumber(redis.call('HGET', joined, member))
if now - since < lease then
  return {}
end
local taken = {}
local dead, any = {}, false
for _, other in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', now)) do
  dead[other], any = true, true
  redis.call('ZREM', members, other)
  redis.call('HDEL', joined, other)
end
if any then
  local all = redis.call('HGETALL', belongs)
  for n = 1, #all, 2 do
    if dead[all[n + 1]] then
      table.insert(taken, all[n])
    end
  end
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', left, '-inf', now - grace)) do
  table.insert(taken, key)
end
local found = {}
for _, key in ipairs(taken) do
  redis.call('HSET', belongs, key, member)
  redis.call('ZREM', left, key)
  table.insert(found, read(key))
end
return found
""")

RESTORE = _script("""
-- ARGV: lease, member, how many keys of records follow that the process has struck off lately, these keys, then of each record
-- that it has: key, record, state, owner for whom it counts, id, and whether it took the record from another process lately
local member, gone = ARGV[2], tonumber(ARGV[3])
enrol(member, tonumber(ARGV[1]))
-- This server may not have heard of others for a while: nobody is to be judged before a lease has passed.
redis.call('HSET', joined, member, string.format('%.0f', now))
for n = 4, 3 + gone do
  remove(ARGV[n])
end
for n = 4 + gone, #ARGV, 6 do
  local key, id = ARGV[n], ARGV[n + 4]
  local whose = redis.call('HGET', belongs, key)
  local lacking = not whose and not redis.call('ZSCORE', over, key)
  if lacking or whose == member or ARGV[n + 5] == '1' then
    uncount(key)
    write(key, ARGV[n + 1], ARGV[n + 2], member, ARGV[n + 3])
    if id ~= '' then
      name(key, id)
    end
  end
end
return 1
""")
