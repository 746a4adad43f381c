"""A thread that owns a SQLite connection and commits in groups.

Whatever is asked for while one commit runs goes into the next. Many writers then pay for one ``fsync`` together, and the
event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

__all__ = ["Store"]

T = TypeVar("T")

MAX_IN_GROUP = 512


class _Job(NamedTuple):
    work: Callable[[sqlite3.Connection], Any]
    done: Callable[[Any], object]
    failed: Callable[[Exception], object]
    alone: bool


class _End(NamedTuple):
    job: _Job
    value: Any
    error: Exception | None


class Store:
    """Runs work on a connection, in the order in which it was asked for.

    Args:
        connection: opened with ``check_same_thread=False`` and ``isolation_level=None``; :meth:`close` closes it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="zego-aigc-storage", daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """As :meth:`put`; the future is done once the work's effects are on disk."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.put(work, partial(_resolve, future), partial(_fail, future))
        return future

    def ask_alone(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have `work` done outside any transaction: for what cannot be done inside one, or is large enough for its own."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Job(work, partial(_resolve, future), partial(_fail, future), alone=True))
        return future

    def put(
        self,
        work: Callable[[sqlite3.Connection], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Have `work` done, as part of a transaction with others: it must not begin or end one, and an error undoes them all.

        Args:
            work: called in the store's thread.
            done: called in the event loop with what `work` returned, once its effects are on disk.
            failed: called in the event loop with an error of the group, of which nothing was done.
        """
        self._put(_Job(work, done, failed, alone=False))

    def _put(self, job: _Job) -> None:
        self.require_open()
        self._jobs.put(job)

    def require_open(self) -> None:
        """See that there is still somebody to do the work.

        Raises:
            RuntimeError: it was closed.
        """
        if self._closed:
            raise RuntimeError("it is closed")

    async def close(self) -> None:
        """Finish what was asked for and close the connection. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            self._connection.close()

    def _turn(self) -> bool:
        """Wait for work and do all that has come; False once the store was closed."""
        taken = [self._jobs.get()]
        while taken[-1] is not None and len(taken) < MAX_IN_GROUP:
            try:
                taken.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        jobs = [job for job in taken if job is not None]
        for alone, group in itertools.groupby(jobs, key=lambda job: job.alone):
            if alone:
                for job in group:
                    self._deliver([_attempt(self._connection, job)])
            else:
                self._deliver(_transaction(self._connection, list(group)))
        return taken[-1] is not None

    def _deliver(self, ends: Sequence[_End]) -> None:
        with suppress(RuntimeError):  # the loop is gone, and no caller waits any more
            self._loop.call_soon_threadsafe(_tell, ends)


def _attempt(connection: sqlite3.Connection, job: _Job) -> _End:
    try:
        return _End(job, job.work(connection), None)
    except Exception as error:  # noqa: BLE001 - re-raised in the caller
        return _End(job, None, error)


def _transaction(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> Sequence[_End]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            ends = [_End(job, job.work(connection), None) for job in jobs]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except Exception as error:  # noqa: BLE001 - re-raised in the caller
        return [_End(job, None, error) for job in jobs]
    return ends


def _tell(ends: Sequence[_End]) -> None:
    for job, value, error in ends:
        if error is None:
            job.done(value)
        else:
            job.failed(error)


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():  # else the caller was cancelled
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
