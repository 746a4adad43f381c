"""Keeping every Action's queue at the limiter busy, with few entries in memory.

Each Action has a lane: fed from disk, with as many workers as it has calls under way.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from zego_aigc.provisioning.events import Meter

__all__ = ["Crew", "Lane", "Sending"]

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
        self._send: MemoryObjectSendStream[Any]
        self._receive: MemoryObjectReceiveStream[Any]
        self._send, self._receive = anyio.create_memory_object_stream[Any](CHUNK)
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
        async with self._send:
            for _ in range(WAITING):
                self._hire()
            with crew.stoppable():
                while crew.open and not crew.stopping:
                    self._wake = anyio.Event()
                    found = await self._fetch(CHUNK)
                    for item in found:
                        await self._send.send(item)
                    if not found and crew.open:
                        await self._wake.wait()

    def close(self) -> None:
        """Nobody works here any more."""
        self._send.close()
        self._receive.close()

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
                    async for item in self._receive:
                        if crew.stopping:
                            break
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
        try:
            async with anyio.create_task_group() as group:
                for lane in self.lanes.values():
                    group.start_soon(lane.run, group)
        finally:
            for lane in self.lanes.values():
                lane.close()

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
