"""What runs inside Redis: each script is one atomic step, on the server's clock. Times are in microseconds.

A lane is one AppId and Action. Its keys:

========  ===========  ===================================================================================================
tokens    sorted set   what is not free: each request's id, by when its token comes back
queue     sorted set   who waits: each process once, by when it came
present   sorted set   until when a process in the queue is believed to be there
pace      hash         what complaints of the service have added to the guard
epoch     string       since when this Redis keeps books for the AppId
========  ===========  ===================================================================================================
"""

from __future__ import annotations

__all__ = ["SETTLE", "TAKE"]

_CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""

TAKE = (
    _CLOCK
    + """
-- KEYS: tokens, queue, present, epoch. ARGV: limit, hold, quiet, presence, keep (ms), process, request
local tokens, queue, present, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, hold, quiet = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local presence, keep = tonumber(ARGV[4]), tonumber(ARGV[5])
local process, request = ARGV[6], ARGV[7]

if redis.call('ZSCORE', tokens, request) then
  return {1, 0}  -- it has its token: the answer that said so was lost
end

-- Without books nobody knows what left within the last window, as after a restart: wait until it no longer matters.
local since = tonumber(redis.call('GET', epoch) or '')
if since == nil or since > now then
  since = now
  redis.call('SET', epoch, string.format('%.0f', now))
end

redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
-- A clock that was set back: nothing comes back later than a whole hold from now.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', tokens, now + hold + 1000000, '+inf')) do
  redis.call('ZADD', tokens, now + hold, id)
end
for _, range in ipairs({{'-inf', now}, {now + presence + 1000000, '+inf'}}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', present, range[1], range[2])) do
    redis.call('ZREM', queue, id)
    redis.call('ZREM', present, id)
  end
end

if not redis.call('ZSCORE', queue, process) then
  redis.call('ZADD', queue, now, process)
end
redis.call('ZADD', present, now + presence, process)

local wait
if now < since + quiet then
  wait = since + quiet - now
else
  local place = redis.call('ZRANK', queue, process) - (limit - redis.call('ZCARD', tokens))
  if place < 0 then
    redis.call('ZADD', tokens, now + hold, request)
    redis.call('ZREM', queue, process)
    redis.call('ZREM', present, process)
    redis.call('PEXPIRE', tokens, keep)
    return {1, 0}
  end
  local due = redis.call('ZRANGE', tokens, place, place, 'WITHSCORES')[2]
  wait = due and tonumber(due) - now or hold
end
redis.call('PEXPIRE', queue, keep)
redis.call('PEXPIRE', present, keep)
return {0, wait}
"""
)
"""Take a token for a request, or a place in the queue.

Returns 1 with the token, or 0 and how long it is until one comes back for this process, as far as is known.
"""

SETTLE = (
    _CLOCK
    + """
-- KEYS: tokens, queue, present, pace. ARGV: window, guard, slack, hold, keep (ms), then for each news: what, id, age, more
local tokens, queue, present, pace = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local window, guard, slack = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local hold, keep = tonumber(ARGV[4]), tonumber(ARGV[5])
local calm = 10 * window

local function held_in(name)
  return tonumber(redis.call('HGET', pace, name) or '')
end
local added = held_in('added') or 0

local function comes_back(id, due)
  local before = tonumber(redis.call('ZSCORE', tokens, id) or '')
  if due > now and (before == nil or due < before) then
    redis.call('ZADD', tokens, due, id)
  elseif due <= now and before then
    redis.call('ZREM', tokens, id)
  end
end

for i = 6, #ARGV, 4 do
  local what, id, age, more = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if what == 'departed' then
    local due = held_in('calm')
    if due and now >= due then
      local steps = 1 + math.floor((now - due) / calm)
      added = added / 2 ^ math.min(steps, 64)
      if added < 0.01 * window then
        added = 0
        redis.call('DEL', pace)
      else
        redis.call('HSET', pace, 'added', string.format('%.0f', added))
        redis.call('HSET', pace, 'calm', string.format('%.0f', due + steps * calm))
      end
    end
    comes_back(id, now - age + guard + slack + more + window + added)
  elseif what == 'answered' then
    comes_back(id, now - age + slack + window + added)
  elseif what == 'released' then
    redis.call('ZREM', tokens, id)
  elseif what == 'holding' then
    redis.call('ZADD', tokens, 'XX', now + hold, id)
  elseif what == 'leaving' then
    redis.call('ZREM', queue, id)
    redis.call('ZREM', present, id)
  elseif what == 'too fast' then
    local grown = held_in('grown')
    if grown == nil or grown > now or now - grown > guard + slack + window + added then
      local most = math.max(guard, 0.5 * window)
      added = math.min(most, math.max(2 * (guard + added), guard + added + 0.05 * window)) - guard
      redis.call('HSET', pace, 'added', string.format('%.0f', added))
      redis.call('HSET', pace, 'grown', string.format('%.0f', now))
    end
    redis.call('HSET', pace, 'calm', string.format('%.0f', now + calm))
    redis.call('PEXPIRE', pace, 1000 * 3600)
  end
end
redis.call('PEXPIRE', tokens, keep)
return 1
"""
)
"""Note what became of requests (departed, answered, released, still holding), who left the queue, and complaints."""
