"""The budget of live instances of an AppId, shared by all processes that use one Redis."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from zego_aigc.errors import ConnectFailed
from zego_aigc.limits.capacity import Usage
from zego_aigc.limits.quota import KIND_OF_ACTION, REFUSAL_CODES, Hold, Kind, Quota
from zego_aigc.redis._link import Gone, Link, Outbox
from zego_aigc.redis._quota_scripts import KEYS, NOTE, TAKE_PLACE
from zego_aigc.schema.codes import api_error

if TYPE_CHECKING:
    from typing import Self

    from redis.asyncio import Redis

    from zego_aigc.errors import ApiError

__all__ = ["RedisHold", "RedisQuota"]

_LOOK = 0.25
"""Seconds after which a waiting process looks again at the latest."""
_PRESENCE = 2.0
"""Seconds without a look after which a process in the queue is taken for dead."""
_REMEMBER_ENDINGS = 3600.0
"""Seconds for which the end of an instance that is not known (yet) is kept in mind."""


class RedisQuota(Quota):
    """How many instances of each kind may live at a time, in all processes that share a Redis, a prefix and an AppId.

    It is used like :class:`~zego_aigc.Quota` and keeps the same promise: the service's refusal is the truth, and while it says
    "full" one creation at a time is tried, by whichever process. What differs:

    * What is said of a place (:meth:`Hold.live` and the rest), and :meth:`ended`, reaches Redis in
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
        patience: seconds after which a Redis that does not answer counts as gone.
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
        patience: float = 1.0,
        prefix: str = "zego_aigc",
    ) -> None:
        # The books of the base class stay empty: nothing of it is used but its form.
        super().__init__(agents, digital_humans, streams)
        if not 1 <= lease < math.inf:
            raise ValueError(f"lease must be a number of seconds from 1 up, not {lease}")
        for name, value in (("orphan", orphan), ("forget_after", forget_after), ("patience", patience)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number of seconds, not {value}")
        self._lease = lease
        self._orphan = orphan
        self._forget_after = forget_after
        self._patience = patience
        self._process = os.urandom(8).hex()
        self._count = 0
        limits: dict[Kind, int | None] = {"agents": agents, "digital_humans": digital_humans, "streams": streams}
        self._kinds = {kind: _Kind(kind, limit, f"{prefix}:{{{app_id}}}:quota:{kind}") for kind, limit in limits.items()}
        self._holds: dict[str, RedisHold] = {}
        self._link = Link(redis, patience)
        self._outbox: Outbox[_Kind, _News] = Outbox(self._link, self._note)
        self._renewal: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"RedisQuota({', '.join(f'{kind}={each.limit}' for kind, each in self._kinds.items())})"

    # --- what callers ask ----------------------------------------------------------------------------------------

    async def acquire(self, kind: Kind, *, wait: bool = True) -> Hold:
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
                self._tell(each, "leaving", "")

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Telling twice is harmless.

        Returns:
            whether this process held its place. Redis is told in any case.
        """
        mine = [hold for hold in self._holds.values() if hold.instance_id == instance_id]
        for hold in mine:
            hold.settle("gone")
            del self._holds[hold.place]
        for each in {hold.books for hold in mine} or set(self._kinds.values()):
            self._tell(each, "ended", "", instance_id, _REMEMBER_ENDINGS)
        return bool(mine)

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> Hold:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        hold = self._new_hold(self._kind(kind))
        hold.live(instance_id, expires_in=expires_in)
        return hold

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`Hold.full` says it of one's own."""
        self._tell(self._kind(kind), "full", "")

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
            await self._outbox.flush()
            self._read(each, await self._link.run(TAKE_PLACE, each.keys, [*self._common(each), "", 0]))
        except Gone as error:
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
        await self._link.idle()  # what was asked for callers that have gone
        await self._outbox.aclose(self._patience)
        await self._link.aclose()

    # --- taking --------------------------------------------------------------------------------------------------

    async def _take(self, each: _Kind, *, waits: bool) -> Hold:
        hold = self._new_hold(each)
        args = [*self._common(each), hold.place, int(waits)]
        link, loop = self._link, asyncio.get_running_loop()
        doubtful = False  # whether the place may have been taken
        try:
            while True:
                if link.is_down and (pause := link.retry_at - loop.time()) > 0:
                    if not waits:
                        self._refuse(each)
                    await asyncio.sleep(min(pause, _LOOK))
                    continue
                try:
                    # What was said before counts: who gives a place back and asks for one gets it.
                    await self._outbox.flush()
                    doubtful, each.queued = False, each.queued or waits
                    granted, wait = self._read(
                        each, await link.run(TAKE_PLACE, each.keys, args, abandoned=lambda: self._abandoned(hold))
                    )
                except Gone:
                    doubtful = True
                    continue
                if granted:
                    each.queued = False
                    self._holds[hold.place] = hold
                    self._renew_later()
                    return hold
                if not waits:
                    self._refuse(each)
                await asyncio.sleep(min(wait / 1e6, _LOOK))
        except BaseException:
            if doubtful:
                hold.release()
            raise

    def _read(self, each: _Kind, answer: Any) -> tuple[int, int]:
        granted, wait, making, live, unknown, full = map(int, answer)
        each.usage = Usage(each.limit, making, live, unknown, bool(full))
        return granted, wait

    def _new_hold(self, each: _Kind) -> RedisHold:
        self._count += 1
        return RedisHold(self, each, f"{self._process}-{self._count}")

    def _refuse(self, each: _Kind) -> NoReturn:
        raise each.refusal(redis_gone=self._link.is_down)

    def _abandoned(self, hold: RedisHold) -> None:
        """The caller was cancelled while Redis was asked, which has answered by now, with a place or one in line."""
        hold.release()
        if not hold.books.waiting:
            self._tell(hold.books, "leaving", "")

    # --- telling -------------------------------------------------------------------------------------------------

    def said(self, hold: RedisHold, what: str, instance_id: str = "", expires_in: float = 0.0) -> None:
        """What a hold says of its place. For :class:`RedisHold`."""
        if what == "live":
            self._holds[hold.place] = hold
            self._renew_later()
        elif what != "full":
            self._holds.pop(hold.place, None)
        seconds = self._forget_after if expires_in == math.inf else max(0.0, expires_in)
        self._tell(hold.books, what, hold.place, instance_id, seconds)

    def _tell(self, each: _Kind, what: str, place: str, instance_id: str = "", seconds: float = 0.0) -> None:
        self._outbox.put(each, (what, place, instance_id, asyncio.get_running_loop().time() + seconds))

    async def _note(self, each: _Kind, news: list[_News]) -> None:
        now = asyncio.get_running_loop().time()
        args = self._common(each)
        for what, place, instance_id, until in news:
            args += [what, place, instance_id, max(0, _us(until - now))]
        self._read(each, await self._link.run(NOTE, each.keys, args))

    def _common(self, each: _Kind) -> list[Any]:
        limit = -1 if each.limit is None else each.limit
        return [limit, _us(self._lease), _us(self._orphan), _us(_PRESENCE), self._process]

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._lease / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        now = time.monotonic()
        for place, hold in list(self._holds.items()):
            seconds = self._lease if hold.standing == "making" else self._forget_after
            if hold.standing == "gone":  # lapsed by itself
                del self._holds[place]
            elif not hold.lapses and now - hold.renewed_at >= seconds / 4:
                hold.renewed_at = now
                self._tell(hold.books, "holding", place, seconds=seconds)
        if self._holds:
            self._renew_later()

    def _kind(self, kind: str) -> _Kind:
        for name, each in self._kinds.items():
            if name == kind:
                return each
        raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._kinds))}")


_News = tuple[str, str, str, float]
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

    def refusal(self, *, redis_gone: bool) -> ApiError:
        """What a caller sees who does not want to wait: the error that the service would have answered with."""
        usage = self.usage
        if redis_gone:
            why = "Redis does not answer, so nobody knows whether there is one"
        elif usage.full:
            why = "the service said that the account is full, and is asked with care since"
        elif usage.limit is not None and usage.used >= usage.limit:
            why = f"the budget of {usage.limit} is used up"
        else:
            why = "others wait for one"
        message = (
            f"no place for another instance in quota.{self.kind}: {why} ({usage.live} live, {usage.making} being made, "
            f"{usage.unknown} unknown in all processes). Nothing was sent"
        )
        actions = " or ".join(action for action, kind in KIND_OF_ACTION.items() if kind == self.kind)
        return api_error(REFUSAL_CODES[self.kind], message, action=actions, attempts=0, status=0)


class RedisHold(Hold):
    """A place in a :class:`RedisQuota`, used like any :class:`~zego_aigc.limits.quota.Hold`."""

    __slots__ = ("_instance_id", "_lapses_at", "_quota", "_standing", "books", "place", "renewed_at")

    def __init__(self, quota: RedisQuota, books: _Kind, place: str) -> None:
        self._quota = quota
        self.books: _Kind = books
        self.place: str = place
        self.renewed_at: float = time.monotonic()
        self._standing: Literal["making", "live", "unknown", "gone"] = "making"
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
    def standing(self) -> Literal["making", "live", "unknown", "gone"]:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        return "gone" if time.monotonic() >= self._lapses_at else self._standing

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
        self._quota.said(self, "live", instance_id, expires_in)

    def unknown(self, *, expires_in: float) -> None:
        """Nobody knows whether the instance was made. The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made.
        """
        if self._standing == "making":
            self.settle("unknown", expires_in)
            self._quota.said(self, "unknown", "", expires_in)

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        if self._standing == "making":
            self._quota.said(self, "full")
        self.release()

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        if self._standing != "gone":
            self.settle("gone")
            self._quota.said(self, "gone")

    def settle(self, standing: Literal["live", "unknown", "gone"], expires_in: float = math.inf) -> None:
        """Take note of what became of the instance, in this process."""
        self._standing = standing
        self._lapses_at = time.monotonic() + expires_in


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
