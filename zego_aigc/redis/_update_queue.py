"""Updates for Redis from code that cannot wait, sent in the background until they have arrived."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from zego_aigc.errors import ConfigurationError
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner, logger

__all__ = ["UpdateQueue"]

_MAX_UPDATES = 100_000
"""How many updates are kept while Redis is gone; what is older is settled by leases."""

LaneT = TypeVar("LaneT")
UpdateT = TypeVar("UpdateT")


class UpdateQueue(Generic[LaneT, UpdateT]):
    """Updates for Redis from code that cannot wait. They are sent in the background, in batches and in order.

    Args:
        runner: runs the scripts.
        send: sends one lane's updates, oldest first; raises what :meth:`ScriptRunner.run` does.
    """

    def __init__(self, runner: ScriptRunner, send: Callable[[LaneT, list[UpdateT]], Awaitable[None]]) -> None:
        self._runner = runner
        self._send = send
        self._updates: dict[LaneT, list[UpdateT]] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._logged: str | None = None  # the problem that was logged last, until an update arrives again
        self._waiters: list[asyncio.Future[None]] = []

    def put(self, lane: LaneT, update: UpdateT) -> None:
        """Send something soon. Called on the event loop."""
        if self._count >= _MAX_UPDATES:
            oldest = next(iter(self._updates))
            self._count -= len(self._updates.pop(oldest))
        self._updates.setdefault(lane, []).append(update)
        self._count += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._deliver(), name="zego_aigc updates for Redis")

    async def flush(self) -> None:
        """Wait until Redis has all that was put before.

        Raises:
            RedisUnavailable: Redis did not answer; the updates are kept.
            ConfigurationError: Redis refused some of them, which are lost.
        """
        if self._task is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def _deliver(self) -> None:
        try:
            while self._updates:
                lane = next(iter(self._updates))
                updates = self._updates.pop(lane)
                self._count -= len(updates)
                try:
                    await self._send(lane, updates)
                except RedisUnavailable as error:
                    self._updates[lane] = updates + self._updates.get(lane, [])
                    self._count += len(updates)
                    self._wake(error)
                    await asyncio.sleep(max(0.0, self._runner.retry_at - time.monotonic()))
                except ConfigurationError as error:
                    if str(error) != self._logged:
                        self._logged = str(error)
                        logger.warning("updates of this process are lost: %s", error)
                    self._wake(error)
                except Exception as error:  # noqa: BLE001 - see below
                    # Whatever it is, it must not end this task: later updates would wait for ever.
                    logger.exception("updates of this process for Redis are lost")
                    self._wake(error)
                else:
                    self._logged = None
        finally:
            self._task = None
            self._wake(None)

    def _wake(self, error: Exception | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def aclose(self, timeout: float) -> None:
        """Send what there is, but for no longer than so many seconds."""
        if (task := self._task) is not None:
            await asyncio.wait({task}, timeout=timeout)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
