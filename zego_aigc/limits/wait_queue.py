"""A queue of callers: first in, first out, one timer for the queue, one wake-up for each thing handed out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WaitQueue", "rebind_to_loop"]


class Returnable(Protocol):
    """What is handed out: it can be given back unused."""

    def release(self) -> None:
        """Give it back."""
        ...


T = TypeVar("T", bound=Returnable)


class WaitQueue(Generic[T]):
    """Callers of one event loop who wait for something that :meth:`take` hands out.

    While callers wait, either a timer runs until :meth:`take` may succeed by the passing of time, or :meth:`delay` is None
    and the code that changes that calls :meth:`dispatch` or :meth:`schedule`.
    """

    __slots__ = ("_due", "_queue", "loop", "timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.timer: asyncio.Handle | None = None
        self._due = 0.0  # of the timer: uvloop's cannot always tell
        self.waiting: int = 0
        """How many wait."""
        # Cancelled callers stay in it, done, until they come to the head or there are too many of them: removing from the
        # middle of a deque is linear.
        self._queue: deque[asyncio.Future[T]] = deque()

    @abstractmethod
    def take(self) -> T | None:
        """Take one for the caller at the head of the queue, if there is one to be had now."""

    @abstractmethod
    def delay(self) -> float | None:
        """Seconds until :meth:`take` may succeed without anything else happening; None if it never will."""

    async def wait(self) -> T:
        """Wait for one's turn. Cancelling gives up the place, and gives back what was just handed out."""
        turn = self.enqueue()
        try:
            return await turn
        except asyncio.CancelledError:
            self.cancel(turn)
            raise

    def enqueue(self) -> asyncio.Future[T]:
        """A place at the end of the queue. A caller that is cancelled while it waits must :meth:`cancel` it."""
        turn: asyncio.Future[T] = self.loop.create_future()
        self._queue.append(turn)
        self.waiting += 1
        self.schedule()  # also where a timer runs: what was just given back may be reserved for a caller that has left
        return turn

    def cancel(self, turn: asyncio.Future[T]) -> None:
        """Give up a place, after a cancellation."""
        if not turn.cancelled():
            turn.result().release()  # the grant and the cancellation crossed
            return
        self.waiting -= 1
        if len(self._queue) > 2 * self.waiting + 10:
            self._queue = deque(other for other in self._queue if not other.done())

    def dispatch(self) -> None:
        """Hand out what there is to the callers that wait longest."""
        queue = self._queue
        while queue:
            if not queue[0].done():  # else cancelled
                if (taken := self.take()) is None:
                    self.schedule()
                    return
                self.waiting -= 1
                queue[0].set_result(taken)
            queue.popleft()

    def clear(self) -> None:
        """Forget the callers: their event loop is closed, and they cannot be woken any more."""
        self._queue.clear()
        self.waiting = 0

    def schedule(self) -> None:
        """Let the timer run out when :meth:`take` may next succeed, if not before."""
        delay = self.delay()
        if delay is None:
            return
        when = self.loop.time() + delay
        if self.timer is not None:
            if self._due <= when:
                return
            self.timer.cancel()
        self._due = when
        self.timer = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self.timer = None
        self.dispatch()


def rebind_to_loop(what: str, old: asyncio.AbstractEventLoop | None, queues: Iterable[WaitQueue[T]]) -> None:
    """Make sure that nothing on the event loop `old` uses `what` any more, so that another loop may.

    Raises:
        ConfigurationError: `old` is running, or could go on and has callers in a queue.
    """
    if old is not None and not old.is_closed():
        if old.is_running():
            raise ConfigurationError(
                f"this {what} is in use by another running event loop: give each loop (each thread) a {what} of its own"
            )
        if any(queue.waiting for queue in queues):
            raise ConfigurationError(
                f"callers of another event loop, which is not closed, still wait for this {what}: close that loop first, or "
                f"give each loop a {what} of its own"
            )
    for queue in queues:
        queue.clear()
