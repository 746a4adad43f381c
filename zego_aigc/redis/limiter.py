"""The limit of ten calls a second for each AppId and Action, shared by all processes that use one Redis."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from zego_aigc.limits.limiter import DEFAULT_GUARD, VENDOR_LIMIT, VENDOR_WINDOW, LimiterStats
from zego_aigc.limits.sliding_window import Window
from zego_aigc.limits.wait_queue import BACKGROUND_SHARE
from zego_aigc.redis._limiter_member import LimiterLane, LimiterMember
from zego_aigc.redis._script_runner import ScriptRunner, checked_client

if TYPE_CHECKING:
    from typing import Self

    from redis.asyncio import Redis, RedisCluster

    from zego_aigc.limits.limiter import FullPermit

__all__ = ["RedisLimiter"]


class RedisLimiter:
    """At most `limit` calls of an Action in any window, as the service sees them, by all who share a Redis and a prefix.

    The promise is that of :class:`~zego_aigc.LocalLimiter`: a token is released a `window` and a `guard` after the request
    that spent it left, or sooner where its answer and the smallest round trip that this process has seen of late show that it
    arrived sooner. One atomic script takes it, and all times are the Redis server's: the clocks of the hosts do not matter.
    Taking a token costs a round trip to Redis; what becomes of it is sent in the background.

    It may be built before a fork: each process has an identity and a connection of its own, from its first use on.

    **Order.** The foreground of any process goes before the background of any; while the background waits, at least one token
    in ten is for it, and where people were seen in the last minute it spaces its calls. Within a process and line first come,
    first served. Among processes that wait for the same Action, the one whose turn was longest ago is next, so a process with
    a thousand callers does not starve one with a single caller.

    **Deaths.** A token whose process died before its request left is released a `lease` (renewed while the process lives), a
    window and a guard later. A dead process that stood in the queue holds up one token for a second.

    **Redis gone**, or not to be written to. Callers wait for it to come back, and what departed meanwhile is sent then; their
    own deadline bounds the wait. With `outage_limit` they go on instead, a window and a guard after Redis was last heard: at
    most so many calls of an Action per window in each process. In the window after Redis comes back, what processes sent by
    themselves and have not reported yet may come on top. A Redis that has lost its data, or sees an AppId for the first time,
    gives out nothing for a window and a guard.

    **Failover**, or a restart from what was on disk. The server that takes over may lack the newest entries, so it gives out
    nothing for a window, a guard and a second; in that time processes report to it what they hold.

    **What it cannot know.** A process that is cut off from Redis for a whole `lease` while a request of its own waits for a
    connection may send that request into a full window. While some processes still reach a primary that others have left,
    each of the two servers gives out a whole limit. Keep the keys from eviction (``maxmemory-policy noeviction``).

    Args:
        redis: a URL (``redis://host:6379/0``, ``rediss://`` for TLS), or a ``redis.asyncio.Redis`` (a Sentinel's
            ``master_for()`` too) or ``redis.asyncio.RedisCluster``, which stays yours to close. Redis 6.2 or newer, or Valkey.
        limit: calls that the service takes per window, for each AppId and Action; at least 1. The same for all processes.
        window: length of the service's window in seconds.
        guard: seconds by which the delay on the way to the service may vary. It grows for all after :meth:`too_fast`.
        lease: seconds for which a token is kept for a process that is not heard of; at least 1.
        outage_limit: calls of an Action per window that this process may make by itself while Redis is gone, such as
            the limit divided by the number of processes; ``None`` to wait for Redis.
        timeout: seconds after which a Redis that does not answer counts as gone.
        prefix: what the keys begin with.

    Raises:
        ValueError: a number is out of range.
        ConfigurationError: the extra ``redis`` is not installed, or `redis` is none of these.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster | str,
        limit: int = VENDOR_LIMIT,
        window: float = VENDOR_WINDOW,
        guard: float = DEFAULT_GUARD,
        *,
        lease: float = 30.0,
        outage_limit: int | None = None,
        timeout: float = 1.0,
        prefix: str = "zego_aigc",
    ) -> None:
        Window(limit, window, guard)  # complains now, not at the first call
        if not 1 <= lease < math.inf:
            raise ValueError(f"lease must be a number of seconds from 1 up, not {lease}")
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
        if outage_limit is not None and outage_limit < 1:
            raise ValueError(f"outage_limit must be at least 1, or None to wait for Redis, not {outage_limit}")
        checked_client(redis)
        self._redis = redis
        self._limit = limit
        self._window = window
        self._guard = guard
        self._lease = lease
        self._outage_limit = outage_limit
        self._timeout = timeout
        self._prefix = prefix
        self._member: LimiterMember | None = None

    def __repr__(self) -> str:
        return f"RedisLimiter(limit={self._limit}, window={self._window}, guard={self._guard})"

    # --- what a client asks

    @property
    def limit(self) -> int:
        """Calls that the service takes in any window, for each AppId and Action, by all processes together."""
        return self._limit

    @property
    def window(self) -> float:
        """Length of the service's window in seconds."""
        return self._window

    @property
    def guard(self) -> float:
        """Seconds by which the delay on the way to the service may vary, as given."""
        return self._guard

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> FullPermit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing.

        Args:
            app_id: whose limit counts.
            action: the vendor's name of the Action.
            background: whether others may go first, in any process.

        Raises:
            ConfigurationError: Redis is set up wrongly, or another event loop is using this limiter.
        """
        member = self._here()
        lane = member.lane(app_id, action)
        line = lane.lines[background]
        async with line.turn(lambda: member.update(lane, "leaving", line.who)):
            return await member.take(lane, line, background=background)

    def take(self, app_id: int, action: str, *, background: bool = False) -> FullPermit | None:  # noqa: ARG002 - the protocol's
        """None: every token has to be asked of Redis, which takes a wait."""
        return None

    def estimate(self, app_id: int, action: str, *, background: bool = False) -> float:
        """Seconds that a caller who came now would wait at least, given the queue of this process."""
        lane = self._known(app_id, action)
        if lane is None:
            return 0.0
        ahead = lane.waiting
        if not background:
            foreground = lane.lines[False].waiting
            ahead = min(ahead, foreground + foreground // (BACKGROUND_SHARE - 1))
        return ahead // self._limit * self._window

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast: for a while the guard grows, or all use fewer tokens."""
        lane = self._known(app_id, action)
        if lane is None or self._member is None:
            return
        lane.complaints += 1
        self._member.update(lane, "too fast", "", 1e-6 if lane.trips.known else 0.0)
        if self._member.local is not None:
            self._member.local.too_fast(app_id, action)

    def stats(self, app_id: int, action: str) -> LimiterStats:
        """How this process uses the Action's limit at the moment; guard and withheld tokens are those of all processes."""
        lane = self._known(app_id, action)
        if lane is None:
            return LimiterStats(guard=self._guard)
        return LimiterStats(
            sent=lane.throughput.total,
            waiting=lane.lines[False].waiting,
            waiting_background=lane.lines[True].waiting,
            round_trip=lane.trips.smallest,
            guard=lane.guard,
            withheld=lane.withheld,
            complaints=lane.complaints,
            share=lane.throughput.share(time.monotonic()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Send Redis what became of the last requests, and close a connection that is our own."""
        if self._member is not None and self._member.pid == os.getpid():
            await self._member.aclose()

    def _here(self) -> LimiterMember:
        """This process, as Redis knows it."""
        if self._member is None or self._member.pid != os.getpid():
            forked = self._member is not None
            self._member = LimiterMember(
                ScriptRunner(self._redis, self._timeout, self._prefix, forked=forked),
                prefix=self._prefix,
                limit=self._limit,
                window=self._window,
                guard=self._guard,
                lease=self._lease,
                outage_limit=self._outage_limit,
                timeout=self._timeout,
            )
        return self._member

    def _known(self, app_id: int, action: str) -> LimiterLane | None:
        return None if self._member is None else self._member.lanes.get((app_id, action))
