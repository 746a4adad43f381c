"""The books of :class:`~zego_aigc.redis.RedisQuota`: the arithmetic of :mod:`zego_aigc.limits.capacity`, inside Redis.

Each script is one atomic step on the server's clock. Times are in microseconds. The keys of an AppId and kind:

========  ===========  ===================================================================================================
places    hash         what each place is for: ``making``, ``live`` or ``unknown``, then a blank and the instance's id if known
lapses    sorted set   when each place is given up, or believed in no longer
living    hash         the place of each instance that lives, or may
early     sorted set   instances whose end was heard before they were known, and until when that is kept in mind
over      sorted set   places whose instance was told to have ended, likewise: older news of them may come late
state     hash         places of each standing; while the service says "full", how many creations may be tried, and when;
                       which server keeps the books
queue     sorted set   who waits in the foreground: each process once, by when it came
present   sorted set   until when a process in one of the lines is believed to be there
behind    sorted set   who waits in the background, as in ``queue``
========  ===========  ===================================================================================================
"""

from __future__ import annotations

from zego_aigc.redis._lua import CLOCK, SERVER

__all__ = ["KEYS", "NOTE", "TAKE_PLACE"]

KEYS = ("places", "lapses", "living", "early", "over", "state", "queue", "present", "behind")

_COMMON = (
    CLOCK
    + SERVER
    + """
local places, lapses, living, early = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local over, state, queue, present, behind = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
-- ARGV: limit (-1 for none), lease, orphan, presence, share, the server that the process has heard of last, ...
local limit, lease, orphan = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local presence, share = tonumber(ARGV[4]), tonumber(ARGV[5])

local function number(name)
  return tonumber(redis.call('HGET', state, name) or '')
end
local function count(standing)
  return number(standing) or 0
end
local function put(name, value)
  redis.call('HSET', state, name, string.format('%.0f', value))
end
local function standing_of(place)
  local what = redis.call('HGET', places, place)
  if not what then return nil, nil end
  local blank = string.find(what, ' ', 1, true)
  if blank then return string.sub(what, 1, blank - 1), string.sub(what, blank + 1) end
  return what, nil
end

-- A place becomes what it is for now; nil: free.
local function move(place, standing, instance, lapse)
  local before, known = standing_of(place)
  if before then
    redis.call('HINCRBY', state, before, -1)
    if known and redis.call('HGET', living, known) == place then
      redis.call('HDEL', living, known)
    end
  end
  if standing then
    redis.call('HINCRBY', state, standing, 1)
    redis.call('HSET', places, place, instance and standing .. ' ' .. instance or standing)
    redis.call('ZADD', lapses, lapse, place)
    if instance then redis.call('HSET', living, instance, place) end
  else
    redis.call('HDEL', places, place)
    redis.call('ZREM', lapses, place)
  end
end
local function gone(place)
  local before = standing_of(place)
  if before == 'live' and number('width') then
    put('try_at', now)  -- the service has a place again, most likely
  end
  move(place, nil)
end

for _, place in ipairs(redis.call('ZRANGEBYSCORE', lapses, '-inf', now)) do
  if standing_of(place) == 'making' then
    move(place, 'unknown', nil, now + orphan)  -- its process died, and what it was making may exist
  else
    gone(place)
  end
end
local width = number('width')
if width and number('try_at') > now + 60000000 then
  put('try_at', now)  -- a clock that was set back
end
local function used()
  return count('making') + count('live') + count('unknown')
end

-- A server that has taken over may lack the newest entries: for so long it gives nothing out, and hears what processes hold.
-- They report what they are making every second, and all that they have when they see another server's name.
local changeover = 2000000
local keeper = redis.call('HGET', state, 'server')
if keeper ~= server then
  redis.call('HSET', state, 'server', server)
  -- One that has lost all its data cannot know that it took over: the process does.
  if keeper or (ARGV[6] ~= '' and ARGV[6] ~= server) then put('settled_at', now + changeover) end
end
local settling = math.min(changeover, (number('settled_at') or now) - now)
if settling <= 0 then redis.call('HDEL', state, 'settled_at') end

local function answer(granted, wait)
  return {granted, wait, count('making'), count('live'), count('unknown'), number('width') and 1 or 0, server}
end
"""
)

TAKE_PLACE = (
    _COMMON
    + """
-- ... place ('' only to look), who (a process, in one of its lines; '' not to wait), 1 for the background
local place, who, background = ARGV[7], ARGV[8], ARGV[9] == '1'
local waits = who ~= ''
if place == '' then
  return answer(0, 0)
end
if redis.call('HEXISTS', places, place) == 1 then
  return answer(1, 0)  -- it was taken: the answer that said so was lost
end
for _, range in ipairs({{'-inf', now}, {now + presence + 1000000, '+inf'}}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', present, range[1], range[2])) do
    redis.call('ZREM', queue, id)
    redis.call('ZREM', behind, id)
    redis.call('ZREM', present, id)
  end
end

local line = background and behind or queue
local rank = redis.call('ZRANK', line, who)
if not rank then
  rank = redis.call('ZCARD', line)
  if waits then redis.call('ZADD', line, now, who) end
end
if waits then redis.call('ZADD', present, now + presence, who) end
-- The foreground goes first, but one in so many places is for the background while that waits.
local others = redis.call('ZCARD', background and queue or behind)
if others > 0 then
  local its_turn = count('overtaken') >= share - 1
  if background and not its_turn then
    rank = rank + others
  elseif its_turn and not background then
    rank = rank + 1
  end
end

local free = limit < 0 and math.huge or limit - used()
if width then
  free = math.min(free, width - count('making'))
end
local try_at = width and number('try_at') or now
if settling <= 0 and rank < free and try_at <= now then
  move(place, 'making', nil, now + lease)
  redis.call('ZREM', line, who)
  redis.call('ZREM', present, who)
  if background then
    redis.call('HDEL', state, 'overtaken')
  elseif others > 0 then
    redis.call('HINCRBY', state, 'overtaken', 1)
  end
  return answer(1, 0)
end
if settling > 0 then
  return answer(-1, settling)
end
local wait = 3600000000
if try_at > now then
  wait = try_at - now
else
  local next_lapse = redis.call('ZRANGE', lapses, 0, 0, 'WITHSCORES')[2]
  if next_lapse then wait = math.min(wait, math.max(0, tonumber(next_lapse) - now)) end
end
return answer(0, wait)
"""
)
"""Take a place, or a place in the queue.

Returns 1 with the place, or 0 and how long it is until there may be one, or -1 and how long it is until that is known; then
how many are being made, live and unknown, whether the service said "full", and which server this is.
"""

NOTE = (
    _COMMON
    + """
-- ... then for each update: what, place, instance, microseconds
for i = 7, #ARGV, 4 do
  local what, place, instance, time = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local standing = standing_of(place)
  if (what == 'making' or what == 'live' or what == 'unknown') and redis.call('ZSCORE', over, place) then
    -- said before its end, and sent again since Redis was gone
  elseif what == 'making' then  -- still, and perhaps this server does not know of it
    if standing ~= 'live' then move(place, 'making', nil, now + time) end
  elseif what == 'live' then
    width = number('width')
    if width and standing == 'making' then
      put('refusals', 0)
      put('try_at', now)
      local wide = limit < 0 and 64 or math.min(limit, 64)
      if 2 * width >= wide then
        redis.call('HDEL', state, 'width', 'refusals', 'try_at')
      else
        put('width', 2 * width)
      end
    end
    local other = redis.call('HGET', living, instance)
    if other and other ~= place then
      gone(place)  -- it is counted already
    else
      move(place, 'live', instance, now + time)
      if redis.call('ZREM', early, instance) == 1 then gone(place) end
    end
  elseif what == 'unknown' then
    if instance ~= '' then  -- it has lived, and may be counted under the place of another process that knew it first
      move(redis.call('HGET', living, instance) or place, 'unknown', instance, now + time)
    elseif standing == 'making' or standing == nil then
      move(place, 'unknown', nil, now + time)
    end
  elseif what == 'gone' then
    if standing then gone(place) end
  elseif what == 'ended' then
    local known = redis.call('HGET', living, instance)
    if known then
      gone(known)
      redis.call('ZADD', over, now + time, known)
    else
      redis.call('ZADD', early, now + time, instance)
    end
  elseif what == 'full' then
    if not number('width') or now >= number('try_at') then
      local refusals = (number('refusals') or 0) + 1
      put('width', 1)
      put('refusals', refusals)
      put('try_at', now + math.min(15, 2 ^ (math.min(refusals, 10) - 1)) * 1000000)
    end
  elseif what == 'leaving' then
    redis.call('ZREM', queue, place)
    redis.call('ZREM', behind, place)
    redis.call('ZREM', present, place)
  end
end
for _, memory in ipairs({early, over}) do
  redis.call('ZREMRANGEBYSCORE', memory, '-inf', now)
  redis.call('ZREMRANGEBYRANK', memory, 0, -1025)
end
return answer(0, 0)
"""
)
"""Note what became of places, and what the service said."""
