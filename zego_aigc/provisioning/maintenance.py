"""Keeping a fleet alive: provisioning again and again what has ended, until it is stopped."""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from zego_aigc.callbacks.events import Event
from zego_aigc.errors import AuthenticationError, ConfigurationError, InvalidRequest, ZegoError
from zego_aigc.provisioning import observation
from zego_aigc.provisioning.errors import JournalError
from zego_aigc.provisioning.events import Outcome, Pruned, RunEvent, Warned
from zego_aigc.provisioning.executor import IfExists, OnQuota
from zego_aigc.provisioning.journal_file import Row, require_place
from zego_aigc.provisioning.lock import Lock
from zego_aigc.provisioning.options import OnUnknown, Options, Until
from zego_aigc.provisioning.preflight import Entries
from zego_aigc.provisioning.presence import Presence
from zego_aigc.provisioning.run import Provisioning, Upkeep

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from zego_aigc.client import Client
    from zego_aigc.limits.quota import Quota

__all__ = ["Gone", "Maintenance", "MaintenanceEvent", "maintain"]

SHORT_LIFE = 60.0
"""Seconds: what ends sooner after it was made has died at once, and is made anew later and later."""

FIRST_DELAY = 10.0
LONGEST_DELAY = 900.0
"""Seconds before something that dies at once is made anew, from the second time on; each time twice as long."""

MAX_REMEMBERED = 100_000
"""Entries that died at once that are remembered."""

MAX_UNREAD = 10_000
"""Events that are kept for the one who iterates; older ones are dropped, since a fleet is kept alive unwatched, too."""

GATHER = 1.0
"""Seconds for which callbacks are gathered before what they are about is made anew."""


class Gone(msgspec.Struct, frozen=True):
    """An entry has ended by itself."""

    key: str
    """The entry's, unique in its fleet."""
    action: str
    """The vendor's name of the Action."""
    made_id: str
    """What it was."""
    reason: str
    """What the service says about it, if anything."""
    delay: float
    """Seconds until it is made anew: 0 unless it died at once."""


MaintenanceEvent = Gone | Outcome | Pruned | Warned
"""What happens to a fleet: something has ended, something was made anew or could not be, or there is something to be said."""


def maintain(
    client: Client,
    entries: Entries | Callable[[], Entries],
    *,
    journal: str | os.PathLike[str],
    interval: float = 60.0,
    quota: Quota | None = None,
    on_quota: OnQuota = "wait",
    on_unknown: OnUnknown = "report",
    if_exists: IfExists = "fail",
    extend: bool = False,
    until: Until = "created",
    quota_wait: float = 30.0,
    update: bool = False,
    prune: bool = False,
) -> Maintenance:
    """Provision a fleet, and make anew what ends, until the block is left.

    ::

        async with maintain(client, Fleet("fleet.toml"), journal="fleet.journal") as upkeep:
            router.on(AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent)(upkeep.observe)
            async for event in upkeep:
                print(event)

    Each round is :func:`provision` with ``refresh=True``: the service is asked what is still there, at the pace that the
    limits allow, and what has ended is made anew under the same journal. A callback given to :meth:`Maintenance.observe`
    begins a round at once. What dies as soon as it is made is made anew later and later. It may be killed at any moment; the
    same call goes on. While the block is open, the journal is in use, also between rounds.

    Args:
        client: whom to call.
        entries: the fleet, which is gone through in each round: a :class:`Fleet`, a list, or a function that returns entries.
            A fleet file that was changed counts from the next round on; one that is invalid is warned of, and nothing is
            done until it is mended.
        journal: path of the journal; it is made if there is none.
        interval: seconds from the end of a round to the next one, unless a callback begins it.
        quota: as in :func:`provision`, like all that follow.
        on_quota: what to do when the account is full.
        on_unknown: what to do about instances that may have been made.
        if_exists: what to do about agents that are registered already.
        extend: let a fleet join a journal that knows none of its entries.
        until: when a stream task counts as done.
        quota_wait: seconds without any progress after which a full account is waited for no longer in a round.
        update: send UpdateAgent for agents that say something else now.
        prune: remove what the fleet does not name any more.
    """
    options = Options(
        quota=quota,
        on_quota=on_quota,
        on_unknown=on_unknown,
        if_exists=if_exists,
        extend=extend,
        until=until,
        quota_wait=quota_wait,
        refresh=True,
        update=update,
        prune=prune,
    )
    return Maintenance(client, entries, journal, options, interval=interval)


class Maintenance:
    """A fleet that is being kept alive: an async context manager, and within it an async iterator of events.

    Args:
        client: as in :func:`maintain`, like all up to `interval`.
        entries: the fleet.
        journal: path of the journal.
        options: of each round.
        interval: seconds between rounds.
        clock: seconds, for how long something has lived.
        sleep: waits so many seconds of that clock.
        jitter: a number from 0 to 1, for the delay of what dies at once.
    """

    def __init__(
        self,
        client: Client,
        entries: Entries | Callable[[], Entries],
        journal: str | os.PathLike[str],
        options: Options,
        *,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        options.check()
        if not 0 < interval < float("inf"):
            raise ConfigurationError(f"interval must be a positive number of seconds, not {interval!r}")
        self._entries = _repeatable(entries)
        self._client = client
        self._path = Path(journal)
        self._options = options
        self._interval = interval
        self._clock = clock
        self._sleep = sleep
        self._backoff = _Backoff(clock, jitter)
        self.rounds: int = 0
        """How many rounds have ended."""
        self.size: tuple[int, int] = (0, 0)
        """How many entries were done at the end of the last round, and how many there are."""
        self._events: deque[MaintenanceEvent] = deque(maxlen=MAX_UNREAD)
        self._news: OrderedDict[str, observation.News] = OrderedDict()
        """What callbacks said and no round has dealt with; by the id that it is about."""
        self._said: OrderedDict[str, str] = OrderedDict()
        """What was last said of entries that are not done, and of everything together."""
        self._look_again = float("-inf")
        """When the service is to be asked about everything."""
        self._wake = anyio.Event()
        self._changed = anyio.Event()
        self._stopping = False
        self._over = False
        self._error: Exception | None = None
        self._run: Provisioning | None = None
        self._lock: Lock | None = None
        self._group: TaskGroup

    async def __aenter__(self) -> Self:
        require_place(self._path, must_exist=False)
        self._lock = Lock(self._path)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._main)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._lock is not None
        try:
            if not self._stopping:
                self._group.cancel_scope.cancel()  # a round that goes on is left: what is in flight is waited for and recorded
            await self._group.__aexit__(None, None, None)
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Send nothing more, wait for what has left, and end. The same call goes on from there."""
        self._stopping = True
        if self._run is not None:
            self._run.stop("it was asked to stop")
        self._wake.set()

    async def observe(self, event: Event) -> None:
        """Take note of a callback: what has ended is made anew at once, and an unknown is settled with the id it brings."""
        news = observation.news_of(event)
        if news is None:
            return
        if news.lives and self._run is not None:
            await self._run.observe(event)
        self._news[news.made_id] = news
        if len(self._news) > MAX_REMEMBERED:
            self._news.popitem(last=False)
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MaintenanceEvent:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._changed = anyio.Event()
            await self._changed.wait()
        return self._events.popleft()

    # --- rounds

    async def _main(self) -> None:
        try:
            while not self._stopping:
                await self._round()
                self.rounds += 1
                if not self._stopping:
                    await self._wait()
        except Exception as error:  # noqa: BLE001 - raised for the one who iterates
            self._error = error
        finally:
            self._over = True
            self._changed.set()

    async def _wait(self) -> None:
        """Wait for the next round: until its time, or a moment after a callback."""
        wait = self._backoff.next_due(max(0.0, self._look_again - self._clock()))
        async with anyio.create_task_group() as group:

            async def until_time() -> None:
                await self._sleep(wait)
                group.cancel_scope.cancel()

            group.start_soon(until_time)
            await self._wake.wait()
            if not self._stopping:
                await self._sleep(min(GATHER, wait))
            group.cancel_scope.cancel()
        self._wake = anyio.Event()

    async def _round(self) -> None:
        """Provision once: look at everything when it is time to, else at what callbacks speak of."""
        everything = self._clock() >= self._look_again
        dealt_with = dict(self._news)
        run = Provisioning(
            self._client,
            self._entries(),
            self._path,
            self._options._replace(refresh=everything),
            upkeep=Upkeep(self._revive, list(dealt_with.values())),
            lock=self._lock,
        )
        try:
            async with run:
                self._run = run
                if self._stopping:
                    run.stop()
                async for event in run.events():
                    self._take(event)
        except (JournalError, ConfigurationError, AuthenticationError):
            raise
        except ZegoError as error:
            if isinstance(error, InvalidRequest) and not self.rounds:
                raise
            self._say("this round came to nothing", str(error))
        else:
            self.size = run.report.done, run.report.total
            for made_id, news in dealt_with.items():
                if self._news.get(made_id) is news:  # not what was said about it meanwhile, nor what waits for its time
                    del self._news[made_id]
            if run.report.stopped and not self._stopping:
                self._say("this round was stopped", run.report.stopped)
        finally:
            self._run = None
        if everything:
            self._look_again = self._clock() + self._interval

    def _take(self, event: RunEvent) -> None:
        match event:
            case Outcome(status="done"):
                self._said.pop(event.key, None)
                if not event.earlier:
                    self._backoff.made(event.key)
                    self._put(event)
            case Outcome():  # it is tried again in each round, and said once
                if self._is_new(event.key, f"{event.status}: {event.error}"):
                    self._put(event)
            case Pruned():
                self._put(event)
            case Warned(message):
                self._say("", message)
            case _:
                pass

    def _say(self, subject: str, text: str) -> None:
        message = f"{subject}: {text}" if subject else text
        if self._is_new(message, message):
            self._put(Warned(message))

    def _is_new(self, key: str, text: str) -> bool:
        if self._said.get(key) == text:
            return False
        self._said[key] = text
        if len(self._said) > MAX_REMEMBERED:
            self._said.popitem(last=False)
        return True

    def _put(self, event: MaintenanceEvent) -> None:
        self._events.append(event)
        self._changed.set()

    def _revive(self, row: Row, presence: Presence) -> bool:
        """Whether what has ended is made anew in this round."""
        delay, is_new = self._backoff.died(row.key)
        if is_new:
            self._put(Gone(row.key, row.action, row.made_id or "", presence.detail or presence.state, delay))
        made_id = row.made_id or ""
        if delay > 0:  # the round that begins when it is due need not ask about everything
            self._news[made_id] = observation.News(made_id, lives=False)
            return False
        self._backoff.revived(row.key)
        self._news.pop(made_id, None)
        return True


class _Backoff:
    """Delays what dies at once: 10 s, 20 s, 40 s up to 15 min. A death after a while costs nothing."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._entries: OrderedDict[str, _Life] = OrderedDict()

    def made(self, key: str) -> None:
        """An entry lives."""
        life = self._entries.pop(key, None) or _Life()
        life.made = self._clock()
        life.due = None
        self._entries[key] = life
        if len(self._entries) > MAX_REMEMBERED:
            self._entries.popitem(last=False)

    def died(self, key: str) -> tuple[float, bool]:
        """An entry is gone: the seconds until it is made anew, and whether that was not known before."""
        now = self._clock()
        life = self._entries.setdefault(key, _Life())
        if life.due is not None:
            return max(0.0, life.due - now), False
        at_once = life.made is not None and now - life.made < SHORT_LIFE
        life.deaths = life.deaths + 1 if at_once else 0
        delay = 0.0
        if life.deaths:
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (life.deaths - 1)) * (0.75 + self._jitter() / 2)
        life.due = now + delay
        return delay, True

    def revived(self, key: str) -> None:
        """An entry is about to be made anew."""
        self._entries[key].due = None

    def next_due(self, at_most: float) -> float:
        """Seconds until the next delayed entry is due, if that is sooner."""
        now = self._clock()
        waits = [life.due - now for life in self._entries.values() if life.due is not None]
        return min([at_most, *(max(GATHER, wait) for wait in waits)])


class _Life:
    """When an entry was made, and how often it has died at once."""

    __slots__ = ("deaths", "due", "made")

    def __init__(self) -> None:
        self.made: float | None = None
        self.deaths = 0
        self.due: float | None = None


def _repeatable(entries: Entries | Callable[[], Entries]) -> Callable[[], Entries]:
    """What gives the entries of each round.

    Raises:
        ConfigurationError: they can be gone through once only.
    """
    if callable(entries):
        return entries
    given: Entries = entries
    if isinstance(given, Iterator | AsyncIterator):
        raise ConfigurationError(
            "a fleet that is maintained is gone through in each round: give a Fleet, a list, or a function that returns "
            "the entries, not an iterator"
        )
    return lambda: given
