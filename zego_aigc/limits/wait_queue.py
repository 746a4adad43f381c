"""Waiting in line: first come, first served, one timer for the line, one wake-up for each thing handed out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Line", "hand_over"]


class Returnable(Protocol):
    """What is handed out: it can be given back unused."""

    def release(self) -> None:
        """Give it back."""
        ...


T = TypeVar("T", bound=Returnable)


class Line(Generic[T]):
    """Callers of one event loop who wait for something that :meth:`take` hands out.

    While somebody waits, either a timer runs until :meth:`take` may succeed by the passing of time, or :meth:`delay` is None
    and whoever changes that calls :meth:`serve` or :meth:`arm`.
    """

    __slots__ = ("_line", "_rings_at", "loop", "timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.timer: asyncio.Handle | None = None
        self._rings_at = 0.0  # of the timer: uvloop's cannot always tell
        self.waiting: int = 0
        """How many wait."""
        # Those who gave up stay in it, done, until they come to the head or there are too many of them.
        self._line: deque[asyncio.Future[T]] = deque()

    @abstractmethod
    def take(self) -> T | None:
        """Take one for the caller at the head of the line, if there is one to be had now."""

    @abstractmethod
    def delay(self) -> float | None:
        """Seconds until :meth:`take` may succeed without anything else happening; None if it never will."""

    async def wait(self) -> T:
        """Wait for one's turn. Cancelling gives up the place, and gives back what was just handed out."""
        turn = self.join()
        try:
            return await turn
        except asyncio.CancelledError:
            self.leave(turn)
            raise

    def join(self) -> asyncio.Future[T]:
        """A place at the end of the line. Whoever is cancelled while waiting for it must :meth:`leave`."""
        turn: asyncio.Future[T] = self.loop.create_future()
        self._line.append(turn)
        self.waiting += 1
        self.arm()  # also where a timer runs: what was just given back may be waiting for somebody who left
        return turn

    def leave(self, turn: asyncio.Future[T]) -> None:
        """Give up a place, after a cancellation."""
        if not turn.cancelled():
            turn.result().release()  # the grant and the cancellation crossed
            return
        self.waiting -= 1
        if len(self._line) > 2 * self.waiting + 10:
            self._line = deque(other for other in self._line if not other.done())

    def serve(self) -> None:
        """Hand out what there is, to those who wait longest."""
        line = self._line
        while line:
            if not line[0].done():  # else cancelled
                if (taken := self.take()) is None:
                    self.arm()
                    return
                self.waiting -= 1
                line[0].set_result(taken)
            line.popleft()

    def abandon(self) -> None:
        """Forget those who wait: their event loop is closed, and they are past waking."""
        self._line.clear()
        self.waiting = 0

    def arm(self) -> None:
        """Let the timer ring when :meth:`take` may next succeed, if not before."""
        delay = self.delay()
        if delay is None:
            return
        when = self.loop.time() + delay
        if self.timer is not None:
            if self._rings_at <= when:
                return
            self.timer.cancel()
        self._rings_at = when
        self.timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self.timer = None
        self.serve()


def hand_over(what: str, old: asyncio.AbstractEventLoop | None, lines: Iterable[Line[T]]) -> None:
    """See that nobody on the event loop `old` uses `what` any more, so that another loop may.

    Raises:
        ConfigurationError: `old` is running, or could go on and has callers in line.
    """
    if old is not None and not old.is_closed():
        if old.is_running():
            raise ConfigurationError(
                f"this {what} is in use by another running event loop: give each loop (each thread) a {what} of its own"
            )
        if any(line.waiting for line in lines):
            raise ConfigurationError(f"callers of another event loop, which is not closed, still wait for this {what}")
    for line in lines:
        line.abandon()
