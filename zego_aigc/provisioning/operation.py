"""What provisioning and teardown have in common.

They live in an ``async with`` block, report what happens as a stream of events, and can be stopped cleanly at any time.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import TaskGroup

from zego_aigc.errors import ConfigurationError
from zego_aigc.provisioning.cooldown import pause
from zego_aigc.provisioning.errors import JournalError, JournalLost
from zego_aigc.provisioning.events import Finished, LaneProgress, Outcome, Progress, Report, RunEvent
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_file import Target
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.lock import Lock
from zego_aigc.provisioning.workers import Handoff, WorkerPool
from zego_aigc.transport.shielding import wait_shielded

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Operation"]

GRACE = 5.0
"""Seconds that what has left gets to be answered when the block is cancelled."""

CLOSING = 60.0
"""Seconds that closing the journal may take, which writes what is still to be written."""

WATCH_INTERVAL = 0.5
"""Seconds between two looks at whether the journal is still there."""

MAX_UNREAD_EVENTS = 256
"""Events that may be unread before those who emit them wait. Some more come from what is under way."""


ENTER = (
    "provision() and teardown() run in a block, and their outcomes come one by one: "
    "write 'async with provision(...) as run:', and in it 'async for outcome in run:'"
)


class Operation:
    """An async context manager, and within it an async iterator of outcomes.

    Leaving the block early stops the operation: what has left is waited for and recorded. When the block is cancelled or fails,
    that wait is bounded to five seconds; what is not answered by then stays unknown in the journal.

    What an operation does is in four methods, called in this order: :meth:`_prepare`, :meth:`_work`, :meth:`_finalize` and, if
    the block was left by an error, :meth:`_rollback`.
    """

    def __init__(
        self,
        client: Client,
        journal: str | os.PathLike[str],
        *,
        must_exist: bool,
        sandbox: str | None,
        lock: Lock | None = None,
    ) -> None:
        if isinstance(client, type) or not hasattr(client, "pool"):
            raise ConfigurationError(f"the first argument is an open client, such as Client.from_env(), not {client!r}")
        self._client = client
        self._path = journal
        self._must_exist = must_exist
        self._lock = lock
        self._target = Target.of(client, sandbox)
        self.report: Report = Report(counts={})
        """How it stands; complete once it is over."""
        self._notes: dict[str, str] = {}
        self._checked = 0
        """Entries that were checked so far."""
        self._grace = GRACE
        self._journal: Journal
        self._workers = WorkerPool(client.pool.spawn, ())
        """Of the work under way."""
        self._error: Exception | None = None
        """What the operation failed with."""
        self._unrecorded: list[JournalUpdate] = []
        """Outcomes that could not be written."""
        self._began = time.monotonic()
        self._group: TaskGroup
        self._worked = anyio.Event()
        self._over = anyio.Event()
        self._events: Handoff[RunEvent]

    async def _prepare(self) -> None:
        """Check everything, and begin the journal. Whatever this raises leaves the block unentered."""
        raise NotImplementedError

    async def _work(self) -> None:
        """Do the work with the workers, until it is done or they were stopped."""
        raise NotImplementedError

    async def _finalize(self) -> None:
        """The work has ended, or was stopped: complete the report."""

    async def _rollback(self) -> None:
        """The block was cancelled or failed: what is to be done about what was done."""

    # --- lifetime

    async def __aenter__(self) -> Self:
        self._journal = await Journal.open(self._path, must_exist=self._must_exist, lock=self._lock)
        try:
            self._journal.require(self._target)
            await self._prepare()
        except BaseException:
            await self._close_journal()
            raise
        self._began = time.monotonic()
        self._events = Handoff()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._main)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.cancel_scope.shield = True
        if not self._over.is_set():
            self.stop("the block that ran it was left")
        self._events.close(drop=True)  # they are not read any more
        # Who is cancelled must end soon; after an error there is time for a rollback.
        end = time.monotonic() + GRACE if error is not None and not isinstance(error, Exception) else math.inf
        try:
            try:
                with anyio.move_on_after(self._grace if error is not None else None):
                    await self._worked.wait()
                self._workers.abandon()
                with anyio.move_on_after(max(0.0, end - time.monotonic())):
                    await self._over.wait()
                    if error is not None and self._error is None:
                        await self._rollback()
            finally:
                self._workers.abandon()  # those of the rollback, or when the one who leaves is cancelled once more
                await self._group.__aexit__(None, None, None)
        finally:
            await self._close_journal()

    async def _close_journal(self) -> None:
        # In a task of its own: however often the caller is cancelled meanwhile, the journal is closed and unlocked.
        closing = asyncio.ensure_future(self._journal.close(self._client.pool.limiter))
        cancelled = await wait_shielded(closing, CLOSING)
        if closing.done():
            closing.result()
        if cancelled is not None:
            raise cancelled

    def _pause(self) -> float:
        """Seconds until the last run's calls have left the service's window."""
        journal = self._journal
        if journal.is_new:
            return 0.0
        _, window, guard = pace(self._client)
        limiter = self._client.pool.limiter
        return pause(journal.facts.ended, limiter, opened=journal.opened, now=time.monotonic(), window=window, guard=guard)

    async def _let_window_pass(self) -> None:
        """Wait until then, unless it is stopped."""
        with self._workers.stoppable():
            await anyio.sleep(self._pause())

    async def _main(self) -> None:
        with anyio.CancelScope(shield=True):  # only stop() and abandon() end it
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch_journal)
                    try:
                        await self._work()
                        self._journal.require_in_place()
                    except JournalError as error:
                        self._workers.fail(error)
                    finally:
                        self._error = self._workers.error
                        self._worked.set()
                        group.cancel_scope.cancel()
                if isinstance(self._error, JournalError):
                    self._error = await self._journal_lost(self._error)
                await self._finalize()
                self.report.seconds = time.monotonic() - self._began
                await self._emit(Finished(self.report))
            except Exception as error:  # noqa: BLE001 - raised for the one who iterates
                self._error = self._error or error
            finally:
                self._over.set()
                self._events.close()

    async def _watch_journal(self) -> None:
        """Stop when the journal is removed: whatever is made from then on would be forgotten."""
        while True:
            await anyio.sleep(WATCH_INTERVAL)
            try:
                self._journal.require_in_place()
            except JournalError as error:
                self._workers.fail(error)
                return

    async def _journal_lost(self, error: JournalError) -> JournalLost:
        """The error for a journal that has failed under a run: with what it does not keep."""
        made: list[tuple[str, str]] = []
        with suppress(JournalError):
            self._journal.require_in_place()
            for update in self._unrecorded:  # there may be room by now
                self._journal.record_outcome(update._replace(done=None))
            await self._journal.flush()
            self._unrecorded.clear()
        try:
            self._journal.require_in_place()
        except JournalError:
            with suppress(JournalError):
                made = await self._journal.made()
        made += [(update.key, update.made_id) for update in self._unrecorded if update.made_id is not None]
        what = (
            "what was made stands in no journal any more. End it, or it bills until it ends by itself"
            if made
            else "what was made stands in it, and the same command goes on from there"
        )
        return JournalLost(f"{error}. The run was stopped: {what}", made=made)

    def stop(self, why: str = "it was asked to stop") -> None:
        """Send nothing more, wait for what has left, record what came of it, and end. The same call goes on from there."""
        if not self._over.is_set() and not self._workers.stopping:
            self.report.stopped = why
            self._workers.stop()

    # --- events

    if not TYPE_CHECKING:  # to a type checker, these stay the mistakes that they are

        def _not_entered(self, *_):  # noqa: ANN002, ANN202 - it returns nothing
            raise ConfigurationError(ENTER)

        __await__ = __iter__ = __enter__ = _not_entered

        def __exit__(self, *_): ...  # noqa: ANN002, ANN204 - a with statement looks for it first

    def __aiter__(self) -> Self:
        if not hasattr(self, "_events"):
            raise ConfigurationError(ENTER)
        return self

    async def __anext__(self) -> Outcome:
        while True:
            event = await self._next()
            if event is None:
                raise StopAsyncIteration
            if isinstance(event, Outcome):
                return event

    async def events(self) -> AsyncIterator[RunEvent]:
        """Everything that happens, outcomes included. Iterate over this or over the operation itself, not over both.

        Raises:
            JournalLost: the journal was removed, or cannot be written any more.
        """
        while (event := await self._next()) is not None:
            yield event

    async def _next(self) -> RunEvent | None:
        event = await self._events.get()
        if event is None and self._error is not None:
            raise self._error from None
        return event

    async def _emit(self, event: RunEvent) -> None:
        """Emit an event, and wait while too many are unread."""
        self._events.put(event)
        await self._apply_backpressure()

    async def _apply_backpressure(self) -> None:
        """Wait while too many events are unread."""
        if len(self._events) >= MAX_UNREAD_EVENTS:
            await self._events.emptied()

    def _emit_outcome(self, outcome: Outcome) -> None:
        """Count an outcome and emit it."""
        self.report.add(outcome)
        self._events.put(outcome)

    @property
    def note(self) -> str | None:
        """What it waits for, where that is not the limits."""
        return "; ".join(self._notes.values()) or None

    def _set_note(self, subject: str, note: str | None) -> None:
        """Say what is waited for on one subject, or with None that nothing is."""
        if note is None:
            self._notes.pop(subject, None)
        else:
            self._notes[subject] = note

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        lanes = tuple(self._lane_progress(action, counter) for action, counter in self.report.counts.items())
        return Progress(
            lanes=lanes,
            seconds=time.monotonic() - self._began,
            seconds_left=self._workers.seconds_left({lane.action: lane.seconds_left for lane in lanes}),
            note=self.note,
            checked=self._checked,
        )

    def _lane_progress(self, action: str, counter: Counter[str]) -> LaneProgress:
        limit, window, guard = pace(self._client)
        lane = self._workers.lane_of(action)
        return LaneProgress(
            action=action,
            total=counter.total(),
            done=counter["done"],
            failed=counter["failed"],
            unknown=counter["unknown"],
            pending=counter["pending"],
            in_flight=lane.in_flight if lane else 0,
            rate=lane.meter.rate() if lane else 0.0,
            limit=limit / window,
            seconds_left=counter["pending"] * (window + guard) / limit,
            limiter=self._client.pool.limiter.stats(self._client.app_id, action),
        )


def pace(client: Client) -> tuple[int, float, float]:
    """The limiter's calls in a window, seconds of the window, and guard."""
    limiter = client.pool.limiter
    return limiter.limit, limiter.window, limiter.guard
