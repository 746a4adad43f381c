"""The limit of ten calls a second for each AppId and Action, shared by all processes that use one Redis."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from zego_aigc.limits.limiter import DEFAULT_GUARD, VENDOR_LIMIT, VENDOR_WINDOW
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.limits.sliding_window import Window
from zego_aigc.redis._granting import wait_for_grant
from zego_aigc.redis._script_runner import ScriptRunner
from zego_aigc.redis._scripts import SETTLE, TAKE
from zego_aigc.redis._update_queue import UpdateQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from redis.asyncio import Redis

    from zego_aigc.limits.limiter import FullPermit

__all__ = ["RedisLimiter"]

_SLACK = 0.005
"""In windows, what is added to every bound, as in :mod:`zego_aigc.limits.sliding_window`."""
_UNPROVEN = 0.5
"""Seconds that the first request on a connection may take longer than others."""
_LOOK = 0.1
"""Seconds after which a waiting process looks again at the latest: tokens can come back early, and it shows that it lives."""
_PRESENCE = 1.0
"""Seconds without a look after which a process in the queue is taken for dead."""


class RedisLimiter:
    """At most `limit` calls of an Action in any window, as the service sees them, by all who share a Redis and a prefix.

    The promise is that of :class:`~zego_aigc.LocalLimiter`: a token comes back a `window` and a `guard` after the request that
    spent it left (or a `window` and a little after its answer). One atomic script takes it, and all times are the Redis
    server's: the clocks of the hosts do not matter. Taking a token costs a round trip to Redis; what becomes of it is told
    in the background.

    **Order.** Within a process first come, first served. Among processes that wait for the same Action, the one whose turn
    was longest ago is next, so a process with a thousand callers does not starve one with a single caller.

    **Deaths.** A token whose process died before its request left comes back a `lease` (renewed while the process lives), a
    window and a guard later. A dead process that stood in the queue holds up one token for a second.

    **Redis gone.** Callers wait for it to come back, and what departed meanwhile is told then; their own deadline bounds the
    wait. With `outage_limit` they go on instead, a window and a guard after Redis was last heard: at most so many calls of an
    Action per window in each process. In the window after Redis comes back, what processes sent by themselves and have not
    told yet may come on top. A Redis that has lost its data, or sees an AppId for the first time, gives out nothing for a
    window and a guard.

    **What it cannot know.** A process that is cut off from Redis for a whole `lease` while a request of its own waits for a
    connection may send that request into a full window. A failover to a replica that lags forgets the newest tokens. Keep
    the keys from eviction (``maxmemory-policy noeviction``).

    Args:
        redis: a ``redis.asyncio.Redis``, which stays yours to close, or a URL (``redis://host:6379/0``). Redis 5 or newer.
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
        ConfigurationError: the extra ``redis`` is not installed.
    """

    def __init__(
        self,
        redis: Redis | str,
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
        if not 1 <= lease < float("inf"):
            raise ValueError(f"lease must be a number of seconds from 1 up, not {lease}")
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
        self._limit = limit
        self._window = window
        self._guard = guard
        self._lease = lease
        self._timeout = timeout
        self._prefix = prefix
        self._local = None if outage_limit is None else LocalLimiter(outage_limit, window, guard)
        self._quiet = window * (1 + _SLACK) + guard
        self._process = os.urandom(8).hex()
        self._count = 0
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._runner = ScriptRunner(redis, timeout)
        self._updates: UpdateQueue[_Lane, _Update] = UpdateQueue(self._runner, self._settle)
        # Weak, so that a permit which everybody has forgotten is not renewed for ever.
        self._held: WeakValueDictionary[str, _RedisPermit] = WeakValueDictionary()
        self._renewal: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"RedisLimiter(limit={self._limit}, window={self._window}, guard={self._guard})"

    # --- what a client asks --------------------------------------------------------------------------------------

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

    async def acquire(self, app_id: int, action: str) -> FullPermit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing.

        Raises:
            ConfigurationError: Redis refuses to be used like this, or another event loop is using this limiter.
        """
        lane = self._lane(app_id, action)
        lane.waiting += 1
        try:
            # One caller of the process asks at a time, for its place in the common queue is the process's.
            async with lane.turn:
                return await self._take(lane)
        finally:
            lane.waiting -= 1
            if lane.queued and not lane.waiting:
                lane.queued = False
                self._update(lane, "leaving", self._process)

    def take(self, app_id: int, action: str) -> FullPermit | None:  # noqa: ARG002 - the protocol's
        """None: every token has to be asked of Redis, which takes a wait."""
        return None

    def estimate(self, app_id: int, action: str) -> float:
        """Seconds that a caller who came now would wait at least, given the queue of this process."""
        lane = self._lanes.get((app_id, action))
        return 0.0 if lane is None else lane.waiting // self._limit * self._window

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast: the guard grows for a while, for all processes."""
        if lane := self._lanes.get((app_id, action)):
            self._update(lane, "too fast", "")
            if self._local is not None:
                self._local.too_fast(app_id, action)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Tell Redis what became of the last requests, and close a connection that is our own."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        await self._runner.idle()  # what was asked for callers that have gone
        await self._updates.aclose(self._timeout)
        await self._runner.aclose()

    # --- taking --------------------------------------------------------------------------------------------------

    async def _take(self, lane: _Lane) -> FullPermit:
        permit = self._new_permit(lane)
        args = (
            self._limit,
            _us(self._lease + self._quiet),
            _us(self._quiet),
            _us(_PRESENCE),
            self._keep_ms(),
            self._process,
            permit.id,
        )
        runner, loop = self._runner, asyncio.get_running_loop()

        async def prepare() -> None:
            if runner.is_down:
                await self._updates.flush()  # what left meanwhile is told before more is asked for

        async def ask() -> float | None:
            lane.queued = True
            granted, wait = await runner.run(TAKE, lane.take_keys, args, abandoned=lambda: self._abandoned(permit))
            return None if granted else wait / 1e6

        def goes_on_alone() -> bool:
            return self._local is not None and loop.time() >= runner.heard_at + self._quiet

        if await wait_for_grant(runner, ask, prepare=prepare, while_down=goes_on_alone, withdraw=permit.release, look=_LOOK):
            lane.queued = False
            self._hold(permit)
            return permit
        assert self._local is not None
        return _OutagePermit(self._new_permit(lane), await self._local.acquire(lane.app_id, lane.action))

    def _lane(self, app_id: int, action: str) -> _Lane:
        lane = self._lanes.get((app_id, action))
        if lane is None:
            lane = self._lanes[app_id, action] = _Lane(self._prefix, app_id, action)
        return lane

    def _new_permit(self, lane: _Lane) -> _RedisPermit:
        self._count += 1
        return _RedisPermit(self._settled, lane, f"{self._process}-{self._count}")

    def _abandoned(self, permit: _RedisPermit) -> None:
        """The caller was cancelled while Redis was asked, which has answered by now, with a token or a place in line."""
        permit.release()
        if not permit.lane.waiting:
            self._update(permit.lane, "leaving", self._process)

    def _hold(self, permit: _RedisPermit) -> None:
        self._held[permit.id] = permit
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._lease / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        for permit in list(self._held.values()):
            self._update(permit.lane, "holding", permit.id)
        if self._held:
            self._renewal = asyncio.get_running_loop().call_later(self._lease / 3, self._renew)

    # --- telling -------------------------------------------------------------------------------------------------

    def _settled(self, permit: _RedisPermit, what: str, more: float) -> None:
        self._held.pop(permit.id, None)
        self._update(permit.lane, what, permit.id, more)

    def _update(self, lane: _Lane, what: str, identity: str, more: float = 0.0) -> None:
        self._updates.put(lane, (what, identity, asyncio.get_running_loop().time(), more))

    async def _settle(self, lane: _Lane, updates: list[_Update]) -> None:
        now = asyncio.get_running_loop().time()
        args: list[Any] = [
            _us(self._window),
            _us(self._guard),
            _us(_SLACK * self._window),
            _us(self._lease + self._quiet),
            self._keep_ms(),
        ]
        for what, identity, at, more in updates:
            args += [what, identity, _us(now - at), _us(more)]
        await self._runner.run(SETTLE, lane.settle_keys, args)

    def _keep_ms(self) -> int:
        """How long keys are kept that nobody touches: until everything in them has lapsed."""
        return int(1000 * (2 * self._lease + self._quiet)) + 60_000


_Update = tuple[str, str, float, float]
"""What happened, to whom, when by the loop's clock, and seconds that belong to it."""


class _Lane:
    """One AppId and Action."""

    __slots__ = ("action", "app_id", "queued", "settle_keys", "take_keys", "turn", "waiting")

    def __init__(self, prefix: str, app_id: int, action: str) -> None:
        self.app_id = app_id
        self.action = action
        # The braces keep an AppId's keys on one node of a cluster.
        base = f"{prefix}:{{{app_id}}}"
        tokens, queue, present, pace = (f"{base}:{action}:{name}" for name in ("tokens", "queue", "present", "pace"))
        self.take_keys = (tokens, queue, present, f"{base}:epoch")
        self.settle_keys = (tokens, queue, present, pace)
        self.turn = asyncio.Lock()
        self.waiting = 0
        self.queued = False  # whether this process may have a place in the common queue


class _RedisPermit:
    __slots__ = ("__weakref__", "_departed", "_settled", "id", "lane")

    def __init__(self, settled: Callable[[_RedisPermit, str, float], None], lane: _Lane, identity: str) -> None:
        self._settled: Callable[[_RedisPermit, str, float], None] | None = settled
        self._departed = False
        self.lane = lane
        self.id = identity

    def departed(self, *, unproven: bool = False) -> None:
        if self._settled is not None and not self._departed:
            self._departed = True
            self._settled(self, "departed", _UNPROVEN if unproven else 0.0)

    def answered(self) -> None:
        if self._settled is not None and self._departed:
            self._settled(self, "answered", 0.0)
            self._settled = None

    def release(self) -> None:
        if self._settled is not None and not self._departed:
            self._settled(self, "released", 0.0)
            self._settled = None


class _OutagePermit:
    """A permit of this process alone, given while Redis is gone. What becomes of it is told to Redis too, when it is back."""

    __slots__ = ("_local", "_told")

    def __init__(self, told: _RedisPermit, local: FullPermit) -> None:
        self._told = told
        self._local = local

    def departed(self, *, unproven: bool = False) -> None:
        self._local.departed(unproven=unproven)
        self._told.departed(unproven=unproven)

    def answered(self) -> None:
        self._local.answered()
        self._told.answered()

    def release(self) -> None:
        self._local.release()
        self._told.release()


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
