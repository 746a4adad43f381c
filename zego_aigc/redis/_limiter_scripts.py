"""What runs inside Redis for the limiter: each script is one atomic step, on the server's clock. Times are in microseconds.

A lane is one AppId and Action. Its keys:

==========  ===========  =================================================================================================
tokens      sorted set   what is not free: each request's id, by when its token is released; ``withheld 1`` and so on
queue       sorted set   who waits in the foreground: each process once, by when it came
background  sorted set   who waits in the background, likewise
present     sorted set   until when a process in one of these is believed to be there
turns       hash         ``overtaken``: foreground tokens since the background's last; when a caller of either line last came
                         (``foreground``) or was served (``background``)
pace        hash         what complaints of the service have added, as :mod:`zego_aigc.limits.pacing` does it; and the
                         ``balance`` of late answers
epoch       string       since when this server keeps books for the AppId, and which server that is
==========  ===========  =================================================================================================
"""

from __future__ import annotations

from zego_aigc.redis._lua import CLOCK, SERVER

__all__ = ["SETTLE", "SETTLE_KEYS", "TAKE", "TAKE_KEYS"]

TAKE_KEYS = ("tokens", "queue", "background", "present", "turns", "epoch")

TAKE = (
    CLOCK
    + SERVER
    + """
-- ARGV: limit, hold, quiet, presence, keep (ms), who (a process, in one of its lines), request, 1 for the background,
-- spacing, stay, share, catch up, changeover
local tokens, queue, background, present, turns, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local limit, hold, quiet = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local presence, keep = tonumber(ARGV[4]), tonumber(ARGV[5])
local who, request, behind = ARGV[6], ARGV[7], ARGV[8] == '1'
local spacing, stay, share = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])

if redis.call('ZSCORE', tokens, request) then
  return {1, 0}  -- it has its token: the answer that said so was lost
end

-- Without books nobody knows what left within the last window: wait until it no longer matters. Of a server that has taken
-- over the newest entries may be missing; what other processes hold, and what has left meanwhile, they report within the
-- changeover.
local changeover = tonumber(ARGV[13])
local since, keeper = string.match(redis.call('GET', epoch) or '', '^(%d+) ?(%w*)$')
since = tonumber(since)
if since == nil or since > now + changeover or keeper ~= server then
  since = since and keeper ~= server and now + changeover or now
  redis.call('SET', epoch, string.format('%.0f %s', since, server))
end

redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
-- A clock that was set back: nothing is released later than a whole hold from now.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', tokens, now + hold + 1000000, '+inf')) do
  redis.call('ZADD', tokens, now + hold, id)
end
for _, range in ipairs({{'-inf', now}, {now + presence + 1000000, '+inf'}}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', present, range[1], range[2])) do
    redis.call('ZREM', queue, id)
    redis.call('ZREM', background, id)
    redis.call('ZREM', present, id)
  end
end

local line = behind and background or queue
if not redis.call('ZSCORE', line, who) then
  redis.call('ZADD', line, now, who)
end
redis.call('ZADD', present, now + presence, who)
local function turn(name)
  return tonumber(redis.call('HGET', turns, name) or '') or 0
end
local function put(name, value)
  redis.call('HSET', turns, name, string.format('%.0f', value))
end
if not behind then put('foreground', now) end

-- Where people were seen of late, the background spaces its calls.
local from = 0
if turn('foreground') + stay > now and turn('foreground') <= now then from = turn('background') + spacing end
if from > now + spacing then from = now end  -- a clock that was set back
local its_turn = turn('overtaken') >= share - 1 and from <= now

local wait
if now < since + quiet then
  wait = since + quiet - now
else
  local ahead = redis.call('ZRANK', line, who)
  if behind then
    if not its_turn then ahead = ahead + redis.call('ZCARD', queue) end
  elseif its_turn and redis.call('ZCARD', background) > 0 then
    ahead = ahead + 1
  end
  local place = ahead - (limit - redis.call('ZCARD', tokens))
  if place < 0 and (not behind or from <= now) then
    redis.call('ZADD', tokens, now + hold, request)
    redis.call('ZREM', line, who)
    redis.call('ZREM', present, who)
    if behind then
      put('background', now - from < tonumber(ARGV[12]) * spacing and from or now)  -- a little lateness is caught up on
      put('overtaken', 0)
    elseif redis.call('ZCARD', background) > 0 then
      put('overtaken', turn('overtaken') + 1)
    end
    redis.call('PEXPIRE', tokens, keep)
    redis.call('PEXPIRE', turns, keep)
    return {1, 0}
  end
  if place < 0 then
    wait = from - now
  else
    local due = redis.call('ZRANGE', tokens, place, place, 'WITHSCORES')[2]
    wait = due and tonumber(due) - now or hold
    if behind then wait = math.max(wait, from - now) end
  end
end
redis.call('PEXPIRE', line, keep)
redis.call('PEXPIRE', present, keep)
redis.call('PEXPIRE', turns, keep)
return {0, wait}
"""
)
"""Take a token for a request, or a place in a line.

Returns 1 with the token, or 0 and how long it is until one is released for this process, as far as is known.
"""

SETTLE_KEYS = ("tokens", "queue", "background", "present", "pace")

SETTLE = (
    CLOCK
    + """
-- ARGV: limit, window, guard, slack, hold, keep (ms), most in the account of late answers, share of tokens to withhold, windows
-- until each is given back; then for each update: what, id, age, more
local tokens, queue, background, present, pace = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, window, guard, slack = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local hold, keep = tonumber(ARGV[5]), tonumber(ARGV[6])
local most = 0.5 * window
local max_balance = tonumber(ARGV[7])

local function held_in(name)
  return tonumber(redis.call('HGET', pace, name) or '')
end
local function put(name, value)
  redis.call('HSET', pace, name, string.format('%.0f', value))
  redis.call('PEXPIRE', pace, 1000 * 3600)
end

-- Half of what was added to the guard is given back after sixty windows without a complaint.
local widened, calm_at = held_in('guard') or 0, held_in('guard calm')
if calm_at and now >= calm_at then
  local steps = 1 + math.floor((now - calm_at) / (60 * window))
  widened = widened / 2 ^ math.min(steps, 64)
  if widened < 0.01 * window then
    widened = 0
    redis.call('HDEL', pace, 'guard', 'guard calm')
  else
    put('guard', widened)
    put('guard calm', calm_at + steps * 60 * window)
  end
end

-- Tokens that are left to others for a while: how many, and when the last of them is given back.
local function withheld()
  local count, last = 0, now
  if (held_in('withheld until') or now) > now then
    for number = 1, limit do
      local due = tonumber(redis.call('ZSCORE', tokens, 'withheld ' .. number) or '')
      if due and due > now then
        count = count + 1
        last = math.max(last, due)
      end
    end
  end
  return count, last
end
local function withhold()
  local count, due = withheld()
  local more = math.min(limit - count - 1, math.ceil((limit - count) * tonumber(ARGV[8])))
  for number = 1, limit do
    local name = 'withheld ' .. number
    if more > 0 and (tonumber(redis.call('ZSCORE', tokens, name) or '') or now) <= now then
      due = due + tonumber(ARGV[9]) * window
      redis.call('ZADD', tokens, due, name)
      more = more - 1
    end
  end
  put('withheld until', due)
end

local function released(id, due)
  local before = tonumber(redis.call('ZSCORE', tokens, id) or '')
  if due > now and (before == nil or due < before) then
    redis.call('ZADD', tokens, due, id)
  elseif due <= now and before then
    redis.call('ZREM', tokens, id)
  end
end

-- The account of :mod:`zego_aigc.limits.late_answers`.
local balance = nil
local function withdraw(income, seconds)
  balance = math.min((balance or held_in('balance') or max_balance) + income, max_balance)
  if seconds > balance then return false end
  balance = balance - seconds
  return true
end

for i = 10, #ARGV, 4 do
  local what, id, age, more = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if what == 'departed' then
    released(id, now - age + guard + widened + slack + more + window)
  elseif what == 'answered' or what == 'served' then
    local due = now - age + slack + window
    local before = tonumber(redis.call('ZSCORE', tokens, id) or '')
    local late = false
    if what == 'served' and due > now and (before == nil or before < due) then
      -- `more`: 0 where the guard counts, as without a known round trip; else 1 and what its process pays into the account.
      if before and more > 0 and withdraw(more - 1, due - before) then
        late = true
        redis.call('ZADD', tokens, due, id)
      else
        put('cut short', now)  -- that is what a complaint may be about
      end
    end
    if before and not late then released(id, due) end
  elseif what == 'released' then
    redis.call('ZREM', tokens, id)
  elseif what == 'holding' then
    redis.call('ZADD', tokens, now + hold, id)  -- also where this server does not know of it
  elseif what == 'leaving' then
    redis.call('ZREM', queue, id)
    redis.call('ZREM', background, id)
    redis.call('ZREM', present, id)
  elseif what == 'too fast' then
    -- `more` is 1 where the process that was refused releases tokens by a learned round trip.
    local heard = held_in('heard')
    if heard == nil or heard > now or now - heard > guard + widened + slack + window then
      put('heard', now)
      local cut_short = held_in('cut short')
      if cut_short and now - cut_short <= 2 * window + guard + widened and guard + widened < most then
        widened = math.min(most, math.max(2 * (guard + widened), guard + widened + 0.05 * window)) - guard
        put('guard', widened)
        put('guard calm', now + 60 * window)
      else
        local calm = held_in('learned calm')
        if more == 0 or (calm and now < calm) then
          withhold()
        else
          put('anew', (held_in('anew') or 0) + 1)
        end
        put('learned calm', now + 10 * window)
      end
    end
  end
end
if balance then put('balance', balance) end
redis.call('PEXPIRE', tokens, keep)
return {held_in('anew') or 0, widened, (withheld())}
"""
)
"""Note what became of requests (departed, answered, served, released, still holding), who left the queue, and complaints.

Returns how often round trips were to be learned anew, what complaints have added to the guard, and how many tokens are
withheld.
"""
