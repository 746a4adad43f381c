"""The budget of live instances of an AppId, shared by all processes that use one Redis."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from zego_aigc.errors import ConnectFailed
from zego_aigc.limits.capacity import CapacityLedger, Usage
from zego_aigc.limits.quota import Kind, ReservationState, quota_refusal
from zego_aigc.limits.wait_queue import BACKGROUND_SHARE
from zego_aigc.redis._granting import ProcessLine, wait_for_grant
from zego_aigc.redis._quota_scripts import KEYS, NOTE, TAKE_PLACE
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner, checked_client
from zego_aigc.redis._update_queue import UpdateQueue

if TYPE_CHECKING:
    from typing import Self

    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisQuota", "RedisReservation"]

_LOOK = 0.25
"""Seconds after which a waiting process looks again at the latest."""
_PRESENCE = 2.0
"""Seconds without a look after which a process in the queue is taken for dead."""
_RENEW = 1.0
"""Seconds between two reports of what is being made: two in the time for which a new Redis server gives nothing out."""
_REPORT_AGAIN = 60.0
"""Seconds for which a place that was given back, or became unknown, is reported again to a new Redis server."""
_REMEMBER_ENDINGS = 3600.0
"""Seconds for which the end of an instance that is not known (yet) is kept in mind."""


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
            ``master_for()`` too) or ``redis.asyncio.RedisCluster``, which stays yours to close. Redis 5 or newer, or Valkey.
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
        self._member: _Member | None = None

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

    def _here(self) -> _Member:
        """This process, as Redis knows it."""
        if self._member is None or self._member.pid != os.getpid():
            forked = self._member is not None
            identity = os.urandom(8).hex()
            base = f"{self._prefix}:{{{self._app_id}}}:quota"
            self._member = _Member(
                ScriptRunner(self._redis, self._timeout, self._prefix, forked=forked),
                {kind: _Books(kind, limit, f"{base}:{kind}", identity) for kind, limit in self._limits.items()},
                identity,
                lease=self._lease,
                orphan=self._orphan,
                forget_after=self._forget_after,
                timeout=self._timeout,
            )
        return self._member


class _Member:
    """One process among those that share the budget: its identity, its connection, its places, and what it has to report."""

    def __init__(
        self,
        runner: ScriptRunner,
        kinds: dict[Kind, _Books],
        identity: str,
        *,
        lease: float,
        orphan: float,
        forget_after: float,
        timeout: float,
    ) -> None:
        self.pid: int = os.getpid()
        self._runner = runner
        self._kinds = kinds
        self._identity = identity
        self._lease = lease
        self._orphan = orphan
        self._forget_after = forget_after
        self._timeout = timeout
        self._count = 0
        self._reservations: dict[str, RedisReservation] = {}
        self._server: Any = None  # which one has answered last
        self._latest: deque[tuple[float, _Books, _Update]] = deque(maxlen=1000)  # reports of what is held no longer
        self._updates: UpdateQueue[_Books, _Update] = UpdateQueue(runner, self._send)
        self._renewal: asyncio.TimerHandle | None = None
        runner.check_pool()

    def books(self, kind: str) -> _Books:
        """A kind's books.

        Raises:
            ValueError: no such kind.
        """
        for name, books in self._kinds.items():
            if name == kind:
                return books
        raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._kinds))}")

    async def take(self, books: _Books, line: ProcessLine, *, background: bool) -> RedisReservation:
        """Wait for a place."""
        reservation = self.new_reservation(books)

        def abandoned() -> None:
            """The caller was cancelled while Redis was asked, which has answered by now, with a place or one in line."""
            reservation.release()
            if not line.waiting:
                self.update(books, "leaving", line.who)

        async def ask() -> float | None:
            line.queued = True
            return await self._ask(reservation, line.who, background=background, abandoned=abandoned)

        await wait_for_grant(
            self._runner,
            ask,
            prepare=self._updates.flush,  # what was said before counts: who gives a place back and asks for one gets it
            while_down=lambda: False,
            withdraw=reservation.release,
            look=_LOOK,
        )
        line.queued = False
        return self._hold(reservation)

    async def take_at_once(self, books: _Books, *, background: bool) -> RedisReservation:
        """Take a place, if there is one.

        Raises:
            QuotaExceeded: there is none, or Redis is gone.
        """
        if self._runner.pause:
            self.refuse(books)
        reservation = self.new_reservation(books)
        try:
            await self._updates.flush()
            while (wait := await self._ask(reservation, "", background=background, abandoned=reservation.release)) is not None:
                if not books.settling:
                    break
                await asyncio.sleep(wait)
        except RedisUnavailable:
            reservation.release()  # an answer may have been lost that granted it
            self.refuse(books)
        if wait is not None:
            self.refuse(books)
        return self._hold(reservation)

    async def _ask(
        self, reservation: RedisReservation, who: str, *, background: bool, abandoned: Callable[[], None]
    ) -> float | None:
        """Ask for a place once: None when it is granted, otherwise the seconds until there may be one.

        Args:
            reservation: for which.
            who: the line in which to wait for the next time; without one, it is asked for behind all that wait.
            background: whether others may go first.
            abandoned: called after the answer, if the caller was cancelled meanwhile.
        """
        books = reservation.books
        args = [*self._common(books), reservation.place, who, int(background)]
        granted, wait = self._read(books, await self._runner.run(TAKE_PLACE, books.keys, args, abandoned=abandoned))
        return None if granted else wait / 1e6

    def _read(self, books: _Books, answer: list[Any]) -> tuple[bool, int]:
        """Take note of what Redis says; whether a place was granted, and microseconds until there may be one."""
        granted, wait, making, live, unknown, full = map(int, answer[:6])
        books.usage = Usage(books.limit, making, live, unknown, bool(full))
        books.settling = granted < 0
        before, self._server = self._server, answer[6]
        if before not in {None, self._server}:
            self._report_again()
        return granted > 0, wait

    def _hold(self, reservation: RedisReservation) -> RedisReservation:
        self._reservations[reservation.place] = reservation
        self._renew_later()
        return reservation

    async def look(self, books: _Books) -> Usage:
        """How a budget is used now."""
        await self._updates.flush()
        self._read(books, await self._runner.run(TAKE_PLACE, books.keys, [*self._common(books), "", "", 0]))
        return books.usage

    def ended(self, instance_id: str) -> bool:
        """An instance is gone; whether this process held its place."""
        mine = [each for each in self._reservations.values() if each.instance_id == instance_id]
        for reservation in mine:
            reservation.settle("gone")
            del self._reservations[reservation.place]
        for books in {reservation.books for reservation in mine} or set(self._kinds.values()):
            self.update(books, "ended", "", instance_id, _REMEMBER_ENDINGS)
        return bool(mine)

    def refuse(self, books: _Books) -> NoReturn:
        """A caller does not want to wait.

        Raises:
            QuotaExceeded: always.
        """
        gone = "Redis does not answer, so it is not known whether there is one" if self._runner.is_down else None
        raise quota_refusal(books.kind, books.usage, others=" in all processes", gone=gone)

    def new_reservation(self, books: _Books) -> RedisReservation:
        """A reservation that Redis does not know of yet."""
        self._count += 1
        return RedisReservation(self, books, f"{self._identity}-{self._count}")

    def note(self, reservation: RedisReservation, what: str, instance_id: str = "", expires_in: float = 0.0) -> None:
        """What a reservation reports of its place."""
        if what == "live":
            self._hold(reservation)
        elif what == "gone" or (what == "unknown" and reservation.instance_id is None):
            self._reservations.pop(reservation.place, None)
        seconds = self._forget_after if expires_in == math.inf else max(0.0, expires_in)
        self.update(reservation.books, what, reservation.place, instance_id, seconds)

    def update(self, books: _Books, what: str, place: str, instance_id: str = "", seconds: float = 0.0) -> None:
        """Send Redis an update, in the background."""
        now = time.monotonic()
        update = what, place, instance_id, now + seconds
        if what in {"gone", "unknown", "ended"}:
            self._latest.append((now, books, update))
        self._updates.put(books, update)

    def _report_again(self) -> None:
        """Another Redis server answers, which may lack what the one before was told last."""
        now = time.monotonic()
        for reservation in self._reservations.values():
            self._report(reservation)
        for at, books, update in self._latest:
            if now - at < _REPORT_AGAIN:
                self._updates.put(books, update)

    def _report(self, reservation: RedisReservation) -> None:
        """Say what a place is for."""
        match reservation.state:
            case "making":
                self.update(reservation.books, "making", reservation.place, seconds=self._lease)
            case "live":
                seconds = min(self._forget_after, reservation.lapses_at - time.monotonic())
                self.update(reservation.books, "live", reservation.place, reservation.instance_id or "", seconds)
            case _:
                pass

    async def aclose(self) -> None:
        """Report what was last said, and close a connection that is our own."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        await self._runner.idle()  # what was asked for callers that have gone
        await self._updates.aclose(self._timeout)
        await self._runner.aclose()

    async def _send(self, books: _Books, updates: list[_Update]) -> None:
        now = time.monotonic()
        args = self._common(books)
        for what, place, instance_id, until in updates:
            args += [what, place, instance_id, max(0, _us(until - now))]
        self._read(books, await self._runner.run(NOTE, books.keys, args))

    def _common(self, books: _Books) -> list[Any]:
        limit = -1 if books.limit is None else books.limit
        return [limit, _us(self._lease), _us(self._orphan), _us(_PRESENCE), BACKGROUND_SHARE]

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(_RENEW, self._renew)

    def _renew(self) -> None:
        """Report what is being made, and now and then what lives; whatever it is, the answer says which server this is."""
        self._renewal = None
        now = time.monotonic()
        books: _Books | None = None
        for place, reservation in list(self._reservations.items()):
            books, state = reservation.books, reservation.state
            if state == "gone":  # lapsed by itself
                del self._reservations[place]
            elif state == "making" or (state == "live" and now - reservation.renewed_at >= self._forget_after / 4):
                reservation.renewed_at = now
                self._report(reservation)
        if books is not None:
            if now - self._runner.heard_at >= self._lease / 3:
                self.update(books, "here", "")
            self._renew_later()


_Update = tuple[str, str, str, float]
"""What happened, to which place (or line), the instance, and until when something holds by ``time.monotonic``."""


class _Books:
    """One kind's keys in Redis, the callers of this process that wait for it, and what Redis last said."""

    def __init__(self, kind: Kind, limit: int | None, base: str, identity: str) -> None:
        self.kind: Kind = kind
        self.limit: int | None = limit
        self.keys: list[str] = [f"{base}:{name}" for name in KEYS]
        self.lines: tuple[ProcessLine, ProcessLine] = (
            ProcessLine(f"{identity}:f"),
            ProcessLine(f"{identity}:b"),
        )  # by whether it is the background
        self.usage: Usage = Usage(limit, 0, 0, 0, full=False)
        self.settling: bool = False
        """Whether a Redis server that has just taken over gives nothing out yet."""


class RedisReservation:
    """A place in a :class:`RedisQuota`, used like any :class:`~zego_aigc.Reservation`."""

    __slots__ = ("_instance_id", "_member", "_state", "books", "lapses_at", "place", "renewed_at")

    def __init__(self, member: _Member, books: _Books, place: str) -> None:
        self._member = member
        self.books: _Books = books
        self.place: str = place
        self.renewed_at: float = time.monotonic()
        self._state: ReservationState = "making"
        self._instance_id: str | None = None
        self.lapses_at: float = math.inf

    @property
    def kind(self) -> Kind:
        """Which budget it draws on."""
        return self.books.kind

    @property
    def state(self) -> ReservationState:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        return "gone" if time.monotonic() >= self.lapses_at else self._state

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
        self._member.note(self, "live", instance_id, expires_in)

    def unknown(self, *, expires_in: float) -> None:
        """It is not known whether the instance was made, or whether it still lives, as after a delete that failed.

        The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made.
        """
        if self.state in {"making", "live"}:
            self.settle("unknown", expires_in)
            self._member.note(self, "unknown", self._instance_id or "", expires_in)

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        if self._state == "making":
            self._member.note(self, "full")
        self.release()

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        if self._state != "gone":
            self.settle("gone")
            self._member.note(self, "gone")

    def __repr__(self) -> str:
        return f"<RedisReservation {self.kind} {self.state} {self._instance_id or ''}".rstrip() + ">"

    def settle(self, state: Literal["live", "unknown", "gone"], expires_in: float = math.inf) -> None:
        """Take note of what became of the instance, in this process."""
        self._state = state
        self.lapses_at = time.monotonic() + expires_in


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
