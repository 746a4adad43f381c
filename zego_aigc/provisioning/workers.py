"""Keeping every Action's queue at the limiter busy, with few entries in memory.

Each Action has a lane: fed from disk, with as many workers as it has calls under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from zego_aigc.provisioning.events import Meter

__all__ = ["Crew", "Handoff", "Lane", "Sending"]

T = TypeVar("T")

CHUNK = 64
"""Entries that a lane fetches at a time."""

WAITING = 32
"""Workers of a lane that wait for the limiter: three windows' worth, so that no token ever waits for a worker."""

MOST = 512
"""Workers of a lane at most: enough for ten calls a second that each take 45 s to be answered."""


class Sending:
    """What a worker is about: free to be stopped until its request leaves, protected from then until the answer is noted."""

    __slots__ = ("_busy", "_lane", "scope", "sent")

    def __init__(self, lane: Lane, scope: anyio.CancelScope) -> None:
        self._lane = lane
        self._busy = False
        self.scope: anyio.CancelScope = scope
        self.sent: bool = False

    def leaves(self) -> None:
        """A request is about to leave."""
        lane = self._lane
        lane.meter.tick()
        if not self.sent:
            self.sent = True
            self.scope.shield = True
            lane.in_flight += 1
        if not self._busy:
            self._busy = True
            lane.busy += 1
            lane.replace()

    def settled(self) -> None:
        """What came of the request is noted. The worker may still have something to wait for."""
        if self.sent:
            self.sent = False
            self._lane.in_flight -= 1
            self.scope.shield = False

    def free(self) -> None:
        """The worker is ready to send again."""
        self.settled()
        if self._busy:
            self._busy = False
            self._lane.busy -= 1


class Handoff(Generic[T]):
    """Passes things on from those who never wait to those who take them: one wakes one taker, in a few microseconds."""

    __slots__ = ("_closed", "_emptied", "_idle", "_items")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._emptied = anyio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Offer one. Once it is closed, it is dropped."""
        if not self._closed:
            self._items.append(item)
            self._wake_one()

    async def emptied(self) -> None:
        """Wait until everything was taken."""
        if self._items:
            if self._emptied.is_set():
                self._emptied = anyio.Event()
            await self._emptied.wait()

    async def get(self) -> T | None:
        """The next one; None once it is closed and everything was taken."""
        while not self._items:
            if self._closed:
                return None
            future = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake_one()  # what it was woken for is another's
                raise
        item = self._items.popleft()
        if not self._items:
            self._emptied.set()
        return item

    def close(self, *, drop: bool = False) -> None:
        """Nothing more comes. What was not taken may still be, unless it is dropped."""
        self._closed = True
        if drop:
            self._items.clear()
            self._emptied.set()
        while self._idle:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._idle:
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)
                return


class Lane:
    """The entries of one Action on their way.

    Args:
        name: the Action's.
        fetch: the next entries, at most so many; none when there are none at present.
        work: deals with one.
    """

    def __init__(
        self,
        crew: Crew,
        name: str,
        fetch: Callable[[int], Awaitable[Sequence[Any]]],
        work: Callable[[Any, Sending], Awaitable[None]],
    ) -> None:
        self.name = name
        self.meter: Meter = Meter()
        self.in_flight = 0
        """Requests that have left and are not answered."""
        self.busy = 0
        """Workers that do not wait in the limiter's queue, nor for something to do."""
        self._crew = crew
        self._fetch = fetch
        self._work = work
        self._workers = 0
        self._wake = anyio.Event()
        self._handoff: Handoff[Any] = Handoff()
        self._group: TaskGroup | None = None

    def wake(self) -> None:
        """There may be more to fetch."""
        self._wake.set()

    def replace(self) -> None:
        """One worker more is busy: another may have to take its place in the queue."""
        if self._workers - self.busy < WAITING and self._workers < MOST:
            self._hire()

    async def run(self, group: TaskGroup) -> None:
        """Feed the workers until the crew has nothing left to do."""
        self._group = group
        crew = self._crew
        for _ in range(WAITING):
            self._hire()
        with crew.stoppable():
            try:
                await self._feed()
            except Exception as error:  # noqa: BLE001 - the crew tells it
                crew.fail(error)
        self._handoff.close(drop=True)

    async def _feed(self) -> None:
        crew = self._crew
        while crew.open and not crew.stopping:
            self._wake = anyio.Event()
            found = await self._fetch(CHUNK)
            for item in found:
                self._handoff.put(item)
            if found:
                await self._handoff.emptied()
            elif crew.open:
                await self._wake.wait()

    def _hire(self) -> None:
        if self._group is not None and not self._crew.stopping:
            self._workers += 1
            self._group.start_soon(self._labour)

    async def _labour(self) -> None:
        crew = self._crew
        try:
            with anyio.CancelScope() as scope:
                sending = Sending(self, scope)
                crew.sendings.add(sending)
                try:
                    while (item := await self._handoff.get()) is not None and not crew.stopping:
                        try:
                            await self._work(item, sending)
                        finally:
                            sending.free()
                finally:
                    crew.sendings.discard(sending)
        except Exception as error:  # noqa: BLE001 - the crew tells it
            crew.fail(error)
        finally:
            self._workers -= 1


class Crew:
    """The lanes of a run.

    Args:
        todo: how many entries there are; :meth:`told` counts them down, and at 0 the lanes end.
    """

    def __init__(self, todo: int) -> None:
        self.open: int = todo
        self.stopping: bool = False
        self.error: Exception | None = None
        """What no entry can be blamed for: the disk is full, or a mistake of ours."""
        self.lanes: dict[str, Lane] = {}
        self.sendings: set[Sending] = set()
        self.began: float = time.monotonic()
        self._scopes: set[anyio.CancelScope] = set()

    async def run(self) -> None:
        """Run the lanes until there is nothing left to do, or the crew was stopped and what had left is settled."""
        async with anyio.create_task_group() as group:
            for lane in self.lanes.values():
                group.start_soon(lane.run, group)

    def told(self) -> None:
        """One entry has its outcome."""
        self.open -= 1
        if not self.open:
            self.wake()

    def wake(self) -> None:
        """There may be more to do in any lane."""
        for lane in self.lanes.values():
            lane.wake()

    def stop(self) -> None:
        """Send nothing more. What has left is waited for."""
        if not self.stopping:
            self.stopping = True
            for scope in list(self._scopes):
                scope.cancel()
            for sending in list(self.sendings):
                if not sending.sent:
                    sending.scope.cancel()

    def abandon(self) -> None:
        """Do not even wait for what has left."""
        self.stop()
        for sending in list(self.sendings):
            sending.scope.cancel()

    def fail(self, error: Exception) -> None:
        """Stop because of an error that no entry can be blamed for."""
        if self.error is None:
            self.error = error
        self.stop()

    def stoppable(self) -> anyio.CancelScope:
        """A scope that :meth:`stop` cancels."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        if self.stopping:
            scope.cancel()
        return scope
