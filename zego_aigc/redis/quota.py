"""The budget of live instances of an AppId, shared by all processes that use one Redis."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from zego_aigc.errors import ConnectFailed
from zego_aigc.limits.capacity import CapacityLedger, Usage
from zego_aigc.limits.quota import Kind
from zego_aigc.redis._quota_member import QuotaBooks, QuotaMember, RedisReservation
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner, checked_client

if TYPE_CHECKING:
    from typing import Self

    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisQuota"]


class RedisQuota:
    """How many instances of each kind may live at a time, in all processes that share a Redis, a prefix and an AppId.

    It is used like :class:`~zego_aigc.Quota` and keeps the same promise: the service's refusal is the truth, and while it says
    "full" one creation at a time is tried, by whichever process. What differs:

    * What is said of a place (:meth:`Reservation.live` and the rest), and :meth:`ended`, reaches Redis in
      the background. :meth:`usage` returns what Redis last answered; :meth:`look` asks.
    * Any process may call :meth:`ended`, such as the one that receives the callbacks. What it returns is whether *this*
      process holds the instance's place.
    * Within a process callers are served first come, first served; processes that wait take turns. A place that becomes free
      is noticed within a quarter of a second.
    * When a process dies, what it was making counts as unknown after a `lease` and is given up `orphan` seconds later; what it
      had made counts until :meth:`ended`, or for `forget_after`.
    * While Redis is gone, callers wait for it, or fail at once with `wait` false; updates made meanwhile are sent later. A
      server that takes over, a replica or the same one after a restart, may lack the newest entries: processes report to it
      what they hold and have just given back, and for two seconds it gives no places out.

    Args:
        redis: a URL (``redis://host:6379/0``, ``rediss://`` for TLS), or a ``redis.asyncio.Redis`` (a Sentinel's
            ``master_for()`` too) or ``redis.asyncio.RedisCluster``, which stays yours to close. Redis 6.2 or newer, or Valkey.
        agents: voice agent instances; None for no budget.
        digital_humans: digital human agent instances, live ones included; None for no budget.
        streams: digital human video stream tasks; None for no budget.
        app_id: whose instances are counted.
        lease: seconds after which a process that is not heard of counts as dead; at least 1.
        orphan: seconds for which an instance that a dead process was making is taken to live.
        forget_after: seconds for which an instance of a process that is not heard of counts, whose end is never reported.
        timeout: seconds after which a Redis that does not answer counts as gone.
        prefix: what the keys begin with.

    Raises:
        ValueError: a number is out of range.
        ConfigurationError: the extra ``redis`` is not installed, or `redis` is none of these.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster | str,
        agents: int | None = 10,
        digital_humans: int | None = 10,
        streams: int | None = 10,
        *,
        app_id: int,
        lease: float = 60.0,
        orphan: float = 180.0,
        forget_after: float = 86_400.0,
        timeout: float = 1.0,
        prefix: str = "zego_aigc",
    ) -> None:
        limits: dict[Kind, int | None] = {"agents": agents, "digital_humans": digital_humans, "streams": streams}
        for limit in limits.values():
            CapacityLedger(limit)  # complains now, not at the first use
        if not 1 <= lease < math.inf:
            raise ValueError(f"lease must be a number of seconds from 1 up, not {lease}")
        for name, value in (("orphan", orphan), ("forget_after", forget_after), ("timeout", timeout)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number of seconds, not {value}")
        checked_client(redis)
        self._redis = redis
        self._limits = limits
        self._lease = lease
        self._orphan = orphan
        self._forget_after = forget_after
        self._timeout = timeout
        self._prefix = prefix
        self._app_id = app_id
        self._member: QuotaMember | None = None

    def __repr__(self) -> str:
        return f"RedisQuota({', '.join(f'{kind}={limit}' for kind, limit in self._limits.items())})"

    # --- what callers ask

    async def acquire(self, kind: Kind, *, wait: bool = True, background: bool = False) -> RedisReservation:
        """A place for an instance that is about to be made.

        Args:
            kind: which budget.
            wait: whether to wait for a place while there is none. Cancelling the wait takes none.
            background: whether others may go first, in any process.

        Raises:
            QuotaExceeded: there is no place, or others wait for one, or Redis is gone, and `wait` is false. Nothing was sent.
            ConfigurationError: Redis is set up wrongly, or another event loop is using this quota.
            ValueError: no such kind.
        """
        member = self._here()
        books = member.books(kind)
        line = books.lines[background]
        if not wait:
            if line.waiting:
                member.refuse(books)
            return await member.take_at_once(books, background=background)
        async with line.turn(lambda: member.update(books, "leaving", line.who)):
            return await member.take(books, line, background=background)

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Saying so twice is harmless.

        Returns:
            whether this process held its place. Redis is informed in any case.
        """
        return self._here().ended(instance_id)

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> RedisReservation:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        member = self._here()
        reservation = member.new_reservation(member.books(kind))
        reservation.live(instance_id, expires_in=expires_in)
        return reservation

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`RedisReservation.full` says it of one's own."""
        member = self._here()
        member.update(member.books(kind), "full", "")

    def usage(self, kind: Kind) -> Usage:
        """How a budget was used when Redis was last heard. See :meth:`look`."""
        return self._here().books(kind).usage

    async def look(self, kind: Kind) -> Usage:
        """How a budget is used now, in all processes, with what this one has said so far.

        Raises:
            ConnectFailed: Redis is gone.
            ConfigurationError: Redis is set up wrongly.
        """
        member = self._here()
        try:
            return await member.look(member.books(kind))
        except RedisUnavailable as error:
            raise ConnectFailed(f"Redis does not answer: {error}. See that it runs and can be written to") from error

    def waiting(self, kind: Kind) -> int:
        """How many callers of this process wait for a place."""
        return sum(line.waiting for line in self._here().books(kind).lines)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Send Redis what was last said, and close a connection that is our own. Places of living instances stay taken."""
        if self._member is not None and self._member.pid == os.getpid():
            await self._member.aclose()

    def _here(self) -> QuotaMember:
        """This process, as Redis knows it."""
        if self._member is None or self._member.pid != os.getpid():
            forked = self._member is not None
            identity = os.urandom(8).hex()
            base = f"{self._prefix}:{{{self._app_id}}}:quota"
            self._member = QuotaMember(
                ScriptRunner(self._redis, self._timeout, self._prefix, forked=forked),
                {kind: QuotaBooks(kind, limit, f"{base}:{kind}", identity) for kind, limit in self._limits.items()},
                identity,
                lease=self._lease,
                orphan=self._orphan,
                forget_after=self._forget_after,
                timeout=self._timeout,
            )
        return self._member
