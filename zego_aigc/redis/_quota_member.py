"""One process among those that share a budget through Redis: its places, its callers in line, and what it has to report."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from zego_aigc.limits.capacity import Usage
from zego_aigc.limits.quota import Kind, ReservationState, quota_refusal
from zego_aigc.limits.wait_queue import BACKGROUND_SHARE
from zego_aigc.redis._granting import ProcessLine, wait_for_grant
from zego_aigc.redis._quota_scripts import KEYS, NOTE, TAKE_PLACE
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner
from zego_aigc.redis._update_queue import UpdateQueue

__all__ = ["QuotaBooks", "QuotaMember", "RedisReservation"]

_LOOK = 0.25
"""Seconds after which a waiting process looks again at the latest."""
_PRESENCE = 2.0
"""Seconds without a look after which a process in the queue is taken for dead."""
_RENEW = 1.0
"""Seconds between two reports of what is being made, at most: two in the time for which a new server gives nothing out."""
_REPORT_AGAIN = 60.0
"""Seconds for which a place that was given back, or became unknown, is reported again to a new Redis server."""
_REMEMBER_ENDINGS = 3600.0
"""Seconds for which the end of an instance that is not known (yet) is kept in mind."""


class QuotaMember:
    """One process among those that share the budget: its identity, its connection, its places, and what it has to report."""

    def __init__(
        self,
        runner: ScriptRunner,
        kinds: dict[Kind, QuotaBooks],
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
        self._latest: deque[tuple[float, QuotaBooks, _Update]] = deque(maxlen=1000)  # reports of what is held no longer
        self._updates: UpdateQueue[QuotaBooks, _Update] = UpdateQueue(runner, self._send)
        self._renewal: asyncio.TimerHandle | None = None
        runner.check_pool()

    def books(self, kind: str) -> QuotaBooks:
        """A kind's books.

        Raises:
            ValueError: no such kind.
        """
        for name, books in self._kinds.items():
            if name == kind:
                return books
        raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._kinds))}")

    async def take(self, books: QuotaBooks, line: ProcessLine, *, background: bool) -> RedisReservation:
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

    async def take_at_once(self, books: QuotaBooks, *, background: bool) -> RedisReservation:
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

    def _read(self, books: QuotaBooks, answer: list[Any]) -> tuple[bool, int]:
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

    async def look(self, books: QuotaBooks) -> Usage:
        """How a budget is used now."""
        await self._updates.flush()
        self._read(books, await self._runner.run(TAKE_PLACE, books.keys, [*self._common(books), "", "", 0]))
        return books.usage

    def ended(self, instance_id: str) -> bool:
        """An instance is gone; whether this process held its place."""
        mine = [each for each in self._reservations.values() if each.instance_id == instance_id]
        now = time.monotonic()
        for reservation in mine:
            reservation.settle("gone")
            del self._reservations[reservation.place]
            # A server that takes over may know the place, and not what came to live there: that end would not free the place.
            self._latest.append((now, reservation.books, ("gone", reservation.place, "", now)))
        for books in {reservation.books for reservation in mine} or set(self._kinds.values()):
            self.update(books, "ended", "", instance_id, _REMEMBER_ENDINGS)
        return bool(mine)

    def refuse(self, books: QuotaBooks) -> NoReturn:
        """A caller does not want to wait.

        Raises:
            QuotaExceeded: always.
        """
        gone = "Redis does not answer, so it is not known whether there is one" if self._runner.is_down else None
        raise quota_refusal(books.kind, books.usage, others=" in all processes", gone=gone)

    def new_reservation(self, books: QuotaBooks) -> RedisReservation:
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

    def update(self, books: QuotaBooks, what: str, place: str, instance_id: str = "", seconds: float = 0.0) -> None:
        """Send Redis an update, in the background."""
        now = time.monotonic()
        update = what, place, instance_id, now + seconds
        if what in {"gone", "unknown", "ended"}:
            self._latest.append((now, books, update))
        self._updates.put(books, update)

    def _report_again(self) -> None:
        """Another Redis server answers, which may lack what the one before was told last."""
        now = time.monotonic()
        for at, books, update in self._latest:
            if now - at < _REPORT_AGAIN:
                self._updates.put(books, update)
        for reservation in self._reservations.values():  # last: what was unknown may have been found since
            self._report(reservation)

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

    async def _send(self, books: QuotaBooks, updates: list[_Update]) -> None:
        now = time.monotonic()
        args = self._common(books)
        for what, place, instance_id, until in updates:
            args += [what, place, instance_id, max(0, _us(until - now))]
        self._read(books, await self._runner.run(NOTE, books.keys, args))

    def _common(self, books: QuotaBooks) -> list[Any]:
        limit = -1 if books.limit is None else books.limit
        return [limit, _us(self._lease), _us(self._orphan), _us(_PRESENCE), BACKGROUND_SHARE, self._server or ""]

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(min(_RENEW, self._lease / 3), self._renew)

    def _renew(self) -> None:
        """Report what is being made, and now and then what lives; whatever it is, the answer says which server this is."""
        self._renewal = None
        now = time.monotonic()
        books: QuotaBooks | None = None
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


class QuotaBooks:
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

    def __init__(self, member: QuotaMember, books: QuotaBooks, place: str) -> None:
        self._member = member
        self.books: QuotaBooks = books
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
