"""A task group that is opened and closed by calls instead of a block."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

__all__ = ["TaskScope"]


class TaskScope:
    """Owns tasks that may be started in one task and ended in another.

    A task group must be left by the task that entered it, while a fixture, an app's start-up and its shutdown may each run
    in a task of their own. So the group lives in a task that this scope owns. An exception in any of its tasks cancels all
    of them and is raised by :meth:`close`.

    Tasks see the context variables of the code that opened the scope, not those of the code that starts them.

    Args:
        name: of the task that the group lives in.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._group: asyncio.TaskGroup | None = None
        self._host: asyncio.Task[None] | None = None
        self._close = asyncio.Event()
        self._context = contextvars.Context()

    async def open(self) -> None:
        """Begin."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._context = contextvars.copy_context()
        self._close.clear()
        self._host = asyncio.create_task(self._hold(ready), name=self._name)
        await ready

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run a coroutine until it ends or the scope is closed.

        Returns:
            Its task, or None where the scope is not open: then `work` is not begun.
        """
        if self._group is None:
            work.close()
            return None
        return self._group.create_task(work, context=self._context.copy())

    async def close(self, grace: float = 0.0) -> None:
        """Wait for the tasks, and cancel what still runs.

        Args:
            grace: seconds that tasks get to end by themselves. They may start further tasks meanwhile.

        Raises:
            BaseExceptionGroup: a task had failed.
        """
        host, self._host = self._host, None
        if host is None:
            return
        try:
            if grace > 0:
                self._close.set()
                await asyncio.wait([host], timeout=grace)
        finally:
            self._group = None
            if not host.done():
                host.cancel()
                await asyncio.wait([host])
        if not host.cancelled() and (error := host.exception()) is not None:
            raise error

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                ready.set_result(None)
                await self._close.wait()
        finally:
            self._group = None
