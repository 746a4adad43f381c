"""Callbacks for code in the sandbox's own event loop, without a server that they are posted to."""

from __future__ import annotations

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
        scope: where it runs.
    """

    def __init__(self, handler: Callable[[Event], Awaitable[object]], scope: TaskScope) -> None:
        self._handler = handler
        self._scope = scope
        self._waiting: deque[Event] = deque()
        self._running = False

    @property
    def idle(self) -> bool:
        """Whether it has dealt with all that it was told."""
        return not self._running

    def tell(self, content: bytes, secret: str, done: Callable[[], object]) -> None:
        """Hand on a callback's body; `done` is called when there is nothing more to hand on."""
        self._waiting.append(parse_callback(content, secret=secret, max_age=None))
        if not self._running:
            self._running = True
            self._scope.start(self._run(done))

    async def _run(self, done: Callable[[], object]) -> None:
        try:
            while self._waiting:
                event = self._waiting.popleft()
                try:
                    await self._handler(event)
                except Exception:
                    logger.exception("what was given to sandbox.on_event() failed with %s", type(event).__name__)
        finally:
            self._running = False
            done()
