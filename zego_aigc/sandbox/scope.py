"""Where the sandbox's tasks live."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Scope"]


class Scope:
    """A task group that is opened and closed by calls instead of a block.

    A fixture may be torn down in another task than the one that set it up, where leaving a task group is an error. So
    the group lives in a task of its own. An exception in any of its tasks ends all of them and is raised by
    :meth:`close`.
    """

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._host: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def open(self) -> None:
        """Begin."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._host = asyncio.create_task(self._hold(ready), name="zego_aigc sandbox")
        await ready

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it ends or the scope closes. Closed already, it is not begun."""
        if self._group is None:
            work.close()
        else:
            self._group.create_task(work)

    async def close(self) -> None:
        """Cancel what still runs and wait for its end.

        Raises:
            ExceptionGroup: if a task had failed.
        """
        self._group = None
        host, self._host = self._host, None
        if host is not None:
            host.cancel()
            await asyncio.wait([host])
            if not host.cancelled() and (error := host.exception()) is not None:
                raise error

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            ready.set_result(None)
            await self._over.wait()
