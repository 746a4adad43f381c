"""Callbacks for code in the sandbox's own event loop, without a server that they are posted to."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from zego_aigc.callbacks.parsing import parse_callback

if TYPE_CHECKING:
    from zego_aigc.callbacks.events import Event
    from zego_aigc.transport.task_scope import TaskScope

__all__ = ["Listener"]

logger: logging.Logger = logging.getLogger("zego_aigc.sandbox")


class Listener:
    """Hands events to a coroutine function, one after the other.

    Args:
        handler: the coroutine function.
        scope: where it runs. What comes while that is not open is not handed on.
    """

    def __init__(self, handler: Callable[[Event], Awaitable[object]], scope: TaskScope) -> None:
        self._handler = handler
        self._scope = scope
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None

    def tell(self, content: bytes, secret: str) -> None:
        """Hand on a callback's body."""
        self._waiting.append(parse_callback(content, secret=secret, max_age=None))
        if self._task is None or self._task.done():
            self._task = self._scope.start(self._run())
            if self._task is None:
                self._waiting.clear()

    async def settled(self) -> None:
        """Wait until all that was handed on is dealt with. A handler that asks for it does not wait for itself."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            try:
                await self._handler(event)
            except Exception:
                logger.exception("what was given to sandbox.on_event() failed with %s", type(event).__name__)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise  # the sandbox closes
                logger.warning("what was given to sandbox.on_event() was cancelled with %s", type(event).__name__)
