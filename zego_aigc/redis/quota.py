"""The budget of live instances of an AppId, shared by all processes that use one Redis."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from zego_aigc.errors import ConnectFailed
from zego_aigc.limits.capacity import CapacityLedger, Usage
from zego_aigc.limits.quota import Kind, ReservationState, quota_refusal
from zego_aigc.redis._granting import wait_for_grant
from zego_aigc.redis._quota_scripts import KEYS, NOTE, TAKE_PLACE
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner
from zego_aigc.redis._update_queue import UpdateQueue

if TYPE_CHECKING:
    from typing import Self

    from redis.asyncio import Redis

__all__ = ["RedisQuota", "RedisReservation"]

_LOOK = 0.25
"""Seconds after which a waiting process looks again at the latest."""
_PRESENCE = 2.0
"""Seconds without a look after which a process in the queue is taken for dead."""
_REMEMBER_ENDINGS = 3600.0
"""Seconds for which the end of an instance that is not known (yet) is kept in mind."""


class RedisQuota:
    """How many instances of each kind may live at a time, in all processes that share a Redis, a prefix and an AppId.

    It is used like :class:`~zego_aigc.Quota` and keeps the same promise: the service's refusal is the truth, and while it says
    "full" one creation at a time is tried, by whichever process. What differs:

    * What is said of a place (:meth:`Reservation.live` and the rest), and :meth:`ended`, reaches Redis in
      the background. :meth:`usage` tells what Redis last told; :meth:`look` asks.
    * Any process may call :meth:`ended`, such as the one that receives the callbacks. What it returns is whether *this*
      process holds the instance's place.
    * Within a process callers are served first come, first served; processes that wait take turns. A place that becomes free
      is noticed within a quarter of a second.
    * When a process dies, what it was making counts as unknown after a `lease` and is given up `orphan` seconds later; what it
      had made counts until :meth:`ended`, or for `forget_after`.
    * While Redis is gone, callers wait for it, or fail at once with `wait` false; what is said meanwhile is told later.

    Args:
        redis: a ``redis.asyncio.Redis``, which stays yours to close, or a URL (``redis://host:6379/0``). Redis 5 or newer.
        agents: voice agent instances; None for no budget.
        digital_humans: digital human agent instances, live ones included; None for no budget.
        streams: digital human video stream tasks; None for no budget.
        app_id: whose instances are counted.
        lease: seconds after which a process that is not heard of counts as dead; at least 1.
        orphan: seconds for which an instance that a dead process was making is taken to live.
        forget_after: seconds for which an instance of a process that is not heard of counts, when its end is never told.
        timeout: seconds after which a Redis that does not answer counts as gone.
        prefix: what the keys begin with.

    Raises:
        ValueError: a number is out of range.
        ConfigurationError: the extra ``redis`` is not installed.
    """

    def __init__(
        self,
        redis: Redis | str,
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
        self._lease = lease
        self._orphan = orphan
        self._forget_after = forget_after
        self._timeout = timeout
        self._process = os.urandom(8).hex()
        self._count = 0
        self._kinds = {kind: _Kind(kind, limit, f"{prefix}:{{{app_id}}}:quota:{kind}") for kind, limit in limits.items()}
        self._reservations: dict[str, RedisReservation] = {}
        self._runner = ScriptRunner(redis, timeout)
        self._updates: UpdateQueue[_Kind, _Update] = UpdateQueue(self._runner, self._send)
        self._renewal: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"RedisQuota({', '.join(f'{kind}={each.limit}' for kind, each in self._kinds.items())})"

    # --- what callers ask ----------------------------------------------------------------------------------------

    async def acquire(self, kind: Kind, *, wait: bool = True) -> RedisReservation:
        """A place for an instance that is about to be made.

        Args:
            kind: which budget.
            wait: whether to wait for a place while there is none. Cancelling the wait takes none.

        Raises:
            QuotaExceeded: there is no place, or others wait for one, or Redis is gone, and `wait` is false. Nothing was sent.
            ConfigurationError: Redis refuses to be used like this, or another event loop is using this quota.
            ValueError: no such kind.
        """
        each = self._kind(kind)
        if not wait and each.waiting:
            self._refuse(each)
        each.waiting += 1
        try:
            async with each.turn:
                return await self._take(each, waits=wait)
        finally:
            each.waiting -= 1
            if each.queued and not each.waiting:
                each.queued = False
                self._update(each, "leaving", "")

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Telling twice is harmless.

        Returns:
            whether this process held its place. Redis is told in any case.
        """
        mine = [each for each in self._reservations.values() if each.instance_id == instance_id]
        for reservation in mine:
            reservation.settle("gone")
            del self._reservations[reservation.place]
        for each in {reservation.books for reservation in mine} or set(self._kinds.values()):
            self._update(each, "ended", "", instance_id, _REMEMBER_ENDINGS)
        return bool(mine)

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> RedisReservation:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        reservation = self._new_reservation(self._kind(kind))
        reservation.live(instance_id, expires_in=expires_in)
        return reservation

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`Reservation.full` says it of one's own."""
        self._update(self._kind(kind), "full", "")

    def usage(self, kind: Kind) -> Usage:
        """How a budget was used when Redis was last heard. See :meth:`look`."""
        return self._kind(kind).usage

    async def look(self, kind: Kind) -> Usage:
        """How a budget is used now, in all processes, with what this one has said so far.

        Raises:
            ConnectFailed: Redis is gone.
            ConfigurationError: Redis refuses to be used like this.
        """
        each = self._kind(kind)
        try:
            await self._updates.flush()
            self._read(each, await self._runner.run(TAKE_PLACE, each.keys, [*self._common(each), "", 0]))
        except RedisUnavailable as error:
            raise ConnectFailed(f"Redis does not answer: {error}") from error
        return each.usage

    def waiting(self, kind: Kind) -> int:
        """How many callers of this process wait for a place."""
        return self._kind(kind).waiting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Tell Redis what was last said, and close a connection that is our own. Places of living instances stay taken."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        await self._runner.idle()  # what was asked for callers that have gone
        await self._updates.aclose(self._timeout)
        await self._runner.aclose()

    # --- taking --------------------------------------------------------------------------------------------------

    async def _take(self, each: _Kind, *, waits: bool) -> RedisReservation:
        reservation = self._new_reservation(each)
        args = [*self._common(each), reservation.place, int(waits)]
        runner = self._runner

        async def ask() -> float | None:
            each.queued = each.queued or waits
            answer = await runner.run(TAKE_PLACE, each.keys, args, abandoned=lambda: self._abandoned(reservation))
            granted, wait = self._read(each, answer)
            if granted:
                return None
            if not waits:
                self._refuse(each)
            return wait / 1e6

        def refuse_at_once() -> bool:
            if not waits:
                self._refuse(each)
            return False

        # What was said before counts: who gives a place back and asks for one gets it.
        await wait_for_grant(
            runner, ask, prepare=self._updates.flush, while_down=refuse_at_once, withdraw=reservation.release, look=_LOOK
        )
        each.queued = False
        self._reservations[reservation.place] = reservation
        self._renew_later()
        return reservation

    def _read(self, each: _Kind, answer: Any) -> tuple[int, int]:
        granted, wait, making, live, unknown, full = map(int, answer)
        each.usage = Usage(each.limit, making, live, unknown, bool(full))
        return granted, wait

    def _new_reservation(self, each: _Kind) -> RedisReservation:
        self._count += 1
        return RedisReservation(self, each, f"{self._process}-{self._count}")

    def _refuse(self, each: _Kind) -> NoReturn:
        gone = "Redis does not answer, so it is not known whether there is one" if self._runner.is_down else None
        raise quota_refusal(each.kind, each.usage, others=" in all processes", gone=gone)

    def _abandoned(self, reservation: RedisReservation) -> None:
        """The caller was cancelled while Redis was asked, which has answered by now, with a place or one in line."""
        reservation.release()
        if not reservation.books.waiting:
            self._update(reservation.books, "leaving", "")

    # --- telling -------------------------------------------------------------------------------------------------

    def note(self, reservation: RedisReservation, what: str, instance_id: str = "", expires_in: float = 0.0) -> None:
        """What a reservation reports of its place. For :class:`RedisReservation`."""
        if what == "live":
            self._reservations[reservation.place] = reservation
            self._renew_later()
        elif what != "full":
            self._reservations.pop(reservation.place, None)
        seconds = self._forget_after if expires_in == math.inf else max(0.0, expires_in)
        self._update(reservation.books, what, reservation.place, instance_id, seconds)

    def _update(self, each: _Kind, what: str, place: str, instance_id: str = "", seconds: float = 0.0) -> None:
        self._updates.put(each, (what, place, instance_id, asyncio.get_running_loop().time() + seconds))

    async def _send(self, each: _Kind, updates: list[_Update]) -> None:
        now = asyncio.get_running_loop().time()
        args = self._common(each)
        for what, place, instance_id, until in updates:
            args += [what, place, instance_id, max(0, _us(until - now))]
        self._read(each, await self._runner.run(NOTE, each.keys, args))

    def _common(self, each: _Kind) -> list[Any]:
        limit = -1 if each.limit is None else each.limit
        return [limit, _us(self._lease), _us(self._orphan), _us(_PRESENCE), self._process]

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._lease / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        now = time.monotonic()
        for place, reservation in list(self._reservations.items()):
            seconds = self._lease if reservation.state == "making" else self._forget_after
            if reservation.state == "gone":  # lapsed by itself
                del self._reservations[place]
            elif not reservation.lapses and now - reservation.renewed_at >= seconds / 4:
                reservation.renewed_at = now
                self._update(reservation.books, "holding", place, seconds=seconds)
        if self._reservations:
            self._renew_later()

    def _kind(self, kind: str) -> _Kind:
        for name, each in self._kinds.items():
            if name == kind:
                return each
        raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._kinds))}")


_Update = tuple[str, str, str, float]
"""What happened, to which place, the instance, and until when something holds by the loop's clock."""


class _Kind:
    """One kind's keys in Redis, those who wait for it in this process, and what Redis last said."""

    def __init__(self, kind: Kind, limit: int | None, base: str) -> None:
        self.kind: Kind = kind
        self.limit = limit
        self.keys: list[str] = [f"{base}:{name}" for name in KEYS]
        self.turn: asyncio.Lock = asyncio.Lock()
        self.waiting = 0
        self.queued = False  # whether this process may have a place in the common queue
        self.usage: Usage = Usage(limit, 0, 0, 0, full=False)


class RedisReservation:
    """A place in a :class:`RedisQuota`, used like any :class:`~zego_aigc.Reservation`."""

    __slots__ = ("_instance_id", "_lapses_at", "_quota", "_state", "books", "place", "renewed_at")

    def __init__(self, quota: RedisQuota, books: _Kind, place: str) -> None:
        self._quota = quota
        self.books: _Kind = books
        self.place: str = place
        self.renewed_at: float = time.monotonic()
        self._state: ReservationState = "making"
        self._instance_id: str | None = None
        self._lapses_at = math.inf

    @property
    def kind(self) -> Kind:
        """Which budget it draws on."""
        return self.books.kind

    @property
    def lapses(self) -> bool:
        """Whether the place is given up by itself at a known time."""
        return self._lapses_at < math.inf

    @property
    def state(self) -> ReservationState:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        return "gone" if time.monotonic() >= self._lapses_at else self._state

    @property
    def instance_id(self) -> str | None:
        """The instance's id, once it is known."""
        return self._instance_id

    def live(self, instance_id: str, *, expires_in: float = math.inf) -> None:
        """The instance was made, and holds the place until ``quota.ended(instance_id)`` or :meth:`release`.

        Args:
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain (a stream task's TTL).
        """
        self._instance_id = instance_id
        self.settle("live", expires_in)
        self._quota.note(self, "live", instance_id, expires_in)

    def unknown(self, *, expires_in: float) -> None:
        """Nobody knows whether the instance was made. The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made.
        """
        if self._state == "making":
            self.settle("unknown", expires_in)
            self._quota.note(self, "unknown", "", expires_in)

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        if self._state == "making":
            self._quota.note(self, "full")
        self.release()

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        if self._state != "gone":
            self.settle("gone")
            self._quota.note(self, "gone")

    def __repr__(self) -> str:
        return f"<RedisReservation {self.kind} {self.state} {self._instance_id or ''}".rstrip() + ">"

    def settle(self, state: Literal["live", "unknown", "gone"], expires_in: float = math.inf) -> None:
        """Take note of what became of the instance, in this process."""
        self._state = state
        self._lapses_at = time.monotonic() + expires_in


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
