"""Keeping every Action's queue at the limiter busy, with few entries in memory.

Each Action has a lane: fed from disk, with as many workers as it has calls under way. A :class:`WorkerPool` runs lanes side by
side, stops them, and ends once every entry has its outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

import anyio

from zego_aigc.provisioning.events import Meter

__all__ = ["Handoff", "InFlight", "Lane", "WorkerPool"]

T = TypeVar("T")

CHUNK = 64
"""Entries that a lane fetches at a time."""

WAITING = 32
"""Workers of a lane that wait for the limiter: three windows' worth, so that no token ever waits for a worker."""

MAX_WORKERS = 512
"""Workers of a lane: enough for ten calls a second that each take 45 s to be answered."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class InFlight:
    """A worker's request: it may be cancelled until it leaves, and not from then until its outcome is recorded."""

    __slots__ = ("_busy", "_lane", "scope", "sent")

    def __init__(self, lane: Lane, scope: anyio.CancelScope) -> None:
        self._lane = lane
        self._busy = False
        self.scope: anyio.CancelScope = scope
        self.sent: bool = False

    async def leave(self) -> None:
        """The request is about to leave. Where its worker was cancelled before, it does not: this does not return then."""
        if self.scope.cancel_called:
            await anyio.sleep_forever()  # a task that was about to run anyway runs on until its cancellation reaches it: here
        lane = self._lane
        lane.meter.tick()
        if not self.sent:
            self.sent = True
            lane.in_flight += 1
        if not self._busy:
            self._busy = True
            lane.busy += 1
            lane.replace()

    def answered(self) -> None:
        """What came of the request is recorded. The worker may have more to wait for, but not in a pool that stops."""
        if self.sent:
            self.sent = False
            self._lane.in_flight -= 1
            if self._lane.stopping:  # this one was spared for what it had sent
                self.scope.cancel()

    def free(self) -> None:
        """The worker is ready to send again."""
        self.answered()
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
    """Entries on their way: those that share a limit at the service, or that are dealt with in the same way.

    Args:
        fetch: the next entries, at most so many; none when there are none at present.
        work: deals with one.
        actions: the Actions of the entries, where the lane sends their requests.
    """

    def __init__(
        self,
        pool: WorkerPool,
        fetch: Callable[[int], Awaitable[Sequence[Any]]],
        work: Callable[[Any, InFlight], Awaitable[None]],
        *,
        actions: Sequence[str] = (),
    ) -> None:
        self.actions: Sequence[str] = actions
        self.meter: Meter = Meter()
        self.in_flight = 0
        """Requests that have left and are not answered."""
        self.busy = 0
        """Workers that neither wait in the limiter's queue nor for something to do."""
        self._pool = pool
        self._fetch = fetch
        self._work = work
        self._workers = 0
        self._wake = anyio.Event()
        self._handoff: Handoff[Any] = Handoff()

    @property
    def stopping(self) -> bool:
        """Whether nothing more is to be sent."""
        return self._pool.stopping

    def wake(self) -> None:
        """There may be more to fetch."""
        self._wake.set()

    def replace(self) -> None:
        """One worker more is busy: another may have to take its place in the queue."""
        if self._workers - self.busy < WAITING and self._workers < MAX_WORKERS:
            self._spawn_worker()

    async def run(self) -> None:
        """Feed the workers until the pool has nothing left to do."""
        for _ in range(WAITING):
            self._spawn_worker()
        with self._pool.stoppable():
            try:
                await self._feed()
            except Exception as error:  # noqa: BLE001 - the pool reports it
                self._pool.fail(error)
        self._handoff.close(drop=True)

    async def _feed(self) -> None:
        pool = self._pool
        while pool.open and not pool.stopping:
            self._wake = anyio.Event()
            found = await self._fetch(CHUNK)
            for item in found:
                self._handoff.put(item)
            if found:
                await self._handoff.emptied()
            elif pool.open:
                await self._wake.wait()

    def _spawn_worker(self) -> None:
        if not self._pool.stopping:
            self._workers += 1
            self._pool.spawn(self._run_worker())

    async def _run_worker(self) -> None:
        pool = self._pool
        try:
            with anyio.CancelScope() as scope:
                in_flight = InFlight(self, scope)
                pool.in_flight.add(in_flight)
                try:
                    while (item := await self._handoff.get()) is not None and not pool.stopping:
                        try:
                            await self._work(item, in_flight)
                        finally:
                            in_flight.free()
                finally:
                    pool.in_flight.discard(in_flight)
        except Exception as error:  # noqa: BLE001 - the pool reports it
            pool.fail(error)
        finally:
            self._workers -= 1


class WorkerPool:
    """The lanes of a run, phase by phase.

    Args:
        spawn: runs a coroutine in a task, in a scope that outlives the pool: what :meth:`abandon` leaves ends there.
        phases: the Actions whose entries are dealt with side by side, lane by lane, phase after phase; for forecasts.
    """

    def __init__(self, spawn: Spawn, phases: Sequence[Sequence[Sequence[str]]]) -> None:
        self.open: int = 0
        """Entries of this phase that have no outcome yet; at 0 its lanes end."""
        self.stopping: bool = False
        self.error: Exception | None = None
        """What no entry can be blamed for: the disk is full, or a mistake of ours."""
        self.in_flight: set[InFlight] = set()
        self._spawn = spawn
        self._phases = phases
        self._lanes: list[Lane] = []
        self._scopes: set[anyio.CancelScope] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = anyio.Event()

    async def run(self, lanes: Sequence[Lane], todo: int) -> None:
        """Run a phase until there is nothing left to do; or until the pool was stopped and what had left has its outcome.

        Args:
            lanes: of the phase.
            todo: how many entries there are; :meth:`entry_finished` counts them down.
        """
        self.open = todo
        self._lanes.extend(lanes)
        self._ended = anyio.Event()
        for lane in lanes:
            self.spawn(lane.run())
        if self._tasks:
            await self._ended.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a part of the phase under way."""
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and isinstance(error, Exception):
            self.fail(error)
        if not self._tasks:
            self._ended.set()

    def entry_finished(self) -> None:
        """One entry has its outcome."""
        self.open -= 1
        if not self.open:
            for lane in self._lanes:
                lane.wake()

    def stop(self) -> None:
        """Send nothing more. What has left is waited for."""
        if not self.stopping:
            self.stopping = True
            for scope in list(self._scopes):
                scope.cancel()
            for in_flight in list(self.in_flight):
                if not in_flight.sent:
                    in_flight.scope.cancel()

    def abandon(self) -> None:
        """Do not wait for what has left either: it is cancelled, and ends behind our back."""
        self.stop()
        for in_flight in list(self.in_flight):
            in_flight.scope.cancel()
        self._ended.set()

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

    # --- for the progress

    def lane_of(self, action: str) -> Lane | None:
        """The lane that sends an Action's entries."""
        return next((lane for lane in self._lanes if action in lane.actions), None)

    def seconds_left(self, seconds: Mapping[str, float]) -> float:
        """How long everything takes, given how long each Action's entries take."""
        lanes = [[sum(seconds.get(action, 0.0) for action in actions) for actions in phase] for phase in self._phases]
        return sum(max(phase, default=0.0) for phase in lanes)
